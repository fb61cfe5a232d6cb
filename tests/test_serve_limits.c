/* test_serve_limits.c - what the server takes and what it does when clients misbehave: full queues,
 * long bodies, keys, clients that hang up, do not read or send nonsense; the end of the server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/rng.h"
#include "http_client.h"
#include "serve/text_out.h"

#define COMPLETIONS "/v1/completions"
#define LONG_ANSWER "\"prompt\": \"The\", \"max_tokens\": 500, \"ignore_eos\": true"

static test_server s;

static void open_with(const tern_server_options *options, int n_seq)
{
    assert_int_equal(server_open(&s, options, n_seq), TERN_OK);
}

static int send_only(const char *body)
{
    const int fd = client_connect(&s);
    assert_true(fd >= 0);
    client_send(fd, "POST", COMPLETIONS, "", body);
    return fd;
}

/* Waits until a gauge has the value. */
static void wait_for(const char *metric, double value)
{
    for (int i = 0; i < 20000; i++) { /* patience for emulators */
        if (client_metric(&s, metric) == value) return;
        client_sleep_ms(5);
    }
    fail_msg("%s is %g, not %g", metric, client_metric(&s, metric), value);
}

static void assert_answers(void)
{
    response r = client_post(&s, COMPLETIONS, "{\"prompt\": \"The\", \"max_tokens\": 2}");
    assert_int_equal(r.http, 200);
    free(r.all);
}

static void test_full_queue(void **state)
{
    (void)state;
    tern_server_options o = server_defaults();
    o.max_requests = 3;
    open_with(&o, 2);
    int fds[3];
    for (int i = 0; i < 3; i++) fds[i] = send_only("{" LONG_ANSWER ", \"stream\": true}");
    wait_for("num_requests_running", 2);
    wait_for("num_requests_waiting", 1);
    response r = client_post(&s, COMPLETIONS, "{\"prompt\": \"The\"}");
    assert_int_equal(r.http, 429);
    assert_non_null(strstr(r.all, "Retry-After: "));
    assert_non_null(strstr(r.body, "rate_limit_error"));
    free(r.all);
    for (int i = 0; i < 3; i++) close(fds[i]);
    wait_for("num_requests_running", 0);
    assert_answers();
    server_close(&s);
}

static void test_token_limit(void **state)
{
    (void)state;
    tern_server_options o = server_defaults();
    o.max_tok = 600;
    open_with(&o, 2);
    const int fd = send_only("{" LONG_ANSWER ", \"stream\": true}");
    wait_for("num_requests_running", 1);
    response r = client_post(&s, COMPLETIONS, "{" LONG_ANSWER "}");
    assert_int_equal(r.http, 429);
    free(r.all);
    close(fd);
    wait_for("num_requests_running", 0);
    assert_answers();
    server_close(&s);
}

/* Streaming and not, running and queued: within a step of the client's hanging up nothing is
 * left. */
static void test_hang_up(void **state)
{
    (void)state;
    const tern_server_options o = server_defaults();
    open_with(&o, 1);
    for (int round = 0; round < 4; round++) {
        const char *body = round % 2 ? "{" LONG_ANSWER ", \"stream\": true}" : "{" LONG_ANSWER "}";
        const int running = send_only(body);
        wait_for("num_requests_running", 1);
        const int queued = send_only(body);
        wait_for("num_requests_waiting", 1);
        const double before = client_metric(&s, "generation_tokens_total");
        close(round < 2 ? queued : running);
        wait_for("num_requests_waiting", 0);
        close(round < 2 ? running : queued);
        wait_for("num_requests_running", 0);
        assert_true(client_metric(&s, "generation_tokens_total") - before < 900);
    }
    wait_for("kv_cache_usage_perc", 0);
    response r = client_get(&s, "/metrics");
    assert_non_null(strstr(r.body, "finished_reason=\"abort\"} 8"));
    free(r.all);
    assert_answers();
    server_close(&s);
}

