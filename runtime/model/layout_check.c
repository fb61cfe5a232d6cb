/* layout_check.c - a test for the byte order of I2_S, which no file names (FORMATS 4.5). Trained
 * models have FFN channels that are dead: their rows of gate and up are zero, which looks the same
 * in layouts a, b and d, and so is their column of down, which lines up under the right one only.
 * Called while a layer loads; it warns and decides nothing. */
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "model/model_file.h"

#define ENOUGH 8 /* dead channels that make a verdict */

static int is_zero_row(uint8_t *codes, const tern_model *model, const tern_gguf_tensor *t,
                       size_t row)
{
    float scale = 1.0f;
    const size_t k = (size_t)t->ne[0];
    if (model->values->codes(codes, &scale, model, t, row, NULL) != TERN_OK) return 0;
    return codes[0] == 1 && memcmp(codes, codes + 1, k - 1) == 0;
}

/* Marks the dead channels of a layer; returns their number. */
static size_t find_dead(uint8_t *dead, uint8_t *codes, const tern_model *model,
                        const tern_layer_tensors *t)
{
    size_t n = 0;
    for (size_t row = 0; row < (size_t)t->gate->ne[1]; row++) {
        dead[row] =
            is_zero_row(codes, model, t->gate, row) && is_zero_row(codes, model, t->up, row);
        n += dead[row];
    }
    return n;
}

/* How many dead channels have a zero column in down; `dead` loses the others. */
static size_t count_zero_columns(uint8_t *dead, uint8_t *codes, const tern_model *model,
                                 const tern_gguf_tensor *down)
{
    const size_t f = (size_t)down->ne[0];
    for (size_t row = 0; row < (size_t)down->ne[1]; row++) {
        float scale = 1.0f;
        if (model->values->codes(codes, &scale, model, down, row, NULL) != TERN_OK) return 0;
        for (size_t i = 0; i < f; i++) dead[i] &= codes[i] == 1;
    }
    size_t n = 0;
    for (size_t i = 0; i < f; i++) n += dead[i];
    return n;
}

int tern_layout_check(int *settled, const tern_model *model, int layer, tern_error *err)
{
    const tern_layer_tensors *t = &model->layers[layer];
    const int i2s = t->gate->type == TERN_GGML_I2_S && t->up->type == TERN_GGML_I2_S &&
                    t->down->type == TERN_GGML_I2_S;
    if (*settled || model->preset || !i2s) return TERN_OK;
    const size_t f = (size_t)model->config.f, d = (size_t)model->config.d;
    uint8_t *dead, *codes;
    int status = tern_alloc(&dead, f, 1, "the channels of a layer", err);
    if (status != TERN_OK) return status;
    status = tern_alloc(&codes, f > d ? f : d, 1, "a row of codes", err);
    if (status == TERN_OK) {
        const size_t n = find_dead(dead, codes, model, t);
        const size_t zero = n >= ENOUGH ? count_zero_columns(dead, codes, model, t->down) : n;
        *settled = n >= ENOUGH;
        if (zero < n / 2)
            tern_log(TERN_LOG_WARNING,
                     "'%s': %zu channels of layer %d are zero in ffn_gate and ffn_up, but only %zu "
                     "of them in ffn_down: the I2_S layout is probably another one, try "
                     "--i2s-layout b, c or d",
                     model->gguf->name, n, layer, zero);
        free(codes);
    }
    free(dead);
    return status;
}
