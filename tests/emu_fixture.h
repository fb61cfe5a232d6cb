/* emu_fixture.h - runs kernels of a test's own on the emulator; for test_emu*.cpp. */
#ifndef TERN_EMU_FIXTURE_H
#define TERN_EMU_FIXTURE_H

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

#define N_SEEDS 8
#define HOPPER 0 /* device numbers */
#define TURING 1

namespace TERN_GPU {

/* What every kernel of these tests takes. */
struct io_args {
    const uint32_t *in;
    uint32_t *out;
    unsigned *flags; /* zero at first */
    int n;
};

struct shape {
    dim3 grid, block;
    size_t smem_bytes;
};

#define ok(call) assert_int_equal(call, cudaSuccess)
#define N_FLAGS 64

/* Runs a kernel on the current device: in [n_in] goes there, out [n_out] comes back, poison where
 * the kernel wrote nothing. Returns what the kernel ended with; after an error the device is reset
 * by the caller. */
static inline cudaError_t run(void (*kernel)(io_args), shape s, const uint32_t *in, int n_in,
                              uint32_t *out, int n_out)
{
    io_args a = {};
    uint32_t *given;
    ok(cudaMalloc(&given, (size_t)n_in * 4));
    ok(cudaMalloc(&a.out, (size_t)n_out * 4));
    ok(cudaMalloc(&a.flags, N_FLAGS * sizeof *a.flags));
    ok(cudaMemset(a.flags, 0, N_FLAGS * sizeof *a.flags));
    ok(cudaMemcpy(given, in, (size_t)n_in * 4, cudaMemcpyHostToDevice));
    a.in = given;
    a.n = n_in;
    target to = {};
    ok(cudaStreamCreate(&to.stream));
    ok(launch(kernel, a, s.grid, s.block, s.smem_bytes, to));
    const cudaError_t status = cudaStreamSynchronize(to.stream);
    if (status != cudaSuccess) return status;
    ok(cudaMemcpy(out, a.out, (size_t)n_out * 4, cudaMemcpyDeviceToHost));
    ok(cudaStreamDestroy(to.stream));
    ok(cudaFree(given));
    ok(cudaFree(a.out));
    ok(cudaFree(a.flags));
    return cudaSuccess;
}

/* Values that look like nothing in particular. */
static inline void fill(uint32_t *out, int n, uint32_t salt)
{
    uint32_t x = salt * 2654435761u + 12345u;
    for (int i = 0; i < n; i++) {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        out[i] = x;
    }
}

} /* namespace TERN_GPU */
#endif
