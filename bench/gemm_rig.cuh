/* gemm_rig.cuh - one product of the comparison on a device: its operands for every side, what is
 * launched, and the check against the answer known on the host. gemm_rig.cu compiles for the
 * emulator too; gemm_cublas.cu and gemm_time.cu need a toolkit. */
#ifndef TERN_BENCH_GEMM_RIG_CUH
#define TERN_BENCH_GEMM_RIG_CUH

#include "bench/gemm_table.h"
#include "cuda/cuda_device.cuh"

namespace TERN_GPU {

struct gemm_baseline; /* cuBLASLt's side (gemm_cublas.cu) */

/* Weights are random codes, activations random bytes; columns k .. k_pad of q are 0. */
struct gemm_rig {
    tern_device *device;
    target to;
    int k, k_pad, n_out, max_t;
    int baselines;            /* 1: operands for cuBLASLt too */
    uint8_t *codes;           /* host: the weights in fragment order */
    int8_t *q_host;           /* host [max_t, k_pad] */
    uint8_t *y_host;          /* host [n_out], 4 bytes a value */
    float *scale_host;        /* host: of rows [n_out], then of tokens [max_t] */
    int32_t *sum_host;        /* host [max_t] */
    uint8_t *w, *q, *scales, *sums, *y, *partial, *tickets; /* device */
    uint8_t *w16, *x16, *w8;  /* device: weights and activations as fp16, weights as int8 */
    int copies[GEMM_N_SIDES]; /* of each side's weights, equal, one behind the other */
    size_t copy_bytes[GEMM_N_SIDES];
    gemm_baseline *baseline;
};

/* Operands of a product of up to max_t tokens. The rig is closed on failure, too. */
cudaError_t gemm_rig_open(gemm_rig *rig, int k, int n_out, int max_t);
void gemm_rig_close(gemm_rig *rig);

/* Launches a side once with one copy of its weights; the stream is rig->to.stream. */
cudaError_t gemm_launch(gemm_rig *rig, gemm_side side, int t, int copy);

/* Launches a side with the last copy of its weights and compares rows of its result with the known
 * answer: W1.58A8 and int8 to the bit, fp16 to its rounding. */
cudaError_t gemm_verify(gemm_check *out, gemm_rig *rig, gemm_side side, int t);

/* cuBLASLt's side. Prepare chooses the fastest of the heuristic list for t tokens;
 * cudaErrorNotSupported where the list is empty. */
cudaError_t gemm_baseline_open(gemm_rig *rig);
cudaError_t gemm_baseline_prepare(gemm_rig *rig, gemm_side side, int t);
cudaError_t gemm_baseline_launch(gemm_rig *rig, gemm_side side, int copy);
void gemm_baseline_close(gemm_rig *rig);

/* Fills in n_samples and ns of the sides that are right. */
cudaError_t gemm_time(gemm_case *c, gemm_rig *rig, int n_samples);

} /* namespace TERN_GPU */
#endif
