/* step.c - one step: the batch is built from what schedule.c gave out, run, sampled, scored where
 * log-probabilities are asked for, and taken in. Only here do requests gain tokens. */
#include <string.h>

#include "base/clock.h"
#include "base/fail.h"
#include "engine/engine_state.h"

int tern_engine_max_events(const tern_engine *e)
{
    return 2 * e->plan.workload.n_seq + e->n_queue + e->plan.workload.n_tok;
}

static tern_engine_event event_of(const request_state *r, int32_t token, int position)
{
    return (tern_engine_event){.request = r->id, .user = r->asked.user, .token = token,
                               .position = position, .n_cached = r->n_cached,
                               .admitted_ns = r->admitted_ns};
}

/* Takes cancelled requests out of a list; returns how many stay. */
static int drop_cancelled(tern_engine *e, request_state **list, int n, tern_engine_event *events,
                          int *n_events)
{
    int kept = 0;
    for (int i = 0; i < n; i++) {
        request_state *r = list[i];
        if (!r->cancelled) {
            list[kept++] = r;
            continue;
        }
        events[*n_events] = event_of(r, -1, r->n_tokens);
        events[(*n_events)++].finish = TERN_FINISH_CANCELLED;
        tern_schedule_release(e, r);
    }
    return kept;
}

/* ---- the batch ------------------------------------------------------------------------------ */

/* The mask of a row: what `allow` says, without end tokens while the answer is too short. */
static const uint32_t *mask_of(tern_engine *e, const request_state *r, int row)
{
    const int too_short = r->n_tokens - r->n_prompt < r->asked.min_tokens;
    if (!r->asked.allow) return too_short ? e->not_end : NULL;
    uint32_t *mask = e->masks + (size_t)row * (size_t)e->mask_words;
    memset(mask, 0, (size_t)e->mask_words * sizeof *mask);
    r->asked.allow(r->asked.user, mask);
    for (int i = 0; i < e->mask_words && too_short; i++) mask[i] &= e->not_end[i];
    return mask;
}

static tern_pick pick_of(tern_engine *e, const request_state *r, int row)
{
    const tern_sampling *s = &r->asked.sampling;
    return (tern_pick){
        .temperature = s->temperature, .top_k = s->top_k, .top_p = s->top_p, .min_p = s->min_p,
        .repetition = s->repetition, .presence = s->presence, .frequency = s->frequency,
        .seed = s->seed, .choice = s->choice, .position = (uint32_t)r->n_tokens,
        .n_bias = s->n_bias, .bias_ids = r->bias_ids, .bias = r->bias,
        .n_counts = r->n_counts, .count_ids = r->count_ids, .counts = r->counts,
        .mask = mask_of(e, r, row),
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
        e->picks[b->n_rows] = pick_of(e, r, b->n_rows);
        b->n_rows++;
    }
    return TERN_OK;
}

/* Whether n candidates hold every token that the sampling may keep (PICK in tern/device.h). */
static int needs_only_top(const tern_pick *p, int n)
{
    const int unadjusted = !p->n_bias && !p->n_counts && !p->mask;
    return unadjusted && (p->temperature == 0.0f || (p->top_k > 0 && p->top_k <= n));
}

static int all_need_only_top(const tern_engine *e, int n)
{
    for (int row = 0; row < e->batch.n_rows; row++)
        if (!needs_only_top(&e->picks[row], n)) return 0;
    return 1;
}

/* Head and choice: screened for all rows where that is enough, otherwise from all logits, as many
 * rows at a time as there is room for. The ids are on their way to the host. */
static int pick_rows(tern_engine *e, tern_error *err)
{
    tern_part *head = tern_engine_head(e);
    tern_stream *stream = tern_engine_head_stream(e);
    const int top = all_need_only_top(e, head->n_top), n = e->batch.n_rows;
    const int most = top ? e->plan.workload.n_seq : head->n_full;
    int status = TERN_OK;
    for (int row = 0; row < n && status == TERN_OK; row += most) {
        tern_batch part = e->batch;
        part.rows += row;
        part.picks += row;
        part.n_rows = n - row < most ? n - row : most;
        status = tern_program_run(top ? head->pick_top : head->pick, stream, &part, err);
        if (status == TERN_OK)
            status = tern_download(stream, e->picked + row, head->picked.buffer,
                                   head->picked.offset_bytes,
                                   (size_t)part.n_rows * sizeof(int32_t), err);
    }
    return status;
}

