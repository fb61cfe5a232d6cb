/* preset.c - models of public shapes with seeded random weights, for benchmarks and tests.
 *
 * A preset is a list of tensors without values: model.c asks for them by name and shape as it asks
 * a file, and gets them described (tern_preset_tensor). The values are drawn while a part loads,
 * one row at a time, from a counter-based generator keyed by (seed, tensor, row), so they exist
 * once, on the device, and do not depend on how the model is split. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "model/model_file.h"

#define SCALE 0.02f    /* of every ternary matrix, and the range of the table */
#define ZERO_BELOW 116 /* of 256: 45 % zeros, the other 140 in equal halves */
#define DRAW 64        /* codes drawn at once, a loop that compilers vectorise */

struct tern_preset {
    const char *name;
    tern_model_config config;
};

#define BITNET .arch = "bitnet-b1.58", .eps = 1e-5f, .embed_multiplier = 1.0f, .sub_norms = 1, \
               .tied = 1
/* Llama's layers with ternary weights: no sub-norms, SiLU, a head of its own (FORMATS 9). */
#define LLAMA .arch = "bitnet-b1.58", .eps = 1e-5f, .embed_multiplier = 1.0f, .act = TERN_ACT_SILU
#define LLAMA3 LLAMA, .hd = 128, .n_vocab = 128256, .n_ctx = 8192, .rope_base = 500000.0f
#define FALCON3 LLAMA, .hd = 256, .kv = 4, .n_vocab = 131072, .rope_base = 1000042.0f

static const tern_preset presets[] = {
    {"2b4t", {BITNET, .name = "BitNet b1.58 2B4T shapes, random weights", .d = 2560, .f = 6912,
              .n_layers = 30, .h = 20, .kv = 5, .hd = 128, .n_vocab = 128256, .n_ctx = 4096,
              .rope_base = 500000.0f, .act = TERN_ACT_RELU2}},
    {"large", {BITNET, .name = "bitnet_b1_58-large shapes, random weights", .d = 1536, .f = 4096,
               .n_layers = 24, .h = 16, .kv = 16, .hd = 96, .n_vocab = 32002, .n_ctx = 2048,
               .rope_base = 10000.0f, .act = TERN_ACT_SILU}},
    {"3b", {BITNET, .name = "bitnet_b1_58-3B shapes, random weights", .d = 3200, .f = 8640,
            .n_layers = 26, .h = 32, .kv = 32, .hd = 100, .n_vocab = 32002, .n_ctx = 2048,
            .rope_base = 10000.0f, .act = TERN_ACT_SILU}},
    {"llama3-8b", {LLAMA3, .name = "Llama3-8B-1.58 shapes, random weights", .d = 4096, .f = 14336,
                   .n_layers = 32, .h = 32, .kv = 8}},
    {"falcon3-1b", {FALCON3, .name = "Falcon3-1B-1.58bit shapes, random weights", .d = 2048,
                    .f = 8192, .n_layers = 18, .h = 8, .n_ctx = 8192}},
    {"falcon3-3b", {FALCON3, .name = "Falcon3-3B-1.58bit shapes, random weights", .d = 3072,
                    .f = 9216, .n_layers = 22, .h = 12, .n_ctx = 32768}},
    {"falcon3-7b", {FALCON3, .name = "Falcon3-7B-1.58bit shapes, random weights", .d = 3072,
                    .f = 23040, .n_layers = 28, .h = 12, .n_ctx = 32768}},
    {"falcon3-10b", {FALCON3, .name = "Falcon3-10B-1.58bit shapes, random weights", .d = 3072,
                     .f = 23040, .n_layers = 40, .h = 12, .n_ctx = 32768}},
    {"13b", {BITNET, .name = "13B shapes (as bitnet.cpp measures), random weights", .d = 5120,
             .f = 13824, .n_layers = 40, .h = 40, .kv = 40, .hd = 128, .n_vocab = 32002,
             .n_ctx = 2048, .rope_base = 10000.0f, .act = TERN_ACT_SILU}},
    {"27b", {LLAMA, .name = "27B shapes (as Gemma 3 27B), random weights", .d = 5376, .f = 21504,
             .n_layers = 62, .h = 32, .kv = 16, .hd = 128, .n_vocab = 262208, .n_ctx = 131072,
             .rope_base = 1000000.0f, .tied = 1}},
    {"70b", {LLAMA3, .name = "70B shapes (as Llama 3 70B), random weights", .d = 8192, .f = 28672,
             .n_layers = 80, .h = 64, .kv = 8}},
    {"100b", {BITNET, .name = "100B shapes, random weights", .d = 8192, .f = 45568, .n_layers = 72,
              .h = 64, .kv = 64, .hd = 128, .n_vocab = 128256, .n_ctx = 4096,
              .rope_base = 500000.0f, .act = TERN_ACT_RELU2}},
    {"tiny", {BITNET, .name = "tiny shapes, random weights", .d = 128, .f = 320, .n_layers = 2,
              .h = 4, .kv = 2, .hd = 32, .n_vocab = 384, .n_ctx = 512, .rope_base = 10000.0f,
              .act = TERN_ACT_RELU2}},
};
#define N_PRESETS (sizeof presets / sizeof presets[0])

/* The finaliser of splitmix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number
 * generators", OOPSLA 2014). */
static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* Value i of the generator with this key. */
static uint64_t draw(uint64_t key, uint64_t i)
{
    return mix(key + (i + 1) * 0x9e3779b97f4a7c15u);
}

