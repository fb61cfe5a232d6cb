/* row.cuh - sums, maxima and quantisation over a row by one CTA: N2 and N4 as a kernel writes them.
 * A CTA of ROW_THREADS threads owns a row; thread i is partial i of N2. */
#ifndef TERN_CUDA_ROW_CUH
#define TERN_CUDA_ROW_CUH

#include "base/exact.h"
#include "cuda/kernels.cuh"
#include "cuda/ptx.cuh"

namespace TERN_GPU {

#define ROW_THREADS TERN_ROW_PARTIALS
#define ROW_SMEM_BYTES (ROW_THREADS * sizeof(float))

/* True for every float but the infinities and NaN. */
static __device__ inline bool is_finite(float x)
{
    return (tern_f32_bits(x) & 0x7f800000u) != 0x7f800000u;
}

/* The larger one; the value of NaN arguments is not defined. */
static __device__ inline float max_of(float a, float b)
{
    return a > b ? a : b;
}

/* rint(v) clamped to [-limit, limit]; NaN gives an integer too. */
static __device__ inline int round_clamp(float v, float limit)
{
    float n = rintf(v);
    n = n < limit ? n : limit;
    n = n > -limit ? n : -limit;
    return (int)n;
}

/* The tree of N2 over the partials of ROW_THREADS threads; every thread gets the sum. `smem` holds
 * ROW_SMEM_BYTES and may be reused after the call. */
static __device__ inline float row_tree_sum(float partial, float *smem)
{
    const int i = (int)threadIdx.x;
    smem[i] = partial;
    __syncthreads();
    for (int h = ROW_THREADS / 2; h >= 1; h /= 2) {
        if (i < h) smem[i] += smem[i + h];
        __syncthreads();
    }
    const float sum = smem[0];
    __syncthreads();
    return sum;
}

/* The largest of the threads' values (0 or above); every thread gets it. */
static __device__ inline float row_max(float value, float *smem)
{
    const int i = (int)threadIdx.x;
    smem[i] = value;
    __syncthreads();
    for (int h = ROW_THREADS / 2; h >= 1; h /= 2) {
        if (i < h) smem[i] = max_of(smem[i], smem[i + h]);
        __syncthreads();
    }
    const float largest = smem[0];
    __syncthreads();
    return largest;
}

/* The sum of the threads' integers; every thread gets it. */
static __device__ inline int row_sum(int value, int *smem)
{
    const int i = (int)threadIdx.x;
    smem[i] = value;
    __syncthreads();
    for (int h = ROW_THREADS / 2; h >= 1; h /= 2) {
        if (i < h) smem[i] += smem[i + h];
        __syncthreads();
    }
    const int sum = smem[0];
    __syncthreads();
    return sum;
}

/* Sum of (x_i - mean)^2 over a row, by N2. With mean +0 it is the sum of x_i^2, to the bit. */
static __device__ inline float row_sum_squares(const float *x, float mean, int n, float *smem)
{
    float partial = 0.0f;
    for (int i = (int)threadIdx.x; i < n; i += ROW_THREADS) {
        const float v = x[i] - mean;
        partial += v * v;
    }
    return row_tree_sum(partial, smem);
}

/* r = 1 / sqrt(ss/n + eps). */
static __device__ inline float inverse_rms(float sum_squares, int n, float eps)
{
    return 1.0f / sqrtf(sum_squares / (float)n + eps);
}

/* A of N4: the largest |value| after normalisation, kept away from zero. */
static __device__ inline float quant_range(float absmax, float r)
{
    return max_of(absmax * r, 1e-5f);
}

/* Reports a fault of `kind`; the first of a stream stays. */
static __device__ inline void report(const fault_sink &to, fault_kind kind)
{
    atomicCAS(to.word, 0ull, to.code | (unsigned long long)kind);
}

} /* namespace TERN_GPU */
#endif
