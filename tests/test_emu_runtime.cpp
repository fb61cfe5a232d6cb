/* test_emu_runtime.cpp - the emulator's side of the CUDA runtime: memory, copies, streams, events,
 * launches that are refused, errors that stay, faults that tests ask for. */
#include "emu_fixture.h"

namespace TERN_GPU {

static __global__ void add_kernel(io_args a)
{
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < (unsigned)a.n) a.out[i] = a.in[i] + 1;
}

static __global__ void dead_kernel(io_args a)
{
    wait_flag(a.flags, 1);
}

/* ---- devices --------------------------------------------------------------------------------- */

static void test_devices(void **)
{
    int count, driver, value;
    cudaDeviceProp p;
    ok(cudaGetDeviceCount(&count));
    assert_int_equal(count, 2);
    ok(cudaDriverGetVersion(&driver));
    assert_true(driver >= 13000);
    ok(cudaGetDeviceProperties(&p, HOPPER));
    assert_int_equal(p.major * 10 + p.minor, 90);
    assert_int_equal(p.multiProcessorCount, 3);
    assert_int_equal(p.sharedMemPerBlockOptin, 227 * 1024);
    ok(cudaDeviceGetAttribute(&value, cudaDevAttrMaxSharedMemoryPerBlockOptin, TURING));
    assert_int_equal(value, 64 * 1024);
    ok(cudaDeviceGetAttribute(&value, cudaDevAttrComputeCapabilityMajor, TURING));
    assert_int_equal(value, 7);
    assert_int_equal(cudaSetDevice(2), cudaErrorInvalidDevice);
    assert_int_equal(cudaGetLastError(), cudaErrorInvalidDevice);
    assert_int_equal(cudaGetLastError(), cudaSuccess); /* asked once, forgotten */
    assert_string_equal(cudaGetErrorName(cudaErrorLaunchFailure), "cudaErrorLaunchFailure");
}

static void test_absent(void **)
{
    int count, version;
    tern_emu_set_fault(TERN_EMU_NO_DRIVER, 0);
    assert_int_equal(cudaGetDeviceCount(&count), cudaErrorInsufficientDriver);
    assert_int_equal(count, 0);
    ok(cudaDriverGetVersion(&version));
    assert_int_equal(version, 0);
    tern_emu_set_fault(TERN_EMU_OLD_DRIVER, 0);
    assert_int_equal(cudaSetDevice(0), cudaErrorInsufficientDriver);
    ok(cudaDriverGetVersion(&version));
    assert_true(version > 0 && version < CUDART_VERSION);
    tern_emu_set_fault(TERN_EMU_NO_DEVICE, 0);
    assert_int_equal(cudaGetDeviceCount(&count), cudaErrorNoDevice);
    tern_emu_set_fault(TERN_EMU_NO_FAULT, 0);
    ok(cudaGetDeviceCount(&count));
    cudaGetLastError();
}

/* ---- memory and copies ----------------------------------------------------------------------- */

static void test_budget(void **)
{
    const size_t whole = 1 << 20;
    uint8_t *first, *second;
    size_t free_bytes, total_bytes;
    tern_emu_set_memory(TURING, whole);
    ok(cudaSetDevice(TURING));
    ok(cudaMalloc(&first, whole / 2));
    ok(cudaMemGetInfo(&free_bytes, &total_bytes));
    assert_int_equal(free_bytes, whole / 2);
    assert_int_equal(total_bytes, whole);
    assert_int_equal(cudaMalloc(&second, whole / 2 + 1), cudaErrorMemoryAllocation);
    ok(cudaMalloc(&second, whole / 2));
    assert_int_equal((uintptr_t)second % 256, 0);
    ok(cudaFree(first));
    ok(cudaFree(second));
    assert_int_equal(cudaFree(first), cudaErrorInvalidValue);
    ok(cudaFree(nullptr));
    ok(cudaMemGetInfo(&free_bytes, &total_bytes));
    assert_int_equal(free_bytes, whole);
    tern_emu_set_memory(TURING, (size_t)4 << 30);
    ok(cudaSetDevice(HOPPER));
    cudaGetLastError();
}

