/* attn_fold.cuh - the states of one query head folded to the end by one warp (N6): blocks left to
 * right inside groups of eight, groups left to right. The last CTA of a split ATTN does it where a
 * kernel of its own (attn_merge.cu) would cost more than the fold.
 *
 * A group of states is first copied to shared memory, all of its loads under way at once: 300
 * clocks of L2 and 8 joins of 50, 0.4 us; in the order of the joins it would be 8 latencies. */
#ifndef TERN_CUDA_ATTN_FOLD_CUH
#define TERN_CUDA_ATTN_FOLD_CUH

#include "cuda/attn.cuh"

namespace TERN_GPU {

#define FOLD_COLS (TERN_MAX_HD / WARP_LANES) /* components of a lane */

/* m, l and the components lane + 32*i of o. */
struct attn_state {
    float m, l, o[FOLD_COLS];
};

static __device__ inline void attn_state_load(attn_state *s, const float *from, int hd)
{
    s->m = from[0];
    s->l = from[1];
    UNROLL for (int i = 0; i < FOLD_COLS; i++) {
        const int d = warp_lane() + WARP_LANES * i;
        s->o[i] = d < hd ? from[2 + d] : 0.0f;
    }
}

/* *s = merge(*s, next); components behind hd stay 0. */
static __device__ inline void attn_state_join(attn_state *s, const attn_state &next)
{
    const attn_factors f = attn_join(&s->m, next.m);
    s->l = attn_join_l(s->l, next.l, f);
    UNROLL for (int i = 0; i < FOLD_COLS; i++) s->o[i] = attn_join_o(s->o[i], next.o[i], f);
}

/* Folds `states` states of hd + 2 floats, `run` of which are a group, and writes o * (1/l).
 * `staged` has room for eight of them. By a warp. */
static __device__ inline void attn_fold_states(float *o, const float *parts, int states, int run,
                                               int hd, float *staged)
{
    attn_state total = {};
    for (int first = 0; first < states; first += TERN_GROUP_PAGES) {
        const int n = min(TERN_GROUP_PAGES, states - first), floats = n * (hd + 2);
        const float *from = parts + (int64_t)first * (hd + 2);
        __syncwarp(); /* the states before are read */
        for (int i = warp_lane(); i < floats; i += WARP_LANES) staged[i] = from[i];
        __syncwarp();
        for (int s = 0; s < n; s += run) {
            attn_state group, next;
            attn_state_load(&group, staged + s * (hd + 2), hd);
            for (int i = s + 1; i < min(s + run, n); i++) {
                attn_state_load(&next, staged + i * (hd + 2), hd);
                attn_state_join(&group, next);
            }
            if (first + s == 0)
                total = group;
            else
                attn_state_join(&total, group);
        }
    }
    const float scale = 1.0f / total.l;
    UNROLL for (int i = 0; i < FOLD_COLS; i++) {
        const int d = warp_lane() + WARP_LANES * i;
        if (d < hd) o[d] = total.o[i] * scale;
    }
}

} /* namespace TERN_GPU */
#endif
