/* attn.cu - ATTN and ATTN_PART (N6): a CTA folds a run of blocks for rows, which are the query
 * heads of one KV head for one token, or for a few neighbours of one sequence.
 *
 * K and V of a block are tiles that come to shared memory by async copies, K0 V0 K1 V1 ..., one
 * under way while the other is used. A thread has a key (scores: a chain over d) or two components
 * (values: a chain over j); the chains of N6 are never cut, so any arrangement of threads gives
 * their bits. Few tokens: a CTA has one block or group and leaves its state to the merge; many: a
 * CTA has all blocks of its tokens. For one token ROPE_KV may be a part of it: whoever needs a
 * head of q rotates it on the way in, 0.1 us, and the CTA of the last block stores k and v before
 * it asks for that block, 0.3 us, where a kernel of its own costs 1.3 us of gap and 1.5; and the
 * last CTA of a KV head folds the states, 0.4 us for up to eight blocks, where the merge is a gap
 * and 1 to 3 us.
 *
 * Prediction, 2B4T (5 KV heads of 128, 4 heads each), one token: a block is 32 KB (f16) or 16.5 KB
 * (i8) from memory and 7900 or 4600 warp instructions, counted along the usual path in sm_90a's
 * machine code; the share of an SM of an H200 comes in 1800 or 930 cycles, which issue 7300 or
 * 3700: about balanced, i8 a quarter short. Prefill shares a tile among 16 rows: f16 takes 1350 a
 * row, of which 512 are multiply-adds, i8 305 by tensor cores (attn_mma.cuh), most of them for
 * exponentials. */
#include "cuda/attn_fold.cuh"
#include "cuda/attn_mma.cuh"
#include "cuda/cuda_scratch.h"
#include "cuda/rope.cuh"

