/* engine_state.h - the engine's state, shared by its files. One thread owns all of it.
 *
 *   engine.c    create, destroy, queries
 *   forward.c   one batch through the segments of the plan
 *   schedule.c  requests: queue, admission, batch, step
 *   evaluate.c  logits and log-probabilities of a given sequence */
#ifndef TERN_ENGINE_STATE_H
#define TERN_ENGINE_STATE_H

#include "model/part.h"
#include "tern/engine.h"

/* A request from its submission to its last event. */
typedef struct request_state {
    uint64_t id;
    void *user;
    int32_t *tokens; /* [n_limit]: prompt, then answer */
    int n_prompt, n_tokens; /* known tokens */
    int n_done;             /* of them, how many have their KV */
    int n_limit;            /* the answer ends when n_tokens reaches it ... */
    tern_finish limit;      /* ... for this reason */
    int ignore_end, cancelled;
    tern_sampling sampling;
    int32_t *bias_ids;
    float *bias;
    int32_t *count_ids, *counts; /* [n_limit] ascending; only under penalties */
    int n_counts;
    int32_t *pages; /* [n_pages], filled at admission */
    int n_pages;
} request_state;

/* One segment in execution order. */
typedef struct stage {
    int device;
    tern_program *program;
    int embed;
} stage;

struct tern_engine {
    const tern_model *model;
    const tern_model_config *config;
    tern_plan plan;
    tern_device *devices[TERN_PLAN_MAX_DEVICES];
    tern_stream *streams[TERN_PLAN_MAX_DEVICES];
    tern_part parts[TERN_PLAN_MAX_DEVICES];
    stage *stages;
    int n_stages;
    float *x_staging; /* [n_tok, d]: the residual stream between devices; NULL with one device */
    tern_error failed; /* sticky */

    int32_t *free_pages; /* stack */
    int n_free_pages;
    request_state **queue; /* ring of cap n_queue */
    int n_queue, queue_head, n_waiting;
    request_state **running; /* [n_seq] */
    int n_running;
    uint64_t next_id;

    /* The batch under construction, all sized for the plan's workload. */
    tern_batch batch;
    int32_t *ids, *pos, *seq, *rows, *targets; /* [n_tok] */
    int32_t *table;                            /* [n_seq, pages_per_seq] */
    int32_t *row_owner;                        /* [n_seq] running index of each row */
    int32_t *picked;                           /* [n_seq] */
    int *take;                                 /* [n_seq] tokens of each running request */
    tern_pick *picks;                          /* [n_seq] */
    tern_score *scores;                        /* [n_tok] */
    int pages_per_seq;
    tern_engine_stats stats;
};

/* Runs engine->batch (ids in engine->ids) through all segments; x then lies on the head's
 * device. */
int tern_engine_forward(tern_engine *engine, tern_error *err);

/* Zeroes a page in every layer. */
int tern_engine_clear_page(tern_engine *engine, int page, tern_error *err);

/* Waits for every device; its sticky error becomes the engine's. */
int tern_engine_sync(tern_engine *engine, tern_error *err);

void tern_request_free(request_state *request);

/* The part and stream that hold the head. */
static inline tern_part *tern_engine_head(tern_engine *engine)
{
    return &engine->parts[engine->plan.head_device];
}
static inline tern_stream *tern_engine_head_stream(tern_engine *engine)
{
    return engine->streams[engine->plan.head_device];
}

#endif
