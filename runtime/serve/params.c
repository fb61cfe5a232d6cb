/* params.c - fields of a request to numbers. Every message names the field, what it holds and what
 * it may hold. */
#include "serve/params.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

const char *tern_field_kind(const json_t *value)
{
    static const char *const names[] = {"an object", "an array", "a string", "a whole number",
                                        "a number",  "true",     "false",    "null"};
    return names[json_typeof(value)];
}

/* The field, or NULL where it is absent or null. */
static const json_t *field(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    return json_is_null(value) ? NULL : value;
}

int tern_field_int(int *out, const json_t *object, const char *name, int min, int max,
                   api_error *error)
{
    const json_t *value = field(object, name);
    if (!value) return 0;
    if (!json_is_integer(value))
        return tern_api_fail(error, 400, name, "'%s' is %s: give a whole number from %d to %d",
                             name, tern_field_kind(value), min, max);
    const json_int_t number = json_integer_value(value);
    if (number < min || number > max)
        return tern_api_fail(error, 400, name, "'%s' is %lld: use %d to %d", name,
                             (long long)number, min, max);
    *out = (int)number;
    return 0;
}

int tern_field_flag(int *out, const json_t *object, const char *name, api_error *error)
{
    const json_t *value = field(object, name);
    if (!value) return 0;
    if (!json_is_boolean(value))
        return tern_api_fail(error, 400, name, "'%s' is %s: give true or false", name,
                             tern_field_kind(value));
    *out = json_is_true(value);
    return 0;
}

static int get_float(float *out, const json_t *object, const char *name, double min, double max,
                     api_error *error)
{
    const json_t *value = field(object, name);
    if (!value) return 0;
    if (!json_is_number(value))
        return tern_api_fail(error, 400, name, "'%s' is %s: give a number from %g to %g", name,
                             tern_field_kind(value), min, max);
    const double number = json_number_value(value);
    if (!(number >= min && number <= max))
        return tern_api_fail(error, 400, name, "'%s' is %g: use %g to %g", name, number, min, max);
    *out = (float)number;
    return 0;
}

/* seed: any whole number; without one, a random one. */
static int get_seed(uint64_t *out, const json_t *object, api_error *error)
{
    const json_t *value = field(object, "seed");
    if (!value) {
        if (getrandom(out, sizeof *out, 0) != (ssize_t)sizeof *out) *out = 0;
        return 0;
    }
    if (!json_is_integer(value))
        return tern_api_fail(error, 400, "seed", "'seed' is %s: give a whole number",
                             tern_field_kind(value));
    *out = (uint64_t)json_integer_value(value);
    return 0;
}

static int get_sampling(tern_sampling *s, const json_t *body, api_error *error)
{
    *s = (tern_sampling){.temperature = 1.0f};
    if (get_float(&s->temperature, body, "temperature", 0, 100, error) ||
        get_float(&s->top_p, body, "top_p", 0, 1, error) ||
        get_float(&s->min_p, body, "min_p", 0, 1, error) ||
        get_float(&s->presence, body, "presence_penalty", -2, 2, error) ||
        get_float(&s->frequency, body, "frequency_penalty", -2, 2, error) ||
        get_float(&s->repetition, body, "repetition_penalty", 0, 100, error) ||
        tern_field_int(&s->top_k, body, "top_k", -1, INT32_MAX, error) ||
        get_seed(&s->seed, body, error))
        return -1;
    if (s->top_k < 0) s->top_k = 0;
    if (s->temperature < 1e-6f) s->temperature = 0.0f;
    return 0;
}

/* One pair of logit_bias: "id": bias. */
static int read_bias(api_params *p, const char *key, const json_t *value, int n_vocab,
                     api_error *error)
{
    char *end;
    const long id = strtol(key, &end, 10);
    if (!*key || *end || id < 0 || id >= n_vocab)
        return tern_api_fail(error, 400, "logit_bias",
                             "'logit_bias' has the key '%.40s': use token ids from 0 to %d", key,
                             n_vocab - 1);
    if (!json_is_number(value) || !(fabs(json_number_value(value)) <= 100.0))
        return tern_api_fail(error, 400, "logit_bias",
                             "'logit_bias' of token %ld is not a number from -100 to 100", id);
    int at = p->request.sampling.n_bias++;
    for (; at > 0 && p->bias_ids[at - 1] > id; at--) {
        p->bias_ids[at] = p->bias_ids[at - 1];
        p->bias[at] = p->bias[at - 1];
    }
    if (at > 0 && p->bias_ids[at - 1] == id)
        return tern_api_fail(error, 400, "logit_bias", "'logit_bias' names token %ld twice", id);
    p->bias_ids[at] = (int32_t)id;
    p->bias[at] = (float)json_number_value(value);
    return 0;
}

