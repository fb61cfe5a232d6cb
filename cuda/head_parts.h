/* head_parts.h - the scratch of a HEAD, part by part: a pure function of shapes, in C. */
#ifndef TERN_CUDA_HEAD_PARTS_H
#define TERN_CUDA_HEAD_PARTS_H

#include "cuda/cuda_scratch.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What decides the parts. A HEAD works through its rows in chunks of at most TERN_HEAD_MAX_ROWS. */
typedef struct tern_cuda_head_shape {
    int n_vocab, k_pad;
    tern_head_mode mode;
    int n;      /* candidates a row */
    int n_rows;
} tern_cuda_head_shape;

/* Offsets, each a multiple of 256; `bytes` is the size. A group is 16 rows of the table.
 *   high, low s8 [chunk, k_pad], scale f32 [chunk], slack s64 [chunk]: quantised rows
 *   logits f32 [chunk, 16 * n_groups]: TOP and SCORE
 *   lower, upper f32 [chunk, n_groups], list u32 [chunk, n_groups], count u32 [chunk]: where
 *   screening */
typedef struct tern_cuda_head_parts {
    int chunk, n_groups;
    int screening; /* TOP, n small against the number of groups */
    size_t low, scale, slack, logits, lower, upper, list, count, bytes;
} tern_cuda_head_parts;

tern_cuda_head_parts tern_cuda_head_parts_of(const tern_cuda_head_shape *shape);

#ifdef __cplusplus
}
#endif
#endif
