/* tiny_model.h - GGUF files of one small random model in any container: architecture, tensor types,
 * layouts. The same seed gives the same weights in all of them. */
#ifndef TERN_TESTS_TINY_MODEL_H
#define TERN_TESTS_TINY_MODEL_H

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cases.h"
#include "packers.h"
#include "vocabulary.h"

enum { TINY_D = 256, TINY_F = 512, TINY_H = 4, TINY_KV = 2, TINY_HD = 64, TINY_LAYERS = 2 };
enum { TINY_TENSORS = TINY_LAYERS * 18 + 4 };
#define TINY_HALF 0x2d00 /* f16 of every scale: 5 * 2^-6, exact in bf16, too */

/* All zero: bitnet-b1.58 in I2_S. */
typedef struct tiny_options {
    const char *arch;       /* NULL: "bitnet-b1.58" */
    const char *activation; /* key hidden_activation; NULL: none */
    uint32_t ternary;       /* type of the projections; 0: I2_S */
    uint32_t table;         /* type of embedding and head */
    tern_i2s_layout layout;
    int untied;        /* a head of its own */
    int uneven;        /* TQ: the last block of a matrix has twice the scale */
    int outer_scales;  /* .scale tensors hold the scales, matrices -1, 0, +1 */
    int interleaved;   /* rows of q and k as in files of llama */
    int other_weights; /* another seed */
    int rope_freqs;    /* 1: all divisors 1; 2: some 4 */
    int dead;          /* this many FFN channels are zero */
    int f;             /* FFN width; 0: TINY_F */
    const char *extra; /* name of one more vector */
} tiny_options;

static inline uint64_t tiny_f(const tiny_options *o)
{
    return o->f ? (uint64_t)o->f : TINY_F;
}

typedef struct tiny_tensor {
    char name[48];
    uint32_t type;
    uint64_t k, n_out; /* n_out 0: a vector */
    uint8_t *data;
    uint64_t bytes;
    uint8_t *codes; /* of a projection, rows in natural order; NULL: floats */
} tiny_tensor;

typedef struct tiny_model {
    tiny_options o;
    tiny_tensor tensor[TINY_TENSORS];
    int n;
    uint64_t seed;
} tiny_model;

static inline tiny_tensor *tiny_add(tiny_model *m, const char *name, uint32_t type, uint64_t k,
                                    uint64_t n_out)
{
    tiny_tensor *t = &m->tensor[m->n++];
    if (m->n > TINY_TENSORS) abort();
    *t = (tiny_tensor){.type = type, .k = k, .n_out = n_out};
    snprintf(t->name, sizeof t->name, "%s", name);
    if (!tern_tensor_type_bytes(&t->bytes, tern_tensor_type_find(type), k, n_out ? n_out : 1))
        abort();
    t->data = case_alloc(t->bytes);
    return t;
}

/* Floats in any plain type; values are exact in all of them. */
static inline void tiny_put_floats(tiny_tensor *t, const float *values)
{
    const size_t n = t->k * (t->n_out ? t->n_out : 1);
    for (size_t i = 0; i < n; i++) {
        const uint32_t bits = tern_f32_bits(values[i]);
        const uint16_t half =
            t->type == TERN_GGML_BF16 ? (uint16_t)(bits >> 16) : tern_f16_from_f32(values[i]);
        if (t->type == TERN_GGML_F32)
            memcpy(t->data + 4 * i, &bits, 4);
        else
            memcpy(t->data + 2 * i, &half, 2);
    }
}

/* Multiples of 1/64 below 2: seven bits, which every plain type holds. */
static inline void tiny_vector(tiny_model *m, const char *name, uint64_t k)
{
    float *values = case_alloc(k * 4);
    for (size_t i = 0; i < k; i++) values[i] = (float)case_int(&m->seed, 32, 96) / 64.0f;
    tiny_put_floats(tiny_add(m, name, TERN_GGML_F32, k, 0), values);
    free(values);
}

static inline void tiny_table(tiny_model *m, const char *name)
{
    const size_t n = (size_t)TINY_D * N_TINY;
    float *values = case_alloc(n * 4);
    for (size_t i = 0; i < n; i++) values[i] = (float)case_int(&m->seed, -127, 127) / 512.0f;
    tiny_put_floats(tiny_add(m, name, m->o.table, TINY_D, N_TINY), values);
    free(values);
}

static inline tern_tl_shape tiny_tiles(uint64_t k, uint64_t n_out, uint32_t type)
{
    return (tern_tl_shape){(int)n_out, (int)k, 128, type == TERN_GGML_TL2 ? 96 : 64, 32};
}

