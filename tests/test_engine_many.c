/* test_engine_many.c - more requests at once than a HEAD with all logits takes: each gets the
 * answer that it gets alone, sampled from all logits, from candidates, or mixed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "device/backend.h"
#include "session.h"

enum { N = TERN_HEAD_MAX_ROWS + 3, ANSWER = 4, N_PROMPT = 8, MIXED = 2 };

typedef int32_t answers[N][ANSWER];

/* How request i is sampled: all logits, candidates, or one of them by turns. */
static tern_request request_of(int i, int mode)
{
    static const int32_t prompt[N_PROMPT] = {1, 5, 9, 13, 17, 21, 33, 47};
    const int top = mode == 1 || (mode == MIXED && i % 2);
    return (tern_request){.prompt = prompt + i % 4, .n_prompt = 2 + i % (N_PROMPT - 4),
                          .max_tokens = ANSWER, .ignore_end = 1,
                          .user = (void *)(intptr_t)i,
                          .sampling = {.temperature = 1.5f, .top_k = top ? 20 : 0,
                                       .seed = (uint64_t)i}};
}

/* The answers of all requests, n_seq at a time; *most is how many ran at once. */
static void answer_all(answers out, int *most, const char *device, int n_seq, int mode)
{
    session s;
    const tern_workload w = {.n_ctx = 32, .n_seq = n_seq, .n_tok = 512};
    assert_int_equal(session_open(&s, GOLDEN_MODEL, device, &w, 2), TERN_OK);
    tern_engine_event *events = calloc((size_t)tern_engine_max_events(s.engine), sizeof *events);
    assert_non_null(events);
    int left = N, next = 0, n, got[N] = {0};
    *most = 0;
    while (left > 0) {
        for (uint64_t id; next < N; next++) { /* as many as the queue takes */
            const tern_request r = request_of(next, mode);
            if (tern_engine_submit(s.engine, &id, &r, NULL) != TERN_OK) break;
        }
        assert_int_equal(tern_engine_step(s.engine, events, &n, NULL), TERN_OK);
        *most = n > *most ? n : *most;
        for (int j = 0; j < n; j++) {
            const intptr_t i = (intptr_t)events[j].user;
            assert_true(got[i] < ANSWER);
            out[i][got[i]++] = events[j].token;
            left -= events[j].finish != TERN_FINISH_NONE;
        }
    }
    free(events);
    session_close(&s);
}

static void compare(const char *device, int mode)
{
    static answers alone, together;
    int most;
    answer_all(alone, &most, "cpu", 1, mode);
    assert_int_equal(most, 1);
    answer_all(together, &most, device, N, mode);
    assert_int_equal(most, N);
    assert_memory_equal(alone, together, sizeof alone);
}

static void test_cpu(void **state)
{
    (void)state;
    for (int mode = 0; mode <= MIXED; mode++) compare("cpu", mode);
}

static void test_emulated(void **state)
{
    (void)state;
    if (!tern_backend_find("emu:0", NULL)) skip();
    compare("emu:0", MIXED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cpu), cmocka_unit_test(test_emulated)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
