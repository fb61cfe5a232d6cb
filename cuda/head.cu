/* head.cu - HEAD (N7): the order of its kernels.
 *
 * FULL: quantise, multiply. SCORE: the same into scratch, chunk by chunk, then maximum and sum.
 * TOP with small n: multiply by H alone for bounds (half the bytes of the table), list the groups
 * of 16 rows whose best upper bound reaches a value that n rows surely have, compute those in full,
 * take the n best. Else: all in full, take the n best.
 * Prediction for 128256 x 2560, one row, n = 1: 328 MB at 4.3 TB/s, 76 us, and 15 us behind it. */
#include "cuda/head.cuh"

namespace TERN_GPU {

/* dp4a for one row, and for tables too wide for s32 sums on tensor cores. */
static cudaError_t multiply(const head_chunk &c, head_result result, const target &to)
{
    if (c.n_rows == 1 || c.a.table.k_pad > HEAD_S32_COLS) return launch_head_gemv(c, result, to);
    return launch_head_mma(c, result, to);
}

static cudaError_t screened_top(const head_chunk &c, const target &to)
{
    cudaError_t status = multiply(c, HEAD_BOUNDS, to);
    if (status == cudaSuccess) status = launch_head_list(c, to);
    if (status == cudaSuccess) status = launch_head_gemv(c, HEAD_LISTED, to);
    if (status == cudaSuccess) status = launch_head_top(c, true, to);
    return status;
}

static cudaError_t run_chunk(const head_chunk &c, bool screening, const target &to)
{
    cudaError_t status = launch_head_quant(c, to);
    if (status != cudaSuccess) return status;
    if (screening) return screened_top(c, to);
    status = multiply(c, HEAD_LOGITS, to);
    if (status == cudaSuccess && c.a.mode == TERN_HEAD_SCORE) status = launch_head_score(c, to);
    if (status == cudaSuccess && c.a.mode != TERN_HEAD_FULL && c.a.n > 0)
        status = launch_head_top(c, false, to);
    return status;
}

static head_chunk chunk_of(const head_args &a, const tern_cuda_head_parts &parts)
{
    head_chunk c = {};
    c.a = a;
    c.n_groups = parts.n_groups;
    c.high = (int8_t *)a.scratch;
    c.low = (int8_t *)(a.scratch + parts.low);
    c.scale = (float *)(a.scratch + parts.scale);
    c.slack = (long long *)(a.scratch + parts.slack);
    c.logits = (float *)(a.scratch + parts.logits);
    c.ld_logits = (int64_t)parts.n_groups * TERN_CUDA_ROWS;
    c.lower = (float *)(a.scratch + parts.lower);
    c.upper = (float *)(a.scratch + parts.upper);
    c.list = (unsigned *)(a.scratch + parts.list);
    c.count = (unsigned *)(a.scratch + parts.count);
    return c;
}

cudaError_t launch_head(const head_args &a, const target &to)
{
    const tern_cuda_head_shape shape = {a.table.n_vocab, a.table.k_pad, a.mode, a.n, a.n_rows};
    const tern_cuda_head_parts parts = tern_cuda_head_parts_of(&shape);
    head_chunk c = chunk_of(a, parts);
    for (c.row0 = 0; c.row0 < a.n_rows; c.row0 += parts.chunk) {
        const int left = a.n_rows - c.row0;
        c.n_rows = left < parts.chunk ? left : parts.chunk;
        if (a.mode == TERN_HEAD_FULL) {
            c.logits = a.logits + c.row0 * a.ld_logits;
            c.ld_logits = a.ld_logits;
        }
        const cudaError_t status = run_chunk(c, parts.screening != 0, to);
        if (status != cudaSuccess) return status;
    }
    return cudaSuccess;
}

} /* namespace TERN_GPU */
