/* cmd_serve.c - `tern serve`: the model behind an HTTP API, for many clients at once. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/files.h"
#include "cli/console.h"
#include "serve/serve.h"

typedef struct serve_options {
    cli_model_options model;
    const char *host, *name, *key_file, *chat;
    int port, n_seq, n_tok, n_pages, n_spill, n_queue, max_tok, connections;
    uint64_t body_bytes;
    int queue_s, first_token_s, request_s;
} serve_options;

#define AT(member) offsetof(serve_options, member)
static const cli_option options[] = {
    {"host", 0, CLI_TEXT, AT(host), 0, 0, "ADDRESS", "where to listen (default 127.0.0.1)"},
    {"port", 0, CLI_INT, AT(port), 0, 65535, "N", "port, 0 for any free one (default 8080)"},
    {"name", 0, CLI_TEXT, AT(name), 0, 0, "NAME", "what clients call the model (default its own)"},
    {"chat-format", 0, CLI_TEXT, AT(chat), 0, 0, "NAME",
     "template of chats (default: the one the file asks for)"},
    {"api-key-file", 0, CLI_TEXT, AT(key_file), 0, 0, "FILE",
     "keys, one a line, of which clients must send one"},
    {"parallel", 0, CLI_INT, AT(n_seq), 1, TERN_MAX_SEQ, "N",
     "requests that run at once (default 8)"},
    {"batch", 0, CLI_INT, AT(n_tok), 1, 65536, "N", "tokens of a step at most (default 256)"},
    {"pages", 0, CLI_INT, AT(n_pages), 1, 1 << 24, "N",
     "KV pages of 64 tokens (default: a full context for every running request)"},
    {"spill-pages", 0, CLI_INT, AT(n_spill), 0, 1 << 24, "N",
     "pages of host memory for preempted requests (default 0: they are computed again)"},
    {"max-queue", 0, CLI_INT, AT(n_queue), 0, 65536, "N",
     "requests that wait beyond the running ones (default 64)"},
    {"max-queue-tokens", 0, CLI_INT, AT(max_tok), 1, 1 << 30, "N",
     "tokens of all requests, prompts and answers (default 4194304)"},
    {"max-body", 0, CLI_BYTES, AT(body_bytes), 1024, 1 << 30, "BYTES",
     "size of a request (default 4MiB)"},
    {"max-client-connections", 0, CLI_INT, AT(connections), 1, 1024, "N",
     "connections of one address (default 256)"},
    {"queue-timeout", 0, CLI_INT, AT(queue_s), 1, 86400, "S",
     "seconds until a request begins to run (default 600)"},
    {"first-token-timeout", 0, CLI_INT, AT(first_token_s), 1, 86400, "S",
     "seconds until the first token (default 600)"},
    {"request-timeout", 0, CLI_INT, AT(request_s), 1, 86400, "S",
     "seconds until the last one (default 3600)"},
    CLI_MODEL_OPTIONS(serve_options, model),
};
static int run(int argc, char **argv, tern_error *err);
const cli_command cli_serve = {"serve",
                               "answers OpenAI's API over HTTP, for many clients at once",
                               "",
                               options,
                               (int)(sizeof options / sizeof options[0]),
                               run};

#define MAX_KEYS 1024
#define MAX_UNREAD_BYTES ((size_t)16 << 20)
#define MAX_KEY_FILE_BYTES ((size_t)1 << 20)

/* Keys of a file, one a line, without the white space around them; # at the beginning of a word
 * makes the rest of the line a comment. */
typedef struct key_list {
    char *text;
    const char *keys[MAX_KEYS];
    int n;
} key_list;

/* Cuts the key out of a line; an empty text where there is none. NULL when there are several. */
static const char *key_of(char *line)
{
    static const char blanks[] = " \t\r";
    char *key = line + strspn(line, blanks);
    if (*key == '#') return "";
    char *end = key + strcspn(key, blanks);
    const char *rest = end + strspn(end, blanks);
    const int alone = *rest == 0 || *rest == '#';
    *end = 0;
    return alone ? key : NULL;
}

static int split_keys(key_list *out, const char *path, tern_error *err)
{
    char *next = out->text;
    for (int number = 1; next; number++) {
        char *line = strsep(&next, "\n");
        const char *key = key_of(line);
        if (!key)
            return tern_fail(err, TERN_E_USAGE,
                             "line %d of the key file '%s' is more than one word: write one key a "
                             "line",
                             number, path);
        if (!*key) continue;
        if (strlen(key) > TERN_SERVER_KEY_BYTES)
            return tern_fail(err, TERN_E_USAGE,
                             "the key in line %d of '%s' has more than %d bytes: use a shorter one",
                             number, path, TERN_SERVER_KEY_BYTES);
        if (out->n == MAX_KEYS)
            return tern_fail(err, TERN_E_USAGE, "the key file '%s' holds more than %d keys", path,
                             MAX_KEYS);
        out->keys[out->n++] = key;
    }
    if (out->n > 0) return TERN_OK;
    return tern_fail(err, TERN_E_USAGE, "the key file '%s' holds no key: write one a line", path);
}

