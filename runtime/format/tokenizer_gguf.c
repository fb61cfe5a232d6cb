/* tokenizer_gguf.c - checks the tokenizer.ggml.* keys and fills a tokenizer from them. Token texts
 * and merges of byte-level BPE are written in the alphabet of GPT-2, in which every byte is a
 * printable character, SentencePiece's with U+2581 for spaces; they are translated into bytes here,
 * once, so that nothing else knows either. */
#include "format/tokenizer_gguf.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/f16.h"
#include "base/fail.h"
#include "base/memory.h"
#include "base/text.h"
#include "format/tokenizer_internal.h"

#define ALPHABET_END 0x144 /* code points of the alphabet lie below */
#define LLAMA3_TOKENS 128256
#define LLAMA3_MERGES 280147
#define KEY(name) "tokenizer.ggml." name

/* Bytes by code point, -1 for characters outside of the alphabet. */
typedef struct alphabet {
    int16_t byte[ALPHABET_END];
} alphabet;

/* What building needs at hand. */
typedef struct builder {
    tern_tokenizer *tokenizer;
    const tern_gguf *gguf;
    bool pieces; /* SentencePiece: texts are characters, not the byte alphabet */
    alphabet alphabet;
    int32_t bytes[256]; /* SentencePiece: tokens of single bytes, -1: none */
    char *text;         /* the translation of one string */
    size_t cap;
    tern_error *err;
} builder;

/* Printable bytes stand for themselves, the other 68 follow from U+0100 on in ascending order. */
static void alphabet_fill(alphabet *a)
{
    for (int i = 0; i < ALPHABET_END; i++) a->byte[i] = -1;
    int next = 0x100;
    for (int byte = 0; byte < 256; byte++) {
        const bool printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad);
        a->byte[printable ? byte : next++] = (int16_t)byte;
    }
}

/* Translates text into out (never longer); false when it holds a character outside of the alphabet.
 */
static bool translate(char *out, size_t *bytes, const alphabet *a, const char *text, size_t n)
{
    size_t written = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned point = (uint8_t)text[i];
        if (point >= 0x80) { /* only two-byte characters reach the alphabet */
            if (point < 0xc2 || point > 0xdf || i + 1 == n || ((uint8_t)text[i + 1] & 0xc0) != 0x80)
                return false;
            point = (point & 31u) << 6 | ((uint8_t)text[++i] & 63u);
        }
        if (point >= ALPHABET_END || a->byte[point] < 0) return false;
        out[written++] = (char)(uint8_t)a->byte[point];
    }
    *bytes = written;
    return true;
}

static int reserve_text(builder *b, size_t bytes)
{
    if (bytes <= b->cap) return TERN_OK;
    char *grown = realloc(b->text, bytes * 2);
    if (!grown)
        return tern_fail(b->err, TERN_E_FIT, "no memory for a token of %zu bytes: free some",
                         bytes);
    b->text = grown;
    b->cap = bytes * 2;
    return TERN_OK;
}

/* ---- tokens ---------------------------------------------------------------------------------- */

static bool is_end_text(tern_text text)
{
    static const char *const ends[] = {"<|eot_id|>",      "<|im_end|>",    "<|end|>",
                                       "<|end_of_text|>", "<|endoftext|>", "<end_of_turn>",
                                       "<EOT>",           "_<EOT>"};
    if (text.bytes < 5 || (text.data[0] != '<' && text.data[0] != '_')) return false;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (tern_text_equals(text, ends[i])) return true;
    return false;
}

/* The byte of "<0x4E>", or -1. */
static int byte_of(tern_text text)
{
    if (text.bytes != 6 || memcmp(text.data, "<0x", 3) != 0 || text.data[5] != '>') return -1;
    int byte = 0;
    for (int i = 3; i < 5; i++) {
        const char c = text.data[i];
        const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (digit < 0) return -1;
        byte = 16 * byte + digit;
    }
    return byte;
}

