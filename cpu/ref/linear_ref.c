/* linear_ref.c - LINEAR (N5): 8-bit activations times ternary weights, exact in s32.
 *
 * The codes of 16 rows x 64 columns are decoded once and serve a block of tokens; integer sums may
 * be taken in any order. Codes are weights + 1, so the dot product of the codes minus the row sum
 * of q is that of the weights. Bound: |sum of code * q| <= 2 * 127 * k, below 2^31 for k < 2^23. */
#include "cpu/ref/ref.h"

#define COLS 64        /* columns decoded at a time; k_pad is a multiple */
#define TOKEN_BLOCK 32 /* tokens that share a decoded block */

/* code [16][COLS] = four tiles of one row group, from `tile` on. Bits 8b + 2p of a row's word hold
 * column 4p + b, so a shift and a mask yield four neighbouring columns as four bytes. */
static void decode_block(uint8_t code[TERN_TILE_ROWS][COLS], const uint8_t *tile)
{
    for (int c = 0; c < COLS; c += TERN_TILE_COLS) {
        for (int row = 0; row < TERN_TILE_ROWS; row++) {
            uint32_t word;
            memcpy(&word, tile + 4 * row, 4);
            for (int p = 0; p < 4; p++) {
                const uint32_t four = (word >> 2 * p) & 0x03030303u;
                memcpy(&code[row][c + 4 * p], &four, 4);
            }
        }
        tile += TERN_TILE_ROWS * TERN_TILE_COLS / 4;
    }
}

static int32_t dot_block(const uint8_t *code, const int8_t *q)
{
    int32_t sum = 0;
    for (int i = 0; i < COLS; i++) sum += (int16_t)code[i] * (int16_t)q[i];
    return sum;
}

/* Rows row0 .. row0+15 of the matrix for tokens t0 .. t0+n, n <= TOKEN_BLOCK; rows below row_end
 * are written. */
static void row_group(const tern_linear_args *a, int t0, int n, int row0, int row_end)
{
    int32_t dot[TOKEN_BLOCK][TERN_TILE_ROWS] = {{0}};
    uint8_t code[TERN_TILE_ROWS][COLS];
    const size_t group_bytes = (size_t)TERN_TILE_ROWS * (size_t)a->k_pad / 4;
    const uint8_t *codes = a->codes + (size_t)(row0 / TERN_TILE_ROWS) * group_bytes;
    for (int c = 0; c < a->k_pad; c += COLS) {
        decode_block(code, codes + c / 4 * TERN_TILE_ROWS);
        for (int t = 0; t < n; t++) {
            const int8_t *q = a->q + (size_t)(t0 + t) * (size_t)a->k_pad + c;
            for (int row = 0; row < TERN_TILE_ROWS; row++) dot[t][row] += dot_block(code[row], q);
        }
    }
    for (int t = 0; t < n; t++) {
        float *y = a->y + (t0 + t) * a->ldy;
        for (int row = row0; row < row_end; row++) {
            const int32_t acc = dot[t][row - row0] - a->q_sum[t0 + t];
            const float v = (float)acc * (a->q_scale[t0 + t] * a->w_scale[row]);
            y[row] = a->accumulate ? y[row] + v : v;
        }
    }
}

void tern_linear_ref(const tern_linear_args *a, tern_range tokens, tern_range outputs)
{
    for (int row = outputs.begin; row < outputs.end; row += TERN_TILE_ROWS) {
        const int rest = outputs.end - row;
        const int row_end = row + (rest < TERN_TILE_ROWS ? rest : TERN_TILE_ROWS);
        for (int t = tokens.begin; t < tokens.end; t += TOKEN_BLOCK) {
            const int n = tokens.end - t < TOKEN_BLOCK ? tokens.end - t : TOKEN_BLOCK;
            row_group(a, t, n, row, row_end);
        }
    }
}
