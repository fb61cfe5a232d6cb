/* engine_state.h - the engine's state, shared by its files. One thread owns all of it.
 *
 *   engine.c    create, destroy, queries
 *   forward.c   one batch through the segments of the plan
 *   request.c   a request comes in: checks, copies
 *   pages.c     who holds which KV page, and what full pages hold
 *   spill.c     a preempted request's pages to host memory and back
 *   schedule.c  who runs: queue, admission, preemption, shares of the budget
 *   step.c      a step: batch, sampling, log-probabilities, events
 *   evaluate.c  logits and log-probabilities of a given sequence */
#ifndef TERN_ENGINE_STATE_H
#define TERN_ENGINE_STATE_H

#include "engine/pages.h"
#include "model/part.h"
#include "tern/engine.h"

/* A request from its submission to its last event. */
typedef struct request_state {
    uint64_t id;
    tern_request asked; /* its pointers to tokens and biases are of no use after submission */
    int32_t *tokens;    /* [n_limit]: prompt, then answer */
    int n_prompt, n_tokens; /* known tokens */
    int n_done;             /* of them, how many have their KV */
    int n_scored;           /* positions below it have had their log-probabilities delivered */
    int n_limit;            /* the answer ends when n_tokens reaches it ... */
    tern_finish limit;      /* ... for this reason */
    int cancelled;
    int32_t *bias_ids;
    float *bias;
    int32_t *count_ids, *counts; /* [n_limit] ascending; only under penalties */
    int n_counts;
    int32_t *pages; /* [n_limit in pages], the first n_pages are held */
    int n_pages;
    uint64_t *hashes; /* [full pages of n_limit], the first n_hashes are known */
    int n_hashes;
    int n_published; /* pages from the first on that are published */
    int n_cached;
    int preempted; /* it has been, once at least */
    int32_t *slots; /* [n_limit in pages] of spill memory; n_spilled hold its pages */
    int n_spilled;
    uint64_t admitted_ns;
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

    page_pool pool;
    uint8_t *spill;       /* [n_spill_pages, page_bytes] of the host */
    int32_t *free_slots;  /* stack */
    int n_free_slots;
    size_t page_bytes;    /* one page of all layers */
    request_state **queue; /* [n_queue + n_seq] waiting, preempted ones among them, in order */
    int n_queue, n_waiting;
    request_state **running; /* [n_seq] in order */
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
    tern_candidate *score_top;                 /* [n_tok, n_score_top of the head's part] */
    tern_logprob *tops;                        /* the same as log-probabilities */
    int *score_of; /* [n_tok] row of `scores` of a batch token, or -1 */
    uint32_t *masks;                           /* [n_seq, mask_words] */
    uint32_t *not_end;                         /* [mask_words] all but end tokens */
    int mask_words;
    int pages_per_seq;
    tern_engine_stats stats;
};

/* Runs engine->batch (ids in engine->ids) through all segments; x then lies on the head's
 * device. */
int tern_engine_forward(tern_engine *engine, tern_error *err);

/* Best first: by priority, then by arrival. */
static inline int tern_request_before(const request_state *a, const request_state *b)
{
    if (a->asked.priority != b->asked.priority) return a->asked.priority < b->asked.priority;
    return a->id < b->id;
}

/* Lists an id under penalties, or adds to its count. */
void tern_request_count(request_state *request, int32_t id, int by);

/* Into the queue, behind all that come before it. */
void tern_request_enqueue(tern_engine *engine, request_state *request);

/* Extends the hashes over all full pages of known tokens. */
void tern_request_hash(request_state *request);

/* Moves requests from the queue to the running list while places and pages are there; more urgent
 * ones preempt. */
int tern_schedule_admit(tern_engine *engine, tern_error *err);

/* Sets take [n_running], preempting where pages run out, and gives every request the pages it
 * needs; returns the status, *n_prompt_tok is how many tokens are no decodes. */
int tern_schedule_share(tern_engine *engine, int *n_prompt_tok, tern_error *err);

/* Publishes the pages that the tokens just computed have filled. */
void tern_schedule_publish(tern_engine *engine, request_state *request);

/* Gives back pages and spill memory, and frees the request. */
void tern_schedule_release(tern_engine *engine, request_state *request);

/* Copies the request's pages to spill memory; no slot is taken when they do not fit. */
int tern_spill_save(tern_engine *engine, request_state *request, tern_error *err);

/* One page of the request back from its slot, which is then free. */
int tern_spill_load(tern_engine *engine, request_state *request, int index, tern_error *err);
void tern_spill_drop(tern_engine *engine, request_state *request);

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
