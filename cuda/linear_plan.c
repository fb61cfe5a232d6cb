/* linear_plan.c - the table of LINEAR's kernels with the reason of every line.
 *
 * What a tile costs is bytes from L2 at few tokens and multiply-adds at many. A weight has 1/4
 * byte, an activation 1, so tiles are taller than wide: R rows x T tokens read R/4 + T bytes a
 * column. One layout, so the same tiles on every architecture; all fit the 64 KiB of sm_75. */
#include "cuda/linear_plan.h"

#include "cuda/cuda_scratch.h"

static const tern_linear_tile tiles[TERN_N_LINEAR_KERNELS] = {
    /* One row: nothing to share. A CTA for every SM takes what it owns of the row groups, eight
     * warps share its blocks (gemv.cuh), so k is never split between CTAs: an SM alone reads 16
     * rows faster than two exchange their sums. */
    [TERN_LINEAR_GEMV] = {16, 1, 8},
    /* Weight bytes still rule: 64 rows halve what 8 tokens add; warps share k, so that all
     * of a CTA's bytes are under way at once. */
    [TERN_LINEAR_MMA_8] = {64, 8, 4},
    /* The same for 16 tokens: twice the rows, half the warps on k. */
    [TERN_LINEAR_MMA_16] = {128, 16, 2},
    /* From here a fragment meets enough tokens to keep a warp busy without sharing k. */
    [TERN_LINEAR_MMA_32] = {128, 32, 1},
    [TERN_LINEAR_MMA_64] = {128, 64, 1},
    /* Many tokens: twice the rows for the same activations, 16 bytes a clock and SM at 60 % of the
     * tensor cores of an H100, under the 24 that L2 gives. */
    [TERN_LINEAR_MMA_64_WIDE] = {256, 64, 1},
    /* wgmma, one warpgroup with 128 rows: as few tokens in the n slot as there are, and n_out of
     * 13824 is 108 tiles, near the number of SMs. */
    [TERN_LINEAR_WGMMA_16] = {128, 16, 1},
    [TERN_LINEAR_WGMMA_32] = {128, 32, 1},
    [TERN_LINEAR_WGMMA_64] = {128, 64, 1},
    [TERN_LINEAR_WGMMA_128] = {128, 128, 1},
    /* Two warpgroups share the tokens: 64 + 128 bytes a column in 8 clocks, the 24 of L2 at the
     * full rate of the tensor cores, where {128, 128} asks for 40. */
    [TERN_LINEAR_WGMMA_128_WIDE] = {256, 128, 1},
};

/* A split is worth its exchange only where CTAs are fewer than SMs; its scratch is bounded for any
 * device by MAX_CTAS tiles. */
#define MAX_CTAS 256
#define MIN_BLOCKS 4 /* of 128 columns for a CTA: below, filling the pipeline is all it does */

/* With wgmma: what it costs to write the sums of a tile, or to read them, in the time of a block:
 * 512 bytes a token at 64 bytes a clock, against 4 clocks a token; and the most scratch. */
#define EXCHANGE_BLOCKS 2
#define MAX_EXCHANGE_BYTES ((int64_t)16 << 20)

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
                                   ceil_div(n_tok, tiles[kernel].tokens), 1, 0};
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
    if (kernel != TERN_LINEAR_GEMV && n_tiles < ctas)
        plan.split = smaller(ctas / (int)n_tiles, parts_of_k(plan.kernel, k));
    return plan;
}

static int64_t tile_bytes(tern_linear_kernel kernel)
{
    return (int64_t)tiles[kernel].rows * tiles[kernel].tokens * (int64_t)sizeof(int32_t);
}

/* The time of n_tiles tiles, fewer than SMs, each in `split` parts, in that of a block. */
static int64_t tail_cost(int n_tiles, int split, int n_blocks, int n_sm)
{
    const int64_t waves = ceil_div(n_tiles * split, n_sm);
    return waves * ceil_div(n_blocks, split) + (split > 1 ? EXCHANGE_BLOCKS * (split + 1) : 0);
}

/* The best number of parts for what remains of the tiles after whole waves of them. */
static int tail_split(tern_linear_kernel kernel, int n_tiles, int k, int n_sm)
{
    const int n_blocks = tern_cuda_pad_k(k) / TERN_CUDA_COLS;
    const int64_t most = MAX_EXCHANGE_BYTES / tile_bytes(kernel);
    int best = 1;
    for (int split = 2; split <= parts_of_k(kernel, k) && n_tiles * split <= most; split++)
        if (tail_cost(n_tiles, split, n_blocks, n_sm) < tail_cost(n_tiles, best, n_blocks, n_sm))
            best = split;
    return best;
}

tern_linear_plan tern_cuda_linear_plan_wgmma(int n_tok, int n_out, int k, int n_sm)
{
    int kernel = TERN_LINEAR_WGMMA_16;
    while (kernel < TERN_LINEAR_WGMMA_128 && n_tok > tiles[kernel].tokens) kernel++;
    tern_linear_plan plan = plan_of((tern_linear_kernel)kernel, n_tok, n_out);
    if (kernel == TERN_LINEAR_WGMMA_128) {
        const tern_linear_plan wide = plan_of(TERN_LINEAR_WGMMA_128_WIDE, n_tok, n_out);
        if (tiles_of(&wide) >= n_sm) plan = wide;
    }
    const int64_t n_tiles = tiles_of(&plan);
    const int n_tail = (int)(n_tiles % n_sm);
    if (n_tail > 0 && n_tail <= TERN_CUDA_TICKETS)
        plan.split = tail_split(plan.kernel, n_tail, k, n_sm);
    plan.n_whole = (int)(plan.split > 1 ? n_tiles - n_tail : n_tiles);
    return plan;
}

/* Most bytes that a wgmma kernel may exchange for up to n_tok tokens. */
static int64_t exchange_bytes(tern_linear_kernel kernel, int n_tok, int n_out, int k)
{
    const tern_linear_plan plan = plan_of(kernel, n_tok, n_out);
    const int64_t parts = parts_of_k(kernel, k), bytes = tile_bytes(kernel);
    if (parts == 1) return 0;
    return tiles_of(&plan) < MAX_EXCHANGE_BYTES / bytes / parts ? tiles_of(&plan) * parts * bytes
                                                                : MAX_EXCHANGE_BYTES;
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
    for (int i = TERN_LINEAR_MMA_8; i <= TERN_LINEAR_MMA_64; i++) {
        if (n_tok <= tiles[i - 1].tokens) break;
        const size_t bytes = (size_t)split_ctas((tern_linear_kernel)i, n_tok, n_out, k) *
                             (size_t)tiles[i].rows * (size_t)tiles[i].tokens * sizeof(int32_t);
        if (bytes > most) most = bytes;
    }
    for (int i = TERN_LINEAR_WGMMA_16; i <= TERN_LINEAR_WGMMA_128_WIDE; i++) {
        if (n_tok < TERN_CUDA_IMAGE_TOK) break;
        const size_t bytes = (size_t)exchange_bytes((tern_linear_kernel)i, n_tok, n_out, k);
        if (bytes > most) most = bytes;
    }
    return most;
}
