/* values_file.c - the values of a model's tensors as they stand in its mapped file. Called while a
 * part loads, a row at a time; what was read is given back to the system. */
#include <string.h>

#include "base/f16.h"
#include "format/ternary.h"
#include "model/model_file.h"

static int file_codes(uint8_t *out, const tern_model *model, const tern_gguf_tensor *t, size_t row)
{
    const size_t k = (size_t)t->ne[0];
    return tern_i2s_decode(out, model->gguf->file.data + t->offset, row * k, k);
}

/* One f32 after n/4 bytes of codes (FORMATS 4.2). */
static float file_scale(const tern_model *model, const tern_gguf_tensor *t)
{
    float scale;
    memcpy(&scale, model->gguf->file.data + t->offset + t->n_elements / 4, sizeof scale);
    return scale;
}

static void file_floats(float *out, const tern_model *model, const tern_gguf_tensor *t, size_t row)
{
    const size_t n = (size_t)t->ne[0], first = row * n;
    const uint8_t *data = model->gguf->file.data + t->offset;
    if (t->type == TERN_GGML_F32) {
        memcpy(out, data + first * sizeof(float), n * sizeof(float));
        return;
    }
    for (size_t i = 0; i < n; i++) {
        uint16_t half;
        memcpy(&half, data + (first + i) * sizeof half, sizeof half);
        out[i] = tern_f32_from_f16(half);
    }
}

static void file_forget(const tern_model *model, const tern_gguf_tensor *t)
{
    tern_file_forget(&model->gguf->file, t->offset, t->bytes);
}

const tern_values tern_values_file = {file_codes, file_scale, file_floats, file_forget};
