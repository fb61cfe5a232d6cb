/* cuda_pack.h - weights from their host form into the fragment order of cuda_layout.h, in plain C:
 * the CUDA backend's weight import calls it into staging memory. */
#ifndef TERN_CUDA_PACK_H
#define TERN_CUDA_PACK_H

#include "cuda/cuda_layout.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes of `rows` rows, rounded up to whole blocks: of ternary weights, and of a plane. In a
 * matrix, row row0 (a multiple of 16) begins at the bytes of row0 rows. */
size_t tern_cuda_ternary_bytes(int rows, int k);
size_t tern_cuda_plane_bytes(int rows, int k);

/* Row groups of the public host layout (tern/device.h), `codes`, that hold `rows` rows of k columns
 * into tern_cuda_ternary_bytes(rows, k) bytes. What lies beyond rows and k becomes weight 0. */
void tern_cuda_pack_ternary(uint8_t *blocks, const uint8_t *codes, int rows, int k);

/* plane s8 [rows, k] into tern_cuda_plane_bytes(rows, k) bytes; beyond rows and k: 0. */
void tern_cuda_pack_plane(int8_t *blocks, const int8_t *plane, int rows, int k);

#ifdef __cplusplus
}
#endif
#endif
