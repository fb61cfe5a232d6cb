/* test_norm_quant_ref.c - NORM_QUANT against the contract transcribed again, and known answers. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "cases.h"
#include "cpu/ref/ref.h"

#define K_MAX 5504

/* N2, partial by partial. */
static float row_rule(const float *x, int n)
{
    float part[256];
    for (int p = 0; p < 256; p++) {
        part[p] = 0.0f;
        for (int i = p; i < n; i += 256) part[p] = part[p] + x[i];
    }
    for (int h = 128; h > 0; h >>= 1)
        for (int j = 0; j < h; j++) part[j] = part[j] + part[j + h];
    return part[0];
}

/* N4 for one row; returns the sum of q. */
static int literal(int8_t *q, float *scale, const float *row, const tern_norm_quant_args *a)
{
    static float x[K_MAX], y[K_MAX], squares[K_MAX];
    const int k = a->k;
    const float mean = row_rule(row, k) / (float)k;
    for (int i = 0; i < k; i++) {
        x[i] = row[i];
        if (a->subtract_mean) x[i] -= mean;
        y[i] = x[i];
        if (a->gain) y[i] *= a->gain[i];
        squares[i] = x[i] * x[i];
    }
    float r = 1.0f, absmax = 0.0f;
    if (a->gain) r = 1.0f / sqrtf(row_rule(squares, k) / (float)k + a->eps);
    for (int i = 0; i < k; i++)
        if (fabsf(y[i]) > absmax) absmax = fabsf(y[i]);
    float A = absmax * r;
    if (!(A > 1e-5f)) A = 1e-5f;
    int sum = 0;
    for (int i = 0; i < k; i++) {
        float v = rintf(y[i] * ((127.0f / A) * r));
        if (v > 127.0f) v = 127.0f;
        if (v < -127.0f) v = -127.0f;
        q[i] = (int8_t)v;
        sum += q[i];
    }
    *scale = A / 127.0f;
    return sum;
}

static void test_equals_literal(void **state)
{
    (void)state;
    enum { T = 3 };
    static const int sizes[] = {1, 3, 4, 64, 100, 255, 256, 257, 2560, 5460};
    static float x[T * (K_MAX + 3)], gain[K_MAX];
    static int8_t q[T * K_MAX], expected[K_MAX];
    uint64_t seed = 5;
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        const int k = sizes[s], k_pad = (k + 63) / 64 * 64, ldx = k + 3;
        case_floats(x, T * ldx, 3.0f, &seed);
        case_floats(gain, k, 2.0f, &seed);
        for (int variant = 0; variant < 4; variant++) {
            float scale[T], expected_scale;
            int32_t sum[T];
            memset(q, 99, sizeof q);
            const tern_norm_quant_args a = {.q = q, .scale = scale, .sum = sum, .x = x, .ldx = ldx,
                                            .gain = variant & 1 ? gain : NULL, .k = k,
                                            .k_pad = k_pad, .eps = 1e-5f,
                                            .subtract_mean = variant >> 1};
            assert_int_equal(tern_norm_quant_ref(&a, (tern_range){1, T}), 0);
            assert_int_equal(tern_norm_quant_ref(&a, (tern_range){0, 1}), 0);
            for (int t = 0; t < T; t++) {
                assert_int_equal(sum[t], literal(expected, &expected_scale, x + t * ldx, &a));
                assert_memory_equal(q + t * k_pad, expected, (size_t)k);
                assert_memory_equal(&scale[t], &expected_scale, sizeof expected_scale);
                for (int i = k; i < k_pad; i++) assert_int_equal(q[t * k_pad + i], 0);
            }
        }
    }
}

/* Enough values that one wrong rounding in the factor, or one partial too few, moves some q. */
static void test_many_rows_equal_literal(void **state)
{
    (void)state;
    enum { K = 2560 };
    static float x[K], gain[K];
    static int8_t q[K], expected[K];
    uint64_t seed = 7;
    for (int round = 0; round < 600; round++) {
        float scale, expected_scale;
        int32_t sum;
        case_floats(x, K, 1.0f, &seed);
        case_floats(gain, K, 1.0f, &seed);
        if (round % 2)
            for (int i = 0; i < K; i++) x[i] += 100.0f;
        const tern_norm_quant_args a = {.q = q, .scale = &scale, .sum = &sum, .x = x, .ldx = K,
                                        .gain = round % 3 ? gain : NULL, .k = K, .k_pad = K,
                                        .eps = 1e-5f, .subtract_mean = round % 2};
        assert_int_equal(tern_norm_quant_ref(&a, (tern_range){0, 1}), 0);
        assert_int_equal(sum, literal(expected, &expected_scale, x, &a));
        assert_memory_equal(q, expected, K);
        assert_true(scale == expected_scale);
    }
}

