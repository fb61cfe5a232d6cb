/* head_ref.c - HEAD (N7): the last norm, 15-bit activations, exact fixed-point logits, and what is
 * taken from them: the n best and the parts of a log-probability. */
#include "cpu/ref/ref.h"

#define HEAD_LIMIT 16319.0f
#define COLS 64    /* k_pad is a multiple */
#define CHUNK 1024 /* products of one plane that fit s32: 1024 * 16319 * 128 < 2^31 */

static int quant_row(const tern_head_args *a, int row)
{
    const float *x = a->x + a->rows[row] * a->ldx;
    int16_t *xq = a->xq + (size_t)row * (size_t)a->k_pad;
    memset(xq, 0, (size_t)a->k_pad * sizeof *xq);
    a->xs[row] = 0.0f;

    const float ss = tern_row_sum_squares(x, 0.0f, a->d);
    if (!tern_is_finite(ss)) return 1;
    float absmax = 0.0f;
    for (int i = 0; i < a->d; i++) absmax = tern_max(absmax, fabsf(x[i] * a->gain[i]));
    const float r = tern_inverse_rms(ss, a->d, a->eps);
    const float range = tern_quant_range(absmax, r);
    const float factor = (HEAD_LIMIT / range) * r;
    for (int i = 0; i < a->d; i++)
        xq[i] = (int16_t)tern_round_clamp((x[i] * a->gain[i]) * factor, HEAD_LIMIT);
    a->xs[row] = range / HEAD_LIMIT;
    return 0;
}

int tern_head_quant_ref(const tern_head_args *a, tern_range rows)
{
    int failed = 0;
    for (int row = rows.begin; row < rows.end; row++) failed |= quant_row(a, row);
    return failed;
}

static int32_t dot_block(const int16_t *x, const int8_t *plane)
{
    int32_t sum = 0;
    for (int i = 0; i < COLS; i++) sum += x[i] * (int16_t)plane[i];
    return sum;
}

/* sum_i x_i * plane_i, exact. */
static int64_t dot_plane(const int16_t *x, const int8_t *plane, int k_pad)
{
    int64_t total = 0;
    for (int chunk = 0; chunk < k_pad; chunk += CHUNK) {
        const int end = k_pad - chunk < CHUNK ? k_pad : chunk + CHUNK;
        int32_t sum = 0;
        for (int i = chunk; i < end; i += COLS) sum += dot_block(x + i, plane + i);
        total += sum;
    }
    return total;
}

void tern_head_logits_ref(const tern_head_args *a, tern_range rows, tern_range vocab)
{
    for (int v = vocab.begin; v < vocab.end; v++) {
        const int8_t *high = a->high + (size_t)v * (size_t)a->k_pad;
        const int8_t *low = a->low ? a->low + (size_t)v * (size_t)a->k_pad : NULL;
        for (int row = rows.begin; row < rows.end; row++) {
            const int16_t *x = a->xq + (size_t)row * (size_t)a->k_pad;
            int64_t total = 256 * dot_plane(x, high, a->k_pad);
            if (low) total += dot_plane(x, low, a->k_pad);
            a->logits[row * a->ld_logits + v] = (float)total * (a->xs[row] * a->scale[v]);
        }
    }
}

void tern_head_top_ref(tern_candidate *top, const float *logits, int n_vocab, int n)
{
    /* The worst of the n best so far stays on top of a heap and gives way to whatever beats it. */
    for (int v = 0; v < n; v++) top[v] = (tern_candidate){logits[v], v};
    tern_heap_make(top, n, tern_candidate_worse);
    for (int v = n; v < n_vocab; v++) {
        const tern_candidate c = {logits[v], v};
        if (n == 0 || !tern_candidate_better(c, top[0])) continue;
        top[0] = c;
        tern_heap_sift(top, n, tern_candidate_worse);
    }
    for (int left = n; left > 1; left--) tern_heap_pop(top, left, tern_candidate_worse);
}

void tern_head_score_ref(tern_score *score, const float *logits, int n_vocab, int target)
{
    float largest = logits[0];
    for (int v = 1; v < n_vocab; v++) largest = tern_max(largest, logits[v]);
    uint64_t sum = 0;
    for (int v = 0; v < n_vocab; v++) sum += tern_weight_u64((logits[v] - largest) * TERN_LOG2E_F);
    *score = (tern_score){.max_logit = largest, .target_logit = logits[target], .sum = sum};
}
