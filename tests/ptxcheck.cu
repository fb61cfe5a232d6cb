/* ptxcheck.cu - every function of cuda/ptx.cuh on a device, against plain loops written from the
 * contract that stands there. Compiled twice, as the kernels are: by nvcc for real devices, and for
 * the emulator, whose twins of these functions must mean the same.
 *
 *   ptxcheck [INDEX]     exit status 77 without a device, 1 when a function differs */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "cuda/launch.cuh"

namespace TERN_GPU {

enum {
    LANES = 32,
    N_CTA = 8, /* of every check; all resident at once, also on a device with one SM */
    THREADS = N_CTA * LANES,
    CLUSTER = 4, /* CTAs */
    MAX_WORDS = 4096 /* in and out */
};

struct words {
    const uint32_t *in;
    uint32_t *out;
    unsigned *counter;
};

/* ---- kernels: one warp a CTA ----------------------------------------------------------------- */

static __global__ void dp4a_kernel(words w)
{
    const int i = (int)(blockIdx.x * LANES + threadIdx.x);
    const uint32_t *in = w.in + 3 * i;
    w.out[2 * i] = (uint32_t)dp4a_us(in[0], in[1], (int)in[2]);
    w.out[2 * i + 1] = (uint32_t)dp4a_ss(in[0], in[1], (int)in[2]);
}

/* Per lane a[4], b[2], d[4] in; d of mma_us and of mma_ss out. */
static __global__ void mma_kernel(words w)
{
    const int i = (int)(blockIdx.x * LANES + threadIdx.x);
    const uint32_t *in = w.in + 10 * i;
    const uint32_t a[4] = {in[0], in[1], in[2], in[3]}, b[2] = {in[4], in[5]};
    int us[4], ss[4];
    for (int j = 0; j < 4; j++) us[j] = ss[j] = (int)in[6 + j];
    mma_us(us, a, b);
    mma_ss(ss, a, b);
    for (int j = 0; j < 4; j++) {
        w.out[8 * i + j] = (uint32_t)us[j];
        w.out[8 * i + 4 + j] = (uint32_t)ss[j];
    }
}

/* The row of 16 bytes that lane l names for ldmatrix: a permutation. */
static __host__ __device__ inline int named_row(int lane)
{
    return (5 * lane + 3) % LANES;
}

static __global__ void ldmatrix_kernel(words w)
{
    uint32_t *smem = (uint32_t *)SMEM();
    const int lane = (int)threadIdx.x, cta = (int)blockIdx.x;
    for (int j = 0; j < 4; j++) smem[4 * lane + j] = w.in[(cta * LANES + lane) * 4 + j];
    __syncthreads();
    uint32_t out[4];
    ldmatrix_x4(out, smem + 4 * named_row(lane));
    for (int j = 0; j < 4; j++) w.out[(cta * LANES + lane) * 4 + j] = out[j];
}

/* Two groups under way at once; every lane reads what another lane copied. */
static __global__ void copy_kernel(words w)
{
    uint32_t *smem = (uint32_t *)SMEM();
    const int lane = (int)threadIdx.x, cta = (int)blockIdx.x;
    for (int stage = 0; stage < 2; stage++) {
        copy16_async(smem + (stage * LANES + lane) * 4,
                     w.in + ((cta * 2 + stage) * LANES + lane) * 4);
        copy_commit();
    }
    copy_wait<1>();
    __syncthreads();
    for (int stage = 0; stage < 2; stage++) {
        const int other = LANES - 1 - lane;
        for (int j = 0; j < 4; j++)
            w.out[((cta * 2 + stage) * LANES + lane) * 4 + j] =
                smem[(stage * LANES + other) * 4 + j];
        copy_wait<0>();
        __syncthreads();
    }
}

/* Every CTA writes a word and takes a ticket; CTA 0 waits for all of them and adds the words up.
 * Out: the words, the tickets, the sum. */
static __global__ void ticket_kernel(words w)
{
    const int cta = (int)blockIdx.x;
    if (threadIdx.x == 0) w.out[cta] = w.in[cta];
    __syncthreads();
    if (threadIdx.x == 0) w.out[N_CTA + cta] = take_ticket(w.counter);
    __syncthreads();
    if (cta != 0) return;
    if (threadIdx.x == 0) wait_flag(w.counter, N_CTA);
    __syncthreads();
    if (threadIdx.x != 0) return;
    uint32_t sum = 0;
    for (int i = 0; i < N_CTA; i++) sum += w.out[i];
    w.out[2 * N_CTA] = sum;
}

/* Every CTA of a cluster reads what all of them wrote into their shared memory. */
static __global__ void cluster_kernel(words w)
{
    uint32_t *mine = (uint32_t *)SMEM() + threadIdx.x;
    const int cta = (int)blockIdx.x, lane = (int)threadIdx.x;
    *mine = w.in[cta * LANES + lane];
    cluster_sync();
    for (int rank = 0; rank < CLUSTER; rank++)
        w.out[(cta * CLUSTER + rank) * LANES + lane] = *cluster_peer(mine, (unsigned)rank);
    cluster_sync();
}

/* ---- and of Hopper: four warps a CTA --------------------------------------------------------- */

#define WGMMA_NAME "mbarrier_*, bulk_copy, wgmma_*"
enum {
    N_CTA_HOPPER = 4,
    WG = 128,
    WGMMA_IN = 512 /* words of a CTA: four of A for each thread, and their bytes are B as well */
};

static __global__ void probe_kernel(words w)
{
    w.out[0] = (uint32_t)has_wgmma();
}

/* B is 16 columns in rows of 128 bytes, the words of the CTA; steps 1 and 2 of its k are used, and
 * the second half of it comes through the same barrier as the first. */
static __global__ void wgmma_kernel(words w)
{
    const int i = (int)threadIdx.x, cta = (int)blockIdx.x;
    const uint32_t *in = w.in + cta * WGMMA_IN;
    uint64_t *full = (uint64_t *)(void *)(SMEM() + WGMMA_IN * 4), *read = full + 1;
    if (i == 0) {
        mbarrier_init(full, 1);
        mbarrier_init(read, WG);
        mbarrier_init_fence();
    }
    __syncthreads();
    for (int half = 0; half < 2 && i == 0; half++) {
        const int first = half * WGMMA_IN / 2;
        mbarrier_expect(full, WGMMA_IN * 2);
        bulk_copy(SMEM() + first * 4, in + first, WGMMA_IN * 2, full);
        mbarrier_wait(full, (unsigned)half);
    }
    __syncthreads();
    mbarrier_wait(full, 1);
    uint32_t a[4] = {in[4 * i], in[4 * i + 1], in[4 * i + 2], in[4 * i + 3]};
    int sums[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    wgmma_ready(a);
    wgmma_fence();
    for (unsigned step = 1; step < 3; step++)
        wgmma_us<16>(sums, a, wgmma_operand(SMEM()) + 2 * step);
    wgmma_commit();
    wgmma_wait<0>();
    wgmma_done<16>(sums);
    mbarrier_arrive(read);
    mbarrier_wait(read, 0);
    for (int s = 0; s < 8; s++) w.out[(cta * WG + i) * 8 + s] = (uint32_t)sums[s];
}

/* ---- the same as loops ----------------------------------------------------------------------- */

static int byte_of(uint32_t word, int i, int is_signed)
{
    const int byte = (int)(word >> (8 * i) & 0xff);
    return is_signed && byte >= 128 ? byte - 256 : byte;
}

static void expect_dp4a(uint32_t *out, const uint32_t *in)
{
    for (int i = 0; i < THREADS; i++)
        for (int is_signed = 0; is_signed < 2; is_signed++) {
            uint32_t sum = in[3 * i + 2];
            for (int b = 0; b < 4; b++)
                sum += (uint32_t)(byte_of(in[3 * i], b, is_signed) *
                                  byte_of(in[3 * i + 1], b, 1));
            out[2 * i + is_signed] = sum;
        }
}

/* d[row][col] of a warp, whose fragments stand in `in`, from where ptx.cuh says each byte is. */
static uint32_t mma_sum(const uint32_t *in, int row, int col, int is_signed)
{
    uint32_t sum = 0;
    for (int k = 0; k < 32; k++) {
        const int c = k % 16 / 4, p = row / 8 + 2 * (k / 16);
        const uint32_t a = in[10 * (4 * (row % 8) + c) + p];
        const uint32_t b = in[10 * (4 * col + c) + 4 + k / 16];
        sum += (uint32_t)(byte_of(a, k % 4, is_signed) * byte_of(b, k % 4, 1));
    }
    return sum;
}

static void expect_mma(uint32_t *out, const uint32_t *in)
{
    for (int i = 0; i < THREADS; i++) {
        const uint32_t *warp = in + i / LANES * LANES * 10;
        for (int j = 0; j < 8; j++) {
            const int row = i % LANES / 4 + 8 * (j % 4 / 2), col = 2 * (i % 4) + j % 2;
            out[8 * i + j] = in[10 * i + 6 + j % 4] + mma_sum(warp, row, col, j / 4);
        }
    }
}

static void expect_ldmatrix(uint32_t *out, const uint32_t *in)
{
    for (int i = 0; i < THREADS; i++)
        for (int m = 0; m < 4; m++) {
            const int row = named_row(8 * m + i % LANES / 4);
            out[4 * i + m] = in[(i / LANES * LANES + row) * 4 + i % 4];
        }
}

static void expect_copy(uint32_t *out, const uint32_t *in)
{
    for (int i = 0; i < N_CTA * 2 * LANES; i++) {
        const int other = i / LANES * LANES + LANES - 1 - i % LANES;
        memcpy(out + 4 * i, in + 4 * other, 16);
    }
}

static void expect_ticket(uint32_t *out, const uint32_t *in)
{
    out[2 * N_CTA] = 0;
    for (int i = 0; i < N_CTA; i++) {
        out[i] = in[i];
        out[N_CTA + i] = (uint32_t)i; /* in any order: see sort_tickets */
        out[2 * N_CTA] += in[i];
    }
}

static void expect_wgmma(uint32_t *out, const uint32_t *in)
{
    for (int i = 0; i < N_CTA_HOPPER * WG * 8; i++) {
        const uint32_t *of_cta = in + i / (WG * 8) * WGMMA_IN;
        const int thread = i / 8 % WG, s = i % 8, column = s / 4 * 8 + thread % 4 * 2 + s % 2;
        int sum = s;
        for (int k = 0; k < 64; k++) { /* step 1 and step 2, of the same A */
            const int lane = thread / 4 * 4 + k % 16 / 4, p = s / 2 % 2 + k % 32 / 16 * 2;
            const int at = column * 128 + ((2 + k / 16) ^ (column % 8)) * 16 + k % 16;
            sum += byte_of(of_cta[4 * lane + p], k % 4, 0) * byte_of(of_cta[at / 4], at % 4, 1);
        }
        out[i] = (uint32_t)sum;
    }
}

static void expect_cluster(uint32_t *out, const uint32_t *in)
{
    for (int i = 0; i < THREADS * CLUSTER; i++) {
        const int cta = i / LANES / CLUSTER, rank = i / LANES % CLUSTER;
        out[i] = in[(cta / CLUSTER * CLUSTER + rank) * LANES + i % LANES];
    }
}

/* CTAs come in any order: every ticket must be there once. */
static void sort_tickets(uint32_t *out)
{
    uint32_t *tickets = out + N_CTA;
    for (int i = 1; i < N_CTA; i++)
        for (int j = i; j > 0 && tickets[j - 1] > tickets[j]; j--) {
            const uint32_t larger = tickets[j - 1];
            tickets[j - 1] = tickets[j];
            tickets[j] = larger;
        }
}

/* ---- the checks ------------------------------------------------------------------------------ */

static const struct check {
    const char *name;
    void (*kernel)(words);
    void (*expect)(uint32_t *out, const uint32_t *in);
    void (*order)(uint32_t *out); /* or NULL */
    int n_in, n_out;
    size_t smem_bytes;
    unsigned n_cta = N_CTA, n_threads = LANES, cluster = 1;
} checks[] = {
    {"dp4a_us, dp4a_ss", dp4a_kernel, expect_dp4a, NULL, 3 * THREADS, 2 * THREADS, 0},
    {"mma_us, mma_ss", mma_kernel, expect_mma, NULL, 10 * THREADS, 8 * THREADS, 0},
    {"ldmatrix_x4", ldmatrix_kernel, expect_ldmatrix, NULL, 4 * THREADS, 4 * THREADS,
     LANES * 16},
    {"copy16_async, copy_commit, copy_wait", copy_kernel, expect_copy, NULL, 8 * THREADS,
     8 * THREADS, 2 * LANES * 16},
    {WGMMA_NAME, wgmma_kernel, expect_wgmma, NULL, N_CTA_HOPPER * WGMMA_IN, N_CTA_HOPPER * WG * 8,
     WGMMA_IN * 4 + 16, N_CTA_HOPPER, WG},
    {"take_ticket, wait_flag", ticket_kernel, expect_ticket, sort_tickets, N_CTA, 2 * N_CTA + 1, 0},
    {"cluster_sync, cluster_peer", cluster_kernel, expect_cluster, NULL, THREADS, THREADS * CLUSTER,
     LANES * 4, N_CTA, LANES, CLUSTER},
};

/* Random bytes with the extremes among them. */
static void draw(uint32_t *in, int n)
{
    static const uint32_t extremes[] = {0, 0xffffffffu, 0x80808080u, 0x7f7f7f7fu, 0x80ff007fu};
    for (int i = 0; i < n; i++) {
        const uint64_t random = tern_random_u64(6, 0, (uint32_t)i);
        in[i] = random >> 61 ? (uint32_t)random : extremes[(random >> 32) % 5];
    }
}

static cudaError_t run_check(uint32_t *got, const uint32_t *in, const check *c, uint32_t *device)
{
    const size_t in_bytes = MAX_WORDS * 4, out_bytes = (size_t)c->n_out * 4;
    const words w = {device, device + MAX_WORDS, (unsigned *)device + 2 * MAX_WORDS};
    target to = {};
    cudaError_t error = cudaStreamCreate(&to.stream);
    if (error != cudaSuccess) return error;
    error = cudaMemcpyAsync(device, in, in_bytes, cudaMemcpyHostToDevice, to.stream);
    if (error == cudaSuccess) error = cudaMemsetAsync(w.counter, 0, sizeof(unsigned), to.stream);
    if (error == cudaSuccess)
        error = launch(c->kernel, w, dim3(c->n_cta), dim3(c->n_threads), c->smem_bytes, to,
                       dim3(c->cluster));
    if (error == cudaSuccess)
        error = cudaMemcpyAsync(got, w.out, out_bytes, cudaMemcpyDeviceToHost, to.stream);
    if (error == cudaSuccess) error = cudaStreamSynchronize(to.stream);
    cudaStreamDestroy(to.stream);
    return error;
}

/* Returns 1 when it differs. */
static int check_one(const check *c, uint32_t *device)
{
    static uint32_t in[MAX_WORDS], want[MAX_WORDS], got[MAX_WORDS];
    static const check probe = {"has_wgmma", probe_kernel, NULL, NULL, 0, 1, 0, 1, 1};
    const bool hopper = c->n_threads == WG || c->cluster > 1;
    if (hopper && run_check(got, in, &probe, device) == cudaSuccess && !got[0]) {
        printf("%-38s not in this machine code\n", c->name);
        return 0;
    }
    draw(in, c->n_in);
    c->expect(want, in);
    const cudaError_t error = run_check(got, in, c, device);
    if (error != cudaSuccess) {
        printf("%-38s FAIL: %s\n", c->name, cudaGetErrorString(error));
        return 1;
    }
    if (c->order) c->order(got);
    for (int i = 0; i < c->n_out; i++)
        if (got[i] != want[i]) {
            printf("%-38s FAIL: word %d is %08x, should be %08x\n", c->name, i, got[i], want[i]);
            return 1;
        }
    printf("%-38s ok, %d words\n", c->name, c->n_out);
    return 0;
}

int ptxcheck(int index)
{
    int n = 0;
    cudaError_t error = cudaGetDeviceCount(&n);
    if (error != cudaSuccess || index >= n) {
        printf("ptxcheck: SKIP: no device %d among %d (%s)\n", index, n, cudaGetErrorString(error));
        return 77;
    }
    uint32_t *device = NULL;
    error = cudaSetDevice(index);
    if (error == cudaSuccess) error = cudaMalloc(&device, (2 * MAX_WORDS + 1) * sizeof(uint32_t));
    if (error != cudaSuccess) {
        printf("ptxcheck: FAIL: device %d: %s\n", index, cudaGetErrorString(error));
        return 1;
    }
    int failed = 0;
    for (const check &c : checks) failed += check_one(&c, device);
    cudaFree(device);
    printf("ptxcheck: %d failures\n", failed);
    return failed ? 1 : 0;
}

} /* namespace TERN_GPU */

int main(int argc, char **argv)
{
    return TERN_GPU::ptxcheck(argc > 1 ? atoi(argv[1]) : 0);
}
