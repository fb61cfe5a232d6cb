/* test_serving_equality.c - promise P1 under load: two hundred requests with shared beginnings,
 * priorities, log-probabilities and cancellations, on so few pages that requests are preempted all
 * the time, answer exactly as each of them does alone on a fresh CPU engine: tokens, reasons to
 * end, log-probabilities to the bit. With both types of KV; on CPUs, and some of them on an
 * emulated GPU. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "tern/device.h"
#include "tern/engine.h"

#define MODEL TERN_SOURCE_DIR "/tests/golden/bitnet-tiny.gguf"
#define N_REQUESTS 200
#define N_I8 60 /* of them, with int8 KV */
#define N_EMULATED 10
#define N_CTX 256
#define N_IDS 380
#define N_TOP 5

/* What is compared: everything that events say about a token. */
typedef struct said {
    int32_t token;
    int position;
    double logprob;
    tern_logprob top[N_TOP];
} said;

typedef struct answer {
    int32_t prompt[N_CTX];
    tern_request request;
    uint64_t id;
    int cancel_at; /* after so many tokens; 0: never */
    int n, n_drawn; /* of these, tokens of the answer */
    said list[N_CTX];
    tern_finish finish;
    int n_cached;
} answer;

static answer alone[2][N_REQUESTS], loaded[N_REQUESTS]; /* alone: by type of KV */
static tern_model *model;

static uint32_t draw(uint32_t r, uint32_t what, uint32_t below)
{
    return (uint32_t)(tern_random_u64(41, r, what) % below);
}

/* Every other token, by what was drawn so far: somebody who reads along. */
static void allow_some(void *user, uint32_t *mask)
{
    const answer *a = user;
    for (int id = 0; id < N_IDS; id++)
        if ((id + a->n_drawn) % 2 == 0) mask[id / 32] |= 1u << (id % 32);
}

/* One of three beginnings, cut at a random length, then tokens of its own. */
static void make_request(answer *a, uint32_t r)
{
    memset(a, 0, sizeof *a);
    const int shared = (int)draw(r, 0, 140), n = shared + 1 + (int)draw(r, 1, 30);
    for (int i = 0; i < n; i++)
        a->prompt[i] = (int32_t)((i < shared ? tern_random_u64(42, draw(r, 2, 3), (uint32_t)i)
                                             : tern_random_u64(43, r, (uint32_t)i)) %
                                 N_IDS);
    a->cancel_at = draw(r, 3, 10) == 0 ? 1 + (int)draw(r, 4, 20) : 0;
    a->request = (tern_request){
        .n_prompt = n, .max_tokens = 1 + (int)draw(r, 5, 85), .ignore_end = draw(r, 6, 2) == 0,
        .min_tokens = (int)draw(r, 7, 4), .priority = (int)draw(r, 8, 3) - 1,
        .logprobs = draw(r, 9, 3) == 0, .prompt_logprobs = draw(r, 10, 12) == 0, .n_top = N_TOP,
        .allow = draw(r, 17, 8) == 0 ? allow_some : NULL,
        .sampling = {.temperature = draw(r, 11, 3) ? 0.5f + (float)draw(r, 12, 4) : 0.0f,
                     .top_k = draw(r, 13, 2) ? 30 : 0, .top_p = draw(r, 14, 2) ? 0.9f : 0.0f,
                     .repetition = draw(r, 15, 4) == 0 ? 1.2f : 0.0f,
                     .frequency = draw(r, 16, 4) == 0 ? 0.4f : 0.0f, .seed = r / 2,
                     .choice = r % 2},
    };
}

static tern_engine *open_engine(const char *devices, tern_workload w, int n_pages, int n_spill)
{
    tern_plan plan;
    tern_engine *engine;
    tern_error err = {0};
    const tern_engine_options options = {
        .device = {.n_threads = 1}, .n_queue = N_REQUESTS, .n_spill_pages = n_spill};
    w.n_ctx = N_CTX;
    assert_int_equal(tern_plan_layers(&plan, tern_model_config_of(model), devices, &w, &err), 0);
    if (n_pages) plan.n_pages = n_pages;
    const int status = tern_engine_create(&engine, model, &plan, &options, &err);
    if (status != TERN_OK) fail_msg("%s", err.text);
    return engine;
}

