/* test_preset.c - models without a file: they load, their values depend on the seed and on nothing
 * else, and without a tokenizer a request ends by its length. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tern/engine.h"

#define N_TOK 70 /* two pages */

static void create(tern_engine **engine, tern_model **model, uint64_t seed, const char *devices,
                   int n_threads)
{
    tern_error err = {0};
    tern_plan plan;
    const tern_workload workload = {.n_ctx = 128};
    const tern_engine_options options = {.device = {.n_threads = n_threads}};
    assert_int_equal(tern_model_preset(model, "tiny", seed, &err), TERN_OK);
    assert_int_equal(
        tern_plan_layers(&plan, tern_model_config_of(*model), devices, &workload, &err), TERN_OK);
    if (tern_engine_create(engine, *model, &plan, &options, &err) != TERN_OK)
        fail_msg("%s", err.text);
}

/* A hash of the logits of a fixed sequence. */
static uint64_t logits_hash(uint64_t seed, const char *devices, int n_threads)
{
    tern_model *model;
    tern_engine *engine;
    create(&engine, &model, seed, devices, n_threads);
    const int n_vocab = tern_model_config_of(model)->n_vocab;
    int32_t ids[N_TOK];
    for (int i = 0; i < N_TOK; i++) ids[i] = i * 37 % n_vocab;
    const size_t n = (size_t)N_TOK * (size_t)n_vocab;
    float *logits = calloc(n, sizeof *logits);
    assert_non_null(logits);
    assert_int_equal(tern_engine_logits(engine, logits, ids, N_TOK, 0, NULL), TERN_OK);
    uint64_t hash = 0xcbf29ce484222325u;
    const uint8_t *bytes = (const uint8_t *)logits;
    for (size_t i = 0; i < n * sizeof *logits; i++) hash = (hash ^ bytes[i]) * 0x100000001b3u;
    free(logits);
    tern_engine_destroy(engine);
    tern_model_close(model);
    return hash;
}

static void test_seed_decides(void **state)
{
    (void)state;
    const uint64_t expected = logits_hash(7, "cpu", 1);
    assert_true(logits_hash(7, "cpu", 2) == expected);
    assert_true(logits_hash(7, "cpu:0,cpu:1", 1) == expected);
    assert_false(logits_hash(8, "cpu", 1) == expected);
}

/* Without a tokenizer there are no end tokens, whatever `ignore_end` says. */
static void test_request(void **state)
{
    (void)state;
    tern_model *model;
    tern_engine *engine;
    create(&engine, &model, 1, "cpu", 1);
    assert_null(tern_model_tokenizer(model));
    const int32_t prompt[] = {3, 1, 4};
    const tern_request request = {.prompt = prompt, .n_prompt = 3, .max_tokens = 20};
    uint64_t id;
    assert_int_equal(tern_engine_submit(engine, &id, &request, NULL), TERN_OK);
    tern_engine_event *events = calloc((size_t)tern_engine_max_events(engine), sizeof *events);
    assert_non_null(events);
    int n_tokens = 0;
    tern_finish finish = TERN_FINISH_NONE;
    for (int step = 0; step < 30 && finish == TERN_FINISH_NONE; step++) {
        int n;
        assert_int_equal(tern_engine_step(engine, events, &n, NULL), TERN_OK);
        for (int i = 0; i < n; i++) {
            n_tokens += events[i].token >= 0;
            finish = events[i].finish;
        }
    }
    assert_int_equal(finish, TERN_FINISH_LENGTH);
    assert_int_equal(n_tokens, 20);
    free(events);
    tern_engine_destroy(engine);
    tern_model_close(model);
}

/* The public shapes, as their makers count them. */
static void test_shapes(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int n_layers;
        uint64_t ternary;
    } wanted[] = {{"2b4t", 30, 2084044800}, {"large", 24, 679477248}, {"3b", 26, 3221504000},
                  {"llama3-8b", 32, 6979321856}, {"falcon3-1b", 18, 1132462080},
                  {"falcon3-3b", 22, 2422210560}, {"falcon3-7b", 28, 6650068992},
                  {"falcon3-10b", 40, 9500098560}, {"13b", 40, 12687769600},
                  {"27b", 62, 25598361600}, {"70b", 80, 68451041280},
                  {"100b", 72, 99958652928}};
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        tern_model *model;
        assert_int_equal(tern_model_preset(&model, wanted[i].name, 1, NULL), TERN_OK);
        const tern_model_config *c = tern_model_config_of(model);
        assert_int_equal(c->n_layers, wanted[i].n_layers);
        const int norms = 2 * c->d + (c->sub_norms ? c->h * c->hd + c->f : 0);
        const uint64_t gains = (uint64_t)c->d + (uint64_t)c->n_layers * (uint64_t)norms;
        const uint64_t tables = (uint64_t)c->n_vocab * (uint64_t)c->d * (c->tied ? 1 : 2);
        const uint64_t n = wanted[i].ternary + tables + gains;
        if (tern_model_n_params(model) != n)
            fail_msg("%s has %llu parameters, not %llu", wanted[i].name,
                     (unsigned long long)tern_model_n_params(model), (unsigned long long)n);
        assert_true(tern_model_file_bytes(model) == 0);
        assert_true(tern_model_canary(model).n == 0);
        tern_model_close(model);
    }
}

static void test_unknown(void **state)
{
    (void)state;
    tern_model *model = NULL;
    tern_error err = {0};
    assert_int_equal(tern_model_preset(&model, "7b", 1, &err), TERN_E_USAGE);
    assert_non_null(strstr(err.text, "'7b'"));
    assert_non_null(strstr(err.text, "2b4t, large, 3b, llama3-8b"));
    assert_null(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_seed_decides),
        cmocka_unit_test(test_request),
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_unknown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
