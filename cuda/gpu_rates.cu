/* gpu_rates.cu - what this GPU can do at most, for the limits that `tern bench` prints (P4): memory
 * read by all SMs at once, int8 multiply-adds of mma.sync, fused float multiply-adds.
 *
 * Bound by what they measure: the read takes 64 bytes a thread and round from a buffer beyond every
 * L2, the others touch no memory and keep 8 independent accumulators. On sm_90 wgmma would do about
 * 1.5 times what mma.sync does; the rate is that of the instructions in use. */
#include <stdlib.h>

#include "cuda/cuda_device.cuh"
#include "cuda/launch.cuh"

namespace TERN_GPU {

#ifdef TERN_EMU /* a model of a GPU has no rates; these pass quickly */
static constexpr int BUFFER_BYTES = 64 << 10, ROUNDS = 4, CTAS_PER_SM = 1, PASSES = 1;
#else
static constexpr int BUFFER_BYTES = 512 << 20, ROUNDS = 20000, CTAS_PER_SM = 4, PASSES = 5;
#endif
static constexpr int THREADS = 256, CHAINS = 8, MMA_MACS = 16 * 8 * 32;

struct probe_args {
    const uint4 *data;
    int64_t n;      /* of data */
    uint32_t *sink; /* gets what cannot come out, so that nothing is left out */
    int rounds;
};

static __global__ void __launch_bounds__(THREADS) rate_read_kernel(const probe_args a)
{
    after_predecessor();
    const int64_t step = (int64_t)gridDim.x * THREADS;
    uint32_t sum = 0;
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < a.n; i += 4 * step) {
        uint4 v[4];
#pragma unroll
        for (int j = 0; j < 4; j++)
            v[j] = i + j * step < a.n ? a.data[i + j * step] : uint4{0, 0, 0, 0};
#pragma unroll
        for (int j = 0; j < 4; j++) sum |= v[j].x | v[j].y | v[j].z | v[j].w;
    }
    if (sum != 0) *a.sink = sum; /* the buffer holds zeros */
}

static __global__ void __launch_bounds__(THREADS) rate_int8_kernel(const probe_args a)
{
    after_predecessor();
    const uint32_t lane = threadIdx.x;
    const uint32_t x[4] = {lane, lane + 1, lane + 2, lane + 3}, y[2] = {lane, lane + 5};
    int d[CHAINS][4] = {};
    for (int round = 0; round < a.rounds; round++) {
#pragma unroll
        for (int c = 0; c < CHAINS; c++) mma_us(d[c], x, y);
    }
    int sum = 0;
#pragma unroll
    for (int c = 0; c < CHAINS; c++) sum += d[c][0] ^ d[c][1] ^ d[c][2] ^ d[c][3];
    if (sum == 0x7fffffff) *a.sink = (uint32_t)sum;
}

static __global__ void __launch_bounds__(THREADS) rate_fma_kernel(const probe_args a)
{
    after_predecessor();
    const float x = 1.0f + (float)threadIdx.x * 0x1p-20f;
    float d[CHAINS];
#pragma unroll
    for (int c = 0; c < CHAINS; c++) d[c] = (float)c;
    for (int round = 0; round < a.rounds; round++) {
#pragma unroll
        for (int c = 0; c < CHAINS; c++) d[c] = fmaf(d[c], 0x1p-1f, x);
    }
    float sum = 0.0f;
#pragma unroll
    for (int c = 0; c < CHAINS; c++) sum += d[c];
    if (sum < 0.0f) *a.sink = 1;
}

/* The events and the memory of a measurement. */
struct rig {
    cudaEvent_t begin, end;
    uint8_t *data;
    target to;
    int ctas;
};

/* Least seconds of a few passes. */
static cudaError_t time_probe(double *seconds, rig *r, void (*kernel)(probe_args))
{
    const probe_args a = {(const uint4 *)r->data, BUFFER_BYTES / (int)sizeof(uint4),
                          (uint32_t *)(r->data + BUFFER_BYTES), ROUNDS};
    *seconds = 1e30;
    cudaError_t error = cudaSuccess;
    for (int pass = 0; pass <= PASSES && error == cudaSuccess; pass++) { /* the first warms up */
        float ms = 0.0f;
        error = cudaEventRecord(r->begin, r->to.stream);
        if (error == cudaSuccess)
            error = launch(kernel, a, dim3((unsigned)r->ctas), dim3(THREADS), 0, r->to);
        if (error == cudaSuccess) error = cudaEventRecord(r->end, r->to.stream);
        if (error == cudaSuccess) error = cudaEventSynchronize(r->end);
        if (error == cudaSuccess) error = cudaEventElapsedTime(&ms, r->begin, r->end);
        const double now = ms > 1e-6f ? ms * 1e-3 : 1e-9;
        if (pass > 0 && now < *seconds) *seconds = now;
    }
    return error;
}

static cudaError_t measure(tern_rates *out, rig *r)
{
    const double threads = (double)r->ctas * THREADS;
    double read = 1, int8 = 1, fma = 1;
    cudaError_t error = cudaEventCreate(&r->begin);
    if (error == cudaSuccess) error = cudaEventCreate(&r->end);
    if (error == cudaSuccess) error = cudaMalloc(&r->data, BUFFER_BYTES + sizeof(uint32_t));
    if (error == cudaSuccess)
        error = cudaMemsetAsync(r->data, 0, BUFFER_BYTES + sizeof(uint32_t), r->to.stream);
    if (error == cudaSuccess) error = time_probe(&read, r, rate_read_kernel);
    if (error == cudaSuccess) error = time_probe(&int8, r, rate_int8_kernel);
    if (error == cudaSuccess) error = time_probe(&fma, r, rate_fma_kernel);
    if (error != cudaSuccess) return error;
    out->read_bytes = BUFFER_BYTES / read;
    out->int8_mac = threads / 32 * MMA_MACS * ROUNDS * CHAINS / int8;
    out->f32_fma = threads * ROUNDS * CHAINS / fma;
    return cudaSuccess;
}

int gpu_rates(tern_rates *out, tern_device *device, tern_error *err)
{
    const gpu_device *gpu = (const gpu_device *)device;
    rig r = {};
    r.to = gpu->to;
    r.to.stream = gpu->setup;
    r.ctas = gpu->to.n_sm * CTAS_PER_SM;
    cudaError_t error = enter(device);
    if (error == cudaSuccess) error = measure(out, &r);
    if (error == cudaErrorMemoryAllocation) cudaGetLastError(); /* not sticky: forget it */
    if (r.begin) cudaEventDestroy(r.begin);
    if (r.end) cudaEventDestroy(r.end);
    if (r.data) cudaFree(r.data);
    return gpu_status(error, device->info.name, "measuring its limits", err);
}

} /* namespace TERN_GPU */
