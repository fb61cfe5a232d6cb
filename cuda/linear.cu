/* linear.cu - LINEAR (N5): hands a product to the kernel that linear_plan.c names for its shape.
 * Integer sums are exact in any order, so every kernel, tile and split gives the same bits. */
#include "cuda/linear.cuh"

namespace TERN_GPU {

static tern_linear_plan plan_for(const linear_args &a, int n_tok, const target &to)
{
    return to.wgmma ? tern_cuda_linear_plan_hopper(n_tok, a.w.n_out, a.w.k_pad, to.n_sm)
                    : tern_cuda_linear_plan(n_tok, a.w.n_out, a.w.k_pad, to.n_sm);
}

/* A token whose q is too long for shared memory is the only one in a tile of eight. */
static tern_linear_plan plan_of(const linear_args &a, const target &to)
{
    tern_linear_plan plan = plan_for(a, a.n_tok, to);
    if (plan.kernel != TERN_LINEAR_GEMV || linear_gemv_fits(a, to)) return plan;
    plan = plan_for(a, a.n_tok + 1, to);
    plan.split = 1; /* scratch is that of one token */
    return plan;
}

cudaError_t launch_linear(const linear_args &a, const target &to)
{
    if (a.n_tok == 0) return cudaSuccess;
    const bool wgmma = to.wgmma && a.n_tok >= TERN_CUDA_IMAGE_TOK;
    const tern_linear_plan plan = plan_of(a, to);
    if (plan.kernel == TERN_LINEAR_GEMV) return launch_linear_gemv(a, to);
    const linear_job job = {a, a.w.k_pad / TERN_CUDA_COLS, linear_groups(a.w), plan.split,
                            to.wgmma && plan.split > 1, plan.n_row_tiles, plan.n_whole,
                            plan.n_items};
    return wgmma ? launch_linear_wgmma(job, plan, to) : launch_linear_mma(job, plan, to);
}

} /* namespace TERN_GPU */
