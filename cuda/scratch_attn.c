/* scratch_attn.c - device memory for the states of a split ATTN. */
#include "cuda/attn_split.h"
#include "cuda/cuda_scratch.h"

size_t tern_cuda_attn_scratch(int n_tok, int h, int kv, int hd, int n_groups)
{
    size_t most = 0; /* of states, over every number of tokens that a batch may have */
    for (int t = 1; t <= n_tok && (int64_t)t * kv < TERN_CUDA_ATTN_PAIRS; t++) {
        const tern_cuda_attn_split split = tern_cuda_attn_split_of(t, kv, n_groups);
        const size_t states = (size_t)t * (size_t)h * (size_t)split.n_units;
        most = states > most ? states : most;
    }
    return most * (size_t)(hd + 2) * sizeof(float);
}
