/* top_score_avx2.c - what is taken from the logits of a row: the n best, and the parts of a
 * log-probability (N8). Reads the row once; the heap is that of ref, so its rare work is too.
 * Measured with kerncheck --bench on a Zen 4, 2-core VM, 128256 logits: the best 40 in 45 us, 7 x
 * ref; score in 128 us, 14 x ref. */
#include "cpu/x86/float_avx2.h"
#include "cpu/x86/x86.h"

static void take(tern_candidate *top, int n, tern_candidate c)
{
    if (!tern_candidate_better(c, top[0])) return;
    top[0] = c;
    tern_heap_sift(top, n, tern_candidate_worse);
}

void tern_head_top_avx2(tern_candidate *top, const float *logits, int n_vocab, int n)
{
    if (n == 0) return;
    for (int v = 0; v < n; v++) top[v] = (tern_candidate){logits[v], v};
    tern_heap_make(top, n, tern_candidate_worse);
    int v = n;
    for (; v + 8 <= n_vocab; v += 8) {
        /* A later id must be above the worst kept logit, not equal to it. */
        const __m256 x = _mm256_loadu_ps(logits + v), worst = _mm256_set1_ps(top[0].logit);
        int above = _mm256_movemask_ps(_mm256_cmp_ps(x, worst, _CMP_GT_OQ));
        for (; above; above &= above - 1) {
            const int id = v + __builtin_ctz((unsigned)above);
            take(top, n, (tern_candidate){logits[id], id});
        }
    }
    for (; v < n_vocab; v++) take(top, n, (tern_candidate){logits[v], v});
    for (int left = n; left > 1; left--) tern_heap_pop(top, left, tern_candidate_worse);
}

/* (u64)(w * 2^40) of four weights 0 <= w <= 1: in double all of it is exact, and an integer below
 * 2^52 is the low bits of itself plus 2^52. */
static INLINE __m256i weights_u64(__m128 w)
{
    const __m256d scaled = _mm256_mul_pd(_mm256_cvtps_pd(w), _mm256_set1_pd(0x1p40));
    const __m256d whole = _mm256_round_pd(scaled, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC);
    const __m256d base = _mm256_set1_pd(0x1p52);
    return _mm256_xor_si256(_mm256_castpd_si256(_mm256_add_pd(whole, base)),
                            _mm256_castpd_si256(base));
}

void tern_head_score_avx2(tern_score *score, const float *logits, int n_vocab, int target)
{
    __m256 most = _mm256_set1_ps(logits[0]);
    for (int v = 0; v < n_vocab; v += 8) {
        const __m256 x = load_below(logits, v, n_vocab);
        const __m256 present = _mm256_castsi256_ps(lanes_below(n_vocab - v));
        most = _mm256_max_ps(most, _mm256_blendv_ps(most, x, present));
    }
    const float largest = max_of_8(most);
    __m256i sum = _mm256_setzero_si256();
    for (int v = 0; v < n_vocab; v += 8) {
        const __m256 x = _mm256_sub_ps(load_below(logits, v, n_vocab), _mm256_set1_ps(largest));
        const __m256 present = _mm256_castsi256_ps(lanes_below(n_vocab - v));
        const __m256 w = _mm256_and_ps(
            exp2_weight_8(_mm256_mul_ps(x, _mm256_set1_ps(TERN_LOG2E_F))), present);
        sum = _mm256_add_epi64(sum, weights_u64(_mm256_castps256_ps128(w)));
        sum = _mm256_add_epi64(sum, weights_u64(_mm256_extractf128_ps(w, 1)));
    }
    uint64_t parts[4];
    _mm256_storeu_si256((__m256i *)(void *)parts, sum);
    *score = (tern_score){.max_logit = largest,
                          .target_logit = logits[target],
                          .sum = parts[0] + parts[1] + parts[2] + parts[3]};
}
