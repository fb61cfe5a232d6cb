/* test_linear_ref.c - LINEAR against a dense s64 oracle, for shapes on and off every boundary. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "cases.h"
#include "cpu/ref/ref.h"

enum { T = 35 }; /* more than one block of tokens */

typedef struct problem {
    int k, k_pad, n_out;
    int8_t *w, *q;
    uint8_t *codes;
    float *w_scale, q_scale[T];
    int32_t q_sum[T];
} problem;

/* sign 0: random; else all weights are `sign` and all q -127. */
static problem make(int k, int n_out, int sign, uint64_t *seed)
{
    problem p = {.k = k, .k_pad = (k + 63) / 64 * 64, .n_out = n_out};
    p.w = case_alloc((size_t)n_out * (size_t)k);
    p.q = case_alloc((size_t)T * (size_t)p.k_pad);
    p.w_scale = case_alloc((size_t)n_out * sizeof(float));
    for (int i = 0; i < n_out * k; i++) p.w[i] = (int8_t)(sign ? sign : case_int(seed, -1, 1));
    for (int n = 0; n < n_out; n++) p.w_scale[n] = 0.5f + case_float(seed, 0.25f);
    for (int t = 0; t < T; t++) {
        p.q_scale[t] = 0.01f + case_float(seed, 0.005f);
        p.q_sum[t] = 0;
        for (int i = 0; i < k; i++) {
            const int q = sign ? -127 : case_int(seed, -127, 127);
            p.q[t * p.k_pad + i] = (int8_t)q;
            p.q_sum[t] += q;
        }
    }
    p.codes = case_pack_ternary(p.w, n_out, k);
    return p;
}

static void destroy(problem *p)
{
    free(p->w);
    free(p->q);
    free(p->codes);
    free(p->w_scale);
}

static tern_linear_args args_of(const problem *p, float *y, int64_t ldy, int accumulate)
{
    return (tern_linear_args){.y = y, .ldy = ldy, .q = p->q, .q_scale = p->q_scale,
                              .q_sum = p->q_sum, .codes = p->codes, .w_scale = p->w_scale,
                              .k_pad = p->k_pad, .n_out = p->n_out, .accumulate = accumulate};
}

static float oracle(const problem *p, int t, int n, float before, int accumulate)
{
    int64_t acc = 0;
    for (int i = 0; i < p->k; i++)
        acc += (int64_t)p->q[t * p->k_pad + i] * p->w[(size_t)n * (size_t)p->k + (size_t)i];
    const float v = (float)acc * (p->q_scale[t] * p->w_scale[n]);
    return accumulate ? before + v : v;
}

static void check(int k, int n_out, int sign)
{
    uint64_t seed = (uint64_t)(k * 1000 + n_out);
    problem p = make(k, n_out, sign, &seed);
    const int64_t ldy = n_out + 3;
    const size_t bytes = (size_t)(T * ldy) * sizeof(float);
    float *before = case_alloc(bytes), *y = case_alloc(bytes), *cut = case_alloc(bytes);
    case_floats(before, (int)(T * ldy), 10.0f, &seed);
    for (int accumulate = 0; accumulate < 2; accumulate++) {
        memcpy(y, before, bytes);
        memcpy(cut, before, bytes);
        const tern_linear_args a = args_of(&p, y, ldy, accumulate);
        tern_linear_ref(&a, (tern_range){0, T}, (tern_range){0, n_out});
        for (int t = 0; t < T; t++)
            for (int n = 0; n < (int)ldy; n++) {
                float expected = before[t * ldy + n];
                if (n < n_out) expected = oracle(&p, t, n, expected, accumulate);
                assert_true(y[t * ldy + n] == expected);
            }
        const tern_linear_args c = args_of(&p, cut, ldy, accumulate);
        for (int n = 0; n < n_out; n += 16) {
            const tern_range outputs = {n, n + 16 < n_out ? n + 16 : n_out};
            tern_linear_ref(&c, (tern_range){7, T}, outputs);
            tern_linear_ref(&c, (tern_range){0, 7}, outputs);
        }
        assert_memory_equal(y, cut, bytes);
    }
    free(before);
    free(y);
    free(cut);
    destroy(&p);
}

static void test_shapes(void **state)
{
    (void)state;
    static const int outs[] = {1, 15, 16, 17, 40}, inner[] = {4, 64, 100, 128, 5460};
    for (int i = 0; i < 5; i++)
        for (int j = 0; j < 5; j++) check(inner[j], outs[i], 0);
}

static void test_extremes(void **state)
{
    (void)state;
    check(23040, 17, 1);  /* all weights +1, all q -127 */
    check(23040, 17, -1); /* all weights -1 */
}

/* One row by hand: w = (+1, -1, 0, +1), q = (10, 20, 30, -40). */
static void test_known_answer(void **state)
{
    (void)state;
    const int8_t w[4] = {1, -1, 0, 1};
    int8_t q[64] = {10, 20, 30, -40};
    const float q_scale = 0.5f, w_scale = 4.0f;
    const int32_t q_sum = 20;
    uint8_t *codes = case_pack_ternary(w, 1, 4);
    /* codes 2, 0, 1, 2 in the low pairs of the first four bytes, weight 0 (code 1) elsewhere */
    assert_int_equal(codes[0], 0x56);
    assert_int_equal(codes[1], 0x54);
    assert_int_equal(codes[2], 0x55);
    assert_int_equal(codes[3], 0x56);
    float y = 7.0f;
    const tern_linear_args a = {.y = &y, .ldy = 1, .q = q, .q_scale = &q_scale, .q_sum = &q_sum,
                                .codes = codes, .w_scale = &w_scale, .k_pad = 64, .n_out = 1};
    tern_linear_ref(&a, (tern_range){0, 1}, (tern_range){0, 1});
    assert_true(y == -100.0f);
    free(codes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_known_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
