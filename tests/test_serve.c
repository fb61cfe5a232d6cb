/* test_serve.c - the HTTP API over loopback: shapes of requests and answers, errors in OpenAI's
 * shape, streams that say what whole answers say, the contract of lm-evaluation-harness. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "http_client.h"

#define COMPLETIONS "/v1/completions"
#define CHAT "/v1/chat/completions"

static test_server s;

/* A planner whose answers are easy to check: a millisecond a token of the prompt, two a mate. */
static double prompt_s(const void *plan, int n_cached, int n_prompt)
{
    assert_ptr_equal(plan, &s);
    return 1e-3 * (n_prompt - n_cached);
}

static double step_s(const void *plan, int n_seq, int depth)
{
    assert_ptr_equal(plan, &s);
    assert_true(depth > 0);
    return 2e-3 * n_seq;
}

static int open_server(void **state)
{
    (void)state;
    tern_server_options options = server_defaults();
    options.forecast = (tern_server_forecast){"{\"tern_plan\": 1}", prompt_s, step_s, &s};
    return server_open(&s, &options, 8);
}

static int close_server(void **state)
{
    (void)state;
    server_close(&s);
    return s.status;
}

/* Posts; the answer must have this status and be JSON. */
static json_t *post(const char *path, const char *body, int http)
{
    response r = client_post(&s, path, body);
    json_error_t where;
    json_t *root = json_loads(r.body, 0, &where);
    if (r.http != http || !root) fail_msg("%s: %d: %s", body, r.http, r.body);
    free(r.all);
    return root;
}

static json_t *get(const char *path)
{
    response r = client_get(&s, path);
    assert_int_equal(r.http, 200);
    json_t *root = json_loads(r.body, 0, NULL);
    assert_non_null(root);
    free(r.all);
    return root;
}

/* The value at a path like "choices.0.text". */
static json_t *at(json_t *root, const char *path)
{
    char part[64];
    for (json_t *value = root;; path++) {
        const size_t n = strcspn(path, ".");
        snprintf(part, sizeof part, "%.*s", (int)n, path);
        value = json_is_array(value) ? json_array_get(value, (size_t)atoi(part))
                                     : json_object_get(value, part);
        if (!value) fail_msg("there is no '%s'", path);
        path += n;
        if (!*path) return value;
    }
}

static const char *text_at(json_t *root, const char *path)
{
    const char *text = json_string_value(at(root, path));
    assert_non_null(text);
    return text;
}

static long long number_at(json_t *root, const char *path)
{
    assert_true(json_is_integer(at(root, path)));
    return json_integer_value(at(root, path));
}

static void test_small_endpoints(void **state)
{
    (void)state;
    json_t *root = get("/health");
    assert_string_equal(text_at(root, "status"), "ok");
    json_decref(root);
    root = get("/version");
    assert_string_equal(text_at(root, "version"), tern_version());
    json_decref(root);
    root = get("/v1/models");
    assert_string_equal(text_at(root, "data.0.id"), "demo");
    assert_int_equal(number_at(root, "data.0.max_model_len"), 512);
    json_decref(root);
    root = get("/tokenizer_info");
    assert_true(json_string_length(at(root, "eos_token")) > 0);
    json_decref(root);
    static const struct {
        const char *method, *path;
        int http;
    } refused[] = {
        {"GET", "/", 404},           {"GET", "/v1/models/x", 404}, {"GET", "/../etc/passwd", 404},
        {"POST", "/v1/models", 405}, {"GET", COMPLETIONS, 405},    {"DELETE", "/health", 405}};
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        response r = client_call(&s, refused[i].method, refused[i].path, "", NULL);
        assert_int_equal(r.http, refused[i].http);
        assert_non_null(strstr(r.body, "\"error\""));
        free(r.all);
    }
}

