/* test_part_load.c - weights that no trainer writes, found while they are loaded: the engine is not
 * created, the sentence names file and tensor, and nothing stays behind. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "cases.h"
#include "model_copy.h"
#include "tern/engine.h"

static const char *devices = "cpu:0,cpu:1";

static int create(tern_engine **engine, const tern_model *model, tern_progress_fn *progress,
                  tern_error *err)
{
    const tern_workload workload = {.n_ctx = 64, .n_tok = 8};
    const tern_engine_options options = {.device = {.n_threads = 1}, .progress = {.fn = progress}};
    tern_plan plan;
    const int status =
        tern_plan_layers(&plan, tern_model_config_of(model), devices, &workload, err);
    if (status != TERN_OK) return status;
    return tern_engine_create(engine, model, &plan, &options, err);
}

/* The file opens, since opening reads no weights, but no engine comes out of it. */
static void refused(model_copy *m, const char *tensor)
{
    tern_model *model;
    tern_engine *engine = NULL;
    tern_error err = {0};
    assert_int_equal(tern_model_open(&model, copy_write(m, m->n), &err), TERN_OK);
    copy_restore(m);
    const int status = create(&engine, model, NULL, &err);
    tern_model_close(model);
    if (status != TERN_E_MODEL || err.status != TERN_E_MODEL || !strstr(err.text, tensor) ||
        !strstr(err.text, m->path))
        fail_msg("%s: status %d: %s", tensor, status, err.text);
    assert_null(engine);
}

static void test_undamaged(void **state)
{
    model_copy *m = *state;
    tern_model *model;
    tern_engine *engine;
    assert_int_equal(tern_model_open(&model, copy_write(m, m->n), NULL), TERN_OK);
    assert_int_equal(create(&engine, model, NULL, NULL), TERN_OK);
    tern_engine_destroy(engine);
    tern_model_close(model);
}

static void test_scales(void **state)
{
    model_copy *m = *state;
    static const char *const tensors[] = {
        "blk.0.attn_q.weight", "blk.0.attn_v.weight", "blk.1.attn_output.weight",
        "blk.1.ffn_up.weight", "blk.2.ffn_down.weight",
    };
    static const float wrong[] = {NAN, INFINITY, -1.0f};
    for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++)
        for (int w = 0; w < 3; w++) {
            const tern_gguf_tensor *t = tern_gguf_find_tensor(m->gguf, tensors[i]);
            memcpy(copy_tensor(m, tensors[i]) + t->n_elements / 4, &wrong[w], 4);
            refused(m, tensors[i]);
        }
}

static void test_codes(void **state)
{
    model_copy *m = *state;
    static const char *const tensors[] = {"blk.0.attn_k.weight", "blk.1.ffn_gate.weight",
                                          "blk.2.attn_output.weight", "blk.2.ffn_down.weight"};
    for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++) {
        const size_t n = tern_gguf_find_tensor(m->gguf, tensors[i])->n_elements / 4;
        const size_t places[] = {0, n / 2, n - 1};
        for (int p = 0; p < 3; p++) {
            copy_tensor(m, tensors[i])[places[p]] |= (uint8_t)(3 << 2 * p);
            refused(m, tensors[i]);
        }
    }
}

static void test_table(void **state)
{
    model_copy *m = *state;
    static const uint16_t wrong[] = {0x7c00, 0xfc00, 0x7e01}; /* infinities and NaN in f16 */
    const tern_gguf_tensor *t = tern_gguf_find_tensor(m->gguf, "token_embd.weight");
    const size_t places[] = {0, t->n_elements / 2, t->n_elements - 1};
    for (int i = 0; i < 3; i++) {
        memcpy(copy_tensor(m, "token_embd.weight") + 2 * places[i], &wrong[i], 2);
        refused(m, "token_embd.weight");
    }
}

