/* sentencepiece.c - reads the protobuf message ModelProto (sentencepiece_model.proto): field 1 a
 * piece each, in the order of ids; 2 the trainer's settings; 3 the normaliser's. Unknown fields are
 * passed over, as protobuf asks for. Nothing is copied: texts point into the file. */
#include "format/sentencepiece.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "format/tokenizer_internal.h"

#define KEY(name) "tokenizer.ggml." name
#define MAX_TOKENS (1 << 24)
#define DAMAGED "the file is damaged or no model of SentencePiece"

enum { WIRE_VARINT, WIRE_64_BITS, WIRE_BYTES, WIRE_32_BITS = 5 };
enum { MODEL_UNIGRAM = 1, MODEL_BPE = 2 };

typedef struct field {
    uint64_t number, value; /* the value of a varint */
    unsigned wire;
    tern_text bytes; /* of all other kinds */
} field;

typedef struct piece {
    tern_text text; /* data NULL: a gap */
    float score;
    int32_t type;
} piece;

typedef struct reader {
    tern_gguf_writer *w;
    const tern_tokenizer_extra *extra;
    const char *name;
    tern_error *err;
    piece *pieces;
    int32_t n, n_pieces; /* ids, those of the file among them */
    uint64_t model;
    bool space_prefix, rewrites;
} reader;

static int bad(const reader *r, const char *what)
{
    return tern_fail(r->err, TERN_E_MODEL, "'%.140s': %s: get files made for this model", r->name,
                     what);
}

/* ---- the message ----------------------------------------------------------------------------- */

static bool take_varint(uint64_t *out, tern_text *message)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && message->bytes; shift += 7) {
        const uint8_t byte = (uint8_t)*message->data++;
        message->bytes--;
        value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) {
            *out = value;
            return true;
        }
    }
    return false;
}

/* Takes the first field off a message that is not empty. */
static bool take_field(field *out, tern_text *message)
{
    uint64_t tag, bytes = 0;
    if (!take_varint(&tag, message)) return false;
    *out = (field){.number = tag >> 3, .wire = tag & 7};
    switch (out->wire) {
    case WIRE_VARINT: return take_varint(&out->value, message);
    case WIRE_64_BITS: bytes = 8; break;
    case WIRE_32_BITS: bytes = 4; break;
    case WIRE_BYTES:
        if (!take_varint(&bytes, message)) return false;
        break;
    default: return false;
    }
    if (bytes > message->bytes) return false;
    out->bytes = (tern_text){.data = message->data, .bytes = (size_t)bytes};
    message->data += bytes;
    message->bytes -= (size_t)bytes;
    return true;
}

static bool read_piece(piece *out, tern_text message)
{
    *out = (piece){.type = TERN_TOKEN_NORMAL};
    for (field f; message.bytes;) {
        if (!take_field(&f, &message)) return false;
        if (f.number == 1 && f.wire == WIRE_BYTES) out->text = f.bytes;
        if (f.number == 2 && f.wire == WIRE_32_BITS) memcpy(&out->score, f.bytes.data, 4);
        if (f.number == 3 && f.wire == WIRE_VARINT)
            out->type = f.value <= TERN_TOKEN_BYTE ? (int32_t)f.value : 0;
    }
    return out->text.data && out->type >= TERN_TOKEN_NORMAL;
}

static bool read_trainer(reader *r, tern_text message)
{
    for (field f; message.bytes;) {
        if (!take_field(&f, &message)) return false;
        if (f.number == 3 && f.wire == WIRE_VARINT) r->model = f.value;
    }
    return true;
}

static bool read_normaliser(reader *r, tern_text message)
{
    bool squeezes = true;
    for (field f; message.bytes;) {
        if (!take_field(&f, &message)) return false;
        if (f.number == 2 && f.wire == WIRE_BYTES && f.bytes.bytes) r->rewrites = true;
        if (f.number == 3 && f.wire == WIRE_VARINT) r->space_prefix = f.value != 0;
        if (f.number == 4 && f.wire == WIRE_VARINT) squeezes = f.value != 0;
    }
    r->rewrites |= squeezes;
    return true;
}

