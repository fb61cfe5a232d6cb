/* test_plan.c - what a plan promises: the bytes it names are the bytes an engine takes, on every
 * device and in every class, and a budget is judged by them before a weight is read. */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "cases.h"
#include "model_copy.h"
#include "tern/engine.h"

static int open_tiny(void **state)
{
    tern_model *model;
    const int status = tern_model_open(&model, TINY_MODEL, NULL);
    *state = model;
    return status;
}

static int close_tiny(void **state)
{
    tern_model_close(*state);
    return 0;
}

static void assert_planned_is_allocated(const tern_model *model, const char *devices,
                                        const tern_workload *workload)
{
    tern_plan plan;
    tern_engine *engine;
    tern_error err = {0};
    const tern_model_config *config = tern_model_config_of(model);
    const tern_engine_options options = {.device = {.n_threads = 1}};
    if (tern_plan_layers(&plan, config, devices, workload, &err) != TERN_OK ||
        tern_engine_create(&engine, model, &plan, &options, &err) != TERN_OK)
        fail_msg("%s: %s", devices, err.text);
    for (int i = 0; i < plan.n_devices; i++) {
        tern_memory memory;
        assert_int_equal(tern_plan_memory(&memory, &plan, config, i, NULL), TERN_OK);
        uint64_t sum = 0;
        for (int c = 0; c < TERN_N_MEMORY_CLASSES; c++) sum += memory.bytes[c];
        assert_true(sum == memory.total);
        assert_true(memory.total == tern_engine_used_bytes(engine, i));
        const tern_memory used = tern_engine_memory(engine, i);
        assert_memory_equal(used.bytes, memory.bytes, sizeof used.bytes);
        assert_true(used.total == memory.total);
    }
    tern_engine_destroy(engine);
}

static void test_planned_is_allocated(void **state)
{
    static const char *const devices[] = {"cpu", "cpu:1", "cpu:0,cpu:1", "cpu:3,cpu,cpu:7"};
    static const tern_workload shapes[] = {
        {0},
        {.n_ctx = 1, .n_seq = 1, .n_tok = 1},
        {.n_ctx = 63, .n_seq = 3, .n_tok = 7},
        {.n_ctx = 64, .n_seq = 5, .n_tok = 64},
        {.n_ctx = 65, .n_seq = 64, .n_tok = 100},
        {.n_ctx = 256, .n_seq = 2, .n_tok = 1000},
    };
    for (size_t d = 0; d < sizeof devices / sizeof devices[0]; d++)
        for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
            for (int kv = TERN_KV_F16; kv <= TERN_KV_I8; kv++) {
                tern_workload workload = shapes[s];
                workload.kv_type = (tern_kv_type)kv;
                workload.head_type = s % 2 ? TERN_HEAD_I8 : TERN_HEAD_I16;
                assert_planned_is_allocated(*state, devices[d], &workload);
            }
}

/* The classes that can be counted by hand, on the golden model: d 128, 3 layers, KV 2 x 32, 384
 * tokens. */
static void test_classes(void **state)
{
    const tern_model_config *config = tern_model_config_of(*state);
    tern_workload workload = {.n_ctx = 130, .n_seq = 2, .n_tok = 4};
    tern_plan plan;
    tern_memory f16, i8;
    assert_int_equal(tern_plan_layers(&plan, config, "cpu", &workload, NULL), TERN_OK);
    assert_int_equal(plan.n_pages, 6); /* three pages for each of two requests */
    assert_int_equal(tern_plan_memory(&f16, &plan, config, 0, NULL), TERN_OK);
    assert_int_equal(f16.bytes[TERN_MEMORY_KV], 3 * 6 * (2 * 2 * 32 * 64 * 2));
    assert_true(f16.bytes[TERN_MEMORY_TABLES] >= 384 * 128 * 2);
    assert_true(f16.bytes[TERN_MEMORY_TABLES] <
                384 * 128 * 2 + 384 * 8); /* one table for both ends */
    const uint64_t codes = 3 * (256 * 128 + 128 * 128 + 512 * 128 + 128 * 256) / 4;
    assert_true(f16.bytes[TERN_MEMORY_WEIGHTS] >= codes);
    assert_true(f16.bytes[TERN_MEMORY_WEIGHTS] < codes + codes / 3);
    workload.kv_type = TERN_KV_I8;
    workload.head_type = TERN_HEAD_I8;
    assert_int_equal(tern_plan_layers(&plan, config, "cpu", &workload, NULL), TERN_OK);
    assert_int_equal(tern_plan_memory(&i8, &plan, config, 0, NULL), TERN_OK);
    assert_int_equal(i8.bytes[TERN_MEMORY_KV], 3 * 6 * (2 * (2 * 32 * 64 + 2 * 64 * 4)));
    assert_true(i8.bytes[TERN_MEMORY_TABLES] < f16.bytes[TERN_MEMORY_TABLES] * 6 / 10);
    assert_true(i8.bytes[TERN_MEMORY_WEIGHTS] == f16.bytes[TERN_MEMORY_WEIGHTS]);
}

