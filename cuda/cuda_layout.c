/* cuda_layout.c - sizes and offsets of what the CUDA backend keeps in device memory. */
#include "cuda/cuda_layout.h"

#include "base/memory.h"

#define PART_ALIGNMENT 256 /* of every part: whole sectors for every load */

tern_cuda_weight_parts tern_cuda_weight_parts_of(const tern_weight_desc *desc)
{
    const size_t rows = tern_round_up((size_t)desc->n_out, TERN_CUDA_ROWS);
    const size_t values = rows * (size_t)tern_cuda_pad_k(desc->k);
    tern_cuda_weight_parts parts = {0};
    if (desc->use == TERN_USE_TABLE) {
        parts.low = tern_round_up(values, PART_ALIGNMENT);
        parts.scale = parts.low * (desc->head_type == TERN_HEAD_I16 ? 2 : 1);
    } else {
        parts.scale = tern_round_up(values / 4, PART_ALIGNMENT);
    }
    parts.col = parts.scale + tern_round_up(rows * sizeof(float), PART_ALIGNMENT);
    parts.bytes = parts.col;
    if (desc->use == TERN_USE_TABLE)
        parts.bytes += tern_round_up((size_t)desc->k * sizeof(float), PART_ALIGNMENT);
    return parts;
}

int tern_cuda_weight_layout(tern_weight_layout *out, const tern_weight_desc *desc, tern_error *err)
{
    (void)err;
    out->bytes = tern_cuda_weight_parts_of(desc).bytes;
    out->alignment = PART_ALIGNMENT;
    if (desc->use == TERN_USE_TABLE) {
        out->bits = desc->head_type == TERN_HEAD_I16 ? 16.0f : 8.0f;
        out->name = desc->head_type == TERN_HEAD_I16 ? "16-bit planes" : "8-bit plane";
    } else {
        out->bits = 2.0f;
        out->name = "2-bit fragments";
    }
    return TERN_OK;
}

tern_cuda_quant_parts tern_cuda_quant_parts_of(int t, int k)
{
    tern_cuda_quant_parts parts;
    parts.sum = tern_round_up((size_t)t * sizeof(float), PART_ALIGNMENT);
    parts.q = 2 * parts.sum;
    const size_t rows = t < TERN_CUDA_IMAGE_TOK ? (size_t)t
                                                : tern_round_up((size_t)t, TERN_CUDA_IMAGE_ROWS);
    parts.bytes = parts.q + rows * (size_t)tern_cuda_pad_k(k);
    return parts;
}

size_t tern_cuda_quant_bytes(int t, int k)
{
    return tern_cuda_quant_parts_of(t, k).bytes;
}
