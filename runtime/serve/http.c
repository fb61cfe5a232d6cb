/* http.c - libmicrohttpd's side: one thread reads requests, checks keys and sizes, and sends what
 * the engine's thread has put into a job.
 *
 * A connection that waits for the engine is suspended, and then libmicrohttpd does not see its
 * client hang up; so its socket is watched by the engine's thread as well (server_state.h). */
#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "serve/server_state.h"

#define HEADER_BYTES ((size_t)32 << 10) /* of a request at most, and buffers of a connection */
#define MAX_CONNECTIONS 1024u
#define IDLE_TIMEOUT_S 60u
#define MAX_DEPTH 64

/* One request of one connection. */
typedef struct exchange {
    tern_server *server;
    const route *route; /* NULL: refused */
    api_error error;    /* why */
    serve_buffer body;
    size_t n_body; /* bytes that came, also where they were dropped */
    int fd;
    serve_job *job;
} exchange;

/* ---- answers -------------------------------------------------------------------------------- */

static enum MHD_Result queue(struct MHD_Connection *connection, int http, const char *type,
                             struct MHD_Response *response)
{
    if (!response) return MHD_NO;
    MHD_add_response_header(response, "Content-Type", type);
    if (http == 401) MHD_add_response_header(response, "WWW-Authenticate", "Bearer");
    if (http == 429 || http == 503) MHD_add_response_header(response, "Retry-After", "1");
    const enum MHD_Result result = MHD_queue_response(connection, (unsigned)http, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result queue_text(struct MHD_Connection *connection, int http, const char *type,
                                  const char *text, size_t n)
{
    return queue(
        connection, http, type,
        MHD_create_response_from_buffer(n, (void *)(uintptr_t)text, MHD_RESPMEM_MUST_COPY));
}

static enum MHD_Result queue_error(exchange *x, struct MHD_Connection *connection)
{
    char *text = tern_api_text(&x->error);
    pthread_mutex_lock(&x->server->lock);
    x->server->metrics.refused++;
    pthread_mutex_unlock(&x->server->lock);
    const enum MHD_Result result =
        text ? queue_text(connection, x->error.http, "application/json", text, strlen(text))
             : MHD_NO;
    free(text);
    return result;
}

/* ---- jobs ----------------------------------------------------------------------------------- */

void tern_http_wake(serve_job *job)
{
    if (!job->shared.suspended || !job->shared.connection) return;
    job->shared.suspended = 0;
    MHD_resume_connection(job->shared.connection);
}

/* The lock is held. */
static void suspend(serve_job *job)
{
    job->shared.suspended = 1;
    MHD_suspend_connection(job->shared.connection);
}

/* Bytes of a stream: what there is, or a wait. */
static ssize_t read_stream(void *cls, uint64_t position, char *out, size_t max)
{
    (void)position;
    exchange *x = cls;
    serve_job *job = x->job;
    ssize_t result = 0;
    pthread_mutex_lock(&x->server->lock);
    const size_t left = job->shared.out.n - job->shared.n_read, n = left < max ? left : max;
    if (job->shared.cancelled) {
        result = MHD_CONTENT_READER_END_WITH_ERROR;
    } else if (n > 0) {
        memcpy(out, job->shared.out.data + job->shared.n_read, n);
        job->shared.n_read += n;
        result = (ssize_t)n;
    } else if (job->shared.done) {
        result = MHD_CONTENT_READER_END_OF_STREAM;
    } else {
        suspend(job);
    }
    pthread_mutex_unlock(&x->server->lock);
    return result;
}

static enum MHD_Result begin_stream(exchange *x, struct MHD_Connection *connection)
{
    struct MHD_Response *response =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 16384, read_stream, x, NULL);
    if (response) MHD_add_response_header(response, "Cache-Control", "no-cache");
    return queue(connection, 200, "text/event-stream; charset=utf-8", response);
}

/* Answers when the job has come to something; otherwise waits for that. */
static enum MHD_Result continue_job(exchange *x, struct MHD_Connection *connection)
{
    serve_job *job = x->job;
    enum MHD_Result result = MHD_YES;
    pthread_mutex_lock(&x->server->lock);
    const int http = job->shared.http, cancelled = job->shared.cancelled;
    const int waits = !cancelled && (http == 0 || (!job->params.stream && !job->shared.done));
    if (waits) suspend(job);
    pthread_mutex_unlock(&x->server->lock);
    if (waits) return MHD_YES;
    if (cancelled) return MHD_NO;
    if (job->params.stream && http == 200) return begin_stream(x, connection);
    pthread_mutex_lock(&x->server->lock); /* done, so nobody else touches it */
    result =
        queue_text(connection, http, "application/json", job->shared.out.data, job->shared.out.n);
    pthread_mutex_unlock(&x->server->lock);
    return result;
}

/* Watches the client's socket for the end of its interest, then hands the job over. */
static int begin_job(exchange *x, struct MHD_Connection *connection, const json_t *body)
{
    const char *model = json_string_value(json_object_get(body, "model"));
    if (model && strcmp(model, x->server->options.model_name) != 0)
        return tern_api_fail(&x->error, 404, "model",
                             "the model '%.100s' is not here: use '%.100s'", model,
                             x->server->options.model_name);
    serve_job *job;
    if (tern_job_create(&job, body, x->route->job, &x->server->reading, &x->error)) return -1;
    job->shared.connection = connection;
    if (tern_worker_submit(x->server, job, &x->error)) {
        tern_job_free(job);
        return -1;
    }
    x->job = job;
    pthread_mutex_lock(&x->server->lock);
    x->server->n_clients++;
    pthread_mutex_unlock(&x->server->lock);
    struct epoll_event event = {.events = EPOLLRDHUP | EPOLLONESHOT, .data.u64 = job->id};
    x->fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    epoll_ctl(x->server->epoll_fd, EPOLL_CTL_ADD, x->fd, &event);
    return 0;
}

/* ---- requests ------------------------------------------------------------------------------- */

/* In time that depends on the lengths alone. */
static int same_key(const char *given, const char *key)
{
    char a[TERN_SERVER_KEY_BYTES] = {0}, b[TERN_SERVER_KEY_BYTES] = {0};
    const size_t n = strlen(given), m = strlen(key);
    memcpy(a, given, n < TERN_SERVER_KEY_BYTES ? n : TERN_SERVER_KEY_BYTES);
    memcpy(b, key, m < TERN_SERVER_KEY_BYTES ? m : TERN_SERVER_KEY_BYTES);
    volatile unsigned char different = (unsigned char)(n != m || n > TERN_SERVER_KEY_BYTES);
    for (size_t i = 0; i < TERN_SERVER_KEY_BYTES; i++)
        different = (unsigned char)(different | (a[i] ^ b[i]));
    return !different;
}

static int check_key(exchange *x, struct MHD_Connection *connection)
{
    const tern_server_options *o = &x->server->options;
    if (o->n_api_keys == 0 || x->route->open) return 0;
    const char *header =
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_AUTHORIZATION);
    const char *given = header && strncmp(header, "Bearer ", 7) == 0 ? header + 7 : "";
    int known = 0;
    for (int i = 0; i < o->n_api_keys; i++) known |= same_key(given, o->api_keys[i]);
    if (known) return 0;
    return tern_api_fail(&x->error, 401, NULL,
                         given[0] ? "the API key is not known"
                                  : "an API key is needed: send it as 'Authorization: Bearer KEY'");
}

