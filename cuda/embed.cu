/* embed.cu - EMBED: rows of the table, back from fixed point (N7).
 *
 * A thread reads four columns of a row, which stand side by side in the fragment order: of every
 * block of 16 rows, a row is 64 bytes that hold 32 of its own. One CTA for each token and 1024
 * columns. Prediction: 2560 columns are 80 sectors of 64 bytes for each plane: latency alone, about
 * 2 us a launch. */
#include "cuda/launch.cuh"
#include "cuda/row.cuh"

namespace TERN_GPU {

#define EMBED_THREADS 256
#define EMBED_COLS 4 /* of a thread */

/* Where columns 4*word .. +3 of row v stand in a plane. */
static __device__ inline size_t table_word(const table_view &table, int v, int word)
{
    const size_t block = (size_t)(v / 16) * (size_t)(table.k_pad / 32) + (size_t)(word / 8);
    const int row = v % 16, p = row / 8 + 2 * (word / 4 % 2), lane = 4 * (row % 8) + word % 4;
    return block * TERN_CUDA_BLOCK_BYTES + (size_t)(16 * lane + 4 * p);
}

static __global__ void embed_kernel(embed_args a)
{
    after_predecessor();
    const int t = (int)blockIdx.x;
    const int word = (int)(blockIdx.y * EMBED_THREADS + threadIdx.x);
    const int v = a.ids[t];
    if (v < 0 || v >= a.table.n_vocab) {
        if (word == 0) report(a.fault, FAULT_ID);
        return;
    }
    const int first = EMBED_COLS * word;
    if (first >= a.table.d) return;
    const size_t at = table_word(a.table, v, word);
    const uint32_t high = *(const uint32_t *)(const void *)(a.table.high + at);
    const uint32_t low =
        a.table.low ? *(const uint32_t *)(const void *)(a.table.low + at) : 0;
    const float scale = a.table.scale[v];
    float *x = a.x + t * a.ldx;
    for (int b = 0; b < EMBED_COLS && first + b < a.table.d; b++) {
        const int value = 256 * (int8_t)(high >> 8 * b) + (int8_t)(low >> 8 * b);
        x[first + b] = (((float)value * scale) * a.table.col[first + b]) * a.multiplier;
    }
}

cudaError_t launch_embed(const embed_args &a, const target &to)
{
    if (a.n_tok == 0) return cudaSuccess;
    const dim3 grid((unsigned)a.n_tok, blocks_of(a.table.d, EMBED_COLS * EMBED_THREADS));
    return launch(embed_kernel, a, grid, dim3(EMBED_THREADS), 0, to);
}

} /* namespace TERN_GPU */
