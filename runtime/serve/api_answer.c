/* api_answer.c - answers as JSON. Numbers keep all their digits, so that a token's log-probability
 * and the same value among the likeliest are the same text. */
#include "serve/api_answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- tokens and log-probabilities ----------------------------------------------------------- */

json_t *tern_answer_token(const tern_tokenizer *tokenizer, int32_t id)
{
    size_t bytes;
    const char *text = tern_tokenizer_bytes(tokenizer, id, &bytes);
    json_t *whole = text ? json_stringn(text, bytes) : json_string("");
    if (whole || !text) return whole;
    serve_buffer name = {0};
    tern_bytes_text(&name, "bytes:");
    for (size_t i = 0; i < bytes; i++)
        tern_bytes_format(&name, "\\x%02x", (unsigned)(unsigned char)text[i]);
    whole = name.failed ? NULL : json_stringn(name.data, name.n);
    tern_bytes_free(&name);
    return whole;
}

/* {token, logprob, bytes} of the chat API. */
static json_t *chat_token(const tern_tokenizer *tokenizer, int32_t id, double logprob)
{
    size_t n;
    const char *text = tern_tokenizer_bytes(tokenizer, id, &n);
    json_t *bytes = json_array();
    for (size_t i = 0; text && i < n; i++)
        json_array_append_new(bytes, json_integer((unsigned char)text[i]));
    return json_pack("{s:o, s:f, s:o}", "token", tern_answer_token(tokenizer, id), "logprob",
                     logprob, "bytes", bytes);
}

static void log_chat(const answer_context *context, json_t *logs, const tern_engine_event *event)
{
    json_t *entry = chat_token(context->tokenizer, event->token, event->logprob);
    json_t *top = json_array();
    for (int i = 0; i < event->n_top; i++)
        json_array_append_new(
            top, chat_token(context->tokenizer, event->top[i].id, event->top[i].logprob));
    json_object_set_new(entry, "top_logprobs", top);
    json_array_append_new(json_object_get(logs, "content"), entry);
}

/* Appends one token to the four arrays of the completions API. */
static void log_completion(serve_choice *c, json_t *token, size_t chars, json_t *logprob,
                           json_t *top)
{
    json_array_append_new(json_object_get(c->logs, "tokens"), token);
    json_array_append_new(json_object_get(c->logs, "token_logprobs"), logprob);
    json_array_append_new(json_object_get(c->logs, "top_logprobs"), top);
    json_array_append_new(json_object_get(c->logs, "text_offset"),
                          json_integer((json_int_t)c->log_offset));
    c->log_offset += chars;
}

/* Texts to log-probabilities: the likeliest tokens and the token itself. Where two tokens have one
 * text the likelier counts, which comes first. */
static json_t *top_object(const answer_context *context, const tern_engine_event *event)
{
    json_t *top = json_object();
    for (int i = 0; i <= event->n_top; i++) {
        const int own = i == event->n_top;
        json_t *name = tern_answer_token(context->tokenizer, own ? event->token : event->top[i].id);
        const char *key = json_string_value(name);
        if (key && !json_object_get(top, key))
            json_object_set_new(top, key, json_real(own ? event->logprob : event->top[i].logprob));
        json_decref(name);
    }
    return top;
}

static void open_logs(serve_choice *c)
{
    if (c->logs) return;
    c->logs = c->job->kind == API_CHAT ? json_pack("{s:[]}", "content")
                                       : json_pack("{s:[], s:[], s:[], s:[]}", "tokens",
                                                   "token_logprobs", "top_logprobs", "text_offset");
}

/* Characters that begin in the token: what it adds to text_offset. */
static size_t token_chars(const tern_tokenizer *tokenizer, int32_t id)
{
    size_t n, chars = 0;
    const char *text = tern_tokenizer_bytes(tokenizer, id, &n);
    if (!text || tern_tokenizer_is_control(tokenizer, id)) return 0;
    for (size_t i = 0; i < n; i++) chars += ((unsigned char)text[i] & 0xc0) != 0x80;
    return chars;
}

