/* ternary.h - ternary codes in files and in the public host layout (tern/device.h). Codes {0, 1, 2}
 * stand for -1, 0, +1. Readers translate into one code per byte, the host packer takes it from
 * there. */
#ifndef TERN_FORMAT_TERNARY_H
#define TERN_FORMAT_TERNARY_H

#include <stdbool.h>

#include "tern/base.h"

/* I2_S, layout a (FORMATS 4.1): elements first .. first+n of the flat array into codes [n].
 * False when one of them is code 3, which no encoder writes: the data is damaged or of another
 * type. */
bool tern_i2s_decode(uint8_t *codes, const uint8_t *data, size_t first, size_t n);

/* The inverse, for n codes; n is a multiple of 128. */
void tern_i2s_encode(uint8_t *data, const uint8_t *codes, size_t n);

/* 16 rows of codes, row i at codes + i * ld (rows beyond `rows` are taken as weight 0), into one
 * row group of the public host layout: ceil64(k)/16 tiles of 64 bytes. */
void tern_host_pack(uint8_t *tiles, const uint8_t *codes, size_t ld, int rows, int k);

/* Code of (row, col) in the public host layout of a matrix with k columns. */
int tern_host_code(const uint8_t *tiles, int row, int col, int k);

#endif
