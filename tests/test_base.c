/* test_base.c - the arithmetic that promise P1 rests on: f16, exact.h, Philox, checked sizes, each
 * against an oracle written in another way. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/exact.h"
#include "base/fail.h"
#include "base/memory.h"
#include "base/rng.h"
#include "base/units.h"

/* ---- f16 ------------------------------------------------------------------------------------- */

/* The value of a finite binary16, by its definition. */
static double f16_value(unsigned h)
{
    const double sign = h & 0x8000u ? -1.0 : 1.0;
    const int exponent = (int)(h >> 10 & 31u);
    const double mantissa = h & 0x3ffu;
    return sign * (exponent ? ldexp(1024.0 + mantissa, exponent - 25) : ldexp(mantissa, -24));
}

static void f16_every_value(void **state)
{
    (void)state;
    for (unsigned h = 0; h < 65536; h++) {
        const float x = tern_f32_from_f16((uint16_t)h);
        if ((h >> 10 & 31u) == 31) {
            assert_true((h & 0x3ffu) ? isnan(x) : isinf(x));
            assert_int_equal(tern_f32_bits(x) & 0x7fffffu, (h & 0x3ffu) << 13); /* payload kept */
            assert_int_equal(tern_f32_bits(x) >> 31, h >> 15);
            continue;
        }
        assert_true((double)x == f16_value(h));
        assert_int_equal(tern_f32_bits(x) >> 31, h >> 15); /* minus zero too */
        assert_int_equal(tern_f16_from_f32(x), h);
    }
    assert_int_equal(tern_f16_from_f32(INFINITY), 0x7bff);
    assert_int_equal(tern_f16_from_f32(-INFINITY), 0xfbff);
    assert_int_equal(tern_f16_from_f32(1e30f), 0x7bff);
}

/* Round to nearest even in double arithmetic: exact, as every step is a power of two or rint. */
static double f16_rounded(double x)
{
    if (fabs(x) >= 65504.0) return x < 0 ? -65504.0 : 65504.0;
    int exponent;
    frexp(x, &exponent);
    const int unit = (exponent < -13 ? -13 : exponent) - 11;
    return ldexp(rint(ldexp(x, -unit)), unit);
}

static void f16_rounds_to_nearest_even(void **state)
{
    (void)state;
    for (unsigned h = 0; h < 0x7bff; h++) { /* every midpoint and its neighbours */
        const float middle = (float)((f16_value(h) + f16_value(h + 1)) / 2);
        const float near[] = {nextafterf(middle, 0), middle, nextafterf(middle, 1e9f), -middle};
        for (int i = 0; i < 4; i++)
            assert_true(f16_value(tern_f16_from_f32(near[i])) == f16_rounded(near[i]));
    }
    for (uint32_t bits = 0; bits < 0x7f800000u; bits += 9973) {
        const float x = tern_f32_from_bits(bits);
        assert_true(f16_value(tern_f16_from_f32(x)) == f16_rounded(x));
    }
}

/* ---- exact.h --------------------------------------------------------------------------------- */

static void exp2_error(void **state)
{
    (void)state;
    for (int n = -126; n <= 126; n++) assert_true(tern_exp2((float)n) == ldexpf(1.0f, n));
    assert_true(tern_exp2(-1e30f) == 0x1p-126f && tern_exp2(1e30f) == 0x1p126f);
    double worst = 0;
    for (int i = -126 * 16384; i <= 126 * 16384; i++) {
        const float x = (float)i / 16384.0f;
        const double error = fabs((double)tern_exp2(x) / exp2((double)x) - 1.0);
        if (error > worst) worst = error;
    }
    for (uint32_t i = 0; i < 1000000; i++) {
        const float x = (float)((double)tern_random_u64(1, 0, i) * 0x1p-64 * 252.0 - 126.0);
        const double error = fabs((double)tern_exp2(x) / exp2((double)x) - 1.0);
        if (error > worst) worst = error;
    }
    print_message("exp2: worst relative error %.3g\n", worst);
    assert_true(worst < 1.5e-7); /* what exact.h states */
    assert_true(tern_exp2_weight(-64.0f) == 0x1p-64f);
    assert_true(tern_exp2_weight(nextafterf(-64.0f, -65.0f)) == 0.0f);
    assert_false(signbit(tern_exp2_weight(-1000.0f)));
}

static void activations(void **state)
{
    (void)state;
    for (int i = -4000; i <= 4000; i++) {
        const double x = i / 200.0;
        const double silu = x / (1.0 + exp(-x));
        const double gelu = 0.5 * x * (1.0 + tanh(sqrt(2.0 / M_PI) * (x + 0.044715 * x * x * x)));
        assert_true(fabs(tern_silu((float)x) - silu) <= 2e-6 * (1.0 + fabs(silu)));
        assert_true(fabs(tern_gelu_tanh((float)x) - gelu) <= 2e-6 * (1.0 + fabs(gelu)));
    }
    assert_true(tern_silu(0.0f) == 0.0f && tern_gelu_tanh(0.0f) == 0.0f);
    assert_true(tern_silu(1000.0f) == 1000.0f && fabsf(tern_silu(-1000.0f)) < 1e-30f);
    assert_true(tern_gelu_tanh(1000.0f) == 1000.0f && fabsf(tern_gelu_tanh(-1000.0f)) < 1e-30f);
}

