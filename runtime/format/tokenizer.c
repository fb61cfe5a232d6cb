/* tokenizer.c - text to ids and back, over the parts: special tokens are found first, what lies
 * between them is split into valid UTF-8 and broken bytes, the pattern cuts the valid stretches
 * into pieces, and the BPE encodes every piece. SentencePiece has no pattern: its text is encoded
 * as a whole. Nothing is ever dropped, so the bytes of the ids are the text again, but for the
 * space that SentencePiece puts in front and for the characters that NFC composes. */
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "base/text.h"
#include "format/compose.h"
#include "format/tokenizer_gguf.h"
#include "format/tokenizer_internal.h"

#define MAX_TEXT_BYTES ((size_t)INT32_MAX)

/* One call of tern_tokenizer_encode. */
typedef struct encoder {
    const tern_tokenizer *tokenizer;
    tern_bpe_sink sink;
    tern_bpe_scratch scratch;
    tern_error *err;
} encoder;

/* ---- special tokens -------------------------------------------------------------------------- */

static const char *bytes_of(const tern_tokenizer *tokenizer, int32_t id, size_t *bytes)
{
    const tern_symbols *symbols = &tokenizer->bpe.symbols;
    *bytes = symbols->begin[id + 1] - symbols->begin[id];
    return symbols->bytes + symbols->begin[id];
}

