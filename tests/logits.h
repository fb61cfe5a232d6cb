/* logits.h - all logits of one sequence from a model on one thread. */
#ifndef TERN_TESTS_LOGITS_H
#define TERN_TESTS_LOGITS_H

#include "tern/engine.h"
#include "tiny_model.h"

enum { N_TOK = 40, N_LOGITS = N_TOK * N_TINY };

/* Opens, loads and computes; the first failure's status and sentence. */
static inline int logits_at(float *logits, const char *path, const tern_model_options *options,
                            tern_error *err)
{
    const tern_workload workload = {.n_ctx = 64, .n_tok = 16};
    const tern_engine_options engine_options = {.device = {.n_threads = 1}};
    tern_model *model = NULL;
    tern_engine *engine = NULL;
    tern_plan plan;
    int32_t ids[N_TOK];
    for (int i = 0; i < N_TOK; i++) ids[i] = (i * 37 + 11) % N_TINY;
    int status = tern_model_open_with(&model, path, options, err);
    if (status == TERN_OK)
        status = tern_plan_layers(&plan, tern_model_config_of(model), "cpu", &workload, err);
    if (status == TERN_OK)
        status = tern_engine_create(&engine, model, &plan, &engine_options, err);
    if (status == TERN_OK) status = tern_engine_logits(engine, logits, ids, N_TOK, 0, err);
    tern_engine_destroy(engine);
    tern_model_close(model);
    return status;
}

#endif