static void test_tokens(void **state)
{
    (void)state;
    json_t *root = post("/tokenize", "{\"prompt\": \"It was a dark night\"}", 200);
    const long long n = number_at(root, "count");
    assert_int_equal(json_array_size(at(root, "tokens")), n);
    assert_int_equal(number_at(root, "tokens.0"),
                     tern_tokenizer_bos(tern_model_tokenizer(s.model)));
    json_decref(root);
    root = post("/tokenize",
                "{\"prompt\": \"It was a dark night\", \"add_special_tokens\": false, "
                "\"return_token_strs\": true}",
                200);
    assert_int_equal(number_at(root, "count"), n - 1);
    assert_string_equal(text_at(root, "token_strs.0"), "It");
    json_t *again = json_pack("{s:O}", "tokens", at(root, "tokens"));
    char *body = json_dumps(again, 0);
    json_decref(again);
    json_decref(root);
    root = post("/detokenize", body, 200);
    assert_string_equal(text_at(root, "prompt"), "It was a dark night");
    free(body);
    json_decref(root);
    root = post("/tokenize", "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}", 200);
    assert_true(number_at(root, "count") > 2);
    json_decref(root);
}

/* Without a template a chat is lines, ending in the beginning of the answer's. */
static void test_plain_chat(void **state)
{
    (void)state;
    json_t *chat = post("/tokenize",
                        "{\"messages\": [{\"role\": \"developer\", \"content\": \"Be brief.\"},"
                        "{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"H\"},"
                        "{\"type\": \"text\", \"text\": \"i\"}]},"
                        "{\"role\": \"assistant\", \"content\": \"Ho\"},"
                        "{\"role\": \"user\", \"content\": \"\"}]}",
                        200);
    json_t *text = post("/tokenize",
                        "{\"prompt\": \"system: Be brief.\\nuser: Hi\\nassistant: Ho\\nuser: \\n"
                        "assistant:\"}",
                        200);
    assert_true(json_equal(at(chat, "tokens"), at(text, "tokens")));
    json_decref(text);
    json_decref(chat);
}

/* The four shapes of a prompt; equal prompts have equal answers, whatever stands beside them. */
static void test_prompt_shapes(void **state)
{
    (void)state;
    json_t *one =
        post(COMPLETIONS, "{\"prompt\": \"The ship\", \"max_tokens\": 9, \"seed\": 5}", 200);
    json_t *many =
        post(COMPLETIONS,
             "{\"prompt\": [\"A horse\", \"The ship\"], \"max_tokens\": 9, \"seed\": 5}", 200);
    assert_int_equal(json_array_size(at(many, "choices")), 2);
    assert_string_equal(text_at(one, "choices.0.text"), text_at(many, "choices.1.text"));
    assert_string_equal(text_at(one, "choices.0.finish_reason"), "length");
    assert_string_equal(text_at(one, "object"), "text_completion");
    assert_int_equal(number_at(one, "usage.completion_tokens"), 9);
    assert_int_equal(number_at(many, "usage.total_tokens"),
                     number_at(many, "usage.prompt_tokens") + 18);
    json_decref(many);
    json_t *ids = post("/tokenize", "{\"prompt\": \"The ship\"}", 200);
    json_t *request =
        json_pack("{s:O, s:i, s:i}", "prompt", at(ids, "tokens"), "max_tokens", 9, "seed", 5);
    char *body = json_dumps(request, 0);
    many = post(COMPLETIONS, body, 200);
    assert_string_equal(text_at(one, "choices.0.text"), text_at(many, "choices.0.text"));
    free(body);
    json_decref(request);
    json_decref(ids);
    json_decref(many);
    json_decref(one);
}

static void test_choices_and_seeds(void **state)
{
    (void)state;
    json_t *a =
        post(COMPLETIONS, "{\"prompt\": \"The\", \"n\": 3, \"seed\": 1, \"max_tokens\": 12}", 200);
    json_t *b =
        post(COMPLETIONS, "{\"prompt\": \"The\", \"n\": 3, \"seed\": 1, \"max_tokens\": 12}", 200);
    json_t *c =
        post(COMPLETIONS, "{\"prompt\": \"The\", \"n\": 1, \"seed\": 2, \"max_tokens\": 12}", 200);
    for (size_t i = 0; i < 3; i++)
        assert_true(
            json_equal(json_array_get(at(a, "choices"), i), json_array_get(at(b, "choices"), i)));
    assert_string_not_equal(text_at(a, "choices.0.text"), text_at(a, "choices.1.text"));
    assert_string_not_equal(text_at(a, "choices.0.text"), text_at(c, "choices.0.text"));
    json_decref(a);
    json_decref(b);
    json_decref(c);
}

