/* values_file.c - the values of a model's tensors as they stand in its mapped file. Called while a
 * part loads, a row at a time; what was read is given back to the system.
 *
 * A ternary matrix may be stored as floats, too, as long as they are -a, 0 and +a. */
#include <math.h>
#include <stdio.h>

#include "base/fail.h"
#include "format/tensor_type.h"
#include "model/model_file.h"

#define CHUNK 256  /* values read at once: whole blocks of every type */
#define ZERO 1e-6f /* below this a float weight counts as 0 (FORMATS 4.3) */
#define NOT_TERNARY \
    "has other values than 0 and plus or minus %g: a float model must be quantised first"

static tern_packed packed(const tern_model *model, const tern_gguf_tensor *t)
{
    tern_packed p = {.data = t->file->data + t->offset,
                     .k = (size_t)t->ne[0],
                     .n_out = (size_t)(t->n_elements / t->ne[0]),
                     .i2s = model->i2s_layout};
    if (t->type == TERN_GGML_TL1 || t->type == TERN_GGML_TL2)
        tern_tl_find(&p.tl, model->tl_config, t->type == TERN_GGML_TL2, p.n_out, p.k);
    return p;
}

/* n floats of a row from column `col` on, both multiples of the block. */
static void read_floats(float *out, const tern_packed *p, const tern_tensor_type *type, size_t row,
                        size_t col, size_t n)
{
    const size_t row_bytes = p->k / type->block * type->block_bytes;
    type->floats(out, p->data + row * row_bytes + col / type->block * type->block_bytes, n);
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* The largest magnitude of a float matrix. */
static float magnitude_of(const tern_packed *p, const tern_tensor_type *type)
{
    float most = 0.0f, values[CHUNK];
    for (size_t row = 0; row < p->n_out; row++)
        for (size_t col = 0; col < p->k; col += CHUNK) {
            const size_t n = smaller(p->k - col, CHUNK);
            read_floats(values, p, type, row, col, n);
            for (size_t i = 0; i < n; i++)
                if (!(fabsf(values[i]) <= most)) most = fabsf(values[i]);
        }
    return most;
}

/* For ternary types 1, for floats their magnitude. */
static float file_scale(const tern_model *model, const tern_gguf_tensor *t)
{
    const tern_tensor_type *type = tern_tensor_type_find(t->type);
    const tern_packed p = packed(model, t);
    return type->codes ? 1.0f : magnitude_of(&p, type);
}

/* False when a value is none of -a, 0, +a. */
static bool float_codes(uint8_t *codes, float a, const tern_packed *p, const tern_tensor_type *type,
                        size_t row)
{
    float values[CHUNK];
    bool good = true;
    for (size_t col = 0; col < p->k; col += CHUNK) {
        const size_t n = smaller(p->k - col, CHUNK);
        read_floats(values, p, type, row, col, n);
        for (size_t i = 0; i < n; i++) {
            const int whole = fabsf(values[i]) == a, zero = fabsf(values[i]) < ZERO;
            codes[col + i] = (uint8_t)(whole && a >= ZERO ? (values[i] > 0.0f) * 2 : 1);
            good &= whole || zero;
        }
    }
    return good;
}

static int bad_row(const tern_model *model, const tern_gguf_tensor *t, size_t row,
                   const char *reason, tern_error *err)
{
    return tern_fail(err, TERN_E_MODEL, "'%.140s': row %zu of tensor %.*s %s", model->gguf->name,
                     row, (int)t->name.bytes, t->name.data, reason);
}

/* Products take one scale a row: another order of sums would change the logits. */
static int mixed_row(const tern_model *model, const tern_gguf_tensor *t, size_t row,
                     const float scale[2], tern_error *err)
{
    char reason[200];
    snprintf(reason, sizeof reason,
             "has blocks of the scales %g and %g, but this version multiplies a row by one: use a "
             "file that was converted from the model's own weights",
             (double)scale[0], (double)scale[1]);
    return bad_row(model, t, row, reason, err);
}

static int file_codes(uint8_t *out, float *scale, const tern_model *model,
                      const tern_gguf_tensor *t, size_t row, tern_error *err)
{
    const tern_tensor_type *type = tern_tensor_type_find(t->type);
    const tern_packed p = packed(model, t);
    float two[2];
    if (type->codes) {
        const char *wrong = type->codes(out, scale, &p, row);
        if (wrong && tern_tq_scales(two, &p, type, row)) return mixed_row(model, t, row, two, err);
        if (wrong) return bad_row(model, t, row, wrong, err);
    } else if (!float_codes(out, *scale, &p, type, row)) {
        char reason[120];
        snprintf(reason, sizeof reason, NOT_TERNARY, (double)*scale);
        return bad_row(model, t, row, reason, err);
    }
    *scale *= model->factor[t - model->gguf->tensors];
    return TERN_OK;
}

static void file_floats(float *out, const tern_model *model, const tern_gguf_tensor *t, size_t row)
{
    const tern_tensor_type *type = tern_tensor_type_find(t->type);
    const tern_packed p = packed(model, t);
    if (type->floats) {
        read_floats(out, &p, type, row, 0, p.k);
        return;
    }
    /* The codes wait in the last quarter of `out`: value i ends before code i + 1 begins. */
    uint8_t *codes = (uint8_t *)out + 3 * p.k;
    float scale;
    if (type->codes(codes, &scale, &p, row)) scale = NAN;
    for (size_t i = 0; i < p.k; i++) out[i] = (float)(codes[i] - 1) * scale;
}

static void file_forget(const tern_model *model, const tern_gguf_tensor *t, size_t first, size_t n)
{
    (void)model;
    const size_t row_bytes = t->bytes / (size_t)(t->n_elements / t->ne[0]);
    tern_file_forget(t->file, t->offset + first * row_bytes, n * row_bytes);
}

const tern_values tern_values_file = {file_codes, file_scale, file_floats, file_forget};
