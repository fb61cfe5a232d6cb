/* attn.cuh - what the files of attention share: the shared memory of a CTA, the fold of states, and
 * the merge that follows a split. */
#ifndef TERN_CUDA_ATTN_CUH
#define TERN_CUDA_ATTN_CUH

#include "cuda/attn_split.h"
#include "cuda/launch.cuh"
#include "cuda/warp.cuh"

namespace TERN_GPU {

#define ATTN_WARPS 4
#define ATTN_THREADS (ATTN_WARPS * WARP_LANES)
#define ATTN_HEADS 8               /* of a CTA at most; they share K and V */
#define ATTN_ROWS 16               /* heads times tokens of a CTA, at most */
#define ATTN_COLS (2 * WARP_LANES) /* components that a warp takes at a time, two a lane */

/* The number of rows that a thread takes at once, HT: 1, 2, 4, or all of the CTA's by tensor cores
 * (attn_mma.cuh), where the rows of p and of o lie apart. */
#define ATTN_MMA ATTN_ROWS
template <int HT> struct attn_pitch {
    static constexpr int P = TERN_PAGE_TOK + (HT == ATTN_MMA ? 4 : 0); /* floats of a row of p */
    static constexpr int O_GAP = HT == ATTN_MMA ? 4 : 0;               /* floats behind one of o */
};

/* How a new state joins those before it: keep = w(mA - m), add = w(mB - m). */
struct attn_factors {
    float keep, add;
};

/* The factors of a fold; *m becomes the larger of both. */
static __device__ inline attn_factors attn_join(float *m, float m_new)
{
    const float before = *m;
    *m = max_of(before, m_new);
    return attn_factors{tern_exp2_weight(before - *m), tern_exp2_weight(m_new - *m)};
}

static __device__ inline float attn_join_l(float before, float next, attn_factors f)
{
    return before * f.keep + next * f.add;
}

static __device__ inline float attn_join_o(float before, float next, attn_factors f)
{
    return fmaf(next, f.add, before * f.keep);
}

/* The scalars of a row, which is one query head of one token. */
struct attn_row {
    int pos, end;           /* of the token; the first block that the row does not fold here */
    float m, l;             /* of the group so far */
    float total_m, total_l; /* of the groups before it, and with it once it is complete */
    attn_factors block, group; /* of the block into the group, of the group into the total */
    float sq_c;             /* i8: sq * c */
    float unit;             /* i8: W / 16383 of the block */
};

/* The shared memory of a CTA. q: f16 pages q' f32 [rows/HT][hd][HT], i8 pages q8 as words
 * [rows/HT][hd/4][HT], by tensor cores [16][hd/4 + 4]. p: scores of the block, then f16 the weights
 * p_j; i8 in the first half of a row the planes a and b of u_j = 128*a + b, s8 [2][64]. */
struct attn_smem {
    uint8_t *tiles;       /* [depth] tiles of K or V, in turn */
    float *scales;        /* i8: [2][sk [64], sv [64]] of even and odd blocks */
    float *q, *p;         /* [rows][hd], [rows][P] */
    float *group, *total; /* o of the folds so far, [rows][hd + O_GAP] each */
    attn_row *row;        /* [rows] */
};

/* Blocks that a token at `pos` sees. */
static __device__ inline int attn_blocks(int pos)
{
    return pos / TERN_PAGE_TOK + 1;
}

/* The fold of states to the end: tokens with at most block_limit blocks have one of every block,
 * others one of every group of eight. */
struct merge_job {
    attn_merge_args a;
    int n_units; /* of a row of parts */
    int block_limit;
};
cudaError_t launch_merge_job(const merge_job &job, const target &to);

} /* namespace TERN_GPU */
#endif
