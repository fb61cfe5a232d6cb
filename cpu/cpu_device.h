/* cpu_device.h - the objects of the CPU backend, shared by its files. */
#ifndef TERN_CPU_DEVICE_H
#define TERN_CPU_DEVICE_H

#include "base/threads.h"
#include "cpu/kernels.h"
#include "device/backend.h"

/* Private memory of one thread: the states of the query heads of one KV head, at least twice. */
#define TERN_THREAD_SCRATCH_BYTES ((size_t)1 << 18)

typedef struct tern_cpu_device {
    tern_device base;
    tern_pool *pool;
    tern_cpu_kernels kernels;
    uint8_t *thread_scratch; /* [n_threads][TERN_THREAD_SCRATCH_BYTES] */
} tern_cpu_device;

typedef struct tern_cpu_buffer {
    tern_buffer base;
    uint8_t *data; /* 64-byte aligned */
} tern_cpu_buffer;

/* Ternary: codes in the public host layout, then a scale per row. Table: high plane, low plane
 * (I16), a scale per row, a power of two per column. Rows of planes are padded to k_pad. */
typedef struct tern_cpu_weight {
    tern_weight base;
    uint8_t *codes;
    int8_t *high, *low;
    float *scale, *col;
    int k_pad;
} tern_cpu_weight;

/* Quantised activations of up to t rows: scales, row sums, then the rows, each part 64-byte
 * aligned. */
typedef struct tern_quant_view {
    float *scale;
    int32_t *sum;
    int8_t *q;
    int k_pad;
} tern_quant_view;

size_t tern_cpu_quant_bytes(int t, int k);
tern_quant_view tern_cpu_quant_view(uint8_t *data, int t, int k);

uint8_t *tern_cpu_at(const tern_span *span); /* first byte; NULL for no operand */

/* The program entries of the backend table (program.c) and its known answers (self_test.c). */
size_t tern_cpu_program_bytes(const tern_op *ops, int n_ops, const tern_batch_limits *limits);
int tern_cpu_program_create(tern_program **out, tern_device *device, const tern_op *ops, int n_ops,
                            const tern_batch_limits *limits, tern_error *err);
int tern_cpu_program_run(tern_program *program, tern_stream *stream, const tern_batch *batch,
                         tern_error *err);
void tern_cpu_program_destroy(tern_program *program);
int tern_cpu_self_test(tern_device *device, tern_error *err);

#endif