/* Runs the batch and brings the sampled ids to the host. */
static int run_batch(tern_engine *e, tern_error *err)
{
    int status = tern_engine_forward(e, err);
    if (status == TERN_OK) status = pick_rows(e, err);
    if (status == TERN_OK) status = tern_engine_sync(e, err);
    for (int row = 0; row < e->batch.n_rows && status == TERN_OK; row++)
        if (e->picked[row] < (e->picks[row].mask ? -1 : 0) || e->picked[row] >= e->config->n_vocab)
            status = tern_fail(err, TERN_E_DEVICE, "%s sampled token %d of a vocabulary of %d",
                               e->plan.devices[e->plan.head_device], e->picked[row],
                               e->config->n_vocab);
    return status;
}

/* ---- log-probabilities ---------------------------------------------------------------------- */

/* Batch tokens whose following token wants a log-probability: inside prompts, and sampled ones. The
 * sampled rows are still in `rows`, whose place the list takes. */
static int list_scores(tern_engine *e)
{
    int n = 0, row = 0, first = 0;
    for (int i = 0; i < e->n_running; first += e->take[i++]) {
        const request_state *r = e->running[i];
        for (int j = 0; j < e->take[i]; j++) {
            const int next = r->n_done + j + 1, at = first + j;
            const int samples = next == r->n_tokens;
            const int inside = r->asked.prompt_logprobs && next < r->n_prompt;
            e->score_of[at] = -1;
            if (samples ? r->asked.logprobs && e->picked[row] >= 0
                        : inside && next >= r->n_scored) {
                e->score_of[at] = n;
                e->targets[n] = samples ? e->picked[row] : r->tokens[next];
                e->rows[n++] = at;
            }
            row += samples;
        }
    }
    return n;
}

/* Log-probability parts of all listed rows, then of their likeliest tokens. */
static int score_batch(tern_engine *e, tern_error *err)
{
    const int n_rows = e->batch.n_rows, n = list_scores(e);
    if (n == 0) return TERN_OK;
    tern_part *head = tern_engine_head(e);
    tern_stream *stream = tern_engine_head_stream(e);
    const size_t n_top = (size_t)n * (size_t)head->n_score_top;
    e->batch.n_rows = n;
    int status = tern_program_run(head->all_scores, stream, &e->batch, err);
    e->batch.n_rows = n_rows;
    if (status == TERN_OK)
        status = tern_download(stream, e->scores, head->score.buffer, head->score.offset_bytes,
                               (size_t)n * sizeof *e->scores, err);
    if (status == TERN_OK)
        status = tern_download(stream, e->score_top, head->score_top.buffer,
                               head->score_top.offset_bytes, n_top * sizeof *e->score_top, err);
    if (status == TERN_OK) status = tern_engine_sync(e, err);
    for (size_t i = 0; i < n_top && status == TERN_OK; i++)
        e->tops[i] = (tern_logprob){
            e->score_top[i].id, tern_score_logprob(&e->scores[i / (size_t)head->n_score_top],
                                                   e->score_top[i].logit)};
    return status;
}

/* Puts what was scored for batch token `at` into an event. */
static void add_scores(tern_engine *e, const request_state *r, tern_engine_event *event, int at)
{
    const int row = e->score_of[at], room = tern_engine_head(e)->n_score_top;
    if (row < 0) return;
    event->logprob = tern_score_logprob(&e->scores[row], e->scores[row].target_logit);
    event->top = e->tops + (size_t)row * (size_t)room;
    event->n_top = r->asked.n_top < room ? r->asked.n_top : room;
}

/* ---- the answer ----------------------------------------------------------------------------- */

