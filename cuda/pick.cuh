/* pick.cuh - the rules of PICK (N8) that both of its kernels follow: logits as they are adjusted
 * (repetition, frequency and presence, bias, mask), thresholds, the draw. */
#ifndef TERN_CUDA_PICK_CUH
#define TERN_CUDA_PICK_CUH

#include "base/rng.h"
#include "cuda/launch.cuh"
#include "cuda/select.cuh"

namespace TERN_GPU {

static __device__ inline bool mask_allows(const pick_row &p, int id)
{
    return !p.mask || (p.mask[id / 32] >> (id % 32) & 1u);
}

/* The logit of a token that was generated `count` times, or stands in the prompt (0). */
static __device__ inline float adjust_seen(const pick_row &p, float l, int count)
{
    const float repetition = p.repetition == 0.0f ? 1.0f : p.repetition;
    if (repetition != 1.0f) l = l > 0.0f ? l / repetition : l * repetition;
    if (count > 0 && (p.frequency != 0.0f || p.presence != 0.0f))
        l = (l - p.frequency * (float)count) - p.presence;
    return l;
}

/* Where `id` stands in ascending ids [n], or -1. */
static __device__ inline int find_id(const int32_t *ids, int n, int id)
{
    int begin = 0, end = n;
    while (begin < end) {
        const int middle = begin + (end - begin) / 2;
        if (ids[middle] < id)
            begin = middle + 1;
        else
            end = middle;
    }
    return begin < n && ids[begin] == id ? begin : -1;
}

/* All of it for one token. */
static __device__ inline float adjust_one(const pick_row &p, float l, int id)
{
    const int seen = find_id(p.count_ids, p.n_counts, id);
    if (seen >= 0) l = adjust_seen(p, l, p.counts[seen]);
    const int biased = find_id(p.bias_ids, p.n_bias, id);
    return biased >= 0 ? l + p.bias[biased] : l;
}

/* log2 e / temperature: what a difference of logits is multiplied by. */
static __device__ inline float sample_factor(const pick_row &p)
{
    return TERN_LOG2E_F / p.temperature;
}

static __device__ inline bool has_top_p(const pick_row &p)
{
    return p.top_p > 0.0f && p.top_p < 1.0f;
}

/* What the weights of the shortest prefix must reach. */
static __device__ inline uint64_t top_p_target(const pick_row &p, uint64_t sum)
{
    return (uint64_t)((double)p.top_p * (double)sum);
}

/* The least weight that is kept; 0 when min_p is off. */
static __device__ inline uint64_t min_p_weight(const pick_row &p)
{
    return p.min_p > 0.0f ? (uint64_t)((p.min_p < 1.0f ? p.min_p : 1.0f) * 0x1p40f) : 0;
}

/* Where in the sum of the kept weights the draw falls. */
static __device__ inline uint64_t draw_of(const pick_row &p, uint64_t sum)
{
    return __umul64hi(tern_random_u64(p.seed, p.choice, p.position), sum);
}

#define PICK_FEW 256 /* candidates that have a thread each */
cudaError_t launch_pick_few(const pick_args &a, const target &to);

} /* namespace TERN_GPU */
#endif
