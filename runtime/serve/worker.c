/* worker.c - the engine's thread: takes jobs from the inbox, steps the engine, turns its events
 * into bytes for clients, and looks between steps who has hung up or waited too long. */
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "serve/server_state.h"

#define KEEP_ALIVE_NS 10000000000u
#define LINGER_NS 10000000000u              /* at the end, for clients that read slowly */

uint64_t tern_serve_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void tern_worker_release(serve_job *job)
{
    if (--job->shared.refs == 0) tern_job_free(job);
}

void tern_worker_wake(tern_server *s)
{
    const uint64_t one = 1;
    if (write(s->wake_fd, &one, sizeof one) < 0) return; /* the counter is full: it is awake */
}

int tern_worker_submit(tern_server *s, serve_job *job, api_error *error)
{
    const tern_server_options *o = &s->options;
    int status = 0;
    job->arrived_ns = job->heard_ns = tern_serve_now_ns();
    pthread_mutex_lock(&s->lock);
    if (s->closing)
        status = tern_api_fail(error, 503, NULL, "the server is shutting down");
    else if (s->n_requests + job->n_choices > o->max_requests)
        status = tern_api_fail(error, 429, NULL,
                               "%d requests are in the server and it takes %d: try again later",
                               s->n_requests, o->max_requests);
    else if (s->n_tok > 0 && s->n_tok + job->n_tok > o->max_tok)
        status =
            tern_api_fail(error, 429, NULL,
                          "requests of %lld tokens are in the server and it takes %d: try again "
                          "later",
                          (long long)s->n_tok, o->max_tok);
    if (status == 0) {
        job->id = s->next_id++;
        job->next = s->inbox;
        job->shared.refs++;
        s->inbox = job;
        s->n_requests += job->n_choices;
        s->n_tok += job->n_tok;
    }
    pthread_mutex_unlock(&s->lock);
    if (status == 0) tern_worker_wake(s);
    return status;
}

/* ---- output --------------------------------------------------------------------------------- */

/* Gives bytes to the client's thread. */
static void deliver(tern_server *s, serve_job *job, serve_buffer *bytes, int done)
{
    pthread_mutex_lock(&s->lock);
    serve_buffer *out = &job->shared.out;
    if (job->shared.n_read == out->n) job->shared.n_read = out->n = 0; /* the room is used again */
    tern_bytes_add(out, bytes->data, bytes->n);
    job->shared.http = 200;
    job->shared.done |= done;
    if (bytes->failed || out->failed ||
        (job->params.stream && out->n - job->shared.n_read > s->options.max_unread_bytes))
        job->shared.cancelled = 1;
    tern_http_wake(job);
    pthread_mutex_unlock(&s->lock);
    job->heard_ns = tern_serve_now_ns();
    tern_bytes_free(bytes);
}

/* Takes the job's choices out of the engine; their events are dropped from now on. */
static void abandon(tern_server *s, serve_job *job)
{
    job->failed = 1;
    for (int i = 0; i < job->n_choices; i++)
        if (job->choices[i].in_engine) tern_engine_cancel(s->engine, job->choices[i].id);
    pthread_mutex_lock(&s->lock);
    s->metrics.aborted += (uint64_t)job->n_open;
    pthread_mutex_unlock(&s->lock);
}

/* Ends the job with an error: as the answer, or as the last event of a stream that has begun. */
static void fail(tern_server *s, serve_job *job, const api_error *error)
{
    char *text = tern_api_text(error);
    abandon(s, job);
    pthread_mutex_lock(&s->lock);
    serve_buffer *out = &job->shared.out;
    if (job->shared.http == 0) {
        job->shared.http = error->http;
        tern_bytes_text(out, text ? text : "{}");
    } else {
        tern_bytes_text(out, "data: ");
        tern_bytes_text(out, text ? text : "{}");
        tern_bytes_text(out, "\n\n");
    }
    job->shared.cancelled |= out->failed;
    job->shared.done = 1;
    tern_http_wake(job);
    pthread_mutex_unlock(&s->lock);
    free(text);
}

/* ---- jobs ----------------------------------------------------------------------------------- */

/* What may come next under a schema; nothing when the answer is complete. */
static void allow(void *user, uint32_t *mask)
{
    const serve_choice *c = user;
    tern_tokens_allow(c->job->tokens, &c->machine, c->job->params.schema, mask);
}

static int submit_choice(tern_server *s, serve_choice *c, tern_error *err)
{
    const serve_job *job = c->job;
    tern_request request = job->params.request;
    request.prompt = job->prompts[c->prompt];
    request.n_prompt = job->n_prompt[c->prompt];
    request.sampling.choice = (uint32_t)(c->index % job->params.n);
    request.user = c;
    request.allow = job->params.schema ? allow : NULL;
    return tern_engine_submit(s->engine, &c->id, &request, err);
}