/* A client that does not read its stream holds up nobody, and gets everything in the end. */
static void test_slow_reader(void **state)
{
    (void)state;
    const tern_server_options o = server_defaults();
    open_with(&o, 2);
    const int fd = client_connect(&s), small = 2048, large = 1 << 20;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    client_send(
        fd, "POST", COMPLETIONS, "",
        "{\"prompt\": \"The\", \"max_tokens\": 250, \"ignore_eos\": true, \"stream\": true, "
        "\"logprobs\": 20}");
    wait_for("num_requests_running", 1);
    for (int i = 0; i < 5; i++) assert_answers();
    wait_for("num_requests_running", 0); /* the engine is done, the client has not read */
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &large, sizeof large);
    response r = client_read(fd);
    assert_non_null(strstr(r.body, "data: [DONE]"));
    free(r.all);
    server_close(&s);
}

/* An answer that comes whole may be larger than what a stream may owe its reader. */
static void test_large_answer(void **state)
{
    (void)state;
    enum { PROMPTS = 2, TOKENS = 100 };
    static char body[PROMPTS * (2 * TOKENS + 4) + 256];
    tern_server_options o = server_defaults();
    o.max_unread_bytes = 1 << 16;
    open_with(&o, 4);
    size_t n = (size_t)snprintf(body, sizeof body, "{\"prompt\": [");
    for (int i = 0; i < PROMPTS; i++) {
        n += (size_t)snprintf(body + n, sizeof body - n, "%s[5", i ? "," : "");
        for (int t = 1; t < TOKENS; t++)
            n += (size_t)snprintf(body + n, sizeof body - n, ",%d", (i + t) % 9);
        n += (size_t)snprintf(body + n, sizeof body - n, "]");
    }
    snprintf(body + n, sizeof body - n, "], \"echo\": true, \"logprobs\": 20, \"max_tokens\": 0}");
    response r = client_post(&s, COMPLETIONS, body);
    assert_int_equal(r.http, 200);
    assert_true(strlen(r.body) > o.max_unread_bytes);
    json_t *root = json_loads(r.body, 0, NULL);
    assert_int_equal(json_array_size(json_object_get(root, "choices")), PROMPTS);
    json_decref(root);
    free(r.all);
    server_close(&s);
}

/* A text that memory has failed gives nothing more. */
static void test_failed_text(void **state)
{
    (void)state;
    static const text_stops none = {0};
    text_out out = {0};
    size_t n;
    tern_text_push(&out, &none, "abc", 3);
    tern_text_take(&out, &n);
    assert_int_equal(n, 3);
    tern_text_push(&out, &none, "def", 3);
    tern_bytes_free(&out.text); /* as tern_bytes_add leaves it */
    out.text.failed = 1;
    tern_text_take(&out, &n);
    assert_int_equal(n, 0);
    tern_text_finish(&out, &none);
    tern_text_take(&out, &n);
    assert_int_equal(n, 0);
    tern_text_free(&out);
}

static void test_bodies(void **state)
{
    (void)state;
    const tern_server_options o = server_defaults();
    open_with(&o, 1);
    char *body = malloc(70001);
    memset(body, ' ', 70000);
    body[70000] = 0;
    response r = client_post(&s, COMPLETIONS, body);
    assert_int_equal(r.http, 413);
    free(r.all);
    free(body);
    /* Chunks instead of a length; and too many of them. */
    static const char chunked[] = "POST /tokenize HTTP/1.1\r\nHost: x\r\nConnection: "
                                  "close\r\nTransfer-Encoding: chunked\r\n\r\n"
                                  "8\r\n{\"prompt\r\n6\r\n\":\"a\"}\r\n0\r\n\r\n";
    int fd = client_connect(&s);
    assert_int_equal(send(fd, chunked, sizeof chunked - 1, MSG_NOSIGNAL), sizeof chunked - 1);
    r = client_read(fd);
    assert_int_equal(r.http, 200);
    free(r.all);
    static const char head[] = "POST /tokenize HTTP/1.1\r\nHost: x\r\nConnection: "
                               "close\r\nTransfer-Encoding: chunked\r\n\r\n";
    static char block[4103] = "1000\r\n";
    memset(block + 6, 'x', 4096);
    fd = client_connect(&s);
    send(fd, head, sizeof head - 1, MSG_NOSIGNAL);
    for (int i = 0; i < 17; i++) {
        send(fd, block, 4102, MSG_NOSIGNAL);
        send(fd, "\r\n", 2, MSG_NOSIGNAL);
    }
    send(fd, "0\r\n\r\n", 5, MSG_NOSIGNAL);
    r = client_read(fd);
    assert_int_equal(r.http, 413);
    free(r.all);
    server_close(&s);
}

