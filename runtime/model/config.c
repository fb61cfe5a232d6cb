/* config.c - the hyper-parameters of a GGUF file (FORMATS 8.1, 8.2), each with its range. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "base/text.h"
#include "model/model_file.h"

/* A file and the prefix of its keys. */
typedef struct reader {
    const tern_gguf *gguf;
    const char *arch;
    tern_error *err;
} reader;

static void key_of(char key[96], const reader *r, const char *suffix)
{
    snprintf(key, 96, "%s.%s", r->arch, suffix);
}

/* An integer in 1 .. max; fallback 0 means that the key must be there. */
static int read_int(int *out, const reader *r, const char *suffix, int fallback, int max)
{
    char key[96];
    key_of(key, r, suffix);
    int64_t value;
    const int status = tern_gguf_i64(&value, r->gguf, key, fallback, 1, max, r->err);
    if (status != TERN_OK) return status;
    if (value == 0)
        return tern_fail(r->err, TERN_E_MODEL, "'%s' lacks the key %s: it is no complete model",
                         r->gguf->name, key);
    *out = (int)value;
    return TERN_OK;
}

/* A number of at least `min`, which is above 0. */
static int read_float(float *out, const reader *r, const char *suffix, float fallback, float min)
{
    char key[96];
    key_of(key, r, suffix);
    const int status = tern_gguf_f32(out, r->gguf, key, fallback, r->err);
    if (status != TERN_OK) return status;
    if (!(*out >= min) || !isfinite(*out))
        return tern_fail(r->err, TERN_E_MODEL, "'%s': %s is %g, which is not at least %g",
                         r->gguf->name, key, (double)*out, (double)min);
    return TERN_OK;
}

/* A text of the file, fit to be shown: whole UTF-8 characters as many as have room, '?' for control
 * characters and for what is no character. */
static void copy_text(char *out, size_t cap, tern_text text)
{
    size_t n = 0, length;
    for (size_t at = 0; at < text.bytes; at += length) {
        const char *from = text.data + at;
        const tern_utf8_kind kind = tern_utf8_look(from, text.bytes - at, &length);
        const int shown = kind == TERN_UTF8_WHOLE && (unsigned char)*from >= 0x20 && *from != 0x7f;
        const size_t here = shown ? length : 1;
        if (here > cap - 1 - n) break;
        memcpy(out + n, shown ? from : "?", here);
        n += here;
    }
    out[n] = 0;
}

static int read_arch(tern_model_config *c, const tern_gguf *gguf, tern_error *err)
{
    tern_text arch, name;
    int status = tern_gguf_text(&arch, gguf, "general.architecture", err);
    if (status == TERN_OK) status = tern_gguf_text(&name, gguf, "general.name", err);
    if (status != TERN_OK) return status;
    if (!arch.data)
        return tern_fail(err, TERN_E_MODEL, "'%s' lacks the key general.architecture", gguf->name);
    copy_text(c->arch, sizeof c->arch, arch);
    if (name.data)
        copy_text(c->name, sizeof c->name, name);
    else
        snprintf(c->name, sizeof c->name, "%s", c->arch);
    if (strcmp(c->arch, "bitnet-b1.58") != 0)
        return tern_fail(err, TERN_E_MODEL,
                         "'%s' holds a model of architecture '%s': this version runs bitnet-b1.58",
                         gguf->name, c->arch);
    return TERN_OK;
}

/* The activation: an explicit key wins, else squared ReLU (FORMATS 8.1). */
static int read_act(tern_model_config *c, const reader *r)
{
    static const struct {
        const char *name;
        tern_act act;
    } known[] = {{"relu2", TERN_ACT_RELU2}, {"silu", TERN_ACT_SILU}, {"gelu", TERN_ACT_GELU_TANH}};
    char key[96];
    key_of(key, r, "hidden_activation");
    tern_text text;
    const int status = tern_gguf_text(&text, r->gguf, key, r->err);
    if (status != TERN_OK) return status;
    c->act = TERN_ACT_RELU2;
    if (!text.data) return TERN_OK;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (tern_text_equals(text, known[i].name)) {
            c->act = known[i].act;
            return TERN_OK;
        }
    char shown[32];
    copy_text(shown, sizeof shown, text);
    return tern_fail(r->err, TERN_E_MODEL, "'%s': %s is '%s', which is none of relu2, silu, gelu",
                     r->gguf->name, key, shown);
}

static int read_shapes(tern_model_config *c, const reader *r, int n_tokens)
{
    int status = read_int(&c->d, r, "embedding_length", 0, 1 << 20);
    if (status == TERN_OK) status = read_int(&c->f, r, "feed_forward_length", 0, 1 << 22);
    if (status == TERN_OK) status = read_int(&c->n_layers, r, "block_count", 0, TERN_MAX_LAYERS);
    if (status == TERN_OK) status = read_int(&c->h, r, "attention.head_count", 0, 4096);
    if (status == TERN_OK) status = read_int(&c->kv, r, "attention.head_count_kv", c->h, 4096);
    if (status == TERN_OK) status = read_int(&c->n_ctx, r, "context_length", 0, 1 << 24);
    if (status == TERN_OK) status = read_int(&c->n_vocab, r, "vocab_size", n_tokens, 1 << 24);
    if (status != TERN_OK) return status;
    const int default_hd = c->d / c->h > 0 ? c->d / c->h : 1;
    int value_length, rope_dims;
    status = read_int(&c->hd, r, "attention.key_length", default_hd, TERN_MAX_HD);
    if (status == TERN_OK)
        status = read_int(&value_length, r, "attention.value_length", c->hd, 4096);
    if (status == TERN_OK) status = read_int(&rope_dims, r, "rope.dimension_count", c->hd, 4096);
    if (status != TERN_OK) return status;
    if (value_length != c->hd || rope_dims != c->hd)
        return tern_fail(r->err, TERN_E_MODEL,
                         "'%s': head sizes of keys %d, values %d and rotation %d differ",
                         r->gguf->name, c->hd, value_length, rope_dims);
    if (c->h % c->kv != 0 || c->hd % 4 != 0 || c->hd > TERN_MAX_HD)
        return tern_fail(r->err, TERN_E_MODEL,
                         "'%s': %d query heads on %d KV heads of size %d cannot be computed",
                         r->gguf->name, c->h, c->kv, c->hd);
    if (c->n_vocab != n_tokens)
        return tern_fail(r->err, TERN_E_MODEL, "'%s': vocab_size is %d, but there are %d tokens",
                         r->gguf->name, c->n_vocab, n_tokens);
    return TERN_OK;
}

int tern_config_read(tern_model_config *out, const tern_gguf *gguf, const tern_tokenizer *tokenizer,
                     tern_error *err)
{
    tern_model_config c = {.embed_multiplier = 1.0f, .sub_norms = 1};
    int status = read_arch(&c, gguf, err);
    if (status != TERN_OK) return status;
    const reader r = {gguf, c.arch, err};
    status = read_shapes(&c, &r, tern_tokenizer_n_vocab(tokenizer));
    if (status == TERN_OK)
        status = read_float(&c.eps, &r, "attention.layer_norm_rms_epsilon", 1e-5f, FLT_TRUE_MIN);
    if (status == TERN_OK) /* below 1, angles would leave the range of exact reduction */
        status = read_float(&c.rope_base, &r, "rope.freq_base", 10000.0f, 1.0f);
    if (status == TERN_OK) status = read_act(&c, &r);
    if (status == TERN_OK) *out = c;
    return status;
}