static void start(tern_server *s, serve_job *job)
{
    tern_error err = {0};
    int status = TERN_OK;
    job->next = s->active;
    s->active = job;
    for (int i = 0; i < job->n_choices && status == TERN_OK; i++) {
        serve_choice *c = &job->choices[i];
        status = submit_choice(s, c, &err);
        if (status != TERN_OK) break;
        c->in_engine = 1;
        job->n_in_engine++;
        if (job->params.echo) tern_answer_echo(&s->answering, c);
    }
    if (status != TERN_OK) {
        api_error error;
        tern_api_status(&error, NULL, &err);
        fail(s, job, &error);
        return;
    }
    serve_buffer nothing = {0};
    if (job->params.stream) deliver(s, job, &nothing, 0);
}

/* Jobs from the inbox, the oldest first. */
static void take_inbox(tern_server *s)
{
    pthread_mutex_lock(&s->lock);
    serve_job *list = s->inbox, *ordered = NULL;
    s->inbox = NULL;
    pthread_mutex_unlock(&s->lock);
    while (list) {
        serve_job *next = list->next;
        list->next = ordered;
        ordered = list;
        list = next;
    }
    while (ordered) {
        serve_job *next = ordered->next;
        start(s, ordered);
        ordered = next;
    }
}

/* None of the job's choices has run yet. */
static int waits(const tern_server *s, const serve_job *job)
{
    for (int i = 0; i < job->n_choices; i++)
        if (!tern_engine_waits(s->engine, job->choices[i].id)) return 0;
    return 1;
}

/* Abandons jobs whose clients are gone, fails those that have waited too long, keeps streams
 * alive. */
static void look_after(tern_server *s, serve_job *job, uint64_t now)
{
    const tern_server_options *o = &s->options;
    api_error error;
    pthread_mutex_lock(&s->lock);
    const int cancelled = job->shared.cancelled;
    pthread_mutex_unlock(&s->lock);
    if (job->failed || job->n_open == 0) return;
    if (cancelled) {
        abandon(s, job);
        return;
    }
    const uint64_t waited_s = (now - job->arrived_ns) / 1000000000u;
    int begun = 0;
    for (int i = 0; i < job->n_choices; i++) begun |= job->choices[i].first_ns != 0;
    if (!begun && waited_s >= (uint64_t)o->queue_timeout_s && waits(s, job)) {
        tern_api_fail(&error, 503, NULL,
                      "the request waited %d seconds for its turn: try again later",
                      o->queue_timeout_s);
        fail(s, job, &error);
    } else if (!begun && waited_s >= (uint64_t)o->first_token_timeout_s) {
        tern_api_fail(&error, 503, NULL, "no token came within %d seconds",
                      o->first_token_timeout_s);
        fail(s, job, &error);
    } else if (waited_s >= (uint64_t)o->request_timeout_s) {
        tern_api_fail(&error, 408, NULL, "the answer took more than %d seconds",
                      o->request_timeout_s);
        fail(s, job, &error);
    } else if (job->params.stream && now - job->heard_ns > KEEP_ALIVE_NS) {
        serve_buffer comment = {0};
        tern_bytes_text(&comment, ": keep-alive\n\n");
        deliver(s, job, &comment, 0);
    }
}

/* Jobs that the engine has let go leave the list. */
static void drop_ended(tern_server *s)
{
    pthread_mutex_lock(&s->lock);
    for (serve_job **link = &s->active; *link;) {
        serve_job *job = *link;
        if (job->n_in_engine > 0) {
            link = &job->next;
            continue;
        }
        *link = job->next;
        s->n_requests -= job->n_choices;
        s->n_tok -= job->n_tok;
        tern_worker_release(job);
    }
    pthread_mutex_unlock(&s->lock);
}

/* ---- events --------------------------------------------------------------------------------- */

static int is_stop_id(const api_params *p, int32_t token)
{
    for (int i = 0; i < p->n_stop_ids; i++)
        if (p->stop_ids[i] == token) return 1;
    return 0;
}

/* A token of the answer. */
static void take_token(tern_server *s, serve_choice *c, const tern_engine_event *event)
{
    const api_params *p = &c->job->params;
    size_t bytes;
    const char *text = tern_tokenizer_bytes(s->answering.tokenizer, event->token, &bytes);
    if (p->no_answer) return;
    c->n_tokens++;
    for (size_t i = 0; p->schema && i < bytes; i++)
        tern_machine_step(&c->machine, p->schema, (unsigned char)text[i]);
    if (is_stop_id(p, event->token)) {
        c->finish = "stop";
        return;
    }
    if (!tern_tokenizer_is_control(s->answering.tokenizer, event->token))
        tern_text_push(&c->text, &p->stops, text, bytes);
    if (c->text.stopped) c->finish = "stop";
}