static void submit(tern_engine *engine, answer *a)
{
    tern_error err = {0};
    a->request.prompt = a->prompt;
    a->request.user = a;
    if (tern_engine_submit(engine, &a->id, &a->request, &err) != TERN_OK) fail_msg("%s", err.text);
}

static void take_in(tern_engine *engine, const tern_engine_event *event)
{
    answer *a = event->user;
    assert_int_equal(event->request, a->id);
    assert_int_equal(a->finish, TERN_FINISH_NONE);
    if (event->token >= 0) {
        said *s = &a->list[a->n++];
        *s = (said){.token = event->token, .position = event->position, .logprob = event->logprob};
        a->n_drawn += event->position >= a->request.n_prompt;
        if (event->n_top) memcpy(s->top, event->top, (size_t)event->n_top * sizeof *event->top);
        assert_true(a->n == 1 || s->position == a->list[a->n - 2].position + 1);
    }
    a->finish = event->finish;
    a->n_cached = event->n_cached;
    if (a->cancel_at && event->position - a->request.n_prompt + 1 == a->cancel_at)
        tern_engine_cancel(engine, a->id);
}

/* Steps until nothing is left; some requests more come before each step. */
static tern_engine_stats drive(tern_engine *engine, answer *list, int n, int burst)
{
    tern_engine_event *events = calloc((size_t)tern_engine_max_events(engine), sizeof *events);
    assert_non_null(events);
    tern_engine_stats stats;
    int submitted = 0;
    do {
        for (int i = 0; i < burst && submitted < n; i++) submit(engine, &list[submitted++]);
        int n_events;
        tern_error err = {0};
        if (tern_engine_step(engine, events, &n_events, &err) != TERN_OK) fail_msg("%s", err.text);
        assert_true(n_events <= tern_engine_max_events(engine));
        for (int i = 0; i < n_events; i++) take_in(engine, &events[i]);
        tern_engine_stats_get(engine, &stats);
    } while (submitted < n || stats.n_running + stats.n_waiting > 0);
    free(events);
    assert_int_equal(stats.n_pages_free, stats.n_pages);
    return stats;
}

static int requests_with(tern_kv_type kv)
{
    return kv == TERN_KV_F16 ? N_REQUESTS : N_I8;
}

/* A fresh engine for everyone would take long: evaluating forgets all pages, which is the same. */
static int answer_alone(tern_kv_type kv)
{
    tern_engine *engine =
        open_engine("cpu", (tern_workload){.n_seq = 1, .kv_type = kv}, 0, 0);
    for (uint32_t r = 0; r < (uint32_t)requests_with(kv); r++) {
        double forgotten[1];
        answer *a = &alone[kv][r];
        make_request(a, r);
        drive(engine, a, 1, 1);
        assert_int_equal(a->n_cached, 0);
        if (tern_engine_score(engine, forgotten, a->prompt, 2, NULL) != TERN_OK) return 1;
    }
    tern_engine_destroy(engine);
    return 0;
}

static int open_alone(void **state)
{
    (void)state;
    if (tern_model_open(&model, MODEL, NULL) != TERN_OK) return 1;
    return answer_alone(TERN_KV_F16) || answer_alone(TERN_KV_I8);
}

static int close_model(void **state)
{
    (void)state;
    tern_model_close(model);
    return 0;
}

static void compare_with_alone(int n, tern_kv_type kv)
{
    for (int r = 0; r < n; r++) {
        const answer *a = &alone[kv][r], *b = &loaded[r];
        if (a->n != b->n || a->finish != b->finish || memcmp(a->list, b->list, sizeof a->list) != 0)
            fail_msg("request %d: %d tokens, then %s; alone %d, then %s", r, b->n,
                     tern_finish_name(b->finish), a->n, tern_finish_name(a->finish));
    }
}

/* The pages that there are, in the engine and to spill to, and how the first n requests come. */
typedef struct load {
    int n_pages, n_spill, burst, n;
} load;

static tern_engine_stats check_load(const char *devices, tern_workload w, load l)
{
    for (int r = 0; r < l.n; r++) make_request(&loaded[r], (uint32_t)r);
    tern_engine *engine = open_engine(devices, w, l.n_pages, l.n_spill);
    const tern_engine_stats stats = drive(engine, loaded, l.n, l.burst);
    print_message("%d preempted, %d pages spilled, %d of %d prompt tokens found, %d steps\n",
                  (int)stats.n_preempted, (int)stats.n_spilled_pages, (int)stats.prefix_hit_tok,
                  (int)stats.prefix_query_tok, (int)stats.n_steps);
    tern_engine_destroy(engine);
    compare_with_alone(l.n, w.kv_type);
    return stats;
}