static uint64_t key_of(const tern_model *model, const tern_gguf_tensor *t, size_t row)
{
    return draw(draw(draw(model->seed, 0), (uint64_t)(t - model->gguf->tensors)), row);
}

static int drawn_codes(uint8_t *out, float *scale, const tern_model *model,
                       const tern_gguf_tensor *t, size_t row, tern_error *err)
{
    (void)scale; /* the same for all rows */
    (void)err;
    const uint64_t key = key_of(model, t, row);
    const size_t k = (size_t)t->ne[0];
    for (size_t begin = 0; begin < k; begin += DRAW) {
        uint8_t bytes[DRAW], codes[DRAW];
        for (size_t i = 0; i < DRAW; i += 8) {
            const uint64_t eight = draw(key, (begin + i) / 8);
            memcpy(bytes + i, &eight, sizeof eight);
        }
        for (size_t i = 0; i < DRAW; i++)
            codes[i] = (uint8_t)(bytes[i] < ZERO_BELOW ? 1 : (bytes[i] & 1) * 2);
        memcpy(out + begin, codes, k - begin < DRAW ? k - begin : DRAW);
    }
    return TERN_OK;
}

static float drawn_scale(const tern_model *model, const tern_gguf_tensor *t)
{
    (void)model;
    (void)t;
    return SCALE;
}

/* Multiples of SCALE * 2^-23 in [-SCALE, SCALE), two of a draw; gains are 1. */
static void drawn_floats(float *out, const tern_model *model, const tern_gguf_tensor *t, size_t row)
{
    const uint64_t key = key_of(model, t, row);
    const size_t n = (size_t)t->ne[0];
    const int is_gain = t->n_dims == 1;
    for (size_t i = 0; i < n; i++) {
        if (is_gain) {
            out[i] = 1.0f;
            continue;
        }
        const uint32_t bits = (uint32_t)(draw(key, i / 2) >> (32 * (i % 2)));
        out[i] = (float)((int32_t)(bits >> 8) - 0x800000) * (SCALE * 0x1p-23f);
    }
}

static void drawn_forget(const tern_model *model, const tern_gguf_tensor *t, size_t first, size_t n)
{
    (void)model;
    (void)t;
    (void)first;
    (void)n;
}

static const tern_values values_drawn = {drawn_codes, drawn_scale, drawn_floats, drawn_forget};

const tern_gguf_tensor *tern_preset_tensor(tern_model *model, const char *name, uint32_t type,
                                           const int shape[2])
{
    tern_gguf *gguf = model->gguf;
    const uint64_t cols = (uint64_t)shape[0], rows = shape[1] ? (uint64_t)shape[1] : 1;
    const uint64_t n = cols * rows;
    char *stored = model->preset_names[gguf->n_tensors];
    snprintf(stored, TERN_PRESET_NAME_BYTES, "%s", name);
    tern_gguf_tensor *t = &gguf->tensors[gguf->n_tensors++];
    *t = (tern_gguf_tensor){
        .name = {stored, strlen(stored)}, .type = type, .n_dims = shape[1] ? 2 : 1,
        .ne = {cols, rows, 1, 1}, .n_elements = n,
        .bytes = (size_t)(type == TERN_GGML_I2_S ? n / 4 : n * sizeof(float)),
    };
    return t;
}

static int unknown_name(const char *name, tern_error *err)
{
    char names[256] = "";
    for (size_t i = 0; i < N_PRESETS; i++) {
        const size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "", presets[i].name);
    }
    return tern_fail(err, TERN_E_USAGE, "'%.32s' is no preset: use one of %s", name, names);
}

/* Room for the list of tensors: at most 11 a layer, two tables and the last norm. */
static int alloc_tensors(tern_model *model, const tern_preset *preset, tern_error *err)
{
    const size_t most = 11 * (size_t)preset->config.n_layers + 3;
    int status = tern_alloc(&model->gguf, 1, sizeof *model->gguf, "a preset", err);
    if (status != TERN_OK) return status;
    tern_gguf *gguf = model->gguf;
    status = tern_alloc(&gguf->tensors, most, sizeof *gguf->tensors, "a preset", err);
    if (status == TERN_OK)
        status = tern_alloc(&model->preset_names, most, sizeof *model->preset_names, "a preset",
                            err);
    if (status == TERN_OK) status = tern_alloc(&gguf->name, 1, 16, "a preset", err);
    if (status == TERN_OK) snprintf(gguf->name, 16, "%s", preset->name);
    return status;
}

int tern_model_preset(tern_model **out, const char *name, uint64_t seed, tern_error *err)
{
    const tern_preset *preset = NULL;
    for (size_t i = 0; i < N_PRESETS; i++)
        if (strcmp(presets[i].name, name) == 0) preset = &presets[i];
    if (!preset) return unknown_name(name, err);
    tern_model *model;
    int status = tern_alloc(&model, 1, sizeof *model, "a model", err);
    if (status != TERN_OK) return status;
    model->values = &values_drawn;
    model->rope_factor = 1.0f;
    model->preset = preset;
    model->config = preset->config;
    model->seed = seed;
    status = alloc_tensors(model, preset, err);
    if (status == TERN_OK) status = tern_model_find_tensors(model, err);
    if (status != TERN_OK) {
        tern_model_close(model);
        return status;
    }
    *out = model;
    return TERN_OK;
}