static void test_keys(void **state)
{
    (void)state;
    static const char *const keys[] = {"first-key", "second-key"};
    tern_server_options o = server_defaults();
    o.api_keys = keys;
    o.n_api_keys = 2;
    open_with(&o, 1);
    static const struct {
        const char *header;
        int http;
    } cases[] = {
        {"", 401},
        {"Authorization: Bearer \r\n", 401},
        {"Authorization: Bearer second-ke\r\n", 401},
        {"Authorization: Bearer second-key1\r\n", 401},
        {"Authorization: Basic second-key\r\n", 401},
        {"Authorization: Bearer second-key\r\n", 200},
        {"Authorization: Bearer first-key\r\n", 200},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        response r = client_call(&s, "GET", "/v1/models", cases[i].header, NULL);
        assert_int_equal(r.http, cases[i].http);
        free(r.all);
        r = client_call(&s, "POST", "/tokenize", cases[i].header, "{\"prompt\": \"a\"}");
        assert_int_equal(r.http, cases[i].http);
        free(r.all);
    }
    response r = client_call(&s, "GET", "/plan", "Authorization: Bearer first-key\r\n", NULL);
    assert_int_equal(r.http, 404); /* this one was started without a plan */
    free(r.all);
    r = client_get(&s, "/health");
    assert_int_equal(r.http, 200);
    assert_null(strcasestr(r.all, "access-control")); /* no CORS */
    free(r.all);
    server_close(&s);
}

static void test_timeouts(void **state)
{
    (void)state;
    tern_server_options o = server_defaults();
    o.request_timeout_s = 1;
    open_with(&o, 1);
    /* Several answers behind each other take longer than a second on the slowest machine only; so
     * many that they take longer on any. */
    response r =
        client_post(&s, COMPLETIONS,
                    "{\"prompt\": \"The\", \"max_tokens\": 500, \"ignore_eos\": true, \"n\": 60}");
    assert_int_equal(r.http, 408);
    assert_non_null(strstr(r.body, "timeout_error"));
    free(r.all);
    wait_for("num_requests_running", 0);
    server_close(&s);
}

/* One at a time: the second waits behind a long answer, which goes on. */
static void test_queue_timeout(void **state)
{
    (void)state;
    tern_server_options o = server_defaults();
    o.queue_timeout_s = 1;
    open_with(&o, 1);
    const int streaming = send_only("{\"prompt\": \"The\", \"max_tokens\": 500, \"n\": 60, "
                                    "\"ignore_eos\": true, \"stream\": true}");
    wait_for("num_requests_running", 1);
    response r = client_post(&s, COMPLETIONS, "{\"prompt\": \"A\", \"max_tokens\": 1}");
    assert_int_equal(r.http, 503);
    assert_non_null(strstr(r.body, "waited 1 seconds for its turn"));
    assert_non_null(strcasestr(r.all, "Retry-After"));
    free(r.all);
    wait_for("num_requests_running", 1);
    close(streaming);
    wait_for("num_requests_running", 0);
    server_close(&s);
}

/* Told to end, the server answers what it has and refuses what is new. */
static void test_drain(void **state)
{
    (void)state;
    const tern_server_options o = server_defaults();
    open_with(&o, 2);
    const int streaming = send_only("{" LONG_ANSWER ", \"stream\": true}");
    const int whole = send_only("{" LONG_ANSWER "}");
    wait_for("num_requests_running", 2);
    tern_server_stop(s.server);
    response r;
    do {
        r = client_get(&s, "/health");
        const int http = r.http;
        free(r.all);
        if (http == 503) break;
        client_sleep_ms(1);
    } while (1);
    r = client_post(&s, COMPLETIONS, "{\"prompt\": \"The\"}");
    assert_int_equal(r.http, 503);
    free(r.all);
    r = client_read(streaming);
    assert_non_null(strstr(r.body, "data: [DONE]"));
    free(r.all);
    r = client_read(whole);
    assert_int_equal(r.http, 200);
    assert_non_null(strstr(r.body, "\"completion_tokens\":500"));
    free(r.all);
    server_join(&s);
    assert_int_equal(s.status, TERN_OK);
}

