/* cuda_program.cuh - a program on a GPU: its operations as arguments of kernels, its device memory,
 * and the pinned host memory that batches travel through. Made by cuda_program.cu, run by
 * cuda_run.cu. */
#ifndef TERN_CUDA_PROGRAM_CUH
#define TERN_CUDA_PROGRAM_CUH

#include "cuda/cuda_device.cuh"
#include "cuda/step_part.h"

namespace TERN_GPU {

/* An operation with its operands as pointers; what depends on the batch is filled in at a run. */
struct gpu_op {
    tern_op_kind kind;
    int layer;
    tern_step_part part; /* for profilers */
    int n_fused; /* operations from this one on that are one kernel for one token; 1: none */
    union {
        embed_args embed;
        norm_quant_args norm_quant;
        linear_args linear;
        rope_kv_args rope_kv;
        attn_args attn; /* ATTN, ATTN_PART */
        attn_merge_args attn_merge;
        act_mul_args act_mul;
        norm_args norm;
        add_args add;
        pool_args pool;
        head_args head;
        pick_args pick;
        copy_args copy;
    } u;
};

/* Runs that may be under way before the host waits for the first of them. */
#define BATCH_SLOTS 2

/* Pinned memory in which one batch is laid out (cuda_program_layout.h, offsets up to `tickets`);
 * free again when `copied` has passed. */
struct batch_slot {
    uint8_t *host;
    cudaEvent_t copied;
};

/* Decode steps of up to so many tokens are replayed as graphs. */
#define GRAPH_TOKENS 32

/* The graph of one size of a decode step: made at its second run, when all kernels have been
 * launched once; valid for the number of rows and the fault word that its kernels were given. */
struct step_graph {
    cudaGraphExec_t exec; /* NULL: not made, or it failed, and steps launch plainly */
    int n_runs;           /* up to 2 */
    int n_rows;
    const unsigned long long *fault;
};

struct gpu_program {
    tern_program base;
    gpu_op *ops;
    int n_ops;
    int n_graph_ops; /* operations before PICK, whose copies differ from step to step */
    step_graph graphs[GRAPH_TOKENS]; /* of 1 token and up */
    uint8_t *data; /* device memory of parts.bytes */
    tern_cuda_program_parts parts;
    batch_slot slots[BATCH_SLOTS];
    int next_slot;
};

/* NORM_QUANT with what is fused to it, as the arguments of one kernel. */
linear_fused_args gpu_fused_args(const gpu_op *ops);

/* A fault word: kind in bits 0..1, operation in 2..7, layer + 1 in 8..23, vocabulary above. */
static inline unsigned long long fault_code(tern_op_kind kind, int layer, int n_vocab)
{
    return (unsigned long long)kind << 2 | (unsigned long long)(layer + 1) << 8 |
           (unsigned long long)n_vocab << 24;
}

} /* namespace TERN_GPU */
#endif
