/* test_head_ref.c - HEAD: quantisation literally, logits against exact sums, TOP against sorting,
 * SCORE and its log-probability against double. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "cases.h"
#include "cpu/ref/ref.h"

enum { T = 5, ROWS = 3, D = 1100, K_PAD = 1152, N_VOCAB = 77, LDX = D + 4 };

typedef struct problem {
    float x[T * LDX], gain[D], xs[ROWS], scale[N_VOCAB], logits[ROWS * N_VOCAB];
    int16_t xq[ROWS * K_PAD];
    int8_t high[N_VOCAB * K_PAD], low[N_VOCAB * K_PAD];
    tern_head_args a;
} problem;

static const int32_t batch_rows[ROWS] = {4, 0, 2};
static problem p;

static void make(int with_low)
{
    uint64_t seed = 61;
    memset(&p, 0, sizeof p);
    case_floats(p.x, T * LDX, 3.0f, &seed);
    case_floats(p.gain, D, 1.0f, &seed);
    for (int v = 0; v < N_VOCAB; v++) {
        p.scale[v] = 1e-6f + case_float(&seed, 5e-7f);
        for (int i = 0; i < D; i++) {
            p.high[v * K_PAD + i] = (int8_t)case_int(&seed, -127, 127);
            p.low[v * K_PAD + i] = (int8_t)case_int(&seed, -128, 127);
        }
    }
    memset(p.xq, 1, sizeof p.xq);
    p.a = (tern_head_args){.x = p.x, .ldx = LDX, .rows = batch_rows, .gain = p.gain, .xq = p.xq,
                           .xs = p.xs, .high = p.high, .low = with_low ? p.low : NULL,
                           .scale = p.scale, .logits = p.logits, .ld_logits = N_VOCAB, .d = D,
                           .k_pad = K_PAD, .n_vocab = N_VOCAB, .eps = 1e-5f};
}

static void test_quant_equals_literal(void **state)
{
    (void)state;
    make(1);
    assert_int_equal(tern_head_quant_ref(&p.a, (tern_range){1, ROWS}), 0);
    assert_int_equal(tern_head_quant_ref(&p.a, (tern_range){0, 1}), 0);
    for (int row = 0; row < ROWS; row++) {
        const float *x = p.x + batch_rows[row] * LDX;
        float part[256] = {0}, absmax = 0.0f;
        for (int i = 0; i < D; i++) part[i % 256] += x[i] * x[i];
        for (int h = 128; h > 0; h /= 2)
            for (int j = 0; j < h; j++) part[j] += part[j + h];
        const float r = 1.0f / sqrtf(part[0] / 1100.0f + 1e-5f);
        for (int i = 0; i < D; i++) absmax = fmaxf(absmax, fabsf(x[i] * p.gain[i]));
        const float A = fmaxf(absmax * r, 1e-5f);
        for (int i = 0; i < K_PAD; i++) {
            float q = i < D ? rintf((x[i] * p.gain[i]) * ((16319.0f / A) * r)) : 0.0f;
            q = fminf(fmaxf(q, -16319.0f), 16319.0f);
            assert_int_equal(p.xq[row * K_PAD + i], (int)q);
        }
        assert_true(p.xs[row] == A / 16319.0f);
    }
    p.x[2 * LDX + 9] = INFINITY; /* batch row 2 */
    assert_int_equal(tern_head_quant_ref(&p.a, (tern_range){0, 2}), 0);
    assert_int_not_equal(tern_head_quant_ref(&p.a, (tern_range){0, ROWS}), 0);
    assert_true(p.xs[2] == 0.0f && p.xq[2 * K_PAD] == 0 && p.xq[3 * K_PAD - 1] == 0);
}

static void check_logits(int with_low)
{
    make(with_low);
    tern_head_quant_ref(&p.a, (tern_range){0, ROWS});
    tern_head_logits_ref(&p.a, (tern_range){0, 2}, (tern_range){0, N_VOCAB});
    tern_head_logits_ref(&p.a, (tern_range){2, ROWS}, (tern_range){50, N_VOCAB});
    tern_head_logits_ref(&p.a, (tern_range){2, ROWS}, (tern_range){0, 50});
    for (int row = 0; row < ROWS; row++)
        for (int v = 0; v < N_VOCAB; v++) {
            int64_t total = 0;
            for (int i = 0; i < D; i++) {
                const int w = 256 * p.high[v * K_PAD + i] + (with_low ? p.low[v * K_PAD + i] : 0);
                total += (int64_t)p.xq[row * K_PAD + i] * w;
            }
            assert_true(p.logits[row * N_VOCAB + v] == (float)total * (p.xs[row] * p.scale[v]));
        }
}