/* PEERS 4: echo with log-probabilities covers every prompt token and one more. */
static void test_harness_contract(void **state)
{
    (void)state;
    json_t *root =
        post(COMPLETIONS,
             "{\"model\": \"demo\", \"prompt\": [[1,2,3,4],[5,6,7]], \"temperature\": 0, "
             "\"max_tokens\": 1, \"logprobs\": 1, \"seed\": 1234, \"echo\": true}",
             200);
    static const size_t lengths[] = {5, 4};
    for (size_t i = 0; i < 2; i++) {
        json_t *logs = json_object_get(json_array_get(at(root, "choices"), i), "logprobs");
        json_t *values = at(logs, "token_logprobs"), *tops = at(logs, "top_logprobs");
        assert_int_equal(json_array_size(values), lengths[i]);
        assert_int_equal(json_array_size(tops), lengths[i]);
        assert_int_equal(json_array_size(at(logs, "tokens")), lengths[i]);
        assert_int_equal(json_array_size(at(logs, "text_offset")), lengths[i]);
        assert_true(json_is_null(json_array_get(values, 0)));
        assert_true(json_is_null(json_array_get(tops, 0)));
        for (size_t t = 1; t < lengths[i]; t++) {
            const double own = json_real_value(json_array_get(values, t));
            double best = -1e9;
            const char *name;
            json_t *value, *own_entry = NULL;
            json_object_foreach(json_array_get(tops, t), name, value)
            {
                best = json_real_value(value) > best ? json_real_value(value) : best;
                if (json_real_value(value) == own) own_entry = value;
            }
            assert_non_null(own_entry); /* to the last digit */
            assert_true(own <= best && best < 0.0);
            if (t + 1 == lengths[i]) assert_true(own == best); /* greedy */
        }
    }
    json_decref(root);
}

static void test_echo_without_answer(void **state)
{
    (void)state;
    json_t *root = post(COMPLETIONS,
                        "{\"prompt\": \"A quiet house\", \"max_tokens\": 0, \"logprobs\": 0, "
                        "\"echo\": true}",
                        200);
    assert_string_equal(text_at(root, "choices.0.text"), "A quiet house");
    assert_int_equal(json_array_size(at(root, "choices.0.logprobs.tokens")),
                     number_at(root, "usage.prompt_tokens"));
    assert_int_equal(number_at(root, "usage.completion_tokens"), 0);
    json_decref(root);
}

/* Puts together what a stream says: the text of choice 0, and its end. */
static void join_stream(const char *stream, int chat, char *text, const char **finish)
{
    text[0] = 0;
    *finish = NULL;
    for (const char *line = strstr(stream, "data: "); line; line = strstr(line + 1, "data: ")) {
        if (strncmp(line, "data: [DONE]", 12) == 0) return;
        json_t *root = json_loads(line + 6, JSON_DISABLE_EOF_CHECK, NULL);
        assert_non_null(root);
        json_t *choice = json_array_get(json_object_get(root, "choices"), 0);
        json_t *part = chat ? json_object_get(json_object_get(choice, "delta"), "content")
                            : json_object_get(choice, "text");
        if (choice && json_integer_value(json_object_get(choice, "index")) == 0) {
            if (part) strcat(text, json_string_value(part));
            if (json_is_string(json_object_get(choice, "finish_reason"))) *finish = "ended";
        }
        json_decref(root);
    }
    fail_msg("the stream has no end: %s", stream);
}

static void check_stream(const char *path, const char *fields)
{
    char body[512], text[4096];
    const char *finish;
    const int chat = strcmp(path, CHAT) == 0;
    snprintf(body, sizeof body, "{%s}", fields);
    json_t *whole = post(path, body, 200);
    snprintf(body, sizeof body,
             "{%s, \"stream\": true, \"stream_options\": {\"include_usage\": true}}", fields);
    response r = client_post(&s, path, body);
    assert_int_equal(r.http, 200);
    assert_non_null(strstr(r.all, "text/event-stream"));
    assert_memory_equal(r.body, "data: ", 6); /* no comment to keep a new stream alive */
    join_stream(r.body, chat, text, &finish);
    assert_string_equal(text,
                        text_at(whole, chat ? "choices.0.message.content" : "choices.0.text"));
    assert_non_null(finish);
    assert_non_null(strstr(r.body, "\"completion_tokens\""));
    free(r.all);
    json_decref(whole);
}