void tern_answer_log(const answer_context *context, serve_choice *c, const tern_engine_event *event)
{
    open_logs(c);
    if (c->job->kind == API_CHAT) {
        log_chat(context, c->logs, event);
        return;
    }
    log_completion(c, tern_answer_token(context->tokenizer, event->token),
                   token_chars(context->tokenizer, event->token), json_real(event->logprob),
                   top_object(context, event));
}

void tern_answer_echo(const answer_context *context, serve_choice *c)
{
    static const text_stops none = {0};
    const serve_job *job = c->job;
    const int32_t *ids = job->prompts[c->prompt];
    for (int i = 0; i < job->n_prompt[c->prompt]; i++) {
        size_t bytes;
        const char *text = tern_tokenizer_bytes(context->tokenizer, ids[i], &bytes);
        if (!tern_tokenizer_is_control(context->tokenizer, ids[i]))
            tern_text_push(&c->text, &none, text, bytes);
    }
    c->text.begin = c->text.text.n;
    if (!job->params.request.prompt_logprobs) return;
    open_logs(c);
    log_completion(c, tern_answer_token(context->tokenizer, ids[0]),
                   token_chars(context->tokenizer, ids[0]), json_null(), json_null());
}

/* ---- objects -------------------------------------------------------------------------------- */

static json_t *take_logs(serve_choice *c)
{
    json_t *logs = c->logs ? c->logs : json_null();
    c->logs = NULL;
    return logs;
}

/* The fields that every object of a job begins with. */
static json_t *head(const answer_context *context, const serve_job *job, int chunk)
{
    char id[64];
    const int chat = job->kind == API_CHAT;
    snprintf(id, sizeof id, "%s-%016llx%08llx", chat ? "chatcmpl" : "cmpl",
             (unsigned long long)context->boot, (unsigned long long)job->id);
    const char *object =
        chat ? chunk ? "chat.completion.chunk" : "chat.completion" : "text_completion";
    return json_pack("{s:s, s:s, s:I, s:s}", "id", id, "object", object, "created",
                     (json_int_t)job->created, "model", context->model);
}

static json_t *usage(const serve_job *job)
{
    json_int_t prompt = 0, answer = 0, cached = 0;
    for (int i = 0; i < job->n_prompts; i++) prompt += job->n_prompt[i];
    for (int i = 0; i < job->n_choices; i++) answer += job->choices[i].n_tokens;
    for (int i = 0; i < job->n_choices; i += job->params.n) cached += job->choices[i].n_cached;
    return json_pack("{s:I, s:I, s:I, s:{s:I}}", "prompt_tokens", prompt, "completion_tokens",
                     answer, "total_tokens", prompt + answer, "prompt_tokens_details",
                     "cached_tokens", cached);
}

static double ms_between(uint64_t from, uint64_t to)
{
    return from && to > from ? (double)(to - from) / 1e6 : 0.0;
}

/* Where the time of the first choice went, beside what the planner foretells of a prompt alone and
 * of as many steps with as many mates. */
static json_t *timings(const serve_job *job)
{
    const serve_choice *c = &job->choices[0];
    const double decode_ms = ms_between(c->first_ns, c->last_ns);
    const int decoded = c->n_tokens > 1 ? c->n_tokens - 1 : 0;
    json_t *object =
        json_pack("{s:f, s:f, s:f, s:f, s:f}", "queue_ms",
                  ms_between(job->arrived_ns, c->admitted_ns), "prompt_ms",
                  ms_between(c->admitted_ns, c->first_ns), "decode_ms", decode_ms, "total_ms",
                  ms_between(job->arrived_ns, c->last_ns), "decode_tok_per_s",
                  decode_ms > 0.0 ? decoded * 1e3 / decode_ms : 0.0);
    if (c->predicted_prompt_s > 0.0) {
        json_object_set_new(object, "predicted_prompt_ms", json_real(1e3 * c->predicted_prompt_s));
        json_object_set_new(object, "predicted_decode_ms", json_real(1e3 * c->predicted_decode_s));
    }
    return object;
}

