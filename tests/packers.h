/* packers.h - encoders of the ternary tensor types, written from the text of their formats (FORMATS
 * 3, 4, 6, 7) and not from the readers, which are tested with them. Codes are one per byte; `data`
 * is zeroed. */
#ifndef TERN_TESTS_PACKERS_H
#define TERN_TESTS_PACKERS_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/f16.h"
#include "format/tensor_type.h"

static inline size_t i2s_place(tern_i2s_layout layout, size_t k, size_t r, size_t c, int *shift)
{
    const size_t e = r * k + c;
    switch (layout) {
    case TERN_I2S_A: *shift = 6 - 2 * (int)(e % 128 / 32); return e / 128 * 32 + e % 32;
    case TERN_I2S_B: *shift = 6 - 2 * (int)(e % 64 / 16); return e / 64 * 16 + e % 16;
    case TERN_I2S_C: *shift = 6 - 2 * (int)(r % 4); return r / 4 * k + c;
    default: *shift = 2 * (int)(e % 4); return e / 4;
    }
}

static inline void encode_i2s(uint8_t *data, const uint8_t *codes, size_t n_out, size_t k,
                              tern_i2s_layout layout)
{
    for (size_t i = 0; i < n_out * k; i++) {
        int shift;
        const size_t at = i2s_place(layout, k, i / k, i % k, &shift);
        data[at] |= (uint8_t)(codes[i] << shift);
    }
}

/* Digits, most significant first, as a base-3 fraction of 256. */
static inline uint8_t fraction(const uint8_t *codes, int n, size_t step)
{
    int v = 0;
    for (int t = 0; t < 5; t++) v = 3 * v + (t < n ? codes[(size_t)t * step] : 0);
    return (uint8_t)((v * 256 + 242) / 243);
}

static inline void encode_tq1_0(uint8_t block[54], const uint8_t codes[256], uint16_t d)
{
    for (size_t m = 0; m < 32; m++) block[m] = fraction(codes + m, 5, 32);
    for (size_t m = 0; m < 16; m++) block[32 + m] = fraction(codes + 160 + m, 5, 16);
    for (size_t m = 0; m < 4; m++) block[48 + m] = fraction(codes + 240 + m, 4, 4);
    memcpy(block + 52, &d, 2);
}

static inline void encode_tq2_0(uint8_t block[66], const uint8_t codes[256], uint16_t d)
{
    memset(block, 0, 64);
    for (int h = 0; h < 2; h++)
        for (int l = 0; l < 4; l++)
            for (int m = 0; m < 32; m++)
                block[32 * h + m] |= (uint8_t)(codes[128 * h + 32 * l + m] << 2 * l);
    memcpy(block + 64, &d, 2);
}

/* The byte whose five products with 81, 27, 9, 3, 1 give the digits: found by trying all. */
static inline uint8_t iq1_byte(const uint8_t digits[5])
{
    static const int multiplier[5] = {81, 27, 9, 3, 1};
    for (int byte = 0; byte < 256; byte++) {
        int good = 0;
        for (int t = 0; t < 5; t++) {
            const int v = byte * multiplier[t] % 256;
            good += (v + v / 2) / 128 == digits[t];
        }
        if (good == 5) return (uint8_t)byte;
    }
    abort(); /* every five digits have a byte */
}

