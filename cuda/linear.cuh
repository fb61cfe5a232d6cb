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
    int n_blocks;                /* of 128 columns */
    int n_groups;                /* of 16 rows */
    int split;
    int n_row_tiles, n_whole;    /* of the plan, for linear_wgmma.cu */
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

/* The product of token t with a row of scale `scale`, from the sum of codes. */
static __device__ inline float linear_value(const linear_args &a, int t, float scale, unsigned sum)
{
    const int acc = (int)(sum - (unsigned)a.q.sum[t]);
    return (float)acc * (a.q.scale[t] * scale);
}

/* y of token t, row n, from the sum of codes. */
static __device__ inline void linear_store(const linear_args &a, int t, int n, unsigned sum)
{
    const float v = linear_value(a, t, a.w.scale[n], sum);
    float *y = a.y + t * a.ldy + n;
    *y = a.accumulate ? *y + v : v;
}

/* The same for rows n .. n + 3, n a multiple of 4, as far as there are any: 16 bytes at once where
 * they are whole and y is aligned. */
static __device__ inline void linear_store4(const linear_args &a, int t, int n, const uint4 &sum)
{
    float *y = a.y + t * a.ldy + n;
    if (n + 4 > a.w.n_out || (size_t)y % 16 != 0) {
        const unsigned sums[4] = {sum.x, sum.y, sum.z, sum.w};
        UNROLL for (int i = 0; i < 4; i++)
            if (n + i < a.w.n_out) linear_store(a, t, n + i, sums[i]);
        return;
    }
    const float4 scale = *(const float4 *)(const void *)(a.w.scale + n);
    float4 v = make_float4(linear_value(a, t, scale.x, sum.x), linear_value(a, t, scale.y, sum.y),
                           linear_value(a, t, scale.z, sum.z), linear_value(a, t, scale.w, sum.w));
    if (a.accumulate) {
        const float4 was = *(const float4 *)(const void *)y;
        v = make_float4(was.x + v.x, was.y + v.y, was.z + v.z, was.w + v.w);
    }
    *(float4 *)(void *)y = v;
}

/* True in the last of the CTAs of tile `tile` that come here, after the partial sums of all of them
 * are written. Every thread calls it; *shared is a word of shared memory. */
static __device__ inline bool last_of_split(const linear_job &job, int tile, unsigned *shared)
{
    return last_to_come(&job.a.tickets[tile], (unsigned)job.split, shared);
}

} /* namespace TERN_GPU */
#endif
