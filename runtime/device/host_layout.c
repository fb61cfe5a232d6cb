/* host_layout.c - one code per byte into the public host layout of ternary weights. Called while a
 * model loads, in loops that compilers vectorise. */
#include "device/host_layout.h"

#include <string.h>

/* Row words of four tiles: columns 4p + b of a tile sit at bits 8b + 2p, so a word is the four
 * groups of four codes, read as words and shifted into place; no code crosses a byte. */
static void pack_row(uint8_t *tiles, const uint8_t codes[TERN_PAD_K], int row)
{
    for (int tile = 0; tile < TERN_PAD_K / TERN_TILE_COLS; tile++) {
        uint32_t group[4];
        memcpy(group, codes + tile * TERN_TILE_COLS, sizeof group);
        const uint32_t word = group[0] | group[1] << 2 | group[2] << 4 | group[3] << 6;
        memcpy(tiles + tile * 64 + row * 4, &word, sizeof word);
    }
}

void tern_host_pack(uint8_t *tiles, const uint8_t *codes, size_t ld, int rows, int k)
{
    uint8_t padded[TERN_PAD_K];
    for (int col = 0; col < k; col += TERN_PAD_K, tiles += 4 * TERN_PAD_K) {
        const int width = k - col < TERN_PAD_K ? k - col : TERN_PAD_K;
        for (int row = 0; row < TERN_TILE_ROWS; row++) {
            const uint8_t *from = row < rows ? codes + (size_t)row * ld + (size_t)col : NULL;
            if (!from || width < TERN_PAD_K) {
                memset(padded, 1, sizeof padded);
                if (from) memcpy(padded, from, (size_t)width);
                from = padded;
            }
            pack_row(tiles, from, row);
        }
    }
}

int tern_host_code(const uint8_t *tiles, int row, int col, int k)
{
    const size_t per_row =
        (size_t)(k + TERN_PAD_K - 1) / TERN_PAD_K * (TERN_PAD_K / TERN_TILE_COLS);
    const size_t tile = (size_t)(row / TERN_TILE_ROWS) * per_row + (size_t)(col / TERN_TILE_COLS);
    const int p = col % TERN_TILE_COLS / 4, b = col % 4;
    return tiles[tile * 64 + (size_t)(row % TERN_TILE_ROWS) * 4 + (size_t)b] >> (2 * p) & 3;
}
