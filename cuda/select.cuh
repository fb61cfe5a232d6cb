/* select.cuh - the first of a row of tokens in their order (logit descending, id ascending), by one
 * CTA: a bound for "the first n" or "the first whose weights reach S", and a sort. Used by HEAD TOP
 * (weights 1) and PICK (top-k with weights 1, top-p with the weights of N8).
 *
 * The trick: an element's place in the order is one 64-bit number, so a radix select, 8 bits a
 * pass, finds the bound exactly, ties included, whatever the number of elements. Every sum is
 * integer: the order of threads changes nothing. Passes: 4 for distinct logits, up to 8 else, each
 * reading the row once. */
#ifndef TERN_CUDA_SELECT_CUH
#define TERN_CUDA_SELECT_CUH

#include "base/exact.h"
#include "cuda/ptx.cuh"
#include "tern/device.h"

namespace TERN_GPU {

#define SELECT_BINS 256
#define SELECT_COPIES 4 /* of the histogram, so that warps meet less often */

/* Shared memory of a select: the histogram in halves of 32 bits, because shared memory adds 32 bits
 * at once and 64 only by trying. */
struct select_smem {
    unsigned low[SELECT_COPIES][SELECT_BINS], high[SELECT_COPIES][SELECT_BINS];
    unsigned long long total[SELECT_BINS], part[32];
    unsigned long long above, inside; /* weight of the bins above the chosen one, and in it */
    int bin;
};

/* The place of a token in the order: better is larger, -0 and +0 are equal. */
static __device__ inline uint64_t order_key(float logit, int id)
{
    const uint32_t bits = logit == 0.0f ? 0u : tern_f32_bits(logit);
    const uint32_t rising = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    return (uint64_t)rising << 32 | (uint32_t)~id;
}

/* The least key of all tokens with this logit. */
static __device__ inline uint64_t order_key_floor(float logit)
{
    return order_key(logit, 0) & ~(uint64_t)0xffffffffu;
}

/* (u64)(w(x) * 2^40) for x <= 0 (N8). */
static __device__ inline uint64_t sample_weight(float x)
{
    return (uint64_t)(tern_exp2_weight(x) * 0x1p40f);
}

/* Adds `weight` to a bin: the carry of the low half is seen by exactly one thread. */
static __device__ inline void select_add(select_smem *s, int copy, int bin, uint64_t weight)
{
    const unsigned low = (unsigned)weight;
    const unsigned before = atomicAdd(&s->low[copy][bin], low);
    const unsigned high = (unsigned)(weight >> 32) + (before + low < before ? 1u : 0u);
    if (high) atomicAdd(&s->high[copy][bin], high);
}

/* Weights by the 8 bits of the key at `shift`, of the elements whose higher bits are `prefix`. */
template <class Row>
static __device__ inline void select_histogram(const Row &row, int n, uint64_t prefix, int shift,
                                               select_smem *s)
{
    const int threads = (int)blockDim.x, thread = (int)threadIdx.x;
    for (int b = thread; b < SELECT_BINS; b += threads) {
        for (int copy = 0; copy < SELECT_COPIES; copy++) s->low[copy][b] = s->high[copy][b] = 0;
    }
    __syncthreads();
    const int copy = thread / 32 % SELECT_COPIES;
    for (int i = thread; i < n; i += threads) {
        const uint64_t key = select_key(row, i);
        if (shift < 56 && (key ^ prefix) >> (shift + 8) != 0) continue;
        const uint64_t weight = select_weight(row, i);
        if (weight) select_add(s, copy, (int)(key >> shift & 255u), weight);
    }
    __syncthreads();
}

/* The highest bin at which the running sum from above reaches `target` into s->bin, with s->above
 * and s->inside; bin -1 where the whole sum stays below. */
static __device__ inline void select_bin(select_smem *s, uint64_t target)
{
    const int threads = (int)blockDim.x, thread = (int)threadIdx.x;
    for (int b = thread; b < SELECT_BINS; b += threads) {
        unsigned long long sum = 0;
        for (int copy = 0; copy < SELECT_COPIES; copy++)
            sum += (unsigned long long)s->high[copy][b] << 32 | s->low[copy][b];
        s->total[b] = sum;
    }
    __syncthreads();
    if (thread < 32) {
        unsigned long long sum = 0;
        for (int j = 0; j < SELECT_BINS / 32; j++) sum += s->total[SELECT_BINS / 32 * thread + j];
        s->part[thread] = sum;
    }
    __syncthreads();
    if (thread == 0) {
        unsigned long long above = 0;
        int part = 31;
        while (part > 0 && above + s->part[part] < target) above += s->part[part--];
        int bin = SELECT_BINS / 32 * (part + 1) - 1;
        while (bin >= 0 && above + s->total[bin] < target) above += s->total[bin--];
        s->bin = bin;
        s->above = above;
        s->inside = bin < 0 ? 0 : s->total[bin];
    }
    __syncthreads();
}

/* The key B such that the elements with key >= B are the shortest prefix, in the order, whose
 * weights reach `target` (0 counts as 1); 0 where all together do not. Elements of weight 0 are as
 * if they were not there: ask for weight > 0 beside key >= B. Every thread of the CTA calls it, and
 * gets the answer; a multiple of 32 threads, at least 32. *s may be reused after the call.
 * A row is a plain struct with two functions beside it, both pure:
 *   __device__ uint64_t select_key(const Row &row, int i);     order_key of element i < n, distinct
 *   __device__ uint64_t select_weight(const Row &row, int i);  the row's sum is below 2^64 */
template <class Row>
static __device__ inline uint64_t select_bound(const Row &row, int n, uint64_t target,
                                               select_smem *s)
{
    uint64_t prefix = 0, rest = target ? target : 1;
    for (int shift = 56; shift >= 0; shift -= 8) {
        select_histogram(row, n, prefix, shift, s);
        select_bin(s, rest);
        if (s->bin < 0) break; /* in the first pass, or never */
        prefix |= (uint64_t)(unsigned)s->bin << shift;
        rest -= s->above;
        if (s->inside == rest) break; /* the bin is kept whole */
    }
    __syncthreads();
    return prefix;
}

static __device__ inline bool candidate_better(tern_candidate a, tern_candidate b)
{
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

/* Sorts c [n], in shared or global memory, best first, by the threads of the CTA: a bitonic network
 * with all comparators in one direction, so that places from n on need not exist. Every thread
 * calls it; the result is visible to all of them. O(n log^2 n). */
static __device__ inline void sort_candidates(tern_candidate *c, int n)
{
    const int threads = (int)blockDim.x;
    int pairs = 1;
    while (2 * pairs < n) pairs *= 2;
    __syncthreads();
    for (int half = 1; half < n; half *= 2) {
        for (int step = half; step >= 1; step /= 2) {
            for (int p = (int)threadIdx.x; p < pairs; p += threads) {
                const int low = p / step * 2 * step + p % step;
                const int high = step == half ? low + 2 * (step - p % step) - 1 : low + step;
                if (high >= n) continue;
                const tern_candidate a = c[low], b = c[high];
                if (!candidate_better(b, a)) continue;
                c[low] = b;
                c[high] = a;
            }
            __syncthreads();
        }
    }
}

} /* namespace TERN_GPU */
#endif
