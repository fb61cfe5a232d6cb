/* pick.cu - PICK (N8): one id from the logits of a row, or from many candidates.
 *
 * A CTA of 512 threads owns a row. Adjusted logits go to the scratch, one for every id; candidates
 * are scattered there and NaN marks the ids that are left out, so that one path serves both. Lists
 * are applied by a thread for each entry, top-k and top-p are bounds in the order that the radix
 * select finds, and the draw walks the ids by two scans. All sums are integers: the arrangement of
 * threads cannot change the answer. Prediction: a row of 128256 is 0.5 MB, read 2 (greedy) to 16
 * times (top-k and top-p) from L2 by one SM at about 100 GB/s: 10 to 80 us. */
#include "cuda/pick.cuh"
#include "cuda/warp.cuh"

namespace TERN_GPU {

#define PICK_WARPS 16
#define PICK_THREADS (PICK_WARPS * WARP_LANES)

struct pick_smem {
    select_smem select;
    unsigned long long warp[PICK_WARPS];
};

/* A row of adjusted logits and what has been settled about it. */
struct pick_view {
    const float *l;        /* [n] NaN: left out */
    float largest, factor;
    uint64_t bound;        /* tokens whose key is lower have been put out */
    uint64_t least;        /* so have those of lower weight */
    bool counts;           /* in select, every token weighs 1 */
};

static __device__ inline bool is_absent(float l)
{
    return l != l;
}

static __device__ inline uint64_t select_key(const pick_view &v, int i)
{
    return order_key(v.l[i], i);
}

/* Also what a token weighs in the draw: 0 when it is not kept. */
static __device__ inline uint64_t select_weight(const pick_view &v, int i)
{
    const float l = v.l[i];
    if (is_absent(l)) return 0;
    if (v.counts) return 1;
    if (order_key(l, i) < v.bound) return 0;
    const uint64_t weight = sample_weight((l - v.largest) * v.factor);
    return weight >= v.least ? weight : 0;
}

/* ---- sums of a CTA -------------------------------------------------------------------------- */

static __device__ inline unsigned long long warp_sum_u64(unsigned long long value)
{
    for (int h = WARP_LANES / 2; h >= 1; h /= 2) value += __shfl_xor_sync(WARP_ALL, value, h);
    return value;
}

/* The values of the warps into s->warp. */
static __device__ inline void share_warps(pick_smem *s, unsigned long long value)
{
    __syncthreads();
    if (warp_lane() == 0) s->warp[warp_index()] = value;
    __syncthreads();
}

/* The largest of the threads' keys. */
static __device__ inline uint64_t largest_key(pick_smem *s, unsigned long long key)
{
    for (int h = WARP_LANES / 2; h >= 1; h /= 2)
        key = max(key, __shfl_xor_sync(WARP_ALL, key, h));
    share_warps(s, key);
    for (int w = 0; w < PICK_WARPS; w++) key = max(key, s->warp[w]);
    return key;
}

/* ---- the row -------------------------------------------------------------------------------- */

/* Logits, or the candidates at their ids. */
static __device__ inline void fill_row(float *l, const pick_args &a, const pick_row &p)
{
    const int row = (int)blockIdx.x;
    const float *logits = a.logits ? a.logits + row * a.ld_logits : NULL;
    for (int i = (int)threadIdx.x; i < a.n_vocab; i += PICK_THREADS)
        l[i] = logits && mask_allows(p, i) ? logits[i] : NAN;
    __syncthreads();
    for (int i = (int)threadIdx.x; i < a.n && !logits; i += PICK_THREADS) {
        const tern_candidate c = a.top[(int64_t)row * a.n + i];
        if (c.id >= 0 && c.id < a.n_vocab && mask_allows(p, c.id)) l[c.id] = c.logit;
    }
    __syncthreads();
}

/* Every entry of a list looks for its token, not the other way round; the ids of a list are
 * distinct, so that no two threads meet. What is left out stays NaN. */
static __device__ inline void adjust_row(float *l, const pick_row &p, int n_vocab)
{
    for (int i = (int)threadIdx.x; i < p.n_counts; i += PICK_THREADS) {
        const int id = p.count_ids[i];
        if (id >= 0 && id < n_vocab) l[id] = adjust_seen(p, l[id], p.counts[i]);
    }
    __syncthreads();
    for (int i = (int)threadIdx.x; i < p.n_bias; i += PICK_THREADS) {
        const int id = p.bias_ids[i];
        if (id >= 0 && id < n_vocab) l[id] += p.bias[i];
    }
    __syncthreads();
}

/* The first in order, or -1. */
static __device__ inline int best_of(const float *l, int n, pick_smem *s)
{
    unsigned long long key = 0; /* below that of every logit */
    for (int i = (int)threadIdx.x; i < n; i += PICK_THREADS)
        if (!is_absent(l[i])) key = max(key, (unsigned long long)order_key(l[i], i));
    key = largest_key(s, key);
    return key == 0 ? -1 : (int)~(uint32_t)key;
}

/* ---- rules ---------------------------------------------------------------------------------- */

/* Weights of ids begin .. end by the lanes of a warp. */
static __device__ inline uint64_t weigh(const pick_view &v, int begin, int end)
{
    unsigned long long sum = 0;
    for (int i = begin + warp_lane(); i < end; i += WARP_LANES) sum += select_weight(v, i);
    return warp_sum_u64(sum);
}

/* Ids of warp w: an equal share, in order. */
static __device__ inline int share_begin(int n, int w)
{
    return (int)((int64_t)n * w / PICK_WARPS);
}

/* Leaves the weight of every warp's share in s->warp and returns their sum. */
static __device__ inline uint64_t weigh_row(const pick_view &v, int n, pick_smem *s)
{
    const int w = warp_index();
    share_warps(s, weigh(v, share_begin(n, w), share_begin(n, w + 1)));
    uint64_t sum = 0;
    for (int i = 0; i < PICK_WARPS; i++) sum += s->warp[i];
    return sum;
}

static __device__ inline void apply_rules(pick_view *v, const pick_row &p, int n, pick_smem *s)
{
    if (p.top_k > 0) {
        v->counts = true;
        v->bound = select_bound(*v, n, (uint64_t)p.top_k, &s->select);
        v->counts = false;
    }
    if (has_top_p(p)) {
        const uint64_t enough = top_p_target(p, weigh_row(*v, n, s));
        const uint64_t bound = select_bound(*v, n, enough, &s->select);
        v->bound = bound > v->bound ? bound : v->bound;
    }
    v->least = min_p_weight(p);
}

/* The first id whose running sum exceeds `at`; s->warp holds the sums of the shares. The share is
 * found by them, then every thread weighs a run of it, and the one with the draw walks. */
static __device__ inline void draw_row(const pick_view &v, int n, uint64_t at, int32_t *answer,
                                       pick_smem *s)
{
    int share = 0;
    uint64_t before = 0;
    while (share < PICK_WARPS - 1 && before + s->warp[share] <= at) before += s->warp[share++];
    const int begin = share_begin(n, share), end = share_begin(n, share + 1);
    const int run = (end - begin + PICK_THREADS - 1) / PICK_THREADS;
    const int first = min(begin + (int)threadIdx.x * run, end), last = min(first + run, end);
    unsigned long long mine = 0;
    for (int i = first; i < last; i++) mine += select_weight(v, i);
    unsigned long long up_to = mine; /* inclusive, inside the warp */
    for (int h = 1; h < WARP_LANES; h *= 2) {
        const unsigned long long other = __shfl_up_sync(WARP_ALL, up_to, (unsigned)h);
        if (warp_lane() >= h) up_to += other;
    }
    share_warps(s, warp_sum_u64(mine));
    for (int w = 0; w < warp_index(); w++) before += s->warp[w];
    uint64_t sum = before + up_to - mine;
    if (sum > at || sum + mine <= at) return;
    for (int i = first; i < last; i++) {
        sum += select_weight(v, i);
        if (sum <= at) continue;
        *answer = i;
        return;
    }
}

static __global__ void __launch_bounds__(PICK_THREADS) pick_kernel(pick_args a)
{
    after_predecessor();
    pick_smem *s = (pick_smem *)(void *)SMEM();
    const int row = (int)blockIdx.x, n = a.n_vocab;
    const pick_row &p = a.picks[row];
    float *l = (float *)(void *)a.scratch + (size_t)row * (size_t)n;
    fill_row(l, a, p);
    adjust_row(l, p, n);
    const int best = best_of(l, n, s);
    if (best < 0 || p.temperature == 0.0f) {
        if (threadIdx.x == 0) a.ids[row] = best;
        return;
    }
    pick_view v = {l, l[best], sample_factor(p), 0, 0, false};
    apply_rules(&v, p, n, s);
    const uint64_t sum = weigh_row(v, n, s);
    draw_row(v, n, draw_of(p, sum), a.ids + row, s);
}

cudaError_t launch_pick(const pick_args &a, const target &to)
{
    if (a.n_rows == 0) return cudaSuccess;
    if (!a.logits && a.n <= PICK_FEW) return launch_pick_few(a, to);
    return launch(pick_kernel, a, dim3((unsigned)a.n_rows), dim3(PICK_THREADS), sizeof(pick_smem),
                  to);
}

} /* namespace TERN_GPU */
