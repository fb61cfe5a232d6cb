/* compose.h - Unicode's Normalization Form C (UAX #15): what some tokenizers do to a text first. */
#ifndef TERN_FORMAT_COMPOSE_H
#define TERN_FORMAT_COMPOSE_H

#include <stddef.h>

#include "tern/base.h"

#define TERN_COMPOSE_GROWTH 3 /* NFC of UTF-8 has that many times the bytes at most (UAX #15, 8) */

/* The NFC of text [bytes], valid UTF-8, in new memory: decompose, order the marks by their class,
 * compose. Time grows as n log n, for any text. TERN_E_FIT when there is no memory. Free *out. */
int tern_compose(char **out, size_t *n, const char *text, size_t bytes, tern_error *err);

#endif
