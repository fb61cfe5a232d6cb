/* tern/device.h - the device contract: one memory and what computes on it.
 *
 * A device executes *programs*: flat lists of semantic operations over spans of its memory, built
 * once per segment of a model and run every step with only the batch arrays changing. Fusion,
 * thread wake-ups and graphs are private to a backend; the meaning of every operation is not: it is
 * defined here to the bit, and cpu/ref is the same text written as loops.
 *
 * Numerics that hold for all operations (contract of promise P1)
 *   - IEEE 754 binary32, round to nearest even, subnormals kept, no contraction; fused multiply-add
 *     only where the text says fmaf; division and square root correctly rounded.
 *   - A float sum over a row of n elements is 256 strided partials (element i into partial i mod
 *     256, in index order, from +0), then the tree: for h = 128 ... 1, partial j += partial j+h.
 *     In attention the number of partials is 64. Integer sums are exact. Maxima are free of order:
 *     which of -0 and +0 one keeps is open, and no other result depends on it.
 *   - exp2 is ours (runtime/base/exact.h); w(x) below is exp2(x) for x >= -64 and +0 under that.
 *   - A non-finite sum of squares in NORM_QUANT or HEAD is an error of the stream, never a value:
 *     the row's q, scale and sum are zero then. No other operation looks for one. eps is above 0,
 *     gains are finite.
 *
 * Vocabulary: t tokens of the batch, k inner size, n_out output features, d model width, f FFN
 * width, h query heads, kv KV heads, hd head size, n_vocab, n_ctx. Spans are row-major.
 *
 * Threads: a device and what belongs to it are used by one thread at a time. Different devices may
 * be used by different threads at once.
 */
#ifndef TERN_DEVICE_H
#define TERN_DEVICE_H

#include "tern/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- objects ------------------------------------------------------------------------------- */

typedef struct tern_device tern_device;   /* one memory and what computes on it */
typedef struct tern_buffer tern_buffer;   /* a piece of that memory */
typedef struct tern_weight tern_weight;   /* a packed matrix inside a buffer */
typedef struct tern_stream tern_stream;   /* an order of execution, with a sticky status */
typedef struct tern_event tern_event;     /* a point in a stream */
typedef struct tern_program tern_program; /* a list of operations, ready to run */

/* A rectangle of values: element (r, c) lies at offset_bytes + (r * ld + c) * element size. */
typedef struct tern_span {
    tern_buffer *buffer; /* NULL: no operand */
    size_t offset_bytes;
    int64_t rows, cols;
    int64_t ld; /* leading dimension, in elements */
    tern_dtype type;
} tern_span;

/* ---- KV pages (N6) -------------------------------------------------------------------------- */

#define TERN_PAGE_TOK 64   /* positions in a page; also the block of attention */
#define TERN_GROUP_PAGES 8 /* pages whose states fold into one group before groups fold */

typedef enum tern_kv_type { TERN_KV_F16, TERN_KV_I8 } tern_kv_type;

/* Bytes of one page of one layer. Per KV head, one after the other, the same on every device:
 *   f16: K [hd][64], V [64][hd]                                            (f16)
 *   i8:  K [hd/4][64][4], V [16][hd][4] (s8), then sk [64], sv [64]        (f32)
 * hd is a multiple of 4 and at most TERN_MAX_HD. In the i8 layout K [c/4][j][c%4] and
 * V [j/4][c][j%4] hold component c of position j. */
#define TERN_MAX_HD 256
size_t tern_kv_page_bytes(tern_kv_type type, int kv, int hd);

/* The pages of one layer: page p begins at offset_bytes + p * tern_kv_page_bytes(). New pages are
 * zeroed by their owner (tern_fill) before the first position is stored. */
typedef struct tern_kv_pool {
    tern_buffer *buffer;
    size_t offset_bytes;
    int n_pages, kv, hd;
    tern_kv_type type;
} tern_kv_pool;

/* ---- weights -------------------------------------------------------------------------------- */

/* What the rows of a matrix are for, so that a pack may pair them for its epilogue. */
typedef enum tern_weight_use {
    TERN_USE_PLAIN,
    TERN_USE_QKV,     /* parts q, k, v: h*hd, kv*hd, kv*hd rows */
    TERN_USE_GATE_UP, /* parts gate, up: f rows each */
    TERN_USE_TABLE,   /* 16-bit rows: the head and the embedding (N7) */
} tern_weight_use;

