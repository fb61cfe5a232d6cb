/* fusion.h - which neighbours in a program one kernel may do together for a step of one token: a
 * pure function of the operations, in C. The kernel leaves in memory what the operations leave, so
 * it does not matter who reads it later; what matters is that its CTAs, which run at once, read
 * nothing that one of them writes. Called when a program is made (cuda_program.cu). */
#ifndef TERN_CUDA_FUSION_H
#define TERN_CUDA_FUSION_H

#include "tern/device.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How many operations from ops[i] on one kernel does: 2 for NORM_QUANT with the LINEAR of its q, 3
 * where an ACT_MUL of that LINEAR's two halves follows; 2 for ROPE_KV with the ATTN of its q, where
 * nobody will see that qkv stayed as it was: a later LINEAR writes it anew. Else 1. */
int tern_cuda_fused(const tern_op *ops, int n_ops, int i);

#ifdef __cplusplus
}
#endif
#endif
