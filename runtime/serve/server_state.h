/* server_state.h - the server's state, shared by its files.
 *
 *   serve.c    create, run, stop, destroy
 *   http.c     libmicrohttpd's side: requests in, bytes out
 *   routes.c   the endpoints that answer at once
 *   worker.c   the engine's side: jobs into the engine, events into answers
 *   job.c, params.c, api_answer.c, text_out.c, metrics.c, api_error.c   one thing each
 *   schema.c, schema_merge.c, pattern.c   a JSON schema to a table of nodes
 *   json_machine.c, token_list.c   answers that are JSON of a schema */
#ifndef TERN_SERVE_SERVER_STATE_H
#define TERN_SERVE_SERVER_STATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "serve/api_answer.h"
#include "serve/metrics.h"

struct MHD_Daemon;

struct tern_server {
    tern_engine *engine;
    tern_server_options options;
    job_context reading;
    answer_context answering;
    time_t started;
    struct MHD_Daemon *daemon;
    int port;
    int epoll_fd;     /* wake_fd, and the sockets of clients that wait: they may hang up */
    int wake_fd;      /* an event: the inbox or `stops` has changed */
    atomic_int stops; /* calls of tern_server_stop; relaxed, wake_fd orders */

    pthread_mutex_t lock;
    /* Under the lock: */
    serve_job *inbox; /* newest first */
    uint64_t next_id;
    int n_requests; /* choices in the server */
    int64_t n_tok;  /* their prompts and answers */
    int closing;    /* new requests are refused */
    int n_clients;  /* connections that have a job */
    serve_metrics metrics;
    tern_engine_stats stats; /* as of the last step */
    /* The engine thread's: */
    serve_job *active;
    tern_engine_event *events;
    int n_decoding; /* sequences that the last step gave a token */
};

/* Now, CLOCK_MONOTONIC. */
uint64_t tern_serve_now_ns(void);

/* ---- http.c -------------------------------------------------------------------------------- */

int tern_http_start(tern_server *server, tern_error *err);

/* No connection may wait for the engine any more. */
void tern_http_stop(tern_server *server);

/* Lets the client's thread look at the job again. The lock is held. */
void tern_http_wake(serve_job *job);

/* ---- routes.c ------------------------------------------------------------------------------- */

/* An answer that is ready at once. */
typedef struct reply {
    int http;
    const char *type; /* of the content */
    serve_buffer body;
} reply;

typedef struct route {
    const char *method, *path;
    int open;     /* needs no key */
    api_kind job; /* where `answer` is NULL: what job it makes */
    /* Returns 0, or -1 and the error. `body` is NULL for GET. */
    int (*answer)(tern_server *server, const json_t *body, reply *out, api_error *error);
} route;

/* The route of a path, or NULL and 404, 405 in the error. */
const route *tern_route_find(const char *method, const char *path, api_error *error);

/* ---- worker.c ------------------------------------------------------------------------------- */

/* Takes a new job in, or refuses it: 429 when there are too many, 503 at the end. */
int tern_worker_submit(tern_server *server, serve_job *job, api_error *error);

/* The engine's thread looks around. May be called from a signal handler. */
void tern_worker_wake(tern_server *server);

/* One reference less; frees the job with the last. The lock is held. */
void tern_worker_release(serve_job *job);

/* Steps the engine until the server is to stop. */
int tern_worker_run(tern_server *server, tern_error *err);

#endif
