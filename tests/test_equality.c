/* test_equality.c - promise P1 on the whole stack: the logits and tokens of a request do not depend
 * on chunks, threads, devices, the place in a batch or its mates. All comparisons are by memcmp. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "session.h"

#define N_TOK 150 /* three pages, the last one partly filled */
#define MAX_VOCAB 512
#define N_REQUESTS 6
#define MAX_ANSWER 40

static int32_t ids[N_TOK];

static int fill_ids(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < N_TOK; i++) ids[i] = (int32_t)(tern_random_u64(3, 0, i) % 380);
    return 0;
}

static void logits_of(float *logits, const char *devices, int n_threads, int chunk,
                      const tern_workload *workload)
{
    session s;
    tern_error err;
    assert_int_equal(session_open(&s, GOLDEN_MODEL, devices, workload, n_threads), TERN_OK);
    assert_true(tern_model_config_of(s.model)->n_vocab <= MAX_VOCAB);
    assert_int_equal(tern_engine_logits(s.engine, logits, ids, N_TOK, chunk, &err), TERN_OK);
    session_close(&s);
}

/* The emulator of GPUs belongs to some builds only. */
static bool is_built(const char *devices)
{
    return !strstr(devices, "emu") || tern_backend_find("emu", NULL);
}

static void test_logits(void **state)
{
    (void)state;
    static float reference[N_TOK * MAX_VOCAB], other[N_TOK * MAX_VOCAB];
    static const struct {
        const char *devices;
        int n_threads, chunk, n_seq;
    } cases[] = {
        {"cpu:0", 1, 1, 1},       {"cpu:0", 1, 7, 1},  {"cpu:0", 1, 64, 1},
        {"cpu:0", 2, 0, 1},       {"cpu:0", 3, 63, 4}, {"cpu:1", 1, 65, 1},
        {"cpu:0,cpu:1", 2, 0, 1}, {"cpu:1,cpu:0,cpu:7", 1, 13, 2},
        {"emu:0", 0, 64, 1},      {"emu:1", 0, 90, 2}, {"cpu:0,emu:0", 1, 33, 1},
        {"check:cpu:2", 1, 50, 1},
    };
    for (int types = 0; types < 4; types++) {
        tern_workload w = {.n_seq = 1,
                           .kv_type = types & 1 ? TERN_KV_I8 : TERN_KV_F16,
                           .head_type = types & 2 ? TERN_HEAD_I8 : TERN_HEAD_I16};
        memset(reference, 0, sizeof reference);
        logits_of(reference, "cpu", 1, 0, &w);
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            if (!is_built(cases[i].devices)) continue;
            w.n_seq = cases[i].n_seq;
            memset(other, 0, sizeof other);
            logits_of(other, cases[i].devices, cases[i].n_threads, cases[i].chunk, &w);
            assert_memory_equal(other, reference, sizeof reference);
        }
    }
}

/* A request and what came of it. */
typedef struct answer {
    int n_prompt, n_tokens;
    int32_t prompt[N_TOK], tokens[MAX_ANSWER];
    tern_sampling sampling;
    tern_finish finish;
} answer;

static void make_requests(answer *list)
{
    memset(list, 0, N_REQUESTS * sizeof *list);
    for (uint32_t r = 0; r < N_REQUESTS; r++) {
        answer *a = &list[r];
        a->n_prompt = 1 + (int)(tern_random_u64(4, r, 0) % 120);
        for (int i = 0; i < a->n_prompt; i++)
            a->prompt[i] = (int32_t)(tern_random_u64(5, r, (uint32_t)i) % 380);
        a->sampling = (tern_sampling){.temperature = r % 3 ? 1.0f : 0.0f,
                                      .top_k = r % 2 ? 40 : 0,
                                      .top_p = 0.95f,
                                      .repetition = r % 4 == 1 ? 1.3f : 0.0f,
                                      .frequency = r % 4 == 2 ? 0.5f : 0.0f,
                                      .seed = 100 + r};
    }
}

static void submit(tern_engine *engine, answer *a)
{
    tern_error err = {0};
    uint64_t id;
    const tern_request request = {.prompt = a->prompt,
                                  .n_prompt = a->n_prompt,
                                  .max_tokens = 12 + a->n_prompt % 24,
                                  .ignore_end = 1,
                                  .sampling = a->sampling,
                                  .user = a};
    a->n_tokens = 0;
    a->finish = TERN_FINISH_NONE;
    assert_int_equal(tern_engine_submit(engine, &id, &request, &err), TERN_OK);
}

/* Steps until nothing is left; one request more is submitted after every `every` steps. */
static void drive(tern_engine *engine, answer *list, int n, int every)
{
    tern_engine_event *events = calloc((size_t)tern_engine_max_events(engine), sizeof *events);
    int submitted = 0;
    for (int step = 0;; step++) {
        if (submitted < n && step % every == 0) submit(engine, &list[submitted++]);
        int n_events;
        tern_error err = {0};
        assert_int_equal(tern_engine_step(engine, events, &n_events, &err), TERN_OK);
        for (int i = 0; i < n_events; i++) {
            answer *a = events[i].user;
            assert_true(a->n_tokens < MAX_ANSWER);
            if (events[i].token >= 0) a->tokens[a->n_tokens++] = events[i].token;
            a->finish = events[i].finish;
        }
        tern_engine_stats stats;
        tern_engine_stats_get(engine, &stats);
        if (submitted == n && stats.n_running + stats.n_waiting == 0) break;
    }
    free(events);
}

static void test_batch_mates(void **state)
{
    (void)state;
    static answer alone[N_REQUESTS], together[N_REQUESTS];
    make_requests(alone);
    make_requests(together);
    session s;
    const tern_workload one = {.n_seq = 1};
    assert_int_equal(session_open(&s, GOLDEN_MODEL, "cpu", &one, 1), TERN_OK);
    for (int r = 0; r < N_REQUESTS; r++) drive(s.engine, &alone[r], 1, 1);
    session_close(&s);
    static const struct {
        const char *devices;
        int n_seq, n_tok, every;
    } cases[] = {{"cpu", 4, 16, 1},
                 {"cpu", 6, 256, 3},
                 {"cpu:0,cpu:1", 3, 5, 2},
                 {"emu:0", 4, 40, 2}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (!is_built(cases[i].devices)) continue;
        const tern_workload w = {.n_seq = cases[i].n_seq, .n_tok = cases[i].n_tok};
        assert_int_equal(session_open(&s, GOLDEN_MODEL, cases[i].devices, &w, 2), TERN_OK);
        drive(s.engine, together, N_REQUESTS, cases[i].every);
        session_close(&s);
        for (int r = 0; r < N_REQUESTS; r++) {
            assert_int_equal(together[r].finish, TERN_FINISH_LENGTH);
            assert_int_equal(together[r].n_tokens, alone[r].n_tokens);
            assert_memory_equal(together[r].tokens, alone[r].tokens, sizeof alone[r].tokens);
        }
    }
    /* The comparison means something: seeds and prompts lead to different answers. */
    assert_memory_not_equal(alone[1].tokens, alone[4].tokens, 12 * sizeof(int32_t));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logits),
        cmocka_unit_test(test_batch_mates),
    };
    return cmocka_run_group_tests(tests, fill_ids, NULL);
}
