/* test_emu_linear.cpp - LINEAR on the emulator as it is planned for devices of other sizes: every
 * kernel for Hopper, tiles that are whole, shared by clusters of every size, or both, CTAs that go
 * from tile to tile, and edges of rows, tokens and k; == with plain loops. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

extern "C" {
#include <cmocka.h>
}

#define TERN_GPU tern_emu
#include "base/rng.h"
#include "cuda/cuda_scratch.h"
#include "cuda/emu/emu_control.h"
#include "cuda/linear_plan.h"
#include "cuda/quant.cuh"

using namespace tern_emu;

#define ok(call) assert_int_equal(call, cudaSuccess)
#define N_SEEDS 2
#define GAP 3 /* floats between rows of y */

/* A product, and the SMs of the device that it is planned for. */
struct product {
    int n_tok, n_out, k, n_sm;
    tern_linear_kernel kernel; /* what the plan has to be, so that each is seen */
    int split;
    bool stays;                /* fewer CTAs than items */
};

static const product products[] = {
    {2, 100, 640, 3, TERN_LINEAR_MMA_8, 1, false},
    {8, 100, 2048, 132, TERN_LINEAR_MMA_8, 4, false},
    {15, 300, 4096, 132, TERN_LINEAR_MMA_16, 8, false},
    {12, 300, 1024, 6, TERN_LINEAR_MMA_16, 2, false},
    {16, 200, 1920, 132, TERN_LINEAR_WGMMA_16, 3, false},
    {16, 200, 4096, 132, TERN_LINEAR_WGMMA_16, 8, false},
    {30, 128, 2176, 132, TERN_LINEAR_WGMMA_32, 4, false},
    {31, 250, 100, 132, TERN_LINEAR_WGMMA_32, 1, false},
    {50, 390, 1920, 2, TERN_LINEAR_WGMMA_64, 1, false},
    {64, 5, 2560, 132, TERN_LINEAR_WGMMA_64, 5, false},
    {28, 260, 1900, 132, TERN_LINEAR_WGMMA_32, 3, false},
    {100, 130, 2560, 132, TERN_LINEAR_WGMMA_128, 5, false},
    {130, 128, 256, 132, TERN_LINEAR_WGMMA_128, 1, false},
    {90, 500, 1280, 1, TERN_LINEAR_WGMMA_128_WIDE, 1, true},
    {250, 600, 128, 2, TERN_LINEAR_WGMMA_128_WIDE, 1, true},
    {257, 600, 1664, 2, TERN_LINEAR_WGMMA_128_WIDE, 2, true},
};

/* Operands as plain rows. */
struct operands {
    uint8_t *codes; /* [n_out, k] */
    int8_t *q;      /* [n_tok, k] */
    int32_t *q_sum;
    float *q_scale, *w_scale, *y;
};

static uint32_t draw(uint32_t stream, size_t i)
{
    return (uint32_t)tern_random_u64(17, stream, (uint32_t)i);
}

static void *zeros(size_t n, size_t bytes)
{
    void *memory = calloc(n, bytes);
    assert_non_null(memory);
    return memory;
}

static size_t y_size(const product *p)
{
    return (size_t)p->n_tok * (size_t)(p->n_out + GAP);
}

static operands draw_operands(const product *p)
{
    const size_t k = (size_t)p->k, n_tok = (size_t)p->n_tok, n_out = (size_t)p->n_out;
    operands o = {(uint8_t *)zeros(n_out, k), (int8_t *)zeros(n_tok, k),
                  (int32_t *)zeros(n_tok, 4), (float *)zeros(n_tok, 4), (float *)zeros(n_out, 4),
                  (float *)zeros(y_size(p), 4)};
    for (size_t i = 0; i < n_out * k; i++) o.codes[i] = (uint8_t)(draw(0, i) % 3);
    for (size_t i = 0; i < n_tok * k; i++) {
        o.q[i] = (int8_t)((int)(draw(1, i) % 255) - 127);
        o.q_sum[i / k] += o.q[i];
    }
    for (size_t i = 0; i < n_tok; i++) o.q_scale[i] = (float)(draw(2, i) % 1000) / 999;
    for (size_t i = 0; i < n_out; i++) o.w_scale[i] = (float)(draw(3, i) % 1000) / 777;
    for (size_t i = 0; i < y_size(p); i++) o.y[i] = (float)(draw(4, i) % 1000) / 10;
    return o;
}

/* What y has to be afterwards, from device.h. */
static void expect(float *y, const product *p, const operands *o, int accumulate)
{
    for (int t = 0; t < p->n_tok; t++)
        for (int n = 0; n < p->n_out; n++) {
            const int8_t *q = o->q + (size_t)t * (size_t)p->k;
            const uint8_t *codes = o->codes + (size_t)n * (size_t)p->k;
            int acc = 0;
            for (int i = 0; i < p->k; i++) acc += q[i] * (codes[i] - 1);
            const float v = (float)acc * (o->q_scale[t] * o->w_scale[n]);
            float *at = y + (size_t)t * (size_t)(p->n_out + GAP) + n;
            *at = accumulate ? *at + v : v;
        }
}

