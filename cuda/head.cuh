/* head.cuh - what the kernels of HEAD (N7) share: a chunk of rows and its scratch, and the exact
 * steps from integer sums to a logit or to its bounds.
 *
 * A row is two planes of bytes, X = 128*h + l with |h| <= 127, -64 <= l <= 63; the table is
 * 256*H + L. So T = 2^15 hH + 2^8 lH + 2^7 hL + lL, four sums of products of bytes; each gains at
 * most 127 * 128 a column, so s32 holds HEAD_S32_COLS columns.
 * Screening knows H alone: T lies in A +- slack, A = 2^15 hH + 2^8 lH, slack = 128 * sum |X|, and
 * one float expression, which is monotone, takes both ends to the bounds of the logit. */
#ifndef TERN_CUDA_HEAD_CUH
#define TERN_CUDA_HEAD_CUH

#include "base/f16.h"
#include "cuda/head_parts.h"
#include "cuda/launch.cuh"

namespace TERN_GPU {

#define HEAD_S32_COLS 65536 /* times 16256: below 2^30 */

/* Rows row0 .. row0 + n_rows of a HEAD. Scratch as in head_parts.h, rows counted from row0. */
struct head_chunk {
    head_args a;
    int row0, n_rows, n_groups;
    int8_t *high, *low;          /* [n_rows, k_pad] */
    float *scale;                /* [n_rows] */
    long long *slack;            /* [n_rows]; 0 for tables without L */
    float *logits;               /* [n_rows, ld_logits] */
    int64_t ld_logits;
    float *lower, *upper;        /* [n_rows, n_groups], of the best of each group */
    unsigned *list, *count;      /* [n_rows, n_groups], [n_rows]: groups to compute in full */
};

/* What a kernel that multiplies is to leave behind. */
enum head_result {
    HEAD_LOGITS,                 /* logits of all rows of the table */
    HEAD_BOUNDS,                 /* lower and upper, from H alone */
    HEAD_LISTED,                 /* logits of the listed groups */
};

cudaError_t launch_head_quant(const head_chunk &c, const target &to);
cudaError_t launch_head_gemv(const head_chunk &c, head_result result, const target &to);
cudaError_t launch_head_mma(const head_chunk &c, head_result result, const target &to);
cudaError_t launch_head_list(const head_chunk &c, const target &to);
cudaError_t launch_head_top(const head_chunk &c, bool listed, const target &to);
cudaError_t launch_head_score(const head_chunk &c, const target &to);

/* T, or A where the sums of L are 0. */
static __device__ inline long long head_total(int high_high, int low_high, int high_low,
                                              int low_low)
{
    return 32768ll * high_high + 256ll * low_high + 128ll * high_low + low_low;
}

static __device__ inline float head_logit(long long total, float scale)
{
    return (float)total * scale;
}

struct head_bounds {
    float lower, upper;
};

/* Bounds of no row at all, for maxima. */
static __device__ inline head_bounds head_no_bounds(void)
{
    const float least = tern_f32_from_bits(0xff800000u);
    const head_bounds none = {least, least};
    return none;
}

/* Bounds of the logits with T in total +- slack. */
static __device__ inline head_bounds head_bounds_of(long long total, long long slack, float scale)
{
    const float a = head_logit(total - slack, scale), b = head_logit(total + slack, scale);
    head_bounds bounds = {a, b};
    if (b < a) { /* a negative scale */
        bounds.lower = b;
        bounds.upper = a;
    }
    return bounds;
}

/* The larger bounds of this lane and of lane ^ mask. */
static __device__ inline head_bounds head_max_with(head_bounds b, int mask)
{
    const float lower = __shfl_xor_sync(0xffffffffu, b.lower, mask);
    const float upper = __shfl_xor_sync(0xffffffffu, b.upper, mask);
    b.lower = lower > b.lower ? lower : b.lower;
    b.upper = upper > b.upper ? upper : b.upper;
    return b;
}

} /* namespace TERN_GPU */
#endif
