/* quant.cuh - where the bytes of quantised activations stand (cuda_layout.h), for those who write
 * and read them. */
#ifndef TERN_CUDA_QUANT_CUH
#define TERN_CUDA_QUANT_CUH

#include "cuda/kernels.cuh"

namespace TERN_GPU {

/* Images of eight tokens that a batch has. */
static __host__ __device__ inline int quant_images(int n_tok)
{
    return (n_tok + TERN_CUDA_IMAGE_ROWS - 1) / TERN_CUDA_IMAGE_ROWS;
}

/* Offset of columns 16*chunk .. +15 of token t, in a batch of n_tok. */
static __host__ __device__ inline size_t quant_at(int n_tok, int k_pad, int t, int chunk)
{
    if (n_tok < TERN_CUDA_IMAGE_TOK) return (size_t)t * (size_t)k_pad + (size_t)chunk * 16;
    const int row = t % TERN_CUDA_IMAGE_ROWS, image = t / TERN_CUDA_IMAGE_ROWS;
    return ((size_t)(chunk / 8) * (size_t)quant_images(n_tok) + (size_t)image) *
               TERN_CUDA_IMAGE_BYTES +
           (size_t)(row * TERN_CUDA_COLS + (chunk % 8 ^ row) * 16);
}

} /* namespace TERN_GPU */
#endif