/* A token of SentencePiece: texts have spaces, byte tokens their byte, which text does not find. */
static int add_piece(builder *b, tern_text text, int type)
{
    tern_tokenizer *t = b->tokenizer;
    const int byte = type == TERN_TOKEN_BYTE ? byte_of(text) : -1;
    if (type == TERN_TOKEN_BYTE && byte < 0)
        return tern_fail(b->err, TERN_E_MODEL,
                         "'%.140s': the byte token '%s' is not of the form <0x4E>: get a file made"
                         " for this model",
                         b->gguf->name, TERN_QUOTED(text.data, text.bytes));
    const bool special = type == TERN_TOKEN_CONTROL || type == TERN_TOKEN_UNKNOWN;
    const int32_t id = (int32_t)t->bpe.symbols.n;
    memcpy(b->text, text.data, text.bytes);
    size_t bytes = special ? text.bytes : tern_unescape_spaces(b->text, text.bytes);
    if (byte >= 0) {
        b->text[0] = (char)(uint8_t)byte;
        b->bytes[byte] = id;
        bytes = 1;
    }
    for (size_t i = 1; i < bytes && !special; i++)
        if (b->text[i] == ' ' && b->text[i - 1] != ' ') t->cuts_at_spaces = false;
    if ((special || type == TERN_TOKEN_USER) && bytes > 0)
        t->specials[t->n_specials++] = (tern_special){.id = id, .control = special};
    t->type[id] = (uint8_t)type;
    t->end[id] = is_end_text(text);
    return tern_symbols_add(&t->bpe.symbols, b->text, bytes, !special && byte < 0 && bytes > 0,
                            b->err);
}

/* Ordinary tokens are translated and may be found by the BPE. The texts of control and user-defined
 * tokens are literal, and control tokens are out of reach of the BPE: text cannot make them. */
static int add_token(builder *b, tern_text text, int type)
{
    int status = reserve_text(b, text.bytes + 1);
    if (status != TERN_OK) return status;
    if (b->pieces) return add_piece(b, text, type);
    const bool special = type == TERN_TOKEN_CONTROL || type == TERN_TOKEN_UNKNOWN;
    const bool literal = special || type == TERN_TOKEN_USER;
    size_t bytes = 0;
    const bool translated =
        !literal && translate(b->text, &bytes, &b->alphabet, text.data, text.bytes);
    const char *from = translated ? b->text : text.data;
    bytes = translated ? bytes : text.bytes;
    const bool findable = bytes > 0 && (translated || type == TERN_TOKEN_USER);

    tern_tokenizer *t = b->tokenizer;
    const int32_t id = (int32_t)t->bpe.symbols.n;
    t->type[id] = (uint8_t)type;
    t->end[id] = is_end_text(text);
    if (literal && bytes > 0)
        t->specials[t->n_specials++] = (tern_special){.id = id, .control = special};
    return tern_symbols_add(&t->bpe.symbols, from, bytes, findable, b->err);
}

static int check_types(const tern_gguf_value *types, const builder *b)
{
    for (uint64_t i = 0; types && i < types->count; i++) {
        const int32_t type = (int32_t)tern_gguf_u32_at(types, i);
        if (type < 0 || type > TERN_TOKEN_BYTE)
            return tern_fail(b->err, TERN_E_MODEL,
                             "'%.140s': token %llu has type %d, but types go from 0 to"
                             " %d: get a file made for this model",
                             b->gguf->name, (unsigned long long)i, type, TERN_TOKEN_BYTE);
    }
    return TERN_OK;
}

static bool is_literal(int32_t type)
{
    return type == TERN_TOKEN_CONTROL || type == TERN_TOKEN_UNKNOWN || type == TERN_TOKEN_USER;
}

