/* gemm_rig.cu - operands, launches and checks of the comparison (gemm_rig.cuh). The answer is
 * computed from the codes as cuda_layout.h describes them, by plain loops, for some rows of some
 * tokens; of these tokens no value of the whole result may be missing. */
#include "bench/gemm_rig.cuh"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "cuda/cuda_scratch.h"

namespace TERN_GPU {

#define CHECK_ROWS 97
#define FP16_SHIFT 4096.0f /* fp16 results are divided by it, to stay in range */

/* The code of row n, column c: cuda_layout.h. */
static int code_at(const gemm_rig *rig, int n, int c)
{
    const int lane = n % 8 * 4 + c % 16 / 4, step = c % 128 / 32;
    const int p = n % 16 / 8 + c % 32 / 16 * 2;
    const size_t block = (size_t)(n / 16) * (size_t)(rig->k_pad / 128) + (size_t)(c / 128);
    const uint8_t byte = rig->codes[block * TERN_CUDA_BLOCK_BYTES +
                                    (size_t)(lane * 16 + step * 4 + c % 4)];
    return byte >> 2 * p & 3;
}

static int padded_rows(const gemm_rig *rig)
{
    return (rig->n_out + TERN_CUDA_ROWS - 1) / TERN_CUDA_ROWS * TERN_CUDA_ROWS;
}

static size_t code_bytes(const gemm_rig *rig)
{
    return (size_t)padded_rows(rig) * (size_t)rig->k_pad / 4;
}

/* Four codes of 0, 1, 2 in a byte; 81 of them. */
static uint8_t four_codes(uint32_t i)
{
    return (uint8_t)(i % 3 | i / 3 % 3 << 2 | i / 9 % 3 << 4 | i / 27 % 3 << 6);
}

static void fill_host(gemm_rig *rig)
{
    for (size_t i = 0; i < code_bytes(rig); i += 4) {
        const uint64_t random = tern_random_u64(1, 0, (uint32_t)(i / 4));
        for (int b = 0; b < 4; b++)
            rig->codes[i + (size_t)b] = four_codes((uint32_t)(random >> 16 * b & 0xffff) % 81);
    }
    for (int t = 0; t < rig->max_t; t++) {
        rig->sum_host[t] = 0;
        for (int c = 0; c < rig->k_pad; c++) {
            const size_t at = (size_t)t * (size_t)rig->k_pad + (size_t)c;
            const int q = (int)(tern_random_u64(2, (uint32_t)t, (uint32_t)c) % 255) - 127;
            rig->q_host[at] = (int8_t)(c < rig->k ? q : 0);
            rig->sum_host[t] += rig->q_host[at];
        }
    }
    for (int i = 0; i < rig->n_out + rig->max_t; i++)
        rig->scale_host[i] = 0.5f + (float)(i % 31) / 64.0f;
}

/* A device copy of host bytes; the host waits. */
static cudaError_t upload(uint8_t **out, const void *from, size_t bytes)
{
    cudaError_t error = cudaMalloc((void **)out, bytes);
    if (error == cudaSuccess) error = cudaMemcpy(*out, from, bytes, cudaMemcpyHostToDevice);
    return error;
}

/* IEEE half of an integer of at most 11 bits. */
static uint16_t half_of(int v)
{
    if (v == 0) return 0;
    const int magnitude = v < 0 ? -v : v;
    int exponent = 0;
    while (magnitude >> (exponent + 1)) exponent++;
    const int fraction = (magnitude << (10 - exponent)) & 0x3ff;
    return (uint16_t)((v < 0 ? 0x8000 : 0) | (exponent + 15) << 10 | fraction);
}

static float half_value(uint16_t h)
{
    const int exponent = h >> 10 & 31, fraction = h & 0x3ff;
    const float v = exponent ? ldexpf((float)(1024 + fraction), exponent - 25)
                             : ldexpf((float)fraction, -24);
    return exponent == 31 ? NAN : h & 0x8000 ? -v : v;
}

#ifdef TERN_EMU
#define ALL_COPIES_BYTES ((size_t)1)
#else
#define ALL_COPIES_BYTES ((size_t)160 << 20) /* three times the L2 of an H200 */
#endif
#define MAX_COPIES 256

/* Two copies of a side's weights on the device, or as many as no L2 holds. */
static cudaError_t upload_copies(uint8_t **out, gemm_rig *rig, gemm_side side, const void *from,
                                 size_t bytes)
{
    const size_t wanted = ALL_COPIES_BYTES / bytes + 1;
    const int copies = wanted < 2 ? 2 : wanted > MAX_COPIES ? MAX_COPIES : (int)wanted;
    rig->copies[side] = copies;
    rig->copy_bytes[side] = bytes;
    cudaError_t error = cudaMalloc((void **)out, (size_t)copies * bytes);
    for (int i = 0; i < copies && error == cudaSuccess; i++)
        error = cudaMemcpy(*out + (size_t)i * bytes, i ? (const void *)*out : from, bytes,
                           i ? cudaMemcpyDeviceToDevice : cudaMemcpyHostToDevice);
    return error;
}

static cudaError_t upload_baseline(gemm_rig *rig)
{
    const size_t k = (size_t)rig->k_pad, n_w = (size_t)rig->n_out * k, n_x = (size_t)rig->max_t * k;
    const size_t most = n_w > n_x ? n_w : n_x;
    uint16_t *halves = (uint16_t *)malloc(2 * most);
    int8_t *bytes = (int8_t *)malloc(n_w);
    cudaError_t error = halves && bytes ? cudaSuccess : cudaErrorMemoryAllocation;
    if (error == cudaSuccess) {
        for (size_t i = 0; i < n_w; i++) {
            const int w = code_at(rig, (int)(i / k), (int)(i % k)) - 1;
            bytes[i] = (int8_t)w;
            halves[i] = half_of(w);
        }
        error = upload_copies(&rig->w16, rig, GEMM_FP16, halves, 2 * n_w);
    }
    if (error == cudaSuccess) error = upload_copies(&rig->w8, rig, GEMM_INT8, bytes, n_w);
    if (error == cudaSuccess) {
        for (size_t i = 0; i < n_x; i++) halves[i] = half_of(rig->q_host[i]);
        error = upload(&rig->x16, halves, 2 * n_x);
    }
    free(halves);
    free(bytes);
    return error == cudaSuccess ? gemm_baseline_open(rig) : error;
}

static cudaError_t upload_tern(gemm_rig *rig)
{
    const size_t t = (size_t)rig->max_t, n = (size_t)rig->n_out;
    const size_t scratch = tern_cuda_linear_scratch(rig->max_t, rig->n_out, rig->k);
    const size_t tickets = TERN_CUDA_TICKETS * sizeof(unsigned);
    cudaError_t error = upload_copies(&rig->w, rig, GEMM_TERN, rig->codes, code_bytes(rig));
    if (error == cudaSuccess) error = upload(&rig->q, rig->q_host, t * (size_t)rig->k_pad);
    if (error == cudaSuccess) error = upload(&rig->scales, rig->scale_host, (n + t) * 4);
    if (error == cudaSuccess) error = upload(&rig->sums, rig->sum_host, t * 4);
    if (error == cudaSuccess) error = cudaMalloc((void **)&rig->y, t * n * 4);
    if (error == cudaSuccess) error = cudaMalloc((void **)&rig->partial, scratch ? scratch : 4);
    if (error == cudaSuccess) error = cudaMalloc((void **)&rig->tickets, tickets);
    if (error == cudaSuccess) error = cudaMemset(rig->tickets, 0, tickets);
    return error;
}

cudaError_t gemm_rig_open(gemm_rig *rig, int k, int n_out, int max_t)
{
    rig->k = k;
    rig->k_pad = tern_cuda_pad_k(k);
    rig->n_out = n_out;
    rig->max_t = max_t;
    rig->codes = (uint8_t *)malloc(code_bytes(rig));
    rig->q_host = (int8_t *)malloc((size_t)max_t * (size_t)rig->k_pad);
    rig->y_host = (uint8_t *)malloc((size_t)n_out * 4);
    rig->scale_host = (float *)malloc(((size_t)n_out + (size_t)max_t) * sizeof(float));
    rig->sum_host = (int32_t *)malloc((size_t)max_t * sizeof(int32_t));
    cudaError_t error = cudaErrorMemoryAllocation;
    if (rig->codes && rig->q_host && rig->y_host && rig->scale_host && rig->sum_host) {
        fill_host(rig);
        error = upload_tern(rig);
    }
    if (error == cudaSuccess && rig->baselines) error = upload_baseline(rig);
    if (error != cudaSuccess) gemm_rig_close(rig);
    return error;
}

void gemm_rig_close(gemm_rig *rig)
{
    if (rig->baselines) gemm_baseline_close(rig);
    uint8_t **const device[] = {&rig->w, &rig->q, &rig->scales, &rig->sums, &rig->y,
                                &rig->partial, &rig->tickets, &rig->w16, &rig->x16, &rig->w8};
    for (uint8_t **p : device) {
        if (*p) cudaFree(*p);
        *p = NULL;
    }
    free(rig->codes);
    free(rig->q_host);
    free(rig->y_host);
    free(rig->scale_host);
    free(rig->sum_host);
    rig->codes = rig->y_host = NULL;
    rig->q_host = NULL;
    rig->scale_host = NULL;
    rig->sum_host = NULL;
}

cudaError_t gemm_launch(gemm_rig *rig, gemm_side side, int t, int copy)
{
    if (side != GEMM_TERN) return gemm_baseline_launch(rig, side, copy);
    const uint8_t *w = rig->w + (size_t)copy * rig->copy_bytes[side];
    linear_args a = {};
    a.q = quant_view{(int8_t *)rig->q, (float *)rig->scales + rig->n_out, (int32_t *)rig->sums,
                     rig->k_pad};
    a.w = ternary_view{(const uint32_t *)(const void *)w, (const float *)rig->scales, rig->n_out,
                       rig->k_pad};
    a.y = (float *)rig->y;
    a.ldy = rig->n_out;
    a.n_tok = t;
    a.partial = (int32_t *)rig->partial;
    a.tickets = (unsigned *)rig->tickets;
    return launch_linear(a, rig->to);
}

/* Is value n of the row of token t, as the side left it in y_host, the known one? */
static bool value_is_right(const gemm_rig *rig, gemm_side side, int t, int n)
{
    int acc = 0;
    for (int c = 0; c < rig->k; c++)
        acc += (code_at(rig, n, c) - 1) * rig->q_host[(size_t)t * (size_t)rig->k_pad + (size_t)c];
    if (side == GEMM_FP16) {
        uint16_t half;
        memcpy(&half, rig->y_host + (size_t)n * 2, sizeof half);
        const float wanted = (float)acc / FP16_SHIFT;
        return fabsf(half_value(half) - wanted) <= fabsf(wanted) * 0x1p-10f + 0x1p-24f;
    }
    const float y = (float)acc * (rig->scale_host[rig->n_out + t] * rig->scale_host[n]);
    return memcmp(rig->y_host + (size_t)n * 4, side == GEMM_INT8 ? (const void *)&acc : &y, 4) == 0;
}

/* Results begin as bytes of 0xff: NaN, or the integer -1, which is no more likely than another. */
static bool row_is_right(const gemm_rig *rig, gemm_side side, int t)
{
    const uint32_t unset = 0xffffffffu;
    const size_t width = side == GEMM_FP16 ? 2 : 4;
    for (int n = 0; n < rig->n_out && side != GEMM_INT8; n++)
        if (memcmp(rig->y_host + (size_t)n * width, &unset, width) == 0) return false;
    const int stride = rig->n_out > CHECK_ROWS ? rig->n_out / CHECK_ROWS : 1;
    for (int n = 0; n < rig->n_out; n += stride)
        if (!value_is_right(rig, side, t, n)) return false;
    return value_is_right(rig, side, t, rig->n_out - 1);
}

cudaError_t gemm_verify(gemm_check *out, gemm_rig *rig, gemm_side side, int t)
{
    const size_t row_bytes = (size_t)rig->n_out * (side == GEMM_FP16 ? 2 : 4);
    cudaError_t error = cudaMemsetAsync(rig->y, 0xff, (size_t)t * row_bytes, rig->to.stream);
    if (error == cudaSuccess) error = gemm_launch(rig, side, t, rig->copies[side] - 1);
    if (error == cudaSuccess) error = cudaStreamSynchronize(rig->to.stream);
    const int tokens[] = {0, t / 3, t - 1};
    *out = GEMM_RIGHT;
    for (int i = 0; i < 3 && error == cudaSuccess; i++) {
        error = cudaMemcpy(rig->y_host, rig->y + (size_t)tokens[i] * row_bytes, row_bytes,
                           cudaMemcpyDeviceToHost);
        if (error == cudaSuccess && !row_is_right(rig, side, tokens[i])) *out = GEMM_WRONG;
    }
    return error;
}

#ifdef TERN_EMU /* an emulated device has no baseline */
cudaError_t gemm_baseline_open(gemm_rig *) { return cudaErrorInvalidValue; }
cudaError_t gemm_baseline_launch(gemm_rig *, gemm_side, int) { return cudaErrorInvalidValue; }
void gemm_baseline_close(gemm_rig *) {}
#endif

} /* namespace TERN_GPU */