static void *on_device(const void *from, size_t bytes)
{
    void *memory;
    ok(cudaMalloc(&memory, bytes));
    ok(cudaMemcpy(memory, from, bytes, cudaMemcpyHostToDevice));
    return memory;
}

/* The order of cuda_layout.h. */
static void *pack_codes(const product *p, const operands *o)
{
    const int k_pad = tern_cuda_pad_k(p->k), rows = (p->n_out + 15) / 16 * 16;
    const size_t bytes = (size_t)rows * (size_t)k_pad / 4;
    uint32_t *words = (uint32_t *)zeros(bytes, 1);
    for (int row = 0; row < rows; row++)
        for (int col = 0; col < k_pad; col++) {
            const bool there = row < p->n_out && col < p->k;
            const uint32_t code = there ? o->codes[(size_t)row * (size_t)p->k + (size_t)col] : 1;
            const int lane = row % 8 * 4 + col % 16 / 4, part = row % 16 / 8 + 2 * (col % 32 / 16);
            const size_t block = (size_t)(row / 16) * (size_t)(k_pad / 128) + (size_t)(col / 128);
            words[block * 128 + (size_t)(lane * 4 + col % 128 / 32)] |=
                code << (8 * (col % 4) + 2 * part);
        }
    void *memory = on_device(words, bytes);
    free(words);
    return memory;
}

static void *pack_q(const product *p, const operands *o)
{
    const int k_pad = tern_cuda_pad_k(p->k);
    const size_t bytes = (size_t)(p->n_tok + 7) / 8 * 8 * (size_t)k_pad;
    int8_t *q = (int8_t *)zeros(bytes, 1);
    for (int t = 0; t < p->n_tok; t++)
        for (int i = 0; i < p->k; i++)
            q[quant_at(p->n_tok, k_pad, t, i / 16) + (size_t)(i % 16)] =
                o->q[(size_t)t * (size_t)p->k + (size_t)i];
    void *memory = on_device(q, bytes);
    free(q);
    return memory;
}

/* y as LINEAR leaves it, into `y`. */
static void compute(float *y, const product *p, const operands *o, int accumulate)
{
    static const unsigned no_tickets[TERN_CUDA_TICKETS] = {};
    const size_t n_tok = (size_t)p->n_tok * 4, y_bytes = y_size(p) * 4;
    linear_args a = {};
    target to = {};
    ok(cudaStreamCreate(&to.stream));
    to.n_sm = p->n_sm;
    to.arch = 90;
    to.wgmma = 1;
    a.q = {(int8_t *)pack_q(p, o), (float *)on_device(o->q_scale, n_tok),
           (int32_t *)on_device(o->q_sum, n_tok), tern_cuda_pad_k(p->k)};
    a.w = {(const uint32_t *)pack_codes(p, o),
           (const float *)on_device(o->w_scale, (size_t)p->n_out * 4), p->n_out, a.q.k_pad};
    a.y = (float *)on_device(y, y_bytes);
    a.ldy = p->n_out + GAP;
    a.n_tok = p->n_tok;
    a.accumulate = accumulate;
    a.tickets = (unsigned *)on_device(no_tickets, sizeof no_tickets);
    ok(cudaMalloc(&a.partial, tern_cuda_linear_scratch(p->n_tok, p->n_out, p->k) + 16));
    ok(launch_linear(a, to));
    if (cudaStreamSynchronize(to.stream) != cudaSuccess) fail_msg("%s", tern_emu_report(0));
    ok(cudaMemcpy(y, a.y, y_bytes, cudaMemcpyDeviceToHost));
    ok(cudaDeviceReset());
}

static void check(const product *p)
{
    const tern_linear_plan plan =
        tern_cuda_linear_plan_hopper(p->n_tok, p->n_out, p->k, p->n_sm);
    assert_int_equal(plan.kernel, p->kernel);
    assert_int_equal(plan.split, p->split);
    assert_int_equal(plan.n_ctas < plan.n_items, p->stays);
    const operands o = draw_operands(p);
    const size_t bytes = y_size(p) * sizeof(float);
    float *want = (float *)zeros(bytes, 1), *got = (float *)zeros(bytes, 1);
    for (int seed = 0; seed < N_SEEDS; seed++) {
        memcpy(want, o.y, bytes);
        memcpy(got, o.y, bytes);
        tern_emu_set_seed((uint64_t)seed);
        expect(want, p, &o, seed % 2);
        compute(got, p, &o, seed % 2);
        assert_memory_equal(got, want, bytes);
    }
    free(o.codes);
    free(o.q);
    free(o.q_sum);
    free(o.q_scale);
    free(o.w_scale);
    free(o.y);
    free(want);
    free(got);
}

static void test_products(void **)
{
    ok(cudaSetDevice(0));
    for (const product &p : products) check(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_products)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
