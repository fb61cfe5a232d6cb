/* memory.h - checked sizes and aligned memory. */
#ifndef TERN_BASE_MEMORY_H
#define TERN_BASE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

#include "tern/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* *out = a * b (or a + b); false when it would overflow, *out then untouched. */
static inline bool tern_size_mul(size_t *out, size_t a, size_t b)
{
    return !__builtin_mul_overflow(a, b, out);
}
static inline bool tern_size_add(size_t *out, size_t a, size_t b)
{
    return !__builtin_add_overflow(a, b, out);
}

/* The smallest multiple of `unit` (> 0) that is at least n. n + unit must not overflow. */
static inline size_t tern_round_up(size_t n, size_t unit)
{
    return (n + unit - 1) / unit * unit;
}

/* Zeroed memory for count x size bytes; TERN_E_FIT with a sentence naming `what` when there is
 * none. A count of zero gives a pointer that may be freed. Free with free(). */
int tern_alloc(void *out, size_t count, size_t size, const char *what, tern_error *err);

/* As tern_alloc, aligned to 64 bytes, for memory that kernels read; from 4 MiB on in huge pages
 * where the system has them, which may round the resident memory up by 2 MiB. Free with free(). */
int tern_alloc_aligned(void *out, size_t bytes, const char *what, tern_error *err);

#ifdef __cplusplus
}
#endif
#endif