static inline void tiny_encode(tiny_tensor *t, const uint8_t *codes, const tiny_options *o)
{
    const size_t n_out = t->n_out, k = t->k, n = n_out * k;
    const uint16_t half = o->outer_scales ? 0x3c00 : TINY_HALF;
    const float scale = tern_f32_from_f16(half);
    const tern_tl_shape tiles = tiny_tiles(k, n_out, t->type);
    uint64_t at = n / 4;
    const size_t twice = o->uneven ? n / 256 - 1 : n;
    switch (t->type) {
    case TERN_GGML_I2_S: encode_i2s(t->data, codes, n_out, k, o->layout); break;
    case TERN_GGML_TL1: encode_tl1(t->data, codes, &tiles); break;
    case TERN_GGML_TL2:
        encode_tl2(t->data, codes, &tiles);
        tern_tl2_bytes(&at, k, n_out);
        break;
    case TERN_GGML_TQ1_0:
        for (size_t i = 0; i < n / 256; i++)
            encode_tq1_0(t->data + 54 * i, codes + 256 * i,
                         i == twice ? (uint16_t)(half + 0x400) : half);
        return;
    case TERN_GGML_TQ2_0:
        for (size_t i = 0; i < n / 256; i++)
            encode_tq2_0(t->data + 66 * i, codes + 256 * i,
                         i == twice ? (uint16_t)(half + 0x400) : half);
        return;
    case TERN_GGML_IQ1_BN:
    case TERN_GGML_IQ2_BN: encode_bn(t->data, codes, n_out, k, t->type, half); return;
    default: {
        float *values = case_alloc(n * 4);
        for (size_t i = 0; i < n; i++) values[i] = (float)(codes[i] - 1) * scale;
        tiny_put_floats(t, values);
        free(values);
        return;
    }
    }
    memcpy(t->data + at, &scale, 4);
}

/* Brings the halves of every head together, row by row (FORMATS 8.6). */
static inline void tiny_interleave(uint8_t *codes, size_t k, size_t n_out)
{
    uint8_t *old = case_alloc(k * n_out);
    memcpy(old, codes, k * n_out);
    for (size_t row = 0; row < n_out; row++) {
        const size_t in = row % TINY_HD, half = TINY_HD / 2;
        const size_t to = row - in + (in < half ? 2 * in : 2 * (in - half) + 1);
        memcpy(codes + to * k, old + row * k, k);
    }
    free(old);
}

/* Zero rows of gate and up, zero columns of down. */
static inline void tiny_kill(uint8_t *codes, size_t k, size_t n_out, const char *name, int dead)
{
    for (size_t i = 0; i < (size_t)dead; i++)
        for (size_t j = 0; j < k * n_out; j++)
            if (strstr(name, "down") ? j % k == 7 * i : j / k == 7 * i) codes[j] = 1;
}

static inline void tiny_matrix(tiny_model *m, int layer, const char *name, uint64_t k,
                               uint64_t n_out)
{
    char full[48];
    snprintf(full, sizeof full, "blk.%d.%s.weight", layer, name);
    uint8_t *codes = case_alloc(k * n_out);
    for (size_t i = 0; i < k * n_out; i++) codes[i] = (uint8_t)case_int(&m->seed, 0, 2);
    if (strstr(name, "ffn")) tiny_kill(codes, k, n_out, name, m->o.dead);
    uint8_t *natural = case_alloc(k * n_out);
    memcpy(natural, codes, k * n_out);
    if (m->o.interleaved && (strcmp(name, "attn_q") == 0 || strcmp(name, "attn_k") == 0))
        tiny_interleave(codes, k, n_out);
    const uint32_t type = m->o.ternary ? m->o.ternary : TERN_GGML_I2_S;
    tiny_tensor *t = tiny_add(m, full, type, k, n_out);
    t->codes = natural;
    tiny_encode(t, codes, &m->o);
    free(codes);
    if (!m->o.outer_scales) return;
    const float scale = tern_f32_from_f16(TINY_HALF);
    snprintf(full, sizeof full, "blk.%d.%s.scale", layer, name);
    tiny_put_floats(tiny_add(m, full, TERN_GGML_F32, 1, 0), &scale);
}