static void test_streams(void **state)
{
    (void)state;
    check_stream(COMPLETIONS, "\"prompt\": \"Once upon\", \"max_tokens\": 40, \"seed\": 3");
    check_stream(COMPLETIONS,
                 "\"prompt\": \"Once\", \"max_tokens\": 40, \"seed\": 3, \"echo\": true, "
                 "\"logprobs\": 2");
    check_stream(COMPLETIONS, "\"prompt\": \"Once\", \"max_tokens\": 60, \"seed\": 3, "
                              "\"stop\": [\"the\", \"\\u00e9\"]");
    check_stream(CHAT,
                 "\"messages\": [{\"role\": \"system\", \"content\": \"Be kind.\"}, {\"role\": "
                 "\"user\", \"content\": [{\"type\": \"text\", \"text\": \"Hi\"}]}], "
                 "\"max_completion_tokens\": 30, \"seed\": 9, \"logprobs\": true, "
                 "\"top_logprobs\": 3");
}

static void test_stop_strings(void **state)
{
    (void)state;
    json_t *free_run =
        post(COMPLETIONS, "{\"prompt\": \"The\", \"temperature\": 0, \"max_tokens\": 30}", 200);
    const char *text = text_at(free_run, "choices.0.text");
    char stop[8] = {0}, body[256];
    memcpy(stop, text + 11, 3); /* somewhere inside */
    snprintf(body, sizeof body,
             "{\"prompt\": \"The\", \"temperature\": 0, \"max_tokens\": 30, \"stop\": "
             "[\"%s\"]}",
             stop);
    json_t *stopped = post(COMPLETIONS, body, 200);
    const char *shorter = text_at(stopped, "choices.0.text");
    assert_string_equal(text_at(stopped, "choices.0.finish_reason"), "stop");
    assert_ptr_equal(text + strlen(shorter), strstr(text, stop));
    assert_memory_equal(shorter, text, strlen(shorter));
    assert_true(number_at(stopped, "usage.completion_tokens") < 30);
    json_decref(stopped);
    json_decref(free_run);
}

static void test_bias_and_limits(void **state)
{
    (void)state;
    json_t *root = post(COMPLETIONS,
                        "{\"prompt\": \"The\", \"max_tokens\": 5, \"logit_bias\": {\"100\": 100}, "
                        "\"logprobs\": 0, \"temperature\": 0}",
                        200);
    json_t *tokens = at(root, "choices.0.logprobs.tokens");
    for (size_t i = 1; i < 5; i++)
        assert_true(json_equal(json_array_get(tokens, 0), json_array_get(tokens, i)));
    json_decref(root);
    char body[256];
    const int eos = tern_tokenizer_eos(tern_model_tokenizer(s.model));
    snprintf(body, sizeof body,
             "{\"prompt\": \"The\", \"max_tokens\": 9, \"min_tokens\": 4, "
             "\"logit_bias\": {\"%d\": 100}}",
             eos);
    root = post(COMPLETIONS, body, 200);
    assert_string_equal(text_at(root, "choices.0.finish_reason"), "stop");
    assert_int_equal(number_at(root, "usage.completion_tokens"), 4);
    json_decref(root);
}

static void test_chat_logprobs(void **state)
{
    (void)state;
    json_t *root =
        post(CHAT,
             "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}], \"max_tokens\": 4, "
             "\"temperature\": 0, \"logprobs\": true, \"top_logprobs\": 2}",
             200);
    json_t *content = at(root, "choices.0.logprobs.content");
    assert_int_equal(json_array_size(content), 4);
    for (size_t i = 0; i < 4; i++) {
        json_t *entry = json_array_get(content, i);
        assert_int_equal(json_array_size(at(entry, "top_logprobs")), 2);
        assert_true(json_real_value(at(entry, "logprob")) ==
                    json_real_value(at(entry, "top_logprobs.0.logprob")));
        assert_true(json_is_array(at(entry, "bytes")));
    }
    assert_string_equal(text_at(root, "choices.0.message.role"), "assistant");
    json_decref(root);
}

