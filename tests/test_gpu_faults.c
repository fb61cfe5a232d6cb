/* test_gpu_faults.c - bad situations of a GPU, on emulated devices: no driver, no device, no
 * memory, a launch that fails, a device that is lost. Each is one sentence and the right status,
 * nothing moves silently, and the CPU still works. Also: a step takes no device memory, and decode
 * steps are graphs, or the same without. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cuda/emu/emu_control.h"
#include "session.h"

#define MAX_FAILURES 400

static int calm(void **state)
{
    (void)state;
    tern_emu_set_fault(TERN_EMU_NO_FAULT, 0);
    tern_emu_set_memory(0, (size_t)4 << 30);
    return 0;
}

static void refused(tern_emu_fault fault, const char *words)
{
    tern_emu_set_fault(fault, 0);
    tern_device *device = NULL;
    tern_error err = {0};
    assert_int_equal(tern_device_open(&device, "emu:0", NULL, &err), TERN_E_DEVICE);
    assert_null(device);
    if (!strstr(err.text, words) || !strstr(err.text, "emu:0")) fail_msg("says: %s", err.text);
    assert_int_equal(tern_device_open(&device, "cpu", NULL, &err), TERN_OK);
    tern_device_close(device);
}

static void test_open(void **state)
{
    (void)state;
    tern_device_info list[8];
    const int all = tern_device_list(list, 8);
    refused(TERN_EMU_NO_DRIVER, "no NVIDIA driver");
    assert_int_equal(tern_device_list(list, 8), all - TERN_EMU_DEVICES);
    refused(TERN_EMU_OLD_DRIVER, "supports CUDA 11.4");
    refused(TERN_EMU_NO_DEVICE, "this machine has 0");
    refused(TERN_EMU_OTHER_DEVICE, "compute capability 6.1");
}

static int open_session(session *s, tern_error *err)
{
    const tern_workload w = {.n_seq = 1, .n_tok = 8};
    memset(s, 0, sizeof *s);
    tern_plan plan;
    int status = tern_model_open(&s->model, GOLDEN_MODEL, err);
    if (status == TERN_OK)
        status = tern_plan_layers(&plan, tern_model_config_of(s->model), "emu:0", &w, err);
    if (status == TERN_OK) status = tern_engine_create(&s->engine, s->model, &plan, NULL, err);
    return status;
}

/* Every allocation of opening, planning and loading fails once. */
static void test_memory_while_loading(void **state)
{
    (void)state;
    int n_failures = 0, status = TERN_E_FIT;
    while (status != TERN_OK && n_failures < MAX_FAILURES) {
        session s;
        tern_error err = {0};
        tern_emu_set_fault(TERN_EMU_ALLOC_FAILS, (unsigned)n_failures);
        status = open_session(&s, &err);
        session_close(&s);
        if (status == TERN_OK) break;
        n_failures++;
        assert_int_equal(status, TERN_E_FIT);
        if (!strstr(err.text, "emu:0 has no memory left")) fail_msg("says: %s", err.text);
    }
    assert_int_equal(status, TERN_OK);
    assert_true(n_failures > 5);
}

static void test_small_memory(void **state)
{
    (void)state;
    session s;
    tern_error err = {0};
    tern_emu_set_memory(0, 300000);
    assert_int_equal(open_session(&s, &err), TERN_E_FIT);
    assert_non_null(strstr(err.text, "emu:0"));
    session_close(&s);
}

static int score(session *s, tern_error *err)
{
    static const int32_t ids[] = {5, 80, 17, 3, 200, 41};
    double logprobs[5];
    return tern_engine_score(s->engine, logprobs, ids, 6, err);
}

/* With the next allocation doomed, steps succeed: they make none. */
static void test_no_memory_in_a_step(void **state)
{
    (void)state;
    session s;
    tern_error err = {0};
    assert_int_equal(open_session(&s, &err), TERN_OK);
    tern_emu_set_fault(TERN_EMU_ALLOC_FAILS, 0);
    if (score(&s, &err) != TERN_OK) fail_msg("says: %s", err.text);
    if (score(&s, &err) != TERN_OK) fail_msg("says: %s", err.text);
    session_close(&s);
    tern_device *device; /* the doom is still there */
    assert_int_equal(tern_device_open(&device, "emu:0", NULL, &err), TERN_E_FIT);
}

#define N_DECODED 5

