/* linear_plan.c - the table of LINEAR's kernels with the reason of every line.
 *
 * What a tile costs is bytes from L2 at few tokens and multiply-adds at many. A weight has 1/4
 * byte, an activation 1, so tiles are taller than wide: R rows x T tokens read R/4 + T bytes a
 * column. One layout, so the same tiles on every architecture; all fit the 64 KiB of sm_75. */
#include "cuda/linear_plan.h"

#include "cuda/cuda_scratch.h"

static const tern_linear_tile tiles[TERN_N_LINEAR_KERNELS] = {
    /* One row: nothing to share, so 16 rows a CTA spread even n_out = 2560 over 160 CTAs, and eight
     * warps share k, so that all of a CTA's bytes are under way at once. */
    [TERN_LINEAR_GEMV] = {16, 1, 8},
    /* Weight bytes still rule: 64 rows halve what 8 tokens add; warps share k as above. */
    [TERN_LINEAR_MMA_8] = {64, 8, 4},
    /* The same for 16 tokens: twice the rows, half the warps on k. */
    [TERN_LINEAR_MMA_16] = {128, 16, 2},
    /* From here a fragment meets enough tokens to keep a warp busy without sharing k. */
    [TERN_LINEAR_MMA_32] = {128, 32, 1},
    [TERN_LINEAR_MMA_64] = {128, 64, 1},
    /* Many tokens: twice the rows for the same activations, 16 bytes a clock and SM at 60 % of the
     * tensor cores of an H100, under the 24 that L2 gives. */
    [TERN_LINEAR_MMA_64_WIDE] = {256, 64, 1},
};

/* A split is worth its exchange only where CTAs are fewer than SMs; its scratch is bounded for any
 * device by MAX_CTAS tiles. */
#define MAX_CTAS 256
#define MIN_BLOCKS 4 /* of 128 columns for a CTA: below, filling the pipeline is all it does */

static int ceil_div(int a, int b)
{
    return a / b + (a % b != 0);
}

static int smaller(int a, int b)
{
    return a < b ? a : b;
}

tern_linear_tile tern_cuda_linear_tile(tern_linear_kernel kernel)
{
    return tiles[kernel];
}

/* Parts that k has for a kernel, at least 1. */
static int parts_of_k(tern_linear_kernel kernel, int k)
{
    const int least = tiles[kernel].k_warps > MIN_BLOCKS ? tiles[kernel].k_warps : MIN_BLOCKS;
    const int parts = tern_cuda_pad_k(k) / TERN_CUDA_COLS / least;
    return parts > 1 ? parts : 1;
}

static tern_linear_plan plan_of(tern_linear_kernel kernel, int n_tok, int n_out)
{
    const tern_linear_plan plan = {kernel, ceil_div(n_out, tiles[kernel].rows),
                                   ceil_div(n_tok, tiles[kernel].tokens), 1};
    return plan;
}

static int64_t tiles_of(const tern_linear_plan *plan)
{
    return (int64_t)plan->n_row_tiles * plan->n_tok_tiles;
}

tern_linear_plan tern_cuda_linear_plan(int n_tok, int n_out, int k, int n_sm)
{
    int kernel = TERN_LINEAR_GEMV;
    while (kernel < TERN_LINEAR_MMA_64 && n_tok > tiles[kernel].tokens) kernel++;
    tern_linear_plan plan = plan_of((tern_linear_kernel)kernel, n_tok, n_out);
    if (kernel == TERN_LINEAR_MMA_64) {
        const tern_linear_plan wide = plan_of(TERN_LINEAR_MMA_64_WIDE, n_tok, n_out);
        if (tiles_of(&wide) >= n_sm) plan = wide;
    }
    const int64_t n_tiles = tiles_of(&plan);
    const int ctas = smaller(n_sm, MAX_CTAS);
    if (n_tiles < ctas) plan.split = smaller(ctas / (int)n_tiles, parts_of_k(plan.kernel, k));
    return plan;
}

/* Most CTAs that a split of this kernel may have on any device, for up to n_tok tokens. */
static int64_t split_ctas(tern_linear_kernel kernel, int n_tok, int n_out, int k)
{
    const tern_linear_plan plan = plan_of(kernel, n_tok, n_out);
    const int parts = parts_of_k(kernel, k);
    if (parts == 1 || plan.n_row_tiles > MAX_CTAS / 2) return 0;
    return tiles_of(&plan) < MAX_CTAS / parts ? tiles_of(&plan) * parts : MAX_CTAS;
}

/* The wide tile is taken only where no split is. */
size_t tern_cuda_linear_scratch(int n_tok, int n_out, int k)
{
    size_t most = 0;
    for (int i = 0; i <= TERN_LINEAR_MMA_64; i++) {
        if (i > 0 && n_tok <= tiles[i - 1].tokens) break;
        const size_t bytes = (size_t)split_ctas((tern_linear_kernel)i, n_tok, n_out, k) *
                             (size_t)tiles[i].rows * (size_t)tiles[i].tokens * sizeof(int32_t);
        if (bytes > most) most = bytes;
    }
    return most;
}
