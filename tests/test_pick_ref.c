/* test_pick_ref.c - PICK against sorting, known sets and the distribution of its draws. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/rng.h"
#include "cases.h"
#include "cpu/ref/ref.h"

#define MAX_VOCAB 3000
#define N_DRAWS 100000

static _Alignas(8) unsigned char scratch[MAX_VOCAB * TERN_PICK_SCRATCH_PER_TOKEN];

static int32_t pick_logits(const float *logits, int n_vocab, const tern_pick *pick)
{
    const tern_pick_args a = {
        .logits = logits, .n_vocab = n_vocab, .pick = pick, .scratch = scratch};
    return tern_pick_ref(&a);
}

static int32_t pick_top(const float *logits, int n_vocab, int n, const tern_pick *pick)
{
    static tern_candidate top[MAX_VOCAB];
    tern_head_top_ref(top, logits, n_vocab, n);
    const tern_pick_args a = {
        .top = top, .n = n, .n_vocab = n_vocab, .pick = pick, .scratch = scratch};
    return tern_pick_ref(&a);
}

/* ---- the contract by sorting ----------------------------------------------------------------- */

typedef struct token {
    float logit;
    int32_t id;
    uint64_t weight;
} token;

static int by_rank(const void *a, const void *b)
{
    const token *x = a, *y = b;
    if (x->logit != y->logit) return x->logit > y->logit ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

static int by_id(const void *a, const void *b)
{
    return ((const token *)a)->id < ((const token *)b)->id ? -1 : 1;
}

static float adjusted(float l, int id, const tern_pick *pick)
{
    for (int i = 0; i < pick->n_counts; i++) {
        if (pick->count_ids[i] != id) continue;
        const float repetition = pick->repetition;
        if (repetition != 0.0f && repetition != 1.0f)
            l = l > 0.0f ? l / repetition : l * repetition;
        if (pick->counts[i] > 0 && (pick->presence != 0.0f || pick->frequency != 0.0f))
            l = (l - pick->frequency * (float)pick->counts[i]) - pick->presence;
    }
    for (int i = 0; i < pick->n_bias; i++)
        if (pick->bias_ids[i] == id) l = l + pick->bias[i];
    return l;
}

static uint64_t sum_of(const token *t, int n)
{
    uint64_t sum = 0;
    for (int i = 0; i < n; i++) sum += t[i].weight;
    return sum;
}

static int32_t oracle(const float *logits, int n_vocab, const tern_pick *pick)
{
    static token t[MAX_VOCAB];
    int n = 0;
    for (int id = 0; id < n_vocab; id++)
        if (!pick->mask || pick->mask[id / 32] & 1u << id % 32)
            t[n++] = (token){adjusted(logits[id], id, pick), id, 0};
    if (n == 0) return -1;
    qsort(t, (size_t)n, sizeof t[0], by_rank);
    if (pick->temperature == 0.0f) return t[0].id;
    for (int i = 0; i < n; i++) {
        const float x = (t[i].logit - t[0].logit) * (TERN_LOG2E_F / pick->temperature);
        t[i].weight = x < -64.0f ? 0 : (uint64_t)(tern_exp2(x) * 1099511627776.0f);
    }
    if (pick->top_k > 0 && pick->top_k < n) n = pick->top_k;
    if (pick->top_p > 0.0f && pick->top_p < 1.0f) {
        const uint64_t enough = (uint64_t)((double)pick->top_p * (double)sum_of(t, n));
        int prefix = 1;
        while (sum_of(t, prefix) < enough) prefix++;
        n = prefix;
    }
    int kept = 1;
    while (kept < n && t[kept].weight >= (uint64_t)(pick->min_p * 1099511627776.0f)) kept++;
    qsort(t, (size_t)kept, sizeof t[0], by_id);
    const uint64_t r = tern_random_u64(pick->seed, pick->choice, pick->position);
    __extension__ const unsigned __int128 product = (unsigned __int128)r * sum_of(t, kept);
    int i = 0;
    while (sum_of(t, i + 1) <= (uint64_t)(product >> 64)) i++;
    return t[i].id;
}

/* ---- everything at once ---------------------------------------------------------------------- */

static void random_logits(float *logits, int n, uint64_t *seed)
{
    const int coarse = case_int(seed, 0, 1); /* many ties, or none */
    for (int i = 0; i < n; i++)
        logits[i] = coarse ? (float)case_int(seed, -8, 8) * 0.5f : case_float(seed, 12.0f);
}

static void test_equals_sorting(void **state)
{
    (void)state;
    static const float temperatures[] = {0.0f, 0.3f, 1.0f, 2.5f};
    static const float ps[] = {0.0f, 1e-9f, 0.5f, 0.9f, 1.0f}, mins[] = {0.0f, 0.01f, 0.3f, 1.0f};
    static const int ks[] = {0, 1, 2, 7, 40, 5000};
    static float logits[MAX_VOCAB];
    uint64_t seed = 71;
    for (int round = 0; round < 4000; round++) {
        const int n = case_int(&seed, 1, round % 50 ? 60 : MAX_VOCAB);
        random_logits(logits, n, &seed);
        int32_t ids[20], counts[20];
        float bias[20];
        uint32_t mask[MAX_VOCAB / 32 + 1];
        const int listed = case_int(&seed, 0, n < 20 ? n : 20);
        for (int i = 0; i < listed; i++) {
            ids[i] = i * (n / (listed ? listed : 1));
            counts[i] = case_int(&seed, 0, 3);
            bias[i] = case_float(&seed, 5.0f);
        }
        for (int i = 0; i <= n / 32; i++) mask[i] = (uint32_t)case_next(&seed) | 1u;
        const tern_pick pick = {
            .temperature = temperatures[case_int(&seed, 0, 3)],
            .top_k = ks[case_int(&seed, 0, 5)],
            .top_p = ps[case_int(&seed, 0, 4)],
            .min_p = mins[case_int(&seed, 0, 3)],
            .repetition = (float)case_int(&seed, 0, 4) * 0.5f,
            .presence = (float)case_int(&seed, 0, 1) * 0.25f,
            .frequency = (float)case_int(&seed, 0, 1) * 0.125f,
            .seed = case_next(&seed),
            .choice = (uint32_t)round,
            .position = (uint32_t)round * 3,
            .n_bias = case_int(&seed, 0, 1) ? listed : 0,
            .n_counts = case_int(&seed, 0, 1) ? listed : 0,
            .bias_ids = ids,
            .bias = bias,
            .count_ids = ids,
            .counts = counts,
            .mask = case_int(&seed, 0, 2) ? NULL : mask};
        const int32_t expected = oracle(logits, n, &pick);
        assert_int_equal(pick_logits(logits, n, &pick), expected);
        assert_int_equal(pick_top(logits, n, n, &pick), expected);
        if (pick.n_bias || pick.n_counts || pick.mask) continue;
        if (pick.top_k > 0 && pick.top_k < n)
            assert_int_equal(pick_top(logits, n, pick.top_k, &pick), expected);
        if (pick.temperature == 0.0f) assert_int_equal(pick_top(logits, n, 1, &pick), expected);
    }
}

/* ---- small answers one can check by eye ------------------------------------------------------ */

static void test_greedy_and_ties(void **state)
{
    (void)state;
    const float ties[6] = {1.0f, 3.0f, 2.0f, 3.0f, 3.0f, -1.0f};
    const float zeros[3] = {-0.0f, 0.0f, -1.0f};
    const tern_pick greedy = {0};
    assert_int_equal(pick_logits(ties, 6, &greedy), 1);
    assert_int_equal(pick_logits(zeros, 3, &greedy), 0);
    assert_int_equal(pick_top(ties, 6, 3, &greedy), 1);
    const uint32_t mask = 0x29, none = 0; /* ids 0, 3, 5 */
    const tern_pick masked = {.mask = &mask}, nothing = {.mask = &none};
    assert_int_equal(pick_logits(ties, 6, &masked), 3);
    assert_int_equal(pick_logits(ties, 6, &nothing), -1);
}

static void test_adjustments(void **state)
{
    (void)state;
    const float logits[4] = {4.0f, 3.5f, -1.0f, 3.0f};
    const int32_t ids[2] = {0, 1}, once[2] = {1, 0}, often[2] = {3, 1}, two = 2;
    const float up = 6.0f;
    const tern_pick repetition = {
        .repetition = 1.25f, .n_counts = 2, .count_ids = ids, .counts = once};
    assert_int_equal(pick_logits(logits, 4, &repetition), 0); /* 4/1.25 = 3.2, 3.5/1.25 = 2.8 */
    const tern_pick frequency = {
        .frequency = 0.25f, .n_counts = 2, .count_ids = ids, .counts = often};
    assert_int_equal(pick_logits(logits, 4, &frequency), 0); /* 3.25 ties with 3.25: lower id */
    const tern_pick presence = {
        .presence = 2.0f, .n_counts = 2, .count_ids = ids, .counts = often};
    assert_int_equal(pick_logits(logits, 4, &presence), 3);
    const tern_pick biased = {.n_bias = 1, .bias_ids = &two, .bias = &up};
    assert_int_equal(pick_logits(logits, 4, &biased), 2);
}

/* Every id that N_DRAWS positions draw, as counts. */
static void draw_many(int *counts, const float *logits, int n, tern_pick pick)
{
    memset(counts, 0, (size_t)n * sizeof *counts);
    for (uint32_t position = 0; position < N_DRAWS; position++) {
        pick.position = position;
        counts[pick_logits(logits, n, &pick)]++;
    }
}

/* Counts within 5 standard deviations of p/sum(p) each, and chi-square near its mean. */
static void check_distribution(const int *counts, const double *p, int n)
{
    double total = 0.0, chi2 = 0.0;
    int kept = 0;
    for (int i = 0; i < n; i++) total += p[i];
    for (int i = 0; i < n; i++) {
        const double mean = N_DRAWS * p[i] / total, difference = counts[i] - mean;
        if (mean == 0.0) assert_int_equal(counts[i], 0);
        if (mean == 0.0) continue;
        assert_true(fabs(difference) <= 5.0 * sqrt(mean) + 1.0);
        chi2 += difference * difference / mean;
        kept++;
    }
    assert_true(chi2 <= kept - 1 + 5.0 * sqrt(2.0 * kept));
}

enum { N = 12 };
/* p(id) is 2^-rank, so that sets are known by eye. Ids are not in order of rank. */
static const int rank_of[N] = {3, 0, 7, 1, 11, 2, 4, 10, 5, 9, 6, 8};

static void check_set(tern_pick pick, int kept)
{
    float logits[N];
    double p[N];
    int counts[N];
    for (int i = 0; i < N; i++) {
        logits[i] = (float)(-rank_of[i] * log(2.0) * (double)pick.temperature);
        p[i] = rank_of[i] < kept ? exp2(-rank_of[i]) : 0.0;
    }
    draw_many(counts, logits, N, pick);
    check_distribution(counts, p, N);
}

static void test_sets_and_distribution(void **state)
{
    (void)state;
    check_set((tern_pick){.temperature = 1.0f, .seed = 1}, N);
    check_set((tern_pick){.temperature = 0.5f, .seed = 2, .choice = 3}, N);
    check_set((tern_pick){.temperature = 1.0f, .seed = 3, .top_k = 5}, 5);
    check_set((tern_pick){.temperature = 2.0f, .seed = 4, .top_p = 0.74f}, 2);  /* 1/2 + 1/4 */
    check_set((tern_pick){.temperature = 1.0f, .seed = 5, .top_p = 0.76f}, 3);
    check_set((tern_pick){.temperature = 1.0f, .seed = 6, .min_p = 0.0624f}, 5); /* 1 .. 1/16 */
    check_set((tern_pick){.temperature = 1.0f, .seed = 7, .top_p = 1e-20f}, 1);
    check_set((tern_pick){.temperature = 1.0f, .seed = 8, .min_p = 7.0f}, 1);
    /* of the first 3 (1, 1/2, 1/4) the prefix that reaches 0.8 of 1.75: two of them */
    check_set((tern_pick){.temperature = 1.0f, .seed = 9, .top_k = 3, .top_p = 0.8f}, 2);
    check_set((tern_pick){.temperature = 1.0f, .seed = 10, .top_k = 6, .min_p = 0.2f}, 3);
}

/* The draw follows softmax of arbitrary logits. */
static void test_softmax_distribution(void **state)
{
    (void)state;
    enum { V = 40 };
    float logits[V];
    double p[V];
    int counts[V];
    uint64_t seed = 72;
    case_floats(logits, V, 2.0f, &seed);
    for (int i = 0; i < V; i++) p[i] = exp((double)logits[i] / 0.8);
    draw_many(counts, logits, V, (tern_pick){.temperature = 0.8f, .seed = 0x123456789abcdefu});
    check_distribution(counts, p, V);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equals_sorting),        cmocka_unit_test(test_greedy_and_ties),
        cmocka_unit_test(test_adjustments),           cmocka_unit_test(test_sets_and_distribution),
        cmocka_unit_test(test_softmax_distribution),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
