/* session.h - a model with an engine on it, for tests that need the whole stack. */
#ifndef TERN_TESTS_SESSION_H
#define TERN_TESTS_SESSION_H

#include <stdio.h>

#include "tern/engine.h"

#define GOLDEN_MODEL TERN_SOURCE_DIR "/tests/golden/bitnet-tiny.gguf"

typedef struct session {
    tern_model *model;
    tern_engine *engine;
} session;

/* path NULL: the embedded model. Prints the sentence of a failure and returns its status. */
static inline int session_open(session *s, const char *path, const char *devices,
                               const tern_workload *workload, int n_threads)
{
    tern_error err = {0};
    tern_plan plan;
    *s = (session){0};
    int status = tern_model_open(&s->model, path, &err);
    if (status == TERN_OK)
        status = tern_plan_layers(&plan, tern_model_config_of(s->model), devices, workload, &err);
    const tern_engine_options options = {.device = {.n_threads = n_threads}};
    if (status == TERN_OK)
        status = tern_engine_create(&s->engine, s->model, &plan, &options, &err);
    if (status != TERN_OK) fprintf(stderr, "%s\n", err.text);
    return status;
}

static inline void session_close(session *s)
{
    tern_engine_destroy(s->engine);
    tern_model_close(s->model);
}

#endif
