/* ternary_blocks.c - rows of ternary blocks: TQ1_0 and TQ2_0 of llama.cpp with a scale per 256
 * weights (FORMATS 3.6, 3.7), IQ1_BN and IQ2_BN of ik_llama.cpp with one per row (FORMATS 7).
 *
 * Tern multiplies a row by one scale, so the blocks of a TQ row must agree in theirs; those of
 * BitNet models do, since the scale is the tensor's, and a block of zeros has scale 0. In a table,
 * which is read as floats, every block keeps its own. */
#include <math.h>
#include <string.h>

#include "base/f16.h"
#include "format/tensor_type.h"

#define BLOCK 256

static const uint8_t powers[5] = {1, 3, 9, 27, 81};

/* Digit t of a byte that holds a base-3 fraction. */
static uint8_t fraction_digit(uint8_t byte, int t)
{
    const uint8_t shifted = (uint8_t)(byte * powers[t]);
    return (uint8_t)(shifted * 3 >> 8);
}

/* Folds the scale of a block into the row's: zero blocks are made of code 1. */
static const char *take_scale(float *scale, uint8_t codes[BLOCK], const uint8_t *half)
{
    uint16_t bits;
    memcpy(&bits, half, sizeof bits);
    const float d = tern_f32_from_f16(bits);
    if (d == 0.0f) {
        memset(codes, 1, BLOCK);
        return NULL;
    }
    if (*scale != 0.0f && *scale != d)
        return "has blocks of different scales, but products take one a row";
    *scale = d;
    return NULL;
}

bool tern_tq_scales(float out[2], const tern_packed *t, const tern_tensor_type *type, size_t row)
{
    if (type->codes != tern_codes_tq1_0 && type->codes != tern_codes_tq2_0) return false;
    const uint8_t *block = t->data + row * (t->k / BLOCK) * type->block_bytes;
    out[0] = 0.0f;
    for (size_t i = 0; i < t->k; i += BLOCK, block += type->block_bytes) {
        uint16_t bits;
        memcpy(&bits, block + type->block_bytes - sizeof bits, sizeof bits);
        out[1] = tern_f32_from_f16(bits);
        if (out[0] == 0.0f)
            out[0] = out[1];
        else if (out[1] != 0.0f && out[1] != out[0])
            return true;
    }
    return false;
}

/* 256 weights: 48 bytes of five digits, 4 of four, f16 d. */
static void digits_tq1_0(uint8_t codes[BLOCK], const uint8_t *block)
{
    for (int t = 0; t < 5; t++) {
        for (int m = 0; m < 32; m++) codes[t * 32 + m] = fraction_digit(block[m], t);
        for (int m = 0; m < 16; m++) codes[160 + t * 16 + m] = fraction_digit(block[32 + m], t);
    }
    for (int t = 0; t < 4; t++)
        for (int m = 0; m < 4; m++) codes[240 + t * 4 + m] = fraction_digit(block[48 + m], t);
}

const char *tern_codes_tq1_0(uint8_t *codes, float *scale, const tern_packed *t, size_t row)
{
    const uint8_t *block = t->data + row * (t->k / BLOCK) * 54;
    const char *wrong = NULL;
    *scale = 0.0f;
    for (size_t i = 0; i < t->k && !wrong; i += BLOCK, block += 54) {
        digits_tq1_0(codes + i, block);
        wrong = take_scale(scale, codes + i, block + 52);
    }
    return wrong;
}

/* 256 weights: 64 bytes of bit pairs, low bits first, 32 apart; f16 d. */
static void pairs_tq2_0(uint8_t codes[BLOCK], const uint8_t *block)
{
    for (size_t e = 0; e < BLOCK; e++)
        codes[e] = block[e / 128 * 32 + e % 32] >> (2 * (e % 128 / 32)) & 3;
}

const char *tern_codes_tq2_0(uint8_t *codes, float *scale, const tern_packed *t, size_t row)
{
    const uint8_t *block = t->data + row * (t->k / BLOCK) * 66;
    const char *wrong = NULL;
    *scale = 0.0f;
    for (size_t i = 0; i < t->k && !wrong; i += BLOCK, block += 66) {
        pairs_tq2_0(codes + i, block);
        wrong = take_scale(scale, codes + i, block + 64);
        if (!wrong && memchr(codes + i, 3, BLOCK)) wrong = TERN_CODE_3;
    }
    return wrong;
}

/* The values of a table's block: here each has its own scale. */
static void block_floats(float out[BLOCK], const uint8_t codes[BLOCK], const uint8_t *half)
{
    uint16_t bits;
    memcpy(&bits, half, sizeof bits);
    const float d = tern_f32_from_f16(bits);
    for (int i = 0; i < BLOCK; i++) out[i] = codes[i] == 3 ? NAN : (float)(codes[i] - 1) * d;
}

void tern_floats_tq1_0(float *out, const uint8_t *row, size_t k)
{
    uint8_t codes[BLOCK];
    for (; k > 0; k -= BLOCK, row += 54, out += BLOCK) {
        digits_tq1_0(codes, row);
        block_floats(out, codes, row + 52);
    }
}

void tern_floats_tq2_0(float *out, const uint8_t *row, size_t k)
{
    uint8_t codes[BLOCK];
    for (; k > 0; k -= BLOCK, row += 66, out += BLOCK) {
        pairs_tq2_0(codes, row);
        block_floats(out, codes, row + 64);
    }
}

/* Row: f16 scale, then 64 weights in 13 bytes; three bytes hold 15 of 16, the last byte one of each
 * group of 16. */
const char *tern_codes_iq1_bn(uint8_t *codes, float *scale, const tern_packed *t, size_t row)
{
    static const uint8_t multiplier[5] = {81, 27, 9, 3, 1};
    const uint8_t *block = t->data + row * (2 + t->k / 64 * 13);
    uint16_t bits;
    memcpy(&bits, block, sizeof bits);
    *scale = tern_f32_from_f16(bits);
    block += 2;
    for (size_t i = 0; i < t->k; i += 64, block += 13)
        for (size_t e = 0; e < 64; e++) {
            const size_t group = e / 16, in = e % 16;
            const uint8_t byte = in < 15 ? block[3 * group + in / 5] : block[12];
            const uint8_t v = (uint8_t)(byte * multiplier[in < 15 ? in % 5 : group]);
            codes[i + e] = (uint8_t)((v + (v >> 1)) >> 7); /* 2 at most */
        }
    return NULL;
}

/* Row: f32 scale, then 64 weights in 16 bytes, low bits first, 16 apart. */
const char *tern_codes_iq2_bn(uint8_t *codes, float *scale, const tern_packed *t, size_t row)
{
    const uint8_t *block = t->data + row * (4 + t->k / 4);
    memcpy(scale, block, sizeof *scale);
    block += 4;
    for (size_t i = 0; i < t->k; i += 64, block += 16)
        for (size_t e = 0; e < 64; e++) codes[i + e] = block[e % 16] >> (2 * (e / 16)) & 3;
    return memchr(codes, 3, t->k) ? TERN_CODE_3 : NULL;
}
