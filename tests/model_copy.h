/* model_copy.h - a model file in memory that tests damage on purpose, and a file that lives in
 * memory, too. */
#ifndef TERN_TESTS_MODEL_COPY_H
#define TERN_TESTS_MODEL_COPY_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "format/gguf.h"

#define TINY_MODEL TERN_SOURCE_DIR "/tests/golden/bitnet-tiny.gguf"
#define DEMO_MODEL TERN_SOURCE_DIR "/runtime/model/embedded/tern-demo.gguf"

typedef struct model_copy {
    uint8_t *bytes, *original;
    size_t n;
    tern_gguf *gguf; /* over `original`: where things are, whatever `bytes` says by now */
    int fd;          /* of the written file, which no folder holds */
    char path[40];
} model_copy;

static inline model_copy *copy_open(const char *source)
{
    model_copy *m = calloc(1, sizeof *m);
    FILE *file = fopen(source, "re");
    if (!m || !file || fseek(file, 0, SEEK_END) != 0) abort();
    m->n = (size_t)ftell(file);
    m->bytes = malloc(m->n);
    m->original = malloc(m->n);
    rewind(file);
    if (!m->bytes || !m->original || fread(m->bytes, 1, m->n, file) != m->n) abort();
    fclose(file);
    memcpy(m->original, m->bytes, m->n);
    if (tern_gguf_parse(&m->gguf, m->original, m->n, source, NULL) != TERN_OK) abort();
    m->fd = memfd_create("model", MFD_CLOEXEC);
    if (m->fd < 0) abort();
    snprintf(m->path, sizeof m->path, "/proc/self/fd/%d", m->fd);
    return m;
}

static inline void copy_close(model_copy *m)
{
    close(m->fd);
    tern_gguf_close(m->gguf);
    free(m->original);
    free(m->bytes);
    free(m);
}

/* The first `n` bytes as a file. */
static inline const char *copy_write(const model_copy *m, size_t n)
{
    if (ftruncate(m->fd, (off_t)n) != 0 || pwrite(m->fd, m->bytes, n, 0) != (ssize_t)n) abort();
    return m->path;
}

static inline void copy_restore(model_copy *m)
{
    memcpy(m->bytes, m->original, m->n);
}

/* The place in `bytes` of something inside `original`. */
static inline uint8_t *copy_at(model_copy *m, const void *original)
{
    return m->bytes + ((const uint8_t *)original - m->original);
}

/* The value of a key, its name, a tensor's name, the values of a tensor. */
static inline uint8_t *copy_value(model_copy *m, const char *key)
{
    const tern_gguf_value *value = tern_gguf_find(m->gguf, key);
    if (!value) abort();
    return copy_at(m, value->data);
}

static inline uint8_t *copy_key(model_copy *m, const char *key)
{
    const tern_gguf_value *value = tern_gguf_find(m->gguf, key);
    if (!value) abort();
    return copy_at(m, value->key.data);
}

static inline uint8_t *copy_tensor_name(model_copy *m, const char *name)
{
    const tern_gguf_tensor *tensor = tern_gguf_find_tensor(m->gguf, name);
    if (!tensor) abort();
    return copy_at(m, tensor->name.data);
}

static inline uint8_t *copy_tensor(model_copy *m, const char *name)
{
    const tern_gguf_tensor *tensor = tern_gguf_find_tensor(m->gguf, name);
    if (!tensor) abort();
    return m->bytes + tensor->offset;
}

static inline void copy_set_u32(model_copy *m, const char *key, uint32_t value)
{
    memcpy(copy_value(m, key), &value, sizeof value);
}

static inline void copy_set_f32(model_copy *m, const char *key, float value)
{
    memcpy(copy_value(m, key), &value, sizeof value);
}

#endif