static int add_tokens(builder *b, const tern_gguf_value *tokens, const tern_gguf_value *types)
{
    tern_tokenizer *t = b->tokenizer;
    size_t n_specials = 0;
    for (uint64_t i = 0; types && i < types->count; i++)
        n_specials += is_literal((int32_t)tern_gguf_u32_at(types, i));
    int status = tern_alloc(&t->type, tokens->count, 1, "token types", b->err);
    if (status == TERN_OK) status = tern_alloc(&t->end, tokens->count, 1, "end tokens", b->err);
    if (status == TERN_OK)
        status =
            tern_alloc(&t->specials, n_specials, sizeof *t->specials, "special tokens", b->err);
    const uint8_t *at = tokens->data;
    for (uint64_t i = 0; i < tokens->count && status == TERN_OK; i++)
        status = add_token(b, tern_gguf_next_text(&at),
                           types ? (int)tern_gguf_u32_at(types, i) : TERN_TOKEN_NORMAL);
    if (status != TERN_OK) return status;
    t->n_vocab = (int32_t)tokens->count;
    tern_tokenizer_sort_specials(t);
    return TERN_OK;
}

static int load_tokens(builder *b, uint64_t *n_tokens)
{
    const tern_gguf *gguf = b->gguf;
    const tern_gguf_value *tokens, *types, *scores;
    int status = tern_gguf_array(&tokens, gguf, KEY("tokens"), TERN_GGUF_STRING, b->err);
    if (status == TERN_OK)
        status = tern_gguf_array(&types, gguf, KEY("token_type"), TERN_GGUF_I32, b->err);
    if (status == TERN_OK)
        status = tern_gguf_array(&scores, gguf, KEY("scores"), TERN_GGUF_F32, b->err);
    if (status != TERN_OK) return status;
    if (!tokens || tokens->count == 0 || tokens->count > INT32_MAX / 2)
        return tern_fail(b->err, TERN_E_MODEL,
                         "'%.140s': the vocabulary has %llu tokens: get a file with a tokenizer",
                         gguf->name, tokens ? (unsigned long long)tokens->count : 0);
    const tern_gguf_value *const others[] = {types, scores};
    for (int i = 0; i < 2; i++)
        if (others[i] && others[i]->count != tokens->count)
            return tern_fail(b->err, TERN_E_MODEL,
                             "'%.140s': %llu tokens but %llu values of %s: the file is"
                             " damaged, get it again",
                             gguf->name, (unsigned long long)tokens->count,
                             (unsigned long long)others[i]->count,
                             TERN_QUOTED(others[i]->key.data, others[i]->key.bytes));
    *n_tokens = tokens->count;
    status = check_types(types, b);
    return status == TERN_OK ? add_tokens(b, tokens, types) : status;
}

/* An id under `key`; an absent one is `fallback`, which counts only inside the vocabulary. */
static int load_id(int32_t *out, const builder *b, const char *key, int32_t fallback)
{
    const int32_t n = b->tokenizer->n_vocab;
    int64_t id = -1;
    const int status =
        tern_gguf_i64(&id, b->gguf, key, fallback < n ? fallback : -1, 0, n - 1, b->err);
    if (status == TERN_OK) *out = (int32_t)id;
    return status;
}

/* ---- merges and scores ----------------------------------------------------------------------- */

/* "left right", cut at the first space that is not the first byte. */
static int add_merge(builder *b, tern_text text)
{
    const char *space = text.bytes > 2 ? memchr(text.data + 1, ' ', text.bytes - 2) : NULL;
    int status = reserve_text(b, text.bytes + 1);
    if (status != TERN_OK) return status;
    const size_t left_text = space ? (size_t)(space - text.data) : 0;
    size_t left = 0, right = 0;
    if (!space || !translate(b->text, &left, &b->alphabet, text.data, left_text) ||
        !translate(b->text + left, &right, &b->alphabet, space + 1, text.bytes - left_text - 1))
        status =
            tern_fail(b->err, TERN_E_MODEL, "merge %u is no pair of texts in the byte alphabet",
                      b->tokenizer->bpe.n_merges);
    if (status == TERN_OK)
        status = tern_bpe_add_merge(&b->tokenizer->bpe, b->text, left, right, b->err);
    if (status == TERN_E_MODEL &&
        b->err) { /* the file and the merge around what is wrong with it */
        const tern_error inner = *b->err;
        tern_fail(b->err, status, "'%.140s': %.120s: '%s'; get a file made for this model",
                  b->gguf->name, inner.text, TERN_QUOTED(text.data, text.bytes));
    }
    return status;
}

