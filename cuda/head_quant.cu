/* head_quant.cu - the rows of a HEAD: the last norm and 15-bit integers as two planes of bytes
 * (N7). A CTA of 256 threads owns a row, as in norm_quant.cu. Prediction: 2 us a launch. */
#include "cuda/head.cuh"
#include "cuda/row.cuh"

namespace TERN_GPU {

#define HEAD_LIMIT 16319.0f

/* Both planes of the row with their padding, columns by fours; returns this thread's part of
 * sum |X|. */
static __device__ inline long long quantise(uint32_t *high, uint32_t *low, const head_args &a,
                                            const float *x, float factor)
{
    long long sum = 0;
    for (int w = (int)threadIdx.x; w < a.table.k_pad / 4; w += ROW_THREADS) {
        uint32_t h = 0, l = 0;
        for (int b = 0; b < 4; b++) {
            const int i = 4 * w + b;
            if (i >= a.table.d) break;
            const int v = round_clamp((x[i] * a.gain[i]) * factor, HEAD_LIMIT);
            const int rest = ((v + 64) & 127) - 64;
            sum += v < 0 ? -v : v;
            h |= (uint32_t)(uint8_t)((v - rest) / 128) << (8 * b);
            l |= (uint32_t)(uint8_t)rest << (8 * b);
        }
        high[w] = h;
        low[w] = l;
    }
    return sum;
}

/* The sum of the threads' values, in thread 0. */
static __device__ inline long long sum_of(long long value, long long *smem)
{
    smem[threadIdx.x] = value;
    __syncthreads();
    long long sum = 0;
    if (threadIdx.x == 0)
        for (int i = 0; i < ROW_THREADS; i++) sum += smem[i];
    return sum;
}

static __global__ void head_quant_kernel(head_chunk c)
{
    after_predecessor();
    float *smem = (float *)SMEM();
    const int row = (int)blockIdx.x, thread = (int)threadIdx.x, d = c.a.table.d;
    const float *x = c.a.x + c.a.rows[c.row0 + row] * c.a.ldx;
    uint32_t *high = (uint32_t *)(c.high + (size_t)row * (size_t)c.a.table.k_pad);
    uint32_t *low = (uint32_t *)(c.low + (size_t)row * (size_t)c.a.table.k_pad);

    const float ss = row_sum_squares(x, 0.0f, d, smem);
    if (!is_finite(ss)) {
        for (int w = thread; w < c.a.table.k_pad / 4; w += ROW_THREADS) high[w] = low[w] = 0;
        if (thread != 0) return;
        c.scale[row] = 0.0f;
        c.slack[row] = 0;
        report(c.a.fault, FAULT_NOT_FINITE);
        return;
    }
    float largest = 0.0f;
    for (int i = thread; i < d; i += ROW_THREADS)
        largest = max_of(largest, fabsf(x[i] * c.a.gain[i]));
    largest = row_max(largest, smem);
    const float r = inverse_rms(ss, d, c.a.eps);
    const float range = quant_range(largest, r);
    const long long part = quantise(high, low, c.a, x, (HEAD_LIMIT / range) * r);
    const long long sum = sum_of(part, (long long *)SMEM());
    if (thread != 0) return;
    c.scale[row] = range / HEAD_LIMIT;
    c.slack[row] = c.a.table.low ? 128 * sum : 0;
}

cudaError_t launch_head_quant(const head_chunk &c, const target &to)
{
    return launch(head_quant_kernel, c, dim3((unsigned)c.n_rows), dim3(ROW_THREADS),
                  ROW_THREADS * sizeof(long long), to);
}

} /* namespace TERN_GPU */
