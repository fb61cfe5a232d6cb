/* gemv.cuh - the product of one token with ternary weights by CTAs that stay: what the kernels with
 * and without a prologue share (linear_gemv.cu, linear_fused.cu).
 *
 * There is a CTA for every SM. It owns neighbouring row groups, or as many pairs of one of gate and
 * one of up; its blocks of 16 rows x 128 columns, group after group, are cut into one run for each
 * of eight warps. A warp streams its run through a ring of its own in shared memory, 512 bytes a
 * stage, and adds what a row group gave to the CTA's sums: integers, exact in any order. q stands
 * in shared memory as a whole.
 *
 * A lane holds rows r and r + 8, and word & (0x03030303 << 2p) is an operand of dp4a with the codes
 * 4^p times too large: four sums, shifted once at the end, no unpacking. The largest sum gains
 * 4 steps x 4 bytes x 2*64*127 = 260096 a block, and q of 2^17 columns, more than shared memory
 * holds, is 1024 blocks: below 2^28. */
#ifndef TERN_CUDA_GEMV_CUH
#define TERN_CUDA_GEMV_CUH

#include "cuda/linear.cuh"
#include "cuda/warp.cuh"

namespace TERN_GPU {

#define GEMV_WARPS 8
#define GEMV_THREADS (GEMV_WARPS * WARP_LANES)

/* Stages of a warp's ring: where shared memory is large they hold most of what an SM has of a
 * matrix of 2B4T (19 to 80 KB), asked for before the predecessor has ended. */
#define GEMV_DEEP 16
#define GEMV_SHALLOW 4
#define GEMV_UNROLL 4 /* blocks of a turn of the loop */

/* The shared memory of a CTA. */
struct gemv_smem {
    uint8_t *ring;               /* [GEMV_WARPS][stages][TERN_CUDA_BLOCK_BYTES] */
    int8_t *q;                   /* [k_pad] */
    unsigned *sums;              /* of codes, [rows] */
    float *scales;               /* of the rows, [rows] */
    uint8_t *rest;               /* what the kernel has besides */
};

/* Row groups of a CTA: `first` .. first + n of the matrix and, in pairs, the same of `up`. */
struct gemv_share {
    int first, n, up;            /* up: the row group where up begins; 0: no pairs */
};

static __host__ __device__ inline int gemv_rows(const gemv_share &share)
{
    return share.n * TERN_CUDA_ROWS * (share.up ? 2 : 1);
}

/* The share of CTA `cta` of n_cta in n_groups row groups or pairs. */
static __host__ __device__ inline gemv_share gemv_share_of(int n_groups, int up, int cta,
                                                           int n_cta)
{
    const int first = (int)((int64_t)n_groups * cta / n_cta);
    return gemv_share{first, (int)((int64_t)n_groups * (cta + 1) / n_cta) - first, up};
}

static inline int gemv_ctas(int n_groups, const target &to)
{
    return n_groups < to.n_sm ? n_groups : to.n_sm;
}

/* Bytes of a CTA without the kernel's own, for the largest share. */
static inline size_t gemv_smem_bytes(int stages, int k_pad, int n_groups, int up, int n_cta)
{
    const gemv_share most = {0, (n_groups + n_cta - 1) / n_cta, up};
    return (size_t)GEMV_WARPS * (size_t)stages * TERN_CUDA_BLOCK_BYTES + (size_t)k_pad +
           (size_t)gemv_rows(most) * (sizeof(unsigned) + sizeof(float));
}

template <int STAGES>
static __device__ inline gemv_smem gemv_smem_of(int k_pad, const gemv_share &share)
{
    gemv_smem s;
    s.ring = SMEM();
    s.q = (int8_t *)s.ring + GEMV_WARPS * STAGES * TERN_CUDA_BLOCK_BYTES;
    s.sums = (unsigned *)(void *)(s.q + k_pad);
    s.scales = (float *)(void *)(s.sums + gemv_rows(share));
    s.rest = (uint8_t *)(void *)(s.scales + gemv_rows(share));
    return s;
}

/* The row of the matrix behind row r of the CTA's sums. */
static __device__ inline int gemv_row(const gemv_share &share, int r)
{
    const int half = share.n * TERN_CUDA_ROWS;
    return r < half ? share.first * TERN_CUDA_ROWS + r
                    : (share.up + share.first) * TERN_CUDA_ROWS + r - half;
}

/* ---- the stream of weights ------------------------------------------------------------------ */

/* A warp's part of the CTA's blocks; with pairs half of the warps have gate, the others up. */
struct gemv_run {
    uint8_t *ring;               /* of the warp, at this lane's 16 bytes of stage 0 */
    const uint8_t *codes;        /* this lane's 16 bytes of the part's first block */
    int n;                       /* blocks */
    int group, column;           /* of the first one: its row group and place there */
};

template <int STAGES>
static __device__ inline gemv_run gemv_run_of(const ternary_view &w, const gemv_share &share,
                                              const gemv_smem &s)
{
    const int n_blocks = w.k_pad / TERN_CUDA_COLS;
    const size_t group_bytes = (size_t)n_blocks * TERN_CUDA_BLOCK_BYTES;
    const int lane_bytes = 16 * warp_lane();
    const int64_t half = (int64_t)share.n * n_blocks, total = half * (share.up ? 2 : 1);
    const int begin = (int)(total * warp_index() / GEMV_WARPS);
    const size_t skip = begin >= half ? (size_t)(share.up - share.n) * group_bytes : 0;
    gemv_run run;
    run.ring = s.ring + warp_index() * (STAGES * TERN_CUDA_BLOCK_BYTES) + lane_bytes;
    run.codes = (const uint8_t *)w.codes + (size_t)share.first * group_bytes + lane_bytes +
                (size_t)begin * TERN_CUDA_BLOCK_BYTES + skip;
    run.n = (int)(total * (warp_index() + 1) / GEMV_WARPS) - begin;
    run.group = begin / n_blocks;
    run.column = begin % n_blocks;
    return run;
}

/* Asks for block `block` of the run, whose stage begins so many bytes into the ring; an empty group
 * beyond the run. */
static __device__ inline void gemv_fetch(const gemv_run &run, int block, int stage)
{
    if (block < run.n)
        copy16_async(run.ring + stage, run.codes + (size_t)block * TERN_CUDA_BLOCK_BYTES);
    copy_commit();
}

/* What may come before the wait for the predecessor: the first stages, the scales of the rows, sums
 * of zero. */
template <int STAGES>
static __device__ inline void gemv_begin(const gemv_run &run, const ternary_view &w,
                                         const gemv_share &share, const gemv_smem &s)
{
    for (int i = 0; i < STAGES - 1; i++) gemv_fetch(run, i, i * TERN_CUDA_BLOCK_BYTES);
    for (int r = (int)threadIdx.x; r < gemv_rows(share); r += GEMV_THREADS) {
        const int row = gemv_row(share, r);
        s.sums[r] = 0;
        s.scales[r] = row < w.n_out ? w.scale[row] : 0.0f;
    }
}

/* acc[p] += 4^p times the dot product of register p of a block. */
static __device__ inline void gemv_block(int acc[4], const uint8_t *stage, const int8_t *columns)
{
    const uint4 codes = *(const uint4 *)(const void *)stage;
    const uint32_t *q = (const uint32_t *)(const void *)columns + warp_lane() % 4;
    const uint32_t words[4] = {codes.x, codes.y, codes.z, codes.w};
    UNROLL for (int step = 0; step < 4; step++) {
        UNROLL for (int p = 0; p < 4; p++)
            acc[p] = dp4a_us(words[step] & 0x03030303u << 2 * p, q[8 * step + 4 * (p / 2)], acc[p]);
    }
}

/* Adds rows r and r + 8 of this warp to the sums of a row group; acc begins anew. */
static __device__ inline void gemv_add(unsigned *sums, int acc[4])
{
    unsigned sum[2] = {(unsigned)(acc[0] + (acc[2] >> 4)),
                       (unsigned)((acc[1] >> 2) + (acc[3] >> 6))};
    UNROLL for (int i = 0; i < 2; i++) {
        sum[i] += __shfl_xor_sync(WARP_ALL, sum[i], 1);
        sum[i] += __shfl_xor_sync(WARP_ALL, sum[i], 2);
        if (warp_lane() % 4 == 0) atomicAdd(&sums[warp_lane() / 4 + 8 * i], sum[i]);
    }
    UNROLL for (int p = 0; p < 4; p++) acc[p] = 0;
}

/* This warp's run. q and sums of zero are seen by all before, and the sums are whole after a
 * __syncthreads(). */
template <int STAGES>
static __device__ inline void gemv_stream(const gemv_run &run, const gemv_smem &s, int n_blocks)
{
    static_assert(STAGES % GEMV_UNROLL == 0, "a ring is whole turns of the loop");
    int acc[4] = {0, 0, 0, 0};
    int group = run.group, column = run.column, turn = 0;
    const int8_t *q = s.q + column * TERN_CUDA_COLS;
    for (int i = 0; i < run.n; i += GEMV_UNROLL) {
        const int before = turn == 0 ? STAGES - 1 : turn - 1; /* the stage of block i - 1 */
        UNROLL for (int j = 0; j < GEMV_UNROLL; j++) {
            if (i + j >= run.n) break;
            copy_wait<STAGES - 2>();
            gemv_fetch(run, i + j + STAGES - 1,
                       (j == 0 ? before : turn + j - 1) * TERN_CUDA_BLOCK_BYTES);
            gemv_block(acc, run.ring + (turn + j) * TERN_CUDA_BLOCK_BYTES, q);
            q += TERN_CUDA_COLS;
            if (++column < n_blocks) continue;
            gemv_add(s.sums + group * TERN_CUDA_ROWS, acc);
            column = 0;
            q = s.q;
            group++;
        }
        turn = turn + GEMV_UNROLL == STAGES ? 0 : turn + GEMV_UNROLL;
    }
    if (column > 0 && run.n > 0) gemv_add(s.sums + group * TERN_CUDA_ROWS, acc);
}

/* y of this thread's first row, where it will be added to: asked for long before it is needed. */
static __device__ inline float gemv_before(const linear_args &a, const gemv_share &share)
{
    const int row = gemv_row(share, (int)threadIdx.x);
    const bool mine = (int)threadIdx.x < gemv_rows(share) && row < a.w.n_out;
    return a.accumulate && mine ? a.y[row] : 0.0f;
}

/* y of the CTA's rows. */
static __device__ inline void gemv_store(const linear_args &a, const gemv_share &share,
                                         const gemv_smem &s, float scale, int32_t sum, float before)
{
    const int thread = (int)threadIdx.x;
    for (int r = thread; r < gemv_rows(share); r += GEMV_THREADS) {
        const int row = gemv_row(share, r);
        if (row >= a.w.n_out) break;
        const float v = linear_product(s.sums[r], sum, scale, s.scales[r]);
        a.y[row] = a.accumulate ? (r == thread ? before : a.y[row]) + v : v;
    }
}

} /* namespace TERN_GPU */
#endif