/* The device contract takes gains as finite and never looks again. */
static void test_gains(void **state)
{
    model_copy *m = *state;
    static const char *const tensors[] = {
        "blk.0.attn_norm.weight", "blk.1.attn_sub_norm.weight", "blk.2.ffn_norm.weight",
        "blk.0.ffn_sub_norm.weight", "output_norm.weight",
    };
    static const float wrong[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++)
        for (int w = 0; w < 3; w++) {
            memcpy(copy_tensor(m, tensors[i]) + 4 * (size_t)(w * 50), &wrong[w], 4);
            refused(m, tensors[i]);
        }
}

/* A table of zeros has no scale, but it is a table. */
static void test_zeros(void **state)
{
    model_copy *m = *state;
    tern_model *model;
    tern_engine *engine;
    float logits[2 * 384];
    memset(copy_tensor(m, "token_embd.weight"), 0, 2 * 128 * 384);
    assert_int_equal(tern_model_open(&model, copy_write(m, m->n), NULL), TERN_OK);
    copy_restore(m);
    assert_int_equal(create(&engine, model, NULL, NULL), TERN_OK);
    assert_int_equal(tern_engine_logits(engine, logits, (const int32_t[]){1, 2}, 2, 0, NULL),
                     TERN_OK);
    for (int i = 0; i < 2 * 384; i++) assert_true(logits[i] == 0.0f);
    tern_engine_destroy(engine);
    tern_model_close(model);
}

/* Weights that are numbers, but whose products are none: the step says so, and every later one. */
static void test_overflow_while_running(void **state)
{
    model_copy *m = *state;
    tern_model *model;
    tern_engine *engine;
    tern_error err = {0}, again = {0};
    const float huge = 3e38f;
    float logits[2 * 384];
    const tern_gguf_tensor *t = tern_gguf_find_tensor(m->gguf, "blk.1.attn_output.weight");
    memcpy(copy_tensor(m, "blk.1.attn_output.weight") + t->n_elements / 4, &huge, 4);
    assert_int_equal(tern_model_open(&model, copy_write(m, m->n), NULL), TERN_OK);
    copy_restore(m);
    assert_int_equal(create(&engine, model, NULL, NULL), TERN_OK);
    static const int32_t ids[] = {1, 2};
    assert_int_equal(tern_engine_logits(engine, logits, ids, 2, 0, &err), TERN_E_MODEL);
    if (!strstr(err.text, "layer 1") || !strstr(err.text, "finite")) fail_msg("%s", err.text);
    assert_int_equal(tern_engine_logits(engine, logits, ids, 2, 0, &again), TERN_E_MODEL);
    tern_engine_destroy(engine);
    tern_model_close(model);
}

static int stop_at_once(void *user, const char *activity, uint64_t done, uint64_t total)
{
    (void)user;
    assert_string_equal(activity, "loading");
    assert_true(done <= total);
    return done > total / 2;
}

static int never_stop(void *user, const char *activity, uint64_t done, uint64_t total)
{
    (void)user, (void)activity;
    assert_true(done <= total);
    return 0;
}

static void test_interrupted(void **state)
{
    model_copy *m = *state;
    tern_model *model;
    tern_engine *engine = NULL;
    tern_error err = {0};
    assert_int_equal(tern_model_open(&model, copy_write(m, m->n), NULL), TERN_OK);
    assert_int_equal(create(&engine, model, stop_at_once, &err), TERN_E_IO);
    assert_string_equal(err.text, "loading was interrupted");
    assert_null(engine);
    assert_int_equal(create(&engine, model, never_stop, &err), TERN_OK);
    tern_engine_destroy(engine);
    tern_model_close(model);
}

static int open_copy(void **state)
{
    *state = copy_open(TINY_MODEL);
    return 0;
}

static int close_copy(void **state)
{
    copy_close(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_undamaged), cmocka_unit_test(test_scales),
        cmocka_unit_test(test_codes),     cmocka_unit_test(test_table),
        cmocka_unit_test(test_gains),     cmocka_unit_test(test_zeros),
        cmocka_unit_test(test_overflow_while_running), cmocka_unit_test(test_interrupted),
    };
    return cmocka_run_group_tests(tests, open_copy, close_copy);
}