/* A body, the status it gets and the field that is named. */
static void test_errors(void **state)
{
    (void)state;
    static const struct {
        const char *path, *body;
        int http;
        const char *param;
    } cases[] = {
        {COMPLETIONS, "", 400, NULL},
        {COMPLETIONS, "{", 400, NULL},
        {COMPLETIONS, "[]", 400, NULL},
        {COMPLETIONS, "{\"prompt\": \"a\", \"prompt\": \"b\"}", 400, NULL},
        {COMPLETIONS, "{\"prompt\": \"\xff\"}", 400, NULL},
        {COMPLETIONS, "{}", 400, "prompt"},
        {COMPLETIONS, "{\"prompt\": 7}", 400, "prompt"},
        {COMPLETIONS, "{\"prompt\": []}", 400, "prompt"},
        {COMPLETIONS, "{\"prompt\": [\"a\", 7]}", 400, "prompt"},
        {COMPLETIONS, "{\"prompt\": [1, 2, 4096]}", 400, "prompt"},
        {COMPLETIONS, "{\"prompt\": [1, 2.5]}", 400, "prompt"},
        {COMPLETIONS, "{\"prompt\": [[1], [-1]]}", 400, "prompt"},
        {COMPLETIONS, "{\"prompt\": \"a\", \"model\": \"gpt-4\"}", 404, "model"},
        {COMPLETIONS, "{\"prompt\": \"a\", \"temperature\": \"hot\"}", 400, "temperature"},
        {COMPLETIONS, "{\"prompt\": \"a\", \"temperature\": -1}", 400, "temperature"},
        {COMPLETIONS, "{\"prompt\": \"a\", \"top_p\": 1.5}", 400, "top_p"},
        {COMPLETIONS, "{\"prompt\": \"a\", \"n\": 0}", 400, "n"},
        {COMPLETIONS, "{\"prompt\": \"a\", \"n\": 65}", 400, "n"},
        {COMPLETIONS, "{\"prompt\": \"a\", \"max_tokens\": 1.5}", 400, "max_tokens"},
        {COMPLETIONS, "{\"prompt\": \"a\", \"max_tokens\": 0}", 400, "max_tokens"},
        {COMPLETIONS, "{\"prompt\": \"a\", \"max_tokens\": 511}", 400, "max_tokens"},
        {COMPLETIONS, "{\"prompt\": \"a\", \"logprobs\": 21}", 400, "logprobs"},
        {COMPLETIONS, "{\"prompt\": \"a\", \"logit_bias\": {\"x\": 1}}", 400, "logit_bias"},
        {COMPLETIONS, "{\"prompt\": \"a\", \"logit_bias\": {\"1\": 101}}", 400, "logit_bias"},
        {COMPLETIONS, "{\"prompt\": \"a\", \"stop\": 3}", 400, "stop"},
        {COMPLETIONS, "{\"prompt\": \"a\", \"stream\": 1}", 400, "stream"},
        {COMPLETIONS, "{\"prompt\": \"a\", \"seed\": 0.5}", 400, "seed"},
        {COMPLETIONS, "{\"prompt\": \"a\", \"suffix\": \"b\"}", 400, "suffix"},
        {CHAT, "{\"prompt\": \"a\"}", 400, "messages"},
        {CHAT, "{\"messages\": []}", 400, "messages"},
        {CHAT, "{\"messages\": [{\"role\": \"god\", \"content\": \"a\"}]}", 400, "messages"},
        {CHAT, "{\"messages\": [{\"role\": \"user\"}]}", 400, "messages"},
        {CHAT, "{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"image_url\"}]}]}",
         400, "messages"},
        {CHAT, "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}], \"top_logprobs\": 2}",
         400, "top_logprobs"},
        {CHAT, "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}], \"tools\": [{}]}", 400,
         "tools"},
        {"/tokenize", "{\"prompt\": 1}", 400, "prompt"},
        {"/detokenize", "{\"tokens\": \"x\"}", 400, "tokens"},
        {"/detokenize", "{\"tokens\": [99999]}", 400, "tokens"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_t *root = post(cases[i].path, cases[i].body, cases[i].http);
        const char *param = json_string_value(at(root, "error.param"));
        if (cases[i].param ? !param || strcmp(param, cases[i].param) != 0 : param != NULL)
            fail_msg("%s names '%s'", cases[i].body, param ? param : "nothing");
        assert_true(strlen(text_at(root, "error.message")) > 10);
        assert_true(strlen(text_at(root, "error.type")) > 5);
        json_decref(root);
    }
}

/* Other servers' ways to ask for a form are refused: the answer would not have it. */
static void test_other_forms(void **state)
{
    (void)state;
    static const char *const fields[] = {"guided_json", "guided_regex", "guided_choice",
                                         "guided_grammar", "structured_outputs"};
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        char body[128];
        snprintf(body, sizeof body, "{\"prompt\": \"a\", \"%s\": {\"json\": {}}}", fields[i]);
        json_t *root = post(COMPLETIONS, body, 400);
        assert_string_equal(text_at(root, "error.param"), fields[i]);
        json_decref(root);
    }
}

