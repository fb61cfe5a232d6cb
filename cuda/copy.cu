/* copy.cu - COPY_2D and COPY_ROWS: strided rows, or rows by index, of any size and alignment.
 *
 * Pieces are as wide as the common alignment of both sides allows: 16 bytes, 4 or 1. Prediction:
 * with 16 bytes a thread it is bound by memory; the few rows of a batch cost a launch. */
#include "cuda/launch.cuh"

namespace TERN_GPU {

#define COPY_THREADS 256
#define COPY_MAX_CTAS 65535 /* of a row, as many as a grid may have in y */

template <class Piece> static __global__ void copy_kernel(copy_args a)
{
    after_predecessor();
    const size_t row = blockIdx.x, source = a.rows ? (size_t)a.rows[row] : row;
    const Piece *from = (const Piece *)(const void *)(a.from + source * a.from_step);
    Piece *to = (Piece *)(void *)(a.to + row * a.to_step);
    const size_t n = a.row_bytes / sizeof(Piece), stride = (size_t)gridDim.y * COPY_THREADS;
    for (size_t i = (size_t)blockIdx.y * COPY_THREADS + threadIdx.x; i < n; i += stride)
        to[i] = from[i];
}

template <class Piece> static cudaError_t launch_pieces(const copy_args &a, const target &to)
{
    const unsigned ctas = blocks_of((int64_t)(a.row_bytes / sizeof(Piece)), COPY_THREADS);
    const dim3 grid((unsigned)a.n_rows, ctas < COPY_MAX_CTAS ? ctas : COPY_MAX_CTAS);
    return launch(copy_kernel<Piece>, a, grid, dim3(COPY_THREADS), 0, to);
}

cudaError_t launch_copy(const copy_args &a, const target &to)
{
    if (a.n_rows == 0 || a.row_bytes == 0) return cudaSuccess;
    const uintptr_t all = (uintptr_t)a.from | (uintptr_t)a.to | (uintptr_t)a.from_step |
                          (uintptr_t)a.to_step | (uintptr_t)a.row_bytes;
    if (all % sizeof(uint4) == 0) return launch_pieces<uint4>(a, to);
    if (all % sizeof(uint32_t) == 0) return launch_pieces<uint32_t>(a, to);
    return launch_pieces<uint8_t>(a, to);
}

} /* namespace TERN_GPU */
