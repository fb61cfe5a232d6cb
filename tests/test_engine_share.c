/* test_engine_share.c - the engine's own work: what a step takes beyond waiting for devices, at the
 * largest batch, beside what a step of a model of 2 layers takes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "session.h"

#define BATCH 64
#define ANSWER 26
#define MOST 0.02 /* of a step */

/* Nanoseconds of a decoding step and the engine's share of them. */
static double measure(session *s, double *own_ns)
{
    static const int32_t prompt[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    tern_engine_event *events =
        calloc((size_t)tern_engine_max_events(s->engine), sizeof *events);
    tern_engine_stats before, after;
    int n;
    uint64_t id;
    assert_non_null(events);
    for (uint64_t i = 0; i < BATCH; i++) {
        const tern_request r = {.prompt = prompt, .n_prompt = 1 + (int)(i % 8),
                                .max_tokens = ANSWER, .ignore_end = 1, .priority = (int)i % 3,
                                .sampling = {.temperature = 1.0f, .top_k = 40, .seed = i}};
        assert_int_equal(tern_engine_submit(s->engine, &id, &r, NULL), TERN_OK);
    }
    for (int i = 0; i < 5; i++)
        assert_int_equal(tern_engine_step(s->engine, events, &n, NULL), TERN_OK);
    tern_engine_stats_get(s->engine, &before);
    assert_int_equal(before.n_running, BATCH);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(tern_engine_step(s->engine, events, &n, NULL), TERN_OK);
        assert_int_equal(n, BATCH);
    }
    tern_engine_stats_get(s->engine, &after);
    for (tern_engine_stats rest = after; rest.n_running > 0;) {
        assert_int_equal(tern_engine_step(s->engine, events, &n, NULL), TERN_OK);
        tern_engine_stats_get(s->engine, &rest);
    }
    free(events);
    const double steps = (double)(after.n_steps - before.n_steps);
    const double all = (double)(after.decode_ns - before.decode_ns) / steps;
    *own_ns = all - (double)(after.device_ns - before.device_ns) / steps;
    return all;
}

/* The best of a few: a busy machine makes any of them slow. */
static void test_share(void **state)
{
    (void)state;
    session s;
    const tern_workload w = {.n_ctx = 256, .n_seq = BATCH};
    double step_ns = 0, own_ns = 1e18;
    assert_int_equal(session_open(&s, GOLDEN_MODEL, "cpu", &w, 1), TERN_OK);
    for (int i = 0; i < 3; i++) {
        double own;
        const double all = measure(&s, &own);
        if (own >= own_ns) continue;
        own_ns = own;
        step_ns = all;
    }
    session_close(&s);
    print_message("step %.1f us, the engine's own %.1f us: %.2f %%\n", step_ns / 1e3, own_ns / 1e3,
                  100.0 * own_ns / step_ns);
    assert_true(own_ns < MOST * step_ns);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_share)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
