/* pick_few.cu - PICK from at most 256 candidates, what greedy and top-k sampling ask for.
 *
 * A CTA owns a row and a thread a candidate, which it compares with all others: its rank decides
 * top-k, the weights before it top-p, the weights of lower ids where the draw stops. Nothing is
 * sorted. Prediction: 3 passes over n candidates of 16 bytes in shared memory, one address at a
 * time for the whole warp: 1 us at n = 40, 5 us at 256. */
#include "cuda/pick.cuh"

namespace TERN_GPU {

#define ABSENT (-1) /* as an id: masked, or no candidate */

struct few_smem {
    tern_candidate c[PICK_FEW];
    uint64_t weight[PICK_FEW]; /* 0 for what is not kept */
    float largest;
};

static __device__ inline tern_candidate candidate_of(const pick_args &a, const pick_row &p)
{
    const int i = (int)threadIdx.x;
    tern_candidate c = {0.0f, ABSENT};
    if (i >= a.n) return c;
    c = a.top[(int64_t)blockIdx.x * a.n + i];
    if (c.id < 0 || c.id >= a.n_vocab || !mask_allows(p, c.id)) c.id = ABSENT;
    if (c.id != ABSENT) c.logit = adjust_one(p, c.logit, c.id);
    return c;
}

/* How many of the n candidates come before c in the order. */
static __device__ inline int rank_of(const few_smem *s, tern_candidate c, int n)
{
    int rank = 0;
    for (int j = 0; j < n; j++)
        rank += s->c[j].id != ABSENT && candidate_better(s->c[j], c) ? 1 : 0;
    return rank;
}

/* The weights of all, and of those before c in the order. */
static __device__ inline uint64_t weights_before(const few_smem *s, tern_candidate c, int n,
                                                 uint64_t *all)
{
    uint64_t before = 0;
    *all = 0;
    for (int j = 0; j < n; j++) {
        *all += s->weight[j];
        if (candidate_better(s->c[j], c)) before += s->weight[j];
    }
    return before;
}

/* The weights of all, and of those up to c in the order of ids. */
static __device__ inline uint64_t weights_up_to(const few_smem *s, int id, int n, uint64_t *all)
{
    uint64_t sum = 0;
    *all = 0;
    for (int j = 0; j < n; j++) {
        *all += s->weight[j];
        if (s->c[j].id <= id) sum += s->weight[j];
    }
    return sum;
}

/* Everything but greedy, for a thread with a candidate of this rank, or without one; the thread
 * whose candidate is drawn writes the answer. */
static __device__ inline void draw_few(few_smem *s, const pick_row &p, tern_candidate c, int rank,
                                       const pick_args &a)
{
    const int i = (int)threadIdx.x;
    bool kept = c.id != ABSENT && (p.top_k <= 0 || rank < p.top_k);
    uint64_t weight = kept ? sample_weight((c.logit - s->largest) * sample_factor(p)) : 0, all;
    s->weight[i] = weight;
    __syncthreads();
    if (has_top_p(p)) {
        const uint64_t before = weights_before(s, c, a.n, &all);
        if (rank > 0 && before >= top_p_target(p, all)) weight = 0;
    }
    if (weight < min_p_weight(p)) weight = 0;
    __syncthreads();
    s->weight[i] = weight;
    __syncthreads();
    const uint64_t sum = weights_up_to(s, c.id, a.n, &all), at = draw_of(p, all);
    if (weight > 0 && sum > at && sum - weight <= at) a.ids[blockIdx.x] = c.id;
}

static __global__ void pick_few_kernel(pick_args a)
{
    after_predecessor();
    few_smem *s = (few_smem *)(void *)SMEM();
    const pick_row &p = a.picks[blockIdx.x];
    const tern_candidate c = candidate_of(a, p);
    s->c[threadIdx.x] = c;
    if (threadIdx.x == 0) a.ids[blockIdx.x] = -1;
    const bool any = __syncthreads_or(c.id != ABSENT);
    if (!any) return;
    const int rank = rank_of(s, c, a.n);
    const bool best = c.id != ABSENT && rank == 0;
    if (best) s->largest = c.logit;
    __syncthreads();
    if (p.temperature != 0.0f)
        draw_few(s, p, c, rank, a);
    else if (best)
        a.ids[blockIdx.x] = c.id;
}

cudaError_t launch_pick_few(const pick_args &a, const target &to)
{
    return launch(pick_few_kernel, a, dim3((unsigned)a.n_rows), dim3(PICK_FEW), sizeof(few_smem),
                  to);
}

} /* namespace TERN_GPU */
