/* tern/engine.h - requests in, tokens out. The engine owns the loaded weights, the KV pages and the
 * batch; one thread owns the engine. It knows nothing of sockets, text or terminals.
 *
 *   create -> submit ... -> step, step, step -> events -> destroy
 *
 * A step takes every running request one token further (decodes first) and shares what is left of
 * its token budget among the prompts. Requests take KV pages as they grow. Full pages are kept by
 * what they hold, so a prompt that begins like an earlier one starts behind it. When pages run out,
 * or a more urgent request waits, the least urgent running one gives its pages up - their contents
 * go to spill memory, or are computed again - and later goes on as if nothing had happened: an
 * admitted request never fails for lack of KV. A step allocates nothing.
 *
 * The tokens and log-probabilities of a request depend on the model file, its prompt, its sampling,
 * and the plan's KV and head type - not on the devices, threads, batch mates, chunks, prefix hits
 * or preemptions (promise P1).
 */
#ifndef TERN_ENGINE_H
#define TERN_ENGINE_H

#include "tern/plan.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tern_engine tern_engine;

typedef struct tern_engine_options {
    tern_device_options device; /* for every device of the plan */
    int n_queue;                /* requests that may wait; 0: 64, or n_seq where that is more */
    int n_spill_pages; /* host memory for pages of preempted requests; without it they recompute */
    tern_progress progress;     /* of loading */
} tern_engine_options;

/* How tokens are drawn (N8). All zero: greedy. */
typedef struct tern_sampling {
    float temperature; /* 0: greedy */
    int top_k;         /* 0: off */
    float top_p;       /* 0 or 1: off */
    float min_p;       /* 0: off */
    float repetition;  /* 0 or 1: off; over prompt and answer */
    float presence, frequency; /* 0: off; over the answer */
    uint64_t seed;
    uint32_t choice; /* number of the answer among the n answers to one prompt */
    int n_bias;      /* added to logits */
    const int32_t *bias_ids; /* [n_bias], ascending */
    const float *bias;
} tern_sampling;

/* What may be drawn next, decided by somebody who reads the tokens (a grammar). Called in a step,
 * once before every token of the request is drawn and after all events of the steps before have
 * been returned: sets bit id%32 of mask [id/32] for every allowed id; the mask arrives zeroed.
 * Where nothing is allowed the answer ends with TERN_FINISH_STOP. */
typedef void tern_allow_fn(void *user, uint32_t *mask);

typedef struct tern_request {
    const int32_t *prompt; /* [n_prompt], at least one token; copied */
    int n_prompt;
    int max_tokens; /* of the answer; 0: as many as the context has room for */
    int min_tokens; /* no end-of-generation token before that many */
    int ignore_end; /* go on after an end-of-generation token */
    int priority;   /* lower is more urgent; among equals the earlier comes first */
    int logprobs;   /* 1: events carry log-probabilities, with the n_top likeliest tokens */
    int prompt_logprobs; /* 1: so do events for the prompt's tokens; takes no prefix hit */
    int n_top;           /* at most TERN_MAX_TOP_LOGPROBS */
    tern_sampling sampling; /* its bias arrays are copied */
    tern_allow_fn *allow;   /* NULL: everything */
    void *user;             /* comes back in every event, and to `allow` */
} tern_request;

#define TERN_MAX_TOP_LOGPROBS 20

typedef enum tern_finish {
    TERN_FINISH_NONE,      /* more to come */
    TERN_FINISH_STOP,      /* an end-of-generation token (not delivered as a token) */
    TERN_FINISH_LENGTH,    /* max_tokens reached */
    TERN_FINISH_CONTEXT,   /* the end of the context reached */
    TERN_FINISH_CANCELLED,
} tern_finish;

/* "stop", "length", ... */
const char *tern_finish_name(tern_finish finish);

/* ln p of a token given everything before it, from the model's own logits: before temperature,
 * bias, penalties and mask. */
typedef struct tern_logprob {
    int32_t id;
    double logprob;
} tern_logprob;

/* One token, or the end of a request, or both. Events of one request come in the order of their
 * positions. */