static void check_prefix_hits(tern_kv_type kv)
{
    const tern_workload w = {.n_seq = 16, .n_tok = 64, .kv_type = kv};
    const tern_engine_stats s = check_load("cpu", w, (load){0, 0, 3, requests_with(kv)});
    assert_true(s.prefix_hit_tok > s.prefix_query_tok / 4);
    assert_true(s.prefix_hit_tok % TERN_PAGE_TOK == 0);
}

static void check_recomputed(tern_kv_type kv)
{
    const tern_workload w = {.n_seq = 12, .n_tok = 100, .kv_type = kv};
    const tern_engine_stats s = check_load("cpu", w, (load){10, 0, 5, requests_with(kv)});
    assert_true(s.n_preempted >= 5);
    assert_int_equal(s.n_spilled_pages, 0);
}

static void check_spilled(tern_kv_type kv)
{
    const tern_workload w = {.n_seq = 12, .n_tok = 33, .kv_type = kv};
    const tern_engine_stats s =
        check_load("cpu:0,cpu:1", w, (load){9, 20, N_REQUESTS, requests_with(kv)});
    assert_true(s.n_preempted >= 5);
    assert_true(s.n_spilled_pages > 5);
}

/* Prefix hits, preemption by both ways; fewer requests, because emulation takes its time. */
static void check_emulated(const char *devices, tern_kv_type kv, int n_spill)
{
    if (!tern_backend_find("emu", NULL)) skip();
    const tern_workload w = {.n_seq = 6, .n_tok = 64, .kv_type = kv};
    const tern_engine_stats s = check_load(devices, w, (load){7, n_spill, 3, N_EMULATED});
    assert_true(s.n_preempted > 0);
    assert_true(s.prefix_hit_tok > 0);
    assert_true(n_spill == 0 || s.n_spilled_pages > 0);
}

static void test_prefix_hits_f16(void **state)
{
    (void)state;
    check_prefix_hits(TERN_KV_F16);
}

static void test_prefix_hits_i8(void **state)
{
    (void)state;
    check_prefix_hits(TERN_KV_I8);
}

static void test_recomputed_f16(void **state)
{
    (void)state;
    check_recomputed(TERN_KV_F16);
}

static void test_recomputed_i8(void **state)
{
    (void)state;
    check_recomputed(TERN_KV_I8);
}

static void test_spilled_f16(void **state)
{
    (void)state;
    check_spilled(TERN_KV_F16);
}

static void test_spilled_i8(void **state)
{
    (void)state;
    check_spilled(TERN_KV_I8);
}

static void test_emulated_f16(void **state)
{
    (void)state;
    check_emulated("emu:0", TERN_KV_F16, 12);
}

static void test_emulated_i8(void **state)
{
    (void)state;
    check_emulated("cpu:0,emu:0", TERN_KV_I8, 0);
}

/* The comparisons mean something: answers differ, and every kind of end occurs. */
static void test_variety(void **state)
{
    (void)state;
    int ends[TERN_FINISH_CANCELLED + 1] = {0}, n_different = 0, n_by_kv = 0;
    for (int r = 0; r < N_REQUESTS; r++) {
        const answer *a = &alone[TERN_KV_F16][r];
        ends[a->finish]++;
        n_different += r > 0 && memcmp(a->list, a[-1].list, sizeof(said)) != 0;
        n_by_kv += r < N_I8 && memcmp(a->list, alone[TERN_KV_I8][r].list, sizeof a->list) != 0;
    }
    assert_true(ends[TERN_FINISH_LENGTH] > 50);
    assert_true(ends[TERN_FINISH_CANCELLED] > 5);
    assert_true(n_different > 150);
    assert_true(n_by_kv > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prefix_hits_f16),
        cmocka_unit_test(test_prefix_hits_i8),
        cmocka_unit_test(test_recomputed_f16),
        cmocka_unit_test(test_recomputed_i8),
        cmocka_unit_test(test_spilled_f16),
        cmocka_unit_test(test_spilled_i8),
        cmocka_unit_test(test_emulated_f16),
        cmocka_unit_test(test_emulated_i8),
        cmocka_unit_test(test_variety),
    };
    return cmocka_run_group_tests(tests, open_alone, close_model);
}
