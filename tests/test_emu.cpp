/* test_emu.cpp - the emulator of CUDA devices (cuda/emu): what kernels call, against plain loops,
 * over several seeds. */
#include "emu_fixture.h"

namespace TERN_GPU {

/* ---- barriers -------------------------------------------------------------------------------- */

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

static void test_barrier(void **)
{
    uint32_t in[1280], out[5];
    fill(in, 1280, 1);
    for (uint64_t seed = 0; seed < N_SEEDS; seed++) {
        tern_emu_set_seed(seed);
        ok(run(sum_kernel, {5, 256, 1024}, in, 1280, out, 5));
        for (int b = 0; b < 5; b++) {
            uint32_t sum = 0;
            for (int i = 0; i < 256; i++) sum += in[256 * b + i];
            assert_int_equal(out[b], sum);
        }
    }
}

static __global__ void vote_kernel(io_args a)
{
    const uint32_t v = a.in[threadIdx.x];
    const int some = __syncthreads_or(v == 7), all = __syncthreads_and(v < 100);
    const int count = __syncthreads_count(v & 1);
    if (threadIdx.x == 63) {
        a.out[0] = (uint32_t)some;
        a.out[1] = (uint32_t)all;
        a.out[2] = (uint32_t)count;
    }
}

static void test_barrier_votes(void **)
{
    uint32_t in[64], out[3];
    for (uint32_t i = 0; i < 64; i++) in[i] = i;
    ok(run(vote_kernel, {1, 64, 0}, in, 64, out, 3));
    assert_int_equal(out[0], 1);
    assert_int_equal(out[1], 1);
    assert_int_equal(out[2], 32);
    in[7] = 100;
    ok(run(vote_kernel, {1, 64, 0}, in, 64, out, 3));
    assert_int_equal(out[0], 0);
    assert_int_equal(out[1], 0);
    assert_int_equal(out[2], 31);
}

/* Where a thread is: one word per thread of a grid of blocks in three dimensions. */
static __global__ void index_kernel(io_args a)
{
    const unsigned t = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    const unsigned b = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    a.out[b * blockDim.x * blockDim.y * blockDim.z + t] = b << 16 | t;
}

static void test_indices(void **)
{
    const uint32_t in[1] = {0};
    uint32_t out[2 * 3 * 2 * 5 * 4 * 3];
    const int n_threads = 5 * 4 * 3;
    for (uint64_t seed = 0; seed < N_SEEDS; seed++) {
        tern_emu_set_seed(seed);
        ok(run(index_kernel, {dim3(2, 3, 2), dim3(5, 4, 3), 0}, in, 1, out, 12 * n_threads));
        for (int i = 0; i < 12 * n_threads; i++)
            assert_int_equal(out[i], (uint32_t)(i / n_threads) << 16 | (uint32_t)(i % n_threads));
    }
}

/* ---- warps ----------------------------------------------------------------------------------- */

#define ALL 0xffffffffu
#define N_WARP_RESULTS 13

static __global__ void warp_kernel(io_args a)
{
    const uint32_t lane = threadIdx.x % 32, v = a.in[threadIdx.x];
    uint32_t *out = a.out + threadIdx.x * N_WARP_RESULTS;
    out[0] = __shfl_sync(ALL, v, 5);
    out[1] = __shfl_sync(ALL, v, (int)lane + 3, 8);
    out[2] = __shfl_up_sync(ALL, v, 3);
    out[3] = __shfl_down_sync(ALL, v, 2, 16);
    out[4] = __shfl_xor_sync(ALL, v, 17);
    out[5] = __shfl_xor_sync(ALL, v, 5, 4);
    out[6] = (uint32_t)(__shfl_xor_sync(ALL, (uint64_t)v << 32 | lane, 1) >> 32);
    out[7] = __ballot_sync(ALL, v & 4);
    out[8] = (uint32_t)(__any_sync(ALL, v == 0) | __all_sync(ALL, v != 0) << 1);
    out[9] = __reduce_add_sync(ALL, v);
    out[10] = (uint32_t)__reduce_min_sync(ALL, (int)v);
    out[11] = __reduce_max_sync(ALL, v);
    __syncwarp();
    out[12] = __float_as_uint(__shfl_sync(ALL, __uint_as_float(v & 0x7fffffffu), 31));
}

static void expect_warp(const uint32_t *v, const uint32_t *out, int lane)
{
    uint32_t ballot = 0, sum = 0, most = 0;
    int least = INT32_MAX, zero = 0;
    for (int i = 0; i < 32; i++) {
        ballot |= (v[i] >> 2 & 1) << i;
        sum += v[i];
        most = v[i] > most ? v[i] : most;
        least = (int)v[i] < least ? (int)v[i] : least;
        zero |= v[i] == 0;
    }
    assert_int_equal(out[0], v[5]);
    assert_int_equal(out[1], v[lane / 8 * 8 + (lane + 3) % 8]);
    assert_int_equal(out[2], v[lane >= 3 ? lane - 3 : lane]);
    assert_int_equal(out[3], v[lane % 16 < 14 ? lane + 2 : lane]);
    assert_int_equal(out[4], v[lane ^ 17]);
    assert_int_equal(out[5], v[lane & 4 ? lane ^ 5 : lane]); /* never from a later segment */
    assert_int_equal(out[6], v[lane ^ 1]);
    assert_int_equal(out[7], ballot);
    assert_int_equal(out[8], zero | !zero << 1);
    assert_int_equal(out[9], sum);
    assert_int_equal((int)out[10], least);
    assert_int_equal(out[11], most);
    assert_int_equal(out[12], v[31] & 0x7fffffffu);
}

static void test_warp(void **)
{
    static uint32_t in[96], out[96 * N_WARP_RESULTS];
    for (uint64_t seed = 0; seed < N_SEEDS; seed++) {
        fill(in, 96, (uint32_t)seed);
        in[40] = seed % 2 ? 0 : in[40];
        tern_emu_set_seed(seed);
        ok(run(warp_kernel, {1, 96, 0}, in, 96, out, 96 * N_WARP_RESULTS));
        for (int i = 0; i < 96; i++)
            expect_warp(in + i / 32 * 32, out + i * N_WARP_RESULTS, i % 32);
    }
}

/* ---- products -------------------------------------------------------------------------------- */

/* Per lane 4 words of a, 2 of b, 4 of d; both kinds one after the other. */
static __global__ void mma_kernel(io_args a)
{
    const uint32_t *in = a.in + threadIdx.x * 10;
    int d[4], e[4];
    for (int i = 0; i < 4; i++) d[i] = e[i] = (int)in[6 + i];
    mma_us(d, in, in + 4);
    mma_ss(e, in, in + 4);
    for (int i = 0; i < 4; i++) {
        a.out[threadIdx.x * 8 + (unsigned)i] = (uint32_t)d[i];
        a.out[threadIdx.x * 8 + 4 + (unsigned)i] = (uint32_t)e[i];
    }
}

/* Element (row, k) of A and (k, column) of B in the fragments that ptx.cuh describes. */
static uint8_t a_at(const uint32_t *in, int row, int k)
{
    const int lane = row % 8 * 4 + k % 16 / 4, p = row / 8 + 2 * (k / 16);
    return (uint8_t)(in[lane * 10 + p] >> (8 * (k % 4)));
}

static int8_t b_at(const uint32_t *in, int k, int column)
{
    const int lane = column * 4 + k % 16 / 4;
    return (int8_t)(in[lane * 10 + 4 + k / 16] >> (8 * (k % 4)));
}

static void test_mma(void **)
{
    uint32_t in[320], out[256];
    for (int device = HOPPER; device <= TURING; device++)
        for (uint64_t seed = 0; seed < N_SEEDS; seed++) {
            ok(cudaSetDevice(device));
            fill(in, 320, (uint32_t)seed);
            tern_emu_set_seed(seed);
            ok(run(mma_kernel, {1, 32, 0}, in, 320, out, 256));
            for (int row = 0; row < 16; row++)
                for (int column = 0; column < 8; column++) {
                    const int lane = row % 8 * 4 + column / 2, i = row / 8 * 2 + column % 2;
                    uint32_t us = in[lane * 10 + 6 + i], ss = us;
                    for (int k = 0; k < 32; k++) {
                        us += (uint32_t)(a_at(in, row, k) * b_at(in, k, column));
                        ss += (uint32_t)((int8_t)a_at(in, row, k) * b_at(in, k, column));
                    }
                    assert_int_equal(out[lane * 8 + i], us);
                    assert_int_equal(out[lane * 8 + 4 + i], ss);
                }
        }
    ok(cudaSetDevice(HOPPER));
}

static __global__ void ldmatrix_kernel(io_args a)
{
    uint32_t *rows = (uint32_t *)SMEM(); /* 32 rows of 20 bytes, 16 of them used, 12 apart */
    for (unsigned i = 0; i < 4; i++) rows[threadIdx.x * 8 + i] = a.in[threadIdx.x * 4 + i];
    __syncwarp();
    uint32_t got[4];
    ldmatrix_x4(got, rows + threadIdx.x * 8);
    for (unsigned m = 0; m < 4; m++) a.out[threadIdx.x * 4 + m] = got[m];
}

static void test_ldmatrix(void **)
{
    uint32_t in[128], out[128];
    fill(in, 128, 3);
    for (uint64_t seed = 0; seed < N_SEEDS; seed++) {
        tern_emu_set_seed(seed);
        ok(run(ldmatrix_kernel, {1, 32, 1024}, in, 128, out, 128));
        for (int lane = 0; lane < 32; lane++)
            for (int m = 0; m < 4; m++)
                assert_int_equal(out[lane * 4 + m], in[(8 * m + lane / 4) * 4 + lane % 4]);
    }
}

static __global__ void bits_kernel(io_args a)
{
    const uint32_t x = a.in[0], y = a.in[1];
    uint32_t *out = a.out;
    *out++ = (uint32_t)dp4a_us(x, y, -5);
    *out++ = (uint32_t)dp4a_ss(x, y, -5);
    *out++ = __byte_perm(x, y, 0x7104);
    *out++ = __byte_perm(x, y, 0xb8f3);
    *out++ = __umulhi(x, y);
    *out++ = (uint32_t)__umul64hi((uint64_t)x << 32, (uint64_t)y << 32);
    *out++ = (uint32_t)__popc(x);
    *out++ = (uint32_t)__clz((int)x);
    *out++ = (uint32_t)__clz(0);
    *out++ = (uint32_t)__ffs((int)x);
    *out++ = (uint32_t)__ffs(0);
}

static void test_bits(void **)
{
    const uint32_t in[2] = {0x00a1ff80u, 0x81027f04u};
    const uint32_t expected[] = {
        (uint32_t)(-5 + 0x80 * 0x04 + 0xff * 0x7f + 0xa1 * 0x02),
        (uint32_t)(-5 - 0x80 * 0x04 - 0x01 * 0x7f - 0x5f * 0x02),
        0x81ff8004u, /* bytes 7, 1, 0, 4 */
        0x00ffff00u, /* signs of bytes 3, 0, 7; byte 3 */
        0x0051a353u, 0xdf487e00u, 12, 8, 32, 8, 0, /* both halves of the product */
    };
    const int n = (int)(sizeof expected / sizeof expected[0]);
    uint32_t out[16];
    ok(run(bits_kernel, {1, 1, 0}, in, 2, out, n));
    for (int i = 0; i < n; i++) assert_int_equal(out[i], expected[i]);
}

/* ---- memory ---------------------------------------------------------------------------------- */

static __global__ void atomic_kernel(io_args a)
{
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    const uint32_t v = a.in[i];
    atomicAdd(&a.flags[0], v);
    atomicMax(&a.flags[1], v);
    atomicMin((int *)&a.flags[2], (int)v);
    atomicOr(&a.flags[3], 1u << (i % 32));
    atomicExch(&a.flags[4], 9u);
    atomicCAS((unsigned long long *)&a.flags[6], 0ull, (unsigned long long)i + 1);
    if (take_ticket(&a.flags[5]) == gridDim.x * blockDim.x - 1)
        for (int k = 0; k < 8; k++) a.out[k] = a.flags[k];
}

static void test_atomics(void **)
{
    uint32_t in[160], out[8], sum = 0, most = 0, first[N_SEEDS];
    int least = 0;
    fill(in, 160, 4);
    for (int i = 0; i < 160; i++) {
        sum += in[i];
        most = in[i] > most ? in[i] : most;
        least = (int)in[i] < least ? (int)in[i] : least;
    }
    bool differs = false;
    for (uint64_t seed = 0; seed < N_SEEDS; seed++) {
        tern_emu_set_seed(seed);
        ok(run(atomic_kernel, {5, 32, 0}, in, 160, out, 8));
        assert_int_equal(out[0], sum);
        assert_int_equal(out[1], most);
        assert_int_equal((int)out[2], least);
        assert_int_equal(out[3], ALL);
        assert_int_equal(out[4], 9);
        assert_int_equal(out[5], 160);
        first[seed] = out[6];
        differs |= first[seed] != first[0];
    }
    assert_true(differs); /* the seed decides who comes first */
}

/* A pipeline of two stages: 16 bytes per thread and step, read by its neighbour. */
static __global__ void copy_kernel(io_args a)
{
    uint4 *stage = (uint4 *)SMEM();
    const unsigned i = threadIdx.x, n = blockDim.x;
    const uint4 *in = (const uint4 *)a.in;
    const unsigned steps = (unsigned)a.n / 4 / n;
    uint32_t sum = 0;
    copy16_async(&stage[i], &in[i]);
    copy_commit();
    for (unsigned s = 0; s < steps; s++) {
        if (s + 1 < steps) copy16_async(&stage[(s + 1) % 2 * n + i], &in[(s + 1) * n + i]);
        copy_commit();
        copy_wait<1>();
        __syncthreads();
        const uint4 got = stage[s % 2 * n + (i + 1) % n];
        sum = sum * 31 + (got.x ^ got.y ^ got.z ^ got.w);
        __syncthreads();
    }
    a.out[i] = sum;
}

static void test_async_copies(void **)
{
    static uint32_t in[64 * 4 * 6], out[64];
    fill(in, 64 * 4 * 6, 5);
    for (int device = HOPPER; device <= TURING; device++)
        for (uint64_t seed = 0; seed < N_SEEDS; seed++) {
            ok(cudaSetDevice(device));
            tern_emu_set_seed(seed);
            ok(run(copy_kernel, {1, 64, 2 * 64 * 16}, in, 64 * 4 * 6, out, 64));
            for (int i = 0; i < 64; i++) {
                uint32_t sum = 0;
                for (int s = 0; s < 6; s++) {
                    const uint32_t *g = in + (s * 64 + (i + 1) % 64) * 4;
                    sum = sum * 31 + (g[0] ^ g[1] ^ g[2] ^ g[3]);
                }
                assert_int_equal(out[i], sum);
            }
        }
    ok(cudaSetDevice(HOPPER));
}

/* CTA b waits for CTA b - 1: works as long as all of them are resident. */
static __global__ void chain_kernel(io_args a)
{
    const unsigned b = blockIdx.x;
    if (threadIdx.x == 0 && b > 0) wait_flag(&a.flags[b], 1);
    __syncthreads();
    if (threadIdx.x == 33) {
        a.out[b] = a.in[b] + (b > 0 ? a.out[b - 1] : 0);
        if (b + 1 < gridDim.x) atomicExch(&a.flags[b + 1], 1u);
    }
}

static void test_wait_flag(void **)
{
    uint32_t in[12], out[12];
    fill(in, 12, 6);
    for (uint64_t seed = 0; seed < N_SEEDS; seed++) {
        tern_emu_set_seed(seed);
        ok(run(chain_kernel, {12, 64, 0}, in, 12, out, 12));
        uint32_t sum = 0;
        for (int b = 0; b < 12; b++) assert_int_equal(out[b], sum += in[b]);
    }
}

/* A kernel that calls no collective: as many threads and CTAs as like to come. */
static __global__ void square_kernel(io_args a)
{
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < (unsigned)a.n) a.out[i] = a.in[i] * a.in[i];
}

static void test_many_threads(void **)
{
    const int n = 100003;
    uint32_t *in = (uint32_t *)malloc((size_t)n * 4), *out = (uint32_t *)malloc((size_t)n * 4);
    assert_true(in && out);
    fill(in, n, 7);
    ok(run(square_kernel, {blocks_of(n, 1024), 1024, 0}, in, n, out, n));
    for (int i = 0; i < n; i++) assert_int_equal(out[i], in[i] * in[i]);
    free(in);
    free(out);
}

} /* namespace TERN_GPU */

int main(void)
{
    using namespace TERN_GPU;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_barrier),      cmocka_unit_test(test_barrier_votes),
        cmocka_unit_test(test_indices),      cmocka_unit_test(test_warp),
        cmocka_unit_test(test_mma),          cmocka_unit_test(test_ldmatrix),
        cmocka_unit_test(test_bits),         cmocka_unit_test(test_atomics),
        cmocka_unit_test(test_async_copies), cmocka_unit_test(test_wait_flag),
        cmocka_unit_test(test_many_threads),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
