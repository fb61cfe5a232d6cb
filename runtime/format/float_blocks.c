/* float_blocks.c - rows of float and block-quantised values (FORMATS 3.1-3.5), read for embeddings,
 * heads and norms. Every product is written in the order of ggml's own dequantisation. */
#include <string.h>

#include "base/f16.h"
#include "format/tensor_type.h"

static float half_at(const uint8_t *p)
{
    uint16_t half;
    memcpy(&half, p, sizeof half);
    return tern_f32_from_f16(half);
}

void tern_floats_f32(float *out, const uint8_t *row, size_t k)
{
    memcpy(out, row, k * sizeof *out);
}

void tern_floats_f16(float *out, const uint8_t *row, size_t k)
{
    for (size_t i = 0; i < k; i++) out[i] = half_at(row + 2 * i);
}

void tern_floats_bf16(float *out, const uint8_t *row, size_t k)
{
    for (size_t i = 0; i < k; i++) {
        uint16_t high;
        memcpy(&high, row + 2 * i, sizeof high);
        out[i] = tern_f32_from_bits((uint32_t)high << 16);
    }
}

/* 32 values: f16 d, 32 s8. */
void tern_floats_q8_0(float *out, const uint8_t *row, size_t k)
{
    for (; k > 0; k -= 32, row += 34, out += 32) {
        const float d = half_at(row);
        for (int i = 0; i < 32; i++) out[i] = d * (float)(int8_t)row[2 + i];
    }
}

/* 32 values: f16 d, 16 bytes; low nibbles are the first half. */
void tern_floats_q4_0(float *out, const uint8_t *row, size_t k)
{
    for (; k > 0; k -= 32, row += 18, out += 32) {
        const float d = half_at(row);
        for (int i = 0; i < 16; i++) {
            out[i] = (float)((row[2 + i] & 15) - 8) * d;
            out[16 + i] = (float)((row[2 + i] >> 4) - 8) * d;
        }
    }
}

/* Six-bit scale and minimum number j of a Q4_K block. */
static void scale_and_min(int *scale, int *min, const uint8_t *s, int j)
{
    if (j < 4) {
        *scale = s[j] & 63;
        *min = s[j + 4] & 63;
    } else {
        *scale = (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
        *min = s[j + 4] >> 4 | (s[j] >> 6) << 4;
    }
}

/* 256 values: f16 d, f16 dmin, 12 bytes of scales and minima, 128 bytes of nibbles. */
void tern_floats_q4_k(float *out, const uint8_t *row, size_t k)
{
    for (; k > 0; k -= 256, row += 144, out += 256) {
        const float d = half_at(row), dmin = half_at(row + 2);
        for (int j = 0; j < 8; j++) {
            int scale, min;
            scale_and_min(&scale, &min, row + 4, j);
            const float step = d * (float)scale, base = dmin * (float)min;
            const uint8_t *q = row + 16 + 32 * (j / 2);
            for (int i = 0; i < 32; i++)
                out[32 * j + i] = step * (float)(j % 2 ? q[i] >> 4 : q[i] & 15) - base;
        }
    }
}

/* 256 values: 128 bytes of low nibbles, 64 bytes of high bit pairs, 16 s8 scales, f16 d. */
void tern_floats_q6_k(float *out, const uint8_t *row, size_t k)
{
    for (; k > 0; k -= 256, row += 210, out += 256) {
        const float d = half_at(row + 208);
        for (int i = 0; i < 256; i++) {
            const int half = i / 128, part = i % 128 / 32, l = i % 32;
            const uint8_t low = row[64 * half + 32 * (part % 2) + l];
            const uint8_t high = row[128 + 32 * half + l];
            const int q = (part < 2 ? low & 15 : low >> 4) | (high >> (2 * part) & 3) << 4;
            const int8_t scale = (int8_t)row[192 + 8 * half + 2 * part + l / 16];
            out[i] = d * (float)scale * (float)(q - 32);
        }
    }
}