static void test_names_of_classes(void **state)
{
    (void)state;
    for (int i = 0; i < TERN_N_MEMORY_CLASSES; i++)
        for (int j = 0; j < i; j++)
            assert_string_not_equal(tern_memory_class_name((tern_memory_class)i),
                                    tern_memory_class_name((tern_memory_class)j));
}

static void test_placement(void **state)
{
    const tern_model_config *config = tern_model_config_of(*state);
    const tern_workload workload = {0};
    tern_plan plan;
    assert_int_equal(tern_plan_layers(&plan, config, "cpu:5,cpu:2", &workload, NULL), TERN_OK);
    assert_int_equal(plan.n_devices, 2);
    assert_string_equal(plan.devices[0], "cpu:5");
    assert_string_equal(plan.devices[1], "cpu:2");
    assert_int_equal(plan.n_layers, 3);
    for (int l = 0; l < 3; l++) {
        assert_int_equal(plan.attn_device[l], plan.ffn_device[l]);
        if (l) assert_true(plan.attn_device[l] >= plan.attn_device[l - 1]); /* contiguous */
    }
    assert_int_equal(plan.attn_device[0], 0);
    assert_int_equal(plan.attn_device[2], 1);
    assert_int_equal(plan.embed_device, plan.head_device); /* tied */
    assert_int_equal(plan.workload.n_ctx, 256);
    assert_int_equal(plan.workload.n_seq, 1);
    assert_int_equal(plan.workload.n_tok, 256);
}

static void test_wrong_devices(void **state)
{
    const tern_model_config *config = tern_model_config_of(*state);
    static const char *const wrong[] = {
        "", ",", "cpu,", ",cpu", "cpu,,cpu:1", "gpu", "cpu:0,gpu", "cpu:", "cpu:100", "cpu:x",
        "cpu,cpu:0", "cpu:1,cpu:1", "cpu:0,cpu:00", "cpu:1 ,cpu:2", "cpu:0;cpu:1",
        "cpu:0,cpu:1,cpu:2,cpu:3", /* more than layers */
        "cpu:0,cpu:1,cpu:2,cpu:3,cpu:4,cpu:5,cpu:6,cpu:7,cpu:8",
        "a-name-that-is-longer-than-any-device", "cpu:00000000000000000000000001",
    };
    const tern_workload workload = {0};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        tern_plan plan = {.n_layers = -7};
        tern_error err = {0};
        if (tern_plan_layers(&plan, config, wrong[i], &workload, &err) != TERN_E_USAGE)
            fail_msg("'%s' was accepted", wrong[i]);
        assert_int_equal(plan.n_layers, -7); /* untouched */
        assert_true(strlen(err.text) > 20);
    }
}

