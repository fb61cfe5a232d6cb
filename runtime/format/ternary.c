/* ternary.c - I2_S codes to bytes and back (FORMATS 4). Called while a model loads, once per
 * weight, so layout a works on whole blocks in loops that compilers vectorise; the other three,
 * which no published file has, go weight by weight. */
#include "format/ternary.h"

#include <string.h>

#include "format/tensor_type.h"

#define BLOCK 128 /* elements of an I2_S block */
#define BLOCK_BYTES 32
#define EACH_BYTE(x) ((uint64_t)(x) * 0x0101010101010101u)

static uint8_t i2s_code(const uint8_t *data, size_t e)
{
    const uint8_t byte = data[e / BLOCK * BLOCK_BYTES + e % BLOCK_BYTES];
    return byte >> (6 - 2 * (e % BLOCK / BLOCK_BYTES)) & 3;
}

/* Elements that do not fill a block; false when one is code 3. */
static bool decode_single(uint8_t *codes, const uint8_t *data, size_t first, size_t n)
{
    uint8_t threes = 0;
    for (size_t i = 0; i < n; i++) {
        const uint8_t code = i2s_code(data, first + i);
        codes[i] = code;
        threes |= code == 3;
    }
    return threes == 0;
}

bool tern_i2s_decode(uint8_t *codes, const uint8_t *data, size_t first, size_t n)
{
    size_t head = (BLOCK - first % BLOCK) % BLOCK;
    if (head > n) head = n;
    bool valid = decode_single(codes, data, first, head);
    size_t done = head;
    uint64_t threes = 0;
    for (; n - done >= BLOCK; done += BLOCK) {
        const uint8_t *block = data + (first + done) / BLOCK * BLOCK_BYTES;
        for (size_t j = 0; j < BLOCK_BYTES; j += 8) {
            uint64_t word;
            memcpy(&word, block + j, 8);
            for (size_t group = 0; group < 4; group++) {
                const uint64_t out = word >> (6 - 2 * group) & EACH_BYTE(3);
                memcpy(codes + done + BLOCK_BYTES * group + j, &out, 8);
            }
            threes |= word & (word >> 1) & EACH_BYTE(0x55);
        }
    }
    valid &= decode_single(codes + done, data, first + done, n - done);
    return valid && threes == 0;
}

void tern_i2s_encode(uint8_t *data, const uint8_t *codes, size_t n)
{
    for (size_t block = 0; block < n / BLOCK; block++, data += BLOCK_BYTES, codes += BLOCK)
        for (size_t j = 0; j < BLOCK_BYTES; j += 8) {
            uint64_t group[4];
            for (size_t g = 0; g < 4; g++) memcpy(&group[g], codes + BLOCK_BYTES * g + j, 8);
            const uint64_t word = group[0] << 6 | group[1] << 4 | group[2] << 2 | group[3];
            memcpy(data + j, &word, 8);
        }
}

/* Code of (row, col) in the layouts b, c, d. */
static uint8_t other_code(const tern_packed *t, size_t row, size_t col)
{
    const size_t e = row * t->k + col;
    switch (t->i2s) {
    case TERN_I2S_B: return t->data[e / 64 * 16 + e % 16] >> (6 - 2 * (e % 64 / 16)) & 3;
    case TERN_I2S_C: return t->data[row / 4 * t->k + col] >> (6 - 2 * (row % 4)) & 3;
    default: return t->data[e / 4] >> (2 * (e % 4)) & 3;
    }
}

const char *tern_codes_i2s(uint8_t *codes, float *scale, const tern_packed *t, size_t row)
{
    memcpy(scale, t->data + t->k * t->n_out / 4, sizeof *scale);
    if (t->i2s == TERN_I2S_A)
        return tern_i2s_decode(codes, t->data, row * t->k, t->k) ? NULL : TERN_CODE_3;
    if (t->i2s == TERN_I2S_C && t->n_out % 4 != 0)
        return "is not one of four, as layout c interleaves them: choose another layout";
    uint8_t threes = 0;
    for (size_t col = 0; col < t->k; col++) {
        codes[col] = other_code(t, row, col);
        threes |= codes[col] == 3;
    }
    return threes ? TERN_CODE_3 : NULL;
}