typedef enum tern_head_type { TERN_HEAD_I16, TERN_HEAD_I8 } tern_head_type;

/* A matrix [n_out, k] without its values. Row order is the file's: q then k then v, gate then
 * up. */
typedef struct tern_weight_desc {
    tern_weight_use use;
    int k, n_out;
    int h, kv, hd;            /* TERN_USE_QKV only */
    tern_head_type head_type; /* TERN_USE_TABLE only: I8 keeps the high plane alone */
} tern_weight_desc;

/* The public host layout of ternary weights, which every backend imports from.
 * Codes {0, 1, 2} stand for the weights {-1, 0, +1}; rows are grouped by 16, columns by 16; a tile
 * of 16 x 16 is 64 bytes: row i of the tile is the little-endian u32 number i, in which the code of
 * column 4p + b (p, b in 0..3) sits at bits 8b + 2p. So one mask (3 << 2p in every byte) yields
 * four neighbouring columns in place, and 64 bytes feed 16 rows with one activation word per mask.
 *   tile (R, C) begins at byte (R * ceil64(k)/16 + C) * 64
 * k is padded to a multiple of 64 with weights 0 (code 1), n_out to a multiple of 16 likewise. */
#define TERN_TILE_ROWS 16
#define TERN_TILE_COLS 16
#define TERN_PAD_K 64

/* Bytes of `rows` rows (rounded up to 16) of k columns in the public host layout. */
size_t tern_ternary_host_bytes(int rows, int k);

/* Rows row0 .. row0+rows of a matrix, in host memory, for import. row0 is a multiple of 16.
 * Ternary: codes in the public layout and one f32 scale per row; the product is acc * scale.
 * Table: high s8 [rows, k], low s8 [rows, k] (NULL for I8 heads), scale f32 [rows], and once for
 * the whole table col f32 [k], powers of two:
 *   value (r, i) = (256*high + low) * scale[r] * col[i]. */
typedef struct tern_weight_rows {
    int row0, rows;
    const uint8_t *codes;
    const int8_t *high, *low;
    const float *scale;
    const float *col;
} tern_weight_rows;

/* What a backend needs to keep a weight: pure, the same for planner and allocator. */
typedef struct tern_weight_layout {
    size_t bytes;     /* inside a buffer, scales and padding included */
    size_t alignment; /* of its offset there */
    float bits;       /* bits per weight that a decode step reads */
    const char *name; /* of the storage, for people: "2-bit" */
} tern_weight_layout;

/* ---- operations ----------------------------------------------------------------------------- */

typedef enum tern_op_kind {
    TERN_OP_EMBED,
    TERN_OP_NORM_QUANT,
    TERN_OP_LINEAR,
    TERN_OP_ROPE_KV,
    TERN_OP_ATTN,
    TERN_OP_ATTN_PART,
    TERN_OP_ATTN_MERGE,
    TERN_OP_ACT_MUL,
    TERN_OP_NORM,
    TERN_OP_ADD,
    TERN_OP_POOL,
    TERN_OP_HEAD,
    TERN_OP_PICK,
    TERN_OP_COPY_2D,
    TERN_OP_COPY_ROWS,
    TERN_N_OPS,
} tern_op_kind;

typedef enum tern_act { TERN_ACT_RELU2, TERN_ACT_SILU, TERN_ACT_GELU_TANH } tern_act;

/* EMBED. x[t, i] = (((float)T * scale[v]) * col[i]) * multiplier with v = ids[t], T = 256*high +
 * low (256*high for I8 tables). An id outside 0..n_vocab-1 is an error of the stream. */
typedef struct tern_op_embed {
    tern_span ids; /* [t, 1] s32 */
    const tern_weight *table;
    tern_span x; /* [t, d] f32 */
    float multiplier;
} tern_op_embed;

/* NORM_QUANT (N4). Per row of k:
 *   [subtract_mean: x_i -= sum(x)/k]
 *   y_i = x_i * g_i; a = max |y_i|; ss = sum of x_i * x_i; r = 1 / sqrt(ss/k + eps);
 *   A = max(a*r, 1e-5); q_i = rint(y_i * ((127/A) * r)) clamped to [-127, 127]; scale = A/127.
 * Without a gain (gain.buffer NULL): plain quantisation, y_i = x_i, r = 1; ss is still checked.
 * Output: q s8, scale f32 and the row sum of q s32, in a region of tern_quant_bytes(t, k). */
