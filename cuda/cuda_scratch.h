/* cuda_scratch.h - device memory that operations need beyond their operands: pure functions of
 * shapes and limits, the same for planner and allocator. A program holds one piece, as large as its
 * most demanding operation asks for. */
#ifndef TERN_CUDA_SCRATCH_H
#define TERN_CUDA_SCRATCH_H

#include "cuda/cuda_layout.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TERN_CUDA_TICKETS 4096 /* counters of a program, for the last CTA of a split */

/* Bytes for the partial sums of a LINEAR of at most n_tok tokens; clusters of CTAs need none. */
size_t tern_cuda_linear_scratch(int n_tok, int n_out, int k);

/* Bytes for the states of an ATTN of at most n_tok tokens with n_groups groups of pages. */
size_t tern_cuda_attn_scratch(int n_tok, int h, int kv, int hd, int n_groups);

/* Bytes for quantised rows, logits and bounds of a HEAD of at most n_rows rows. */
size_t tern_cuda_head_scratch(const tern_weight_desc *table, tern_head_mode mode, int n,
                              int n_rows);

/* Bytes for the adjusted logits of a PICK of at most n_rows rows. */
size_t tern_cuda_pick_scratch(int n_rows, int n_vocab);

#ifdef __cplusplus
}
#endif
#endif
