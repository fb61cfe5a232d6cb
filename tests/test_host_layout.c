/* test_host_layout.c - the public host layout of ternary weights against its formula. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/rng.h"
#include "device/host_layout.h"

static void fill_random(uint8_t *codes, size_t n, uint32_t seed)
{
    for (size_t i = 0; i < n; i++) codes[i] = (uint8_t)(tern_random_u64(seed, 0, (uint32_t)i) % 3);
}

/* The layout of tern/device.h, literally: tile (R, C) begins at (R * ceil64(k)/16 + C) * 64; row i
 * of a tile is its u32 number i; the code of column 4p + b sits at bits 8b + 2p. */
static int literal_code(const uint8_t *tiles, int row, int col, int k)
{
    const int padded = (k + 63) / 64 * 64;
    const uint8_t *tile = tiles + ((row / 16) * (padded / 16) + col / 16) * 64;
    const uint8_t *w = tile + row % 16 * 4;
    const uint32_t word = w[0] | (uint32_t)w[1] << 8 | (uint32_t)w[2] << 16 | (uint32_t)w[3] << 24;
    const int p = col % 16 / 4, b = col % 4;
    return word >> (8 * b + 2 * p) & 3;
}

static void check_host_layout(int rows, int k, int ld)
{
    const int groups = (rows + 15) / 16, padded = (k + 63) / 64 * 64;
    uint8_t *codes = malloc((size_t)(rows * ld));
    uint8_t *tiles = malloc((size_t)(groups * 16 * padded / 4));
    assert_true(codes && tiles);
    fill_random(codes, (size_t)(rows * ld), (uint32_t)(rows * 1000 + k));
    for (int g = 0; g < groups; g++)
        tern_host_pack(tiles + g * 4 * padded, codes + g * 16 * ld, (size_t)ld,
                       rows - g * 16 < 16 ? rows - g * 16 : 16, k);
    for (int row = 0; row < groups * 16; row++)
        for (int col = 0; col < padded; col++) {
            const int expected = row < rows && col < k ? codes[row * ld + col] : 1;
            assert_int_equal(literal_code(tiles, row, col, k), expected);
            assert_int_equal(tern_host_code(tiles, row, col, k), expected);
        }
    free(codes);
    free(tiles);
}

static void host_layout(void **state)
{
    (void)state;
    check_host_layout(16, 64, 64);
    check_host_layout(32, 128, 128);
    check_host_layout(16, 192, 200); /* rows further apart than they are long */
    check_host_layout(1, 64, 64);
    check_host_layout(15, 128, 128);
    check_host_layout(33, 100, 100);
    for (int k = 1; k <= 70; k++) check_host_layout(17, k, k + 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(host_layout)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