typedef struct tern_op_norm_quant {
    tern_span x;    /* [t, k] f32 */
    tern_span gain; /* [1, k] f32, or none */
    tern_span q;    /* opaque, tern_quant_bytes(t, k) bytes */
    float eps;
    int subtract_mean;
} tern_op_norm_quant;

/* LINEAR (N5). acc = sum_i q[t, i] * w[n, i] in s32, exact; v = (float)acc * (scale[t] * ws[n]);
 * y = v, or y = y + v when `accumulate`. Bound: |acc| <= 127 * k, below 2^31 for every k < 2^24. */
typedef struct tern_op_linear {
    tern_span q; /* opaque, from NORM_QUANT with the same k */
    const tern_weight *weight;
    tern_span y; /* [t, n_out] f32 */
    int accumulate;
} tern_op_linear;

/* ROPE_KV. Rows of qkv are q [h*hd], k [kv*hd], v [kv*hd].
 *   Optional per-head norm of q and of k: u_i = (x_i * r) * g_i with r as in NORM_QUANT over hd.
 *   Rotation, half-split, for j < hd/2 with (c, s) from the table row of the token's position:
 *     (x_j, x_{j+hd/2}) -> (x_j*c - x_{j+hd/2}*s, x_j*s + x_{j+hd/2}*c), two roundings and one sum.
 * q is rotated in place. k and v go to the token's page: f16 with saturation, or quantised per
 * token and KV head by the plain quantisation of NORM_QUANT (i8). */
typedef struct tern_op_rope_kv {
    tern_span qkv;            /* [t, (h + 2*kv) * hd] f32 */
    tern_span rope;           /* [n_ctx, hd] f32: hd/2 cosines, then hd/2 sines */
    tern_span q_gain, k_gain; /* [1, hd] f32, or none */
    tern_kv_pool pool;
    int h;
    float eps;
} tern_op_rope_kv;

/* ATTN (N6), causal, for a token at position pos and query head i with KV head i / (h/kv).
 * A block is one page of 64 positions, of which those up to pos are present.
 *   c = f32(log2(e) / sqrt(hd)).
 *   f16 KV: q'_d = q_d * c; s_j = fmaf chain over d from +0 of q'_d * k_jd; m = max s_j of the
 *     present; p_j = w(s_j - m), +0 for absent j; l = tree over 64 of p_j; o_d = fmaf chain over j
 *     from +0 of p_j * v_jd (an absent j changes no bit of it and may be skipped).
 *   i8 KV: q quantised plainly per head to (q8, sq); s_j = (float)dot * ((sq*c) * sk_j); m, p_j, l
 *     as above; w_j = p_j * sv_j; W = max w_j; u_j = rint(w_j * (16383/W)), 0 when W = 0;
 *     o_d = (float)(sum of u_j * v_jd) * (W/16383).
 * Folding (m, l, o): merge(A, B): m = max; a = w(mA - m), b = w(mB - m); l = lA*a + lB*b, two
 *   roundings and one sum; o = fmaf(oB, b, oA*a). The first of a fold is taken as it is.
 *   Blocks fold left to right inside groups of 8, groups left to right; the result is o * (1/l). */
typedef struct tern_op_attn {
    tern_span q; /* [t, h*hd] f32, rotated */
    tern_kv_pool pool;
    tern_span o; /* [t, h*hd] f32 */
    int h;
} tern_op_attn;

/* ATTN_PART writes the folded state of every group of 8 blocks, ATTN_MERGE folds them; together
 * they equal ATTN. The state of (token, head, group g) is the row (token*h + head) * n_groups + g
 * of `parts`: m, l, o[hd]. Groups beyond the token's position are not written and not read. */
typedef struct tern_op_attn_part {
    tern_span q; /* [t, h*hd] f32 */
    tern_kv_pool pool;
    tern_span parts; /* [t * h * n_groups, hd + 2] f32 */
    int h, n_groups; /* n_groups * 512 positions at most */
} tern_op_attn_part;

typedef struct tern_op_attn_merge {
    tern_span parts; /* as above */
    tern_span o;     /* [t, h*hd] f32 */
    int h, n_groups;
} tern_op_attn_merge;

