/* serve.h - an HTTP server over one engine, with the API that OpenAI's clients speak.
 *
 *   create (listens) -> run (steps the engine until it is told to stop) -> destroy
 *
 * Two threads: libmicrohttpd's reads requests and writes answers, the caller of tern_server_run
 * owns the engine. They share jobs, guarded by one lock that is never held during a step, so a slow
 * client delays nobody. What requests say is not logged. Called by runtime/cli. */
#ifndef TERN_SERVE_SERVE_H
#define TERN_SERVE_SERVE_H

#include "tern/engine.h"

typedef struct tern_server tern_server;

/* What the planner foretells, for answers, metrics and GET /plan. */
typedef struct tern_server_forecast {
    const char *json; /* the plan as `tern plan --json` prints it; NULL: there is none */
    /* Seconds of a prompt of which n_cached tokens are computed already, alone in its steps, and of
     * a step that decodes n_seq sequences of so many tokens. NULL: nothing is foretold. */
    double (*prompt_s)(const void *plan, int n_cached, int n_prompt);
    double (*step_s)(const void *plan, int n_seq, int depth);
    const void *plan;
} tern_server_forecast;

#define TERN_SERVER_KEY_BYTES 256 /* of a key, at most */

typedef struct tern_server_options {
    const char *host;            /* IPv4 or IPv6 address; NULL: 127.0.0.1 */
    int port;                    /* 0: any free one */
    const char *model_name;      /* what clients call the model */
    const char *const *api_keys; /* [n_api_keys] of TERN_SERVER_KEY_BYTES at most; one of them must
                                  * come with every request */
    int n_api_keys;
    tern_chat_format chat; /* NONE: messages are written as lines "role: content" */
    int max_requests;      /* in the server at once, waiting ones included; every choice counts */
    int max_tok;           /* of their prompts and answers together */
    int max_body_bytes;
    size_t max_unread_bytes; /* of a stream whose client does not read: then it is cancelled */
    int max_client_connections;
    int queue_timeout_s;       /* until a request begins to run */
    int first_token_timeout_s; /* these count from its arrival, too */
    int request_timeout_s;
    tern_server_forecast forecast;
} tern_server_options;

/* Listens. The strings must outlive the server. TERN_E_USAGE for a bad address, TERN_E_IO when it
 * cannot be listened on. */
int tern_server_create(tern_server **out, tern_engine *engine, const tern_server_options *options,
                       tern_error *err);

/* The port it listens on. */
int tern_server_port(const tern_server *server);

/* Serves until tern_server_stop. An error of the engine ends it, after every client got one. */
int tern_server_run(tern_server *server, tern_error *err);

/* The first call ends the server when its requests are done, new ones being refused; the second
 * ends the requests, too. May be called from a signal handler and from any thread. */
void tern_server_stop(tern_server *server);

void tern_server_destroy(tern_server *server);

#endif
