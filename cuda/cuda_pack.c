/* cuda_pack.c - reorders weights for the tensor cores' registers, once, while a model loads.
 *
 * In the host's word of (row, 16 columns), bits 8b + 2q are column 4q + b; in a fragment's word of
 * lane (r, c), bits 8b + 2p are column 16 * (p / 2) + 4c + b of row r + 8 * (p % 2). So four codes
 * move together: those of q = c, under one mask. */
#include "cuda/cuda_pack.h"

#include <string.h>

#include "base/memory.h"

#define WORD_COLS 16                  /* of a word of the host layout */
#define BLOCK_WORDS (TERN_CUDA_COLS / WORD_COLS)
#define STEP_COLS 32                  /* of a fragment, and of a block of a plane */
#define CODES_1 0x55555555u           /* sixteen weights 0 */

size_t tern_cuda_ternary_bytes(int rows, int k)
{
    return tern_round_up((size_t)rows, TERN_CUDA_ROWS) * (size_t)tern_cuda_pad_k(k) / 4;
}

size_t tern_cuda_plane_bytes(int rows, int k)
{
    return tern_round_up((size_t)rows, TERN_CUDA_ROWS) * (size_t)tern_cuda_pad_k(k);
}

/* The words of 16 rows x 128 columns from column `col` on, rows >= n_rows and columns >= k as
 * weight 0. */
static void read_block(uint32_t words[TERN_CUDA_ROWS][BLOCK_WORDS], const uint8_t *group,
                       int n_rows, int col, int k)
{
    for (int w = 0; w < BLOCK_WORDS; w++) {
        const int at = col + w * WORD_COLS;
        uint32_t absent = 0; /* bits of columns that are not there */
        for (int i = 0; i < WORD_COLS; i++)
            if (at + i >= k) absent |= 3u << (8 * (i % 4) + 2 * (i / 4));
        for (int row = 0; row < TERN_CUDA_ROWS; row++) {
            uint32_t word = CODES_1;
            if (row < n_rows && at < k) {
                memcpy(&word, group + (size_t)(at / WORD_COLS) * 64 + (size_t)row * 4, 4);
                word = (word & ~absent) | (CODES_1 & absent);
            }
            words[row][w] = word;
        }
    }
}

static void write_block(uint8_t *block, uint32_t words[TERN_CUDA_ROWS][BLOCK_WORDS])
{
    for (int lane = 0; lane < 32; lane++) {
        const int r = lane / 4, c = lane % 4;
        for (int step = 0; step < 4; step++) {
            uint32_t word = 0;
            for (int p = 0; p < 4; p++) {
                const uint32_t from = words[r + 8 * (p % 2)][2 * step + p / 2];
                word |= (from >> (2 * c) & 0x03030303u) << (2 * p);
            }
            memcpy(block + lane * 16 + step * 4, &word, 4);
        }
    }
}

void tern_cuda_pack_ternary(uint8_t *blocks, const uint8_t *codes, int rows, int k)
{
    const size_t group_bytes = tern_round_up((size_t)k, TERN_PAD_K) * TERN_TILE_ROWS / 4;
    uint32_t words[TERN_CUDA_ROWS][BLOCK_WORDS];
    for (int row = 0; row < rows; row += TERN_CUDA_ROWS) {
        for (int col = 0; col < k; col += TERN_CUDA_COLS) {
            read_block(words, codes, rows - row, col, k);
            write_block(blocks, words);
            blocks += TERN_CUDA_BLOCK_BYTES;
        }
        codes += group_bytes;
    }
}

/* Rows r and r + 8 of lane (r, c) of a block: four bytes at 4c, four at 16 + 4c. */
static void write_plane_block(int8_t *block, const int8_t *plane, int n_rows, int width, int k)
{
    memset(block, 0, TERN_CUDA_BLOCK_BYTES);
    const int rows = n_rows < TERN_CUDA_ROWS ? n_rows : TERN_CUDA_ROWS;
    for (int row = 0; row < rows; row++) {
        const int8_t *from = plane + (size_t)row * (size_t)k;
        for (int i = 0; i < width; i += 4) {
            const int lane = row % 8 * 4 + i % 16 / 4, p = row / 8 + i / 16 * 2;
            const int n = width - i < 4 ? width - i : 4;
            memcpy(block + lane * 16 + p * 4, from + i, (size_t)n);
        }
    }
}

void tern_cuda_pack_plane(int8_t *blocks, const int8_t *plane, int rows, int k)
{
    const int k_pad = tern_cuda_pad_k(k);
    for (int row = 0; row < rows; row += TERN_CUDA_ROWS) {
        const int8_t *from = plane + (size_t)row * (size_t)k;
        for (int col = 0; col < k_pad; col += STEP_COLS) {
            const int begin = col < k ? col : k;
            const int width = k - begin < STEP_COLS ? k - begin : STEP_COLS;
            write_plane_block(blocks, from + begin, rows - row, width, k);
            blocks += TERN_CUDA_BLOCK_BYTES;
        }
    }
}
