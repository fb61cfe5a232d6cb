/* request.c - a request comes in: every value is checked, everything is copied, and all the memory
 * it will ever need is taken, so that steps need none. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "engine/engine_state.h"

void tern_request_free(request_state *r)
{
    if (!r) return;
    free(r->tokens);
    free(r->bias_ids);
    free(r->bias);
    free(r->count_ids);
    free(r->counts);
    free(r->pages);
    free(r->hashes);
    free(r->slots);
    free(r);
}

void tern_request_hash(request_state *r)
{
    for (; (r->n_hashes + 1) * TERN_PAGE_TOK <= r->n_tokens; r->n_hashes++)
        r->hashes[r->n_hashes] = tern_page_hash(r->n_hashes ? r->hashes[r->n_hashes - 1] : 0,
                                                r->tokens + r->n_hashes * TERN_PAGE_TOK);
}

static int check_sampling(const tern_sampling *s, int n_vocab, tern_error *err)
{
    const struct {
        const char *name;
        float value, min, max;
    } ranges[] = {
        {"temperature", s->temperature, 0.0f, 100.0f}, {"top-p", s->top_p, 0.0f, 1.0f},
        {"min-p", s->min_p, 0.0f, 1.0f},               {"repetition", s->repetition, 0.0f, 100.0f},
        {"presence", s->presence, -100.0f, 100.0f},    {"frequency", s->frequency, -100.0f, 100.0f},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++)
        if (!(ranges[i].value >= ranges[i].min && ranges[i].value <= ranges[i].max))
            return tern_fail(err, TERN_E_USAGE, "%s is %g: use %g to %g", ranges[i].name,
                             (double)ranges[i].value, (double)ranges[i].min, (double)ranges[i].max);
    if (s->temperature > 0.0f && s->temperature < 1e-6f)
        return tern_fail(err, TERN_E_USAGE, "temperature is %g: use 0 for greedy, or at least 1e-6",
                         (double)s->temperature);
    if (s->top_k < 0)
        return tern_fail(err, TERN_E_USAGE, "top-k is %d: use 0 for off, or a positive number",
                         s->top_k);
    if (s->n_bias < 0)
        return tern_fail(err, TERN_E_USAGE, "%d biases: use 0 for none, or a positive number",
                         s->n_bias);
    for (int i = 0; i < s->n_bias; i++)
        if (s->bias_ids[i] < 0 || s->bias_ids[i] >= n_vocab || !isfinite(s->bias[i]) ||
            (i > 0 && s->bias_ids[i] <= s->bias_ids[i - 1]))
            return tern_fail(err, TERN_E_USAGE, "bias %d names token %d of %d, or is not ascending",
                             i, s->bias_ids[i], n_vocab);
    return TERN_OK;
}

static int check_request(const tern_engine *e, const tern_request *q, tern_error *err)
{
    const int n_ctx = e->plan.workload.n_ctx;
    if (q->n_prompt < 1)
        return tern_fail(err, TERN_E_USAGE, "the prompt is empty: give it at least one token");
    if (q->n_prompt >= n_ctx)
        return tern_fail(
            err, TERN_E_USAGE,
            "the prompt has %d tokens and the context %d: shorten it, or ask for a larger "
            "context",
            q->n_prompt, n_ctx);
    if (q->max_tokens < 0)
        return tern_fail(err, TERN_E_USAGE, "%d tokens to generate: use 0 for no limit",
                         q->max_tokens);
    if (q->min_tokens < 0)
        return tern_fail(err, TERN_E_USAGE, "at least %d tokens to generate: use 0 for no limit",
                         q->min_tokens);
    if (q->n_top < 0 || q->n_top > TERN_MAX_TOP_LOGPROBS)
        return tern_fail(err, TERN_E_USAGE, "%d likeliest tokens: use 0 to %d", q->n_top,
                         TERN_MAX_TOP_LOGPROBS);
    for (int i = 0; i < q->n_prompt; i++)
        if (q->prompt[i] < 0 || q->prompt[i] >= e->config->n_vocab)
            return tern_fail(err, TERN_E_USAGE,
                             "token %d of the prompt is %d, outside the vocabulary of %d", i,
                             q->prompt[i], e->config->n_vocab);
    return check_sampling(&q->sampling, e->config->n_vocab, err);
}

static int uses_counts(const tern_sampling *s)
{
    return (s->repetition != 0.0f && s->repetition != 1.0f) || s->presence != 0.0f ||
           s->frequency != 0.0f;
}

/* Where an id stands, or would, in the ascending list. */
static int count_place(const request_state *r, int32_t id)
{
    int begin = 0, end = r->n_counts;
    while (begin < end) {
        const int middle = begin + (end - begin) / 2;
        if (r->count_ids[middle] < id)
            begin = middle + 1;
        else
            end = middle;
    }
    return begin;
}