static int compare_specials(const void *a, const void *b, void *user)
{
    const tern_special *x = a, *y = b;
    size_t x_bytes, y_bytes;
    const char *x_text = bytes_of(user, x->id, &x_bytes), *y_text = bytes_of(user, y->id, &y_bytes);
    const int order = memcmp(x_text, y_text, x_bytes < y_bytes ? x_bytes : y_bytes);
    if (order) return order;
    if (x_bytes != y_bytes) return x_bytes < y_bytes ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

void tern_tokenizer_sort_specials(tern_tokenizer *tokenizer)
{
    qsort_r(tokenizer->specials, (size_t)tokenizer->n_specials, sizeof *tokenizer->specials,
            compare_specials, tokenizer);
    for (int32_t i = 0; i < tokenizer->n_specials; i++) {
        size_t bytes;
        tokenizer->special_first[(uint8_t)*bytes_of(tokenizer, tokenizer->specials[i].id, &bytes)] =
            true;
    }
}

/* First of the sorted specials low .. high, which agree in their first `depth` bytes, whose byte
 * there is at least `byte`. Those that end there come first and count as -1. */
static int32_t first_at_least(const tern_tokenizer *tokenizer, int32_t low, int32_t high,
                              size_t depth, int byte)
{
    while (low < high) {
        const int32_t middle = low + (high - low) / 2;
        size_t bytes;
        const char *text = bytes_of(tokenizer, tokenizer->specials[middle].id, &bytes);
        if ((depth < bytes ? (uint8_t)text[depth] : -1) < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The longest special token at the beginning of text [bytes], or -1. The sorted array serves as a
 * trie: every byte narrows the range of specials that still agree with the text. */
static int32_t special_at(const tern_tokenizer *tokenizer, const char *text, size_t bytes,
                          bool control)
{
    int32_t best = -1, low = 0, high = tokenizer->n_specials;
    size_t best_bytes = 0;
    for (size_t depth = 0; low < high; depth++) {
        for (; low < high; low++) { /* those that end here; of equal ones the first counts */
            const tern_special *special = &tokenizer->specials[low];
            size_t length;
            bytes_of(tokenizer, special->id, &length);
            if (length > depth) break;
            if ((!control && special->control) || best_bytes == length) continue;
            best = special->id;
            best_bytes = length;
        }
        if (depth == bytes) break;
        const int byte = (uint8_t)text[depth];
        low = first_at_least(tokenizer, low, high, depth, byte);
        high = first_at_least(tokenizer, low, high, depth, byte + 1);
    }
    return best;
}

static bool has_text(const tern_tokenizer *tokenizer, int32_t id, const char *text, size_t bytes)
{
    size_t length;
    const char *own = tern_tokenizer_bytes(tokenizer, id, &length);
    return own && length == bytes && memcmp(own, text, bytes) == 0;
}

int32_t tern_tokenizer_find(const tern_tokenizer *tokenizer, const char *text, size_t bytes)
{
    const int32_t special = special_at(tokenizer, text, bytes, true);
    if (special >= 0 && has_text(tokenizer, special, text, bytes)) return special;
    const int32_t n_vocab = tern_tokenizer_n_vocab(tokenizer);
    for (int32_t id = 0; id < n_vocab; id++)
        if (has_text(tokenizer, id, text, bytes)) return id;
    return -1;
}

/* ---- encoding -------------------------------------------------------------------------------- */

static int encode_piece(void *user, const char *piece, size_t bytes, tern_error *err)
{
    encoder *e = user;
    return tern_bpe_encode(&e->tokenizer->bpe, &e->scratch, &e->sink, piece, bytes, err);
}

static bool is_ascii(const char *text, size_t bytes)
{
    uint8_t all = 0;
    for (size_t i = 0; i < bytes; i++) all |= (uint8_t)text[i];
    return all < 128;
}

/* Valid UTF-8, composed where the tokenizer wants that, then cut into pieces. */
static int encode_valid(encoder *e, const char *text, size_t bytes)
{
    const tern_cutter *cutter = e->tokenizer->cutter;
    if (!e->tokenizer->compose || is_ascii(text, bytes))
        return tern_cutter_run(cutter, text, bytes, encode_piece, e, e->err);
    char *composed;
    size_t n;
    int status = tern_compose(&composed, &n, text, bytes, e->err);
    if (status != TERN_OK) return status;
    status = tern_cutter_run(cutter, composed, n, encode_piece, e, e->err);
    free(composed);
    return status;
}

/* Text without special tokens: broken bytes stand alone between valid stretches. */
static int encode_plain(encoder *e, const char *text, size_t bytes)
{
    size_t begin = 0, at = 0;
    int status = TERN_OK;
    while (at < bytes && status == TERN_OK) {
        size_t length;
        if (tern_utf8_look(text + at, bytes - at, &length) == TERN_UTF8_WHOLE) {
            at += length;
            continue;
        }
        status = encode_valid(e, text + begin, at - begin);
        for (; length > 0 && status == TERN_OK; length--, at++)
            status = encode_piece(e, text + at, 1, e->err);
        begin = at;
    }
    return status == TERN_OK ? encode_valid(e, text + begin, at - begin) : status;
}

size_t tern_unescape_spaces(char *text, size_t bytes)
{
    size_t n = 0;
    for (size_t i = 0; i < bytes; n++) {
        const bool space = bytes - i >= 3 && memcmp(text + i, "\xe2\x96\x81", 3) == 0;
        text[n] = space ? ' ' : text[i];
        i += space ? 3 : 1;
    }
    return n;
}

/* Text without special tokens, for SentencePiece. No merge crosses the border before a space where
 * no token does, so words are encoded one by one there. */
static int encode_whole(encoder *e, const char *text, size_t bytes)
{
    const tern_tokenizer *tokenizer = e->tokenizer;
    if (bytes == 0) return TERN_OK;
    char *copy;
    int status = tern_alloc(&copy, bytes + 1, 1, "a copy of the text", e->err);
    if (status != TERN_OK) return status;
    const size_t prefix = tokenizer->space_prefix;
    copy[0] = ' ';
    memcpy(copy + prefix, text, bytes);
    const size_t n = tern_unescape_spaces(copy, bytes + prefix);
    for (size_t begin = 0, at = 1; begin < n && status == TERN_OK; at++) {
        const bool border = at == n || (tokenizer->cuts_at_spaces && copy[at] == ' ' &&
                                        copy[at - 1] != ' ');
        if (!border) continue;
        status = encode_piece(e, copy + begin, at - begin, e->err);
        begin = at;
    }
    free(copy);
    return status;
}

static int encode_text(encoder *e, const char *text, size_t bytes)
{
    return e->tokenizer->cutter ? encode_plain(e, text, bytes) : encode_whole(e, text, bytes);
}

static int encode_all(encoder *e, const char *text, size_t bytes, bool control)
{
    const tern_tokenizer *tokenizer = e->tokenizer;
    size_t begin = 0, at = 0;
    while (at < bytes) {
        if (!tokenizer->special_first[(uint8_t)text[at]]) {
            at++;
            continue;
        }
        const int32_t id = special_at(tokenizer, text + at, bytes - at, control);
        if (id < 0) {
            at++;
            continue;
        }
        int status = encode_text(e, text + begin, at - begin);
        if (status == TERN_OK) status = tern_bpe_put(&e->sink, id, e->err);
        if (status != TERN_OK) return status;
        size_t length;
        bytes_of(tokenizer, id, &length);
        begin = at += length;
    }
    return encode_text(e, text + begin, at - begin);
}

size_t tern_tokenizer_bound(const tern_tokenizer *tokenizer, size_t text_bytes)
{
    /* Every token takes a byte at least, but for BOS, EOS and SentencePiece's spaces, of which one
     * comes first and the others behind special tokens, before other text. */
    if (tokenizer->compose) return TERN_COMPOSE_GROWTH * text_bytes + 3;
    return text_bytes + text_bytes / 2 + 3;
}

int tern_tokenizer_encode(const tern_tokenizer *tokenizer, int32_t *ids, size_t cap, size_t *n,
                          const char *text, size_t bytes, unsigned flags, tern_error *err)
{
    if (bytes > MAX_TEXT_BYTES)
        return tern_fail(err, TERN_E_FIT, "a text of %zu bytes is more than %zu: give it in parts",
                         bytes, MAX_TEXT_BYTES);
    encoder e = {.tokenizer = tokenizer, .sink = {.ids = ids, .cap = cap}, .err = err};
    int status = TERN_OK;
    if ((flags & TERN_ENCODE_BOS) && tokenizer->add_bos)
        status = tern_bpe_put(&e.sink, tokenizer->bos, err);
    if (status == TERN_OK) status = encode_all(&e, text, bytes, flags & TERN_ENCODE_SPECIAL);
    if (status == TERN_OK && (flags & TERN_ENCODE_EOS) && tokenizer->add_eos)
        status = tern_bpe_put(&e.sink, tokenizer->eos, err);
    tern_bpe_scratch_free(&e.scratch);
    if (status == TERN_OK) *n = e.sink.n;
    return status;
}

/* ---- the vocabulary -------------------------------------------------------------------------- */

static bool known(const tern_tokenizer *tokenizer, int32_t id)
{
    return id >= 0 && id < tokenizer->n_vocab;
}

const char *tern_tokenizer_bytes(const tern_tokenizer *tokenizer, int32_t id, size_t *bytes)
{
    return known(tokenizer, id) ? bytes_of(tokenizer, id, bytes) : NULL;
}

int tern_tokenizer_n_vocab(const tern_tokenizer *tokenizer)
{
    return tokenizer->n_vocab;
}

int32_t tern_tokenizer_bos(const tern_tokenizer *tokenizer)
{
    return tokenizer->bos;
}

int32_t tern_tokenizer_eos(const tern_tokenizer *tokenizer)
{
    return tokenizer->eos;
}

int tern_tokenizer_is_control(const tern_tokenizer *tokenizer, int32_t id)
{
    return known(tokenizer, id) &&
           (tokenizer->type[id] == TERN_TOKEN_CONTROL || tokenizer->type[id] == TERN_TOKEN_UNKNOWN);
}

int tern_tokenizer_is_end(const tern_tokenizer *tokenizer, int32_t id)
{
    return known(tokenizer, id) && tokenizer->end[id];
}

const char *tern_tokenizer_pre(const tern_tokenizer *tokenizer)
{
    return tokenizer->cutter ? tern_cutter_info(tokenizer->cutter)->name : "llama";
}

void tern_tokenizer_destroy(tern_tokenizer *tokenizer)
{
    if (!tokenizer) return;
    tern_cutter_destroy(tokenizer->cutter);
    tern_bpe_free(&tokenizer->bpe);
    free(tokenizer->type);
    free(tokenizer->end);
    free(tokenizer->specials);
    free(tokenizer);
}
