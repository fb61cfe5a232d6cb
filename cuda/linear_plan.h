/* linear_plan.h - which kernel and tile serve a LINEAR, and into how many parts its k is split: one
 * table and a pure function of shapes and the number of SMs, in C. Called by the launcher
 * (linear.cu) and, for the scratch of the largest split, by planner and allocator. */
#ifndef TERN_CUDA_LINEAR_PLAN_H
#define TERN_CUDA_LINEAR_PLAN_H

#include "cuda/cuda_layout.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum tern_linear_kernel {
    TERN_LINEAR_GEMV,
    TERN_LINEAR_MMA_8,
    TERN_LINEAR_MMA_16,
    TERN_LINEAR_MMA_32,
    TERN_LINEAR_MMA_64,
    TERN_LINEAR_MMA_64_WIDE,
    TERN_LINEAR_WGMMA_16,
    TERN_LINEAR_WGMMA_32,
    TERN_LINEAR_WGMMA_64,
    TERN_LINEAR_WGMMA_128,
    TERN_LINEAR_WGMMA_128_WIDE,
    TERN_N_LINEAR_KERNELS,
} tern_linear_kernel;

/* A tile of the product belongs to `split` CTAs, each with its part of k; with wgmma the first
 * n_whole tiles, whole waves of them, belong to one CTA each. Whole tiles and parts of the others
 * are its items: CTA i of n_ctas takes items i, i + n_ctas ... */
typedef struct tern_linear_tile {
    int rows, tokens; /* of the tile: rows of the matrix, tokens */
    int k_warps;      /* warps of a CTA that share its k */
} tern_linear_tile;

typedef struct tern_linear_plan {
    tern_linear_kernel kernel;
    int n_row_tiles, n_tok_tiles, split;
    int n_whole, n_items, n_ctas; /* wgmma */
} tern_linear_plan;

tern_linear_tile tern_cuda_linear_tile(tern_linear_kernel kernel);

/* CTAs, one an SM, that run at a time in clusters of so many; pairs leave no SM without one. */
int tern_cuda_cluster_slots(int cluster, int n_sm);

/* n_tok, n_out, k, n_sm >= 1. */
tern_linear_plan tern_cuda_linear_plan(int n_tok, int n_out, int k, int n_sm);

/* The same for a device with wgmma and clusters: wgmma from TERN_CUDA_IMAGE_TOK tokens on, with the
 * plan above as its twin; and splits, but for one token, in at most 8 parts. */
tern_linear_plan tern_cuda_linear_plan_hopper(int n_tok, int n_out, int k, int n_sm);

#ifdef __cplusplus
}
#endif
#endif