/* Everything but the pieces, which are counted. */
static int read_settings(reader *r, tern_text message)
{
    int64_t n = 0;
    r->model = MODEL_UNIGRAM;
    r->space_prefix = true;
    for (field f; message.bytes;) {
        if (!take_field(&f, &message)) return bad(r, DAMAGED);
        if (f.wire != WIRE_BYTES) continue;
        n += f.number == 1;
        if ((f.number == 2 && !read_trainer(r, f.bytes)) ||
            (f.number == 3 && !read_normaliser(r, f.bytes)))
            return bad(r, DAMAGED);
    }
    if (n == 0 || n > MAX_TOKENS) return bad(r, DAMAGED);
    if (r->model != MODEL_BPE) return bad(r, "the tokenizer's model is not of type BPE");
    if (r->extra->n_vocab && r->extra->n_vocab < n)
        return tern_fail(
            r->err, TERN_E_MODEL,
            "'%.140s' has %lld tokens, but the model %d: get files made for this model", r->name,
            (long long)n, r->extra->n_vocab);
    r->n_pieces = (int32_t)n;
    r->n = r->extra->n_vocab ? r->extra->n_vocab : r->n_pieces;
    if (r->rewrites)
        tern_log(TERN_LOG_WARNING,
                 "'%s' rewrites characters or spaces of a text first, which is left out here",
                 r->name);
    return TERN_OK;
}

static int read_pieces(reader *r, tern_text message)
{
    int32_t id = 0;
    for (field f; message.bytes;) {
        if (!take_field(&f, &message)) return bad(r, DAMAGED);
        if (f.number != 1 || f.wire != WIRE_BYTES) continue;
        if (!read_piece(&r->pieces[id++], f.bytes)) return bad(r, DAMAGED);
    }
    return TERN_OK;
}

/* Behind the file's own, by their ids. */
static void add_added(reader *r)
{
    const json_t *list = json_object_get(r->extra->config, "added_tokens_decoder");
    for (int32_t id = r->n_pieces; id < r->n; id++) {
        char key[16];
        snprintf(key, sizeof key, "%d", id);
        const json_t *one = json_object_get(list, key), *text = json_object_get(one, "content");
        const bool special = json_is_true(json_object_get(one, "special"));
        r->pieces[id] = (piece){
            .text = {json_string_value(text), json_string_length(text)},
            .type = !text     ? TERN_TOKEN_UNUSED
                    : special ? TERN_TOKEN_CONTROL
                              : TERN_TOKEN_USER,
        };
    }
}

/* ---- the keys -------------------------------------------------------------------------------- */

static void write_pieces(const reader *r)
{
    tern_gguf_put_array(r->w, KEY("tokens"), TERN_GGUF_STRING, (uint64_t)r->n);
    for (int32_t i = 0; i < r->n; i++) {
        char gap[24];
        snprintf(gap, sizeof gap, "[PAD%d]", i);
        const tern_text text = r->pieces[i].text;
        tern_gguf_add_text(r->w, text.data ? text.data : gap, text.data ? text.bytes : strlen(gap));
    }
    tern_gguf_put_array(r->w, KEY("token_type"), TERN_GGUF_I32, (uint64_t)r->n);
    for (int32_t i = 0; i < r->n; i++)
        tern_gguf_add_bytes(r->w, &r->pieces[i].type, sizeof(int32_t));
    tern_gguf_put_array(r->w, KEY("scores"), TERN_GGUF_F32, (uint64_t)r->n);
    for (int32_t i = 0; i < r->n; i++)
        tern_gguf_add_bytes(r->w, &r->pieces[i].score, sizeof(float));
}

static void write_unknown(const reader *r)
{
    for (int32_t i = 0; i < r->n_pieces; i++) {
        if (r->pieces[i].type != TERN_TOKEN_UNKNOWN) continue;
        tern_gguf_put_u32(r->w, KEY("unknown_token_id"), (uint32_t)i);
        return;
    }
}

int tern_sentencepiece_keys(tern_gguf_writer *w, const void *file, size_t bytes,
                            const tern_tokenizer_extra *extra, const char *name, tern_error *err)
{
    reader r = {.w = w, .extra = extra, .name = name, .err = err};
    const tern_text message = {.data = file, .bytes = bytes};
    int status = read_settings(&r, message);
    if (status == TERN_OK)
        status = tern_alloc(&r.pieces, (size_t)r.n, sizeof *r.pieces, "the vocabulary", err);
    if (status == TERN_OK) status = read_pieces(&r, message);
    if (status == TERN_OK) {
        add_added(&r);
        tern_gguf_put_text(w, KEY("model"), "llama", 5);
        tern_gguf_put_text(w, KEY("pre"), "default", 7);
        write_pieces(&r);
        write_unknown(&r);
        tern_gguf_put_bool(w, KEY("add_space_prefix"), r.space_prefix);
        status = tern_tokenizer_extra_keys(w, extra, true, name, err);
    }
    free(r.pieces);
    return status;
}
