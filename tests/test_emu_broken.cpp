/* test_emu_broken.cpp - kernels with a deliberate mistake, and hosts with one: the emulator has to
 * notice. Each kernel runs over several seeds in a process of its own, because a sanitizer may end
 * it; a mistake counts as noticed when the result is wrong, the device fails, or the process dies.
 *
 * Without their mistakes the same kernels pass on every seed. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "emu_fixture.h"

namespace TERN_GPU {

#define N_WORDS 256
#define ALL 0xffffffffu

/* Whether a kernel is to make its mistake. */
static __device__ bool broken(const io_args &a)
{
    return a.n < 0;
}

/* ---- the three of the house rules ------------------------------------------------------------ */

static __global__ void barrier_kernel(io_args a)
{
    uint32_t *words = (uint32_t *)SMEM();
    const unsigned i = threadIdx.x, n = blockDim.x;
    words[i] = a.in[i];
    if (!broken(a)) __syncthreads();
    a.out[i] = words[(i + 1) % n];
}

/* The second half of a reused buffer overtakes readers of the first: the easily forgotten one. */
static __global__ void reuse_kernel(io_args a)
{
    uint32_t *words = (uint32_t *)SMEM();
    const unsigned i = threadIdx.x, n = blockDim.x;
    words[i] = 0;
    __syncthreads();
    words[i] = a.in[i];
    __syncthreads();
    const uint32_t got = words[(i + 1) % n];
    if (!broken(a)) __syncthreads();
    words[i] = 1;
    __syncthreads();
    a.out[i] = got - 1 + words[i];
}

static __global__ void copy_wait_kernel(io_args a)
{
    uint4 *words = (uint4 *)SMEM();
    const unsigned i = threadIdx.x, n = blockDim.x;
    if (i < n / 4) {
        copy16_async(&words[i], (const uint4 *)a.in + i);
        copy_commit();
        if (!broken(a)) copy_wait<0>();
    }
    __syncthreads();
    a.out[i] = ((const uint32_t *)words)[(i + 1) % n];
}

static __global__ void overrun_kernel(io_args a)
{
    uint32_t *words = (uint32_t *)SMEM();
    const unsigned i = threadIdx.x, n = blockDim.x;
    words[i] = a.in[i];
    if (broken(a) && i == n - 1) words[n] = 0;
    __syncthreads();
    a.out[i] = words[(i + 1) % n];
}

/* ---- and others ------------------------------------------------------------------------------ */

static __global__ void underrun_kernel(io_args a)
{
    uint32_t *words = (uint32_t *)SMEM();
    const int i = (int)threadIdx.x, n = (int)blockDim.x;
    words[i] = a.in[i];
    if (broken(a) && i == 0) words[i - 1] = 0;
    __syncthreads();
    a.out[i] = words[(i + 1) % n];
}

static __global__ void global_overrun_kernel(io_args a)
{
    const unsigned i = threadIdx.x, n = blockDim.x;
    a.out[i] = a.in[(i + 1) % n];
    if (broken(a) && i == 0) a.out[n] = 0;
}

static __global__ void divergent_barrier_kernel(io_args a)
{
    const unsigned i = threadIdx.x, n = blockDim.x;
    if (broken(a) && i == 77)
        __syncthreads();
    else
        __syncthreads();
    a.out[i] = a.in[(i + 1) % n];
}

static __global__ void lost_thread_kernel(io_args a)
{
    const unsigned i = threadIdx.x, n = blockDim.x;
    a.out[i] = a.in[(i + 1) % n];
    if (broken(a) && i == 5) return;
    __syncthreads();
}

static __global__ void lost_lane_kernel(io_args a)
{
    const unsigned i = threadIdx.x, n = blockDim.x;
    a.out[i] = a.in[(i + 1) % n];
    if (broken(a) && i == 40) return;
    a.out[i] += __shfl_sync(ALL, 0u, 0);
}

