/* gpu_model.h - the times that the kernels in cuda/ are predicted to take on an H200: pure formulas
 * over kernel_facts.h, for bench/predict_goals.c. No function touches a device.
 *
 * LINEAR:  ns = latency + max(memory, L2, issue, tensor) + exchange of a split + y, with wgmma, as
 *          far as no other tile of a CTA hides it
 *     memory   bytes / min(HBM, bytes in flight of all resident CTAs / latency)
 *     L2       bytes that all CTAs ask for / L2
 *     issue, tensor   work of the busiest SM, CTAs / SMs rounded up, at GPU_REACH
 * One token in a graph, each kernel behind the one before:
 *          ns = max(bytes / HBM, gap + q or prologue + issue): weights come before the wait
 * cuBLAS:  ns = latency + max(bytes / HBM, operations / rate): its limit, not its measurement. */
#ifndef TERN_BENCH_GPU_MODEL_H
#define TERN_BENCH_GPU_MODEL_H

#include "tern/model.h"

typedef enum model_bound { BOUND_MEMORY, BOUND_L2, BOUND_ISSUE, BOUND_TENSOR } model_bound;

/* `stream_ns` is the middle term alone. */
typedef struct model_time {
    double ns, stream_ns;
    model_bound bound;
} model_time;

const char *model_bound_name(model_bound bound);

/* CTAs of a LINEAR kernel (a tern_linear_kernel) that an SM holds. */
int model_occupancy(int kernel);

/* t x k times k x n_out. */
model_time model_linear(int t, int k, int n_out);

/* The same product by cuBLAS, operands of value_bytes 2 (fp16) or 1 (int8). */
double model_cublas_ns(int t, int k, int n_out, int value_bytes);

/* Sums over the four matrices of a layer. */
double model_layer_ns(const tern_model_config *config, int t);
double model_layer_cublas_ns(const tern_model_config *config, int t, int value_bytes);

/* Weights of a layer's matrices, the least time that reading them at 2 bits takes, and the time of
 * the four products of one token in a graph. */
double model_layer_macs(const tern_model_config *config);
double model_layer_read_ns(const tern_model_config *config);
double model_layer_graph_ns(const tern_model_config *config);

/* Nanoseconds of a step: n_seq sequences, each with n_tok / n_seq new tokens after `first` held. */
typedef struct model_step {
    int n_tok, n_seq, first;
    int rows;               /* of the head */
    int planes;             /* of the table that are read: 2 all of i16, 1 screened or i8 */
    tern_kv_type kv;
} model_step;
double model_step_ns(const tern_model_config *config, const model_step *step);

#endif
