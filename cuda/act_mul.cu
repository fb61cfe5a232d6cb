/* act_mul.cu - ACT_MUL: the gate of the FFN, by the float expressions of base/exact.h.
 *
 * One value a thread, neighbours side by side. Prediction: 12 bytes a value against some 25
 * instructions at most (silu, gelu): bound by memory, or by the launch for few tokens. */
#include "cuda/act.cuh"
#include "cuda/launch.cuh"

namespace TERN_GPU {

#define ACT_THREADS 256

static __global__ void act_mul_kernel(act_mul_args a)
{
    after_predecessor();
    const int t = (int)blockIdx.x;
    const int i = (int)(blockIdx.y * ACT_THREADS + threadIdx.x);
    if (i >= a.f) return;
    const float gate = a.gate[t * a.ld_gate + i], up = a.up[t * a.ld_up + i];
    a.y[t * a.ldy + i] = act_of(gate, a.act) * up;
}

cudaError_t launch_act_mul(const act_mul_args &a, const target &to)
{
    if (a.n_tok == 0) return cudaSuccess;
    const dim3 grid((unsigned)a.n_tok, blocks_of(a.f, ACT_THREADS));
    return launch(act_mul_kernel, a, grid, dim3(ACT_THREADS), 0, to);
}

} /* namespace TERN_GPU */
