/* head_gemv.cu - rows of a HEAD times the table by dp4a: a CTA takes a group of 16 rows of the
 * table for one row of activations, its four warps share d. Serves one row in full, its bounds, the
 * few groups that screening leaves, and any d.
 *
 * As in linear_gemv.cu: a ring a warp, 2 KB of the table and the bytes of both planes of x a slot,
 * a lane reads back its own 16 bytes of every block. PLANES = 1 knows H, PLANES = 2 H and L.
 * Bound: bytes. 16 bytes of H are 8 IDP, 4 LDS.32, 1 LDS.128 and about 4 more: about 1 instruction
 * a byte, where 4.3 TB/s on 132 SMs deliver 18 bytes a clock and an SM issues 128. */
#include "cuda/head.cuh"

namespace TERN_GPU {

#define HEAD_WARPS 4
#define HEAD_STAGES 3
#define HEAD_BLOCKS 4 /* of 16 x 32 bytes in a slot, over all planes */
#define HEAD_TABLE_BYTES (HEAD_BLOCKS * TERN_CUDA_BLOCK_BYTES)
#define HEAD_SLOT (HEAD_TABLE_BYTES + 2 * 32 * HEAD_BLOCKS)
#define HEAD_RING (HEAD_STAGES * HEAD_SLOT)
#define HEAD_SUMS (HEAD_WARPS * HEAD_RING) /* s64 [HEAD_WARPS][4][16] */
#define HEAD_SMEM_BYTES (HEAD_SUMS + HEAD_WARPS * 4 * TERN_CUDA_ROWS * 8)

struct head_gemv_job {
    head_chunk c;
    head_result result;
};

/* Sources of a group and a row, at this lane's place. */
struct head_source {
    const int8_t *plane[2];      /* H, L */
    const int8_t *x;             /* high or low, as the lane copies */
};

/* The sums of a lane for its rows r and r + 8. */
struct head_sums {
    int high_high[2], low_high[2], high_low[2], low_low[2];
};

/* Columns cols * slot .. of all planes; a slot is cols = 128 / PLANES columns. */
template <int PLANES>
static __device__ inline void head_fetch(uint8_t *to, const head_source &from, int slot, int lane)
{
    constexpr int blocks = HEAD_BLOCKS / PLANES, cols = 32 * blocks;
    UNROLL for (int i = 0; i < HEAD_BLOCKS; i++)
        copy16_async(to + i * TERN_CUDA_BLOCK_BYTES + lane * 16,
                     from.plane[i / blocks] +
                         (size_t)(slot * blocks + i % blocks) * TERN_CUDA_BLOCK_BYTES);
    if (lane < 2 * cols / 16)
        copy16_async(to + HEAD_TABLE_BYTES + lane * 16, from.x + (size_t)slot * cols);
}

template <int PLANES>
static __device__ inline void head_slot(head_sums &s, const uint8_t *slot, int lane)
{
    constexpr int blocks = HEAD_BLOCKS / PLANES, cols = 32 * blocks;
    const uint32_t *high = (const uint32_t *)(slot + HEAD_TABLE_BYTES) + lane % 4;
    const uint32_t *low = high + cols / 4;
    UNROLL for (int i = 0; i < HEAD_BLOCKS; i++) {
        const uint4 v = *(const uint4 *)(slot + i * TERN_CUDA_BLOCK_BYTES + lane * 16);
        const uint32_t w[4] = {v.x, v.y, v.z, v.w};
        UNROLL for (int p = 0; p < 4; p++) {
            const int word = i % blocks * 8 + p / 2 * 4;
            const uint32_t h = high[word], l = low[word];
            if (i < blocks) {
                s.high_high[p % 2] = dp4a_ss(w[p], h, s.high_high[p % 2]);
                s.low_high[p % 2] = dp4a_ss(w[p], l, s.low_high[p % 2]);
            } else {
                s.high_low[p % 2] = dp4a_ss(w[p], h, s.high_low[p % 2]);
                s.low_low[p % 2] = dp4a_ss(w[p], l, s.low_low[p % 2]);
            }
        }
    }
}

static __device__ inline void head_fold(long long total[2], head_sums &s)
{
    for (int i = 0; i < 2; i++)
        total[i] += head_total(s.high_high[i], s.low_high[i], s.high_low[i], s.low_low[i]);
    s = head_sums{};
}

/* This warp's part of d: T of rows r and r + 8 over the columns of this lane. */
template <int PLANES>
static __device__ inline void head_stream(long long total[2], const head_source &from, int k_pad)
{
    constexpr int cols = 32 * HEAD_BLOCKS / PLANES, fold = HEAD_S32_COLS / cols;
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    uint8_t *ring = SMEM() + warp * HEAD_RING;
    const int n = (k_pad / cols - warp + HEAD_WARPS - 1) / HEAD_WARPS;
    UNROLL for (int i = 0; i < HEAD_STAGES - 1; i++) {
        if (i < n) head_fetch<PLANES>(ring + i * HEAD_SLOT, from, warp + i * HEAD_WARPS, lane);
        copy_commit();
    }
    head_sums sums = {};
    for (int i = 0; i < n; i++) {
        copy_wait<HEAD_STAGES - 2>();
        __syncwarp(); /* x of this slot is there for all lanes, the slot before is read by all */
        const int next = i + HEAD_STAGES - 1;
        if (next < n)
            head_fetch<PLANES>(ring + next % HEAD_STAGES * HEAD_SLOT, from,
                               warp + next * HEAD_WARPS, lane);
        copy_commit();
        head_slot<PLANES>(sums, ring + i % HEAD_STAGES * HEAD_SLOT, lane);
        if (i % fold == fold - 1) head_fold(total, sums);
    }
    head_fold(total, sums);
}

/* T of row `threadIdx.x` of the group, in threads 0..15; ends with all threads past the rings. */
static __device__ inline long long head_reduce(const long long total[2])
{
    const int thread = (int)threadIdx.x, lane = thread % 32, warp = thread / 32;
    long long *sums = (long long *)(SMEM() + HEAD_SUMS);
    for (int i = 0; i < 2; i++)
        sums[(warp * 4 + lane % 4) * TERN_CUDA_ROWS + lane / 4 + 8 * i] = total[i];
    __syncthreads();
    long long sum = 0;
    if (thread < TERN_CUDA_ROWS)
        for (int i = 0; i < HEAD_WARPS * 4; i++) sum += sums[i * TERN_CUDA_ROWS + thread];
    __syncthreads();
    return sum;
}

/* By the first warp: what is left of a group. */
static __device__ inline void head_leave(const head_gemv_job &job, int row, int group,
                                         long long total)
{
    const head_chunk &c = job.c;
    const int thread = (int)threadIdx.x, v = group * TERN_CUDA_ROWS + thread;
    const bool present = thread < TERN_CUDA_ROWS && v < c.a.table.n_vocab;
    const float scale = present ? c.scale[row] * c.a.table.scale[v] : 0.0f;
    if (job.result != HEAD_BOUNDS) {
        if (present) c.logits[row * c.ld_logits + v] = head_logit(total, scale);
        return;
    }
    head_bounds b = present ? head_bounds_of(total, c.slack[row], scale) : head_no_bounds();
    for (int mask = 8; mask >= 1; mask /= 2) b = head_max_with(b, mask);
    if (thread != 0) return;
    c.lower[(size_t)row * (size_t)c.n_groups + (size_t)group] = b.lower;
    c.upper[(size_t)row * (size_t)c.n_groups + (size_t)group] = b.upper;
}

template <int PLANES> static __global__ void head_gemv_kernel(head_gemv_job job)
{
    after_predecessor();
    const head_chunk &c = job.c;
    const int row = (int)blockIdx.y, lane = (int)threadIdx.x % 32, k_pad = c.a.table.k_pad;
    constexpr int x_lanes = 2 * HEAD_BLOCKS / PLANES; /* that copy one plane of x */
    const int8_t *x = (lane < x_lanes ? c.high : c.low) + (size_t)row * (size_t)k_pad;
    const int n = job.result == HEAD_LISTED ? (int)c.count[row] : c.n_groups;
    for (int i = (int)blockIdx.x; i < n; i += (int)gridDim.x) {
        const int group = job.result == HEAD_LISTED
                              ? (int)c.list[(size_t)row * (size_t)c.n_groups + (size_t)i]
                              : i;
        const size_t at = (size_t)group * TERN_CUDA_ROWS * (size_t)k_pad + (size_t)lane * 16;
        head_source from = {{c.a.table.high + at, NULL}, x + lane % x_lanes * 16};
        if (PLANES == 2) from.plane[1] = c.a.table.low + at;
        long long total[2] = {0, 0};
        head_stream<PLANES>(total, from, k_pad);
        const long long sum = head_reduce(total);
        if (threadIdx.x < 32) head_leave(job, row, group, sum);
    }
}

/* Eight CTAs an SM for the groups of a list, however many they are. */
cudaError_t launch_head_gemv(const head_chunk &c, head_result result, const target &to)
{
    const head_gemv_job job = {c, result};
    const unsigned most = (unsigned)c.n_groups, some = (unsigned)(8 * to.n_sm / c.n_rows + 1);
    const dim3 grid(result == HEAD_LISTED && some < most ? some : most, (unsigned)c.n_rows);
    const bool both = c.a.table.low && result != HEAD_BOUNDS;
    return launch(both ? head_gemv_kernel<2> : head_gemv_kernel<1>, job, grid,
                  dim3(HEAD_WARPS * 32), HEAD_SMEM_BYTES, to);
}

} /* namespace TERN_GPU */