static void test_end_now(void **state)
{
    (void)state;
    const tern_server_options o = server_defaults();
    open_with(&o, 1);
    const int streaming = send_only("{" LONG_ANSWER ", \"stream\": true}");
    wait_for("num_requests_running", 1);
    const int queued = send_only("{" LONG_ANSWER "}");
    wait_for("num_requests_waiting", 1);
    tern_server_stop(s.server);
    tern_server_stop(s.server);
    response r = client_read(streaming);
    assert_non_null(strstr(r.body, "service_unavailable_error"));
    free(r.all);
    r = client_read(queued);
    assert_int_equal(r.http, 503);
    free(r.all);
    server_join(&s);
    assert_int_equal(s.status, TERN_OK);
}

/* Damaged bodies: an answer in JSON, and the server lives on. */
static void test_damaged_bodies(void **state)
{
    (void)state;
    static const char *const seeds[] = {
        "{\"prompt\": [[1, 2, 3], [4, 5]], \"max_tokens\": 2, \"logprobs\": 3, \"echo\": true, "
        "\"n\": 2}",
        "{\"prompt\": \"caf\\u00e9\", \"stop\": [\"a\", \"b\"], \"logit_bias\": {\"5\": -3.5}, "
        "\"max_tokens\": 1, \"temperature\": 1e-3, \"stream\": true}",
        "{\"prompt\": [\"a\", \"b\"], \"max_tokens\": 1, \"seed\": -1, \"top_k\": 5, \"min_p\": "
        "0.1}",
    };
    static const char alphabet[] = "{}[]\",:0123456789.eE+-truefalsn\\u \x80\xff\x01";
    const tern_server_options o = server_defaults();
    open_with(&o, 4);
    for (uint32_t i = 0; i < 300; i++) {
        char body[256];
        snprintf(body, sizeof body, "%s", seeds[i % 3]);
        const size_t n = strlen(body);
        for (uint32_t j = 0; j <= i % 4; j++)
            body[tern_random_u64(71, i, 2 * j) % n] =
                alphabet[tern_random_u64(71, i, 2 * j + 1) % (sizeof alphabet - 1)];
        response r = client_post(&s, COMPLETIONS, body);
        if (r.http != 200 && r.http != 400 && r.http != 404) fail_msg("%s: %d", body, r.http);
        if (r.http != 200) {
            json_t *root = json_loads(r.body, 0, NULL);
            assert_true(json_is_object(json_object_get(root, "error")));
            json_decref(root);
        }
        free(r.all);
    }
    assert_answers();
    server_close(&s);
}

static void test_bad_addresses(void **state)
{
    (void)state;
    const tern_server_options good = server_defaults();
    open_with(&good, 1);
    tern_server_options o = good;
    tern_server *server = NULL;
    tern_error err = {0};
    o.host = "example.com";
    assert_int_equal(tern_server_create(&server, s.engine, &o, &err), TERN_E_USAGE);
    assert_non_null(strstr(err.text, "example.com"));
    o.host = NULL;
    o.port = tern_server_port(s.server);
    assert_int_equal(tern_server_create(&server, s.engine, &o, &err), TERN_E_IO);
    assert_non_null(strstr(err.text, "cannot listen"));
    assert_null(server);
    server_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full_queue),     cmocka_unit_test(test_token_limit),
        cmocka_unit_test(test_hang_up),        cmocka_unit_test(test_slow_reader),
        cmocka_unit_test(test_large_answer),   cmocka_unit_test(test_failed_text),
        cmocka_unit_test(test_bodies),         cmocka_unit_test(test_keys),
        cmocka_unit_test(test_timeouts),       cmocka_unit_test(test_queue_timeout),
        cmocka_unit_test(test_drain),          cmocka_unit_test(test_end_now),
        cmocka_unit_test(test_damaged_bodies), cmocka_unit_test(test_bad_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