static __global__ void mixed_collectives_kernel(io_args a)
{
    const unsigned i = threadIdx.x, n = blockDim.x;
    a.out[i] = a.in[(i + 1) % n];
    if (broken(a) && i % 2)
        a.out[i] += __ballot_sync(ALL, 0);
    else
        a.out[i] += __shfl_sync(ALL, 0u, 0);
}

static __global__ void partial_mask_kernel(io_args a)
{
    const unsigned i = threadIdx.x, n = blockDim.x;
    a.out[i] = a.in[(i + 1) % n] + __shfl_sync(broken(a) ? 0xffffu : ALL, 0u, 0);
}

static __global__ void dead_wait_kernel(io_args a)
{
    const unsigned i = threadIdx.x, n = blockDim.x;
    if (i == 0 && !broken(a)) atomicExch(a.flags, 1u);
    if (i == 1) wait_flag(a.flags, 1);
    __syncthreads();
    a.out[i] = a.in[(i + 1) % n];
}

/* ---- bulk copies and wgmma ------------------------------------------------------------------- */

/* The mistakes of a ring, as its kernel makes them. */
enum ring_mistake { WRONG_PHASE, EARLY_REUSE, NO_INIT_FENCE, LOST_BYTES };

#define RING_BYTES 512 /* of its one slot; the barriers stand behind */

/* The input in two stages through a ring of one slot, whose barriers say full and empty. */
template <ring_mistake M> static __global__ void ring_kernel(io_args a)
{
    const unsigned i = threadIdx.x, wanted = (i + 1) % blockDim.x;
    uint64_t *full = (uint64_t *)(void *)(SMEM() + RING_BYTES), *empty = full + 1;
    const uint32_t *slot = (const uint32_t *)(const void *)SMEM();
    if (i == 0) {
        mbarrier_init(full, 1);
        mbarrier_init(empty, blockDim.x / 32);
        if (!(broken(a) && M == NO_INIT_FENCE)) mbarrier_init_fence();
    }
    __syncthreads();
    for (unsigned stage = 0; stage < 2; stage++) {
        if (i == 0) {
            if (!(broken(a) && M == EARLY_REUSE)) mbarrier_wait(empty, (stage & 1) ^ 1);
            mbarrier_expect(full, RING_BYTES + (broken(a) && M == LOST_BYTES ? 16 : 0));
            bulk_copy(SMEM(), a.in + stage * RING_BYTES / 4, RING_BYTES, full);
        }
        mbarrier_wait(full, (stage & 1) ^ (broken(a) && M == WRONG_PHASE));
        if (wanted / (RING_BYTES / 4) == stage) a.out[i] = slot[wanted % (RING_BYTES / 4)];
        __syncwarp();
        if (i % 32 == 0) mbarrier_arrive(empty);
    }
}

enum wgmma_mistake { NO_WAIT, WAIT_FOR_OLDER, NO_FENCE, NO_COMMIT, EARLY_A };

#define B_BYTES 2048 /* 16 columns in rows of 128 bytes; the input twice */

/* Register p of A in thread i. */
static __device__ uint32_t a_of(const io_args &a, unsigned i, unsigned p)
{
    return a.in[(4 * i + p) % N_WORDS];
}

/* Sum `s` of thread i, from the layouts in ptx.cuh. */
static __device__ int sum_of(const io_args &a, unsigned i, unsigned s)
{
    const uint8_t *b = (const uint8_t *)(const void *)a.in;
    const unsigned column = s / 4 * 8 + i % 4 * 2 + s % 2;
    int sum = (int)s;
    for (unsigned k = 0; k < 32; k++) {
        const unsigned lane = i / 4 * 4 + k % 16 / 4, p = s / 2 % 2 + k / 16 * 2;
        const unsigned at = column % 8 * 128 + ((k / 16) ^ column % 8) * 16 + k % 16;
        sum += (int)(a_of(a, lane, p) >> 8 * (k % 4) & 255) * (int8_t)b[at];
    }
    return sum;
}

