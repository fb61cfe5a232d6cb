/* step_part.h - which part of a step an operation belongs to, for the ranges of a profiler. */
#ifndef TERN_CUDA_STEP_PART_H
#define TERN_CUDA_STEP_PART_H

#include "tern/device.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum tern_step_part {
    TERN_PART_STEP, /* one run of a program, with the copy of its batch */
    TERN_PART_PREFILL,
    TERN_PART_DECODE,
    TERN_PART_EMBED,
    TERN_PART_ATTENTION, /* the first half of a layer */
    TERN_PART_FFN,       /* the second */
    TERN_PART_HEAD,
    TERN_PART_SAMPLING,
    TERN_PART_COPY,
    TERN_PART_OTHER, /* outside of layers: pooling, a last norm */
    TERN_N_PARTS
} tern_step_part;

/* "step", "prefill", ... */
const char *tern_step_part_name(tern_step_part part);

/* The part of operation i of a program: EMBED and everything after it in this enumeration. A layer
 * that has no attention in this program (a segment that begins with its FFN) is all FFN. */
tern_step_part tern_step_part_of(const tern_op *ops, int n_ops, int i);

/* DECODE when every sequence of the batch brings one token, else PREFILL. */
tern_step_part tern_step_part_of_batch(const tern_batch *batch);

#ifdef __cplusplus
}
#endif
#endif