static void test_deep_body(void **state)
{
    (void)state;
    char body[4001] = {0};
    memset(body, '[', 4000);
    json_t *root = post(COMPLETIONS, body, 400);
    assert_non_null(strstr(text_at(root, "error.message"), "deeper"));
    json_decref(root);
}

static void test_forecast(void **state)
{
    (void)state;
    json_t *root = get("/plan");
    assert_int_equal(number_at(root, "tern_plan"), 1);
    json_decref(root);
    root = post(COMPLETIONS,
                "{\"prompt\": [9, 8, 7, 6], \"max_tokens\": 5, \"ignore_eos\": true}", 200);
    assert_true(json_real_value(at(root, "timings.predicted_prompt_ms")) == 4.0);
    assert_true(json_real_value(at(root, "timings.predicted_decode_ms")) == 8.0); /* 4 steps */
    json_decref(root);
    root = post(COMPLETIONS,
                "{\"prompt\": [9, 8, 7, 6], \"max_tokens\": 5, \"ignore_eos\": true, "
                "\"n\": 3}",
                200);
    assert_true(json_real_value(at(root, "timings.predicted_decode_ms")) >= 16.0); /* with mates */
    json_decref(root);
    response r = client_get(&s, "/metrics");
    assert_non_null(strstr(r.body, "tern:predicted_seconds_total{model_name=\"demo\",phase="));
    free(r.all);
}

static void test_metrics(void **state)
{
    (void)state;
    char body[128];
    const int eos = tern_tokenizer_eos(tern_model_tokenizer(s.model));
    double before = client_metric(&s, "generation_tokens_total");
    snprintf(body, sizeof body, "{\"prompt\": \"The\", \"logit_bias\": {\"%d\": 100}}", eos);
    json_decref(post(COMPLETIONS, body, 200)); /* ends at once */
    assert_true(client_metric(&s, "generation_tokens_total") == before);
    json_decref(post(COMPLETIONS, "{\"prompt\": \"The\", \"max_tokens\": 7}", 200));
    assert_true(client_metric(&s, "generation_tokens_total") == before + 7);
    response r = client_get(&s, "/metrics");
    static const char *const names[] = {
        "vllm:num_requests_running{",
        "vllm:num_requests_waiting{",
        "vllm:kv_cache_usage_perc{",
        "vllm:prompt_tokens_total{",
        "vllm:time_to_first_token_seconds_bucket{",
        "vllm:inter_token_latency_seconds_sum{",
        "vllm:e2e_request_latency_seconds_count{",
        "vllm:request_success_total{model_name=\"demo\",finished_reason=\"stop\"}",
        "# TYPE vllm:num_preemptions_total counter",
        "vllm:prefix_cache_hits_total{"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (!strstr(r.body, names[i])) fail_msg("no %s", names[i]);
    free(r.all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_endpoints),  cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_prompt_shapes),    cmocka_unit_test(test_choices_and_seeds),
        cmocka_unit_test(test_harness_contract), cmocka_unit_test(test_echo_without_answer),
        cmocka_unit_test(test_streams),          cmocka_unit_test(test_stop_strings),
        cmocka_unit_test(test_bias_and_limits),  cmocka_unit_test(test_chat_logprobs),
        cmocka_unit_test(test_errors),           cmocka_unit_test(test_other_forms),
        cmocka_unit_test(test_deep_body),
        cmocka_unit_test(test_metrics),          cmocka_unit_test(test_forecast),
        cmocka_unit_test(test_plain_chat),
    };
    return cmocka_run_group_tests(tests, open_server, close_server);
}