/* ACT_MUL. y = act(gate) * up: relu2: (r*r) * up with r = max(gate, 0); silu, gelu_tanh of
 * exact.h. */
typedef struct tern_op_act_mul {
    tern_span gate, up; /* [t, f] f32, may be columns of one wider span */
    tern_span y;        /* [t, f] f32 */
    tern_act act;
} tern_op_act_mul;

/* NORM. y_i = (x_i * r) * g_i, r as in NORM_QUANT. y may be x. */
typedef struct tern_op_norm {
    tern_span x, gain, y;
    float eps;
} tern_op_norm;

/* ADD. y = a + b; y may be a or b. */
typedef struct tern_op_add {
    tern_span a, b, y; /* [t, n] f32 */
} tern_op_add;

/* POOL. One row per sequence of the batch: mean (sum over its tokens by the row rule, divided by
 * their number) or last token; then L2: y_i = x_i / sqrt(sum of squares), all zero when that sum is
 * 0. In the mean, row i of the sequence goes into partial i mod 256 of its column. A sequence
 * without tokens gives zeros. */
typedef enum tern_pooling { TERN_POOL_MEAN, TERN_POOL_LAST } tern_pooling;
typedef struct tern_op_pool {
    tern_span x; /* [t, d] f32 */
    tern_span y; /* [n_seq, d] f32 */
    tern_pooling pooling;
} tern_op_pool;

/* HEAD (N7) with the final norm inside, for the rows of x that the batch names (batch rows).
 *   y_i = x_i * g_i, a, ss, r as in NORM_QUANT; A = max(a*r, 1e-5);
 *   X_i = rint(y_i * ((16319/A) * r)) clamped to [-16319, 16319]; xs = A/16319;
 *   T = sum_i X_i * (256*high + low) in s64, exact (I8 tables: low = 0);
 *   logit = (float)T * (xs * ws[v]).
 * `gain` already contains the table's col factors: g_i = output_norm_i * col_i (exact).
 *   FULL:  logits, at most 64 rows a call.
 *   TOP:   the n best (logit, id) of each row in the order logit descending, id ascending, as if
 *          from FULL; how many rows of the table were computed in full is the backend's affair.
 *   SCORE: the log-probability parts of the batch's targets, no logits stored. */
typedef enum tern_head_mode { TERN_HEAD_FULL, TERN_HEAD_TOP, TERN_HEAD_SCORE } tern_head_mode;
#define TERN_HEAD_MAX_ROWS 64

typedef struct tern_op_head {
    tern_span x;    /* [t, d] f32 */
    tern_span gain; /* [1, d] f32 */
    const tern_weight *table;
    tern_span logits; /* FULL: [rows, n_vocab] f32 */
    tern_span top;    /* TOP, SCORE: opaque, [rows][n] tern_candidate; SCORE may have none */
    tern_span score;  /* SCORE: opaque, [rows] tern_score */
    tern_head_mode mode;
    int n; /* TOP, SCORE: candidates per row */
    float eps;
} tern_op_head;

typedef struct tern_candidate {
    float logit;
    int32_t id;
} tern_candidate;

/* What log p of a token is made of (N8), see tern_score_logprob(). */
typedef struct tern_score {
    float max_logit, target_logit;
    uint64_t sum; /* over the vocabulary of (u64)(w((l_i - max_logit) * log2 e) * 2^40), N8 */
} tern_score;

/* ln p of a token with logit l: (double)l - max_logit - ln(sum * 2^-40). */
double tern_score_logprob(const tern_score *score, float logit);

/* PICK (N8). One id per batch row, from logits (FULL) or candidates (TOP), into ids.
 * The order of tokens is logit descending, id ascending (-0 and +0 are equal). Logits are not NaN
 * and the largest is finite. First each logit is adjusted:
 *   repetition: l > 0 ? l / repetition : l * repetition, for every listed id (prompt tokens are
 *     listed with count 0), when it is neither 0 nor 1;
 *   l = (l - frequency * (float)count) - presence, for ids with count > 0, when either is not 0;
 *   l = l + bias; ids whose mask bit is 0 are left out. With no id left the answer is -1.
 * temperature 0: the first in order. Otherwise (temperature >= 1e-6)
 *   weight_i = (u64)(w((l_i - l_max) * (log2 e / temperature)) * 2^40), l_max over the ids left;
 *   keep the first top_k (0: all); of these the shortest prefix whose sum reaches
 *   (u64)((double)top_p * (double)sum), sum of these (top_p 0 or 1: all); of these the ones with
 *   weight >= (u64)(min_p * 2^40). The first in order is always kept.
 *   S = sum of the kept; R = tern_random_u64(seed, choice, position); draw = (R * S) >> 64 in 128
 *   bits; the answer is the first kept token in id order whose running sum exceeds draw.
 * From candidates the result is the same when they hold every token that the same settings with
 * top_p off would keep; the engine asks for that many (greedy 1, top-k k). Under top_p without
 * top_k that is the whole vocabulary; under adjustments it may be more than the first k raw
 * ones. */