static void test_copies(void **)
{
    uint8_t host[100], back[100], *memory;
    ok(cudaMalloc(&memory, 100));
    ok(cudaMemset(memory, 0, 100));
    for (int i = 0; i < 100; i++) host[i] = (uint8_t)(i + 1);
    /* a block of 3 rows of 4 bytes, rows 10 apart on the host, 8 apart on the device */
    ok(cudaMemcpy2DAsync(memory, 8, host, 10, 4, 3, cudaMemcpyHostToDevice));
    ok(cudaMemcpy(back, memory, 24, cudaMemcpyDeviceToHost));
    for (int row = 0; row < 3; row++)
        for (int i = 0; i < 8; i++)
            assert_int_equal(back[8 * row + i], i < 4 ? host[10 * row + i] : 0);
    /* whatever does not lie in one piece of the right memory is refused */
    assert_int_equal(cudaMemcpy(memory + 1, host, 100, cudaMemcpyHostToDevice),
                     cudaErrorInvalidValue);
    assert_int_equal(cudaMemcpy(back, host, 4, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
    assert_int_equal(cudaMemset(host, 0, 4), cudaErrorInvalidValue);
    assert_int_equal(cudaMemcpy2DAsync(memory, 3, host, 10, 4, 3, cudaMemcpyHostToDevice),
                     cudaErrorInvalidPitchValue);
    ok(cudaMemcpy(memory, host, 0, cudaMemcpyHostToDevice));
    ok(cudaFree(memory));
    cudaGetLastError();
}

/* Memory that nobody wrote holds no zeros by luck. */
static void test_poison(void **)
{
    uint8_t back[64], *memory;
    ok(cudaMalloc(&memory, 64));
    ok(cudaMemcpy(back, memory, 64, cudaMemcpyDeviceToHost));
    for (int i = 0; i < 64; i++) assert_int_equal(back[i], 0xA5);
    ok(cudaFree(memory));
}

/* ---- streams and events ---------------------------------------------------------------------- */

/* A pageable buffer may be used again at once, on every seed. */
static void test_pageable(void **)
{
    static uint8_t host[10000], back[10000];
    uint8_t *memory;
    cudaStream_t stream;
    ok(cudaMalloc(&memory, sizeof host));
    ok(cudaStreamCreate(&stream));
    for (uint64_t seed = 0; seed < N_SEEDS; seed++) {
        tern_emu_set_seed(seed);
        memset(host, 1, sizeof host);
        ok(cudaMemcpyAsync(memory, host, sizeof host, cudaMemcpyHostToDevice, stream));
        memset(host, 2, sizeof host);
        ok(cudaMemcpyAsync(back, memory, sizeof back, cudaMemcpyDeviceToHost, stream));
        for (size_t i = 0; i < sizeof back; i++) assert_int_equal(back[i], 1);
    }
    ok(cudaStreamDestroy(stream));
    ok(cudaFree(memory));
}

static void test_events(void **)
{
    cudaStream_t stream, other;
    cudaEvent_t begin, end;
    uint8_t *memory;
    float ms = -1;
    ok(cudaMalloc(&memory, 1 << 20));
    ok(cudaStreamCreate(&stream));
    ok(cudaStreamCreate(&other));
    ok(cudaEventCreate(&begin));
    ok(cudaEventCreate(&end));
    assert_int_equal(cudaEventElapsedTime(&ms, begin, end), cudaErrorInvalidResourceHandle);
    ok(cudaEventSynchronize(begin)); /* never recorded: nothing to wait for */
    ok(cudaEventRecord(begin, stream));
    ok(cudaMemsetAsync(memory, 1, 1 << 20, stream));
    ok(cudaEventRecord(end, stream));
    ok(cudaStreamWaitEvent(other, end));
    ok(cudaEventRecord(end, other)); /* the wait is for the record before */
    ok(cudaEventSynchronize(end));
    ok(cudaEventElapsedTime(&ms, begin, end));
    assert_true(ms > 0);
    while (cudaStreamQuery(stream) == cudaErrorNotReady) {
    }
    ok(cudaEventQuery(end));
    ok(cudaEventDestroy(begin));
    ok(cudaEventDestroy(end));
    ok(cudaStreamDestroy(stream));
    ok(cudaStreamDestroy(other));
    ok(cudaFree(memory));
    cudaGetLastError();
}

/* ---- dependent launches ---------------------------------------------------------------------- */

static __global__ void first_kernel(io_args a)
{
    begin_dependent();
    a.out[threadIdx.x] = a.in[threadIdx.x] + 1;
}

/* Reads what the kernel before it wrote; too early if a.n is 0. */
static __global__ void second_kernel(io_args a)
{
    const uint32_t early = a.out[threadIdx.x];
    wait_predecessor();
    a.out[threadIdx.x] = 2 * (a.n ? a.out[threadIdx.x] : early);
}

static cudaError_t launch_dependent(const io_args &a, cudaStream_t stream)
{
    cudaLaunchAttribute attribute = {};
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(1);
    config.blockDim = dim3(32);
    config.stream = stream;
    config.attrs = &attribute;
    config.numAttrs = 1;
    return cudaLaunchKernelEx(&config, second_kernel, a);
}

/* How many of the seeds gave 2 * (in + 1). */
static int count_right(int waits)
{
    uint32_t in[32], out[32], *given;
    io_args a = {};
    target to = {};
    int right = 0;
    fill(in, 32, 9);
    ok(cudaMalloc(&given, sizeof in));
    ok(cudaMalloc(&a.out, sizeof out));
    ok(cudaMemcpy(given, in, sizeof in, cudaMemcpyHostToDevice));
    ok(cudaStreamCreate(&to.stream));
    a.in = given;
    a.n = waits;
    for (uint64_t seed = 0; seed < N_SEEDS; seed++) {
        tern_emu_set_seed(seed);
        ok(cudaMemset(a.out, 0, sizeof out));
        ok(launch(first_kernel, a, 1, 32, 0, to));
        ok(launch_dependent(a, to.stream));
        ok(cudaStreamSynchronize(to.stream));
        ok(cudaMemcpy(out, a.out, sizeof out, cudaMemcpyDeviceToHost));
        right += out[31] == 2 * (in[31] + 1);
    }
    ok(cudaStreamDestroy(to.stream));
    ok(cudaFree(given));
    ok(cudaFree(a.out));
    return right;
}

static void test_dependent_launch(void **)
{
    assert_int_equal(count_right(1), N_SEEDS);
    assert_true(count_right(0) < N_SEEDS / 2);
    ok(cudaSetDevice(TURING)); /* has no such thing: kernels follow each other */
    assert_int_equal(count_right(0), N_SEEDS);
    ok(cudaSetDevice(HOPPER));
}

/* ---- graphs ---------------------------------------------------------------------------------- */

/* Adds 1 to every word of its output. */
static __global__ void count_kernel(io_args a)
{
    a.out[threadIdx.x] += 1;
}

static void test_graph(void **)
{
    io_args a = {};
    target to = {};
    uint32_t out[32];
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    ok(cudaMalloc(&a.out, sizeof out));
    ok(cudaMemset(a.out, 0, sizeof out));
    ok(cudaStreamCreate(&to.stream));
    ok(cudaStreamBeginCapture(to.stream, cudaStreamCaptureModeThreadLocal));
    for (int i = 0; i < 3; i++) ok(launch(count_kernel, a, 1, 32, 0, to));
    ok(cudaStreamEndCapture(to.stream, &graph));
    ok(cudaGraphInstantiate(&exec, graph, 0));
    ok(cudaGraphDestroy(graph)); /* what was made of it stays */
    ok(cudaStreamSynchronize(to.stream));
    ok(cudaMemcpy(out, a.out, sizeof out, cudaMemcpyDeviceToHost));
    assert_int_equal(out[31], 0); /* a capture does nothing */
    const unsigned long kernels = tern_emu_kernels_run();
    const unsigned long before = tern_emu_graph_launches();
    for (int i = 0; i < 5; i++) ok(cudaGraphLaunch(exec, to.stream));
    ok(cudaStreamSynchronize(to.stream));
    ok(cudaMemcpy(out, a.out, sizeof out, cudaMemcpyDeviceToHost));
    assert_int_equal(out[31], 15);
    assert_int_equal(tern_emu_graph_launches() - before, 5);
    assert_int_equal(tern_emu_kernels_run() - kernels, 15);
    ok(cudaGraphExecDestroy(exec));
    ok(cudaStreamDestroy(to.stream));
    ok(cudaFree(a.out));
}

/* What a capture cannot hold is refused, and the capture with it; the stream goes on. */
static void test_capture_refused(void **)
{
    uint32_t *memory;
    cudaStream_t stream;
    cudaGraph_t graph;
    cudaEvent_t event;
    ok(cudaMalloc(&memory, 64));
    ok(cudaEventCreate(&event));
    ok(cudaStreamCreate(&stream));
    assert_int_equal(cudaStreamEndCapture(stream, &graph), cudaErrorInvalidValue);
    for (int what = 0; what < 3; what++) {
        ok(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
        const cudaError_t status = what == 0   ? cudaMemsetAsync(memory, 0, 64, stream)
                                   : what == 1 ? cudaStreamSynchronize(stream)
                                               : cudaEventRecord(event, stream);
        assert_int_equal(status, cudaErrorStreamCaptureUnsupported);
        assert_int_equal(cudaStreamEndCapture(stream, &graph), cudaErrorStreamCaptureInvalidated);
        assert_null(graph);
    }
    ok(cudaMemsetAsync(memory, 0, 64, stream));
    ok(cudaStreamDestroy(stream));
    ok(cudaEventDestroy(event));
    ok(cudaFree(memory));
    cudaGetLastError();
}

/* ---- launches that are refused, errors that stay --------------------------------------------- */

static cudaError_t try_launch(dim3 grid, dim3 block, size_t smem_bytes, dim3 cluster = dim3(1))
{
    return launch(add_kernel, io_args(), grid, block, smem_bytes, target(), cluster);
}

static void test_refused(void **)
{
    assert_int_equal(try_launch(1, 1025, 0), cudaErrorInvalidConfiguration);
    assert_int_equal(try_launch(1, dim3(32, 33), 0), cudaErrorInvalidConfiguration);
    assert_int_equal(try_launch(1, dim3(1, 1, 65), 0), cudaErrorInvalidConfiguration);
    assert_int_equal(try_launch(0, 32, 0), cudaErrorInvalidConfiguration);
    assert_int_equal(try_launch(dim3(1, 65536), 32, 0), cudaErrorInvalidConfiguration);
    assert_int_equal(try_launch(1, 32, 227 * 1024 + 1), cudaErrorInvalidValue);
    assert_int_equal(try_launch(3, 32, 0, 2), cudaErrorInvalidConfiguration);
    assert_int_equal(try_launch(9, 32, 0, 9), cudaErrorInvalidConfiguration);
    ok(try_launch(dim3(3, 8), 32, 0, dim3(1, 8)));
    ok(try_launch(1, 32, 227 * 1024));
    ok(cudaSetDevice(TURING));
    assert_int_equal(try_launch(1, 32, 64 * 1024 + 1), cudaErrorInvalidValue);
    assert_int_equal(try_launch(2, 32, 0, 2), cudaErrorInvalidConfiguration);
    ok(try_launch(1, 32, 64 * 1024));
    ok(cudaDeviceSynchronize());
    ok(cudaSetDevice(HOPPER));
    /* more than 48 KiB has to be asked for; launch() does */
    cudaLaunchConfig_t config = {};
    config.dynamicSmemBytes = 48 * 1024 + 1;
    assert_int_equal(cudaLaunchKernelEx(&config, dead_kernel, io_args()), cudaErrorInvalidValue);
    ok(cudaDeviceSynchronize());
    cudaGetLastError();
}

static void test_occupancy(void **)
{
    int ctas;
    ok(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&ctas, add_kernel, 256, 0));
    assert_int_equal(ctas, 8);
    ok(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&ctas, add_kernel, 32, 0));
    assert_int_equal(ctas, 32);
    ok(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&ctas, add_kernel, 256, 75 * 1024));
    assert_int_equal(ctas, 3);
}

