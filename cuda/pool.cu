/* pool.cu - POOL: one row per sequence, the mean of its tokens or the last one, then L2.
 *
 * Mean: a CTA owns 32 columns of a sequence. Warp w adds partials w, w + 8, ... of N2, its lanes
 * side by side in a row of x; the 256 partials of a column fold in shared memory as a tree.
 * L2: a CTA of 256 threads owns a row, as in NORM. Prediction: x is read once, at 128 bytes a warp:
 * bound by memory. */
#include "cuda/launch.cuh"
#include "cuda/row.cuh"

namespace TERN_GPU {

#define POOL_COLS 32
#define POOL_WARPS (ROW_THREADS / POOL_COLS)
#define POOL_SMEM_BYTES (TERN_ROW_PARTIALS * POOL_COLS * sizeof(float))

/* The first token of the batch whose sequence is `seq` or a later one. */
static __device__ inline int first_token(const pool_args &a, int seq)
{
    int begin = 0, end = a.n_tok;
    while (begin < end) {
        const int middle = begin + (end - begin) / 2;
        if (a.seq[middle] < seq)
            begin = middle + 1;
        else
            end = middle;
    }
    return begin;
}

static __global__ void pool_mean_kernel(pool_args a)
{
    after_predecessor();
    float *part = (float *)(void *)SMEM(); /* [TERN_ROW_PARTIALS][POOL_COLS] */
    const int seq = (int)blockIdx.x, lane = (int)threadIdx.x % POOL_COLS;
    const int col = (int)blockIdx.y * POOL_COLS + lane;
    const int begin = first_token(a, seq), n = first_token(a, seq + 1) - begin;
    for (int p = (int)threadIdx.x / POOL_COLS; p < TERN_ROW_PARTIALS; p += POOL_WARPS) {
        float sum = 0.0f;
        for (int i = p; i < n && col < a.d; i += TERN_ROW_PARTIALS)
            sum += a.x[(begin + i) * a.ldx + col];
        part[p * POOL_COLS + lane] = sum;
    }
    __syncthreads();
    for (int h = TERN_ROW_PARTIALS / 2 * POOL_COLS; h >= POOL_COLS; h /= 2) {
        for (int i = (int)threadIdx.x; i < h; i += ROW_THREADS) part[i] += part[i + h];
        __syncthreads();
    }
    if ((int)threadIdx.x < POOL_COLS && col < a.d)
        a.y[seq * a.ldy + col] = n > 0 ? part[lane] / (float)n : 0.0f;
}

static __global__ void pool_length_kernel(pool_args a)
{
    after_predecessor();
    const int seq = (int)blockIdx.x, end = first_token(a, seq + 1);
    const bool empty = first_token(a, seq) == end, last = a.pooling == TERN_POOL_LAST;
    float *y = a.y + seq * a.ldy;
    const float *x = last && !empty ? a.x + (end - 1) * a.ldx : y;
    const int n = empty ? 0 : a.d; /* nothing to add up where there is no token */
    const float ss = row_sum_squares(x, 0.0f, n, (float *)(void *)SMEM()), length = sqrtf(ss);
    for (int i = (int)threadIdx.x; i < a.d; i += ROW_THREADS)
        y[i] = ss > 0.0f ? x[i] / length : 0.0f;
}

cudaError_t launch_pool(const pool_args &a, const target &to)
{
    if (a.n_seq == 0) return cudaSuccess;
    const unsigned n_seq = (unsigned)a.n_seq;
    if (a.pooling == TERN_POOL_MEAN) {
        const cudaError_t status =
            launch(pool_mean_kernel, a, dim3(n_seq, blocks_of(a.d, POOL_COLS)), dim3(ROW_THREADS),
                   POOL_SMEM_BYTES, to);
        if (status != cudaSuccess) return status;
    }
    return launch(pool_length_kernel, a, dim3(n_seq), dim3(ROW_THREADS), ROW_SMEM_BYTES, to);
}

} /* namespace TERN_GPU */