typedef struct tern_op_pick {
    tern_span logits; /* [rows, n_vocab] f32, or none */
    tern_span top;    /* opaque [rows][n] tern_candidate, or none */
    tern_span ids;    /* [rows, 1] s32 */
    int n, n_vocab;
} tern_op_pick;

/* COPY_2D: to = from, same rows and cols, any leading dimensions, same type.
 * COPY_ROWS: row i of `to` = row index of `from`, the batch's `rows`. */
typedef struct tern_op_copy {
    tern_span from, to;
} tern_op_copy;

typedef struct tern_op {
    tern_op_kind kind;
    int layer; /* for messages; -1 outside of layers */
    union {
        tern_op_embed embed;
        tern_op_norm_quant norm_quant;
        tern_op_linear linear;
        tern_op_rope_kv rope_kv;
        tern_op_attn attn;
        tern_op_attn_part attn_part;
        tern_op_attn_merge attn_merge;
        tern_op_act_mul act_mul;
        tern_op_norm norm;
        tern_op_add add;
        tern_op_pool pool;
        tern_op_head head;
        tern_op_pick pick;
        tern_op_copy copy;
    } u;
} tern_op;

/* "EMBED", "NORM_QUANT", ... */
const char *tern_op_name(tern_op_kind kind);

/* ---- the batch ------------------------------------------------------------------------------ */

/* How one batch row is sampled. Zero means: greedy, nothing else. */
typedef struct tern_pick {
    float temperature; /* 0: greedy */
    int top_k;         /* 0: off */
    float top_p;       /* 0 or 1: off */
    float min_p;       /* 0: off; above 1 counts as 1 */
    float repetition;  /* 0 or 1: off */
    float presence, frequency;
    uint64_t seed;
    uint32_t choice, position; /* key and counter of the draw */
    int n_bias, n_counts;
    const int32_t *bias_ids; /* [n_bias], strictly ascending */
    const float *bias;
    const int32_t *count_ids; /* [n_counts], strictly ascending: tokens of prompt and answer ... */
    const int32_t *counts;    /* ... and how often each was generated */
    const uint32_t *mask;     /* bit id%32 of word id/32; NULL: every token allowed */
} tern_pick;

/* What changes from step to step. Host arrays, read before tern_program_run returns. */
typedef struct tern_batch {
    int n_tok, n_seq, n_rows;
    const int32_t *pos;   /* [n_tok] position of each token in its sequence */
    const int32_t *seq;   /* [n_tok] its row of `pages`, ascending */
    const int32_t *pages; /* [n_seq, pages_ld] block table: page of positions 64*i .. 64*i+63 */
    int pages_ld;
    const int32_t *rows;      /* [n_rows] tokens of the batch for HEAD and COPY_ROWS */
    const tern_pick *picks;   /* [n_rows] for PICK */
    const int32_t *targets;   /* [n_rows] for SCORE */
} tern_batch;

/* The largest batch a program will see: its scratch is sized by it, once. */
typedef struct tern_batch_limits {
    int n_tok, n_seq, n_rows;
    int n_ctx; /* largest position + 1 */
} tern_batch_limits;

/* ---- the backend table ---------------------------------------------------------------------- */

typedef struct tern_device_info {
    char name[16];           /* "cpu:0" */
    char hardware[64];       /* "AMD EPYC ..." */
    char level[16];          /* kernel level: "ref", "avx512vnni", "sm_90" */
    uint64_t memory_bytes;   /* of the machine */
    uint64_t free_bytes;     /* now */
    int n_threads;           /* CPU: compute threads; else 0 */
} tern_device_info;

