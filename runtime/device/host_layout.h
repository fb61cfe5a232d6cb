/* host_layout.h - packs ternary codes into the public host layout (tern/device.h), from which every
 * backend imports. Codes {0, 1, 2} stand for -1, 0, +1. */
#ifndef TERN_DEVICE_HOST_LAYOUT_H
#define TERN_DEVICE_HOST_LAYOUT_H

#include "tern/device.h"

/* 16 rows of codes, row i at codes + i * ld (rows beyond `rows` are taken as weight 0), into one
 * row group of the public host layout: ceil64(k)/16 tiles of 64 bytes. */
void tern_host_pack(uint8_t *tiles, const uint8_t *codes, size_t ld, int rows, int k);

/* Code of (row, col) in the public host layout of a matrix with k columns. */
int tern_host_code(const uint8_t *tiles, int row, int col, int k);

#endif
