/* http_client.h - a server on the embedded model in this process, and a client that speaks HTTP by
 * hand: it can hang up, stay silent or stop reading at any byte. */
#ifndef TERN_TESTS_HTTP_CLIENT_H
#define TERN_TESTS_HTTP_CLIENT_H

#include <arpa/inet.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "serve/serve.h"

typedef struct test_server {
    tern_model *model;
    tern_engine *engine;
    tern_server *server;
    pthread_t thread;
    tern_error err; /* of the run */
    int status;
} test_server;

static inline void *server_thread(void *arg)
{
    test_server *t = arg;
    t->status = tern_server_run(t->server, &t->err);
    return NULL;
}

static inline tern_server_options server_defaults(void)
{
    return (tern_server_options){.model_name = "demo",
                                 .max_requests = 64,
                                 .max_tok = 1 << 20,
                                 .max_body_bytes = 1 << 16,
                                 .max_unread_bytes = 1 << 20,
                                 .max_client_connections = 100,
                                 .queue_timeout_s = 60,
                                 .first_token_timeout_s = 60,
                                 .request_timeout_s = 120};
}

/* Opens the embedded model (path NULL) and serves it. */
static inline int server_open(test_server *t, const tern_server_options *options, int n_seq)
{
    const tern_workload w = {.n_seq = n_seq, .n_tok = 64};
    const tern_engine_options engine = {.device = {.n_threads = 1}, .n_queue = 200};
    tern_error err = {0};
    tern_plan plan;
    *t = (test_server){0};
    int status = tern_model_open(&t->model, NULL, &err);
    if (status == TERN_OK)
        status = tern_plan_layers(&plan, tern_model_config_of(t->model), "cpu", &w, &err);
    if (status == TERN_OK) status = tern_engine_create(&t->engine, t->model, &plan, &engine, &err);
    if (status == TERN_OK) status = tern_server_create(&t->server, t->engine, options, &err);
    if (status == TERN_OK && pthread_create(&t->thread, NULL, server_thread, t) != 0)
        status = TERN_E_IO;
    if (status != TERN_OK) fprintf(stderr, "%s\n", err.text);
    return status;
}

/* Waits for the server's end, which the caller has asked for. */
static inline void server_join(test_server *t)
{
    pthread_join(t->thread, NULL);
    tern_server_destroy(t->server);
    tern_engine_destroy(t->engine);
    tern_model_close(t->model);
}

static inline void server_close(test_server *t)
{
    tern_server_stop(t->server);
    server_join(t);
}

/* ---- the client ------------------------------------------------------------------------------ */

static inline int client_connect(const test_server *t)
{
    const struct sockaddr_in to = {.sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)tern_server_port(t->server)),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const struct timeval limit = {.tv_sec = 60};
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&to, sizeof to) != 0) {
        if (fd >= 0) close(fd);
        return -1;
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    return fd;
}

/* Sends a request; body NULL for GET. `headers` are whole lines. */
static inline void client_send(int fd, const char *method, const char *path, const char *headers,
                               const char *body)
{
    char head[1024];
    const size_t n_body = body ? strlen(body) : 0;
    int n = snprintf(head, sizeof head, "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s",
                     method, path, headers);
    if (body) n += snprintf(head + n, sizeof head - (size_t)n, "Content-Length: %zu\r\n", n_body);
    n += snprintf(head + n, sizeof head - (size_t)n, "\r\n");
    if (send(fd, head, (size_t)n, MSG_NOSIGNAL) != n) return; /* it has answered already */
    for (size_t done = 0; done < n_body;) {
        const ssize_t sent = send(fd, body + done, n_body - done, MSG_NOSIGNAL);
        if (sent < 0) return;
        done += (size_t)sent;
    }
}

typedef struct response {
    int http;
    char *all, *body; /* the body lies in `all`, chunks joined, zero-terminated */
} response;

/* Joins the chunks of a body in place. */
static inline void join_chunks(char *body)
{
    char *to = body;
    for (char *at = body;;) {
        char *end;
        const unsigned long n = strtoul(at, &end, 16);
        if (end == at || n == 0) break;
        memmove(to, end + 2, n);
        to += n;
        at = end + 2 + n + 2;
    }
    *to = 0;
}

/* Reads until the server closes. http 0: it closed without an answer. */
static inline response client_read(int fd)
{
    response r = {0};
    size_t n = 0, room = 1 << 16;
    r.all = malloc(room + 1);
    for (;;) {
        const ssize_t got = recv(fd, r.all + n, room - n, 0);
        if (got <= 0) break;
        n += (size_t)got;
        if (n == room) r.all = realloc(r.all, (room *= 2) + 1);
    }
    r.all[n] = 0;
    close(fd);
    r.body = strstr(r.all, "\r\n\r\n");
    r.body = r.body ? r.body + 4 : r.all + n;
    sscanf(r.all, "HTTP/1.1 %d", &r.http);
    char *chunked = strstr(r.all, "Transfer-Encoding: chunked");
    if (chunked && chunked < r.body) join_chunks(r.body);
    return r;
}

static inline response client_call(const test_server *t, const char *method, const char *path,
                                   const char *headers, const char *body)
{
    const int fd = client_connect(t);
    if (fd < 0) return (response){.all = calloc(1, 1)};
    client_send(fd, method, path, headers, body);
    return client_read(fd);
}

static inline response client_post(const test_server *t, const char *path, const char *body)
{
    return client_call(t, "POST", path, "", body);
}

static inline response client_get(const test_server *t, const char *path)
{
    return client_call(t, "GET", path, "", NULL);
}

/* The value of a metric that has no labels beyond the model's, or -1. */
static inline double client_metric(const test_server *t, const char *name)
{
    char key[128];
    double value = -1.0;
    response r = client_get(t, "/metrics");
    snprintf(key, sizeof key, "\nvllm:%s{model_name=\"demo\"} ", name);
    const char *at = strstr(r.body, key);
    if (at) sscanf(at + strlen(key), "%lf", &value);
    free(r.all);
    return value;
}

static inline void client_sleep_ms(int ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000L}, NULL);
}

#endif
