/* test_norm_ref.c - NORM, ADD and POOL near double, bitwise where the order is the point. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "cases.h"
#include "cpu/ref/ref.h"

static void test_norm(void **state)
{
    (void)state;
    enum { T = 3, N = 700, LD = 710 };
    static float x[T * LD], y[T * LD], gain[N];
    uint64_t seed = 51;
    case_floats(x, T * LD, 2.0f, &seed);
    case_floats(gain, N, 1.5f, &seed);
    tern_norm_args a = {.y = y, .x = x, .gain = gain, .ldy = LD, .ldx = LD, .n = N, .eps = 1e-5f};
    tern_norm_ref(&a, (tern_range){0, T});
    for (int t = 0; t < T; t++) {
        double ss = 0.0;
        for (int i = 0; i < N; i++) ss += (double)x[t * LD + i] * (double)x[t * LD + i];
        float part[256] = {0};
        for (int i = 0; i < N; i++) part[i % 256] += x[t * LD + i] * x[t * LD + i];
        for (int h = 128; h > 0; h /= 2)
            for (int j = 0; j < h; j++) part[j] += part[j + h];
        const float r = 1.0f / sqrtf(part[0] / 700.0f + 1e-5f);
        for (int i = 0; i < N; i++) {
            const float literal = (x[t * LD + i] * r) * gain[i];
            assert_true(y[t * LD + i] == literal);
            const double exact = (double)x[t * LD + i] * (double)gain[i] / sqrt(ss / N + 1e-5);
            assert_true(fabs(y[t * LD + i] - exact) <= 1e-6 * fabs(exact));
        }
    }
    a.y = x; /* in place */
    tern_norm_ref(&a, (tern_range){1, T});
    tern_norm_ref(&a, (tern_range){0, 1});
    for (int t = 0; t < T; t++) assert_memory_equal(x + t * LD, y + t * LD, N * sizeof(float));
}

static void test_add(void **state)
{
    (void)state;
    float a[10] = {1.0f, 2.0f, 3.0f, 4.0f, -1.0f, 5.0f, 6.0f, 7.0f, 8.0f, -1.0f};
    const float b[8] = {0x1p-24f, 10.0f, 20.0f, 30.0f, 40.0f, 50.0f, 60.0f, 70.0f};
    const float expected[10] = {1.0f,  12.0f, 23.0f, 34.0f, -1.0f,
                                45.0f, 56.0f, 67.0f, 78.0f, -1.0f};
    const tern_add_args args = {.y = a, .a = a, .b = b, .ldy = 5, .lda = 5, .ldb = 4, .n = 4};
    tern_add_ref(&args, (tern_range){0, 2});
    assert_memory_equal(a, expected, sizeof a);
}

/* The mean of n rows by the row rule, then L2, literally. */
static void literal_mean(float *y, const float *x, int ldx, int n, int d)
{
    for (int c = 0; c < d; c++) {
        float part[256];
        for (int p = 0; p < 256; p++) {
            part[p] = 0.0f;
            for (int i = p; i < n; i += 256) part[p] += x[i * ldx + c];
        }
        for (int h = 128; h > 0; h /= 2)
            for (int j = 0; j < h; j++) part[j] += part[j + h];
        y[c] = part[0] / (float)n;
    }
}

static void literal_unit(float *y, int d)
{
    float part[256] = {0};
    for (int i = 0; i < d; i++) part[i % 256] += y[i] * y[i];
    for (int h = 128; h > 0; h /= 2)
        for (int j = 0; j < h; j++) part[j] += part[j + h];
    for (int i = 0; i < d; i++) y[i] = part[0] == 0.0f ? 0.0f : y[i] / sqrtf(part[0]);
}

static void test_pool(void **state)
{
    (void)state;
    enum { N_TOK = 305, D = 37, LD = 40, N_SEQ = 5 };
    static const int first[N_SEQ + 1] = {0, 1, 3, 303, 303, 305}; /* sequence 3 has no tokens */
    static float x[N_TOK * LD], y[N_SEQ * LD], expected[LD];
    int32_t seq[N_TOK];
    uint64_t seed = 52;
    case_floats(x, N_TOK * LD, 2.0f, &seed);
    for (int s = 0; s < N_SEQ; s++)
        for (int t = first[s]; t < first[s + 1]; t++) seq[t] = s;
    memset(x + 303 * LD, 0, 2 * LD * sizeof(float)); /* and sequence 4 is all zero */
    for (int pooling = TERN_POOL_MEAN; pooling <= TERN_POOL_LAST; pooling++) {
        const tern_pool_args a = {.y = y, .x = x, .ldy = LD, .ldx = LD, .seq = seq, .n_tok = N_TOK,
                                  .d = D, .pooling = (tern_pooling)pooling};
        memset(y, 1, sizeof y);
        tern_pool_ref(&a, (tern_range){2, N_SEQ});
        tern_pool_ref(&a, (tern_range){0, 2});
        for (int s = 0; s < N_SEQ; s++) {
            const int n = first[s + 1] - first[s];
            memset(expected, 0, sizeof expected);
            if (n > 0 && pooling == TERN_POOL_MEAN)
                literal_mean(expected, x + first[s] * LD, LD, n, D);
            else if (n > 0)
                memcpy(expected, x + (first[s + 1] - 1) * LD, D * sizeof(float));
            literal_unit(expected, D);
            assert_memory_equal(y + s * LD, expected, D * sizeof(float));
        }
        double length = 0.0;
        for (int i = 0; i < D; i++) length += (double)y[2 * LD + i] * (double)y[2 * LD + i];
        assert_true(fabs(length - 1.0) < 1e-6);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_norm),
        cmocka_unit_test(test_add),
        cmocka_unit_test(test_pool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