template <wgmma_mistake M> static __global__ void wgmma_kernel(io_args a)
{
    const unsigned i = threadIdx.x, n = blockDim.x;
    uint64_t *full = (uint64_t *)(void *)(SMEM() + B_BYTES);
    if (i == 0) {
        mbarrier_init(full, 1);
        mbarrier_init_fence();
        mbarrier_expect(full, B_BYTES);
        for (int half = 0; half < 2; half++)
            bulk_copy(SMEM() + half * B_BYTES / 2, a.in, B_BYTES / 2, full);
    }
    __syncthreads();
    mbarrier_wait(full, 0);
    uint32_t regs[4];
    int sums[8];
    for (unsigned p = 0; p < 4; p++) regs[p] = a_of(a, i, p);
    for (int s = 0; s < 8; s++) sums[s] = s;
    if (!(broken(a) && M == NO_FENCE)) wgmma_fence();
    wgmma_us<16>(sums, regs, wgmma_operand(SMEM()));
    if (!(broken(a) && M == NO_COMMIT)) wgmma_commit();
    if (broken(a) && M == EARLY_A) regs[0] = 0;
    if (broken(a) && M == WAIT_FOR_OLDER) wgmma_wait<1>();
    else if (!(broken(a) && M == NO_WAIT)) wgmma_wait<0>();
    wgmma_done<16>(sums);
    unsigned wrong = 0;
    for (unsigned s = 0; s < 8; s++) wrong += sums[s] != sum_of(a, i, s);
    __syncthreads(); /* the registers of all are still there */
    a.out[i] = a.in[(i + 1) % n] + wrong;
}

/* ---- clusters -------------------------------------------------------------------------------- */

enum cluster_mistake { EARLY_READ, EARLY_END, ONE_STAYS_AWAY, WRONG_RANK };

/* Each of two CTAs writes what the other one has in shared memory: the output, half each. */
template <cluster_mistake M> static __global__ void cluster_kernel(io_args a)
{
    uint32_t *words = (uint32_t *)SMEM();
    const unsigned i = threadIdx.x, n = blockDim.x, rank = blockIdx.x;
    words[i] = a.in[(i + 1) % n];
    if (!(broken(a) && M == EARLY_READ)) cluster_sync();
    if (i / (n / 2) == rank)
        a.out[i] = *cluster_peer(words + i, broken(a) && M == WRONG_RANK ? 2 : 1 - rank);
    if (broken(a) && M == EARLY_END) return;
    if (broken(a) && M == ONE_STAYS_AWAY && rank == 1 && i == 3) return;
    cluster_sync();
}

/* ---- one process for one kernel -------------------------------------------------------------- */

enum verdict { PASSED = 50, WRONG, FAILED };

struct mistake {
    const char *name;
    void (*kernel)(io_args);
    cudaError_t code; /* how the device has to fail; cudaSuccess: the result is wrong */
    const char *says; /* what the report has to contain */
    size_t smem_bytes = N_WORDS * 4;
    unsigned n_cta = 1; /* a cluster */
};