/* Rows of IQ1_BN or IQ2_BN: a scale, then blocks of 64. */
static inline void encode_bn(uint8_t *data, const uint8_t *codes, size_t n_out, size_t k,
                             uint32_t number, uint16_t half)
{
    const float scale = tern_f32_from_f16(half);
    for (size_t r = 0; r < n_out; r++) {
        uint8_t *row = data + r * (number == TERN_GGML_IQ1_BN ? 2 + k / 64 * 13 : 4 + k / 4);
        if (number == TERN_GGML_IQ1_BN)
            memcpy(row, &half, 2);
        else
            memcpy(row, &scale, 4);
        for (size_t block = 0; block < k / 64; block++) {
            const uint8_t *c = codes + r * k + block * 64;
            const uint8_t last[5] = {c[15], c[31], c[47], c[63], 0};
            if (number == TERN_GGML_IQ1_BN) {
                for (size_t i = 0; i < 12; i++)
                    row[2 + block * 13 + i] = iq1_byte(c + 16 * (i / 3) + 5 * (i % 3));
                row[2 + block * 13 + 12] = iq1_byte(last);
                continue;
            }
            for (size_t e = 0; e < 64; e++)
                row[4 + block * 16 + e % 16] |= (uint8_t)(c[e] << 2 * (e / 16));
        }
    }
}

/* Walks the tiles of TL1 in the order in which they are written, one byte after the other. */
static inline void encode_tl1(uint8_t *data, const uint8_t *codes, const tern_tl_shape *s)
{
    const int width = 256 / s->inner;
    uint8_t *next = data;
    for (int mt = 0; mt < s->n_out; mt += s->bm)
        for (int kt = 0; kt < s->k; kt += s->by)
            for (int bt = mt; bt < mt + s->bm; bt += s->inner)
                for (int yt = kt; yt < kt + s->by; yt += width)
                    for (int rb = bt; rb < bt + s->inner; rb += 16)
                        for (int c = yt; c < yt + width; c += 4)
                            for (int r = rb; r < rb + 16; r++) {
                                const uint8_t *w = codes + (size_t)r * (size_t)s->k + c;
                                *next++ = (uint8_t)((3 * w[0] + w[1]) << 4 | (3 * w[2] + w[3]));
                            }
}

/* Writes the three areas of TL2 in order: nibbles, signs, pairs. */
static inline void encode_tl2(uint8_t *data, const uint8_t *codes, const tern_tl_shape *s)
{
    static const int place[4] = {0, 2, 1, 3}; /* of a group of eight rows among 32 */
    const int k3 = s->k / s->by * s->by;
    uint8_t *signs = data + (size_t)s->n_out * (size_t)k3 / 6, *nibbles = data;
    for (int mt = 0; mt < s->n_out; mt += s->bm)
        for (int kt = 0; kt < k3; kt += s->by)
            for (int bt = mt; bt < mt + s->bm; bt += 32) {
                for (int triple = 0; triple < s->by / 3; triple++)
                    for (int r = 0; r < 32; r++) {
                        const uint8_t *w =
                            codes + (size_t)(bt + r) * (size_t)s->k + kt + 3 * triple;
                        const int v = 9 * (w[0] - 1) + 3 * (w[1] - 1) + (w[2] - 1);
                        const int at = triple / 2 * 32 + 8 * place[r / 8] + r % 8;
                        nibbles[at] |= (uint8_t)(abs(v) << (triple % 2 ? 0 : 4));
                        const int bit = 15 - (2 * (triple % 8) + r / 16);
                        uint8_t *word = signs + (triple / 8 * 16 + r % 16) * 2;
                        if (v < 0) word[bit / 8] |= (uint8_t)(1 << bit % 8);
                    }
                nibbles += s->by / 6 * 32;
                signs += s->by / 24 * 32;
            }
    uint8_t *pairs = signs;
    for (int mt = 0; mt < s->n_out; mt += s->bm)
        for (int kt = k3; kt < s->k; kt += 32)
            for (int bt = mt; bt < mt + s->bm; bt += 32, pairs += 256)
                for (int r = 0; r < 32; r++)
                    for (int j = 0; j < 16; j++) {
                        const uint8_t *w = codes + (size_t)(bt + r) * (size_t)s->k + kt + 2 * j;
                        const int at = j / 2 * 32 + 8 * place[r / 8] + r % 8;
                        pairs[at] |= (uint8_t)((3 * w[0] + w[1]) << (j % 2 ? 0 : 4));
                    }
}

#endif
