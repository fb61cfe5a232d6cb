/* rope_kv.cu - ROPE_KV: norm and rotation of q and k, stores of k and v into pages (N6).
 *
 * A warp owns one head of one token (rope.cuh). Prediction: 2B4T has 30 heads of 512 bytes: latency
 * alone, about 2 us a launch; the scattered elements of K cost a sector each, 32 (i8) to 128 (f16)
 * a head. */
#include "cuda/launch.cuh"
#include "cuda/rope.cuh"

namespace TERN_GPU {

#define ROPE_WARPS 4

static __device__ inline void store_head(float *x, const head_regs &u, int half)
{
    for (int i = 0; i < HALF_REGS; i++) {
        const int j = warp_lane() + WARP_LANES * i;
        if (j >= half) continue;
        x[j] = u.low[i];
        x[half + j] = u.high[i];
    }
}

/* Sum of squares of a head by N2: at most 256 elements, so that each is a partial of its own, lane
 * l holds partials l, l + 32, ..., and the tree begins inside the lane. */
static __device__ inline float head_sum_squares(const float *x, int hd)
{
    float part[2 * HALF_REGS];
    for (int i = 0; i < 2 * HALF_REGS; i++) {
        const int j = warp_lane() + WARP_LANES * i;
        part[i] = j < hd ? x[j] * x[j] : 0.0f;
    }
    for (int h = HALF_REGS; h >= 1; h /= 2)
        for (int i = 0; i < h; i++) part[i] += part[i + h];
    return warp_tree_sum(part[0]);
}

static __device__ inline void norm_head(head_regs *u, const float *x, const float *gain, int hd,
                                        float eps)
{
    const float r = inverse_rms(head_sum_squares(x, hd), hd, eps);
    const int half = hd / 2;
    for (int i = 0; i < HALF_REGS; i++) {
        const int j = warp_lane() + WARP_LANES * i;
        if (j >= half) continue;
        u->low[i] = (u->low[i] * r) * gain[j];
        u->high[i] = (u->high[i] * r) * gain[half + j];
    }
}

/* Heads of a token: h of q, kv of k, kv of v. */
static __global__ void rope_kv_kernel(rope_kv_args a)
{
    after_predecessor();
    const int token = (int)blockIdx.x, hd = a.view.hd, kv = a.view.kv;
    const int head = (int)blockIdx.y * ROPE_WARPS + warp_index();
    if (head >= a.h + 2 * kv) return;
    float *x = a.qkv + token * a.ld + head * hd;
    head_regs u = load_head(x, hd / 2);
    if (head < a.h + kv) {
        const float *gain = head < a.h ? a.q_gain : a.k_gain;
        if (gain) norm_head(&u, x, gain, hd, a.eps);
        rotate_head(&u, a.rope + (size_t)a.view.pos[token] * (size_t)hd, hd / 2);
        store_head(x, u, hd / 2);
    }
    if (head >= a.h) store_kv(a.view, token, (head - a.h) % kv, head >= a.h + kv, u);
}

cudaError_t launch_rope_kv(const rope_kv_args &a, const target &to)
{
    if (a.n_tok == 0) return cudaSuccess;
    const dim3 grid((unsigned)a.n_tok, blocks_of(a.h + 2 * a.view.kv, ROPE_WARPS));
    return launch(rope_kv_kernel, a, grid, dim3(ROPE_WARPS * WARP_LANES), 0, to);
}

} /* namespace TERN_GPU */