static void test_logits_are_exact(void **state)
{
    (void)state;
    check_logits(1);
    check_logits(0);
}

/* The largest products there are, in every position: no 32-bit sum on the way may overflow. */
static void test_logits_extremes(void **state)
{
    (void)state;
    enum { K = 8192 };
    static int16_t xq[K];
    static int8_t high[2 * K], low[2 * K];
    const float xs = 1.0f, scale[2] = {1.0f, 1.0f};
    float logits[2];
    for (int i = 0; i < K; i++) {
        xq[i] = -16319;
        high[i] = -127, low[i] = -128;
        high[K + i] = 127, low[K + i] = 127;
    }
    const tern_head_args a = {.xq = xq, .xs = (float *)(uintptr_t)&xs, .high = high, .low = low,
                              .scale = scale, .logits = logits, .ld_logits = 2, .d = K, .k_pad = K,
                              .n_vocab = 2};
    tern_head_logits_ref(&a, (tern_range){0, 1}, (tern_range){0, 2});
    assert_true(logits[0] == (float)((int64_t)K * 16319 * (127 * 256 + 128)));
    assert_true(logits[1] == (float)((int64_t)K * -16319 * (127 * 256 + 127)));
}

static int by_rank(const void *a, const void *b)
{
    const tern_candidate *x = a, *y = b;
    if (x->logit != y->logit) return x->logit > y->logit ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

static void test_top_equals_sorting(void **state)
{
    (void)state;
    enum { N = 2000 };
    static float logits[N];
    static tern_candidate sorted[N], top[N + 1];
    static const int counts[] = {0, 1, 2, 3, 40, 64, 1999, 2000};
    uint64_t seed = 62;
    for (int i = 0; i < N; i++) /* many ties, among them -0 with +0 */
        logits[i] = i % 3 ? (float)case_int(&seed, -5, 5) * 0.5f : i % 2 ? 0.0f : -0.0f;
    for (int i = 0; i < N; i++) sorted[i] = (tern_candidate){logits[i], i};
    qsort(sorted, N, sizeof sorted[0], by_rank);
    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
        const int n = counts[c];
        memset(top, 0x55, sizeof top);
        tern_head_top_ref(top, logits, N, n);
        assert_memory_equal(top, sorted, (size_t)n * sizeof top[0]);
        assert_int_equal(top[n].id, 0x55555555);
    }
}

static void test_score_near_double(void **state)
{
    (void)state;
    enum { N = 5000 };
    static float logits[N];
    uint64_t seed = 63;
    case_floats(logits, N, 15.0f, &seed);
    double largest = -1e300, sum = 0.0;
    for (int i = 0; i < N; i++) /* not fmax: GCC 12 for arm64 crashes on its reduction */
        if ((double)logits[i] > largest) largest = (double)logits[i];
    for (int i = 0; i < N; i++) sum += exp((double)logits[i] - largest);
    tern_score score;
    tern_head_score_ref(&score, logits, N, 123);
    assert_true((double)score.max_logit == largest && score.target_logit == logits[123]);
    for (int i = 0; i < N; i += 97) {
        const double exact = (double)logits[i] - largest - log(sum);
        assert_true(fabs(tern_score_logprob(&score, logits[i]) - exact) < 1e-6);
    }
}

static void test_score_known_answers(void **state)
{
    (void)state;
    const float two[2] = {1.5f, 1.5f};
    tern_score score;
    tern_head_score_ref(&score, two, 2, 1);
    assert_true(score.sum == (uint64_t)1 << 41 && score.max_logit == 1.5f);
    assert_true(fabs(tern_score_logprob(&score, 1.5f) + log(2.0)) < 1e-15);
    const float alone[3] = {100.0f, -100.0f, 50.0f}; /* e^-50 is 2^-72: nothing */
    tern_head_score_ref(&score, alone, 3, 0);
    assert_true(score.sum == (uint64_t)1 << 40);
    assert_true(tern_score_logprob(&score, 100.0f) == 0.0);
    assert_true(tern_score_logprob(&score, -100.0f) == -200.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quant_equals_literal), cmocka_unit_test(test_logits_are_exact),
        cmocka_unit_test(test_logits_extremes),      cmocka_unit_test(test_top_equals_sorting),
        cmocka_unit_test(test_score_near_double),    cmocka_unit_test(test_score_known_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
