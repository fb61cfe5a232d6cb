/* schedule.c - requests: queue, admission, batch, step. Decodes come first, chunks of prompts fill
 * what is left of the token budget. A request takes all its pages when it is admitted, so it never
 * runs out. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fail.h"
#include "base/memory.h"
#include "engine/engine_state.h"

/* ---- submission ----------------------------------------------------------------------------- */

void tern_request_free(request_state *r)
{
    if (!r) return;
    free(r->tokens);
    free(r->bias_ids);
    free(r->bias);
    free(r->count_ids);
    free(r->counts);
    free(r->pages);
    free(r);
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

/* Lists an id, or adds to its count. */
static void count_token(request_state *r, int32_t id, int by)
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
    int status = tern_alloc(&r->tokens, n, sizeof *r->tokens, "a request", err);
    if (status == TERN_OK)
        status = tern_alloc(&r->pages, (size_t)r->n_pages, sizeof *r->pages, "a request", err);
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
    for (int i = 0; i < q->n_prompt; i++) count_token(r, q->prompt[i], 0);
    return TERN_OK;
}

int tern_engine_submit(tern_engine *e, uint64_t *id, const tern_request *q, tern_error *err)
{
    int status = check_request(e, q, err);
    if (status != TERN_OK) return status;
    if (e->n_waiting == e->n_queue)
        return tern_fail(err, TERN_E_FIT, "the queue is full: %d requests are waiting", e->n_queue);
    request_state *r;
    status = tern_alloc(&r, 1, sizeof *r, "a request", err);
    if (status != TERN_OK) return status;
    const int n_ctx = e->plan.workload.n_ctx;
    const int bounded = q->max_tokens > 0 && q->max_tokens <= n_ctx - q->n_prompt;
    *r = (request_state){
        .id = e->next_id, .user = q->user, .n_prompt = q->n_prompt, .n_tokens = q->n_prompt,
        .n_limit = bounded ? q->n_prompt + q->max_tokens : n_ctx,
        .limit = bounded ? TERN_FINISH_LENGTH : TERN_FINISH_CONTEXT,
        .ignore_end = q->ignore_end, .sampling = q->sampling,
    };
    r->n_pages = (r->n_limit + TERN_PAGE_TOK - 1) / TERN_PAGE_TOK;
    status = fill_request(r, q, err);
    if (status != TERN_OK) {
        tern_request_free(r);
        return status;
    }
    e->queue[(e->queue_head + e->n_waiting++) % e->n_queue] = r;
    *id = e->next_id++;
    return TERN_OK;
}

void tern_engine_cancel(tern_engine *e, uint64_t id)
{
    for (int i = 0; i < e->n_running; i++)
        if (e->running[i]->id == id) e->running[i]->cancelled = 1;
    for (int i = 0; i < e->n_waiting; i++) {
        request_state *r = e->queue[(e->queue_head + i) % e->n_queue];
        if (r->id == id) r->cancelled = 1;
    }
}

/* ---- a step --------------------------------------------------------------------------------- */

int tern_engine_max_events(const tern_engine *e)
{
    return e->plan.workload.n_seq + e->n_queue;
}

static tern_engine_event event_of(const request_state *r, int32_t token, tern_finish finish)
{
    return (tern_engine_event){r->id, r->user, token, finish};
}

static void release(tern_engine *e, request_state *r)
{
    for (int i = r->n_pages - 1; i >= 0; i--) e->free_pages[e->n_free_pages++] = r->pages[i];
    tern_request_free(r);
}