static void log_error(void **state)
{
    (void)state;
    double worst = 0;
    for (uint32_t i = 0; i < 300000; i++) {
        const uint64_t r = tern_random_u64(2, 0, i);
        const double exponent = (double)(int)(r % 2140) - 1074.0;
        double x = ldexp(1.0 + (double)(r >> 12) * 0x1p-52, (int)exponent);
        if (i % 3 == 0) x = 1.0 + ((double)(r >> 12) * 0x1p-52 - 0.5) * 1e-3; /* near one */
        if (!(x > 0) || isinf(x)) continue;
        const double error = fabs(tern_log_f64(x) - log(x)) / (1.0 + fabs(log(x)));
        if (error > worst) worst = error;
    }
    print_message("log: worst error %.3g (1 + |ln x|)\n", worst);
    assert_true(worst < 1e-15);
    assert_true(tern_log_f64(1.0) == 0.0);
}

static void exp_error(void **state)
{
    (void)state;
    double worst = 0;
    for (uint32_t i = 0; i < 300000; i++) {
        const double x =
            ((double)tern_random_u64(3, 0, i) * 0x1p-64 - 0.5) * (i % 2 ? 1399.9 : 4.0);
        const double error = fabs(tern_exp_f64(x) / exp(x) - 1.0);
        if (error > worst) worst = error;
    }
    print_message("exp: worst relative error %.3g\n", worst);
    assert_true(worst < 1e-14);
    assert_true(tern_exp_f64(0.0) == 1.0);
}

static void sincos_at(double x, double *worst)
{
    double s, c;
    tern_sincos_f64(&s, &c, x);
    const double error = fmax(fabs(s - sin(x)), fabs(c - cos(x)));
    if (!(error <= *worst)) *worst = error;
}

static void sincos_error(void **state)
{
    (void)state;
    double worst = 0, far = 0, s, c;
    for (int position = 0; position <= 1 << 20; position += 7) { /* angles of a rotary table */
        const double frequency = exp(-log(500000.0) * (position % 64) / 64.0);
        sincos_at(position, &worst);
        sincos_at(position * frequency, &worst);
        sincos_at(-position * frequency, &worst);
    }
    for (int n = -4000; n <= 4000; n++)
        sincos_at(n * (M_PI / 4), &worst); /* where quadrants meet */
    for (uint32_t i = 0; i < 300000; i++)
        sincos_at(((double)tern_random_u64(4, 0, i) * 0x1p-64 - 0.5) * 0x1p31, &far);
    print_message("sincos: worst error %.3g to 2^20, %.3g to 2^30\n", worst, far);
    assert_true(worst < 1e-13 && far < 1e-13);
    tern_sincos_f64(&s, &c, 0.0);
    assert_true(s == 0.0 && c == 1.0);
}

/* N2 written with a second array instead of in place. */
static void tree_sum(void **state)
{
    (void)state;
    for (int p = 1; p <= 256; p *= 2) {
        float part[256], level[256];
        for (int j = 0; j < p; j++)
            level[j] = part[j] =
                (float)(tern_random_u64(5, (uint32_t)p, (uint32_t)j) >> 40) * 0x1.1p-9f;
        for (int n = p; n > 1; n /= 2) {
            float next[256];
            for (int j = 0; j < n / 2; j++) next[j] = level[j] + level[j + n / 2];
            memcpy(level, next, sizeof next);
        }
        assert_int_equal(tern_f32_bits(tern_tree_sum(part, p)), tern_f32_bits(level[0]));
    }
}

/* ---- the rest -------------------------------------------------------------------------------- */

/* Random123's kat_vectors for philox4x32-10. */
static void philox_known_answers(void **state)
{
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], out[4];
    } answers[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (int i = 0; i < 3; i++) {
        uint32_t out[4];
        tern_philox(out, answers[i].counter, answers[i].key);
        assert_memory_equal(out, answers[i].out, sizeof out);
    }
    assert_true(tern_random_u64(0, 0, 0) == 0xe169c58d6627e8d5u);
    assert_true(tern_random_u64(7, 0, 0) != tern_random_u64((uint64_t)7 << 32, 0, 0));
}