static int load_merges(builder *b, uint64_t *n_merges)
{
    const tern_gguf_value *merges;
    int status = tern_gguf_array(&merges, b->gguf, KEY("merges"), TERN_GGUF_STRING, b->err);
    if (status != TERN_OK) return status;
    if (!merges)
        return tern_fail(b->err, TERN_E_MODEL,
                         "'%.140s': a gpt2 tokenizer needs " KEY(
                             "merges") ", which is missing: get a file made for this model",
                         b->gguf->name);
    *n_merges = merges->count;
    status = tern_bpe_begin_merges(&b->tokenizer->bpe, merges->count, b->err);
    const uint8_t *at = merges->data;
    for (uint64_t i = 0; i < merges->count && status == TERN_OK; i++)
        status = add_merge(b, tern_gguf_next_text(&at));
    return status;
}

/* ---- pre-tokenizer, ids, flags ----------------------------------------------------------------
 */

/* SentencePiece needs a score of every token. */
static int load_scores(builder *b)
{
    const tern_gguf_value *value;
    int status = tern_gguf_array(&value, b->gguf, KEY("scores"), TERN_GGUF_F32, b->err);
    if (status != TERN_OK) return status;
    if (!value)
        return tern_fail(b->err, TERN_E_MODEL,
                         "'%.140s': a llama tokenizer needs " KEY(
                             "scores") ", which is missing: get a file made for this model",
                         b->gguf->name);
    float *scores;
    status = tern_alloc(&scores, value->count, sizeof *scores, "token scores", b->err);
    if (status != TERN_OK) return status;
    int32_t unknown = -1;
    for (uint64_t i = 0; i < value->count && status == TERN_OK; i++) {
        scores[i] = tern_f32_from_bits(tern_gguf_u32_at(value, i));
        if (!isfinite(scores[i]))
            status = tern_fail(b->err, TERN_E_MODEL,
                               "'%.140s': the score of token %llu is not finite: get a file made"
                               " for this model",
                               b->gguf->name, (unsigned long long)i);
    }
    if (status == TERN_OK) status = load_id(&unknown, b, KEY("unknown_token_id"), 0);
    if (status == TERN_OK)
        status = tern_bpe_begin_texts(&b->tokenizer->bpe, scores, b->bytes, unknown, b->err);
    free(scores);
    return status;
}

/* FORMATS 8.4: the official 2B4T file does not name its pre-tokenizer, which is the one of Llama 3.
 */
static int load_cutter(builder *b, const char *pre, uint64_t n_tokens, uint64_t n_merges)
{
    tern_text name;
    int status = tern_gguf_text(&name, b->gguf, KEY("pre"), b->err);
    if (status != TERN_OK) return status;
    const bool llama3 = n_tokens == LLAMA3_TOKENS || n_merges == LLAMA3_MERGES;
    if (!pre && !name.data) {
        pre = llama3 ? "llama-bpe" : "default";
        tern_log(llama3 ? TERN_LOG_INFO : TERN_LOG_WARNING,
                 "'%s' does not name its pre-tokenizer: taking %s", b->gguf->name, pre);
    }
    if (pre) name = (tern_text){.data = pre, .bytes = strlen(pre)};
    bool known = false;
    status = tern_cutter_create(&b->tokenizer->cutter, &known, name.data, name.bytes, true, b->err);
    if (status != TERN_OK || known) return status;
    return tern_fail(b->err, pre ? TERN_E_USAGE : TERN_E_MODEL,
                     "'%.140s': the pre-tokenizer '%s' is not known: name one of %s", b->gguf->name,
                     TERN_QUOTED(name.data, name.bytes), tern_pre_names());
}