static const mistake mistakes[] = {
    {"missing barrier", barrier_kernel, cudaSuccess, ""},
    {"missing barrier before reuse", reuse_kernel, cudaSuccess, ""},
    {"missing wait for a copy", copy_wait_kernel, cudaSuccess, ""},
    {"overrun of shared memory", overrun_kernel, cudaErrorIllegalAddress,
     "kernel overrun_kernel, block (0,0,0): wrote behind its 1024 bytes of shared memory"},
    {"underrun of shared memory", underrun_kernel, cudaErrorIllegalAddress,
     "wrote before its 1024 bytes of shared memory"},
    {"overrun of global memory", global_overrun_kernel, cudaErrorIllegalAddress,
     "wrote behind an allocation of 1024 bytes"},
    {"divergent barrier", divergent_barrier_kernel, cudaErrorLaunchFailure,
     "kernel divergent_barrier_kernel, block (0,0,0), thread ("},
    {"a thread that missed a barrier", lost_thread_kernel, cudaErrorLaunchFailure,
     "but thread (5,0,0) has ended"},
    {"a lane that missed a shuffle", lost_lane_kernel, cudaErrorLaunchFailure,
     "but thread (40,0,0) has ended"},
    {"lanes in two collectives", mixed_collectives_kernel, cudaErrorLaunchFailure,
     "waits in __"},
    {"a partial mask", partial_mask_kernel, cudaErrorLaunchFailure, "with mask 0000ffff"},
    {"a dead wait", dead_wait_kernel, cudaErrorLaunchTimeout,
     "thread (1,0,0) waits in wait_flag"},
    {"a wait for the wrong phase", ring_kernel<WRONG_PHASE>, cudaErrorLaunchTimeout,
     "waits in mbarrier_wait"},
    {"a slot reused before it is read", ring_kernel<EARLY_REUSE>, cudaErrorLaunchTimeout,
     "waits in mbarrier_wait"},
    {"mbarriers that no fence has shown", ring_kernel<NO_INIT_FENCE>, cudaErrorLaunchFailure,
     "whose initialisation no fence has shown"},
    {"bytes that never come", ring_kernel<LOST_BYTES>, cudaErrorLaunchTimeout,
     "waits in mbarrier_wait"},
    {"missing wait for wgmma", wgmma_kernel<NO_WAIT>, cudaSuccess, "", B_BYTES + 8},
    {"a wait that leaves the group under way", wgmma_kernel<WAIT_FOR_OLDER>, cudaSuccess, "",
     B_BYTES + 8},
    {"missing fence before wgmma", wgmma_kernel<NO_FENCE>, cudaErrorLaunchFailure,
     "in a group without a wgmma_fence", B_BYTES + 8},
    {"missing commit of wgmma", wgmma_kernel<NO_COMMIT>, cudaSuccess, "", B_BYTES + 8},
    {"A written before its wgmma is done", wgmma_kernel<EARLY_A>, cudaSuccess, "", B_BYTES + 8},
    {"a peer read before it has written", cluster_kernel<EARLY_READ>, cudaSuccess, "", N_WORDS * 4,
     2},
    {"a peer read after its end", cluster_kernel<EARLY_END>, cudaErrorIllegalAddress,
     "cluster_peer of a CTA that is not there", N_WORDS * 4, 2},
    {"a thread that missed a cluster's barrier", cluster_kernel<ONE_STAYS_AWAY>,
     cudaErrorLaunchTimeout, "waits in cluster_sync", N_WORDS * 4, 2},
    {"a rank outside the cluster", cluster_kernel<WRONG_RANK>, cudaErrorIllegalAddress,
     "cluster_peer of a CTA that is not there", N_WORDS * 4, 2},
};

/* One launch of 256 threads with `n` as given; io_args.n < 0 breaks the kernel. */
static cudaError_t try_kernel(const mistake *m, int n, const uint32_t *in, uint32_t *out)
{
    io_args a = {};
    uint32_t *given;
    const size_t bytes = N_WORDS * 4;
    ok(cudaMalloc(&given, bytes));
    ok(cudaMalloc(&a.out, bytes));
    ok(cudaMalloc(&a.flags, bytes));
    ok(cudaMemset(a.flags, 0, bytes));
    ok(cudaMemcpy(given, in, bytes, cudaMemcpyHostToDevice));
    a.in = given;
    a.n = n;
    ok(launch(m->kernel, a, m->n_cta, N_WORDS, m->smem_bytes, target(), m->n_cta));
    const cudaError_t status = cudaDeviceSynchronize();
    if (status != cudaSuccess) return status;
    return cudaMemcpy(out, a.out, bytes, cudaMemcpyDeviceToHost);
}

/* A failure that says something else has not noticed the mistake. */
static int child(const mistake *m, int n, uint64_t seed)
{
    uint32_t in[N_WORDS], out[N_WORDS];
    fill(in, N_WORDS, 8);
    tern_emu_set_seed(seed);
    const cudaError_t status = try_kernel(m, n, in, out);
    if (status != cudaSuccess)
        return status == m->code && strstr(tern_emu_report(HOPPER), m->says) ? FAILED : PASSED;
    for (int i = 0; i < N_WORDS; i++)
        if (out[i] != in[(i + 1) % N_WORDS]) return WRONG;
    return PASSED;
}

