/* cpu_program.h - a program on the CPU: its operations with their operands as pointers. Made by
 * program.c, run by program_run.c and program_attn.c. */
#ifndef TERN_CPU_PROGRAM_H
#define TERN_CPU_PROGRAM_H

#include <stdatomic.h>

#include "cpu/cpu_device.h"

/* TOP and SCORE take so many rows in one pass over the table. */
#define CPU_HEAD_GROUP 8

/* An operation with its operands as pointers; the batch's arrays are filled in at every run. */
typedef struct cpu_op {
    tern_op_kind kind;
    int layer;
    int n_vocab; /* EMBED */
    union {
        tern_embed_args embed;
        tern_norm_quant_args norm_quant;
        tern_linear_args linear;
        tern_rope_kv_args rope_kv;
        struct {
            tern_attn_args args;
            float *o; /* ATTN: [t, h*hd]; ATTN_PART: the states */
            int64_t ldo;
            int n_groups; /* ATTN_PART */
        } attn;
        struct {
            const float *parts;
            float *o;
            int64_t ld_parts, ldo;
            int h, hd, n_groups;
        } attn_merge;
        struct {
            tern_act_mul_args args;
            int f;
        } act_mul;
        tern_norm_args norm;
        tern_add_args add;
        tern_pool_args pool;
        struct {
            tern_head_args args;
            tern_candidate *top;
            tern_score *score;
            float *lower, *upper; /* [CPU_HEAD_GROUP, n_vocab] bounds; NULL: not screened */
            tern_head_mode mode;
            int n;
        } head;
        struct {
            tern_pick_args args;
            const float *logits;
            const tern_candidate *top;
            int64_t ld_logits;
            int32_t *ids;
            int slots;
            uint8_t *scratch;
        } pick;
        struct {
            const uint8_t *from;
            uint8_t *to;
            size_t row_bytes, from_step, to_step;
            int rows;
        } copy;
    } u;
} cpu_op;

typedef struct cpu_program {
    tern_program base;
    cpu_op *ops;
    int n_ops;
    uint8_t *scratch;
    const tern_batch *batch; /* of the run under way */
    atomic_uint fault; /* (op index << 2) | FAULT_*, the first one; relaxed, read after the run */
} cpu_program;

/* What a thread needs to know while it runs. */
typedef struct cpu_worker {
    cpu_program *program;
    const tern_cpu_kernels *kernels;
    tern_pool *pool;
    uint8_t *scratch; /* the thread's own */
    int thread, n_threads, n_tok, n_rows;
} cpu_worker;

/* This thread's share of n items, in multiples of `unit`. */
tern_range tern_cpu_share(const cpu_worker *w, int n, int unit);

/* Attention, this thread's part of it (program_attn.c). */
void tern_cpu_run_attn(cpu_worker *w, cpu_op *op);
void tern_cpu_run_attn_part(cpu_worker *w, cpu_op *op);
void tern_cpu_run_attn_merge(cpu_worker *w, cpu_op *op);

#endif
