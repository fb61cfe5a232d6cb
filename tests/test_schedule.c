/* test_schedule.c - who runs and what events say: priorities, preemption by rank, fair shares of
 * the budget, shared prompts, shortest answers, masks, log-probabilities equal to those of an
 * evaluation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "session.h"

#define N_CTX 256

static session s;
static tern_engine_event *events;
static int32_t prompt[N_CTX];

static int open_session(void **state)
{
    (void)state;
    const tern_workload w = {.n_ctx = N_CTX, .n_seq = 2, .n_tok = 32};
    for (int i = 0; i < N_CTX; i++) prompt[i] = (i * 37 + 11) % 380;
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

static tern_engine_stats stats(void)
{
    tern_engine_stats out;
    tern_engine_stats_get(s.engine, &out);
    return out;
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

/* Steps until all is done; writes ids in the order of their ends. */
static int finish_all(uint64_t *ids)
{
    int n_ended = 0;
    while (stats().n_running + stats().n_waiting > 0) {
        const int n = step();
        for (int i = 0; i < n; i++)
            if (events[i].finish != TERN_FINISH_NONE) ids[n_ended++] = events[i].request;
    }
    assert_int_equal(stats().n_pages_free, stats().n_pages);
    return n_ended;
}

static void test_urgent_first(void **state)
{
    (void)state;
    tern_request r = {.prompt = prompt, .n_prompt = 5, .max_tokens = 6, .ignore_end = 1};
    uint64_t ids[4], ended[4];
    for (int i = 0; i < 4; i++) {
        r.priority = i == 3 ? -5 : 0;
        ids[i] = submit(&r);
        if (i == 1) step(); /* both places are taken before the urgent one comes */
    }
    const uint64_t before = stats().n_preempted;
    assert_int_equal(finish_all(ended), 4);
    assert_int_equal(stats().n_preempted, before + 1);
    const uint64_t expected[4] = {ids[0], ids[3], ids[1], ids[2]};
    assert_memory_equal(ended, expected, sizeof expected);
}

/* A short prompt behind a long one gets its first token long before that one has been read. */
static void test_fair_shares(void **state)
{
    (void)state;
    const tern_request slow = {.prompt = prompt, .n_prompt = 250, .max_tokens = 1};
    const tern_request quick = {.prompt = prompt + 3, .n_prompt = 30, .max_tokens = 1};
    uint64_t ended[2];
    submit(&slow);
    const uint64_t id = submit(&quick), begin = stats().n_steps;
    while (step() == 0) continue;
    assert_int_equal(events[0].request, id);
    assert_true(stats().n_steps - begin <= 3);
    finish_all(ended);
}

static void test_shared_prompt(void **state)
{
    (void)state;
    tern_request r = {.prompt = prompt + 1, .n_prompt = 200, .max_tokens = 2, .ignore_end = 1};
    uint64_t ended[2];
    const tern_engine_stats before = stats();
    submit(&r);
    submit(&r);
    finish_all(ended);
    assert_int_equal(stats().prefix_query_tok - before.prefix_query_tok, 400);
    assert_int_equal(stats().prefix_hit_tok - before.prefix_hit_tok, 192);
}

static void test_min_tokens(void **state)
{
    (void)state;
    const int32_t eos = tern_tokenizer_eos(tern_model_tokenizer(s.model));
    const float bias = 1e6f;
    const tern_request r = {.prompt = prompt, .n_prompt = 8, .max_tokens = 9, .min_tokens = 4,
                            .sampling = {.n_bias = 1, .bias_ids = &eos, .bias = &bias}};
    submit(&r);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(step(), 1);
        assert_int_not_equal(events[0].token, eos);
        assert_int_equal(events[0].finish, TERN_FINISH_NONE);
    }
    assert_int_equal(step(), 1);
    assert_int_equal(events[0].finish, TERN_FINISH_STOP);
}

static void allow_three(void *user, uint32_t *mask)
{
    int *left = user;
    if ((*left)-- > 0) mask[101 / 32] |= 1u << (101 % 32);
}

static void test_allow(void **state)
{
    (void)state;
    int left = 3;
    const tern_request r = {.prompt = prompt, .n_prompt = 8, .max_tokens = 9, .ignore_end = 1,
                            .allow = allow_three, .user = &left};
    submit(&r);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(step(), 1);
        assert_int_equal(events[0].token, 101);
    }
    assert_int_equal(step(), 1);
    assert_int_equal(events[0].token, -1);
    assert_int_equal(events[0].finish, TERN_FINISH_STOP);
}

static void check_top(const tern_engine_event *event, int n_top)
{
    assert_int_equal(event->n_top, n_top);
    for (int i = 1; i < n_top; i++) assert_true(event->top[i - 1].logprob >= event->top[i].logprob);
    for (int i = 0; i < n_top; i++)
        if (event->top[i].id == event->token)
            assert_memory_equal(&event->top[i].logprob, &event->logprob, sizeof(double));
    assert_true(event->top[0].logprob >= event->logprob);
}

/* The greedy answer to a prompt, and log-probabilities of both to the bit of an evaluation. */
static void test_logprobs(void **state)
{
    (void)state;
    enum { N_PROMPT = 100, N_ANSWER = 5 };
    const tern_request r = {.prompt = prompt, .n_prompt = N_PROMPT, .max_tokens = N_ANSWER,
                            .ignore_end = 1, .logprobs = 1, .prompt_logprobs = 1, .n_top = 3};
    int32_t ids[N_PROMPT + N_ANSWER] = {prompt[0]};
    double said[N_PROMPT + N_ANSWER - 1], expected[N_PROMPT + N_ANSWER - 1];
    int at = 1;
    submit(&r);
    while (stats().n_running + stats().n_waiting > 0) {
        const int n = step();
        for (int i = 0; i < n; i++, at++) {
            assert_int_equal(events[i].position, at);
            assert_true(at >= N_PROMPT || events[i].token == prompt[at]);
            assert_true(at < N_PROMPT || events[i].top[0].id == events[i].token);
            check_top(&events[i], 3);
            ids[at] = events[i].token;
            said[at - 1] = events[i].logprob;
        }
    }
    assert_int_equal(at, N_PROMPT + N_ANSWER);
    assert_int_equal(tern_engine_score(s.engine, expected, ids, at, NULL), TERN_OK);
    assert_memory_equal(said, expected, sizeof expected);
}

static void test_refusals(void **state)
{
    (void)state;
    tern_request r = {.prompt = prompt, .n_prompt = 8, .n_top = TERN_MAX_TOP_LOGPROBS + 1};
    uint64_t id;
    tern_error err = {0};
    assert_int_equal(tern_engine_submit(s.engine, &id, &r, &err), TERN_E_USAGE);
    assert_non_null(strstr(err.text, "21"));
    r = (tern_request){.prompt = prompt, .n_prompt = 8, .min_tokens = -2};
    assert_int_equal(tern_engine_submit(s.engine, &id, &r, &err), TERN_E_USAGE);
    assert_non_null(strstr(err.text, "-2"));
    tern_plan plan = *tern_engine_plan(s.engine);
    tern_engine *engine;
    plan.n_pages = 3;
    assert_int_equal(tern_engine_create(&engine, s.model, &plan, NULL, &err), TERN_E_USAGE);
    assert_non_null(strstr(err.text, "3 KV pages"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_urgent_first), cmocka_unit_test(test_fair_shares),
        cmocka_unit_test(test_shared_prompt), cmocka_unit_test(test_min_tokens),
        cmocka_unit_test(test_allow),        cmocka_unit_test(test_logprobs),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, open_session, close_session);
}
