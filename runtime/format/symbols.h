/* symbols.h - numbered byte strings that can be found again: the vocabulary of a BPE. */
#ifndef TERN_FORMAT_SYMBOLS_H
#define TERN_FORMAT_SYMBOLS_H

#include <stdbool.h>

#include "tern/base.h"

typedef struct tern_symbol_slot {
    uint32_t hash;
    uint32_t next_id; /* id + 1; 0: free */
} tern_symbol_slot;

/* Start with {0}. */
typedef struct tern_symbols {
    char *bytes;     /* all strings, one after another */
    uint32_t *begin; /* string i is bytes[begin[i] .. begin[i + 1]) */
    uint32_t n, cap;
    size_t cap_bytes;
    tern_symbol_slot *slots; /* open addressing; a power of two, at most half full */
    uint32_t n_slots, n_findable;
} tern_symbols;

void tern_symbols_free(tern_symbols *symbols);

/* Appends s [bytes] as number symbols->n. With `findable` tern_symbols_find() will know it, unless
 * the same string is known already. TERN_E_FIT without memory or beyond 4 GiB of strings. */
int tern_symbols_add(tern_symbols *symbols, const char *s, size_t bytes, bool findable,
                     tern_error *err);

/* -1 when the string is not known. */
int32_t tern_symbols_find(const tern_symbols *symbols, const char *s, size_t bytes);

#endif
