/* inspect_codes.c - one pass over the ternary matrices, a row at a time as a device loads them. */
#include <math.h>
#include <stdlib.h>

#include "base/fail.h"
#include "base/memory.h"
#include "cli/inspect.h"

#define LAYER_MATRICES 7

/* The only place that knows how rows are read. */
static int read_row(uint8_t *codes, float *scale, const tern_model *model,
                    const tern_gguf_tensor *tensor, size_t row)
{
    *scale = model->values->scale(model, tensor);
    return model->values->codes(codes, model, tensor, row);
}

static void count_row(cli_codes *c, const uint8_t *codes, float scale)
{
    const size_t k = (size_t)c->tensor->ne[0];
    size_t zeros = 0, ones = 0;
    for (size_t i = 0; i < k; i++) {
        zeros += codes[i] == 1;
        ones += codes[i] == 2;
    }
    c->counts[0] += k - zeros - ones;
    c->counts[1] += zeros;
    c->counts[2] += ones;
    if (fabsf(scale) > c->scale) c->scale = fabsf(scale);
}

static void count_tensor(cli_codes *c, uint8_t *codes, const tern_model *model)
{
    for (size_t row = 0; row < (size_t)c->tensor->ne[1]; row++) {
        float scale;
        if (read_row(codes, &scale, model, c->tensor, row))
            count_row(c, codes, scale);
        else if (c->n_bad++ == 0)
            c->first_bad = row;
    }
    model->values->forget(model, c->tensor);
}

int cli_count_codes(cli_codes **out, size_t *n, const tern_model *model,
                    const tern_progress *progress, tern_error *err)
{
    const tern_model_config *config = tern_model_config_of(model);
    const size_t total = (size_t)config->n_layers * LAYER_MATRICES;
    const int q = config->h * config->hd;
    const int widest = config->f > config->d ? config->f : config->d;
    cli_codes *list;
    uint8_t *codes = NULL;
    int status = tern_alloc(&list, total, sizeof *list, "the matrices", err);
    if (status != TERN_OK) return status;
    status = tern_alloc(&codes, (size_t)(widest > q ? widest : q), 1, "a row of codes", err);
    for (size_t i = 0; i < total && status == TERN_OK; i++) {
        const tern_layer_tensors *t = &model->layers[i / LAYER_MATRICES];
        const tern_gguf_tensor *const all[LAYER_MATRICES] = {t->q,    t->k,  t->v,   t->attn_output,
                                                             t->gate, t->up, t->down};
        status = tern_progress_report(progress, "reading weights", i, total, err);
        list[i].tensor = all[i % LAYER_MATRICES];
        if (status == TERN_OK) count_tensor(&list[i], codes, model);
    }
    free(codes);
    if (status != TERN_OK) {
        free(list);
        return status;
    }
    *out = list;
    *n = total;
    return TERN_OK;
}