/* Brackets open at once, outside of strings: the parser would follow them all. */
static int too_deep(const char *text, size_t n)
{
    int depth = 0, in_string = 0;
    for (size_t i = 0; i < n; i++) {
        if (in_string) {
            if (text[i] == '\\')
                i++;
            else
                in_string = text[i] != '"';
        } else if (text[i] == '"') {
            in_string = 1;
        } else if (text[i] == '{' || text[i] == '[') {
            if (++depth > MAX_DEPTH) return 1;
        } else if (text[i] == '}' || text[i] == ']') {
            depth--;
        }
    }
    return 0;
}

static json_t *parse_body(exchange *x)
{
    json_error_t where;
    if (x->body.failed) {
        tern_api_fail(&x->error, 500, NULL, "no memory for the body");
    } else if (too_deep(x->body.data, x->body.n)) {
        tern_api_fail(&x->error, 400, NULL, "the body is nested deeper than %d", MAX_DEPTH);
    } else {
        json_t *body =
            json_loadb(x->body.n ? x->body.data : "", x->body.n, JSON_REJECT_DUPLICATES, &where);
        if (body) return body;
        tern_api_fail(&x->error, 400, NULL, "the body is not valid JSON: line %d, column %d: %s",
                      where.line, where.column, where.text);
    }
    return NULL;
}

/* The whole request is here. */
static enum MHD_Result dispatch(exchange *x, struct MHD_Connection *connection)
{
    json_t *body = NULL;
    int status = -1;
    if (strcmp(x->route->method, "POST") == 0) {
        body = parse_body(x);
        if (!body) return queue_error(x, connection);
    }
    if (x->route->answer) {
        reply r = {.http = 200, .type = "application/json"};
        status = x->route->answer(x->server, body, &r, &x->error);
        if (status == 0 && r.body.failed)
            status = tern_api_fail(&x->error, 500, NULL, "no memory for the answer");
        json_decref(body);
        const enum MHD_Result result =
            status == 0 ? queue_text(connection, r.http, r.type, r.body.data, r.body.n)
                        : queue_error(x, connection);
        tern_bytes_free(&r.body);
        return result;
    }
    status = begin_job(x, connection, body);
    json_decref(body);
    return status == 0 ? continue_job(x, connection) : queue_error(x, connection);
}

