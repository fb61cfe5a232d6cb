/* norm_quant.cu - NORM_QUANT (N4): a row of floats becomes 8-bit integers, a scale and a sum.
 *
 * A CTA of 256 threads owns a row: thread i is partial i of N2. The row is read from memory once
 * and from L1 in the passes after (largest, quantise); four bytes are written at a time.
 * Prediction: a row of 2560 is 10 KB in and 2.5 KB out; what it costs is the chain of reductions,
 * about 2 us a launch, whatever the number of rows up to that of SMs. */
#include "cuda/launch.cuh"
#include "cuda/quant.cuh"
#include "cuda/row.cuh"

namespace TERN_GPU {

/* y_i of N4. x - 0 is x to the bit, so that rows with and without mean subtraction share it. */
static __device__ inline float value_of(const norm_quant_args &a, const float *x, float mean, int i)
{
    const float v = x[i] - mean;
    return a.gain ? v * a.gain[i] : v;
}

static __device__ inline float row_mean(const float *x, int k, float *smem)
{
    float partial = 0.0f;
    for (int i = (int)threadIdx.x; i < k; i += ROW_THREADS) partial += x[i];
    return row_tree_sum(partial, smem) / (float)k;
}

/* Word w, of four columns, of token t. */
static __device__ inline uint32_t *word_of(const norm_quant_args &a, int t, int w)
{
    return (uint32_t *)(a.out.q + quant_at(a.n_tok, a.out.k_pad, t, w / 4)) + w % 4;
}

/* q of row t with its padding, columns by fours; returns this thread's part of the row sum. */
static __device__ inline int quantise(const norm_quant_args &a, int t, const float *x, float mean,
                                      float factor)
{
    int sum = 0;
    for (int w = (int)threadIdx.x; w < a.out.k_pad / 4; w += ROW_THREADS) {
        uint32_t word = 0;
        for (int b = 0; b < 4; b++) {
            const int i = 4 * w + b;
            if (i >= a.k) break;
            const int v = round_clamp(value_of(a, x, mean, i) * factor, 127.0f);
            sum += v;
            word |= (uint32_t)(uint8_t)v << (8 * b);
        }
        *word_of(a, t, w) = word;
    }
    return sum;
}

static __global__ void norm_quant_kernel(norm_quant_args a)
{
    after_predecessor();
    float *smem = (float *)SMEM();
    const int t = (int)blockIdx.x, thread = (int)threadIdx.x;
    const float *x = a.x + t * a.ldx;

    const float mean = a.subtract_mean ? row_mean(x, a.k, smem) : 0.0f;
    const float ss = row_sum_squares(x, mean, a.k, smem);
    if (!is_finite(ss)) {
        for (int w = thread; w < a.out.k_pad / 4; w += ROW_THREADS) *word_of(a, t, w) = 0;
        if (thread != 0) return;
        a.out.scale[t] = 0.0f;
        a.out.sum[t] = 0;
        report(a.fault, FAULT_NOT_FINITE);
        return;
    }
    float largest = 0.0f;
    for (int i = thread; i < a.k; i += ROW_THREADS)
        largest = max_of(largest, fabsf(value_of(a, x, mean, i)));
    largest = row_max(largest, smem);
    const float r = a.gain ? inverse_rms(ss, a.k, a.eps) : 1.0f;
    const float range = quant_range(largest, r);
    const int sum = row_sum(quantise(a, t, x, mean, (127.0f / range) * r), (int *)smem);
    if (thread != 0) return;
    a.out.scale[t] = range / 127.0f;
    a.out.sum[t] = sum;
}

cudaError_t launch_norm_quant(const norm_quant_args &a, const target &to)
{
    if (a.n_tok == 0) return cudaSuccess;
    return launch(norm_quant_kernel, a, dim3((unsigned)a.n_tok), dim3(ROW_THREADS), ROW_SMEM_BYTES,
                  to);
}

} /* namespace TERN_GPU */