static void write_json(serve_buffer *out, json_t *object)
{
    char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
    if (text)
        tern_bytes_text(out, text);
    else
        out->failed = 1;
    free(text);
    json_decref(object);
}

static void write_event(serve_buffer *out, json_t *object)
{
    tern_bytes_text(out, "data: ");
    write_json(out, object);
    tern_bytes_text(out, "\n\n");
}

/* ---- streams -------------------------------------------------------------------------------- */

static void write_chunk(const answer_context *context, serve_choice *c, json_t *choice,
                        serve_buffer *out)
{
    json_t *object = head(context, c->job, 1);
    json_object_set_new(object, "choices", json_pack("[o]", choice));
    if (c->job->params.include_usage) json_object_set_new(object, "usage", json_null());
    write_event(out, object);
}

void tern_answer_chunk(const answer_context *context, serve_choice *c, serve_buffer *out)
{
    const int chat = c->job->kind == API_CHAT;
    size_t n;
    const char *text = tern_text_take(&c->text, &n);
    if (c->text.text.failed) out->failed = 1;
    if (chat && !c->announced)
        write_chunk(context, c,
                    json_pack("{s:i, s:{s:s, s:s}, s:n, s:n}", "index", c->index, "delta", "role",
                              "assistant", "content", "", "logprobs", "finish_reason"),
                    out);
    c->announced = 1;
    if (n == 0 && !c->logs && !c->finish) return;
    if (chat) {
        json_t *delta = n ? json_pack("{s:s%}", "content", text, n) : json_object();
        write_chunk(context, c,
                    json_pack("{s:i, s:o, s:o, s:s?}", "index", c->index, "delta", delta,
                              "logprobs", take_logs(c), "finish_reason", c->finish),
                    out);
        return;
    }
    write_chunk(context, c,
                json_pack("{s:i, s:s%, s:o, s:s?}", "index", c->index, "text", text, n, "logprobs",
                          take_logs(c), "finish_reason", c->finish),
                out);
}

void tern_answer_end(const answer_context *context, const serve_job *job, serve_buffer *out)
{
    if (job->params.include_usage) {
        json_t *object = head(context, job, 1);
        json_object_set_new(object, "choices", json_array());
        json_object_set_new(object, "usage", usage(job));
        json_object_set_new(object, "timings", timings(job));
        write_event(out, object);
    }
    tern_bytes_text(out, "data: [DONE]\n\n");
}

/* ---- whole answers -------------------------------------------------------------------------- */

static json_t *whole_choice(serve_choice *c)
{
    size_t n;
    const char *text = tern_text_take(&c->text, &n);
    if (c->job->kind == API_COMPLETION)
        return json_pack("{s:i, s:s%, s:o, s:s?}", "index", c->index, "text", text, n, "logprobs",
                         take_logs(c), "finish_reason", c->finish);
    return json_pack("{s:i, s:{s:s, s:s%, s:n}, s:o, s:s?}", "index", c->index, "message", "role",
                     "assistant", "content", text, n, "refusal", "logprobs", take_logs(c),
                     "finish_reason", c->finish);
}

void tern_answer_whole(const answer_context *context, serve_job *job, serve_buffer *out)
{
    json_t *object = head(context, job, 0), *choices = json_array();
    for (int i = 0; i < job->n_choices; i++) {
        json_array_append_new(choices, whole_choice(&job->choices[i]));
        if (job->choices[i].text.text.failed) out->failed = 1;
    }
    json_object_set_new(object, "choices", choices);
    json_object_set_new(object, "usage", usage(job));
    json_object_set_new(object, "timings", timings(job));
    write_json(out, object);
}
