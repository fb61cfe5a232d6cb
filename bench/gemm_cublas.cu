/* gemm_cublas.cu - the baseline of the comparison: cuBLASLt with fp16 (fp32 sums) and int8 (s32
 * sums). y [t, n_out] = x [t, k] W [n_out, k]^T is, in its columns, n_out x t = W^T x. Of the
 * heuristic list for a shape the fastest in a few launches is taken. */
#include <cublasLt.h>
#include <stdlib.h>

#include "bench/gemm_rig.cuh"

namespace TERN_GPU {

#define WORKSPACE_BYTES ((size_t)64 << 20)
#define MAX_CANDIDATES 16
#define TRIALS 5

/* What a side at one t is launched with. */
struct product {
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t w, x, y;
    cublasLtMatmulAlgo_t algo;
};

struct gemm_baseline {
    cublasLtHandle_t handle;
    uint8_t *workspace;
    product of[GEMM_N_SIDES];
};

static cudaError_t status_of(cublasStatus_t status)
{
    if (status == CUBLAS_STATUS_SUCCESS) return cudaSuccess;
    if (status == CUBLAS_STATUS_ALLOC_FAILED) return cudaErrorMemoryAllocation;
    return status == CUBLAS_STATUS_NOT_SUPPORTED ? cudaErrorNotSupported : cudaErrorUnknown;
}

static void drop_product(product *p)
{
    if (p->w) cublasLtMatrixLayoutDestroy(p->w);
    if (p->x) cublasLtMatrixLayoutDestroy(p->x);
    if (p->y) cublasLtMatrixLayoutDestroy(p->y);
    if (p->desc) cublasLtMatmulDescDestroy(p->desc);
    *p = product{};
}

cudaError_t gemm_baseline_open(gemm_rig *rig)
{
    rig->baseline = (gemm_baseline *)calloc(1, sizeof *rig->baseline);
    if (!rig->baseline) return cudaErrorMemoryAllocation;
    const cudaError_t error = status_of(cublasLtCreate(&rig->baseline->handle));
    return error == cudaSuccess ? cudaMalloc(&rig->baseline->workspace, WORKSPACE_BYTES) : error;
}

void gemm_baseline_close(gemm_rig *rig)
{
    gemm_baseline *b = rig->baseline;
    if (!b) return;
    for (product &p : b->of) drop_product(&p);
    if (b->workspace) cudaFree(b->workspace);
    if (b->handle) cublasLtDestroy(b->handle);
    free(b);
    rig->baseline = NULL;
}

static cublasStatus_t describe(product *p, const gemm_rig *rig, gemm_side side, int t)
{
    const bool half = side == GEMM_FP16;
    const cudaDataType in = half ? CUDA_R_16F : CUDA_R_8I, out = half ? CUDA_R_16F : CUDA_R_32I;
    const cublasOperation_t transposed = CUBLAS_OP_T;
    const uint64_t k = (uint64_t)rig->k, n = (uint64_t)rig->n_out;
    cublasStatus_t s = cublasLtMatmulDescCreate(
        &p->desc, half ? CUBLAS_COMPUTE_32F : CUBLAS_COMPUTE_32I, half ? CUDA_R_32F : CUDA_R_32I);
    if (s == CUBLAS_STATUS_SUCCESS)
        s = cublasLtMatmulDescSetAttribute(p->desc, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                           sizeof transposed);
    if (s == CUBLAS_STATUS_SUCCESS) s = cublasLtMatrixLayoutCreate(&p->w, in, k, n, rig->k_pad);
    if (s == CUBLAS_STATUS_SUCCESS)
        s = cublasLtMatrixLayoutCreate(&p->x, in, k, (uint64_t)t, rig->k_pad);
    if (s == CUBLAS_STATUS_SUCCESS)
        s = cublasLtMatrixLayoutCreate(&p->y, out, n, (uint64_t)t, rig->n_out);
    return s;
}

cudaError_t gemm_baseline_launch(gemm_rig *rig, gemm_side side, int copy)
{
    const gemm_baseline *b = rig->baseline;
    const product *p = &b->of[side];
    const float f_alpha = 1.0f / 4096.0f, f_beta = 0.0f;
    const int32_t i_alpha = 1, i_beta = 0;
    const bool half = side == GEMM_FP16;
    const void *alpha = half ? (const void *)&f_alpha : &i_alpha;
    const void *beta = half ? (const void *)&f_beta : &i_beta;
    const uint8_t *w = (half ? rig->w16 : rig->w8) + (size_t)copy * rig->copy_bytes[side];
    return status_of(cublasLtMatmul(b->handle, p->desc, alpha, w, p->w, half ? rig->x16 : rig->q,
                                    p->x, beta, rig->y, p->y, rig->y, p->y, &p->algo, b->workspace,
                                    WORKSPACE_BYTES, rig->to.stream));
}

/* Milliseconds of a few launches; a candidate that does not run takes for ever. */
static float try_candidate(gemm_rig *rig, gemm_side side, cudaEvent_t begin, cudaEvent_t end)
{
    float ms = 1e30f;
    cudaError_t error = gemm_baseline_launch(rig, side, 0);
    if (error == cudaSuccess) error = cudaEventRecord(begin, rig->to.stream);
    for (int i = 0; i < TRIALS && error == cudaSuccess; i++)
        error = gemm_baseline_launch(rig, side, 0);
    if (error == cudaSuccess) error = cudaEventRecord(end, rig->to.stream);
    if (error == cudaSuccess) error = cudaEventSynchronize(end);
    if (error == cudaSuccess) error = cudaEventElapsedTime(&ms, begin, end);
    return error == cudaSuccess ? ms : 1e30f;
}

static cudaError_t choose(gemm_rig *rig, gemm_side side,
                          const cublasLtMatmulHeuristicResult_t *found, int n)
{
    cudaEvent_t begin = NULL, end = NULL;
    cudaError_t error = cudaEventCreate(&begin);
    if (error == cudaSuccess) error = cudaEventCreate(&end);
    product *p = &rig->baseline->of[side];
    float least = 1e30f;
    int best = -1;
    for (int i = 0; i < n && error == cudaSuccess; i++) {
        p->algo = found[i].algo;
        const float ms = try_candidate(rig, side, begin, end);
        if (ms < least) {
            least = ms;
            best = i;
        }
    }
    if (best >= 0) p->algo = found[best].algo;
    if (begin) cudaEventDestroy(begin);
    if (end) cudaEventDestroy(end);
    return error == cudaSuccess && best < 0 ? cudaErrorNotSupported : error;
}

cudaError_t gemm_baseline_prepare(gemm_rig *rig, gemm_side side, int t)
{
    product *p = &rig->baseline->of[side];
    drop_product(p);
    cublasStatus_t s = describe(p, rig, side, t);
    cublasLtMatmulPreference_t wish = NULL;
    if (s == CUBLAS_STATUS_SUCCESS) s = cublasLtMatmulPreferenceCreate(&wish);
    const size_t bytes = WORKSPACE_BYTES;
    if (s == CUBLAS_STATUS_SUCCESS)
        s = cublasLtMatmulPreferenceSetAttribute(wish, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                 &bytes, sizeof bytes);
    cublasLtMatmulHeuristicResult_t found[MAX_CANDIDATES];
    int n = 0;
    if (s == CUBLAS_STATUS_SUCCESS)
        s = cublasLtMatmulAlgoGetHeuristic(rig->baseline->handle, p->desc, p->w, p->x, p->y, p->y,
                                           wish, MAX_CANDIDATES, found, &n);
    if (wish) cublasLtMatmulPreferenceDestroy(wish);
    if (s != CUBLAS_STATUS_SUCCESS) return status_of(s);
    return n ? choose(rig, side, found, n) : cudaErrorNotSupported;
}

} /* namespace TERN_GPU */
