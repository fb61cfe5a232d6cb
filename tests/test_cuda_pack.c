/* test_cuda_pack.c - tests cuda/cuda_pack.c: every code and every byte stands where the text of
 * cuda_layout.h says, for shapes that end anywhere, whatever the host's padding holds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/rng.h"
#include "cuda/cuda_pack.h"
#include "device/host_layout.h"

static const struct {
    int rows, k;
} shapes[] = {{1, 1}, {16, 128}, {17, 129}, {5, 64}, {40, 200}, {33, 63}, {16, 300}, {31, 256}};
#define N_SHAPES ((int)(sizeof shapes / sizeof shapes[0]))

/* Code of (row, col) by the formula of cuda_layout.h, read from the other side: which lane, step,
 * register and byte hold this row and column. */
static int code_at(const uint8_t *blocks, int row, int col, int k)
{
    const size_t block = (size_t)(row / 16) * (size_t)(tern_cuda_pad_k(k) / 128) +
                         (size_t)(col / 128);
    const int r = row % 8, c = col % 16 / 4, step = col % 128 / 32;
    const int p = row % 16 / 8 + 2 * (col % 32 / 16), b = col % 4;
    uint32_t word;
    memcpy(&word, blocks + block * 512 + (size_t)(4 * r + c) * 16 + (size_t)step * 4, 4);
    return (int)(word >> (8 * b + 2 * p) & 3);
}

static int value_at(const int8_t *blocks, int row, int col, int k)
{
    const size_t block = (size_t)(row / 16) * (size_t)(tern_cuda_pad_k(k) / 32) +
                         (size_t)(col / 32);
    const int r = row % 8, c = col % 16 / 4;
    const int p = row % 16 / 8 + 2 * (col % 32 / 16), b = col % 4;
    return blocks[block * 512 + (size_t)(4 * r + c) * 16 + (size_t)(4 * p + b)];
}

static void ternary_of(int rows, int k, uint32_t seed)
{
    const size_t host_bytes = tern_ternary_host_bytes(rows, k);
    const size_t bytes = tern_cuda_ternary_bytes(rows, k);
    uint8_t *host = malloc(host_bytes), *blocks = malloc(bytes);
    uint8_t *code = malloc((size_t)rows * (size_t)k);
    assert_true(host && blocks && code);
    for (int i = 0; i < rows * k; i++)
        code[i] = (uint8_t)(tern_random_u64(seed, 0, (uint32_t)i) % 3);
    const size_t group_bytes = host_bytes / tern_round_up((size_t)rows, 16) * 16;
    for (int row = 0; row < rows; row += 16)
        tern_host_pack(host + (size_t)row / 16 * group_bytes, code + row * k, (size_t)k, rows - row,
                       k);
    memset(blocks, 0xee, bytes);
    tern_cuda_pack_ternary(blocks, host, rows, k);
    for (int row = 0; row < (int)tern_round_up((size_t)rows, 16); row++)
        for (int col = 0; col < tern_cuda_pad_k(k); col++)
            assert_int_equal(code_at(blocks, row, col, k),
                             row < rows && col < k ? code[row * k + col] : 1);
    free(host);
    free(blocks);
    free(code);
}

static void test_ternary(void **state)
{
    (void)state;
    for (int i = 0; i < N_SHAPES; i++) ternary_of(shapes[i].rows, shapes[i].k, (uint32_t)i);
}

/* What the host's padding holds does not reach the device. */
static void test_ternary_padding(void **state)
{
    (void)state;
    enum { ROWS = 3, K = 70 };
    uint8_t host[16 * 128 / 4], blocks[512];
    assert_int_equal(tern_ternary_host_bytes(ROWS, K), sizeof host);
    memset(host, 0, sizeof host);
    tern_cuda_pack_ternary(blocks, host, ROWS, K);
    for (int row = 0; row < 16; row++)
        for (int col = 0; col < 128; col++)
            assert_int_equal(code_at(blocks, row, col, K), row < ROWS && col < K ? 0 : 1);
}

static void plane_of(int rows, int k, uint32_t seed)
{
    const size_t bytes = tern_cuda_plane_bytes(rows, k);
    int8_t *plane = malloc((size_t)rows * (size_t)k), *blocks = malloc(bytes);
    assert_true(plane && blocks);
    for (int i = 0; i < rows * k; i++)
        plane[i] = (int8_t)(uint8_t)tern_random_u64(seed, 1, (uint32_t)i);
    memset(blocks, 0x5a, bytes);
    tern_cuda_pack_plane(blocks, plane, rows, k);
    for (int row = 0; row < (int)tern_round_up((size_t)rows, 16); row++)
        for (int col = 0; col < tern_cuda_pad_k(k); col++)
            assert_int_equal(value_at(blocks, row, col, k),
                             row < rows && col < k ? plane[row * k + col] : 0);
    free(plane);
    free(blocks);
}

static void test_plane(void **state)
{
    (void)state;
    for (int i = 0; i < N_SHAPES; i++) plane_of(shapes[i].rows, shapes[i].k, (uint32_t)i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ternary),
        cmocka_unit_test(test_ternary_padding),
        cmocka_unit_test(test_plane),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