static void test_wrong_workloads(void **state)
{
    const tern_model_config *config = tern_model_config_of(*state);
    static const struct {
        tern_workload workload;
        const char *word;
    } wrong[] = {
        {{.n_ctx = -1}, "-1"},
        {{.n_ctx = 257}, "256"}, /* beyond the model's, which the sentence names */
        {{.n_ctx = 257}, "257"},
        {{.n_ctx = INT_MAX}, "256"},
        {{.n_ctx = INT_MIN}, "256"},
        {{.n_seq = -1}, "-1"},
        {{.n_seq = TERN_MAX_SEQ + 1}, "513"},
        {{.n_seq = INT_MAX}, "512"},
        {{.n_tok = -1}, "-1"},
        {{.n_tok = INT_MIN}, "tokens"},
        {{.n_tok = 65537}, "65537"},
        {{.n_tok = INT_MAX}, "tokens"},
        {{.kv_type = (tern_kv_type)2}, "KV"},
        {{.kv_type = (tern_kv_type)-1}, "KV"},
        {{.head_type = (tern_head_type)2}, "head"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        tern_plan plan = {.n_layers = -7};
        tern_error err = {0};
        const int status = tern_plan_layers(&plan, config, "cpu", &wrong[i].workload, &err);
        if (status != TERN_E_USAGE || !strstr(err.text, wrong[i].word))
            fail_msg("workload %zu, status %d: %s", i, status, err.text);
        assert_int_equal(plan.n_layers, -7);
    }
}

/* ---- budgets -------------------------------------------------------------------------------- */

static int n_reports;

static int count_reports(void *user, const char *activity, uint64_t done, uint64_t total)
{
    (void)user, (void)activity, (void)done, (void)total;
    n_reports++;
    return 0;
}

static int create_with(tern_engine **engine, const tern_model *model, const tern_plan *plan,
                       uint64_t budget, tern_error *err)
{
    const tern_engine_options options = {.device = {.n_threads = 1, .budget_bytes = budget},
                                         .progress = {.fn = count_reports}};
    n_reports = 0;
    return tern_engine_create(engine, model, plan, &options, err);
}

static void test_budgets(void **state)
{
    const tern_model_config *config = tern_model_config_of(*state);
    static const char *const devices[] = {"cpu", "cpu:0,cpu:1"};
    for (int d = 0; d < 2; d++) {
        const tern_workload workload = {.n_ctx = 100, .n_seq = 2, .n_tok = 20};
        tern_plan plan;
        tern_memory memory;
        uint64_t most = 0;
        assert_int_equal(tern_plan_layers(&plan, config, devices[d], &workload, NULL), TERN_OK);
        for (int i = 0; i < plan.n_devices; i++) {
            assert_int_equal(tern_plan_memory(&memory, &plan, config, i, NULL), TERN_OK);
            most = memory.total > most ? memory.total : most;
        }
        tern_engine *engine = NULL;
        const uint64_t tight[] = {1, 4096, most / 2, most - 1};
        for (int i = 0; i < 4; i++) {
            tern_error err = {0};
            assert_int_equal(create_with(&engine, *state, &plan, tight[i], &err), TERN_E_FIT);
            assert_int_equal(n_reports, 0); /* no weight was read */
            assert_null(engine);
            if (!strstr(err.text, "cpu:") || !strpbrk(err.text + 6, "0123456789"))
                fail_msg("%s", err.text);
        }
        assert_int_equal(create_with(&engine, *state, &plan, most, NULL), TERN_OK);
        assert_true(n_reports > 0);
        float logits[384];
        assert_int_equal(tern_engine_logits(engine, logits, (const int32_t[]){5}, 1, 0, NULL),
                         TERN_OK);
        tern_engine_destroy(engine);
    }
}

/* One byte too little gives two numbers that differ. */
static void test_sentence_of_one_byte(void **state)
{
    const tern_model_config *config = tern_model_config_of(*state);
    const tern_workload workload = {.n_ctx = 64};
    tern_plan plan;
    tern_memory memory;
    tern_engine *engine;
    tern_error err = {0};
    char needed[32], given[32];
    assert_int_equal(tern_plan_layers(&plan, config, "cpu", &workload, NULL), TERN_OK);
    assert_int_equal(tern_plan_memory(&memory, &plan, config, 0, NULL), TERN_OK);
    assert_int_equal(create_with(&engine, *state, &plan, memory.total - 1, &err), TERN_E_FIT);
    snprintf(needed, sizeof needed, "%llu", (unsigned long long)memory.total);
    snprintf(given, sizeof given, "%llu", (unsigned long long)memory.total - 1);
    if (!strstr(err.text, needed) || !strstr(err.text, given)) fail_msg("%s", err.text);
}

/* A configuration whose sizes no machine has, straight from the limits of the reader. */
static void test_sizes_beyond_memory(void **state)
{
    tern_model_config config = *tern_model_config_of(*state);
    config.d = 1 << 20;
    config.f = 1 << 22;
    config.n_layers = TERN_MAX_LAYERS;
    config.h = config.kv = 4096;
    config.hd = TERN_MAX_HD;
    config.n_vocab = config.n_ctx = 1 << 24;
    const tern_workload workload = {.n_seq = 64, .n_tok = 65536};
    tern_plan plan;
    tern_memory memory = {.total = 7};
    tern_error err = {0};
    assert_int_equal(tern_plan_layers(&plan, &config, "cpu", &workload, NULL), TERN_OK);
    const int status = tern_plan_memory(&memory, &plan, &config, 0, &err);
    if (status == TERN_OK) {
        assert_true(memory.total > (uint64_t)1 << 50);
        assert_true(memory.bytes[TERN_MEMORY_KV] >=
                    (uint64_t)TERN_MAX_LAYERS * (1 << 24) * 64 * 4096 * TERN_MAX_HD * 4);
    } else {
        assert_int_equal(status, TERN_E_FIT);
        assert_int_equal(memory.total, 7);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_planned_is_allocated), cmocka_unit_test(test_classes),
        cmocka_unit_test(test_names_of_classes), cmocka_unit_test(test_placement),
        cmocka_unit_test(test_wrong_devices), cmocka_unit_test(test_wrong_workloads),
        cmocka_unit_test(test_budgets), cmocka_unit_test(test_sentence_of_one_byte),
        cmocka_unit_test(test_sizes_beyond_memory),
    };
    return cmocka_run_group_tests(tests, open_tiny, close_tiny);
}