void tern_request_count(request_state *r, int32_t id, int by)
{
    if (!r->count_ids) return;
    const int at = count_place(r, id);
    if (at == r->n_counts || r->count_ids[at] != id) {
        const size_t tail = (size_t)(r->n_counts - at) * sizeof(int32_t);
        memmove(r->count_ids + at + 1, r->count_ids + at, tail);
        memmove(r->counts + at + 1, r->counts + at, tail);
        r->count_ids[at] = id;
        r->counts[at] = 0;
        r->n_counts++;
    }
    r->counts[at] += by;
}

static int copy_array(void *out, const void *from, size_t count, size_t size, tern_error *err)
{
    void *copy;
    const int status = tern_alloc(&copy, count, size, "a request", err);
    if (status != TERN_OK) return status;
    if (count) memcpy(copy, from, count * size);
    memcpy(out, &copy, sizeof copy);
    return TERN_OK;
}

static int fill_request(request_state *r, const tern_request *q, tern_error *err)
{
    const size_t n = (size_t)r->n_limit, n_bias = (size_t)q->sampling.n_bias;
    const size_t n_pages = (n + TERN_PAGE_TOK - 1) / TERN_PAGE_TOK;
    int status = tern_alloc(&r->tokens, n, sizeof *r->tokens, "a request", err);
    if (status == TERN_OK)
        status = tern_alloc(&r->pages, n_pages, sizeof *r->pages, "a request", err);
    if (status == TERN_OK)
        status = tern_alloc(&r->hashes, n_pages, sizeof *r->hashes, "a request", err);
    if (status == TERN_OK)
        status = tern_alloc(&r->slots, n_pages, sizeof *r->slots, "a request", err);
    if (status == TERN_OK && n_bias)
        status = copy_array(&r->bias_ids, q->sampling.bias_ids, n_bias, sizeof *r->bias_ids, err);
    if (status == TERN_OK && n_bias)
        status = copy_array(&r->bias, q->sampling.bias, n_bias, sizeof *r->bias, err);
    if (status == TERN_OK && uses_counts(&q->sampling)) {
        status = tern_alloc(&r->count_ids, n, sizeof *r->count_ids, "a request", err);
        if (status == TERN_OK)
            status = tern_alloc(&r->counts, n, sizeof *r->counts, "a request", err);
    }
    if (status != TERN_OK) return status;
    memcpy(r->tokens, q->prompt, (size_t)q->n_prompt * sizeof *r->tokens);
    for (int i = 0; i < q->n_prompt; i++) tern_request_count(r, q->prompt[i], 0);
    tern_request_hash(r);
    return TERN_OK;
}

void tern_request_enqueue(tern_engine *e, request_state *r)
{
    int at = e->n_waiting++;
    for (; at > 0 && tern_request_before(r, e->queue[at - 1]); at--)
        e->queue[at] = e->queue[at - 1];
    e->queue[at] = r;
}

int tern_engine_submit(tern_engine *e, uint64_t *id, const tern_request *q, tern_error *err)
{
    int status = check_request(e, q, err);
    if (status != TERN_OK) return status;
    if (e->n_waiting >= e->n_queue)
        return tern_fail(err, TERN_E_FIT, "the queue is full: %d requests are waiting",
                         e->n_waiting);
    request_state *r;
    status = tern_alloc(&r, 1, sizeof *r, "a request", err);
    if (status != TERN_OK) return status;
    const int n_ctx = e->plan.workload.n_ctx;
    const int bounded = q->max_tokens > 0 && q->max_tokens <= n_ctx - q->n_prompt;
    *r = (request_state){
        .id = e->next_id, .asked = *q, .n_prompt = q->n_prompt, .n_tokens = q->n_prompt,
        .n_scored = 1, .n_limit = bounded ? q->n_prompt + q->max_tokens : n_ctx,
        .limit = bounded ? TERN_FINISH_LENGTH : TERN_FINISH_CONTEXT,
    };
    status = fill_request(r, q, err);
    if (status != TERN_OK) {
        tern_request_free(r);
        return status;
    }
    tern_request_enqueue(e, r);
    *id = e->next_id++;
    return TERN_OK;
}

void tern_engine_cancel(tern_engine *e, uint64_t id)
{
    for (int i = 0; i < e->n_running; i++)
        if (e->running[i]->id == id) e->running[i]->cancelled = 1;
    for (int i = 0; i < e->n_waiting; i++)
        if (e->queue[i]->id == id) e->queue[i]->cancelled = 1;
}

int tern_engine_waits(const tern_engine *e, uint64_t id)
{
    for (int i = 0; i < e->n_waiting; i++)
        if (e->queue[i]->id == id) return e->queue[i]->admitted_ns == 0;
    return 0;
}
