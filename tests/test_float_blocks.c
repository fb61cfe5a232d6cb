/* test_float_blocks.c - block-quantised values against the tables of their formats (FORMATS 3),
 * read value by value here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/f16.h"
#include "cases.h"
#include "format/tensor_type.h"

static void put_half(uint8_t *at, uint16_t half)
{
    memcpy(at, &half, 2);
}

static float half_value(const uint8_t *at)
{
    uint16_t half;
    memcpy(&half, at, 2);
    return tern_f32_from_f16(half);
}

static void test_plain_floats(void **state)
{
    (void)state;
    const float values[4] = {1.0f, -0.5f, 3.14159f, 1e-32f};
    float out[4];
    tern_floats_f32(out, (const uint8_t *)values, 4);
    assert_memory_equal(out, values, sizeof values);
    static const uint16_t halves[4] = {0x3c00, 0xb800, 0x0001, 0x7bff};
    static const float half_values[4] = {1.0f, -0.5f, 0x1p-24f, 65504.0f};
    tern_floats_f16(out, (const uint8_t *)halves, 4);
    assert_memory_equal(out, half_values, sizeof half_values);
    static const uint16_t brains[4] = {0x3f80, 0xbf00, 0x4049, 0x0a00};
    static const float brain_values[4] = {1.0f, -0.5f, 3.140625f, 0x1p-107f};
    tern_floats_bf16(out, (const uint8_t *)brains, 4);
    assert_memory_equal(out, brain_values, sizeof brain_values);
}

/* Random blocks, read value by value from the bytes as the tables of FORMATS 3 word it. */
static void test_small_blocks(void **state)
{
    (void)state;
    uint64_t seed = 5;
    for (int round = 0; round < 50; round++) {
        uint8_t block[2 * 34];
        float out[64];
        for (size_t i = 0; i < sizeof block; i++) block[i] = (uint8_t)case_int(&seed, 0, 255);
        put_half(block, 0x2e66);
        put_half(block + 34, 0xa123);
        tern_floats_q8_0(out, block, 64);
        for (int i = 0; i < 64; i++) {
            const uint8_t *b = block + i / 32 * 34;
            assert_true(out[i] == half_value(b) * (float)(int8_t)b[2 + i % 32]);
        }
        put_half(block + 18, 0x1234);
        tern_floats_q4_0(out, block, 64);
        for (int i = 0; i < 64; i++) {
            const uint8_t *b = block + i / 32 * 18;
            const int j = i % 32, nibble = j < 16 ? b[2 + j] % 16 : b[2 + j - 16] / 16;
            assert_true(out[i] == (float)(nibble - 8) * half_value(b));
        }
    }
}

static void test_q4_k(void **state)
{
    (void)state;
    uint64_t seed = 6;
    for (int round = 0; round < 50; round++) {
        uint8_t block[144] = {0};
        float out[256];
        int scale[8], min[8], q[256];
        put_half(block, 0x2e66);
        put_half(block + 2, 0x2abc);
        for (int j = 0; j < 8; j++) { /* into 12 bytes, written field by field */
            scale[j] = case_int(&seed, 0, 63);
            min[j] = case_int(&seed, 0, 63);
            if (j < 4) {
                block[4 + j] |= (uint8_t)scale[j];
                block[8 + j] |= (uint8_t)min[j];
            } else {
                block[8 + j] |= (uint8_t)(scale[j] % 16 | min[j] % 16 << 4);
                block[j] |= (uint8_t)(scale[j] / 16 << 6);
                block[4 + j] |= (uint8_t)(min[j] / 16 << 6);
            }
        }
        for (int i = 0; i < 256; i++) {
            q[i] = case_int(&seed, 0, 15);
            block[16 + i / 64 * 32 + i % 32] |= (uint8_t)(q[i] << (i % 64 < 32 ? 0 : 4));
        }
        tern_floats_q4_k(out, block, 256);
        for (int i = 0; i < 256; i++) {
            const float step = half_value(block) * (float)scale[i / 32];
            const float base = half_value(block + 2) * (float)min[i / 32];
            assert_true(out[i] == step * (float)q[i] - base);
        }
    }
}

static void test_q6_k(void **state)
{
    (void)state;
    uint64_t seed = 7;
    for (int round = 0; round < 50; round++) {
        uint8_t block[210] = {0};
        float out[256];
        int q[256];
        for (int i = 0; i < 256; i++) {
            const int h = i / 128, in = i % 128, l = in % 32;
            q[i] = case_int(&seed, 0, 63);
            const int low_at = 64 * h + (in / 32 % 2) * 32 + l;
            block[low_at] |= (uint8_t)(q[i] % 16 << (in < 64 ? 0 : 4));
            block[128 + 32 * h + l] |= (uint8_t)(q[i] / 16 << 2 * (in / 32));
        }
        for (int i = 0; i < 16; i++) block[192 + i] = (uint8_t)case_int(&seed, 0, 255);
        put_half(block + 208, 0x1e66);
        tern_floats_q6_k(out, block, 256);
        for (int i = 0; i < 256; i++) { /* sixteen values share a scale, in order of the outputs */
            const float scale = (float)(int8_t)block[192 + i / 16];
            assert_true(out[i] == half_value(block + 208) * scale * (float)(q[i] - 32));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_floats),
        cmocka_unit_test(test_small_blocks),
        cmocka_unit_test(test_q4_k),
        cmocka_unit_test(test_q6_k),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
