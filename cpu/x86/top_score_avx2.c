/* top_score_avx2.c - what is taken from the logits of a row: the n best, and the parts of a
 * log-probability (N8). Reads the row once; the heap is that of ref, so its rare work is too.
 * Measured with kerncheck --bench on a Zen 4, 2-core VM, 128256 logits: the best 40 in 45 us, 7 x
 * ref; score in 101 us, 17 x ref. */
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

void tern_head_score_avx2(tern_score *score, const float *logits, int n_vocab, int target)
{
    const float largest = row_max_8(logits, n_vocab);
    __m256i sum = _mm256_setzero_si256();
    for (int v = 0; v < n_vocab; v += 8)
        sum = _mm256_add_epi64(sum, weights_of_8(logits, largest, TERN_LOG2E_F, v, n_vocab));
    *score = (tern_score){
        .max_logit = largest, .target_logit = logits[target], .sum = sum_of_4(sum),
    };
}
