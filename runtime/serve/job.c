/* job.c - the JSON of a completion request becomes a job: prompts in any of the four shapes, or the
 * messages of a chat. */
#include "serve/job.h"

#include <stdlib.h>
#include <string.h>

#include "tern/chat.h"

#define MAX_MESSAGES 1024

static int no_memory(api_error *error)
{
    return tern_api_fail(error, 500, NULL, "no memory for the request");
}

/* ---- texts and ids -------------------------------------------------------------------------- */

int tern_job_encode(int32_t **ids, int *n, const job_context *context, const json_t *text,
                    unsigned flags, api_error *error)
{
    const size_t bytes = json_string_length(text);
    const size_t cap = tern_tokenizer_bound(context->tokenizer, bytes);
    tern_error err = {0};
    size_t used;
    int32_t *list = malloc(cap * sizeof *list);
    if (!list) return no_memory(error);
    if (tern_tokenizer_encode(context->tokenizer, list, cap, &used, json_string_value(text), bytes,
                              flags, &err) != TERN_OK) {
        free(list);
        return tern_api_status(error, "prompt", &err);
    }
    *ids = list;
    *n = (int)used;
    return 0;
}

int tern_job_ids(int32_t **ids, int *n, const job_context *context, const json_t *array,
                 const char *param, api_error *error)
{
    const size_t count = json_array_size(array);
    int32_t *list = malloc((count + 1) * sizeof *list);
    if (!list) return no_memory(error);
    for (size_t i = 0; i < count; i++) {
        const json_t *value = json_array_get(array, i);
        const json_int_t id = json_integer_value(value);
        if (!json_is_integer(value) || id < 0 || id >= context->n_vocab) {
            free(list);
            return tern_api_fail(
                error, 400, param,
                "'%s' holds something else than token ids from 0 to %d at place %zu", param,
                context->n_vocab - 1, i);
        }
        list[i] = (int32_t)id;
    }
    *ids = list;
    *n = (int)count;
    return 0;
}

/* ---- chat ----------------------------------------------------------------------------------- */

/* The content of a message: a string, or an array of text parts, which are joined. */
static int read_content(serve_buffer *out, const json_t *content, size_t i, api_error *error)
{
    if (json_is_string(content)) {
        tern_bytes_add(out, json_string_value(content), json_string_length(content));
        return 0;
    }
    if (!json_is_array(content))
        return tern_api_fail(error, 400, "messages", "'messages[%zu].content' is %s: give a string",
                             i, content ? tern_field_kind(content) : "absent");
    for (size_t part = 0; part < json_array_size(content); part++) {
        const json_t *piece = json_array_get(content, part), *text = json_object_get(piece, "text");
        const char *type = json_string_value(json_object_get(piece, "type"));
        if (!type || strcmp(type, "text") != 0 || !json_is_string(text))
            return tern_api_fail(error, 400, "messages",
                                 "'messages[%zu].content[%zu]' is no part of type 'text'", i, part);
        tern_bytes_add(out, json_string_value(text), json_string_length(text));
    }
    return 0;
}

static int read_message(tern_chat_message *out, serve_buffer *content, const json_t *message,
                        size_t i, api_error *error)
{
    const char *role = json_string_value(json_object_get(message, "role"));
    if (role && strcmp(role, "developer") == 0) role = "system";
    if (!role || (strcmp(role, "system") != 0 && strcmp(role, "user") != 0 &&
                  strcmp(role, "assistant") != 0))
        return tern_api_fail(error, 400, "messages",
                             "'messages[%zu].role' must be 'system', 'user' or 'assistant'", i);
    if (read_content(content, json_object_get(message, "content"), i, error)) return -1;
    tern_bytes_add(content, "", 1); /* never NULL */
    if (content->failed) return no_memory(error);
    *out = (tern_chat_message){role, content->data, content->n - 1};
    return 0;
}

/* Without a template: lines "role: content", and the beginning of the assistant's. */
static int encode_plain(int32_t **ids, int *n, const job_context *context,
                        const tern_chat_message *messages, size_t count, api_error *error)
{
    serve_buffer text = {0};
    for (size_t i = 0; i < count; i++) {
        tern_bytes_text(&text, messages[i].role);
        tern_bytes_text(&text, ": ");
        tern_bytes_add(&text, messages[i].content, messages[i].bytes);
        tern_bytes_text(&text, "\n");
    }
    tern_bytes_text(&text, "assistant:");
    json_t *whole = text.failed ? NULL : json_stringn(text.data, text.n);
    tern_bytes_free(&text);
    if (!whole) return no_memory(error);
    const int status = tern_job_encode(ids, n, context, whole, TERN_ENCODE_BOS, error);
    json_decref(whole);
    return status;
}

static int encode_chat(int32_t **ids, int *n, const job_context *context,
                       const tern_chat_message *messages, size_t count, api_error *error)
{
    if (context->chat == TERN_CHAT_NONE || context->chat == TERN_CHAT_UNKNOWN)
        return encode_plain(ids, n, context, messages, count, error);
    size_t used;
    tern_error err = {0};
    if (tern_chat_encode(ids, &used, context->tokenizer, context->chat, messages, count, &err) !=
        TERN_OK)
        return tern_api_status(error, "messages", &err);
    *n = (int)used;
    return 0;
}