/* The verdict of a process of its own; -1 if it died. */
static int judge(const mistake *m, int n, uint64_t seed)
{
    fflush(nullptr);
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        const int nowhere = open("/dev/null", O_WRONLY);
        if (n < 0 && nowhere >= 0) dup2(nowhere, STDERR_FILENO); /* what a sanitizer says */
        _exit(child(m, n, seed));
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    const int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    return code >= PASSED && code <= FAILED ? code : -1;
}

static void test_mistakes(void **)
{
    for (const mistake &m : mistakes) {
        int noticed = 0;
        for (uint64_t seed = 0; seed < N_SEEDS; seed++) {
            assert_int_equal(judge(&m, N_WORDS, seed), PASSED);
            noticed += judge(&m, -1, seed) != PASSED;
        }
        print_message("%s: noticed on %d of %d seeds\n", m.name, noticed, N_SEEDS);
        assert_true(noticed > N_SEEDS / 2);
    }
}

/* ---- dependent launches ---------------------------------------------------------------------- */

/* Three kernels, each the dependent of the one before: out = in, back = out, out = back + 1. The
 * third one's mistakes; a.n names them. */
enum link { COPIES, WAITS, READS_BEFORE, WRITES_BEFORE, NEVER_WAITS };

static __global__ void chain_kernel(io_args a)
{
    const unsigned i = threadIdx.x;
    const uint32_t early = a.n == READS_BEFORE ? a.out[i] : 0; /* what the first one left */
    if (a.n == WRITES_BEFORE) a.out[i] = 7;                    /* what the second one reads */
    if (a.n != NEVER_WAITS) wait_predecessor();
    a.out[i] = a.n == READS_BEFORE ? early + 1 : a.in[i] + (a.n != COPIES);
}

static cudaError_t launch_chained(const io_args &a, cudaStream_t stream)
{
    cudaLaunchAttribute attribute = {};
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(1);
    config.blockDim = dim3(N_WORDS);
    config.stream = stream;
    config.attrs = &attribute;
    config.numAttrs = 1;
    return cudaLaunchKernelEx(&config, chain_kernel, a);
}

/* Whether what the third kernel does shows. */
static bool third_shows(int third, uint64_t seed)
{
    uint32_t in[N_WORDS], got[2 * N_WORDS], *given, *out;
    cudaStream_t stream;
    fill(in, N_WORDS, 8);
    ok(cudaMalloc(&given, sizeof in));
    ok(cudaMalloc(&out, sizeof got));
    ok(cudaMemset(out, 0, sizeof got));
    ok(cudaMemcpy(given, in, sizeof in, cudaMemcpyHostToDevice));
    ok(cudaStreamCreate(&stream));
    uint32_t *back = out + N_WORDS;
    tern_emu_set_seed(seed);
    ok(launch_chained({given, out, nullptr, COPIES}, stream));
    ok(launch_chained({out, back, nullptr, COPIES}, stream));
    ok(launch_chained({back, out, nullptr, third}, stream));
    const cudaError_t status = cudaStreamSynchronize(stream);
    if (status != cudaSuccess) {
        assert_non_null(strstr(tern_emu_report(HOPPER), "chain_kernel is launched as a dependent"));
        ok(cudaDeviceReset());
        return true;
    }
    ok(cudaMemcpy(got, out, sizeof got, cudaMemcpyDeviceToHost));
    ok(cudaStreamDestroy(stream));
    ok(cudaFree(given));
    ok(cudaFree(out));
    int wrong = 0;
    for (int i = 0; i < N_WORDS; i++) wrong += got[i] != in[i] + 1 || got[N_WORDS + i] != in[i];
    return wrong > 0;
}