static int load_ids(const builder *b)
{
    tern_tokenizer *t = b->tokenizer;
    const bool adds_bos = b->pieces || tern_cutter_info(t->cutter)->add_bos;
    int32_t eot = -1, eom = -1;
    int status = load_id(&t->bos, b, KEY("bos_token_id"), b->pieces ? 1 : -1);
    if (status == TERN_OK) status = load_id(&t->eos, b, KEY("eos_token_id"), b->pieces ? 2 : -1);
    if (status == TERN_OK) status = load_id(&eot, b, KEY("eot_token_id"), -1);
    if (status == TERN_OK) status = load_id(&eom, b, KEY("eom_token_id"), -1);
    if (status == TERN_OK)
        status = tern_gguf_bool(&t->add_bos, b->gguf, KEY("add_bos_token"), adds_bos && t->bos >= 0,
                                b->err);
    if (status == TERN_OK)
        status = tern_gguf_bool(&t->add_eos, b->gguf, KEY("add_eos_token"), false, b->err);
    if (status == TERN_OK)
        status =
            tern_gguf_bool(&t->space_prefix, b->gguf, KEY("add_space_prefix"), b->pieces, b->err);
    if (status == TERN_OK && !b->pieces)
        status = tern_gguf_bool(&t->compose, b->gguf, TERN_KEY_COMPOSE, false, b->err);
    if (status != TERN_OK) return status;
    if (t->add_bos && t->bos < 0)
        return tern_fail(b->err, TERN_E_MODEL,
                         "'%.140s': " KEY("add_bos_token") " is true but " KEY(
                             "bos_token_id") " is missing: get a file made for this model",
                         b->gguf->name);
    if (t->add_eos && t->eos < 0)
        return tern_fail(b->err, TERN_E_MODEL,
                         "'%.140s': " KEY("add_eos_token") " is true but " KEY(
                             "eos_token_id") " is missing: get a file made for this model",
                         b->gguf->name);
    const int32_t ends[] = {t->eos, eot, eom};
    for (int i = 0; i < 3; i++)
        if (ends[i] >= 0) t->end[ends[i]] = 1;
    t->bpe.ignore_merges = !b->pieces && tern_cutter_info(t->cutter)->ignore_merges;
    return TERN_OK;
}

static int load_pieces(builder *b, const char *pre)
{
    if (pre)
        return tern_fail(b->err, TERN_E_USAGE,
                         "'%.140s' has a SentencePiece tokenizer, which needs no pre-tokenizer:"
                         " leave '%.40s' out",
                         b->gguf->name, pre);
    for (int i = 0; i < 256; i++) b->bytes[i] = -1;
    b->pieces = b->tokenizer->cuts_at_spaces = true;
    uint64_t n_tokens = 0;
    int status = load_tokens(b, &n_tokens);
    if (status == TERN_OK) status = load_scores(b);
    return status == TERN_OK ? load_ids(b) : status;
}

static int load(builder *b, const char *pre)
{
    tern_text model;
    int status = tern_gguf_text(&model, b->gguf, KEY("model"), b->err);
    if (status != TERN_OK) return status;
    if (model.data && tern_text_equals(model, "llama")) return load_pieces(b, pre);
    if (!model.data || !tern_text_equals(model, "gpt2"))
        return tern_fail(b->err, TERN_E_MODEL,
                         "'%.140s': the tokenizer is '%s', but only byte-level BPE ('gpt2') and"
                         " SentencePiece ('llama') are supported: use another model",
                         b->gguf->name,
                         model.data ? TERN_QUOTED(model.data, model.bytes) : "missing");
    uint64_t n_tokens = 0, n_merges = 0;
    status = load_tokens(b, &n_tokens);
    if (status == TERN_OK) status = load_merges(b, &n_merges);
    if (status == TERN_OK) status = load_cutter(b, pre, n_tokens, n_merges);
    return status == TERN_OK ? load_ids(b) : status;
}

int tern_tokenizer_from_gguf(tern_tokenizer **out, const tern_gguf *gguf, const char *pre,
                             tern_error *err)
{
    tern_error scratch; /* add_merge() wraps the sentence of another function */
    builder b = {.gguf = gguf, .err = err ? err : &scratch};
    int status = tern_alloc(&b.tokenizer, 1, sizeof *b.tokenizer, "a tokenizer", b.err);
    if (status != TERN_OK) return status;
    alphabet_fill(&b.alphabet);
    status = load(&b, pre);
    free(b.text);
    if (status == TERN_OK)
        *out = b.tokenizer;
    else
        tern_tokenizer_destroy(b.tokenizer);
    return status;
}
