/* test_alloc.c - memory that runs out: a step allocates nothing, and an allocation that fails
 * anywhere in the life of an engine gives one clean error. (failing_alloc.h) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "failing_alloc.h"
#include "tern/chat.h"
#include "tern/engine.h"

#define TINY_MODEL TERN_SOURCE_DIR "/tests/golden/bitnet-tiny.gguf"

/* What a test opens, closed in any state. */
typedef struct world {
    tern_model *model;
    tern_engine *engine;
    const char *devices;
    int n_threads;
} world;

static void close_world(world *w)
{
    tern_engine_destroy(w->engine);
    tern_model_close(w->model);
    w->engine = NULL;
    w->model = NULL;
}

static int open_world(world *w, tern_error *err)
{
    const tern_workload workload = {.n_ctx = 96, .n_seq = 3, .n_tok = 16};
    const tern_engine_options options = {.device = {.n_threads = w->n_threads}, .n_queue = 4};
    tern_plan plan;
    tern_memory memory;
    int status = tern_model_open(&w->model, TINY_MODEL, err);
    if (status != TERN_OK) return status;
    const tern_model_config *config = tern_model_config_of(w->model);
    status = tern_plan_layers(&plan, config, w->devices, &workload, err);
    if (status == TERN_OK) status = tern_plan_memory(&memory, &plan, config, 0, err);
    if (status == TERN_OK)
        status = tern_engine_create(&w->engine, w->model, &plan, &options, err);
    return status;
}

/* A request with everything that needs memory of its own. */
static int submit(world *w, int n_prompt, int max_tokens, tern_error *err)
{
    static const int32_t prompt[40] = {5, 6, 7, 8, 9}, bias_ids[] = {3, 300};
    static const float bias[] = {-1.0f, 2.0f};
    const tern_request request = {
        .prompt = prompt, .n_prompt = n_prompt, .max_tokens = max_tokens, .ignore_end = 1,
        .sampling = {.temperature = 0.8f, .top_k = 50, .top_p = 0.9f, .min_p = 0.01f,
                     .repetition = 1.2f, .presence = 0.1f, .frequency = 0.1f, .seed = 4,
                     .n_bias = 2, .bias_ids = bias_ids, .bias = bias},
    };
    uint64_t id;
    return tern_engine_submit(w->engine, &id, &request, err);
}

/* Prompts in several chunks, decodes beside prompts, a full queue, a cancellation, the end. */
static void check_steps(const char *devices, int n_threads)
{
    world w = {.devices = devices, .n_threads = n_threads};
    tern_engine_event events[64];
    assert_int_equal(open_world(&w, NULL), TERN_OK);
    assert_true(tern_engine_max_events(w.engine) <= 64);
    for (int i = 0; i < 4; i++) assert_int_equal(submit(&w, 40 - 7 * i, 5 + 9 * i, NULL), TERN_OK);
    count_from_here(0);
    int n_events = 1, n_tokens = 0, n_steps = 0;
    while (n_events > 0 || n_steps < 12) {
        assert_int_equal(tern_engine_step(w.engine, events, &n_events, NULL), TERN_OK);
        for (int i = 0; i < n_events; i++) n_tokens += events[i].token >= 0;
        if (++n_steps == 3) tern_engine_cancel(w.engine, 4);
        assert_true(n_steps < 200);
    }
    assert_int_equal(atomic_load(&n_allocations), 0);
    assert_in_range(n_tokens, 5 + 14 + 23, 5 + 14 + 23 + 32);

    float *logits = malloc(20 * 384 * sizeof *logits);
    double logprobs[19];
    static const int32_t ids[20] = {1, 2, 3};
    assert_non_null(logits);
    count_from_here(0);
    assert_int_equal(tern_engine_logits(w.engine, logits, ids, 20, 7, NULL), TERN_OK);
    assert_int_equal(tern_engine_score(w.engine, logprobs, ids, 20, NULL), TERN_OK);
    assert_int_equal(atomic_load(&n_allocations), 0);
    free(logits);
    close_world(&w);
}

static void test_steps_allocate_nothing(void **state)
{
    (void)state;
    check_steps("cpu", 1);
    check_steps("cpu", 3);
    check_steps("cpu:0,cpu:1", 2);
}