static void test_dependent_mistakes(void **)
{
    int noticed[NEVER_WAITS + 1] = {};
    for (int third = WAITS; third <= NEVER_WAITS; third++)
        for (uint64_t seed = 0; seed < 4 * N_SEEDS; seed++)
            noticed[third] += third_shows(third, seed);
    print_message("dependents: read %d, wrote %d, never waited %d of %d\n", noticed[READS_BEFORE],
                  noticed[WRITES_BEFORE], noticed[NEVER_WAITS], 4 * N_SEEDS);
    assert_int_equal(noticed[WAITS], 0);
    assert_true(noticed[READS_BEFORE] > 0);  /* shows where all three are under way at once */
    assert_true(noticed[WRITES_BEFORE] > 0); /* shows where the last two are */
    assert_int_equal(noticed[NEVER_WAITS], 4 * N_SEEDS);
}

/* ---- mistakes of a host ---------------------------------------------------------------------- */

#define N_BYTES 4096

/* A pinned buffer that is written again before the copy from it is known to be done. */
static void test_staging_reused(void **)
{
    uint8_t *staging, *memory, got[N_BYTES];
    cudaStream_t stream;
    int noticed = 0;
    ok(cudaMallocHost(&staging, N_BYTES));
    ok(cudaMalloc(&memory, N_BYTES));
    ok(cudaStreamCreate(&stream));
    for (uint64_t seed = 0; seed < N_SEEDS; seed++)
        for (int waits = 0; waits < 2; waits++) {
            tern_emu_set_seed(seed);
            memset(staging, 1, N_BYTES);
            ok(cudaMemcpyAsync(memory, staging, N_BYTES, cudaMemcpyHostToDevice, stream));
            if (waits) ok(cudaStreamSynchronize(stream));
            memset(staging, 2, N_BYTES);
            ok(cudaMemcpyAsync(got, memory, N_BYTES, cudaMemcpyDeviceToHost, stream));
            if (waits)
                assert_int_equal(got[N_BYTES - 1], 1);
            else
                noticed += got[N_BYTES - 1] != 1;
        }
    assert_true(noticed > N_SEEDS / 2);
    ok(cudaStreamDestroy(stream));
    ok(cudaFree(memory));
    ok(cudaFreeHost(staging));
}

/* Two streams, where the second one does not wait for the first. */
static void test_event_forgotten(void **)
{
    uint8_t *host, *memory;
    cudaStream_t first, second;
    cudaEvent_t event;
    int noticed = 0;
    ok(cudaMallocHost(&host, N_BYTES));
    ok(cudaMalloc(&memory, N_BYTES));
    ok(cudaStreamCreateWithFlags(&first, cudaStreamNonBlocking));
    ok(cudaStreamCreateWithFlags(&second, cudaStreamNonBlocking));
    ok(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
    for (uint64_t seed = 0; seed < N_SEEDS; seed++)
        for (int waits = 0; waits < 2; waits++) {
            tern_emu_set_seed(seed);
            ok(cudaMemset(memory, 0, N_BYTES));
            ok(cudaMemsetAsync(memory, 3, N_BYTES, first));
            ok(cudaEventRecord(event, first));
            if (waits) ok(cudaStreamWaitEvent(second, event));
            ok(cudaMemcpyAsync(host, memory, N_BYTES, cudaMemcpyDeviceToHost, second));
            ok(cudaStreamSynchronize(second));
            if (waits)
                assert_int_equal(host[N_BYTES - 1], 3);
            else
                noticed += host[N_BYTES - 1] != 3;
            ok(cudaStreamSynchronize(first));
        }
    assert_true(noticed > N_SEEDS / 2);
    ok(cudaEventDestroy(event));
    ok(cudaStreamDestroy(first));
    ok(cudaStreamDestroy(second));
    ok(cudaFree(memory));
    ok(cudaFreeHost(host));
}

} /* namespace TERN_GPU */

int main(void)
{
    using namespace TERN_GPU;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_dependent_mistakes),
        cmocka_unit_test(test_staging_reused),
        cmocka_unit_test(test_event_forgotten),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