int tern_job_messages(int32_t **ids, int *n, const job_context *context, const json_t *messages,
                      api_error *error)
{
    const size_t count = json_array_size(messages);
    if (count < 1 || count > MAX_MESSAGES)
        return tern_api_fail(error, 400, "messages",
                             "'messages' must be an array of 1 to %d messages", MAX_MESSAGES);
    tern_chat_message *list = calloc(count, sizeof *list);
    serve_buffer *contents = calloc(count, sizeof *contents);
    int status = list && contents ? 0 : no_memory(error);
    for (size_t i = 0; i < count && status == 0; i++)
        status = read_message(&list[i], &contents[i], json_array_get(messages, i), i, error);
    if (status == 0) status = encode_chat(ids, n, context, list, count, error);
    for (size_t i = 0; i < count && contents; i++) tern_bytes_free(&contents[i]);
    free(contents);
    free(list);
    return status;
}

/* ---- prompts -------------------------------------------------------------------------------- */

static int alloc_prompts(serve_job *job, size_t n, api_error *error)
{
    if (n < 1 || n * (size_t)job->params.n > MAX_CHOICES)
        return tern_api_fail(error, 400, "prompt",
                             "%zu prompts with %d answers each: use 1 to %d answers in all", n,
                             job->params.n, MAX_CHOICES);
    job->prompts = calloc(n, sizeof *job->prompts);
    job->n_prompt = calloc(n, sizeof *job->n_prompt);
    if (!job->prompts || !job->n_prompt) return no_memory(error);
    job->n_prompts = (int)n;
    return 0;
}

/* One prompt: a string or an array of ids. */
static int read_prompt(serve_job *job, int i, const json_t *prompt, const job_context *context,
                       api_error *error)
{
    if (json_is_string(prompt))
        return tern_job_encode(&job->prompts[i], &job->n_prompt[i], context, prompt,
                               TERN_ENCODE_BOS, error);
    if (json_is_array(prompt))
        return tern_job_ids(&job->prompts[i], &job->n_prompt[i], context, prompt, "prompt", error);
    return tern_api_fail(
        error, 400, "prompt",
        "'prompt' holds %s: give a string, an array of strings, an array of token ids, "
        "or an array of such arrays",
        prompt ? tern_field_kind(prompt) : "nothing");
}

static int read_prompts(serve_job *job, const json_t *prompt, const job_context *context,
                        api_error *error)
{
    const json_t *first = json_array_get(prompt, 0);
    const int many = json_is_string(first) || json_is_array(first);
    if (alloc_prompts(job, many ? json_array_size(prompt) : 1, error)) return -1;
    if (!many) return read_prompt(job, 0, prompt, context, error);
    for (int i = 0; i < job->n_prompts; i++)
        if (read_prompt(job, i, json_array_get(prompt, (size_t)i), context, error)) return -1;
    return 0;
}

/* What the engine would refuse, with the field's name. */
static int check_lengths(serve_job *job, const job_context *context, api_error *error)
{
    const char *param = job->kind == API_CHAT ? "messages" : "prompt";
    for (int i = 0; i < job->n_prompts; i++) {
        const int n = job->n_prompt[i], room = context->n_ctx - n;
        if (n < 1)
            return tern_api_fail(error, 400, param, "'%s' is empty: give one token at least",
                                 param);
        if (room < 1)
            return tern_api_fail(error, 400, param,
                                 "'%s' has %d tokens and the context of this model %d: shorten it",
                                 param, n, context->n_ctx);
        if (job->params.request.max_tokens > room)
            return tern_api_fail(
                error, 400, "max_tokens",
                "'max_tokens' is %d, but behind a prompt of %d tokens the context of %d "
                "has room for %d",
                job->params.request.max_tokens, n, context->n_ctx, room);
        const int answer = job->params.request.max_tokens ? job->params.request.max_tokens : room;
        job->n_tok += job->params.n * (n + answer);
    }
    return 0;
}

static int make_choices(serve_job *job, api_error *error)
{
    job->n_choices = job->n_open = job->n_prompts * job->params.n;
    job->choices = calloc((size_t)job->n_choices, sizeof *job->choices);
    if (!job->choices) return no_memory(error);
    for (int i = 0; i < job->n_choices; i++) {
        job->choices[i] = (serve_choice){.job = job, .index = i, .prompt = i / job->params.n};
        tern_machine_start(&job->choices[i].machine);
    }
    return 0;
}

int tern_job_create(serve_job **out, const json_t *body, api_kind kind, const job_context *context,
                    api_error *error)
{
    if (!json_is_object(body))
        return tern_api_fail(error, 400, NULL, "the body is %s: give an object",
                             tern_field_kind(body));
    serve_job *job = calloc(1, sizeof *job);
    if (!job) return no_memory(error);
    job->kind = kind;
    job->created = time(NULL);
    job->tokens = context->tokens;
    job->shared.refs = 1;
    int status = tern_params_read(&job->params, body, kind == API_CHAT, context->n_vocab, error);
    if (status == 0 && kind == API_CHAT) {
        status = alloc_prompts(job, 1, error);
        if (status == 0)
            status = tern_job_messages(&job->prompts[0], &job->n_prompt[0], context,
                                       json_object_get(body, "messages"), error);
    } else if (status == 0) {
        status = read_prompts(job, json_object_get(body, "prompt"), context, error);
    }
    if (status == 0) status = check_lengths(job, context, error);
    if (status == 0) status = make_choices(job, error);
    if (status == 0)
        *out = job;
    else
        tern_job_free(job);
    return status;
}

void tern_job_free(serve_job *job)
{
    for (int i = 0; i < job->n_choices && job->choices; i++) {
        tern_text_free(&job->choices[i].text);
        json_decref(job->choices[i].logs);
    }
    for (int i = 0; i < job->n_prompts; i++) free(job->prompts[i]);
    free(job->prompts);
    free(job->n_prompt);
    free(job->choices);
    tern_params_free(&job->params);
    tern_bytes_free(&job->shared.out);
    free(job);
}
