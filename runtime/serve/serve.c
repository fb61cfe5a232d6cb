/* serve.c - a server's life: it listens from its creation on, and answers while it runs. */
#include "serve/serve.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

#include "serve/server_state.h"

static int open_events(tern_server *s, tern_error *err)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 0};
    s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (s->wake_fd < 0 || s->epoll_fd < 0 ||
        epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, s->wake_fd, &event) != 0)
        return tern_serve_fail(err, TERN_E_IO, "cannot watch sockets: %s", strerror(errno));
    return TERN_OK;
}

int tern_server_create(tern_server **out, tern_engine *engine, const tern_server_options *options,
                       tern_error *err)
{
    const tern_model *model = tern_engine_model(engine);
    if (!tern_model_tokenizer(model))
        return tern_serve_fail(err, TERN_E_USAGE,
                               "the model has no tokenizer: serve one from a file");
    tern_server *s = calloc(1, sizeof *s);
    if (!s) return tern_serve_fail(err, TERN_E_FIT, "no memory for a server");
    s->wake_fd = s->epoll_fd = -1;
    s->engine = engine;
    s->options = *options;
    s->next_id = 1;
    s->started = time(NULL);
    s->reading = (job_context){.tokenizer = tern_model_tokenizer(model),
                               .n_vocab = tern_model_config_of(model)->n_vocab,
                               .n_ctx = tern_engine_plan(engine)->workload.n_ctx,
                               .chat = options->chat};
    s->reading.tokens = tern_tokens_create(s->reading.tokenizer);
    s->answering =
        (answer_context){.tokenizer = s->reading.tokenizer, .model = options->model_name};
    if (getrandom(&s->answering.boot, sizeof s->answering.boot, 0) < 0) s->answering.boot = 0;
    json_object_seed(0); /* before there are threads */
    tern_engine_stats_get(engine, &s->stats);
    pthread_mutex_init(&s->lock, NULL);
    s->events = calloc((size_t)tern_engine_max_events(engine), sizeof *s->events);
    int status = s->events && s->reading.tokens
                     ? TERN_OK
                     : tern_serve_fail(err, TERN_E_FIT, "no memory for a server");
    if (status == TERN_OK) status = open_events(s, err);
    if (status == TERN_OK) status = tern_http_start(s, err);
    if (status == TERN_OK)
        *out = s;
    else
        tern_server_destroy(s);
    return status;
}

int tern_server_port(const tern_server *s)
{
    return s->port;
}

int tern_server_run(tern_server *s, tern_error *err)
{
    const int status = tern_worker_run(s, err);
    tern_http_stop(s);
    return status;
}

void tern_server_stop(tern_server *s)
{
    const int before = errno;
    atomic_fetch_add_explicit(&s->stops, 1, memory_order_relaxed);
    tern_worker_wake(s);
    errno = before;
}

void tern_server_destroy(tern_server *s)
{
    if (!s) return;
    tern_http_stop(s);
    if (s->epoll_fd >= 0) close(s->epoll_fd);
    if (s->wake_fd >= 0) close(s->wake_fd);
    pthread_mutex_destroy(&s->lock);
    free(s->events);
    tern_tokens_free(s->reading.tokens);
    free(s);
}
