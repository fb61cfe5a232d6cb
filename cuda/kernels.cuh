/* kernels.cuh - the arguments of every kernel family and the functions that launch them: the floor
 * between programs (program.cu) and kernels. All pointers are device memory; meanings are those of
 * include/tern/device.h, layouts those of cuda_layout.h.
 *
 * The sources of cuda/ are compiled twice: by nvcc for real devices, and by a C++ compiler for the
 * emulator. TERN_GPU is the namespace of the one at hand: tern_cuda or tern_emu. */
#ifndef TERN_CUDA_KERNELS_CUH
#define TERN_CUDA_KERNELS_CUH

#include <cuda_runtime.h>

#include "cuda/cuda_layout.h"
#include "tern/device.h"

#ifndef TERN_GPU
#define TERN_GPU tern_cuda
#endif

namespace TERN_GPU {

/* Where and on what a kernel is launched. */
struct target {
    cudaStream_t stream;
    int n_sm;
    int arch;                    /* 75, 80, 86, 89, 90, 120: of the device */
    int smem_bytes;              /* shared memory that one CTA may ask for */
    int wgmma;                   /* kernels may use it: probe_wgmma() found it */
    bool dependent;              /* kernels may begin before their predecessor ends (launch.cuh) */
};

/* The first fault of a stream: kernels store `code` | kind where *word is still 0. */
enum fault_kind { FAULT_NONE, FAULT_NOT_FINITE, FAULT_ID };
struct fault_sink {
    unsigned long long *word;
    unsigned long long code;     /* op kind, layer, vocabulary: cuda_program.cuh packs them */
};

/* Quantised activations; quant.cuh knows the order of q. */
struct quant_view {
    int8_t *q;                   /* [t, k_pad]; columns k .. k_pad are 0 */
    float *scale;                /* [t] */
    int32_t *sum;                /* [t] */
    int k_pad;
};

/* Ternary weights in fragment order. */
struct ternary_view {
    const uint32_t *codes;       /* blocks [n_out/16, k_pad/128] of 512 bytes, rounded up */
    const float *scale;          /* [n_out] */
    int n_out, k_pad;
};

/* A table in fragment order. */
struct table_view {
    const int8_t *high, *low;    /* blocks [n_vocab/16, k_pad/32] of 512 bytes; low NULL for I8 */
    const float *scale, *col;    /* [n_vocab], [d] */
    int n_vocab, d, k_pad;
};

/* The pages of a layer with the batch's block table. */
struct kv_view {
    uint8_t *pages;
    size_t page_bytes;
    const int32_t *pos, *seq;    /* [n_tok] */
    const int32_t *table;        /* [n_seq, table_ld] */
    int table_ld, kv, hd;
    tern_kv_type type;
};

/* ---- rows ----------------------------------------------------------------------------------- */

struct embed_args {
    const int32_t *ids;
    table_view table;
    float *x;                    /* [n_tok, d] */
    int64_t ldx;
    int n_tok;
    float multiplier;
    fault_sink fault;            /* an id outside: FAULT_ID, the token keeps what it had */
};
cudaError_t launch_embed(const embed_args &a, const target &to);

struct norm_quant_args {
    const float *x;              /* [n_tok, k] */
    int64_t ldx;
    const float *gain;           /* [k] or NULL */
    quant_view out;
    int n_tok, k;
    float eps;
    int subtract_mean;
    fault_sink fault;
};
cudaError_t launch_norm_quant(const norm_quant_args &a, const target &to);

struct norm_args {
    const float *x, *gain;
    float *y;
    int64_t ldx, ldy;
    int n_tok, n;
    float eps;
};
cudaError_t launch_norm(const norm_args &a, const target &to);

struct add_args {
    const float *a, *b;
    float *y;
    int64_t lda, ldb, ldy;
    int n_tok, n;
};
cudaError_t launch_add(const add_args &a, const target &to);

struct act_mul_args {
    const float *gate, *up;
    float *y;
    int64_t ld_gate, ld_up, ldy;
    int n_tok, f;
    tern_act act;
};
cudaError_t launch_act_mul(const act_mul_args &a, const target &to);

struct pool_args {
    const float *x;
    float *y;                    /* [n_seq, d] */
    int64_t ldx, ldy;
    const int32_t *seq;          /* [n_tok] ascending */
    int n_tok, n_seq, d;
    tern_pooling pooling;
};
cudaError_t launch_pool(const pool_args &a, const target &to);

/* Row i of `to` = row rows[i] (or i, rows NULL) of `from`; sizes in bytes, any alignment of 1. */
struct copy_args {
    const uint8_t *from;
    uint8_t *to;
    size_t from_step, to_step, row_bytes;
    const int32_t *rows;
    int n_rows;
};
cudaError_t launch_copy(const copy_args &a, const target &to);

/* ---- products ------------------------------------------------------------------------------- */

struct linear_args {
    quant_view q;
    ternary_view w;
    float *y;                    /* [n_tok, n_out] */
    int64_t ldy;
    int n_tok;
    int accumulate;
    int32_t *partial;            /* scratch of tern_cuda_linear_scratch() bytes */
    unsigned *tickets;           /* TERN_CUDA_TICKETS counters, zero before and after a launch */
};
cudaError_t launch_linear(const linear_args &a, const target &to);

/* For one token NORM_QUANT and the LINEAR that reads its q, and, where act.f is not 0, the ACT_MUL
 * of its rows 0 .. f and f .. 2f (f a multiple of 16): all that they write, in one kernel. What is
 * read and what is written may not overlap, and the gain may not change during a step. */
struct linear_fused_args {
    norm_quant_args norm;
    linear_args linear;
    act_mul_args act;
};
bool linear_fused_fits(const linear_fused_args &a, const target &to); /* into shared memory */
cudaError_t launch_linear_fused(const linear_fused_args &a, const target &to);

/* Whether the machine code that the device takes from this build has wgmma. Synchronous. */
cudaError_t probe_wgmma(int *has, const target &to);

/* ---- attention ------------------------------------------------------------------------------ */

struct rope_kv_args {
    float *qkv;                  /* [n_tok, (h + 2*kv) * hd] */
    int64_t ld;
    const float *rope;           /* [n_ctx, hd] */
    const float *q_gain, *k_gain; /* [hd] or NULL */
    kv_view view;
    int n_tok, h;
    float eps;
};
cudaError_t launch_rope_kv(const rope_kv_args &a, const target &to);

struct attn_args {
    const float *q;              /* [n_tok, h*hd] */
    int64_t ldq;
    kv_view view;
    int n_tok, h;
    float c;                     /* f32(log2(e) / sqrt(hd)) */
    int n_groups;                /* of every row of parts; enough for the context of the program */
    float *parts;                /* ATTN: scratch of tern_cuda_attn_scratch() bytes;
                                    ATTN_PART: [n_tok * h * n_groups, ld_parts] */
    int64_t ld_parts;
    unsigned *tickets;           /* ATTN: TERN_CUDA_TICKETS counters, as LINEAR's */
    float *o;                    /* ATTN: [n_tok, h*hd] */
    int64_t ldo;
    const float *rope;           /* [n_ctx, hd]: q, k, v stand raw in a row of q, and the kernel
                                    does ROPE_KV for its one token, but leaves them so; or NULL */
};
bool attn_rope_fits(const attn_args &a); /* whether `rope` may be given */
cudaError_t launch_attn(const attn_args &a, const target &to);
cudaError_t launch_attn_part(const attn_args &a, const target &to);

struct attn_merge_args {
    const float *parts;          /* [n_tok * h * n_groups, ld_parts] */
    int64_t ld_parts;
    const int32_t *pos;          /* [n_tok] */
    float *o;                    /* [n_tok, h*hd] */
    int64_t ldo;
    int n_tok, h, hd, n_groups;
};
cudaError_t launch_attn_merge(const attn_merge_args &a, const target &to);

/* ---- head and sampling ---------------------------------------------------------------------- */

struct head_args {
    const float *x;              /* [t, d] */
    int64_t ldx;
    const float *gain;           /* [d] */
    const int32_t *rows;         /* [n_rows] tokens of x */
    const int32_t *targets;      /* [n_rows], SCORE */
    table_view table;
    float *logits;               /* FULL: [n_rows, n_vocab] */
    int64_t ld_logits;
    tern_candidate *top;         /* TOP, SCORE: [n_rows, n] or NULL */
    tern_score *score;           /* SCORE: [n_rows] */
    tern_head_mode mode;
    int n_rows, n;
    float eps;
    uint8_t *scratch;            /* tern_cuda_head_scratch() bytes */
    fault_sink fault;
};
cudaError_t launch_head(const head_args &a, const target &to);

/* One row of PICK; arrays in device memory, copied there by the program. */
struct pick_row {
    float temperature, top_p, min_p, repetition, presence, frequency;
    int top_k, n_bias, n_counts;
    uint32_t choice, position;
    uint64_t seed;
    const int32_t *bias_ids;     /* [n_bias] ascending */
    const float *bias;
    const int32_t *count_ids;    /* [n_counts] ascending */
    const int32_t *counts;
    const uint32_t *mask;        /* or NULL */
};

struct pick_args {
    const float *logits;         /* [n_rows, n_vocab] or NULL */
    int64_t ld_logits;
    const tern_candidate *top;   /* [n_rows, n] or NULL */
    const pick_row *picks;       /* [n_rows] */
    int32_t *ids;                /* [n_rows], ld 1 */
    int n_rows, n, n_vocab;
    uint8_t *scratch;            /* tern_cuda_pick_scratch() bytes */
};
cudaError_t launch_pick(const pick_args &a, const target &to);

} /* namespace TERN_GPU */
#endif
