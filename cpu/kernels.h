/* kernels.h - the table of CPU kernels: one slot per operation family, raw pointers, no threads
 * inside.
 *
 * The executor (cpu/program.c) resolves spans to pointers, cuts the work into ranges and calls the
 * slots from every thread; a kernel writes only what its range names, so any cut gives the same
 * bytes. cpu/ref fills every slot with the meaning of the operation (include/tern/device.h) in
 * plain loops; a level (cpu/levels.h) overwrites the slots it has. Every kernel of a slot equals
 * ref bit for bit.
 *
 * Names: tern_<op>_<level>, e.g. tern_linear_ref, tern_linear_avx2. */
#ifndef TERN_CPU_KERNELS_H
#define TERN_CPU_KERNELS_H

#include "tern/device.h"

typedef struct tern_range {
    int begin, end; /* half open */
} tern_range;

typedef struct tern_embed_args {
    float *x; /* [t, d] */
    int64_t ldx;
    const int32_t *ids;      /* [t], already checked */
    const int8_t *high;      /* [n_vocab, k_pad] */
    const int8_t *low;       /* [n_vocab, k_pad], NULL for I8 */
    const float *scale;      /* [n_vocab] */
    const float *col;        /* [d] */
    int d, k_pad;
    float multiplier;
} tern_embed_args;

typedef struct tern_norm_quant_args {
    int8_t *q;    /* [t, k_pad]; columns k .. k_pad are written as 0 */
    float *scale; /* [t] */
    int32_t *sum; /* [t] */
    const float *x;
    int64_t ldx;
    const float *gain; /* [k] or NULL */
    int k, k_pad;
    float eps;
    int subtract_mean;
} tern_norm_quant_args;

typedef struct tern_linear_args {
    float *y; /* [t, n_out] */
    int64_t ldy;
    const int8_t *q;       /* [t, k_pad] */
    const float *q_scale;  /* [t] */
    const int32_t *q_sum;  /* [t] */
    const uint8_t *codes;  /* public host layout */
    const float *w_scale;  /* [n_out] */
    int k_pad, n_out;
    int accumulate;
} tern_linear_args;

/* The KV of one layer together with the batch's block table. */
typedef struct tern_kv_view {
    uint8_t *pages; /* of this layer */
    size_t page_bytes;
    int kv, hd;
    tern_kv_type type;
    const int32_t *pos, *seq, *table; /* as in tern_batch */
    int table_ld;
} tern_kv_view;

typedef struct tern_rope_kv_args {
    float *qkv;
    int64_t ld;
    const float *rope; /* [n_ctx, hd] */
    const float *q_gain, *k_gain;
    tern_kv_view view;
    int h;
    float eps;
} tern_rope_kv_args;

typedef struct tern_attn_args {
    const float *q; /* [t, h*hd] */
    int64_t ldq;
    tern_kv_view view;
    int h;
    float c; /* f32(log2(e) / sqrt(hd)) */
} tern_attn_args;

typedef struct tern_act_mul_args {
    float *y;
    const float *gate, *up;
    int64_t ldy, ld_gate, ld_up;
    tern_act act;
} tern_act_mul_args;

typedef struct tern_norm_args {
    float *y;
    const float *x, *gain; /* gain [n] */
    int64_t ldy, ldx;
    int n;
    float eps;
} tern_norm_args;

typedef struct tern_add_args {
    float *y;
    const float *a, *b;
    int64_t ldy, lda, ldb;
    int n;
} tern_add_args;

typedef struct tern_pool_args {
    float *y;
    const float *x;
    int64_t ldy, ldx;
    const int32_t *seq; /* [n_tok] ascending */
    int n_tok, d;
    tern_pooling pooling;
} tern_pool_args;

typedef struct tern_head_args {
    const float *x;
    int64_t ldx;
    const int32_t *rows; /* batch rows: tokens of x */
    const float *gain;   /* [d] */
    int16_t *xq;         /* [n_rows, k_pad] quantised to +-16319; columns beyond d are 0 */
    float *xs;           /* [n_rows] */
    const int8_t *high, *low; /* [n_vocab, k_pad]; low NULL for I8 */
    const float *scale;       /* [n_vocab] */
    float *logits;            /* [n_rows, n_vocab] */
    int64_t ld_logits;
    int d, k_pad, n_vocab;
    float eps;
} tern_head_args;

typedef struct tern_pick_args {
    const float *logits;       /* [n_vocab] of this row, or NULL */
    const tern_candidate *top; /* [n], or NULL */
    int n, n_vocab;
    const tern_pick *pick;
    void *scratch; /* max(n, n_vocab) * TERN_PICK_SCRATCH_PER_TOKEN bytes, aligned to 8 */
} tern_pick_args;

/* Scratch of one PICK: an adjusted candidate and a weight per token. ref keeps no weights. */
#define TERN_PICK_SCRATCH_PER_TOKEN (sizeof(tern_candidate) + sizeof(uint64_t))

typedef struct tern_cpu_kernels {
    void (*embed)(const tern_embed_args *a, tern_range tokens);

    /* Returns non-zero when a sum of squares was not finite. */
    int (*norm_quant)(const tern_norm_quant_args *a, tern_range tokens);

    /* outputs.begin is a multiple of 16; outputs.end too, or n_out. */
    void (*linear)(const tern_linear_args *a, tern_range tokens, tern_range outputs);

    void (*rope_kv)(const tern_rope_kv_args *a, tern_range tokens);

    /* States of one group of pages for the h/kv query heads of one KV head, folded left to right
     * over the group's present blocks: states [h/kv, hd + 2] = m, l, o[hd] each. The group exists:
     * group * 512 <= pos. One slot per KV type. */
    void (*attn_group_f16)(float *states, const tern_attn_args *a, int token, int kv_head,
                           int group);
    void (*attn_group_i8)(float *states, const tern_attn_args *a, int token, int kv_head,
                          int group);

    /* into = merge(into, from), both m, l, o[hd]. */
    void (*attn_merge)(float *into, const float *from, int hd);

    void (*act_mul)(const tern_act_mul_args *a, tern_range tokens, tern_range cols);
    void (*norm)(const tern_norm_args *a, tern_range tokens);
    void (*add)(const tern_add_args *a, tern_range tokens);
    void (*pool)(const tern_pool_args *a, tern_range sequences);

    /* Fills xq and xs; non-zero when a sum of squares was not finite. */
    int (*head_quant)(const tern_head_args *a, tern_range rows);
    void (*head_logits)(const tern_head_args *a, tern_range rows, tern_range vocab);

    /* The n best of logits [n_vocab] into top, in the order of TERN_HEAD_TOP; n <= n_vocab. */
    void (*head_top)(tern_candidate *top, const float *logits, int n_vocab, int n);
    void (*head_score)(tern_score *score, const float *logits, int n_vocab, int target);

    int32_t (*pick)(const tern_pick_args *a);
} tern_cpu_kernels;

/* Fills every slot with the reference. */
void tern_cpu_kernels_ref(tern_cpu_kernels *table);

#endif