/* Takes in a sampled token; returns what the request has come to. */
static tern_finish append(const tern_engine *e, request_state *r, int32_t token)
{
    const tern_tokenizer *tokenizer = tern_model_tokenizer(e->model); /* NULL: no end tokens */
    if (token < 0) return TERN_FINISH_STOP;
    if (!r->asked.ignore_end && tokenizer && tern_tokenizer_is_end(tokenizer, token))
        return TERN_FINISH_STOP;
    r->tokens[r->n_tokens++] = token;
    tern_request_count(r, token, 1);
    tern_request_hash(r);
    return r->n_tokens == r->n_limit ? r->limit : TERN_FINISH_NONE;
}

/* Events of a request's part of the batch, which begins at token `first`; returns whether it has
 * ended. */
static int collect_request(tern_engine *e, int i, int first, int row, tern_engine_event *events,
                           int *n_events)
{
    request_state *r = e->running[i];
    const int begin = r->n_done, samples = begin + e->take[i] == r->n_tokens && e->take[i] > 0;
    for (int j = 0; j + samples < e->take[i]; j++) {
        if (e->score_of[first + j] < 0) continue;
        tern_engine_event *event = &events[(*n_events)++];
        *event = event_of(r, r->tokens[begin + j + 1], begin + j + 1);
        add_scores(e, r, event, first + j);
        r->n_scored = begin + j + 2;
    }
    r->n_done += e->take[i];
    tern_schedule_publish(e, r);
    if (!samples) return 0;
    tern_engine_event *event = &events[(*n_events)++];
    *event = event_of(r, e->picked[row], r->n_tokens);
    add_scores(e, r, event, first + e->take[i] - 1);
    event->finish = append(e, r, e->picked[row]);
    if (event->finish == TERN_FINISH_STOP) event->token = -1;
    return event->finish != TERN_FINISH_NONE;
}

static void collect(tern_engine *e, tern_engine_event *events, int *n_events)
{
    int kept = 0, first = 0, row = 0;
    for (int i = 0; i < e->n_running; i++) {
        request_state *r = e->running[i];
        const int take = e->take[i], samples = take > 0 && r->n_done + take == r->n_tokens;
        if (collect_request(e, i, first, row, events, n_events))
            tern_schedule_release(e, r);
        else
            e->running[kept++] = r;
        first += take;
        row += samples;
    }
    e->n_running = kept;
}

/* The part of a step that keeps the devices busy. */
static int compute(tern_engine *e, tern_error *err)
{
    const uint64_t begin = tern_now_ns();
    int status = run_batch(e, err);
    if (status == TERN_OK) status = score_batch(e, err);
    e->stats.device_ns += tern_now_ns() - begin;
    return status;
}

int tern_engine_step(tern_engine *e, tern_engine_event *events, int *n_events, tern_error *err)
{
    *n_events = 0;
    if (e->failed.status != TERN_OK) {
        if (err) *err = e->failed;
        return e->failed.status;
    }
    const uint64_t begin = tern_now_ns();
    int prompt_tokens = 0;
    e->n_running = drop_cancelled(e, e->running, e->n_running, events, n_events);
    e->n_waiting = drop_cancelled(e, e->queue, e->n_waiting, events, n_events);
    int status = tern_schedule_admit(e, &e->failed);
    if (status == TERN_OK && e->n_running == 0) return TERN_OK;
    if (status == TERN_OK) status = tern_schedule_share(e, &prompt_tokens, &e->failed);
    if (status == TERN_OK) status = build_batch(e, &e->failed);
    if (status == TERN_OK) status = compute(e, &e->failed);
    const int decoded = e->batch.n_tok - prompt_tokens;
    if (status == TERN_OK) collect(e, events, n_events);
    e->stats.n_steps++;
    e->stats.prefill_tok += (uint64_t)prompt_tokens;
    e->stats.decode_tok += (uint64_t)decoded;
    *(prompt_tokens ? &e->stats.prefill_ns : &e->stats.decode_ns) += tern_now_ns() - begin;
    if (status != TERN_OK && err) *err = e->failed;
    return status;
}
