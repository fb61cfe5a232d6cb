/* test_engine.c - requests: refusals, order, cancelling, the ends an answer can have, pages given
 * back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "session.h"

#define N_CTX 128

static session s;
static tern_engine_event *events;
static const int32_t prompt[N_CTX] = {1, 5, 9, 13, 17, 21, 33, 47};

static int open_session(void **state)
{
    (void)state;
    const tern_workload w = {.n_ctx = N_CTX, .n_seq = 2, .n_tok = 32};
    if (session_open(&s, GOLDEN_MODEL, "cpu", &w, 1) != TERN_OK) return 1;
    events = calloc((size_t)tern_engine_max_events(s.engine), sizeof *events);
    return events == NULL;
}

static int close_session(void **state)
{
    (void)state;
    free(events);
    session_close(&s);
    return 0;
}

static tern_request request_of(int n_prompt, int max_tokens)
{
    return (tern_request){
        .prompt = prompt, .n_prompt = n_prompt, .max_tokens = max_tokens, .ignore_end = 1};
}

static uint64_t submit(const tern_request *request)
{
    uint64_t id = 0;
    tern_error err = {0};
    assert_int_equal(tern_engine_submit(s.engine, &id, request, &err), TERN_OK);
    return id;
}

static int step(void)
{
    int n;
    tern_error err = {0};
    assert_int_equal(tern_engine_step(s.engine, events, &n, &err), TERN_OK);
    return n;
}

static tern_engine_stats stats(void)
{
    tern_engine_stats out;
    tern_engine_stats_get(s.engine, &out);
    return out;
}

static void assert_all_free(void)
{
    const tern_engine_stats now = stats();
    assert_int_equal(now.n_running, 0);
    assert_int_equal(now.n_waiting, 0);
    assert_int_equal(now.n_pages_free, now.n_pages);
}

static void refuse(const tern_request *request, int status, const char *part)
{
    uint64_t id = 77;
    tern_error err = {0};
    assert_int_equal(tern_engine_submit(s.engine, &id, request, &err), status);
    assert_int_equal(err.status, status);
    assert_non_null(strstr(err.text, part));
    assert_int_equal(id, 77);
    assert_all_free();
}

static void test_refusals(void **state)
{
    (void)state;
    tern_request r = request_of(0, 1);
    refuse(&r, TERN_E_USAGE, "empty");
    r = request_of(N_CTX, 1);
    refuse(&r, TERN_E_USAGE, "128 tokens and the context 128");
    r = request_of(3, -1);
    refuse(&r, TERN_E_USAGE, "-1");
    const int32_t outside[2] = {4, 100000};
    r = request_of(2, 1);
    r.prompt = outside;
    refuse(&r, TERN_E_USAGE, "100000");
    r = request_of(3, 1);
    r.sampling.temperature = -0.5f;
    refuse(&r, TERN_E_USAGE, "temperature is -0.5");
    r.sampling.temperature = 1e-9f;
    refuse(&r, TERN_E_USAGE, "temperature");
    r.sampling = (tern_sampling){.top_p = 1.5f};
    refuse(&r, TERN_E_USAGE, "top-p is 1.5");
    r.sampling = (tern_sampling){.top_k = -3};
    refuse(&r, TERN_E_USAGE, "top-k is -3");
    r.sampling = (tern_sampling){.n_bias = -1};
    refuse(&r, TERN_E_USAGE, "-1");
    const int32_t bias_ids[2] = {7, 7};
    const float bias[2] = {1.0f, 2.0f};
    r.sampling = (tern_sampling){.n_bias = 2, .bias_ids = bias_ids, .bias = bias};
    refuse(&r, TERN_E_USAGE, "bias 1");
}

static void test_length_and_order(void **state)
{
    (void)state;
    tern_request r = request_of(8, 3);
    uint64_t ids[4];
    for (int i = 0; i < 4; i++) ids[i] = submit(&r);
    assert_int_equal(stats().n_waiting, 4);
    uint64_t finished[4];
    int n_finished = 0, n_tokens = 0;
    while (stats().n_running + stats().n_waiting > 0) {
        const int n = step();
        assert_true(stats().n_running <= 2);
        for (int i = 0; i < n; i++) {
            n_tokens += events[i].token >= 0;
            if (events[i].finish == TERN_FINISH_NONE) continue;
            assert_int_equal(events[i].finish, TERN_FINISH_LENGTH);
            finished[n_finished++] = events[i].request;
        }
    }
    assert_int_equal(n_finished, 4);
    assert_int_equal(n_tokens, 12);
    assert_memory_equal(finished, ids, sizeof ids); /* in the order of arrival */
    assert_int_equal(step(), 0);
    assert_all_free();
}