/* What the planner foretells of a choice that has ended. */
static void foretell(const tern_server_forecast *f, serve_choice *c)
{
    const int n_prompt = c->job->n_prompt[c->prompt], decoded = c->n_tokens - 1;
    if (!f->prompt_s || c->n_tokens == 0) return;
    c->predicted_prompt_s = f->prompt_s(f->plan, c->n_cached, n_prompt);
    if (decoded == 0) return;
    const int mates = (int)((c->n_mates + (uint64_t)decoded / 2) / (uint64_t)decoded);
    c->predicted_decode_s = decoded * f->step_s(f->plan, mates, n_prompt + decoded / 2);
}

/* Counts what a choice has taken. */
static void measure(tern_server *s, const serve_choice *c)
{
    serve_metrics *m = &s->metrics;
    m->predicted_prompt_s += c->predicted_prompt_s;
    m->predicted_decode_s += c->predicted_decode_s;
    const serve_job *job = c->job;
    const double second = 1e9;
    m->prompt_tok += (uint64_t)job->n_prompt[c->prompt];
    *(strcmp(c->finish, "stop") == 0 ? &m->stopped : &m->length) += 1;
    tern_metrics_add(m, METRIC_PROMPT_TOK, job->n_prompt[c->prompt]);
    tern_metrics_add(m, METRIC_ANSWER_TOK, c->n_tokens);
    tern_metrics_add(m, METRIC_E2E, (double)(c->last_ns - job->arrived_ns) / second);
    if (c->admitted_ns > job->arrived_ns)
        tern_metrics_add(m, METRIC_QUEUE, (double)(c->admitted_ns - job->arrived_ns) / second);
    if (c->first_ns > c->admitted_ns)
        tern_metrics_add(m, METRIC_PREFILL, (double)(c->first_ns - c->admitted_ns) / second);
    tern_metrics_add(m, METRIC_DECODE, (double)(c->last_ns - c->first_ns) / second);
}

/* Times of an event behind the prompt: a token, or the bare end. The lock is held. */
static void measure_token(tern_server *s, serve_choice *c, uint64_t now, int is_token)
{
    if (!is_token) {
        c->first_ns = c->first_ns ? c->first_ns : now;
    } else if (!c->first_ns) {
        c->first_ns = now;
        tern_metrics_add(&s->metrics, METRIC_FIRST_TOKEN, (double)(now - c->job->arrived_ns) / 1e9);
    } else {
        tern_metrics_add(&s->metrics, METRIC_INTER_TOKEN, (double)(now - c->last_ns) / 1e9);
    }
    s->metrics.answer_tok += (uint64_t)is_token;
    c->last_ns = now;
}

/* What the client gets to see of a choice that has moved on. */
static void show(tern_server *s, serve_choice *c)
{
    serve_job *job = c->job;
    serve_buffer bytes = {0};
    if (job->params.stream) tern_answer_chunk(&s->answering, c, &bytes);
    if (job->n_open == 0 && job->params.stream)
        tern_answer_end(&s->answering, job, &bytes);
    else if (job->n_open == 0)
        tern_answer_whole(&s->answering, job, &bytes);
    if (job->n_open == 0 || bytes.n > 0 || bytes.failed) deliver(s, job, &bytes, job->n_open == 0);
}

static const char *finish_of(tern_finish finish)
{
    return finish == TERN_FINISH_STOP ? "stop" : finish == TERN_FINISH_NONE ? NULL : "length";
}

static void take_event(tern_server *s, const tern_engine_event *event, uint64_t now)
{
    serve_choice *c = event->user;
    serve_job *job = c->job;
    const int in_prompt = event->token >= 0 && event->position < job->n_prompt[c->prompt];
    if (event->finish != TERN_FINISH_NONE) {
        c->in_engine = 0;
        job->n_in_engine--;
    }
    if (job->failed || c->finish) return;
    c->n_cached = event->n_cached;
    c->admitted_ns = event->admitted_ns;
    if (event->token >= 0 && job->params.request.logprobs && (in_prompt || !job->params.no_answer))
        tern_answer_log(&s->answering, c, event);
    if (in_prompt) return;
    if (event->token >= 0) take_token(s, c, event);
    if (!c->finish) c->finish = finish_of(event->finish);
    if (c->first_ns) c->n_mates += (uint64_t)s->n_decoding;
    if (c->finish) foretell(&s->options.forecast, c);
    pthread_mutex_lock(&s->lock);
    measure_token(s, c, now, event->token >= 0);
    if (c->finish) measure(s, c);
    pthread_mutex_unlock(&s->lock);
    if (c->finish) {
        if (c->in_engine) tern_engine_cancel(s->engine, c->id);
        tern_text_finish(&c->text, &job->params.stops);
        job->n_open--;
    }
    show(s, c);
}

