/* linear.cuh - what the kernels of LINEAR share: a job, the exchange of partial sums between the
 * CTAs of a split, and the epilogue of N5.
 *
 * Sums are those of codes, weight + 1, and kept modulo 2^32: they leave the range of s32 only where
 * k is above 2^23, and the sum of weights, which is what remains after the row sum of q is
 * subtracted, never does. */
#ifndef TERN_CUDA_LINEAR_CUH
#define TERN_CUDA_LINEAR_CUH

#include "cuda/launch.cuh"
#include "cuda/linear_plan.h"
#include "cuda/quant.cuh"

namespace TERN_GPU {

struct linear_job {
    linear_args a;
    int n_blocks;                 /* of 128 columns */
    int n_groups;                 /* of 16 rows */
    int split;
    bool cluster;                 /* the CTAs of a split are one */
    int n_row_tiles;              /* of the plan, for linear_wgmma.cu: */
    int n_whole, n_items;
};

/* One token; where its q does not fit into shared memory, it is a job of linear_mma. */
bool linear_gemv_fits(const linear_args &a, const target &to);
cudaError_t launch_linear_gemv(const linear_args &a, const target &to);
cudaError_t launch_linear_mma(const linear_job &job, const tern_linear_plan &plan,
                              const target &to);
cudaError_t launch_linear_wgmma(const linear_job &job, const tern_linear_plan &plan,
                                const target &to);

/* Row groups of a matrix. */
static inline int linear_groups(const ternary_view &w)
{
    return (w.n_out + TERN_CUDA_ROWS - 1) / TERN_CUDA_ROWS;
}

/* The first block of part `part` of k. */
static __device__ inline int split_begin(const linear_job &job, int part)
{
    return (int)((int64_t)job.n_blocks * part / job.split);
}

/* The product of a token with a row of scale `scale`, from the sum of codes. */
static __device__ inline float linear_product(unsigned sum, int q_sum, float q_scale, float scale)
{
    return (float)(int)(sum - (unsigned)q_sum) * (q_scale * scale);
}

/* y of token t, row n, from the sum of codes. */
static __device__ inline void linear_store(const linear_args &a, int t, int n, unsigned sum)
{
    const float v = linear_product(sum, a.q.sum[t], a.q.scale[t], a.w.scale[n]);
    float *y = a.y + t * a.ldy + n;
    *y = a.accumulate ? *y + v : v;
}

/* True in the last of the CTAs of tile `tile` that come here, after the partial sums of all of them
 * are written. Every thread calls it; *shared is a word of shared memory. */
static __device__ inline bool last_of_split(const linear_job &job, int tile, unsigned *shared)
{
    return last_to_come(&job.a.tickets[tile], (unsigned)job.split, shared);
}

} /* namespace TERN_GPU */
#endif
