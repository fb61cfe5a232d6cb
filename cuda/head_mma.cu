/* head_mma.cu - 2 to 64 rows of a HEAD times the table on int8 tensor cores, up to HEAD_S32_COLS
 * columns: the table as A straight from the fragment order, the planes of x in the n slot.
 *
 * A CTA of 4 x WARPS_N warps owns 64 rows of the table and TOKENS rows of x, and walks along d in
 * stages of 64 columns of all planes; a warp multiplies 16 x TOKENS/WARPS_N. PLANES = 1 knows H
 * (hH and lH), PLANES = 2 H and L. Every byte of the table is read once for all rows.
 * Bound: bytes. With 64 rows and both planes a stage of a CTA is 8 KB of the table and 256 mma; at
 * 1.6 clocks each these take 410 clocks, 20 bytes a clock and SM, what 4.3 TB/s deliver is 18. */
#include "cuda/head.cuh"

namespace TERN_GPU {

#define HEAD_COLS 64                 /* of a stage */
#define HEAD_PITCH (HEAD_COLS + 16)  /* of a row of x in a stage: no two lanes meet in a bank */
#define HEAD_CTA_GROUPS 4

/* Sizes that follow from a tile. */
template <int TOKENS, int WARPS_N, int N_PLANES, int STAGES> struct head_tile {
    static constexpr int TOK = TOKENS, PLANES = N_PLANES, DEPTH = STAGES;
    static constexpr int WARP_TOK = TOKENS / WARPS_N;
    static constexpr int THREADS = 32 * HEAD_CTA_GROUPS * WARPS_N;
    static constexpr int A_BLOCKS = HEAD_COLS / 32 * N_PLANES; /* of a group in a stage */
    static constexpr int A_BYTES = HEAD_CTA_GROUPS * A_BLOCKS * TERN_CUDA_BLOCK_BYTES;
    static constexpr int STAGE_BYTES = A_BYTES + 2 * TOKENS * HEAD_PITCH;
    static constexpr int A_COPIES = A_BYTES / 16 / THREADS; /* of a thread for a stage */
    static constexpr int B_COPIES = (2 * TOKENS * HEAD_COLS / 16 + THREADS - 1) / THREADS;
    static constexpr int SMEM_BYTES = STAGES * STAGE_BYTES;
    static_assert(A_COPIES * THREADS * 16 == A_BYTES, "whole copies");
    static_assert(SMEM_BYTES <= 64 * 1024, "sm_75");
};

struct head_mma_job {
    head_chunk c;
    head_result result;
};

/* Issues the copies of columns HEAD_COLS * stage ..; groups and rows beyond the end are read again
 * from the last one. */
template <class T>
static __device__ inline void head_fetch(uint8_t *slot, const head_chunk &c, int stage)
{
    const int k_pad = c.a.table.k_pad;
    UNROLL for (int j = 0; j < T::A_COPIES; j++) {
        const int i = j * T::THREADS + (int)threadIdx.x;
        const int block = i / 32 % T::A_BLOCKS;
        int group = (int)blockIdx.x * HEAD_CTA_GROUPS + i / 32 / T::A_BLOCKS;
        group = group < c.n_groups ? group : c.n_groups - 1;
        const int8_t *plane = block < HEAD_COLS / 32 ? c.a.table.high : c.a.table.low;
        const size_t at = (size_t)group * (size_t)(k_pad / 32) +
                          (size_t)(stage * (HEAD_COLS / 32) + block % (HEAD_COLS / 32));
        copy16_async(slot + i * 16, plane + at * TERN_CUDA_BLOCK_BYTES + i % 32 * 16);
    }
    UNROLL for (int j = 0; j < T::B_COPIES; j++) {
        const int i = j * T::THREADS + (int)threadIdx.x;
        if (i >= 2 * T::TOK * HEAD_COLS / 16) break; /* 8 rows are half a copy a thread */
        const int line = i / (HEAD_COLS / 16); /* of the slot: plane, row of x */
        const int row = line % T::TOK < c.n_rows ? line % T::TOK : c.n_rows - 1;
        const int8_t *plane = line < T::TOK ? c.high : c.low;
        copy16_async(slot + T::A_BYTES + line * HEAD_PITCH + i % (HEAD_COLS / 16) * 16,
                     plane + (size_t)row * (size_t)k_pad + stage * HEAD_COLS +
                         i % (HEAD_COLS / 16) * 16);
    }
}

/* sums[n][2*plane + low of x] += this warp's product over a stage. */
template <class T>
static __device__ inline void head_stage(int sums[T::WARP_TOK / 8][2 * T::PLANES][4],
                                         const uint8_t *slot, int warp_m, int warp_n)
{
    const int lane = (int)threadIdx.x % 32;
    uint4 a[T::A_BLOCKS];
    UNROLL for (int i = 0; i < T::A_BLOCKS; i++)
        a[i] = *(const uint4 *)(slot + (warp_m * T::A_BLOCKS + i) * TERN_CUDA_BLOCK_BYTES +
                                lane * 16);
    UNROLL for (int n = 0; n < T::WARP_TOK / 8; n++) {
        const int token = warp_n * T::WARP_TOK + n * 8 + lane % 8;
        UNROLL for (int low = 0; low < 2; low++) {
            uint32_t b[4];
            ldmatrix_x4(b, slot + T::A_BYTES + (low * T::TOK + token) * HEAD_PITCH + lane / 8 * 16);
            UNROLL for (int i = 0; i < T::A_BLOCKS; i++) {
                const uint32_t words[4] = {a[i].x, a[i].y, a[i].z, a[i].w};
                mma_ss(sums[n][i / (HEAD_COLS / 32) * 2 + low], words,
                       b + i % (HEAD_COLS / 32) * 2);
            }
        }
    }
}

/* T of sum i of a tile of 16 x 8. */
template <class T>
static __device__ inline long long head_total_of(const int sums[2 * T::PLANES][4], int i)
{
    return T::PLANES == 1 ? head_total(sums[0][i], sums[1][i], 0, 0)
                          : head_total(sums[0][i], sums[1][i], sums[2 * T::PLANES - 2][i],
                                       sums[2 * T::PLANES - 1][i]);
}

/* Logits of a tile of 16 x 8: eight lanes write 32 neighbouring bytes. */
template <class T>
static __device__ inline void head_store(const int sums[2 * T::PLANES][4], const head_chunk &c,
                                         int group, int token0)
{
    const int lane = (int)threadIdx.x % 32;
    UNROLL for (int i = 0; i < 4; i++) {
        const int v = group * TERN_CUDA_ROWS + lane / 4 + 8 * (i / 2);
        const int row = token0 + lane % 4 * 2 + i % 2;
        if (v < c.a.table.n_vocab && row < c.n_rows)
            c.logits[row * c.ld_logits + v] =
                head_logit(head_total_of<T>(sums, i), c.scale[row] * c.a.table.scale[v]);
    }
}

/* Bounds of the best of a group for eight rows of x. */
template <class T>
static __device__ inline void head_store_bounds(const int sums[2 * T::PLANES][4],
                                                const head_chunk &c, int group, int token0)
{
    const int lane = (int)threadIdx.x % 32;
    UNROLL for (int odd = 0; odd < 2; odd++) {
        const int row = token0 + lane % 4 * 2 + odd;
        head_bounds best = head_no_bounds();
        UNROLL for (int half = 0; half < 2; half++) {
            const int v = group * TERN_CUDA_ROWS + lane / 4 + 8 * half;
            if (v >= c.a.table.n_vocab || row >= c.n_rows) continue;
            const head_bounds b = head_bounds_of(head_total_of<T>(sums, 2 * half + odd),
                                                 c.slack[row], c.scale[row] * c.a.table.scale[v]);
            best.lower = b.lower > best.lower ? b.lower : best.lower;
            best.upper = b.upper > best.upper ? b.upper : best.upper;
        }
        for (int mask = 4; mask <= 16; mask *= 2) best = head_max_with(best, mask);
        if (lane >= 4 || row >= c.n_rows) continue;
        c.lower[(size_t)row * (size_t)c.n_groups + (size_t)group] = best.lower;
        c.upper[(size_t)row * (size_t)c.n_groups + (size_t)group] = best.upper;
    }
}

template <class T> static __global__ void head_mma_kernel(head_mma_job job)
{
    after_predecessor();
    const int warp = (int)threadIdx.x / 32;
    const int warp_m = warp % HEAD_CTA_GROUPS, warp_n = warp / HEAD_CTA_GROUPS;
    const int n_stages = job.c.a.table.k_pad / HEAD_COLS;
    uint8_t *smem = SMEM();
    UNROLL for (int i = 0; i < T::DEPTH - 1; i++) {
        if (i < n_stages) head_fetch<T>(smem + i * T::STAGE_BYTES, job.c, i);
        copy_commit();
    }
    int sums[T::WARP_TOK / 8][2 * T::PLANES][4] = {};
    for (int i = 0; i < n_stages; i++) {
        copy_wait<T::DEPTH - 2>();
        __syncthreads(); /* stage i is there for all, stage i - 1 is read by all */
        const int next = i + T::DEPTH - 1;
        if (next < n_stages)
            head_fetch<T>(smem + next % T::DEPTH * T::STAGE_BYTES, job.c, next);
        copy_commit();
        head_stage<T>(sums, smem + i % T::DEPTH * T::STAGE_BYTES, warp_m, warp_n);
    }
    const int group = (int)blockIdx.x * HEAD_CTA_GROUPS + warp_m;
    if (group >= job.c.n_groups) return;
    UNROLL for (int n = 0; n < T::WARP_TOK / 8; n++) {
        const int token0 = warp_n * T::WARP_TOK + n * 8;
        if (job.result == HEAD_BOUNDS) head_store_bounds<T>(sums[n], job.c, group, token0);
        else head_store<T>(sums[n], job.c, group, token0);
    }
}

template <class T>
static cudaError_t launch_tile(const head_mma_job &job, const target &to)
{
    return launch(head_mma_kernel<T>, job, dim3(blocks_of(job.c.n_groups, HEAD_CTA_GROUPS)),
                  dim3(T::THREADS), T::SMEM_BYTES, to);
}

/* The smallest tile that holds all rows. */
template <int PLANES>
static cudaError_t launch_planes(const head_mma_job &job, const target &to)
{
    if (job.c.n_rows <= 8) return launch_tile<head_tile<8, 1, PLANES, 4>>(job, to);
    if (job.c.n_rows <= 16) return launch_tile<head_tile<16, 1, PLANES, 4>>(job, to);
    if (job.c.n_rows <= 32) return launch_tile<head_tile<32, 1, PLANES, 4>>(job, to);
    return launch_tile<head_tile<64, 2, PLANES, 3>>(job, to);
}

cudaError_t launch_head_mma(const head_chunk &c, head_result result, const target &to)
{
    const head_mma_job job = {c, result};
    return c.a.table.low && result != HEAD_BOUNDS ? launch_planes<2>(job, to)
                                                  : launch_planes<1>(job, to);
}

} /* namespace TERN_GPU */
