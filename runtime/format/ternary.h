/* ternary.h - I2_S, layout a (FORMATS 4.1), the layout that Tern writes. Codes {0, 1, 2} stand for
 * -1, 0, +1. Readers translate into one code per byte; runtime/device/host_layout.h takes it from
 * there. Readers of other layouts: tensor_type.h. */
#ifndef TERN_FORMAT_TERNARY_H
#define TERN_FORMAT_TERNARY_H

#include <stdbool.h>

#include "tern/base.h"

/* Elements first .. first+n of the flat array into codes [n].
 * False when one of them is code 3, which no encoder writes: the data is damaged or of another
 * type. */
bool tern_i2s_decode(uint8_t *codes, const uint8_t *data, size_t first, size_t n);

/* The inverse, for n codes; n is a multiple of 128. */
void tern_i2s_encode(uint8_t *data, const uint8_t *codes, size_t n);

#endif