static inline void tiny_layer(tiny_model *m, int layer, int sub_norms)
{
    char name[48];
    snprintf(name, sizeof name, "blk.%d.", layer);
    const size_t at = strlen(name);
    const struct {
        const char *name;
        uint64_t k;
        int wanted;
    } norms[] = {{"attn_norm.weight", TINY_D, 1},
                 {"attn_sub_norm.weight", TINY_H * TINY_HD, sub_norms},
                 {"ffn_norm.weight", TINY_D, 1},
                 {"ffn_sub_norm.weight", tiny_f(&m->o), sub_norms}};
    for (int i = 0; i < 4; i++) {
        snprintf(name + at, sizeof name - at, "%s", norms[i].name);
        if (norms[i].wanted) tiny_vector(m, name, norms[i].k);
    }
    tiny_matrix(m, layer, "attn_q", TINY_D, TINY_H * TINY_HD);
    tiny_matrix(m, layer, "attn_k", TINY_D, TINY_KV * TINY_HD);
    tiny_matrix(m, layer, "attn_v", TINY_D, TINY_KV * TINY_HD);
    tiny_matrix(m, layer, "attn_output", TINY_H * TINY_HD, TINY_D);
    tiny_matrix(m, layer, "ffn_gate", TINY_D, tiny_f(&m->o));
    tiny_matrix(m, layer, "ffn_up", TINY_D, tiny_f(&m->o));
    tiny_matrix(m, layer, "ffn_down", tiny_f(&m->o), TINY_D);
}

static inline void tiny_tensors(tiny_model *m)
{
    const int sub_norms = strcmp(m->o.arch, "llama") != 0;
    tiny_table(m, "token_embd.weight");
    tiny_vector(m, "output_norm.weight", TINY_D);
    for (int layer = 0; layer < TINY_LAYERS; layer++) tiny_layer(m, layer, sub_norms);
    if (m->o.untied) tiny_table(m, "output.weight");
    if (m->o.rope_freqs) {
        float divisor[TINY_HD / 2];
        for (int i = 0; i < TINY_HD / 2; i++)
            divisor[i] = m->o.rope_freqs == 2 && i > 8 ? 4.0f : 1.0f;
        tiny_put_floats(tiny_add(m, "rope_freqs.weight", TERN_GGML_F32, TINY_HD / 2, 0), divisor);
    }
    if (m->o.extra) tiny_vector(m, m->o.extra, TINY_D);
}

/* Keys of the model; returns their number. */
static inline uint64_t tiny_keys(gguf_builder *b, const tiny_options *o)
{
    const struct {
        const char *key;
        uint32_t value;
    } list[] = {{"context_length", 128},
                {"embedding_length", TINY_D},
                {"block_count", TINY_LAYERS},
                {"feed_forward_length", (uint32_t)tiny_f(o)},
                {"attention.head_count", TINY_H},
                {"attention.head_count_kv", TINY_KV}};
    char key[96];
    uint64_t n = 1;
    put_key_text(b, "general.architecture", o->arch);
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++, n++) {
        snprintf(key, sizeof key, "%s.%s", o->arch, list[i].key);
        put_key_u32(b, key, list[i].value);
    }
    if (o->activation) {
        snprintf(key, sizeof key, "%s.hidden_activation", o->arch);
        put_key_text(b, key, o->activation);
        n++;
    }
    return n;
}

static inline tiny_model tiny_make(const tiny_options *options)
{
    tiny_model m = {.o = *options, .seed = options->other_weights ? 99 : 12};
    if (!m.o.arch) m.o.arch = "bitnet-b1.58";
    tiny_tensors(&m);
    return m;
}

static inline void tiny_free(tiny_model *m)
{
    for (int i = 0; i < m->n; i++) {
        free(m->tensor[i].data);
        free(m->tensor[i].codes);
    }
}

/* The file; the caller frees its bytes. */
static inline gguf_builder tiny_build(const tiny_options *options)
{
    tiny_model m = tiny_make(options);
    gguf_builder keys = {0}, b = tiny_vocabulary(0);
    const uint64_t n_keys = 4 + tiny_keys(&keys, &m.o), n_tensors = (uint64_t)m.n;
    memcpy(b.bytes + 8, &n_tensors, 8);
    memcpy(b.bytes + 16, &n_keys, 8);
    put_bytes(&b, keys.bytes, keys.n);
    free(keys.bytes);
    uint64_t offset = 0;
    for (int i = 0; i < m.n; i++) {
        const uint64_t ne[2] = {m.tensor[i].k, m.tensor[i].n_out};
        put_tensor(&b, m.tensor[i].name, ne[1] ? 2 : 1, ne, m.tensor[i].type, offset);
        offset += (m.tensor[i].bytes + 31) / 32 * 32;
    }
    for (int i = 0; i < m.n; i++) {
        put_data(&b, 32, 0);
        put_bytes(&b, m.tensor[i].data, m.tensor[i].bytes);
    }
    put_data(&b, 32, 0);
    tiny_free(&m);
    return b;
}

/* A file that lives in memory; close the descriptor to be rid of it. */
static inline int tiny_file(char path[40], const tiny_options *options)
{
    gguf_builder b = tiny_build(options);
    const int fd = memfd_create("tiny", MFD_CLOEXEC);
    if (fd < 0 || write(fd, b.bytes, b.n) != (ssize_t)b.n) abort();
    free(b.bytes);
    snprintf(path, 40, "/proc/self/fd/%d", fd);
    return fd;
}

#endif