static int read_keys(key_list *out, const char *path, tern_error *err)
{
    size_t bytes;
    FILE *file = fopen(path, "re");
    if (!file)
        return tern_fail(err, TERN_E_USAGE, "cannot open the key file '%s': %s", path,
                         strerror(errno));
    const int status = tern_stream_read(&out->text, &bytes, file, path, MAX_KEY_FILE_BYTES, err);
    fclose(file);
    return status == TERN_OK ? split_keys(out, path, err) : status;
}

/* What a signal stops; set once, before the handler is. */
static tern_server *running;

static void on_signal(int signal_number)
{
    (void)signal_number;
    tern_server_stop(running);
}

/* ---- what the planner foretells ------------------------------------------------------------- */

static double prompt_s(const void *session, int n_cached, int n_prompt)
{
    const cli_session *s = session;
    return tern_forecast_prefill_s(&s->plan.plan, tern_model_config_of(s->model),
                                   &s->plan.site.site, n_cached, n_prompt);
}

static double step_s(const void *session, int n_seq, int depth)
{
    const cli_session *s = session;
    return tern_forecast_step_s(&s->plan.plan, tern_model_config_of(s->model), &s->plan.site.site,
                                n_seq, depth);
}

/* The text is the caller's to free. Devices that cannot be planned with, like checking ones, serve
 * without a forecast. */
static int forecast(tern_server_forecast *out, char **text, cli_session *session,
                    const serve_options *o, tern_error *err)
{
    tern_report report;
    int status = cli_plan_report(&report, &session->plan, tern_model_config_of(session->model),
                                 &o->model, err);
    *out = (tern_server_forecast){0};
    if (status == TERN_E_USAGE && !o->model.plan) return TERN_OK;
    if (status == TERN_OK) status = tern_plan_write(text, &report, err);
    if (status == TERN_OK) *out = (tern_server_forecast){*text, prompt_s, step_s, session};
    return status;
}

/* ---- the command ---------------------------------------------------------------------------- */

static int serve(const serve_options *o, cli_session *session, const key_list *keys,
                 const tern_server_forecast *forecast, tern_error *err)
{
    const tern_model_config *config = tern_model_config_of(session->model);
    tern_server_options server = {
        .host = o->host,
        .port = o->port,
        .model_name = o->name ? o->name : config->name,
        .api_keys = keys->keys,
        .n_api_keys = keys->n,
        .chat = tern_model_chat(session->model),
        .max_requests = o->n_seq + o->n_queue,
        .max_tok = o->max_tok,
        .max_body_bytes = (int)o->body_bytes,
        .max_unread_bytes = MAX_UNREAD_BYTES,
        .max_client_connections = o->connections,
        .queue_timeout_s = o->queue_s,
        .first_token_timeout_s = o->first_token_s,
        .request_timeout_s = o->request_s,
        .forecast = *forecast,
    };
    int status = o->chat ? tern_chat_find(&server.chat, o->chat, err) : TERN_OK;
    if (status == TERN_OK) status = tern_server_create(&running, session->engine, &server, err);
    if (status != TERN_OK) return status;
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    printf("listening on http://%s:%d\n", o->host ? o->host : "127.0.0.1",
           tern_server_port(running));
    fflush(stdout);
    status = tern_server_run(running, err);
    action.sa_handler = SIG_IGN; /* what comes now comes too late */
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    tern_server_destroy(running);
    return status;
}

static int run(int argc, char **argv, tern_error *err)
{
    serve_options o = {.port = 8080,
                       .n_seq = 8,
                       .n_queue = 64,
                       .max_tok = 1 << 22,
                       .body_bytes = 4 << 20,
                       .connections = 256,
                       .queue_s = 600,
                       .first_token_s = 600,
                       .request_s = 3600};
    int status = cli_parse(&o, &cli_serve, argc, argv, NULL, err);
    if (status != TERN_OK) return status < 0 ? TERN_OK : status;
    key_list keys = {0};
    if (o.key_file) status = read_keys(&keys, o.key_file, err);
    cli_session session;
    const cli_batch batch = {.n_seq = o.n_seq,
                             .n_tok = o.n_tok,
                             .n_pages = o.n_pages,
                             .n_spill_pages = o.n_spill,
                             .n_queue = o.n_seq + o.n_queue};
    if (status == TERN_OK) status = cli_open_batch(&session, &o.model, &batch, err);
    if (status == TERN_OK) {
        tern_server_forecast foretold;
        char *text = NULL;
        status = forecast(&foretold, &text, &session, &o, err);
        if (status == TERN_OK) status = serve(&o, &session, &keys, &foretold, err);
        cli_close(&session);
        free(text);
    }
    free(keys.text);
    return status;
}
