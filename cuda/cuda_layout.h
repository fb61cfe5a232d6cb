/* cuda_layout.h - how the CUDA backend keeps weights, activations and scratch: pure functions in C,
 * always compiled, because the planner asks for bytes where there is neither toolkit nor GPU.
 *
 * The fragment order of ternary weights. Rows are grouped by 16, columns by 128; a block of 16 x
 * 128 is 512 bytes, lane l of a warp owns 16 of them, four little-endian u32 words, one for each
 * step of 32 columns. With r = l / 4 and c = l % 4, the word of step s holds, in bits 8b + 2p (b, p
 * in 0..3), the code of
 *     row r + 8 * (p % 2), column 32*s + 16 * (p / 2) + 4*c + b.
 * So (word >> 2p) & 0x03030303 is register p of the A operand of mma.m16n8k32 and of wgmma m64nNk32
 * (warp w of four takes row group w), and word & (0x03030303 << 2p) is an operand of dp4a, 4^p
 * times too large. Block (R, K) begins at byte (R * k_pad/128 + K) * 512.
 *
 * Tables (s8 planes) have the same order with 512 bytes for a block of 16 x 32: 16 bytes a lane,
 * byte 4p + b the value of row r + 8 * (p % 2), column 16 * (p / 2) + 4*c + b.
 *
 * Columns are padded to 128 with weight 0 (code 1), rows to 16 likewise. */
#ifndef TERN_CUDA_LAYOUT_H
#define TERN_CUDA_LAYOUT_H

#include "device/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TERN_CUDA_ROWS 16      /* of a block */
#define TERN_CUDA_COLS 128     /* of a ternary block; k and d are padded to it everywhere */
#define TERN_CUDA_BLOCK_BYTES 512

static inline int tern_cuda_pad_k(int k)
{
    return (k + TERN_CUDA_COLS - 1) / TERN_CUDA_COLS * TERN_CUDA_COLS;
}

/* Offsets of a weight's parts from its beginning, each a multiple of 256; `bytes` is the size.
 * Ternary: codes, scale. Table: high, low (I16), scale, col. */
typedef struct tern_cuda_weight_parts {
    size_t low, scale, col, bytes;
} tern_cuda_weight_parts;

tern_cuda_weight_parts tern_cuda_weight_parts_of(const tern_weight_desc *desc);

/* The backend's weight_layout. */
int tern_cuda_weight_layout(tern_weight_layout *out, const tern_weight_desc *desc, tern_error *err);

/* Quantised activations. A batch of fewer than IMAGE_TOK tokens has q s8 [t, k_pad], row-major. A
 * larger one is cut into images of 8 tokens x 128 columns, 1024 bytes in the 128-byte swizzle that
 * wgmma reads: columns 16*c .. +15 of row r stand at byte 128*r + 16 * (c ^ r). Image (K, T) of
 * columns K and tokens T begins at byte (K * ceil(t/8) + T) * 1024, so that one bulk copy brings
 * 128 columns of neighbouring tokens. Rows of the last image beyond t hold anything. */
#define TERN_CUDA_IMAGE_TOK 16
#define TERN_CUDA_IMAGE_ROWS 8
#define TERN_CUDA_IMAGE_BYTES 1024

/* Offsets inside a region of quantised activations of up to t rows: scale f32 [t] at 0, sum s32
 * [t], q. */
typedef struct tern_cuda_quant_parts {
    size_t sum, q, bytes;
} tern_cuda_quant_parts;

tern_cuda_quant_parts tern_cuda_quant_parts_of(int t, int k);

/* The backend's quant_bytes. */
size_t tern_cuda_quant_bytes(int t, int k);

#ifdef __cplusplus
}
#endif
#endif
