/* test_emu.cpp - the emulator of CUDA devices (cuda/emu): its primitives against plain loops, the
 * codes of bad launches, and that broken kernels are caught. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

extern "C" {
#include <cmocka.h>
}

#define TERN_GPU tern_emu_test
#include "cuda/launch.cuh"
#include "cuda/emu/emu_control.h"

namespace TERN_GPU {

#define N_SEEDS 20

struct io_args {
    const uint32_t *in;
    uint32_t *out;
    int n;
};

struct shape {
    dim3 grid, block;
    size_t smem_bytes;
};

/* A kernel on memory of its own: in [n_in] goes to the device, out [n_out] comes back. */
static cudaError_t run(void (*kernel)(io_args), shape s, const uint32_t *in, int n_in,
                       uint32_t *out, int n_out)
{
    io_args a = {};
    uint32_t *device_in;
    assert_int_equal(cudaMalloc(&device_in, (size_t)n_in * 4), cudaSuccess);
    assert_int_equal(cudaMalloc(&a.out, (size_t)n_out * 4), cudaSuccess);
    assert_int_equal(cudaMemcpy(device_in, in, (size_t)n_in * 4, cudaMemcpyHostToDevice),
                     cudaSuccess);
    a.in = device_in;
    a.n = n_in;
    target to = {};
    assert_int_equal(cudaStreamCreate(&to.stream), cudaSuccess);
    cudaError_t status = launch(kernel, a, s.grid, s.block, s.smem_bytes, to);
    if (status == cudaSuccess) status = cudaStreamSynchronize(to.stream);
    if (status == cudaSuccess) {
        status = cudaMemcpy(out, a.out, (size_t)n_out * 4, cudaMemcpyDeviceToHost);
        assert_int_equal(cudaStreamDestroy(to.stream), cudaSuccess);
        assert_int_equal(cudaFree(device_in), cudaSuccess);
        assert_int_equal(cudaFree(a.out), cudaSuccess);
    }
    return status;
}

static __global__ void sum_kernel(io_args a)
{
    uint32_t *part = (uint32_t *)SMEM();
    const int i = (int)threadIdx.x, n = (int)blockDim.x;
    part[i] = a.in[blockIdx.x * blockDim.x + threadIdx.x];
    __syncthreads();
    for (int h = n / 2; h >= 1; h /= 2) {
        if (i < h) part[i] += part[i + h];
        __syncthreads();
    }
    if (i == 0) a.out[blockIdx.x] = part[0];
}

static void test_sum(void **)
{
    uint32_t in[1024], out[4];
    for (uint32_t i = 0; i < 1024; i++) in[i] = i * i;
    for (uint64_t seed = 0; seed < N_SEEDS; seed++) {
        tern_emu_set_seed(seed);
        assert_int_equal(run(sum_kernel, {4, 256, 1024}, in, 1024, out, 4), cudaSuccess);
        for (uint32_t b = 0; b < 4; b++) {
            uint32_t sum = 0;
            for (uint32_t i = 0; i < 256; i++) sum += in[256 * b + i];
            assert_int_equal(out[b], sum);
        }
    }
}

} /* namespace TERN_GPU */

int main(void)
{
    using namespace TERN_GPU;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sum),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
