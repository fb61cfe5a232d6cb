/* test_gpu_model.c - the prediction of GPU speeds: it obeys what any time obeys (never below the
 * bytes, more work is no faster), knows the occupancy of the kernels, and compares with a baseline
 * that is at its limit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "bench/gpu_model.h"
#include "bench/kernel_facts.h"

#define TENSOR_MACS 4096.0 /* int8, of an SM a clock, by the data sheet */

static void test_never_beyond_the_limits(void **state)
{
    (void)state;
    for (int t = 1; t <= 4096; t *= 2)
        for (int k = 2560; k <= 28672; k += 4352) {
            const double macs = (double)t * k * 2560;
            const model_time time = model_linear(t, k, 2560);
            assert_true(time.ns > time.stream_ns);
            assert_true(time.stream_ns >= (double)k * 2560 / 4 / GPU_READ_BYTES * 1e9);
            assert_true(time.stream_ns >=
                        macs / TENSOR_MACS / GPU_SM / GPU_CLOCK_HZ * 1e9 || t == 1);
        }
}

static void test_more_work_is_no_faster(void **state)
{
    (void)state;
    assert_true(model_linear(1, 2560, 13824).stream_ns < model_linear(1, 8192, 13824).stream_ns);
    assert_true(model_linear(256, 2560, 13824).ns < model_linear(4096, 2560, 13824).ns);
    assert_int_equal(model_linear(4096, 2560, 13824).bound, BOUND_TENSOR);
    assert_string_equal(model_bound_name(BOUND_MEMORY), "memory");
}

/* 50 KiB of rings or 200 registers: few CTAs. */
static void test_occupancy(void **state)
{
    (void)state;
    assert_int_equal(model_occupancy(TERN_LINEAR_MMA_8), 4);
    assert_int_equal(model_occupancy(TERN_LINEAR_MMA_64), 2);
    assert_int_equal(model_occupancy(TERN_LINEAR_MMA_64_WIDE), 1);
}

static void test_baseline_is_at_its_limit(void **state)
{
    (void)state;
    const double bytes = 2.0 * 2560 * 13824 / GPU_READ_BYTES * 1e9;
    assert_true(model_cublas_ns(1, 2560, 13824, 2) > bytes);
    assert_true(model_cublas_ns(1, 2560, 13824, 2) < 1.1 * bytes + GPU_LATENCY_NS);
    assert_true(model_cublas_ns(4096, 2560, 13824, 1) < model_cublas_ns(4096, 2560, 13824, 2));
}

static void test_steps(void **state)
{
    (void)state;
    tern_model *model;
    assert_int_equal(tern_model_preset(&model, "2b4t", 1, NULL), TERN_OK);
    const tern_model_config *c = tern_model_config_of(model);
    model_step one = {1, 1, 128, 1, 1, TERN_KV_F16}, deep = one, full = one;
    deep.first = 4096;
    full.planes = 2;
    model_step f16 = {2048, 1, 0, 1, 1, TERN_KV_F16}, i8 = f16;
    i8.kv = TERN_KV_I8;
    assert_true(model_step_ns(c, &one) <= model_step_ns(c, &deep));
    assert_true(model_step_ns(c, &one) <= model_step_ns(c, &full));
    assert_true(model_step_ns(c, &i8) < model_step_ns(c, &f16));
    assert_true(model_layer_ns(c, 1) > model_layer_read_ns(c));
    assert_true(model_layer_graph_ns(c) > model_layer_read_ns(c));
    const model_step two = {2, 2, 128, 2, 1, TERN_KV_F16}; /* without fusion */
    assert_true(model_step_ns(c, &one) < model_step_ns(c, &two));
    tern_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_never_beyond_the_limits),
        cmocka_unit_test(test_more_work_is_no_faster),
        cmocka_unit_test(test_occupancy),
        cmocka_unit_test(test_baseline_is_at_its_limit),
        cmocka_unit_test(test_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