/* Takes cancelled requests out of the queue and the running list. */
static void drop_cancelled(tern_engine *e, tern_engine_event *events, int *n_events)
{
    int kept = 0;
    for (int i = 0; i < e->n_running; i++) {
        request_state *r = e->running[i];
        if (!r->cancelled) {
            e->running[kept++] = r;
            continue;
        }
        events[(*n_events)++] = event_of(r, -1, TERN_FINISH_CANCELLED);
        release(e, r);
    }
    e->n_running = kept;
    int waiting = 0;
    for (int i = 0; i < e->n_waiting; i++) {
        request_state *r = e->queue[(e->queue_head + i) % e->n_queue];
        if (!r->cancelled) {
            e->queue[(e->queue_head + waiting++) % e->n_queue] = r;
            continue;
        }
        events[(*n_events)++] = event_of(r, -1, TERN_FINISH_CANCELLED);
        tern_request_free(r);
    }
    e->n_waiting = waiting;
}

/* In the order of arrival, while a place and the pages are free. */
static void admit(tern_engine *e)
{
    while (e->n_waiting > 0 && e->n_running < e->plan.workload.n_seq) {
        request_state *r = e->queue[e->queue_head];
        if (r->n_pages > e->n_free_pages) return;
        for (int i = 0; i < r->n_pages; i++) r->pages[i] = e->free_pages[--e->n_free_pages];
        e->running[e->n_running++] = r;
        e->queue_head = (e->queue_head + 1) % e->n_queue;
        e->n_waiting--;
    }
}

/* How many tokens each running request gets: one for every decode, then prompts in order. Returns
 * how many of them belong to prompts. */
static int share_budget(tern_engine *e)
{
    int budget = e->plan.workload.n_tok, prompt_tokens = 0;
    for (int i = 0; i < e->n_running; i++) {
        const request_state *r = e->running[i];
        e->take[i] = r->n_tokens - r->n_done == 1 && r->n_done >= r->n_prompt;
        budget -= e->take[i];
    }
    for (int i = 0; i < e->n_running; i++) {
        const request_state *r = e->running[i];
        if (r->n_done >= r->n_prompt) continue;
        const int pending = r->n_tokens - r->n_done;
        e->take[i] = pending < budget ? pending : budget;
        budget -= e->take[i];
        prompt_tokens += e->take[i];
    }
    return prompt_tokens;
}

static tern_pick pick_of(const request_state *r)
{
    const tern_sampling *s = &r->sampling;
    return (tern_pick){
        .temperature = s->temperature, .top_k = s->top_k, .top_p = s->top_p, .min_p = s->min_p,
        .repetition = s->repetition, .presence = s->presence, .frequency = s->frequency,
        .seed = s->seed, .choice = s->choice, .position = (uint32_t)r->n_tokens,
        .n_bias = s->n_bias, .bias_ids = r->bias_ids, .bias = r->bias,
        .n_counts = r->n_counts, .count_ids = r->count_ids, .counts = r->counts,
    };
}

/* Tokens, positions, block table and rows of the batch; pages that begin here are zeroed. */
static int build_batch(tern_engine *e, tern_error *err)
{
    tern_batch *b = &e->batch;
    b->n_tok = b->n_rows = 0;
    b->n_seq = e->n_running;
    for (int i = 0; i < e->n_running; i++) {
        const request_state *r = e->running[i];
        memcpy(e->table + (size_t)i * (size_t)e->pages_per_seq, r->pages,
               (size_t)r->n_pages * sizeof(int32_t));
        for (int j = 0; j < e->take[i]; j++) {
            const int pos = r->n_done + j;
            if (pos % TERN_PAGE_TOK == 0) {
                const int status = tern_engine_clear_page(e, r->pages[pos / TERN_PAGE_TOK], err);
                if (status != TERN_OK) return status;
            }
            e->ids[b->n_tok] = r->tokens[pos];
            e->pos[b->n_tok] = pos;
            e->seq[b->n_tok++] = i;
        }
        if (e->take[i] == 0 || r->n_done + e->take[i] < r->n_tokens) continue;
        e->rows[b->n_rows] = b->n_tok - 1;
        e->row_owner[b->n_rows] = i;
        e->picks[b->n_rows++] = pick_of(r);
    }
    return TERN_OK;
}

/* Whether n candidates hold every token that the sampling may keep (PICK in tern/device.h). */
static int needs_only_top(const tern_pick *p, int n)
{
    const int unadjusted = !p->n_bias && !p->n_counts && !p->mask;
    return unadjusted && (p->temperature == 0.0f || (p->top_k > 0 && p->top_k <= n));
}

