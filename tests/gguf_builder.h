/* gguf_builder.h - writes GGUF bytes into memory, right or wrong ones, for tests of readers. */
#ifndef TERN_TESTS_GGUF_BUILDER_H
#define TERN_TESTS_GGUF_BUILDER_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "format/gguf.h"

/* Start with {0}; free(bytes) at the end. */
typedef struct gguf_builder {
    uint8_t *bytes;
    size_t n, cap;
    size_t count_at; /* of the array being written */
} gguf_builder;

static inline void put_bytes(gguf_builder *b, const void *data, size_t n)
{
    if (b->n + n > b->cap) {
        b->cap = (b->n + n) * 2 + 256;
        b->bytes = realloc(b->bytes, b->cap);
        if (!b->bytes) abort();
    }
    if (n) memcpy(b->bytes + b->n, data, n);
    b->n += n;
}

static inline void put_u32(gguf_builder *b, uint32_t x)
{
    put_bytes(b, &x, 4);
}

static inline void put_u64(gguf_builder *b, uint64_t x)
{
    put_bytes(b, &x, 8);
}

static inline void put_text(gguf_builder *b, const char *text)
{
    put_u64(b, strlen(text));
    put_bytes(b, text, strlen(text));
}

static inline void put_header(gguf_builder *b, uint32_t version, uint64_t n_tensors,
                              uint64_t n_values)
{
    put_bytes(b, "GGUF", 4);
    put_u32(b, version);
    put_u64(b, n_tensors);
    put_u64(b, n_values);
}

static inline void put_key(gguf_builder *b, const char *key, uint32_t type)
{
    put_text(b, key);
    put_u32(b, type);
}

static inline void put_key_u32(gguf_builder *b, const char *key, uint32_t x)
{
    put_key(b, key, TERN_GGUF_U32);
    put_u32(b, x);
}

static inline void put_key_bool(gguf_builder *b, const char *key, uint8_t x)
{
    put_key(b, key, TERN_GGUF_BOOL);
    put_bytes(b, &x, 1);
}

static inline void put_key_text(gguf_builder *b, const char *key, const char *text)
{
    put_key(b, key, TERN_GGUF_STRING);
    put_text(b, text);
}

static inline void put_key_array(gguf_builder *b, const char *key, uint32_t type, uint64_t count)
{
    put_key(b, key, TERN_GGUF_ARRAY);
    put_u32(b, type);
    b->count_at = b->n;
    put_u64(b, count);
}

static inline void put_tensor(gguf_builder *b, const char *name, int n_dims, const uint64_t *ne,
                              uint32_t type, uint64_t offset)
{
    put_text(b, name);
    put_u32(b, (uint32_t)n_dims);
    for (int i = 0; i < n_dims; i++) put_u64(b, ne[i]);
    put_u32(b, type);
    put_u64(b, offset);
}

/* Zeros up to the alignment, then `bytes` zeros of data. */
static inline void put_data(gguf_builder *b, size_t alignment, size_t bytes)
{
    static const uint8_t zero = 0;
    while (b->n % alignment != 0) put_bytes(b, &zero, 1);
    for (size_t i = 0; i < bytes; i++) put_bytes(b, &zero, 1);
}

#endif
