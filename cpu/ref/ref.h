/* ref.h - the reference kernels and the few lines they share.
 *
 * Every function here is the text of include/tern/device.h as a plain loop, and every other kernel
 * is compared with it bit for bit. A loop is arranged for speed only where the arrangement cannot
 * change a bit: integers, maxima, and independent float chains. */
#ifndef TERN_CPU_REF_H
#define TERN_CPU_REF_H

#include <stdbool.h>
#include <string.h>

#include "base/exact.h"
#include "cpu/kernels.h"

void tern_embed_ref(const tern_embed_args *a, tern_range tokens);
int tern_norm_quant_ref(const tern_norm_quant_args *a, tern_range tokens);
void tern_linear_ref(const tern_linear_args *a, tern_range tokens, tern_range outputs);
void tern_rope_kv_ref(const tern_rope_kv_args *a, tern_range tokens);
void tern_attn_group_f16_ref(float *states, const tern_attn_args *a, int token, int kv_head,
                             int group);
void tern_attn_group_i8_ref(float *states, const tern_attn_args *a, int token, int kv_head,
                            int group);
void tern_attn_merge_ref(float *into, const float *from, int hd);
void tern_act_mul_ref(const tern_act_mul_args *a, tern_range tokens, tern_range cols);
void tern_norm_ref(const tern_norm_args *a, tern_range tokens);
void tern_add_ref(const tern_add_args *a, tern_range tokens);
void tern_pool_ref(const tern_pool_args *a, tern_range sequences);
int tern_head_quant_ref(const tern_head_args *a, tern_range rows);
void tern_head_logits_ref(const tern_head_args *a, tern_range rows, tern_range vocab);
void tern_head_top_ref(tern_candidate *top, const float *logits, int n_vocab, int n);
void tern_head_score_ref(tern_score *score, const float *logits, int n_vocab, int target);
int32_t tern_pick_ref(const tern_pick_args *a);

/* ---- rows of floats (N2, N4) ---------------------------------------------------------------- */

/* Sum of x_i over a row, by N2. */
static inline float tern_row_sum(const float *x, int n)
{
    float part[TERN_ROW_PARTIALS] = {0};
    for (int i = 0; i < n; i++) part[i % TERN_ROW_PARTIALS] += x[i];
    return tern_tree_sum(part, TERN_ROW_PARTIALS);
}

/* Sum of (x_i - mean)^2 over a row, by N2. With mean +0 that is the sum of x_i^2, to the bit. */
static inline float tern_row_sum_squares(const float *x, float mean, int n)
{
    float part[TERN_ROW_PARTIALS] = {0};
    for (int i = 0; i < n; i++) {
        const float v = x[i] - mean;
        part[i % TERN_ROW_PARTIALS] += v * v;
    }
    return tern_tree_sum(part, TERN_ROW_PARTIALS);
}

/* r = 1 / sqrt(ss/n + eps). */
static inline float tern_inverse_rms(float sum_squares, int n, float eps)
{
    return 1.0f / sqrtf(sum_squares / (float)n + eps);
}

/* True for every float but the infinities and NaN. */
static inline bool tern_is_finite(float x)
{
    return (tern_f32_bits(x) & 0x7f800000u) != 0x7f800000u;
}

/* The larger one; the value of NaN arguments is not defined. */
static inline float tern_max(float a, float b)
{
    return a > b ? a : b;
}

/* rint(v) clamped to [-limit, limit]. Written so that even NaN converts to an integer. */
static inline int tern_round_clamp(float v, float limit)
{
    float n = rintf(v);
    n = n < limit ? n : limit;
    n = n > -limit ? n : -limit;
    return (int)n;
}

/* A of N4: the largest |value| after normalisation, kept away from zero. */
static inline float tern_quant_range(float absmax, float r)
{
    return tern_max(absmax * r, 1e-5f);
}

/* Plain quantisation of N4 (r = 1, no gain): q s8 [n]; returns the scale. */
static inline float tern_quant_plain(int8_t *q, const float *x, int n)
{
    float a = 0.0f;
    for (int i = 0; i < n; i++) a = tern_max(a, fabsf(x[i]));
    const float range = tern_quant_range(a, 1.0f);
    const float factor = 127.0f / range;
    for (int i = 0; i < n; i++) q[i] = (int8_t)tern_round_clamp(x[i] * factor, 127.0f);
    return range / 127.0f;
}

/* ---- KV pages (N6) -------------------------------------------------------------------------- */

/* The part of one KV head in the page that holds positions 64*block .. 64*block+63 of a token's
 * sequence. */
static inline uint8_t *tern_kv_head_page(const tern_kv_view *view, int token, int block,
                                         int kv_head)
{
    const int32_t *table = view->table + (size_t)view->seq[token] * (size_t)view->table_ld;
    const size_t head_bytes = view->page_bytes / (size_t)view->kv;
    return view->pages + (size_t)table[block] * view->page_bytes + (size_t)kv_head * head_bytes;
}

/* ---- candidates (N8) ------------------------------------------------------------------------ */

/* The order of tokens: logit descending, id ascending. -0 and +0 are equal. */
static inline bool tern_candidate_better(tern_candidate a, tern_candidate b)
{
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}
static inline bool tern_candidate_worse(tern_candidate a, tern_candidate b)
{
    return tern_candidate_better(b, a);
}

/* Whether a stands above b in a heap. */
typedef bool tern_candidate_above(tern_candidate a, tern_candidate b);

/* Makes c [n] a heap, its uppermost element first. Takes O(n). */
void tern_heap_make(tern_candidate *c, int n, tern_candidate_above *above);

/* Restores the heap after c[0] was replaced. */
void tern_heap_sift(tern_candidate *c, int n, tern_candidate_above *above);

/* Moves the uppermost element to c[n-1] and leaves a heap of n-1. */
void tern_heap_pop(tern_candidate *c, int n, tern_candidate_above *above);

/* weight = (u64)(w(x) * 2^40) for x <= 0; at most 2^40. */
static inline uint64_t tern_weight_u64(float x)
{
    return (uint64_t)(tern_exp2_weight(x) * 0x1p40f);
}

#endif
