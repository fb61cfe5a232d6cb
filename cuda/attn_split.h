/* attn_split.h - how ATTN is cut into CTAs: one pure function for the scratch and for the launch.
 *
 * A unit is a run of blocks whose states fold into one: a block or a group of eight, since only those
 * folds are part of the contract (N6). With few tokens the units of a token go to CTAs of their own
 * and their states to the scratch, where a second kernel folds them; with many, one CTA folds all
 * blocks of its token and KV head, and the scratch stays empty. */
#ifndef TERN_CUDA_ATTN_SPLIT_H
#define TERN_CUDA_ATTN_SPLIT_H

#include <stdint.h>

#include "tern/device.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TERN_CUDA_ATTN_PAIRS 128 /* of token and KV head: from here on there are CTAs enough */
#define TERN_CUDA_ATTN_CTAS 1024 /* that single blocks may make of a launch */

typedef struct tern_cuda_attn_split {
    int n_units;     /* of a row of states, one per token and query head; 0: no split */
    int block_limit; /* tokens with at most so many blocks: units are blocks, else groups */
} tern_cuda_attn_split;

static inline tern_cuda_attn_split tern_cuda_attn_split_of(int n_tok, int kv, int n_groups)
{
    const int64_t pairs = (int64_t)n_tok * kv;
    tern_cuda_attn_split split = {0, 0};
    if (pairs >= TERN_CUDA_ATTN_PAIRS) return split;
    const int64_t blocks = (int64_t)n_groups * TERN_GROUP_PAGES, most = TERN_CUDA_ATTN_CTAS / pairs;
    split.block_limit = (int)(blocks < most ? blocks : most);
    split.n_units = split.block_limit > n_groups ? split.block_limit : n_groups;
    return split;
}

#ifdef __cplusplus
}
#endif
#endif
