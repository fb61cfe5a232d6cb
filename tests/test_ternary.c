/* test_ternary.c - I2_S against its published vector, the host layout against its formula. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "format/ternary.h"
#include "tern/device.h"

/* FORMATS 4.7: w[j] = ((7 j^2 + 3 j + 1) mod 11) mod 3 - 1, and its bytes in layout a. */
static const char vector[] =
    "64198661585655952549926419866158565595254992641986615856559525499525499264198661"
    "585655952549926419866158565595254992641986615856";

static void vector_codes(uint8_t codes[256])
{
    for (int j = 0; j < 256; j++) codes[j] = (uint8_t)((7 * j * j + 3 * j + 1) % 11 % 3);
}

static void fill_random(uint8_t *codes, size_t n, uint32_t seed)
{
    for (size_t i = 0; i < n; i++) codes[i] = (uint8_t)(tern_random_u64(seed, 0, (uint32_t)i) % 3);
}

static void i2s_known_answer(void **state)
{
    (void)state;
    uint8_t codes[256], bytes[64], back[256];
    vector_codes(codes);
    tern_i2s_encode(bytes, codes, 256);
    char text[129];
    for (int i = 0; i < 64; i++) snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    assert_string_equal(text, vector);
    assert_true(tern_i2s_decode(back, bytes, 0, 256));
    assert_memory_equal(back, codes, 256);
}

static void i2s_decodes_every_part(void **state)
{
    (void)state;
    enum { N = 128 * 5 };
    uint8_t codes[N], bytes[N / 4], back[N];
    fill_random(codes, N, 1);
    tern_i2s_encode(bytes, codes, N);
    for (size_t first = 0; first < N; first += 7)
        for (size_t n = 0; n <= N - first; n += n < 140 ? 1 : 61) {
            memset(back, 9, sizeof back);
            assert_true(tern_i2s_decode(back, bytes, first, n));
            assert_memory_equal(back, codes + first, n);
            if (n < N) assert_int_equal(back[n], 9);
        }
}

/* A code 3 is found where it is asked for and nowhere else. */
static void i2s_refuses_code_3(void **state)
{
    (void)state;
    enum { N = 128 * 3 };
    uint8_t bytes[N / 4], codes[N];
    memset(bytes, 0x55, sizeof bytes);
    for (size_t e = 0; e < N; e++) {
        const size_t byte = e / 128 * 32 + e % 32;
        bytes[byte] |= (uint8_t)(3 << (6 - 2 * (e % 128 / 32)));
        assert_false(tern_i2s_decode(codes, bytes, 0, N));
        assert_int_equal(codes[e], 3);
        assert_false(tern_i2s_decode(codes, bytes, e, 1));
        assert_true(tern_i2s_decode(codes, bytes, 0, e));
        assert_true(tern_i2s_decode(codes, bytes, e + 1, N - e - 1));
        bytes[byte] = 0x55;
    }
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
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(i2s_known_answer),
        cmocka_unit_test(i2s_decodes_every_part),
        cmocka_unit_test(i2s_refuses_code_3),
        cmocka_unit_test(host_layout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