typedef struct tern_device_options {
    int n_threads;         /* CPU: 0 means one a core (of the fastest kind, hwloc) */
    uint64_t budget_bytes; /* buffers beyond it fail with TERN_E_FIT; 0: no budget */
} tern_device_options;

/* What a device can do at most, measured; per second. */
typedef struct tern_rates {
    double read_bytes; /* from memory beyond its caches */
    double int8_mac;   /* multiply-adds of bytes into s32, in its best instructions in use here */
    double f32_fma;    /* fused multiply-adds */
} tern_rates;

/* One backend is one constant of this type. Only the registry names them. Calls arrive checked by
 * the wrappers below. `bytes` of a buffer and its device are kept by the wrapper's prefix
 * (backend.h). Execution may be asynchronous; errors of execution are sticky on the stream and come
 * back from stream_sync. Programs allocate nothing once created. */
typedef struct tern_backend {
    const char *kind; /* "cpu" */

    int (*count)(void);
    int (*info)(tern_device_info *out, int index, tern_error *err);
    int (*open)(tern_device **out, int index, const tern_device_options *options, tern_error *err);
    void (*close)(tern_device *device);
    int (*self_test)(tern_device *device, tern_error *err);

    int (*buffer_create)(tern_buffer **out, tern_device *device, size_t bytes, tern_error *err);
    void (*buffer_destroy)(tern_buffer *buffer);
    void *(*buffer_host)(tern_buffer *buffer); /* NULL where the host cannot address it */

    int (*weight_layout)(tern_weight_layout *out, const tern_weight_desc *desc, tern_error *err);
    int (*weight_create)(tern_weight **out, tern_buffer *buffer, size_t offset_bytes,
                         const tern_weight_desc *desc, tern_error *err);
    int (*weight_import)(tern_weight *weight, const tern_weight_rows *rows, tern_error *err);
    void (*weight_destroy)(tern_weight *weight);
    size_t (*quant_bytes)(int t, int k);

    int (*stream_create)(tern_stream **out, tern_device *device, tern_error *err);
    void (*stream_destroy)(tern_stream *stream);
    int (*stream_sync)(tern_stream *stream, tern_error *err);
    int (*event_create)(tern_event **out, tern_device *device, tern_error *err);
    void (*event_destroy)(tern_event *event);
    int (*event_record)(tern_event *event, tern_stream *stream, tern_error *err);
    int (*event_wait)(tern_event *event, tern_stream *stream, tern_error *err);

    int (*upload)(tern_stream *stream, tern_buffer *to, size_t offset, const void *from,
                  size_t bytes, tern_error *err);
    int (*download)(tern_stream *stream, void *to, const tern_buffer *from, size_t offset,
                    size_t bytes, tern_error *err);
    int (*fill)(tern_stream *stream, tern_buffer *to, size_t offset, int byte, size_t bytes,
                tern_error *err);

    size_t (*program_bytes)(const tern_op *ops, int n_ops, const tern_batch_limits *limits);
    int (*program_create)(tern_program **out, tern_device *device, const tern_op *ops, int n_ops,
                          const tern_batch_limits *limits, tern_error *err);
    int (*program_run)(tern_program *program, tern_stream *stream, const tern_batch *batch,
                       tern_error *err);
    void (*program_destroy)(tern_program *program);

    /* For benches, outside of any step; NULL where a device has no such thing. rates takes memory
     * of its own while it runs; energy is in millijoules since some moment. */
    int (*rates)(tern_rates *out, tern_device *device, tern_error *err);
    int (*energy)(uint64_t *mj, tern_device *device, tern_error *err);
} tern_backend;

/* ---- calls ---------------------------------------------------------------------------------- */

/* Devices of this machine that may be opened by name: fills up to cap, returns how many there
 * are. */
int tern_device_list(tern_device_info *out, int cap);

/* Opens "cpu", "cpu:0", "cpu:1", ... and runs the backend's known answers; "cpu" is "cpu:0".
 * Each cpu:N is a device of its own, with its own memory and budget. cuda:N is a GPU; emu:0 and
 * emu:1 (builds with tests) are GPUs emulated on the CPU; check:A is A beside the CPU, compared
 * after every operation.
 * TERN_E_USAGE for an unknown name (the sentence lists what there is), TERN_E_DEVICE when it cannot
 * be opened, TERN_E_SELF_TEST when a kernel gives a wrong answer. */
