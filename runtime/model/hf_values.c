/* hf_values.c - the values of a checkpoint folder, row by row, in the order of the GGUF file of the
 * same model: packed codes as they are, float masters quantised by absmean (FORMATS 9.5). */
#include <math.h>

#include "base/fail.h"
#include "model/hf.h"

#define CHUNK 256

/* Floats col .. col + n of a row. */
static void read_floats(float *out, const tern_hf_tensor *t, size_t row, size_t col, size_t n)
{
    const size_t first = row * (size_t)t->st->shape[1] + col;
    const uint8_t *data = t->file->file.data + t->st->offset;
    switch (t->st->type) {
    case TERN_ST_F32: tern_floats_f32(out, data + 4 * first, n); return;
    case TERN_ST_F16: tern_floats_f16(out, data + 2 * first, n); return;
    default: tern_floats_bf16(out, data + 2 * first, n); return;
    }
}

static const tern_hf_tensor *source_of(const tern_model *model, const tern_gguf_tensor *t)
{
    return &model->hf->tensors[t - model->gguf->tensors];
}

/* What one pass over a float matrix finds. */
typedef struct summary {
    double sum; /* of the magnitudes, in the order of the elements */
    float most;
    int ternary; /* no magnitude but 0 and `most` */
} summary;

static summary summarise(const tern_hf_tensor *t)
{
    summary s = {.ternary = 1};
    float values[CHUNK];
    const size_t rows = (size_t)t->st->shape[0], cols = (size_t)t->st->shape[1];
    for (size_t row = 0; row < rows; row++)
        for (size_t col = 0; col < cols; col += CHUNK) {
            const size_t n = cols - col < CHUNK ? cols - col : CHUNK;
            read_floats(values, t, row, col, n);
            for (size_t i = 0; i < n; i++) {
                const float magnitude = fabsf(values[i]);
                s.sum += (double)magnitude;
                if (magnitude == 0.0f || magnitude == s.most) continue;
                s.ternary &= s.most == 0.0f && !isnan(magnitude);
                if (magnitude > s.most) s.most = magnitude;
            }
        }
    return s;
}

/* A packed matrix has its scale. Floats that are ternary already have their magnitude, masters the
 * mean of theirs, in f32; others -1, which is no scale. */
static float hf_scale(const tern_model *model, const tern_gguf_tensor *gguf_tensor)
{
    const tern_hf_tensor *t = source_of(model, gguf_tensor);
    if (t->packed) return t->scale;
    const summary s = summarise(t);
    if (s.ternary && s.most > 0.0f) return s.most;
    if (!t->masters && s.most > 0.0f) return -1.0f;
    const float mean = (float)(s.sum / (double)t->st->n_elements);
    return mean > 1e-5f || isnan(mean) ? mean : 1e-5f;
}

/* Row of the checkpoint that the header calls `row` (FORMATS 8.6). */
static size_t source_row(const tern_model *model, const tern_hf_tensor *t, size_t row)
{
    if (!t->interleaved) return row;
    const size_t hd = (size_t)model->config.hd, in = row % hd;
    return row - in + in / 2 + (in % 2) * (hd / 2);
}

static int unpack(uint8_t *codes, const tern_hf_tensor *t, size_t row)
{
    const size_t stride = (size_t)t->st->shape[0], k = (size_t)t->st->shape[1];
    const uint8_t *packed = t->file->file.data + t->st->offset + row % stride * k;
    const int shift = 2 * (int)(row / stride);
    uint8_t threes = 0;
    for (size_t i = 0; i < k; i++) {
        codes[i] = packed[i] >> shift & 3;
        threes |= codes[i] == 3;
    }
    return !threes;
}

/* rint(w / scale), clamped to -1 .. 1: a half rounds to even, which is 0. */
static void quantise(uint8_t *codes, float scale, const tern_hf_tensor *t, size_t row)
{
    float values[CHUNK];
    const size_t k = (size_t)t->st->shape[1];
    for (size_t col = 0; col < k; col += CHUNK) {
        const size_t n = k - col < CHUNK ? k - col : CHUNK;
        read_floats(values, t, row, col, n);
        for (size_t i = 0; i < n; i++) {
            const float ratio = values[i] / scale;
            codes[col + i] = (uint8_t)(1 + (ratio > 0.5f) - (ratio < -0.5f));
        }
    }
}

static int hf_codes(uint8_t *out, float *scale, const tern_model *model,
                    const tern_gguf_tensor *gguf_tensor, size_t row, tern_error *err)
{
    const tern_hf_tensor *t = source_of(model, gguf_tensor);
    const size_t from = source_row(model, t, row);
    if (!t->packed && *scale < 0.0f)
        return tern_fail(err, TERN_E_MODEL,
                         "'%.140s': tensor %.80s is not ternary, and config.json speaks of no "
                         "quantisation: it is no BitNet model",
                         model->gguf->name, t->st->name);
    if (t->packed && !unpack(out, t, from))
        return tern_fail(err, TERN_E_MODEL,
                         "'%.140s': row %zu of tensor %.80s has the code 3, which no encoder "
                         "writes: the file is damaged",
                         model->gguf->name, from, t->st->name);
    if (!t->packed) quantise(out, *scale, t, from);
    return TERN_OK;
}

static void hf_floats(float *out, const tern_model *model, const tern_gguf_tensor *t, size_t row)
{
    read_floats(out, source_of(model, t), row, 0, (size_t)t->ne[0]);
}

static void hf_forget(const tern_model *model, const tern_gguf_tensor *t, size_t first, size_t n)
{
    const tern_hf_tensor *source = source_of(model, t);
    const size_t row_bytes = source->st->bytes / (size_t)(t->n_elements / t->ne[0]);
    tern_file_forget(&source->file->file, source->st->offset + first * row_bytes, n * row_bytes);
}

const tern_values tern_values_hf = {hf_codes, hf_scale, hf_floats, hf_forget};