static void test_context_end(void **state)
{
    (void)state;
    const tern_request r = request_of(100, 0);
    submit(&r);
    int n_tokens = 0;
    tern_finish finish = TERN_FINISH_NONE;
    while (finish == TERN_FINISH_NONE) {
        const int n = step();
        for (int i = 0; i < n; i++) {
            n_tokens += events[i].token >= 0;
            finish = events[i].finish;
        }
    }
    assert_int_equal(finish, TERN_FINISH_CONTEXT);
    assert_int_equal(n_tokens, N_CTX - 100);
    assert_all_free();
}

/* A bias makes the end token the likeliest: it ends the answer and is not delivered. */
static void test_stop(void **state)
{
    (void)state;
    const int32_t eos = tern_tokenizer_eos(tern_model_tokenizer(s.model));
    assert_true(eos >= 0);
    const float bias = 1e6f;
    tern_request r = request_of(8, 5);
    r.sampling = (tern_sampling){.n_bias = 1, .bias_ids = &eos, .bias = &bias};
    r.ignore_end = 0;
    submit(&r);
    assert_int_equal(step(), 1);
    assert_int_equal(events[0].finish, TERN_FINISH_STOP);
    assert_int_equal(events[0].token, -1);
    r.ignore_end = 1;
    submit(&r);
    assert_int_equal(step(), 1);
    assert_int_equal(events[0].finish, TERN_FINISH_NONE);
    assert_int_equal(events[0].token, eos);
    while (stats().n_running > 0) step();
    assert_all_free();
}

static void test_cancel(void **state)
{
    (void)state;
    const tern_request r = request_of(8, 50);
    uint64_t ids[3];
    for (int i = 0; i < 3; i++) ids[i] = submit(&r);
    step();
    assert_int_equal(stats().n_running, 2);
    tern_engine_cancel(s.engine, ids[0]); /* running */
    tern_engine_cancel(s.engine, ids[2]); /* waiting */
    tern_engine_cancel(s.engine, 999999); /* unknown */
    const int n = step();
    int cancelled = 0;
    for (int i = 0; i < n; i++)
        if (events[i].finish == TERN_FINISH_CANCELLED) {
            assert_true(events[i].request == ids[0] || events[i].request == ids[2]);
            assert_int_equal(events[i].token, -1);
            cancelled++;
        }
    assert_int_equal(cancelled, 2);
    assert_int_equal(stats().n_running, 1);
    tern_engine_cancel(s.engine, ids[1]);
    assert_int_equal(step(), 1);
    assert_all_free();
}

static void test_full_queue(void **state)
{
    (void)state;
    const tern_request r = request_of(4, 2);
    uint64_t id;
    tern_error err = {0};
    int n = 0;
    while (tern_engine_submit(s.engine, &id, &r, &err) == TERN_OK) n++;
    assert_int_equal(n, 64);
    assert_int_equal(err.status, TERN_E_FIT);
    assert_non_null(strstr(err.text, "queue is full"));
    while (stats().n_running + stats().n_waiting > 0) step();
    assert_all_free();
}

/* Evaluating wants an idle engine, and leaves no trace in the requests after it. */
static void test_evaluate_between(void **state)
{
    (void)state;
    const tern_request r = request_of(8, 2);
    double logprobs[7];
    tern_error err = {0};
    submit(&r);
    assert_int_equal(tern_engine_score(s.engine, logprobs, prompt, 8, &err), TERN_E_USAGE);
    int32_t first[2];
    for (int i = 0; i < 2; i++) {
        assert_int_equal(step(), 1);
        first[i] = events[0].token;
    }
    assert_int_equal(tern_engine_score(s.engine, logprobs, prompt, 8, &err), TERN_OK);
    for (int i = 0; i < 7; i++) assert_true(logprobs[i] < 0.0);
    submit(&r);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(step(), 1);
        assert_int_equal(events[0].token, first[i]);
    }
    assert_int_equal(tern_engine_score(s.engine, logprobs, prompt, N_CTX + 1, &err), TERN_E_USAGE);
    assert_all_free();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals),    cmocka_unit_test(test_length_and_order),
        cmocka_unit_test(test_context_end), cmocka_unit_test(test_stop),
        cmocka_unit_test(test_cancel),      cmocka_unit_test(test_full_queue),
        cmocka_unit_test(test_evaluate_between),
    };
    return cmocka_run_group_tests(tests, open_session, close_session);
}
