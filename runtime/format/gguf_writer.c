/* gguf_writer.c - see gguf_writer.h. The first 24 bytes, which hold the counts, are reserved by the
 * first call and filled in by the last. */
#include "format/gguf_writer.h"

#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"

#define HEADER_BYTES 24

/* Room for `bytes` more; false without memory. */
static bool reserve(tern_gguf_writer *w, size_t bytes)
{
    if (w->out_of_memory) return false;
    if (w->n == 0) w->n = HEADER_BYTES;
    size_t wanted;
    if (!tern_size_add(&wanted, w->n, bytes)) wanted = SIZE_MAX;
    if (wanted <= w->cap) return true;
    const size_t cap = wanted < SIZE_MAX / 2 ? wanted + wanted / 2 + 4096 : wanted;
    uint8_t *grown = realloc(w->bytes, cap);
    w->out_of_memory = !grown;
    if (!grown) return false;
    w->bytes = grown;
    w->cap = cap;
    return true;
}

void tern_gguf_add_bytes(tern_gguf_writer *w, const void *data, size_t bytes)
{
    if (!reserve(w, bytes)) return;
    if (bytes) memcpy(w->bytes + w->n, data, bytes);
    w->n += bytes;
}

static void add_u32(tern_gguf_writer *w, uint32_t value)
{
    tern_gguf_add_bytes(w, &value, sizeof value);
}

static void add_u64(tern_gguf_writer *w, uint64_t value)
{
    tern_gguf_add_bytes(w, &value, sizeof value);
}

void tern_gguf_add_text(tern_gguf_writer *w, const char *text, size_t bytes)
{
    add_u64(w, bytes);
    tern_gguf_add_bytes(w, text, bytes);
}

static void begin_value(tern_gguf_writer *w, const char *key, tern_gguf_type type)
{
    tern_gguf_add_text(w, key, strlen(key));
    add_u32(w, type);
    w->n_values++;
}

void tern_gguf_put_u32(tern_gguf_writer *w, const char *key, uint32_t value)
{
    begin_value(w, key, TERN_GGUF_U32);
    add_u32(w, value);
}

void tern_gguf_put_f32(tern_gguf_writer *w, const char *key, float value)
{
    begin_value(w, key, TERN_GGUF_F32);
    tern_gguf_add_bytes(w, &value, sizeof value);
}

void tern_gguf_put_bool(tern_gguf_writer *w, const char *key, bool value)
{
    begin_value(w, key, TERN_GGUF_BOOL);
    tern_gguf_add_bytes(w, &(uint8_t){value}, 1);
}

void tern_gguf_put_text(tern_gguf_writer *w, const char *key, const char *text, size_t bytes)
{
    begin_value(w, key, TERN_GGUF_STRING);
    tern_gguf_add_text(w, text, bytes);
}

void tern_gguf_put_array(tern_gguf_writer *w, const char *key, tern_gguf_type type, uint64_t count)
{
    begin_value(w, key, TERN_GGUF_ARRAY);
    add_u32(w, type);
    add_u64(w, count);
}

void tern_gguf_put_value(tern_gguf_writer *w, const tern_gguf_value *value)
{
    tern_gguf_add_text(w, value->key.data, value->key.bytes);
    w->n_values++;
    if (value->is_array) {
        add_u32(w, TERN_GGUF_ARRAY);
        add_u32(w, value->type);
        add_u64(w, value->count);
    } else {
        add_u32(w, value->type);
    }
    size_t bytes = (size_t)value->count * tern_gguf_type_bytes(value->type);
    if (value->type == TERN_GGUF_STRING) {
        const uint8_t *at = value->data;
        for (uint64_t i = 0; i < value->count; i++) tern_gguf_next_text(&at);
        bytes = (size_t)(at - value->data);
    }
    tern_gguf_add_bytes(w, value->data, bytes);
}

void tern_gguf_put_tensor(tern_gguf_writer *w, const char *name, size_t name_bytes, uint32_t type,
                          uint64_t k, uint64_t n_out)
{
    uint64_t bytes = 0;
    tern_gguf_add_text(w, name, name_bytes);
    add_u32(w, n_out ? 2 : 1);
    add_u64(w, k);
    if (n_out) add_u64(w, n_out);
    add_u32(w, type);
    add_u64(w, w->data_bytes);
    tern_tensor_type_bytes(&bytes, tern_tensor_type_find(type), k, n_out ? n_out : 1);
    w->data_bytes += (bytes + TERN_GGUF_ALIGNMENT - 1) / TERN_GGUF_ALIGNMENT * TERN_GGUF_ALIGNMENT;
    w->n_tensors++;
}

int tern_gguf_writer_finish(tern_gguf_writer *w, tern_error *err)
{
    static const uint8_t zeros[TERN_GGUF_ALIGNMENT];
    tern_gguf_add_bytes(w, zeros,
                        (TERN_GGUF_ALIGNMENT - w->n % TERN_GGUF_ALIGNMENT) % TERN_GGUF_ALIGNMENT);
    if (w->out_of_memory)
        return tern_fail(err, TERN_E_FIT, "no memory for the header of a model file: free some");
    const uint32_t version = 3;
    memcpy(w->bytes, "GGUF", 4);
    memcpy(w->bytes + 4, &version, 4);
    memcpy(w->bytes + 8, &w->n_tensors, 8);
    memcpy(w->bytes + 16, &w->n_values, 8);
    return TERN_OK;
}

void tern_gguf_writer_free(tern_gguf_writer *w)
{
    free(w->bytes);
    *w = (tern_gguf_writer){0};
}