static void checked_sizes(void **state)
{
    (void)state;
    size_t n = 5;
    assert_true(tern_size_mul(&n, 3, 4) && n == 12);
    n = 5;
    assert_false(tern_size_mul(&n, SIZE_MAX / 2, 3));
    assert_true(tern_size_add(&n, SIZE_MAX - 1, 1) && n == SIZE_MAX);
    assert_false(tern_size_add(&n, SIZE_MAX, 1));
    assert_int_equal(tern_round_up(0, 64), 0);
    assert_int_equal(tern_round_up(65, 64), 128);
    assert_int_equal(tern_round_up(9, 3), 9);
}

static void allocation(void **state)
{
    (void)state;
    tern_error err = {0};
    uint8_t *p = (uint8_t *)1;
    assert_int_equal(tern_alloc(&p, SIZE_MAX / 2, 4, "a test", &err), TERN_E_FIT);
    assert_ptr_equal(p, (uint8_t *)1);
    assert_non_null(strstr(err.text, "no memory for a test"));
    assert_int_equal(tern_alloc_aligned(&p, SIZE_MAX - 3, "a test", &err), TERN_E_FIT);
    assert_int_equal(tern_alloc_aligned(&p, 65, "a test", &err), TERN_OK);
    assert_int_equal((uintptr_t)p % 64, 0);
    for (int i = 0; i < 65; i++) assert_int_equal(p[i], 0);
    free(p);
    const size_t large = ((size_t)4 << 20) + 65; /* takes the way of huge pages */
    assert_int_equal(tern_alloc_aligned(&p, large, "a test", &err), TERN_OK);
    assert_int_equal((uintptr_t)p % ((size_t)2 << 20), 0);
    for (size_t i = 0; i < large; i += 63) assert_int_equal(p[i], 0);
    assert_int_equal(p[large - 1], 0);
    free(p);
    assert_int_equal(tern_alloc(&p, 0, 8, "a test", &err), TERN_OK);
    assert_non_null(p);
    free(p);
}

static int stop_at_3(void *user, const char *activity, uint64_t done, uint64_t total)
{
    assert_string_equal(activity, "counting");
    assert_int_equal(total, 9);
    *(uint64_t *)user = done;
    return done == 3;
}

static void units(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double count;
        const char *rest;
    } counts[] = {{"0", 0, ""}, {"-3", -3, ""}, {"4k", 4096, ""}, {"4K,8k", 4096, ",8k"},
                  {"2M", 2097152, ""}, {"1kk", 1024, "k"}, {"3G", 3, "G"}};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        double count;
        const char *rest;
        assert_true(tern_read_count(&count, &rest, counts[i].text));
        assert_true(count == counts[i].count);
        assert_string_equal(rest, counts[i].rest);
    }
    double count;
    const char *rest;
    assert_false(tern_read_count(&count, &rest, "k"));
    assert_false(tern_read_count(&count, &rest, "99999999999999999999"));
    static const struct {
        const char *text;
        uint64_t bytes;
    } sizes[] = {{"7", 7}, {"7B", 7}, {"4KiB", 4096}, {"1.5MiB", 3 << 19}, {"2GiB", 1ull << 31},
                 {"1TiB", 1ull << 40}, {"2KB", 2000}, {"1MB", 1000000}, {"3GB", 3000000000}};
    uint64_t bytes;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        assert_true(tern_read_bytes(&bytes, sizes[i].text));
        assert_true(bytes == sizes[i].bytes);
    }
    static const char *const wrong[] = {"", "GiB", "-1", "4k", "1gib", "2000TiB", "nan", "inf"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_false(tern_read_bytes(&bytes, wrong[i]));
}

static void sentences(void **state)
{
    (void)state;
    tern_error err;
    char text[1000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    assert_int_equal(tern_fail(&err, TERN_E_DEVICE, "%s", text), TERN_E_DEVICE);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
    assert_int_equal(tern_fail(NULL, TERN_E_IO, "nobody listens"), TERN_E_IO);
    uint64_t seen = 0;
    const tern_progress progress = {.fn = stop_at_3, .user = &seen};
    assert_int_equal(tern_progress_report(&progress, "counting", 2, 9, &err), TERN_OK);
    assert_int_equal(tern_progress_report(&progress, "counting", 3, 9, &err), TERN_E_IO);
    assert_string_equal(err.text, "counting was interrupted");
    assert_int_equal(seen, 3);
    assert_int_equal(tern_progress_report(NULL, "counting", 3, 9, &err), TERN_OK);
    assert_string_equal(tern_version(), "0.1.0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(f16_every_value),
        cmocka_unit_test(f16_rounds_to_nearest_even),
        cmocka_unit_test(exp2_error),
        cmocka_unit_test(activations),
        cmocka_unit_test(log_error),
        cmocka_unit_test(exp_error),
        cmocka_unit_test(sincos_error),
        cmocka_unit_test(tree_sum),
        cmocka_unit_test(philox_known_answers),
        cmocka_unit_test(checked_sizes),
        cmocka_unit_test(allocation),
        cmocka_unit_test(units),
        cmocka_unit_test(sentences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
