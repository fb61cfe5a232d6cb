/* norm.cu - NORM and ADD: rows of models with post-norms.
 *
 * NORM: a CTA of 256 threads owns a row, thread i is partial i of N2; the row comes from memory
 * once, then from L1. y may be x: a thread writes only what it alone read, after the sum.
 * Prediction: 8 and 12 bytes a value; below some hundred rows the launch is what counts. */
#include "cuda/launch.cuh"
#include "cuda/row.cuh"

namespace TERN_GPU {

static __global__ void norm_kernel(norm_args a)
{
    after_predecessor();
    const int t = (int)blockIdx.x;
    const float *x = a.x + t * a.ldx;
    float *y = a.y + t * a.ldy;
    const float ss = row_sum_squares(x, 0.0f, a.n, (float *)(void *)SMEM());
    const float r = inverse_rms(ss, a.n, a.eps);
    for (int i = (int)threadIdx.x; i < a.n; i += ROW_THREADS) y[i] = (x[i] * r) * a.gain[i];
}

cudaError_t launch_norm(const norm_args &a, const target &to)
{
    if (a.n_tok == 0) return cudaSuccess;
    return launch(norm_kernel, a, dim3((unsigned)a.n_tok), dim3(ROW_THREADS), ROW_SMEM_BYTES, to);
}

static __global__ void add_kernel(add_args a)
{
    after_predecessor();
    const int t = (int)blockIdx.x;
    const int i = (int)(blockIdx.y * ROW_THREADS + threadIdx.x);
    if (i < a.n) a.y[t * a.ldy + i] = a.a[t * a.lda + i] + a.b[t * a.ldb + i];
}

cudaError_t launch_add(const add_args &a, const target &to)
{
    if (a.n_tok == 0) return cudaSuccess;
    const dim3 grid((unsigned)a.n_tok, blocks_of(a.n, ROW_THREADS));
    return launch(add_kernel, a, grid, dim3(ROW_THREADS), 0, to);
}

} /* namespace TERN_GPU */
