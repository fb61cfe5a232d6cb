/* attn_merge.cu - ATTN_MERGE, and the second half of a split ATTN: states fold left to right,
 * blocks inside groups of eight, then groups (N6).
 *
 * A CTA owns a head of a token. Eight warps fold the blocks of eight groups at a time, each a
 * group; then every thread folds the eight results of its component into the total. Prediction: a
 * state of 130 floats is 520 bytes; a fold is a chain of some 50 cycles, 4096 positions 8 + 8 of
 * them: latency alone, about 3 us. */
#include "cuda/attn.cuh"

namespace TERN_GPU {

#define MERGE_WARPS TERN_GROUP_PAGES
#define MERGE_THREADS (MERGE_WARPS * WARP_LANES)
#define LANE_COLS (TERN_MAX_HD / WARP_LANES)

static_assert(MERGE_THREADS >= TERN_MAX_HD, "a thread has a component");

/* Folds n states, ld floats apart, into `to`: m, l, o [hd]; by a warp. */
static __device__ inline void fold_group(float *to, const float *from, int64_t ld, int n, int hd)
{
    float m = from[0], l = from[1], o[LANE_COLS];
    for (int i = 0; i < LANE_COLS; i++) {
        const int d = warp_lane() + WARP_LANES * i;
        o[i] = d < hd ? from[2 + d] : 0.0f;
    }
    for (int s = 1; s < n; s++) {
        const float *next = from + s * ld;
        const attn_factors f = attn_join(&m, next[0]);
        l = attn_join_l(l, next[1], f);
        for (int i = 0; i < LANE_COLS; i++) {
            const int d = warp_lane() + WARP_LANES * i;
            if (d < hd) o[i] = attn_join_o(o[i], next[2 + d], f);
        }
    }
    for (int i = 0; i < LANE_COLS; i++) {
        const int d = warp_lane() + WARP_LANES * i;
        if (d < hd) to[2 + d] = o[i];
    }
    if (warp_lane() == 0) {
        to[0] = m;
        to[1] = l;
    }
}

static __global__ void __launch_bounds__(MERGE_THREADS) attn_merge_kernel(merge_job job)
{
    after_predecessor();
    const attn_merge_args &a = job.a;
    const int token = (int)blockIdx.x, head = (int)blockIdx.y, hd = a.hd, d = (int)threadIdx.x;
    float *groups = (float *)(void *)SMEM(); /* [MERGE_WARPS][hd + 2] */
    const float *parts = a.parts + ((int64_t)token * a.h + head) * job.n_units * a.ld_parts;
    const int blocks = attn_blocks(a.pos[token]);
    const int run = blocks <= job.block_limit ? TERN_GROUP_PAGES : 1; /* states of a group */
    const int states = run == 1 ? (blocks + TERN_GROUP_PAGES - 1) / TERN_GROUP_PAGES : blocks;
    float m = 0.0f, l = 0.0f, o = 0.0f;
    for (int first = 0; first < states; first += MERGE_WARPS * run) {
        const int mine = first + warp_index() * run;
        if (mine < states)
            fold_group(groups + warp_index() * (hd + 2), parts + mine * a.ld_parts, a.ld_parts,
                       min(run, states - mine), hd);
        __syncthreads();
        for (int g = 0; g < MERGE_WARPS && first + g * run < states && d < hd; g++) {
            const float *next = groups + g * (hd + 2);
            if (first + g == 0) {
                m = next[0];
                l = next[1];
                o = next[2 + d];
                continue;
            }
            const attn_factors f = attn_join(&m, next[0]);
            l = attn_join_l(l, next[1], f);
            o = attn_join_o(o, next[2 + d], f);
        }
        __syncthreads();
    }
    if (d < hd) a.o[token * a.ldo + head * hd + d] = o * (1.0f / l);
}

cudaError_t launch_merge_job(const merge_job &job, const target &to)
{
    const size_t smem = MERGE_WARPS * (size_t)(job.a.hd + 2) * sizeof(float);
    const dim3 grid((unsigned)job.a.n_tok, (unsigned)job.a.h);
    return launch(attn_merge_kernel, job, grid, dim3(MERGE_THREADS), smem, to);
}

cudaError_t launch_attn_merge(const attn_merge_args &a, const target &to)
{
    if (a.n_tok == 0) return cudaSuccess;
    return launch_merge_job(merge_job{a, a.n_groups, 0}, to);
}

} /* namespace TERN_GPU */
