/* attn.cu - ATTN and ATTN_PART (N6): a CTA folds a run of blocks for the query heads of one KV head.
 *
 * K and V of a block are tiles that come to shared memory by async copies, K0 V0 K1 V1 ..., one under
 * way while the other is used. A thread has a key (scores: a chain over d) or two components (values:
 * a chain over j); the chains of N6 are never cut, so any arrangement of threads gives their bits.
 * Few tokens: a CTA has one block or group and leaves its state to the merge; many: it has them all.
 *
 * Prediction, 2B4T (5 KV heads of 128, 4 heads each): a block is 32 KB (f16) or 16.5 KB (i8) from
 * memory and 2600 + 1900 (f16) or 500 + 600 (i8) warp instructions. An SM of an H200 has its share of
 * 32 KB in 0.9 us = 1600 cycles and issues 4 x 1600: bound by memory when some 10 CTAs' copies fly. */
#include "cuda/attn_block.cuh"

namespace TERN_GPU {

struct attn_job {
    attn_args a;
    tern_cuda_attn_split split; /* of states; n_units 0: a CTA has all blocks and writes o */
    int tiles;                  /* of at most ATTN_HEADS heads, that a KV head's are cut into */
    int depth;                  /* tiles of K or V in shared memory: 2, or 1 where it is small */
};

/* What a CTA is to do. */
struct attn_work {
    int token, kv_head, head, rows; /* query heads head .. head + rows */
    int pos, begin, end;            /* of the token; blocks */
    const int32_t *table;
};

static __device__ inline attn_work work_of(const attn_job &job)
{
    const kv_view &view = job.a.view;
    const int heads = job.a.h / view.kv, tile = (int)blockIdx.y % job.tiles;
    attn_work w;
    w.token = (int)blockIdx.x;
    w.kv_head = (int)blockIdx.y / job.tiles;
    w.head = w.kv_head * heads + tile * ATTN_HEADS;
    w.rows = min(ATTN_HEADS, heads - tile * ATTN_HEADS);
    w.pos = view.pos[w.token];
    w.table = view.table + (size_t)view.seq[w.token] * (size_t)view.table_ld;
    w.begin = 0;
    w.end = attn_blocks(w.pos);
    if (job.split.n_units > 0) {
        const int run = w.end <= job.split.block_limit ? 1 : TERN_GROUP_PAGES;
        w.begin = (int)blockIdx.z * run;
        w.end = min(w.end, w.begin + run);
    }
    return w;
}

/* ---- shared memory -------------------------------------------------------------------------- */

static __host__ __device__ inline size_t tile_bytes(const kv_view &view)
{
    return (size_t)TERN_PAGE_TOK * (size_t)view.hd * (view.type == TERN_KV_F16 ? 2 : 1);
}

#define SCALES_BYTES (2 * TERN_PAGE_TOK * sizeof(float))

static __device__ inline attn_smem smem_of(const attn_job &job, int rows)
{
    const int hd = job.a.view.hd;
    attn_smem s;
    s.tiles = SMEM();
    s.scales = (float *)(void *)(s.tiles + (size_t)job.depth * tile_bytes(job.a.view));
    s.q = s.scales + 2 * SCALES_BYTES / sizeof(float);
    s.p = s.q + rows * hd;
    s.group = s.p + rows * TERN_PAGE_TOK;
    s.total = s.group + rows * hd;
    s.row = (attn_row *)(void *)(s.total + rows * hd);
    return s;
}

static size_t smem_bytes(const attn_job &job, int rows)
{
    const size_t row_floats = 3 * (size_t)job.a.view.hd + TERN_PAGE_TOK;
    return (size_t)job.depth * tile_bytes(job.a.view) + 2 * SCALES_BYTES +
           (size_t)rows * (row_floats * sizeof(float) + sizeof(attn_row));
}

/* Issues the copies of tile t of the run, K of a block for even t and V for odd ones; an empty group
 * beyond the end. */
template <tern_kv_type TYPE>
static __device__ inline void stage(const attn_job &job, const attn_smem &s, const attn_work &w,
                                    int t)
{
    const kv_view &view = job.a.view;
    const int block = w.begin + t / 2;
    if (block < w.end) {
        const size_t bytes = tile_bytes(view);
        const uint8_t *page = view.pages + (size_t)w.table[block] * view.page_bytes +
                              (size_t)w.kv_head * (view.page_bytes / (size_t)view.kv);
        const uint8_t *from = page + (t % 2 ? bytes : 0);
        uint8_t *to = s.tiles + (size_t)(t % job.depth) * bytes;
        for (size_t i = 16 * threadIdx.x; i < bytes; i += 16 * ATTN_THREADS)
            copy16_async(to + i, from + i);
        if (TYPE == TERN_KV_I8 && t % 2 == 0 && threadIdx.x < SCALES_BYTES / 16) {
            uint8_t *scales = (uint8_t *)(void *)s.scales + (size_t)(t / 2 % 2) * SCALES_BYTES;
            copy16_async(scales + 16 * threadIdx.x, page + 2 * bytes + 16 * threadIdx.x);
        }
    }
    copy_commit();
}

/* q of the rows: q' = q * c for f16 pages; plainly quantised for i8, a warp for each row. */
template <int HT, tern_kv_type TYPE>
static __device__ inline void load_q(const attn_job &job, const attn_smem &s, const attn_work &w)
{
    const int hd = job.a.view.hd;
    for (int row = warp_index(); row < w.rows; row += ATTN_WARPS) {
        const float *q = job.a.q + w.token * job.a.ldq + (w.head + row) * hd;
        const int first = row / HT * HT * hd, place = row % HT;
        if (TYPE == TERN_KV_F16) {
            for (int d = warp_lane(); d < hd; d += WARP_LANES)
                s.q[first + d * HT + place] = q[d] * job.a.c;
            continue;
        }
        float largest = 0.0f;
        for (int d = warp_lane(); d < hd; d += WARP_LANES) largest = max_of(largest, fabsf(q[d]));
        const float range = quant_range(warp_max(largest), 1.0f), factor = 127.0f / range;
        int8_t *q8 = (int8_t *)s.q + first;
        for (int d = warp_lane(); d < hd; d += WARP_LANES)
            q8[(d / 4 * HT + place) * 4 + d % 4] = (int8_t)round_clamp(q[d] * factor, 127.0f);
        if (warp_lane() == 0) s.row[row].sq_c = (range / 127.0f) * job.a.c;
    }
}

/* ---- the kernel ----------------------------------------------------------------------------- */

static __device__ inline attn_place place_of(const attn_work &w, int block)
{
    attn_place place;
    place.first_block = block == w.begin || block % TERN_GROUP_PAGES == 0;
    place.first_group = block / TERN_GROUP_PAGES == w.begin / TERN_GROUP_PAGES;
    place.ends_group = block + 1 == w.end || (block + 1) % TERN_GROUP_PAGES == 0;
    return place;
}

/* The totals: o * (1/l), or the states m, l, o. */
static __device__ inline void write_rows(const attn_job &job, const attn_smem &s,
                                         const attn_work &w)
{
    const int hd = job.a.view.hd;
    for (int i = (int)threadIdx.x; i < w.rows * hd; i += ATTN_THREADS) {
        const int row = i / hd, d = i % hd, head = w.head + row;
        const attn_row *r = &s.row[row];
        if (job.split.n_units == 0) {
            job.a.o[w.token * job.a.ldo + head * hd + d] = s.total[i] * (1.0f / r->total_l);
            continue;
        }
        const int64_t state = ((int64_t)w.token * job.a.h + head) * job.split.n_units + blockIdx.z;
        float *to = job.a.parts + state * job.a.ld_parts;
        to[2 + d] = s.total[i];
        if (d == 0) {
            to[0] = r->total_m;
            to[1] = r->total_l;
        }
    }
}

template <int HT, tern_kv_type TYPE>
static __global__ void __launch_bounds__(ATTN_THREADS) attn_kernel(attn_job job)
{
    const attn_work w = work_of(job);
    if (w.begin >= w.end) return;
    const attn_smem s = smem_of(job, w.rows);
    const int hd = job.a.view.hd, n_tiles = 2 * (w.end - w.begin);
    for (int t = 0; t < job.depth; t++) stage<TYPE>(job, s, w, t);
    load_q<HT, TYPE>(job, s, w);
    for (int t = 0; t < n_tiles; t++) {
        if (job.depth == 2)
            copy_wait<1>();
        else
            copy_wait<0>();
        __syncthreads();
        const int block = w.begin + t / 2, n = min(w.pos + 1 - block * TERN_PAGE_TOK, TERN_PAGE_TOK);
        const attn_place place = place_of(w, block);
        const uint8_t *tile = s.tiles + (size_t)(t % job.depth) * tile_bytes(job.a.view);
        const float *sk = s.scales + t / 2 % 2 * 2 * TERN_PAGE_TOK, *sv = sk + TERN_PAGE_TOK;
        if (t % 2 == 0) {
            if (TYPE == TERN_KV_F16)
                attn_scores_f16<HT>(s, (const uint16_t *)(const void *)tile, w.rows, hd);
            else
                attn_scores_i8<HT>(s, (const uint32_t *)(const void *)tile, sk, w.rows, hd);
        } else {
            if (TYPE == TERN_KV_F16)
                attn_values_f16<HT>(s, (const uint16_t *)(const void *)tile, w.rows, hd, n, place);
            else
                attn_values_i8<HT>(s, (const uint32_t *)(const void *)tile, w.rows, hd, n, place);
        }
        __syncthreads();
        stage<TYPE>(job, s, w, t + job.depth);
        if (t % 2 == 0) attn_softmax(s, w.rows, n, TYPE == TERN_KV_I8 ? sv : NULL, place);
    }
    write_rows(job, s, w);
}

/* ---- launches ------------------------------------------------------------------------------- */

static cudaError_t launch_job(attn_job job, const target &to)
{
    const int kv = job.a.view.kv, heads = job.a.h / kv;
    const int rows = heads < ATTN_HEADS ? heads : ATTN_HEADS;
    const int units = job.split.n_units > 0 ? job.split.n_units : 1;
    job.tiles = (heads + ATTN_HEADS - 1) / ATTN_HEADS;
    job.depth = 2;
    if (smem_bytes(job, rows) > (size_t)to.smem_bytes) job.depth = 1;
    void (*kernel)(attn_job);
    if (job.a.view.type == TERN_KV_F16)
        kernel = heads % 2 ? attn_kernel<1, TERN_KV_F16> : attn_kernel<2, TERN_KV_F16>;
    else
        kernel = heads % 2 ? attn_kernel<1, TERN_KV_I8> : attn_kernel<2, TERN_KV_I8>;
    const dim3 grid((unsigned)job.a.n_tok, (unsigned)(kv * job.tiles), (unsigned)units);
    return launch(kernel, job, grid, dim3(ATTN_THREADS), smem_bytes(job, rows), to);
}

cudaError_t launch_attn(const attn_args &a, const target &to)
{
    if (a.n_tok == 0) return cudaSuccess;
    attn_job job = {a, tern_cuda_attn_split_of(a.n_tok, a.view.kv, a.n_groups), 0, 0};
    cudaError_t status = launch_job(job, to);
    if (status != cudaSuccess || job.split.n_units == 0) return status;
    merge_job merge = {{a.parts, a.ld_parts, a.view.pos, a.o, a.ldo, a.n_tok, a.h, a.view.hd,
                        a.n_groups},
                       job.split.n_units,
                       job.split.block_limit};
    return launch_merge_job(merge, to);
}

cudaError_t launch_attn_part(const attn_args &a, const target &to)
{
    if (a.n_tok == 0) return cudaSuccess;
    attn_job job = {a, {a.n_groups, 0}, 0, 0};
    return launch_job(job, to);
}

} /* namespace TERN_GPU */