static void test_sticky(void **)
{
    void *memory;
    io_args a = {};
    ok(cudaMalloc(&a.flags, 4));
    ok(cudaMemset(a.flags, 0, 4));
    ok(launch(dead_kernel, a, 1, 1, 0, target()));
    assert_int_equal(cudaDeviceSynchronize(), cudaErrorLaunchTimeout);
    assert_non_null(strstr(tern_emu_report(HOPPER), "waits in wait_flag"));
    assert_int_equal(cudaMalloc(&memory, 4), cudaErrorLaunchTimeout);
    assert_int_equal(try_launch(1, 32, 0), cudaErrorLaunchTimeout);
    assert_int_equal(cudaGetLastError(), cudaErrorLaunchTimeout);
    assert_int_equal(cudaGetLastError(), cudaErrorLaunchTimeout);
    ok(cudaSetDevice(TURING)); /* the other device is well */
    ok(cudaMalloc(&memory, 4));
    ok(cudaFree(memory));
    assert_int_equal(cudaSetDevice(HOPPER), cudaErrorLaunchTimeout);
    ok(cudaDeviceReset());
    ok(cudaMalloc(&memory, 4));
    ok(cudaFree(memory));
    ok(cudaGetLastError());
}

static void test_faults(void **)
{
    void *memory;
    tern_emu_set_fault(TERN_EMU_ALLOC_FAILS, 1);
    ok(cudaMalloc(&memory, 4));
    ok(cudaFree(memory));
    assert_int_equal(cudaMalloc(&memory, 4), cudaErrorMemoryAllocation);
    ok(cudaMalloc(&memory, 4));
    ok(cudaFree(memory));
    tern_emu_set_fault(TERN_EMU_LAUNCH_FAILS, 0);
    assert_int_equal(try_launch(1, 32, 0), cudaErrorLaunchOutOfResources);
    ok(try_launch(1, 32, 0));
    ok(cudaDeviceSynchronize());
    tern_emu_set_fault(TERN_EMU_OTHER_DEVICE, 0);
    assert_int_equal(try_launch(1, 32, 0), cudaErrorNoKernelImageForDevice);
    tern_emu_set_fault(TERN_EMU_DEVICE_LOST, 0);
    ok(try_launch(1, 32, 0));
    assert_int_equal(cudaDeviceSynchronize(), cudaErrorECCUncorrectable);
    assert_int_equal(cudaMalloc(&memory, 4), cudaErrorECCUncorrectable);
    ok(cudaDeviceReset());
}

} /* namespace TERN_GPU */

int main(void)
{
    using namespace TERN_GPU;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_devices),          cmocka_unit_test(test_absent),
        cmocka_unit_test(test_budget),           cmocka_unit_test(test_copies),
        cmocka_unit_test(test_poison),           cmocka_unit_test(test_pageable),
        cmocka_unit_test(test_events),           cmocka_unit_test(test_dependent_launch),
        cmocka_unit_test(test_graph),
        cmocka_unit_test(test_capture_refused),
        cmocka_unit_test(test_refused),          cmocka_unit_test(test_occupancy),
        cmocka_unit_test(test_sticky),           cmocka_unit_test(test_faults),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
