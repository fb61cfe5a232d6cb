/* linear.cu - LINEAR (N5): hands a product to the kernel that linear_plan.c names for its shape.
 * Integer sums are exact in any order, so every kernel, tile and split gives the same bits. */
#include "cuda/linear.cuh"

namespace TERN_GPU {

cudaError_t launch_linear(const linear_args &a, const target &to)
{
    if (a.n_tok == 0) return cudaSuccess;
    const bool wgmma = to.wgmma && a.n_tok >= TERN_CUDA_IMAGE_TOK;
    const tern_linear_plan plan =
        to.wgmma ? tern_cuda_linear_plan_hopper(a.n_tok, a.w.n_out, a.w.k_pad, to.n_sm)
                 : tern_cuda_linear_plan(a.n_tok, a.w.n_out, a.w.k_pad, to.n_sm);
    const linear_job job = {a, a.w.k_pad / TERN_CUDA_COLS,
                            (a.w.n_out + TERN_CUDA_ROWS - 1) / TERN_CUDA_ROWS, plan.split,
                            to.wgmma && plan.split > 1 && plan.kernel != TERN_LINEAR_GEMV,
                            plan.n_row_tiles, plan.n_whole, plan.n_items};
    if (wgmma) return launch_linear_wgmma(job, plan, to);
    return plan.kernel == TERN_LINEAR_GEMV ? launch_linear_gemv(job, plan, to)
                                           : launch_linear_mma(job, plan, to);
}

} /* namespace TERN_GPU */