int tern_device_open(tern_device **out, const char *name, const tern_device_options *options,
                     tern_error *err);
void tern_device_close(tern_device *device);

/* What the device can do at most, measured now (a fraction of a second), and the millijoules that
 * it has taken since some moment. TERN_E_DEVICE where it has no such thing. */
int tern_device_rates(tern_rates *out, tern_device *device, tern_error *err);
int tern_device_energy(uint64_t *mj, tern_device *device, tern_error *err);

/* The pure functions of a device's backend by the device's name, without opening it. */
const tern_backend *tern_backend_find(const char *name, tern_error *err);

const tern_device_info *tern_device_describe(const tern_device *device);

/* Bytes of the buffers and programs alive on a device. */
uint64_t tern_device_used_bytes(const tern_device *device);

/* Runs every known answer of the device once more. */
int tern_device_self_test(tern_device *device, tern_error *err);

/* Zeroed memory of the device; TERN_E_FIT beyond the budget or the memory. */
int tern_buffer_create(tern_buffer **out, tern_device *device, size_t bytes, tern_error *err);
void tern_buffer_destroy(tern_buffer *buffer);
size_t tern_buffer_bytes(const tern_buffer *buffer);
tern_device *tern_buffer_device(const tern_buffer *buffer);
void *tern_buffer_host(tern_buffer *buffer);

/* A dense span, ld = cols; no check that it lies inside the buffer (tern_program_create checks). */
tern_span tern_span_make(tern_buffer *buffer, size_t offset_bytes, int64_t rows, int64_t cols,
                         tern_dtype type);

/* Columns col0 .. col0+cols of a span. */
tern_span tern_span_cols(tern_span span, int64_t col0, int64_t cols);

int tern_weight_layout_of(tern_weight_layout *out, const tern_backend *backend,
                          const tern_weight_desc *desc, tern_error *err);

/* A weight at an aligned offset of a buffer; its values come by import, rows in any order, once
 * each; complete when the call returns and in no order with streams, so nothing that touches this
 * memory may be under way. The weight does not own the buffer. Ternary codes are checked: 3 is
 * TERN_E_MODEL. */
int tern_weight_create(tern_weight **out, tern_buffer *buffer, size_t offset_bytes,
                       const tern_weight_desc *desc, tern_error *err);
int tern_weight_import(tern_weight *weight, const tern_weight_rows *rows, tern_error *err);
void tern_weight_destroy(tern_weight *weight);
const tern_weight_desc *tern_weight_describe(const tern_weight *weight);

int tern_stream_create(tern_stream **out, tern_device *device, tern_error *err);
void tern_stream_destroy(tern_stream *stream);

/* Waits for everything issued; returns the stream's sticky status (TERN_E_DEVICE, TERN_E_MODEL). */
int tern_stream_sync(tern_stream *stream, tern_error *err);

int tern_event_create(tern_event **out, tern_device *device, tern_error *err);
void tern_event_destroy(tern_event *event);
int tern_event_record(tern_event *event, tern_stream *stream, tern_error *err);
int tern_event_wait(tern_event *event, tern_stream *stream, tern_error *err);

/* Host memory must stay valid until the stream is synchronised. */
int tern_upload(tern_stream *stream, tern_buffer *to, size_t offset, const void *from, size_t bytes,
                tern_error *err);
int tern_download(tern_stream *stream, void *to, const tern_buffer *from, size_t offset,
                  size_t bytes, tern_error *err);
int tern_fill(tern_stream *stream, tern_buffer *to, size_t offset, int byte, size_t bytes,
              tern_error *err);

/* Checks every operand (device, type, shape, bounds) and sizes the scratch by the limits.
 * TERN_E_USAGE names the first operation whose operands do not fit together. */
int tern_program_create(tern_program **out, tern_device *device, const tern_op *ops, int n_ops,
                        const tern_batch_limits *limits, tern_error *err);

/* Issues one run; TERN_E_USAGE when the batch exceeds the limits or names a page, a row or a
 * position that does not exist (nothing has run then). */
int tern_program_run(tern_program *program, tern_stream *stream, const tern_batch *batch,
                     tern_error *err);
void tern_program_destroy(tern_program *program);

#ifdef __cplusplus
}
#endif
#endif