/* The wrappers see what they should, or the test above would mean nothing. */
static void test_wrappers_count(void **state)
{
    (void)state;
    world w = {.devices = "cpu", .n_threads = 1};
    count_from_here(0);
    assert_int_equal(open_world(&w, NULL), TERN_OK);
    assert_true(atomic_load(&n_allocations) > 30);
    count_from_here(0);
    assert_int_equal(submit(&w, 5, 1, NULL), TERN_OK);
    assert_true(atomic_load(&n_allocations) >= 5);
    close_world(&w);
}

/* Opening, planning, creating, submitting and one step, with allocation n failing. */
static int live(world *w, tern_error *err)
{
    tern_engine_event events[64];
    int n_events;
    int status = open_world(w, err);
    if (status == TERN_OK) status = submit(w, 5, 2, err);
    if (status == TERN_OK) status = tern_engine_step(w->engine, events, &n_events, err);
    return status;
}

static void check_every_failure(const char *devices)
{
    for (int n = 1;; n++) {
        world w = {.devices = devices, .n_threads = 1};
        tern_error err = {0};
        assert_true(n < 5000);
        count_from_here(n);
        const int status = live(&w, &err);
        const int reached = atomic_load(&n_allocations) >= n;
        count_from_here(0);
        if (!reached) {
            assert_int_equal(status, TERN_OK);
            assert_true(n > 40);
            close_world(&w);
            return;
        }
        if (status != TERN_E_FIT || err.status != TERN_E_FIT || !strstr(err.text, "memory"))
            fail_msg("allocation %d failed: status %d: %s", n, status, err.text);
        if (w.engine) { /* submitting failed: nothing of it stays, and the engine goes on */
            tern_engine_stats stats;
            tern_engine_stats_get(w.engine, &stats);
            assert_int_equal(stats.n_waiting + stats.n_running, 0);
            assert_int_equal(submit(&w, 5, 2, &err), TERN_OK);
        }
        close_world(&w);
    }
}

static void test_every_failure(void **state)
{
    (void)state;
    check_every_failure("cpu");
}

static void test_every_failure_on_two_devices(void **state)
{
    (void)state;
    check_every_failure("cpu:0,cpu:1");
}

/* A buffer of two sides and their copies, with allocation n failing. The self-test leaves values
 * on the stack, so that nobody finds zeros there by luck. */
static void test_checking_device_fails_cleanly(void **state)
{
    (void)state;
    tern_device *device;
    tern_buffer *buffer;
    int status = TERN_E_FIT, n = 0;
    assert_int_equal(tern_device_open(&device, "check:cpu", NULL, NULL), TERN_OK);
    while (status != TERN_OK) {
        assert_int_equal(tern_device_self_test(device, NULL), TERN_OK);
        count_from_here(++n);
        status = tern_buffer_create(&buffer, device, 4096, NULL);
        count_from_here(0);
        assert_true(status == TERN_OK || status == TERN_E_FIT);
        assert_int_equal(tern_device_used_bytes(device), status == TERN_OK ? 4096 : 0);
    }
    assert_true(n > 5);
    tern_buffer_destroy(buffer);
    tern_device_close(device);
}

/* A conversation to ids, with allocation n failing. */
static void test_prompts_fail_cleanly(void **state)
{
    (void)state;
    const tern_chat_message messages[] = {{"user", "a <|eot_id|> b", 14}, {"assistant", "c", 1}};
    world w = {.devices = "cpu", .n_threads = 1};
    int status = TERN_E_FIT, n = 0;
    assert_int_equal(open_world(&w, NULL), TERN_OK);
    while (status != TERN_OK) {
        int32_t *ids = NULL;
        size_t n_ids = 0;
        tern_error err = {0};
        count_from_here(++n);
        status = tern_chat_encode(&ids, &n_ids, tern_model_tokenizer(w.model), TERN_CHAT_BITNET,
                                  messages, 2, &err);
        count_from_here(0);
        if (status != TERN_OK && (status != TERN_E_FIT || !strstr(err.text, "memory") || ids))
            fail_msg("allocation %d failed: status %d: %s", n, status, err.text);
        free(ids);
    }
    assert_true(n > 3);
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wrappers_count), cmocka_unit_test(test_steps_allocate_nothing),
        cmocka_unit_test(test_every_failure), cmocka_unit_test(test_every_failure_on_two_devices),
        cmocka_unit_test(test_checking_device_fails_cleanly),
        cmocka_unit_test(test_prompts_fail_cleanly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
