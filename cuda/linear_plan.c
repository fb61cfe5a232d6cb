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
    const tern_linear_plan plan = {.kernel = kernel,
                                   .n_row_tiles = ceil_div(n_out, tiles[kernel].rows),
                                   .n_tok_tiles = ceil_div(n_tok, tiles[kernel].tokens),
                                   .split = 1};
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

/* With wgmma, the clocks of a plan, from the counts in linear_wgmma.cu. What they say of stream-K,
 * which shares 108 tiles of 20 stages (13824 x 2560) among 132 SMs: it saves 3.6 stages of each and
 * costs an exchange, 5.2 stages' time at 16 tokens, 8.5 at 64, 5.5 in tiles of 256 x 128. So only
 * the last, partial wave of tiles is split, and evenly. */
#define TOKEN_CLOCKS 4       /* of the tensor cores of an SM, for a stage of a warpgroup */
#define ISSUE_CLOCKS 190     /* of an SM's schedulers, for the same */
#define CHAIN_CLOCKS 250     /* at least, for a stage: waits and unpacking */
#define L2_BYTES 24          /* of an SM, a clock */
#define EXCHANGE_CLOCKS 1000 /* of a cluster that adds up its sums, without their bytes: */
#define PEER_BYTES 14        /* of other SMs' shared memory, a clock and SM */
#define MAX_CLUSTER 8        /* CTAs */
#define GPC_SMS 16           /* that a cluster is inside of: at least */

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Warpgroups of a CTA. */
static int groups_of(tern_linear_kernel kernel)
{
    return tiles[kernel].rows / tiles[TERN_LINEAR_WGMMA_16].rows;
}

/* Clocks of an SM for n_blocks stages of n_ctas CTAs, two of one warpgroup at a time. */
static int64_t busy_clocks(tern_linear_kernel kernel, int64_t n_ctas, int n_blocks)
{
    const int64_t work = larger(TOKEN_CLOCKS * tiles[kernel].tokens, ISSUE_CLOCKS);
    const int groups = groups_of(kernel);
    const int64_t alone = larger(groups * work, CHAIN_CLOCKS), two = larger(2 * work, CHAIN_CLOCKS);
    if (groups > 1) return n_ctas * n_blocks * alone;
    return n_blocks * (n_ctas / 2 * two + n_ctas % 2 * alone);
}

int tern_cuda_cluster_slots(int cluster, int n_sm)
{
    if (cluster <= 2 || n_sm < GPC_SMS) return n_sm;
    return n_sm / GPC_SMS * (GPC_SMS / cluster * cluster);
}

static int tail_of(const tern_linear_plan *plan, int n_sm)
{
    return (int)(tiles_of(plan) % n_sm);
}

/* Clocks of the plan with its tail in `split` parts. */
static int64_t plan_clocks(const tern_linear_plan *plan, int split, int k, int n_sm)
{
    const tern_linear_tile *tile = &tiles[plan->kernel];
    const int n_blocks = tern_cuda_pad_k(k) / TERN_CUDA_COLS;
    const int64_t n_tail = split > 1 ? tail_of(plan, n_sm) : 0, n_whole = tiles_of(plan) - n_tail;
    const int slots = tern_cuda_cluster_slots(split, n_sm);
    const int64_t busy =
        busy_clocks(plan->kernel, (n_whole + n_sm - 1) / n_sm, n_blocks) +
        busy_clocks(plan->kernel, (n_tail * split + slots - 1) / slots, ceil_div(n_blocks, split));
    const int64_t bytes = tiles_of(plan) * n_blocks * TERN_CUDA_COLS *
                          (tile->rows / 4 + tile->tokens);
    return larger(busy, bytes / (L2_BYTES * (int64_t)n_sm)) +
           (split > 1 ? EXCHANGE_CLOCKS : 0) +
           tile_bytes(plan->kernel) * (split - 1) / split / PEER_BYTES;
}

/* Whether the tail may be split so. Clusters are neighbours in the grid; beside whole tiles only
 * pairs, which leave no SM without work; a CTA that stays takes one part, its last. */
static int may_split(const tern_linear_plan *plan, int split, int k, int n_sm)
{
    const int n_tail = tail_of(plan, n_sm);
    if (n_tail == 0 || split > parts_of_k(plan->kernel, k)) return 0;
    if (tiles_of(plan) > n_tail && (split > 2 || n_sm % 2 != 0)) return 0;
    return groups_of(plan->kernel) == 1 || (int64_t)n_tail * split <= n_sm;
}

/* The kernel with the best split of what remains of its tiles after whole waves of them. */
static tern_linear_plan wgmma_plan(tern_linear_kernel kernel, int n_tok, int n_out, int k, int n_sm)
{
    tern_linear_plan plan = plan_of(kernel, n_tok, n_out);
    for (int split = 2; split <= MAX_CLUSTER; split++)
        if (may_split(&plan, split, k, n_sm) &&
            plan_clocks(&plan, split, k, n_sm) < plan_clocks(&plan, plan.split, k, n_sm))
            plan.split = split;
    const int64_t n_tiles = tiles_of(&plan), n_tail = plan.split > 1 ? tail_of(&plan, n_sm) : 0;
    plan.n_whole = (int)(n_tiles - n_tail);
    plan.n_items = (int)(plan.n_whole + n_tail * plan.split);
    plan.n_ctas = groups_of(kernel) == 1 ? plan.n_items : smaller(plan.n_items, n_sm);
    return plan;
}

static tern_linear_plan best_wgmma_plan(int n_tok, int n_out, int k, int n_sm)
{
    int kernel = TERN_LINEAR_WGMMA_16;
    while (kernel < TERN_LINEAR_WGMMA_128 && n_tok > tiles[kernel].tokens) kernel++;
    const tern_linear_plan plan = wgmma_plan((tern_linear_kernel)kernel, n_tok, n_out, k, n_sm);
    if (kernel < TERN_LINEAR_WGMMA_128) return plan;
    const tern_linear_plan wide = wgmma_plan(TERN_LINEAR_WGMMA_128_WIDE, n_tok, n_out, k, n_sm);
    return plan_clocks(&wide, wide.split, k, n_sm) <= plan_clocks(&plan, plan.split, k, n_sm)
               ? wide
               : plan;
}

tern_linear_plan tern_cuda_linear_plan_hopper(int n_tok, int n_out, int k, int n_sm)
{
    if (n_tok >= TERN_CUDA_IMAGE_TOK) return best_wgmma_plan(n_tok, n_out, k, n_sm);
    tern_linear_plan plan = tern_cuda_linear_plan(n_tok, n_out, k, n_sm);
    if (plan.kernel != TERN_LINEAR_GEMV) plan.split = smaller(plan.split, MAX_CLUSTER);
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
    for (int i = TERN_LINEAR_MMA_8; i <= TERN_LINEAR_MMA_64; i++) {
        if (n_tok <= tiles[i - 1].tokens) break;
        const size_t bytes = (size_t)split_ctas((tern_linear_kernel)i, n_tok, n_out, k) *
                             (size_t)tiles[i].rows * (size_t)tiles[i].tokens * sizeof(int32_t);
        if (bytes > most) most = bytes;
    }
    return most;
}