#define MAX_BIASES 1024

static int get_bias(api_params *p, const json_t *body, int n_vocab, api_error *error)
{
    json_t *object = json_object_get(body, "logit_bias");
    if (!object || json_is_null(object)) return 0;
    if (!json_is_object(object) || json_object_size(object) > MAX_BIASES)
        return tern_api_fail(error, 400, "logit_bias",
                             "'logit_bias' must be an object of at most %d token ids", MAX_BIASES);
    const size_t n = json_object_size(object);
    p->bias_ids = calloc(n + 1, sizeof *p->bias_ids);
    p->bias = calloc(n + 1, sizeof *p->bias);
    if (!p->bias_ids || !p->bias)
        return tern_api_fail(error, 500, NULL, "no memory for the request");
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value) if (read_bias(p, key, value, n_vocab, error)) return -1;
    p->request.sampling.bias_ids = p->bias_ids;
    p->request.sampling.bias = p->bias;
    return 0;
}

static int add_stop(api_params *p, const json_t *value, api_error *error)
{
    if (!json_is_string(value) || json_string_length(value) > MAX_STOP_BYTES)
        return tern_api_fail(error, 400, "stop", "'stop' must hold strings of at most %d bytes",
                             MAX_STOP_BYTES);
    if (json_string_length(value) == 0) return 0;
    if (p->stops.n == MAX_STOPS)
        return tern_api_fail(error, 400, "stop", "'stop' holds more than %d strings", MAX_STOPS);
    char *copy = strdup(json_string_value(value));
    if (!copy) return tern_api_fail(error, 500, NULL, "no memory for the request");
    p->stops.list[p->stops.n++] = copy;
    return 0;
}

static int get_stops(api_params *p, const json_t *body, api_error *error)
{
    const json_t *stop = field(body, "stop"), *ids = field(body, "stop_token_ids");
    p->stops.list = calloc(MAX_STOPS, sizeof *p->stops.list);
    if (!p->stops.list) return tern_api_fail(error, 500, NULL, "no memory for the request");
    if (stop && !json_is_array(stop) && add_stop(p, stop, error)) return -1;
    for (size_t i = 0; i < json_array_size(stop); i++)
        if (add_stop(p, json_array_get(stop, i), error)) return -1;
    if (!ids) return 0;
    if (!json_is_array(ids) || json_array_size(ids) > MAX_STOPS)
        return tern_api_fail(error, 400, "stop_token_ids",
                             "'stop_token_ids' must be an array of at most %d ids", MAX_STOPS);
    for (size_t i = 0; i < json_array_size(ids); i++) {
        const json_int_t id = json_integer_value(json_array_get(ids, i));
        p->stop_ids[p->n_stop_ids++] = (int32_t)(id < 0 || id > INT32_MAX ? -1 : id);
    }
    return 0;
}

/* "logprobs": a number of alternatives in completions; in chat a flag beside "top_logprobs". */
static int get_logprobs(api_params *p, const json_t *body, int chat, api_error *error)
{
    tern_request *r = &p->request;
    int top = -1;
    if (!chat) {
        if (tern_field_int(&top, body, "logprobs", 0, TERN_MAX_TOP_LOGPROBS, error)) return -1;
        r->logprobs = top >= 0;
        r->n_top = top > 0 ? top : 0;
        r->prompt_logprobs = p->echo && r->logprobs;
        return 0;
    }
    if (tern_field_flag(&r->logprobs, body, "logprobs", error) ||
        tern_field_int(&top, body, "top_logprobs", 0, TERN_MAX_TOP_LOGPROBS, error))
        return -1;
    if (top > 0 && !r->logprobs)
        return tern_api_fail(error, 400, "top_logprobs",
                             "'top_logprobs' needs 'logprobs' to be true");
    r->n_top = top > 0 ? top : 0;
    return 0;
}