/* Runs the batch and brings the sampled ids to the host. Several rows share one pass over both
 * planes of the table; a single one reads less when the head is screened. */
static int run_batch(tern_engine *e, tern_error *err)
{
    int status = tern_engine_forward(e, err);
    if (status == TERN_OK && e->batch.n_rows > 0) {
        tern_part *head = tern_engine_head(e);
        tern_stream *stream = tern_engine_head_stream(e);
        const int screened = e->batch.n_rows == 1 && needs_only_top(&e->picks[0], head->n_top);
        status = tern_program_run(screened ? head->pick_top : head->pick, stream, &e->batch, err);
        if (status == TERN_OK)
            status =
                tern_download(stream, e->picked, head->picked.buffer, head->picked.offset_bytes,
                              (size_t)e->batch.n_rows * sizeof(int32_t), err);
    }
    return status == TERN_OK ? tern_engine_sync(e, err) : status;
}

/* Takes in a sampled token; returns what the request has come to. */
static tern_finish append(const tern_engine *e, request_state *r, int32_t token)
{
    const tern_tokenizer *tokenizer = tern_model_tokenizer(e->model); /* NULL: no end tokens */
    if (!r->ignore_end && tokenizer && tern_tokenizer_is_end(tokenizer, token))
        return TERN_FINISH_STOP;
    r->tokens[r->n_tokens++] = token;
    count_token(r, token, 1);
    return r->n_tokens == r->n_limit ? r->limit : TERN_FINISH_NONE;
}

static int collect(tern_engine *e, tern_engine_event *events, int *n_events, tern_error *err)
{
    for (int row = 0; row < e->batch.n_rows; row++) /* before anything is taken in */
        if (e->picked[row] < 0 || e->picked[row] >= e->config->n_vocab)
            return tern_fail(err, TERN_E_DEVICE, "%s sampled token %d of a vocabulary of %d",
                             e->plan.devices[e->plan.head_device], e->picked[row],
                             e->config->n_vocab);
    for (int i = 0; i < e->n_running; i++) e->running[i]->n_done += e->take[i];
    for (int row = 0; row < e->batch.n_rows; row++) {
        const int owner = e->row_owner[row];
        request_state *r = e->running[owner];
        const int32_t token = e->picked[row];
        const tern_finish finish = append(e, r, token);
        events[(*n_events)++] = event_of(r, finish == TERN_FINISH_STOP ? -1 : token, finish);
        if (finish == TERN_FINISH_NONE) continue;
        release(e, r);
        e->running[owner] = NULL;
    }
    int kept = 0;
    for (int i = 0; i < e->n_running; i++)
        if (e->running[i]) e->running[kept++] = e->running[i];
    e->n_running = kept;
    return TERN_OK;
}

int tern_engine_step(tern_engine *e, tern_engine_event *events, int *n_events, tern_error *err)
{
    *n_events = 0;
    if (e->failed.status != TERN_OK) {
        if (err) *err = e->failed;
        return e->failed.status;
    }
    const uint64_t begin = tern_now_ns();
    drop_cancelled(e, events, n_events);
    admit(e);
    if (e->n_running == 0) return TERN_OK;
    const int prompt_tokens = share_budget(e);
    int status = build_batch(e, &e->failed);
    if (status == TERN_OK) status = run_batch(e, &e->failed);
    const int decoded = e->batch.n_tok - prompt_tokens;
    if (status == TERN_OK) status = collect(e, events, n_events, &e->failed);
    e->stats.n_steps++;
    e->stats.prefill_tok += (uint64_t)prompt_tokens;
    e->stats.decode_tok += (uint64_t)decoded;
    *(prompt_tokens ? &e->stats.prefill_ns : &e->stats.decode_ns) += tern_now_ns() - begin;
    if (status != TERN_OK && err) *err = e->failed;
    return status;
}