namespace TERN_GPU {

struct attn_job {
    attn_args a;
    tern_cuda_attn_split split; /* of states; n_units 0: a CTA has all blocks and writes o */
    int head_tiles;             /* that the heads of a KV head are cut into */
    int tokens;                 /* of a CTA */
    int depth;                  /* tiles of K or V in shared memory: 2, or 1 where it is small */
    int line_shift;             /* of a line of V by tensor cores: 4 * hd is 2^line_shift */
    bool folds;                 /* the last CTA of a KV head folds the states of its heads */
    size_t head_bytes;          /* of a KV head in a page; nothing is divided in the loop */
};

/* A run of blocks for the rows of neighbouring tokens of one sequence: row r is query head
 * head + r % heads of token token + r / heads. */
struct attn_work {
    int token, tokens, kv_head, head, heads, rows;
    int pos, begin, end; /* the farthest position; blocks */
    const int32_t *table;
};

/* Where a token's part of the CTA's blocks ends. */
static __device__ inline int end_of(const attn_job &job, int pos)
{
    const int blocks = attn_blocks(pos);
    if (job.split.n_units == 0) return blocks;
    const int run = blocks <= job.split.block_limit ? 1 : TERN_GROUP_PAGES;
    return min(blocks, ((int)blockIdx.z + 1) * run);
}

static __device__ inline int begin_of(const attn_job &job, int pos)
{
    if (job.split.n_units == 0) return 0;
    return (int)blockIdx.z * (attn_blocks(pos) <= job.split.block_limit ? 1 : TERN_GROUP_PAGES);
}

/* The tokens from `first` on, before `limit`, that share the sequence of `first`. */
static __device__ inline attn_work work_of(const attn_job &job, int first, int limit)
{
    const kv_view &view = job.a.view;
    const int heads = job.a.h / view.kv, tile = (int)blockIdx.y % job.head_tiles;
    attn_work w;
    w.token = first;
    w.kv_head = (int)blockIdx.y / job.head_tiles;
    w.head = w.kv_head * heads + tile * ATTN_HEADS;
    w.heads = min(ATTN_HEADS, heads - tile * ATTN_HEADS);
    w.pos = view.pos[first];
    for (w.tokens = 1; first + w.tokens < limit; w.tokens++) {
        if (view.seq[first + w.tokens] != view.seq[first]) break;
        w.pos = max(w.pos, view.pos[first + w.tokens]);
    }
    w.rows = w.tokens * w.heads;
    w.begin = begin_of(job, w.pos);
    w.end = end_of(job, w.pos);
    w.table = view.table + (size_t)view.seq[first] * (size_t)view.table_ld;
    return w;
}

/* Units of a token that have blocks. */
static __device__ inline int units_of(const attn_job &job, int pos)
{
    const int blocks = attn_blocks(pos);
    if (job.split.n_units == 0) return 1;
    return blocks <= job.split.block_limit ? blocks : (blocks - 1) / TERN_GROUP_PAGES + 1;
}

/* ---- shared memory -------------------------------------------------------------------------- */

static __host__ __device__ inline size_t tile_bytes(const kv_view &view)
{
    return (size_t)TERN_PAGE_TOK * (size_t)view.hd * (view.type == TERN_KV_F16 ? 2 : 1);
}

#define SCALES_BYTES (2 * TERN_PAGE_TOK * sizeof(float))

/* Floats of a row of q. */
template <int HT> static __host__ __device__ inline int q_pitch(int hd)
{
    return HT == ATTN_MMA ? attn_ldq(hd) : hd;
}

template <int HT>
static __device__ inline attn_smem smem_of(const attn_job &job, int rows)
{
    const int hd = job.a.view.hd, ldo = hd + attn_pitch<HT>::O_GAP;
    if (HT == ATTN_MMA) rows = ATTN_ROWS;
    attn_smem s;
    s.tiles = SMEM();
    s.scales = (float *)(void *)(s.tiles + (size_t)job.depth * tile_bytes(job.a.view));
    s.q = s.scales + 2 * SCALES_BYTES / sizeof(float);
    s.p = s.q + rows * q_pitch<HT>(hd);
    s.group = s.p + rows * attn_pitch<HT>::P;
    s.total = s.group + rows * ldo;
    s.row = (attn_row *)(void *)(s.total + rows * ldo);
    return s;
}

template <int HT> static size_t smem_bytes(const attn_job &job, int rows)
{
    const int hd = job.a.view.hd;
    const int floats = q_pitch<HT>(hd) + attn_pitch<HT>::P + 2 * (hd + attn_pitch<HT>::O_GAP);
    if (HT == ATTN_MMA) rows = ATTN_ROWS;
    return (size_t)job.depth * tile_bytes(job.a.view) + 2 * SCALES_BYTES +
           (size_t)rows * ((size_t)floats * sizeof(float) + sizeof(attn_row));
}

/* States that a fold has in shared memory, a group for every warp; behind them a word. */
static __host__ __device__ inline size_t staged_bytes(const attn_job &job)
{
    return ATTN_WARPS * TERN_GROUP_PAGES * (size_t)(job.a.view.hd + 2) * sizeof(float);
}

/* Issues the copies of tile t of the run, K of a block for even t and V for odd ones; an empty
 * group beyond the end. */
template <int HT, tern_kv_type TYPE>
static __device__ inline void stage(const attn_job &job, const attn_smem &s, const attn_work &w,
                                    int t)
{
    const kv_view &view = job.a.view;
    const int block = w.begin + t / 2;
    if (block < w.end) {
        const size_t bytes = tile_bytes(view);
        const uint8_t *page = view.pages + (size_t)w.table[block] * view.page_bytes +
                              (size_t)w.kv_head * job.head_bytes;
        const uint8_t *from = page + (t % 2 ? bytes : 0);
        uint8_t *to = s.tiles + (size_t)(t & (job.depth - 1)) * bytes;
        const int shift = t % 2 ? job.line_shift : ATTN_K_SHIFT;
        for (size_t i = 16 * threadIdx.x; i < bytes; i += 16 * ATTN_THREADS)
            copy16_async(to + (HT == ATTN_MMA ? attn_swizzled(i, shift) : i), from + i);
        if (TYPE == TERN_KV_I8 && t % 2 == 0 && threadIdx.x < SCALES_BYTES / 16) {
            uint8_t *scales = (uint8_t *)(void *)s.scales + (size_t)(t / 2 % 2) * SCALES_BYTES;
            copy16_async(scales + 16 * threadIdx.x, page + 2 * bytes + 16 * threadIdx.x);
        }
    }
    copy_commit();
}

/* Component d of a head of q, rotated here where it comes raw. */
template <bool ROPE>
static __device__ inline float q_of(const float *q, const float *rope, int d, int half)
{
    if (!ROPE) return q[d];
    const int j = d < half ? d : d - half;
    const float c = rope[j], s = rope[half + j], x0 = q[j], x1 = q[half + j];
    return d < half ? x0 * c - x1 * s : x0 * s + x1 * c;
}

/* q of the rows, a warp for each: q' = q * c for f16 pages, plainly quantised for i8. */
template <int HT, tern_kv_type TYPE, bool ROPE>
static __device__ inline void load_rows(const attn_job &job, const attn_smem &s,
                                        const attn_work &w)
{
    const int hd = job.a.view.hd;
    if (HT == ATTN_MMA) attn_clear_rows(s, w.rows, hd);
    for (int row = warp_index(); row < w.rows; row += ATTN_WARPS) {
        const int token = w.token + row / w.heads;
        const float *q = job.a.q + token * job.a.ldq + (w.head + row % w.heads) * hd;
        const float *rope = ROPE ? job.a.rope + (size_t)w.pos * (size_t)hd : NULL;
        if (warp_lane() == 0) {
            s.row[row].pos = job.a.view.pos[token];
            s.row[row].end = end_of(job, s.row[row].pos);
        }
        const int first = row / HT * HT * hd, place = row % HT;
        if (TYPE == TERN_KV_F16) {
            for (int d = warp_lane(); d < hd; d += WARP_LANES)
                s.q[first + d * HT + place] = q_of<ROPE>(q, rope, d, hd / 2) * job.a.c;
            continue;
        }
        float largest = 0.0f;
        for (int d = warp_lane(); d < hd; d += WARP_LANES)
            largest = max_of(largest, fabsf(q_of<ROPE>(q, rope, d, hd / 2)));
        const float range = quant_range(warp_max(largest), 1.0f), factor = 127.0f / range;
        int8_t *q8 = (int8_t *)s.q + (HT == ATTN_MMA ? 4 * row * attn_ldq(hd) : first);
        for (int d = warp_lane(); d < hd; d += WARP_LANES) {
            const int at = HT == ATTN_MMA ? d : (d / 4 * HT + place) * 4 + d % 4;
            q8[at] = (int8_t)round_clamp(q_of<ROPE>(q, rope, d, hd / 2) * factor, 127.0f);
        }
        if (warp_lane() == 0) s.row[row].sq_c = (range / 127.0f) * job.a.c;
    }
}

/* ROPE_KV's part of this CTA: k and v of its token and KV head to their page, by a warp each, in
 * the CTA whose run ends with that page. */
static __device__ inline void store_new(const attn_job &job, const attn_work &w)
{
    const int hd = job.a.view.hd, heads = job.a.h + w.kv_head;
    if (w.end < attn_blocks(w.pos)) return;
    if (warp_index() < 2) {
        const bool is_v = warp_index() == 1;
        const float *row = job.a.q + w.token * job.a.ldq;
        head_regs u = load_head(row + (heads + (is_v ? job.a.view.kv : 0)) * hd, hd / 2);
        if (!is_v) rotate_head(&u, job.a.rope + (size_t)w.pos * (size_t)hd, hd / 2);
        store_kv(job.a.view, w.token, w.kv_head, is_v, u);
    }
    __syncthreads();
}

/* ---- the kernel ----------------------------------------------------------------------------- */

/* The totals: o * (1/l) where they are all, or the states m, l, o. */
template <int HT>
static __device__ inline void write_rows(const attn_job &job, const attn_smem &s,
                                         const attn_work &w, int units)
{
    const int hd = job.a.view.hd;
    for (int i = (int)threadIdx.x; i < w.rows * hd; i += ATTN_THREADS) {
        const int row = i / hd, d = i % hd;
        const float total = s.total[i + row * attn_pitch<HT>::O_GAP];
        const int token = w.token + row / w.heads, head = w.head + row % w.heads;
        const attn_row *r = &s.row[row];
        if (units == 1 && (job.split.n_units == 0 || job.folds)) {
            job.a.o[token * job.a.ldo + head * hd + d] = total * (1.0f / r->total_l);
            continue;
        }
        const int64_t state = ((int64_t)token * job.a.h + head) * job.split.n_units + blockIdx.z;
        float *to = job.a.parts + state * job.a.ld_parts;
        to[2 + d] = total;
        if (d == 0) {
            to[0] = r->total_m;
            to[1] = r->total_l;
        }
    }
}

/* In the last CTA of a KV head: the states of its heads to the end. */
static __device__ inline void fold_units(const attn_job &job, const attn_work &w, int units)
{
    const int hd = job.a.view.hd;
    unsigned *shared = (unsigned *)(void *)(SMEM() + staged_bytes(job));
    if (!last_to_come(&job.a.tickets[blockIdx.y], (unsigned)units, shared)) return;
    float *staged = (float *)(void *)SMEM() + warp_index() * TERN_GROUP_PAGES * (hd + 2);
    const int run = attn_blocks(w.pos) <= job.split.block_limit ? TERN_GROUP_PAGES : 1;
    for (int row = warp_index(); row < w.rows; row += ATTN_WARPS) {
        const int64_t head = (int64_t)w.token * job.a.h + w.head + row;
        attn_fold_states(job.a.o + w.token * job.a.ldo + (w.head + row) * hd,
                         job.a.parts + head * job.split.n_units * job.a.ld_parts, units, run, hd,
                         staged);
    }
}

template <int HT, tern_kv_type TYPE>
static __device__ inline void scores(const attn_smem &s, const uint8_t *tile, const float *sk,
                                     const attn_work &w, int hd)
{
    if constexpr (HT == ATTN_MMA)
        attn_scores_mma(s, tile, sk, w.rows, hd);
    else if constexpr (TYPE == TERN_KV_F16)
        attn_scores_f16<HT>(s, (const uint16_t *)(const void *)tile, w.rows, hd);
    else
        attn_scores_i8<HT>(s, (const uint32_t *)(const void *)tile, sk, w.rows, hd);
}

template <int HT, tern_kv_type TYPE>
static __device__ inline void softmax(const attn_smem &s, int rows, const float *sv, attn_step step)
{
    if constexpr (HT == ATTN_MMA)
        attn_softmax_mma(s, rows, sv, step);
    else
        attn_softmax(s, rows, TYPE == TERN_KV_I8 ? sv : NULL, step);
}

template <int HT, tern_kv_type TYPE>
static __device__ inline void values(const attn_job &job, const attn_smem &s, const uint8_t *tile,
                                     const attn_work &w, attn_step step)
{
    const int hd = job.a.view.hd;
    if constexpr (HT == ATTN_MMA)
        attn_values_mma(s, tile, w.rows, hd, job.line_shift, step);
    else if constexpr (TYPE == TERN_KV_F16)
        attn_values_f16<HT>(s, (const uint16_t *)(const void *)tile, w.rows, hd, step);
    else
        attn_values_i8<HT>(s, (const uint32_t *)(const void *)tile, w.rows, hd, step);
}

template <int HT, tern_kv_type TYPE, bool ROPE>
static __device__ inline void fold_run(const attn_job &job, const attn_work &w)
{
    const attn_smem s = smem_of<HT>(job, w.rows);
    const int hd = job.a.view.hd, n_tiles = 2 * (w.end - w.begin);
    if (ROPE) store_new(job, w);
    for (int t = 0; t < job.depth; t++) stage<HT, TYPE>(job, s, w, t);
    load_rows<HT, TYPE, ROPE>(job, s, w);
    for (int t = 0; t < n_tiles; t++) {
        if (job.depth == 2)
            copy_wait<1>();
        else
            copy_wait<0>();
        __syncthreads();
        const int block = w.begin + t / 2;
        const attn_step step = {block, w.begin,
                                min(w.pos + 1 - block * TERN_PAGE_TOK, TERN_PAGE_TOK)};
        const uint8_t *tile = s.tiles + (size_t)(t & (job.depth - 1)) * tile_bytes(job.a.view);
        const float *sk = s.scales + t / 2 % 2 * 2 * TERN_PAGE_TOK, *sv = sk + TERN_PAGE_TOK;
        if (t % 2 == 0)
            scores<HT, TYPE>(s, tile, sk, w, hd);
        else
            values<HT, TYPE>(job, s, tile, w, step);
        __syncthreads();
        stage<HT, TYPE>(job, s, w, t + job.depth);
        if (t % 2 == 0) softmax<HT, TYPE>(s, w.rows, sv, step);
    }
    const int units = units_of(job, w.pos);
    write_rows<HT>(job, s, w, units);
    if (ROPE && job.folds && units > 1) fold_units(job, w, units);
    __syncthreads();
}

/* Seven CTAs an SM are 72 registers a thread; left alone, sm_86 spills for an eighth. With tensor
 * cores shared memory leaves room for five (hd = 128, sm_90), so 102. With ROPE_KV and the fold,
 * for one token, CTAs are few, and registers for four do. */
template <int HT, tern_kv_type TYPE, bool ROPE = false>
static __global__ void __launch_bounds__(ATTN_THREADS, ROPE ? 4 : HT == ATTN_MMA ? 5 : 7)
    attn_kernel(attn_job job)
{
    after_predecessor();
    const int first = (int)blockIdx.x * job.tokens, limit = min(first + job.tokens, job.a.n_tok);
    for (int token = first; token < limit;) {
        const attn_work w = work_of(job, token, limit);
        if (w.begin < w.end) fold_run<HT, TYPE, ROPE>(job, w);
        token += w.tokens;
    }
}

/* ---- launches ------------------------------------------------------------------------------- */

#define CTAS_PER_SM 4 /* that tokens sharing a CTA must leave */

/* Up to so many groups (4096 positions) the last CTA folds, 0.4 us a group, four heads at once; the
 * gap before a merge of its own and that merge, eight groups at once, take 3.3 us there. */
#define FOLD_GROUPS 8

/* How a launch divides its work; HT is what the kernel's threads take. */
template <int HT, tern_kv_type TYPE, bool ROPE>
static cudaError_t launch_rows(attn_job job, const target &to)
{
    const int all = job.a.h / job.a.view.kv, heads = all < ATTN_HEADS ? all : ATTN_HEADS;
    const int units = job.split.n_units > 0 ? job.split.n_units : 1;
    job.depth = 2;
    if (smem_bytes<HT>(job, job.tokens * heads) > (size_t)to.smem_bytes) job.depth = 1;
    const dim3 grid(blocks_of(job.a.n_tok, job.tokens),
                    (unsigned)(job.a.view.kv * job.head_tiles), (unsigned)units);
    size_t smem = smem_bytes<HT>(job, job.tokens * heads);
    if (job.folds && smem < staged_bytes(job) + sizeof(unsigned))
        smem = staged_bytes(job) + sizeof(unsigned);
    return launch(attn_kernel<HT, TYPE, ROPE>, job, grid, dim3(ATTN_THREADS), smem, to);
}

/* Tokens of a CTA: as many as rows allow while there is work for all SMs. */
template <int HT> static int tokens_of(const attn_job &job, int heads, const target &to)
{
    int tokens = job.split.n_units > 0 ? 1 : ATTN_ROWS / heads;
    while (tokens > 1) {
        const int64_t ctas = (int64_t)job.a.n_tok / tokens * job.a.view.kv * job.head_tiles;
        if (ctas >= CTAS_PER_SM * to.n_sm &&
            smem_bytes<HT>(job, tokens * heads) <= (size_t)to.smem_bytes)
            break;
        tokens /= 2;
    }
    return tokens;
}

/* As many rows at once as divide the heads; four only when there are rows enough for all warps. */
template <tern_kv_type TYPE>
static cudaError_t launch_threads(attn_job job, int heads, const target &to)
{
    const int all = job.a.h / job.a.view.kv;
    job.tokens = tokens_of<1>(job, heads, to);
    if (job.a.rope)
        return all % 2 == 0 ? launch_rows<2, TYPE, true>(job, to)
                            : launch_rows<1, TYPE, true>(job, to);
    if (all % 4 == 0 && job.tokens > 1) return launch_rows<4, TYPE, false>(job, to);
    return all % 2 == 0 ? launch_rows<2, TYPE, false>(job, to)
                        : launch_rows<1, TYPE, false>(job, to);
}

/* Tokens of a prompt over i8 pages share tensor cores, where lines of V are 32, 64, ... words. */
static cudaError_t launch_job(attn_job job, const target &to)
{
    const int all = job.a.h / job.a.view.kv, heads = all < ATTN_HEADS ? all : ATTN_HEADS;
    const int hd = job.a.view.hd;
    job.head_tiles = (all + ATTN_HEADS - 1) / ATTN_HEADS;
    job.depth = 1;
    job.head_bytes = job.a.view.page_bytes / (size_t)job.a.view.kv;
    if (job.a.view.type == TERN_KV_F16) return launch_threads<TERN_KV_F16>(job, heads, to);
    for (job.line_shift = 2; 4 * hd >> job.line_shift > 1;) job.line_shift++;
    if (hd >= 32 && (hd & (hd - 1)) == 0) job.tokens = tokens_of<ATTN_MMA>(job, heads, to);
    return job.tokens > 1 ? launch_rows<ATTN_MMA, TERN_KV_I8, false>(job, to)
                          : launch_threads<TERN_KV_I8>(job, heads, to);
}

/* One CTA, not several, writes a page. */
bool attn_rope_fits(const attn_args &a)
{
    return a.h / a.view.kv <= ATTN_HEADS;
}

cudaError_t launch_attn(const attn_args &a, const target &to)
{
    if (a.n_tok == 0) return cudaSuccess;
    attn_job job = {a, tern_cuda_attn_split_of(a.n_tok, a.view.kv, a.n_groups), 0, 0, 0, 0,
                    false, 0};
    job.folds = a.rope && job.split.n_units > 0 && a.n_groups <= FOLD_GROUPS &&
                a.view.kv <= TERN_CUDA_TICKETS;
    cudaError_t status = launch_job(job, to);
    if (status != cudaSuccess || job.split.n_units == 0 || job.folds) return status;
    merge_job merge = {{a.parts, a.ld_parts, a.view.pos, a.o, a.ldo, a.n_tok, a.h, a.view.hd,
                        a.n_groups},
                       job.split.n_units,
                       job.split.block_limit};
    return launch_merge_job(merge, to);
}

cudaError_t launch_attn_part(const attn_args &a, const target &to)
{
    if (a.n_tok == 0) return cudaSuccess;
    attn_job job = {a, {a.n_groups, 0}, 0, 0, 0, 0, false, 0};
    return launch_job(job, to);
}

} /* namespace TERN_GPU */
