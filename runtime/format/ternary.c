/* ternary.c - I2_S codes to bytes and back. Called while a model loads, once per weight, so it
 * works on whole blocks in loops that compilers vectorise. */
#include "format/ternary.h"

#include <string.h>

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