static enum MHD_Result begin_exchange(tern_server *server, exchange **out,
                                      struct MHD_Connection *connection, const char *method,
                                      const char *path)
{
    exchange *x = calloc(1, sizeof *x);
    if (!x) return MHD_NO;
    *out = x;
    x->server = server;
    x->fd = -1;
    x->route = tern_route_find(method, path, &x->error);
    const char *length =
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
    if (x->route && check_key(x, connection)) x->route = NULL;
    if (x->route && length &&
        strtoull(length, NULL, 10) > (uint64_t)server->options.max_body_bytes) {
        tern_api_fail(&x->error, 413, NULL, "the body has %.20s bytes: at most %d are taken",
                      length, server->options.max_body_bytes);
        x->route = NULL;
    }
    /* What is refused is refused at once, without its body. */
    return x->route || !length ? MHD_YES : queue_error(x, connection);
}

static enum MHD_Result take_body(exchange *x, const char *data, size_t *n)
{
    x->n_body += *n;
    if (x->route && x->n_body > (size_t)x->server->options.max_body_bytes) {
        tern_api_fail(&x->error, 413, NULL, "the body is too long: at most %d bytes are taken",
                      x->server->options.max_body_bytes);
        tern_bytes_free(&x->body);
        x->route = NULL;
    }
    if (x->route) tern_bytes_add(&x->body, data, *n);
    *n = 0;
    return MHD_YES;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *n_data, void **state)
{
    (void)version;
    exchange *x = *state;
    if (!x) return begin_exchange(cls, (exchange **)state, connection, method, url);
    if (*n_data > 0) return take_body(x, data, n_data);
    if (x->job) return continue_job(x, connection);
    return x->route ? dispatch(x, connection) : queue_error(x, connection);
}

/* The answer is out, or the client is gone. */
static void on_end(void *cls, struct MHD_Connection *connection, void **state,
                   enum MHD_RequestTerminationCode why)
{
    (void)connection;
    tern_server *server = cls;
    exchange *x = *state;
    if (!x) return;
    if (x->fd >= 0) epoll_ctl(server->epoll_fd, EPOLL_CTL_DEL, x->fd, NULL);
    if (x->job) {
        pthread_mutex_lock(&server->lock);
        if (why != MHD_REQUEST_TERMINATED_COMPLETED_OK) x->job->shared.cancelled = 1;
        x->job->shared.connection = NULL;
        x->job->shared.suspended = 0;
        tern_worker_release(x->job);
        server->n_clients--;
        pthread_mutex_unlock(&server->lock);
        tern_worker_wake(server);
    }
    tern_bytes_free(&x->body);
    free(x);
    *state = NULL;
}

/* ---- the daemon ----------------------------------------------------------------------------- */

static int parse_address(struct sockaddr_storage *out, const char *host, int port, tern_error *err)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)out;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
    *out = (struct sockaddr_storage){0};
    if (strcmp(host, "localhost") == 0) host = "127.0.0.1";
    if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)port);
    } else if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons((uint16_t)port);
    } else {
        return tern_serve_fail(
            err, TERN_E_USAGE,
            "'%.60s' is no address to listen on: write one like 127.0.0.1 or ::1", host);
    }
    return TERN_OK;
}

int tern_http_start(tern_server *s, tern_error *err)
{
    const tern_server_options *o = &s->options;
    const char *host = o->host ? o->host : "127.0.0.1";
    struct sockaddr_storage address;
    const int status = parse_address(&address, host, o->port, err);
    if (status != TERN_OK) return status;
    const unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME |
                           (address.ss_family == AF_INET6 ? (unsigned)MHD_USE_IPv6 : 0u);
    errno = 0;
    s->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, on_request, s, MHD_OPTION_SOCK_ADDR, (struct sockaddr *)&address,
        MHD_OPTION_NOTIFY_COMPLETED, on_end, s, MHD_OPTION_CONNECTION_LIMIT, MAX_CONNECTIONS,
        MHD_OPTION_PER_IP_CONNECTION_LIMIT, (unsigned)o->max_client_connections,
        MHD_OPTION_CONNECTION_TIMEOUT, IDLE_TIMEOUT_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        HEADER_BYTES, MHD_OPTION_END);
    if (!s->daemon)
        return tern_serve_fail(err, TERN_E_IO, "cannot listen on %s, port %d: %s", host, o->port,
                               errno ? strerror(errno) : "the system refused it");
    s->port = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_BIND_PORT)->port;
    return TERN_OK;
}

void tern_http_stop(tern_server *s)
{
    if (s->daemon) MHD_stop_daemon(s->daemon);
    s->daemon = NULL;
}