/* Tokens that follow a prompt, the likeliest ones, a step each. */
static void decode(session *s, int32_t *tokens)
{
    static const int32_t prompt[] = {5, 80, 17};
    const tern_request request = {.prompt = prompt, .n_prompt = 3, .max_tokens = N_DECODED,
                                  .ignore_end = 1};
    tern_engine_event *events =
        calloc((size_t)tern_engine_max_events(s->engine), sizeof *events);
    assert_non_null(events);
    tern_error err = {0};
    uint64_t id;
    int n = 0, finished = 0;
    assert_int_equal(tern_engine_submit(s->engine, &id, &request, &err), TERN_OK);
    while (!finished) {
        int n_events = 0;
        const int status = tern_engine_step(s->engine, events, &n_events, &err);
        if (status != TERN_OK) fail_msg("says: %s", err.text);
        for (int i = 0; i < n_events; i++) {
            if (events[i].token >= 0) tokens[n++] = events[i].token;
            finished = events[i].finish != TERN_FINISH_NONE;
        }
    }
    assert_int_equal(n, N_DECODED);
    free(events);
}

/* Opens a session and decodes with a fault set; returns how many graphs were launched. */
static unsigned long graphs_launched(tern_emu_fault fault, const char *off, int32_t *tokens)
{
    session s;
    tern_error err = {0};
    if (off) setenv("TERN_CUDA_OFF", off, 1);
    assert_int_equal(open_session(&s, &err), TERN_OK);
    unsetenv("TERN_CUDA_OFF");
    tern_emu_set_fault(fault, 0);
    const unsigned long before = tern_emu_graph_launches();
    decode(&s, tokens);
    session_close(&s);
    return tern_emu_graph_launches() - before;
}

/* A token of the answer is a step of two programs, but for the first one, which ends the prompt.
 * The first of these steps launches plainly, the others are graphs; a program whose graph cannot be
 * made, or is not wanted, goes on plainly, and the tokens are the same. */
static void test_graphs(void **state)
{
    (void)state;
    int32_t tokens[N_DECODED], plain[N_DECODED];
    const unsigned long steps = N_DECODED - 2;
    assert_int_equal(graphs_launched(TERN_EMU_NO_FAULT, NULL, tokens), 2 * steps);
    static const struct {
        tern_emu_fault fault;
        const char *off;
        unsigned long programs; /* that have a graph all the same */
    } without[] = {{TERN_EMU_CAPTURE_FAILS, NULL, 1},
                   {TERN_EMU_ALLOC_FAILS, NULL, 1},
                   {TERN_EMU_NO_FAULT, "dependent", 2},
                   {TERN_EMU_NO_FAULT, "fusion", 2},
                   {TERN_EMU_NO_FAULT, "fusion,dependent", 2},
                   {TERN_EMU_NO_FAULT, "graphs", 0},
                   {TERN_EMU_NO_FAULT, "dependent,graphs", 0}};
    for (size_t i = 0; i < sizeof without / sizeof without[0]; i++) {
        assert_int_equal(graphs_launched(without[i].fault, without[i].off, plain),
                         without[i].programs * steps);
        assert_memory_equal(tokens, plain, sizeof tokens);
    }
}

static void test_unknown_switch(void **state)
{
    (void)state;
    tern_device *device = NULL;
    tern_error err = {0};
    setenv("TERN_CUDA_OFF", "graphs,speed", 1);
    assert_int_equal(tern_device_open(&device, "emu:0", NULL, &err), TERN_E_USAGE);
    unsetenv("TERN_CUDA_OFF");
    assert_non_null(strstr(err.text, "'graphs,speed'"));
}

static void fails_in_a_step(tern_emu_fault fault, unsigned after, const char *words)
{
    session s;
    tern_error err = {0};
    assert_int_equal(open_session(&s, &err), TERN_OK);
    tern_emu_set_fault(fault, after);
    assert_int_equal(score(&s, &err), TERN_E_DEVICE);
    if (!strstr(err.text, words) || !strstr(err.text, "emu:0")) fail_msg("says: %s", err.text);
    tern_error again = {0};
    assert_int_equal(score(&s, &again), TERN_E_DEVICE); /* nothing goes on as if it were fine */
    session_close(&s);
    tern_emu_set_fault(TERN_EMU_NO_FAULT, 0);
}

static void test_launches(void **state)
{
    (void)state;
    fails_in_a_step(TERN_EMU_LAUNCH_FAILS, 0, "EMBED");
    fails_in_a_step(TERN_EMU_LAUNCH_FAILS, 2, "LINEAR of layer 0");
    fails_in_a_step(TERN_EMU_DEVICE_LOST, 7, "the CPU still works");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_open, calm, calm),
        cmocka_unit_test_setup_teardown(test_memory_while_loading, calm, calm),
        cmocka_unit_test_setup_teardown(test_small_memory, calm, calm),
        cmocka_unit_test_setup_teardown(test_no_memory_in_a_step, calm, calm),
        cmocka_unit_test_setup_teardown(test_graphs, calm, calm),
        cmocka_unit_test_setup_teardown(test_unknown_switch, calm, calm),
        cmocka_unit_test_setup_teardown(test_launches, calm, calm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
