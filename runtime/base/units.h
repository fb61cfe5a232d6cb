/* units.h - numbers with units, as people write them in options. */
#ifndef TERN_BASE_UNITS_H
#define TERN_BASE_UNITS_H

#include <stdbool.h>
#include <stdint.h>

/* A whole number at the beginning of `text`, times 1024 behind it a k or K, times 1024^2 an M.
 * *end is what follows. False without a number, or beyond 2^53. */
bool tern_read_count(double *out, const char **end, const char *text);

/* An amount of memory: bytes, or a number with B, KiB, MiB, GiB, TiB, KB, MB, GB or TB. False for
 * anything else, and beyond 1 PiB. */
bool tern_read_bytes(uint64_t *out, const char *text);

#endif
