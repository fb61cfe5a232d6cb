/* act.cuh - the activations of ACT_MUL, by the float expressions of base/exact.h. */
#ifndef TERN_CUDA_ACT_CUH
#define TERN_CUDA_ACT_CUH

#include "cuda/row.cuh"

namespace TERN_GPU {

static __device__ inline float act_of(float gate, tern_act act)
{
    if (act == TERN_ACT_SILU) return tern_silu(gate);
    if (act == TERN_ACT_GELU_TANH) return tern_gelu_tanh(gate);
    const float r = max_of(gate, 0.0f);
    return r * r;
}

} /* namespace TERN_GPU */
#endif