typedef struct tern_engine_event {
    uint64_t request;
    void *user;
    int32_t token; /* -1: none */
    int position;  /* of the token in prompt and answer; below n_prompt only with prompt_logprobs */
    tern_finish finish;
    double logprob;          /* of the token, where asked for */
    const tern_logprob *top; /* [n_top] likeliest first, equal ones by id; until the next step */
    int n_top;
    int n_cached;         /* tokens of the prompt that the prefix cache held */
    uint64_t admitted_ns; /* when the request first ran, CLOCK_MONOTONIC; 0: never */
} tern_engine_event;

/* Counts and times since the engine was created. A step that holds prompt tokens counts as
 * prefill. */
typedef struct tern_engine_stats {
    uint64_t prefill_tok, decode_tok;
    uint64_t prefill_ns, decode_ns;
    uint64_t device_ns; /* of both: spent waiting for devices, the rest is the engine's own */
    uint64_t n_steps;
    uint64_t n_preempted, n_spilled_pages;
    uint64_t prefix_query_tok, prefix_hit_tok; /* prompt tokens looked up and found */
    int n_running, n_waiting;
    int n_pages, n_pages_free; /* free: held by no request, cached or not */
} tern_engine_stats;

/* Opens the plan's devices, allocates everything the plan says and loads the weights, with
 * progress. The model must outlive the engine. TERN_E_FIT when a device has too little memory
 * (before any weight is read), TERN_E_DEVICE, TERN_E_SELF_TEST, TERN_E_MODEL (weights that are not
 * ternary), TERN_E_USAGE when the plan has fewer pages than one request may need. */
int tern_engine_create(tern_engine **out, const tern_model *model, const tern_plan *plan,
                       const tern_engine_options *options, tern_error *err);
void tern_engine_destroy(tern_engine *engine);

/* Queues a request. TERN_E_USAGE when it is malformed or longer than the context (both numbers are
 * in the sentence), TERN_E_FIT when the queue is full. */
int tern_engine_submit(tern_engine *engine, uint64_t *id, const tern_request *request,
                       tern_error *err);

/* Ends a request, queued or running, at the next step, with one event TERN_FINISH_CANCELLED.
 * Unknown and finished ids are ignored. */
void tern_engine_cancel(tern_engine *engine, uint64_t id);

/* 1: the request waits in the queue and has never run. */
int tern_engine_waits(const tern_engine *engine, uint64_t id);

/* One step. Writes at most tern_engine_max_events() events; one that only reads prompts has none.
 * Nothing is left to do when n_running and n_waiting of the stats are 0. An error ends the engine's
 * work: every later step returns it again. */
int tern_engine_step(tern_engine *engine, tern_engine_event *events, int *n_events,
                     tern_error *err);
int tern_engine_max_events(const tern_engine *engine);

/* Logits of every position of a sequence, from an empty context: logits [n, n_vocab], computed in
 * chunks of `chunk` tokens (0: the plan's). The engine must be idle. The chunk does not change a
 * bit. */
int tern_engine_logits(tern_engine *engine, float *logits, const int32_t *ids, int n, int chunk,
                       tern_error *err);

/* ln p(ids[i+1] | ids[0..i]) for i < n-1 into logprobs [n-1]. The engine must be idle. */
int tern_engine_score(tern_engine *engine, double *logprobs, const int32_t *ids, int n,
                      tern_error *err);

void tern_engine_stats_get(const tern_engine *engine, tern_engine_stats *out);
const tern_plan *tern_engine_plan(const tern_engine *engine);
const tern_model *tern_engine_model(const tern_engine *engine);

/* Device number `device` of the plan, and what its buffers and programs really take: equal to
 * tern_plan_memory(). */
const tern_device_info *tern_engine_device(const tern_engine *engine, int device);
uint64_t tern_engine_used_bytes(const tern_engine *engine, int device);

/* The same by class, from the sizes of the buffers and programs themselves. */
tern_memory tern_engine_memory(const tern_engine *engine, int device);

#ifdef __cplusplus
}
#endif
#endif