/* ---- the loop ------------------------------------------------------------------------------- */

/* Who has hung up; waits for news when there is nothing to do. */
static void watch(tern_server *s, int timeout_ms)
{
    struct epoll_event list[64];
    const int n = epoll_wait(s->epoll_fd, list, 64, timeout_ms);
    for (int i = 0; i < n; i++) {
        uint64_t count;
        if (list[i].data.u64 == 0) {
            if (read(s->wake_fd, &count, sizeof count) < 0) continue;
        } else {
            pthread_mutex_lock(&s->lock);
            serve_job *const lists[] = {s->active, s->inbox};
            for (int l = 0; l < 2; l++)
                for (serve_job *job = lists[l]; job; job = job->next)
                    if (job->id == list[i].data.u64) {
                        job->shared.cancelled = 1;
                        tern_http_wake(job);
                    }
            pthread_mutex_unlock(&s->lock);
        }
    }
}

/* Sequences that got a token of their answer. */
static int count_decoding(const tern_engine_event *events, int n)
{
    int count = 0;
    for (int i = 0; i < n; i++) {
        const serve_choice *c = events[i].user;
        count += events[i].token >= 0 && events[i].position >= c->job->n_prompt[c->prompt];
    }
    return count;
}

static int step(tern_server *s, tern_error *err)
{
    tern_engine_stats before, after;
    int n = 0;
    tern_engine_stats_get(s->engine, &before);
    const int status = tern_engine_step(s->engine, s->events, &n, err);
    const uint64_t now = tern_serve_now_ns();
    s->n_decoding = status == TERN_OK ? count_decoding(s->events, n) : 0;
    for (int i = 0; i < n && status == TERN_OK; i++) take_event(s, &s->events[i], now);
    tern_engine_stats_get(s->engine, &after);
    pthread_mutex_lock(&s->lock);
    const uint64_t n_tok =
        after.prefill_tok + after.decode_tok - before.prefill_tok - before.decode_tok;
    if (n_tok > 0) tern_metrics_add(&s->metrics, METRIC_STEP_TOK, (double)n_tok);
    s->stats = after;
    pthread_mutex_unlock(&s->lock);
    return status;
}

/* The engine does not work any more: every client is told. */
static void fail_all(tern_server *s, const tern_error *err)
{
    api_error error;
    tern_api_fail(&error, 500, NULL, "%s", err->text);
    pthread_mutex_lock(&s->lock);
    s->closing = 1;
    pthread_mutex_unlock(&s->lock);
    take_inbox(s);
    for (serve_job *job = s->active; job; job = job->next) {
        if (!job->failed && job->n_open > 0) fail(s, job, &error);
        job->n_in_engine = 0;
    }
    drop_ended(s);
}

/* Everything that is done for jobs between steps; `now`: those still open are ended. */
static void look_around(tern_server *s, int end_now)
{
    api_error error;
    tern_api_fail(&error, 503, NULL, "the server was told to end now");
    take_inbox(s);
    const uint64_t now = tern_serve_now_ns(); /* after all that jobs have noted */
    for (serve_job *job = s->active; job; job = job->next) {
        look_after(s, job, now);
        if (end_now && !job->failed && job->n_open > 0) fail(s, job, &error);
    }
    drop_ended(s);
}

/* Told to end, with nothing left to do: whether the clients have got what is theirs, or have not
 * wanted it for too long. */
static int may_leave(tern_server *s, uint64_t *since)
{
    const uint64_t now = tern_serve_now_ns();
    if (!*since) *since = now;
    pthread_mutex_lock(&s->lock);
    const int n_clients = s->n_clients;
    pthread_mutex_unlock(&s->lock);
    return n_clients == 0 || now - *since > LINGER_NS;
}

int tern_worker_run(tern_server *s, tern_error *err)
{
    uint64_t idle_since = 0;
    for (;;) {
        const int stops = atomic_load_explicit(&s->stops, memory_order_relaxed);
        pthread_mutex_lock(&s->lock);
        s->closing = stops > 0;
        pthread_mutex_unlock(&s->lock);
        look_around(s, stops > 1);
        if (!s->active && stops > 0 && may_leave(s, &idle_since)) return TERN_OK;
        watch(s, s->active ? 0 : 1000);
        if (!s->active) continue;
        const int status = step(s, err);
        if (status == TERN_OK) continue;
        fail_all(s, err);
        while (!may_leave(s, &idle_since)) watch(s, 1000);
        return status;
    }
}