/* The row before quantisation comes back within half a step, in double. */
static void test_near_double(void **state)
{
    (void)state;
    enum { K = 1000, K_PAD = 1024 };
    static float x[K], gain[K];
    static int8_t q[K_PAD];
    uint64_t seed = 6;
    case_floats(x, K, 0.01f, &seed);
    case_floats(gain, K, 5.0f, &seed);
    float scale;
    int32_t sum;
    const tern_norm_quant_args a = {.q = q, .scale = &scale, .sum = &sum, .x = x, .ldx = K,
                                    .gain = gain, .k = K, .k_pad = K_PAD, .eps = 1e-6f};
    assert_int_equal(tern_norm_quant_ref(&a, (tern_range){0, 1}), 0);
    double ss = 0.0;
    for (int i = 0; i < K; i++) ss += (double)x[i] * (double)x[i];
    const double r = 1.0 / sqrt(ss / K + 1e-6);
    for (int i = 0; i < K; i++) {
        const double y = (double)x[i] * r * (double)gain[i];
        assert_true(fabs(q[i] * (double)scale - y) <= 0.5001 * (double)scale);
    }
}

static void test_known_vector(void **state)
{
    (void)state;
    const float x[8] = {0.5f, -1.27f, 0.013f, 0.2f, -0.005f, 1.0f, 0.0f, 0.635f};
    const int8_t expected[8] = {50, -127, 1, 20, 0, 100, 0, 64};
    int8_t q[64];
    float scale;
    int32_t sum;
    const tern_norm_quant_args a = {.q = q, .scale = &scale, .sum = &sum, .x = x, .ldx = 8, .k = 8,
                                    .k_pad = 64, .eps = 1e-5f};
    assert_int_equal(tern_norm_quant_ref(&a, (tern_range){0, 1}), 0);
    assert_memory_equal(q, expected, sizeof expected);
    assert_int_equal(sum, 108);
    assert_true(scale == 1.27f / 127.0f);
}

static void test_zero_row(void **state)
{
    (void)state;
    const float x[64] = {0}, gain[64] = {1.0f};
    int8_t q[64], zero[64] = {0};
    float scale;
    int32_t sum;
    tern_norm_quant_args a = {.q = q, .scale = &scale, .sum = &sum, .x = x, .ldx = 64, .k = 64,
                              .k_pad = 64, .eps = 1e-5f};
    for (int variant = 0; variant < 2; variant++) {
        a.gain = variant ? gain : NULL;
        memset(q, 1, sizeof q);
        assert_int_equal(tern_norm_quant_ref(&a, (tern_range){0, 1}), 0);
        assert_memory_equal(q, zero, sizeof q);
        assert_true(scale == 1e-5f / 127.0f);
        assert_int_equal(sum, 0);
    }
}

static void test_non_finite_is_an_error(void **state)
{
    (void)state;
    static const float bad[] = {INFINITY, -INFINITY, NAN, 3e38f};
    float x[2 * 64], gain[64], scale[2];
    int8_t q[2 * 64], zero[64] = {0};
    int32_t sum[2];
    for (int i = 0; i < 64; i++) gain[i] = 1.0f;
    for (size_t b = 0; b < sizeof bad / sizeof bad[0]; b++) {
        for (int variant = 0; variant < 4; variant++) {
            for (int i = 0; i < 128; i++) x[i] = (float)i;
            x[17] = bad[b];
            const tern_norm_quant_args a = {.q = q, .scale = scale, .sum = sum, .x = x, .ldx = 64,
                                            .gain = variant & 1 ? gain : NULL, .k = 64, .k_pad = 64,
                                            .eps = 1e-5f, .subtract_mean = variant >> 1};
            assert_int_not_equal(tern_norm_quant_ref(&a, (tern_range){0, 2}), 0);
            assert_memory_equal(q, zero, sizeof zero);
            assert_true(scale[0] == 0.0f && sum[0] == 0);
            assert_int_equal(q[127], 127); /* the other row is whole */
            assert_int_equal(tern_norm_quant_ref(&a, (tern_range){1, 2}), 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equals_literal),       cmocka_unit_test(test_near_double),
        cmocka_unit_test(test_known_vector),         cmocka_unit_test(test_zero_row),
        cmocka_unit_test(test_non_finite_is_an_error),
        cmocka_unit_test(test_many_rows_equal_literal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