static int get_limits(api_params *p, const json_t *body, int chat, api_error *error)
{
    tern_request *r = &p->request;
    int max_tokens = chat ? -1 : 16; /* OpenAI's defaults: no limit, and 16 */
    if (tern_field_int(&max_tokens, body, "max_tokens", 0, INT32_MAX, error) ||
        tern_field_int(&max_tokens, body, "max_completion_tokens", 0, INT32_MAX, error) ||
        tern_field_int(&r->min_tokens, body, "min_tokens", 0, INT32_MAX, error) ||
        tern_field_flag(&r->ignore_end, body, "ignore_eos", error) ||
        tern_field_int(&r->priority, body, "priority", -1000000, 1000000, error))
        return -1;
    if (max_tokens == 0 && !p->echo)
        return tern_api_fail(error, 400, "max_tokens",
                             "'max_tokens' is 0: use 1 or more, or 'echo'");
    p->no_answer = max_tokens == 0;
    r->max_tokens = max_tokens < 0 ? 0 : p->no_answer ? 1 : max_tokens;
    return 0;
}

/* What there is not must not be ignored silently. */
static int refuse_unsupported(const json_t *body, api_error *error)
{
    static const char *const names[] = {"tools",          "functions",         "audio",
                                        "suffix",         "best_of",           "prediction",
                                        "guided_json",    "guided_regex",      "guided_choice",
                                        "guided_grammar", "structured_outputs"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const json_t *value = field(body, names[i]);
        const int empty = (json_is_array(value) && json_array_size(value) == 0) ||
                          (json_is_string(value) && json_string_length(value) == 0) ||
                          (json_is_integer(value) && json_integer_value(value) == 1);
        if (value && !empty)
            return tern_api_fail(error, 400, names[i], "'%s' is not supported: leave it out",
                                 names[i]);
    }
    return 0;
}

static int get_format(api_params *p, const json_t *body, api_error *error)
{
    const json_t *format = field(body, "response_format");
    const char *type = json_string_value(json_object_get(format, "type"));
    if (!format || (type && strcmp(type, "text") == 0)) return 0;
    if (type && strcmp(type, "json_object") == 0)
        return tern_schema_create(&p->schema, NULL, error);
    if (!type || strcmp(type, "json_schema") != 0)
        return tern_api_fail(
            error, 400, "response_format",
            "'response_format' has no type 'text', 'json_object' or 'json_schema'");
    const json_t *value = json_object_get(json_object_get(format, "json_schema"), "schema");
    if (!json_is_object(value))
        return tern_api_fail(error, 400, "response_format",
                             "'response_format.json_schema.schema' must be an object");
    return tern_schema_create(&p->schema, value, error);
}

int tern_params_read(api_params *p, const json_t *body, int chat, int n_vocab, api_error *error)
{
    *p = (api_params){.n = 1};
    const json_t *options = field(body, "stream_options");
    if (options && !json_is_object(options))
        return tern_api_fail(error, 400, "stream_options", "'stream_options' is %s: give an object",
                             tern_field_kind(options));
    if (refuse_unsupported(body, error) || get_sampling(&p->request.sampling, body, error) ||
        get_bias(p, body, n_vocab, error) || get_stops(p, body, error) ||
        get_format(p, body, error) || tern_field_int(&p->n, body, "n", 1, MAX_CHOICES, error) ||
        tern_field_flag(&p->stream, body, "stream", error) ||
        tern_field_flag(&p->echo, body, "echo", error) ||
        (options && tern_field_flag(&p->include_usage, options, "include_usage", error)))
        return -1;
    if (chat && p->echo)
        return tern_api_fail(error, 400, "echo", "'echo' is for /v1/completions: leave it out");
    if (get_logprobs(p, body, chat, error) || get_limits(p, body, chat, error)) return -1;
    return 0;
}

void tern_params_free(api_params *p)
{
    for (int i = 0; i < p->stops.n; i++) free(p->stops.list[i]);
    free(p->stops.list);
    free(p->bias_ids);
    free(p->bias);
    tern_schema_free(p->schema);
    *p = (api_params){0};
}
