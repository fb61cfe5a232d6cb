/* routes.c - the table of endpoints, and those that answer at once. */
#include <stdlib.h>
#include <string.h>

#include "serve/server_state.h"

static int write_json(reply *out, json_t *object)
{
    char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
    if (text)
        tern_bytes_text(&out->body, text);
    else
        out->body.failed = 1;
    free(text);
    json_decref(object);
    return 0;
}

static int get_health(tern_server *s, const json_t *body, reply *out, api_error *error)
{
    (void)body;
    pthread_mutex_lock(&s->lock);
    const int closing = s->closing;
    pthread_mutex_unlock(&s->lock);
    if (closing) return tern_api_fail(error, 503, NULL, "the server is shutting down");
    return write_json(out, json_pack("{s:s}", "status", "ok"));
}

static int get_version(tern_server *s, const json_t *body, reply *out, api_error *error)
{
    (void)s, (void)body, (void)error;
    return write_json(out, json_pack("{s:s}", "version", tern_version()));
}

static int get_models(tern_server *s, const json_t *body, reply *out, api_error *error)
{
    (void)body, (void)error;
    return write_json(out, json_pack("{s:s, s:[{s:s, s:s, s:I, s:s, s:i}]}", "object", "list",
                                     "data", "id", s->options.model_name, "object", "model",
                                     "created", (json_int_t)s->started, "owned_by", "tern",
                                     "max_model_len", s->reading.n_ctx));
}

static int get_plan(tern_server *s, const json_t *body, reply *out, api_error *error)
{
    (void)body;
    if (!s->options.forecast.json)
        return tern_api_fail(error, 404, NULL, "the server was started without a plan");
    tern_bytes_text(&out->body, s->options.forecast.json);
    return 0;
}

static int get_metrics(tern_server *s, const json_t *body, reply *out, api_error *error)
{
    (void)body, (void)error;
    out->type = "text/plain; version=0.0.4; charset=utf-8";
    pthread_mutex_lock(&s->lock);
    const serve_metrics metrics = s->metrics;
    const tern_engine_stats stats = s->stats;
    pthread_mutex_unlock(&s->lock);
    tern_metrics_write(&out->body, &metrics, &stats, s->options.model_name);
    return 0;
}

/* {"prompt": text} or {"messages": [...]}: ids, as completions would see them, but that control
 * tokens in the text are recognised: nothing is run with them here. */
static int post_tokenize(tern_server *s, const json_t *body, reply *out, api_error *error)
{
    const json_t *prompt = json_object_get(body, "prompt");
    const json_t *messages = json_object_get(body, "messages");
    int add_special = 1, want_texts = 0, n;
    int32_t *ids;
    if (tern_field_flag(&add_special, body, "add_special_tokens", error) ||
        tern_field_flag(&want_texts, body, "return_token_strs", error))
        return -1;
    if (!messages && !json_is_string(prompt))
        return tern_api_fail(error, 400, "prompt", "'prompt' must be a string");
    const unsigned flags = TERN_ENCODE_SPECIAL | (add_special ? TERN_ENCODE_BOS : 0u);
    const int status = messages ? tern_job_messages(&ids, &n, &s->reading, messages, error)
                                : tern_job_encode(&ids, &n, &s->reading, prompt, flags, error);
    if (status != 0) return -1;
    json_t *list = json_array(), *texts = want_texts ? json_array() : json_null();
    for (int i = 0; i < n; i++) {
        json_array_append_new(list, json_integer(ids[i]));
        if (want_texts)
            json_array_append_new(texts, tern_answer_token(s->reading.tokenizer, ids[i]));
    }
    free(ids);
    return write_json(out, json_pack("{s:i, s:i, s:o, s:o}", "count", n, "max_model_len",
                                     s->reading.n_ctx, "tokens", list, "token_strs", texts));
}

static int post_detokenize(tern_server *s, const json_t *body, reply *out, api_error *error)
{
    static const text_stops none = {0};
    const json_t *tokens = json_object_get(body, "tokens");
    if (!json_is_array(tokens))
        return tern_api_fail(error, 400, "tokens", "'tokens' must be an array of token ids");
    int32_t *ids;
    int n;
    if (tern_job_ids(&ids, &n, &s->reading, tokens, "tokens", error)) return -1;
    text_out text = {0};
    for (int i = 0; i < n; i++) {
        size_t bytes;
        const char *piece = tern_tokenizer_bytes(s->reading.tokenizer, ids[i], &bytes);
        tern_text_push(&text, &none, piece, bytes);
    }
    free(ids);
    tern_text_finish(&text, &none);
    size_t n_text;
    const char *whole = tern_text_take(&text, &n_text);
    const int status = write_json(out, json_pack("{s:s%}", "prompt", whole, n_text));
    tern_text_free(&text);
    return status;
}

static json_t *special(const tern_tokenizer *tokenizer, int32_t id)
{
    return id < 0 ? json_null() : tern_answer_token(tokenizer, id);
}

static int get_tokenizer_info(tern_server *s, const json_t *body, reply *out, api_error *error)
{
    (void)body, (void)error;
    const tern_tokenizer *t = s->reading.tokenizer;
    const int32_t bos = tern_tokenizer_bos(t), eos = tern_tokenizer_eos(t);
    return write_json(out, json_pack("{s:s, s:s, s:i, s:i, s:o, s:o, s:o, s:i, s:i, s:s}",
                                     "tokenizer_class", "PreTrainedTokenizerFast", "pre_tokenizer",
                                     tern_tokenizer_pre(t), "vocab_size", tern_tokenizer_n_vocab(t),
                                     "model_max_length", s->reading.n_ctx, "bos_token",
                                     special(t, bos), "eos_token", special(t, eos), "pad_token",
                                     special(t, eos), "bos_token_id", bos, "eos_token_id", eos,
                                     "chat_format", tern_chat_name(s->reading.chat)));
}

static const route routes[] = {
    {.method = "POST", .path = "/v1/chat/completions", .job = API_CHAT},
    {.method = "POST", .path = "/v1/completions", .job = API_COMPLETION},
    {.method = "GET", .path = "/v1/models", .answer = get_models},
    {.method = "POST", .path = "/tokenize", .answer = post_tokenize},
    {.method = "POST", .path = "/detokenize", .answer = post_detokenize},
    {.method = "GET", .path = "/tokenizer_info", .answer = get_tokenizer_info},
    {.method = "GET", .path = "/health", .open = 1, .answer = get_health},
    {.method = "GET", .path = "/metrics", .answer = get_metrics},
    {.method = "GET", .path = "/plan", .answer = get_plan},
    {.method = "GET", .path = "/version", .answer = get_version},
};

const route *tern_route_find(const char *method, const char *path, api_error *error)
{
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
        if (strcmp(path, routes[i].path) != 0) continue;
        if (strcmp(method, routes[i].method) == 0) return &routes[i];
        tern_api_fail(error, 405, NULL, "%s takes %s, not %.20s", path, routes[i].method, method);
        return NULL;
    }
    tern_api_fail(error, 404, NULL, "there is no '%.100s' here", path);
    return NULL;
}
