/* scratch_pick.c - device memory for the adjusted logits of PICK: one f32 for every token of the
 * vocabulary and row. */
#include "cuda/cuda_scratch.h"

size_t tern_cuda_pick_scratch(int n_rows, int n_vocab)
{
    return (size_t)n_rows * (size_t)n_vocab * sizeof(float);
}
