/* test_ternary.c - I2_S against its published vector and against itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "format/ternary.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(i2s_known_answer),
        cmocka_unit_test(i2s_decodes_every_part),
        cmocka_unit_test(i2s_refuses_code_3),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
