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

/* The architectures of ternary models (FORMATS 8.1). */
static const struct {
    const char *name;
    int sub_norms, qk_interleaved;
} archs[] = {{"bitnet-b1.58", 1, 0}, {"bitnet-25", 1, 0}, {"bitnet", 1, 0}, {"llama", 0, 1}};

static int read_arch(tern_model *model, const tern_gguf *gguf, tern_error *err)
{
    tern_model_config *c = &model->config;
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
    for (size_t i = 0; i < sizeof archs / sizeof archs[0]; i++)
        if (strcmp(c->arch, archs[i].name) == 0) {
            c->sub_norms = archs[i].sub_norms;
            model->qk_interleaved = archs[i].qk_interleaved;
            return TERN_OK;
        }
    return tern_fail(err, TERN_E_MODEL,
                     "'%s' holds a model of architecture '%s': this version runs bitnet-b1.58, "
                     "bitnet-25, bitnet and llama",
                     gguf->name, c->arch);
}

static int known_act(tern_act *out, tern_text text)
{
    static const struct {
        const char *name;
        tern_act act;
    } known[] = {{"relu2", TERN_ACT_RELU2}, {"silu", TERN_ACT_SILU}, {"gelu", TERN_ACT_GELU_TANH}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (tern_text_equals(text, known[i].name)) {
            *out = known[i].act;
            return 1;
        }
    return 0;
}

/* What a model without a key for it computes (FORMATS 8.1). Converters of 2026 call models of
 * 1bitLLM, which want SiLU, bitnet-b1.58 too: they are known by their vocabulary. */
static tern_act default_act(const tern_model_config *c, tern_text tokenizer)
{
    if (strcmp(c->arch, "bitnet-25") == 0) return TERN_ACT_RELU2;
    if (strcmp(c->arch, "bitnet-b1.58") != 0) return TERN_ACT_SILU;
    const int pieces = tokenizer.data && tern_text_equals(tokenizer, "llama");
    return c->n_vocab == 32002 || (pieces && c->rope_base == 10000.0f) ? TERN_ACT_SILU
                                                                       : TERN_ACT_RELU2;
}

/* The activation: the caller's word, a key of the file, or what such models have. */
static int read_act(tern_model_config *c, const reader *r, const char *override)
{
    if (override) {
        if (known_act(&c->act, (tern_text){override, strlen(override)})) return TERN_OK;
        return tern_fail(r->err, TERN_E_USAGE,
                         "the activation '%.40s' is not known: use relu2, silu or gelu", override);
    }
    static const char *const keys[] = {"hidden_activation", "feed_forward_activation"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        char key[96], shown[32];
        key_of(key, r, keys[i]);
        tern_text text;
        const int status = tern_gguf_text(&text, r->gguf, key, r->err);
        if (status != TERN_OK) return status;
        if (!text.data) continue;
        if (known_act(&c->act, text)) return TERN_OK;
        copy_text(shown, sizeof shown, text);
        return tern_fail(r->err, TERN_E_MODEL,
                         "'%s': %s is '%s', which is none of relu2, silu, gelu", r->gguf->name, key,
                         shown);
    }
    tern_text tokenizer;
    const int status = tern_gguf_text(&tokenizer, r->gguf, "tokenizer.ggml.model", r->err);
    if (status == TERN_OK) c->act = default_act(c, tokenizer);
    return status;
}

/* Longer contexts by slower rotation: only the linear kind has one meaning everywhere. */
static int read_rope(tern_model *model, const reader *r)
{
    tern_model_config *c = &model->config;
    char key[96];
    tern_text type;
    /* Below 1, angles would leave the range of exact reduction. */
    int status = read_float(&c->rope_base, r, "rope.freq_base", 10000.0f, 1.0f);
    if (status == TERN_OK)
        status = read_float(&model->rope_factor, r, "rope.scaling.factor", 1.0f, 1e-3f);
    key_of(key, r, "rope.scaling.type");
    if (status == TERN_OK) status = tern_gguf_text(&type, r->gguf, key, r->err);
    if (status != TERN_OK) return status;
    if (!type.data || tern_text_equals(type, "none")) {
        model->rope_factor = 1.0f;
        return TERN_OK;
    }
    if (tern_text_equals(type, "linear") || model->rope_factor == 1.0f) return TERN_OK;
    return tern_fail(r->err, TERN_E_MODEL,
                     "'%s': %s is '%s', but only 'linear' is supported: use another model",
                     r->gguf->name, key, TERN_QUOTED(type.data, type.bytes));
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

int tern_config_read(tern_model *model, const char *activation, tern_error *err)
{
    tern_model_config *c = &model->config;
    c->embed_multiplier = 1.0f;
    int status = read_arch(model, model->gguf, err);
    if (status != TERN_OK) return status;
    const reader r = {model->gguf, c->arch, err};
    status = read_shapes(c, &r, tern_tokenizer_n_vocab(model->tokenizer));
    if (status == TERN_OK)
        status = read_float(&c->eps, &r, "attention.layer_norm_rms_epsilon", 1e-5f, FLT_TRUE_MIN);
    if (status == TERN_OK) status = read_rope(model, &r);
    if (status == TERN_OK) status = read_act(c, &r, activation);
    return status;
}
