/* cuda_program_layout.h - the device memory of one program: what changes with every batch, and the
 * scratch of its operations. Pure, in C: planner and allocator share it. */
#ifndef TERN_CUDA_PROGRAM_LAYOUT_H
#define TERN_CUDA_PROGRAM_LAYOUT_H

#include "cuda/cuda_scratch.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TERN_CUDA_PICK_ROW_BYTES 96 /* of struct pick_row (kernels.cuh) */

/* Offsets, each a multiple of 256. A batch is one block from 0 to `lists`, its block table last so
 * that a copy may end early; `lists` to `tickets` holds biases, counts and masks of PICK, at least
 * for one row with everything. */
typedef struct tern_cuda_program_parts {
    size_t seq, rows, targets, picks, table; /* pos is at 0 */
    size_t lists, tickets, scratch, bytes;
    int table_ld;
} tern_cuda_program_parts;

tern_cuda_program_parts tern_cuda_program_parts_of(const tern_op *ops, int n_ops,
                                                   const tern_batch_limits *limits);

/* The backend's program_bytes. */
size_t tern_cuda_program_bytes(const tern_op *ops, int n_ops, const tern_batch_limits *limits);

/* Groups of pages that positions below n_ctx fill. */
static inline int tern_cuda_groups(int n_ctx)
{
    const int group_tok = TERN_GROUP_PAGES * TERN_PAGE_TOK;
    return (n_ctx + group_tok - 1) / group_tok;
}

#ifdef __cplusplus
}
#endif
#endif
