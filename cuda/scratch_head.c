/* scratch_head.c - sizes of what a HEAD keeps while it runs. Largest is a chunk of logits: 33 MB
 * for 64 rows of a vocabulary of 128256, 0.5 MB for one. */
#include "base/memory.h"
#include "cuda/head_parts.h"

#define PART_ALIGNMENT 256

/* Beyond a quarter of the groups, nearly all of the table is needed in full anyway. */
#define SCREENING_SHARE 4

/* Appends a part of count elements; returns its offset. */
static size_t place(tern_cuda_head_parts *parts, size_t count, size_t element_bytes)
{
    const size_t at = parts->bytes;
    parts->bytes += tern_round_up(count * element_bytes, PART_ALIGNMENT);
    return at;
}

tern_cuda_head_parts tern_cuda_head_parts_of(const tern_cuda_head_shape *shape)
{
    tern_cuda_head_parts parts = {0};
    parts.chunk = shape->n_rows < TERN_HEAD_MAX_ROWS ? shape->n_rows : TERN_HEAD_MAX_ROWS;
    parts.n_groups = shape->n_vocab / TERN_CUDA_ROWS + (shape->n_vocab % TERN_CUDA_ROWS != 0);
    parts.screening =
        shape->mode == TERN_HEAD_TOP && shape->n < parts.n_groups / SCREENING_SHARE;
    const size_t rows = (size_t)parts.chunk, groups = rows * (size_t)parts.n_groups;

    place(&parts, rows * (size_t)shape->k_pad, 1);
    parts.low = place(&parts, rows * (size_t)shape->k_pad, 1);
    parts.scale = place(&parts, rows, sizeof(float));
    parts.slack = place(&parts, rows, sizeof(int64_t));
    if (shape->mode == TERN_HEAD_FULL) return parts;
    parts.logits = place(&parts, groups * TERN_CUDA_ROWS, sizeof(float));
    if (!parts.screening) return parts;
    parts.lower = place(&parts, groups, sizeof(float));
    parts.upper = place(&parts, groups, sizeof(float));
    parts.list = place(&parts, groups, sizeof(uint32_t));
    parts.count = place(&parts, rows, sizeof(uint32_t));
    return parts;
}

size_t tern_cuda_head_scratch(const tern_weight_desc *table, tern_head_mode mode, int n, int n_rows)
{
    const tern_cuda_head_shape shape = {table->n_out, tern_cuda_pad_k(table->k), mode, n, n_rows};
    return tern_cuda_head_parts_of(&shape).bytes;
}
