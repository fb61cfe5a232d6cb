/* gguf.c - reads a GGUF header into arrays that point into the file. Called by tern_gguf_open and
 * by tests with hostile bytes. Invariant: nothing is read before the cursor has proven that it lies
 * inside the file, and nothing is allocated for more entries than the remaining bytes could hold.
 */
#include "format/gguf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "base/text.h"

#define MAX_KEY_BYTES 65535                      /* of the GGUF specification */
#define MAX_NAME_BYTES 63                        /* ggml's buffer holds 64 with the terminator */
#define MIN_VALUE_BYTES (8 + 1 + 4 + 1)          /* key of one byte, type, one byte */
#define MIN_TENSOR_BYTES (8 + 1 + 4 + 8 + 4 + 8) /* name of one byte, n_dims, ne, type, offset */
#define DAMAGED "the file is damaged, get it again"

/* Position in the bytes of a header. */
typedef struct cursor {
    tern_gguf *gguf;
    size_t at;
    tern_error *err;
} cursor;

/* One sentence about a file: "'name': ...". The name is cut so that the rest always fits. */
__attribute__((format(printf, 3, 4))) static int bad(const tern_gguf *gguf, tern_error *err,
                                                     const char *format, ...)
{
    char text[360];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return tern_fail(err, TERN_E_MODEL, "'%.140s': %s", gguf->name, text);
}

/* ---- the cursor ---------------------------------------------------------------------------- */

static size_t remaining(const cursor *c)
{
    return c->gguf->file.bytes - c->at;
}

static int take(const uint8_t **out, cursor *c, uint64_t bytes, const char *what)
{
    if (bytes > remaining(c))
        return bad(c->gguf, c->err,
                   "%s at byte %zu needs %llu bytes but the file ends after %zu: " DAMAGED, what,
                   c->at, (unsigned long long)bytes, remaining(c));
    *out = c->gguf->file.data + c->at;
    c->at += (size_t)bytes;
    return TERN_OK;
}

static int take_u32(uint32_t *out, cursor *c, const char *what)
{
    const uint8_t *from = NULL;
    const int status = take(&from, c, 4, what);
    if (status == TERN_OK) memcpy(out, from, 4);
    return status;
}

static int take_u64(uint64_t *out, cursor *c, const char *what)
{
    const uint8_t *from = NULL;
    const int status = take(&from, c, 8, what);
    if (status == TERN_OK) memcpy(out, from, 8);
    return status;
}

static int take_text(tern_text *out, cursor *c, const char *what)
{
    uint64_t bytes = 0;
    const uint8_t *from = NULL;
    int status = take_u64(&bytes, c, what);
    if (status == TERN_OK) status = take(&from, c, bytes, what);
    if (status == TERN_OK) *out = (tern_text){.data = (const char *)from, .bytes = (size_t)bytes};
    return status;
}

/* ---- keys and values ------------------------------------------------------------------------ */

static int take_type(tern_gguf_type *out, cursor *c, tern_text key)
{
    const size_t at = c->at;
    uint32_t type = 0;
    const int status = take_u32(&type, c, "the type of a value");
    if (status != TERN_OK) return status;
    if (type > TERN_GGUF_F64)
        return bad(c->gguf, c->err,
                   "key '%s' has value type %u at byte %zu, but types end at %d: " DAMAGED,
                   TERN_QUOTED(key.data, key.bytes), type, at, TERN_GGUF_F64);
    *out = (tern_gguf_type)type;
    return TERN_OK;
}

/* The elements of a scalar or an array, after its type and count. */
static int take_elements(tern_gguf_value *value, cursor *c)
{
    const size_t at = c->at;
    const size_t bytes = tern_gguf_type_bytes(value->type);
    if (value->count > remaining(c) / (bytes ? bytes : 8)) /* a string takes 8 bytes at least */
        return bad(c->gguf, c->err,
                   "key '%s' at byte %zu claims %llu values of type %s, more than the"
                   " %zu bytes left could hold: " DAMAGED,
                   TERN_QUOTED(value->key.data, value->key.bytes), at,
                   (unsigned long long)value->count, tern_gguf_type_name(value->type),
                   remaining(c));
    value->data = c->gguf->file.data + at;
    if (bytes) {
        c->at += (size_t)value->count * bytes;
    } else {
        tern_text text;
        for (uint64_t i = 0; i < value->count; i++) {
            const int status = take_text(&text, c, "a string");
            if (status != TERN_OK) return status;
        }
    }
    if (value->type != TERN_GGUF_BOOL) return TERN_OK;
    for (size_t i = 0; i < value->count; i++)
        if (value->data[i] > 1)
            return bad(c->gguf, c->err,
                       "key '%s' holds the bool %u at byte %zu instead of 0 or 1: " DAMAGED,
                       TERN_QUOTED(value->key.data, value->key.bytes), value->data[i], at + i);
    return TERN_OK;
}

static int take_value(tern_gguf_value *value, cursor *c)
{
    const size_t at = c->at;
    int status = take_text(&value->key, c, "a key");
    if (status != TERN_OK) return status;
    if (value->key.bytes == 0 || value->key.bytes > MAX_KEY_BYTES)
        return bad(c->gguf, c->err,
                   "the key at byte %zu has %zu bytes instead of 1 to %d: " DAMAGED, at,
                   value->key.bytes, MAX_KEY_BYTES);
    value->count = 1;
    status = take_type(&value->type, c, value->key);
    if (status == TERN_OK && value->type == TERN_GGUF_ARRAY) {
        value->is_array = true;
        status = take_type(&value->type, c, value->key);
        if (status == TERN_OK && value->type == TERN_GGUF_ARRAY)
            return bad(c->gguf, c->err,
                       "key '%s' at byte %zu is an array of arrays, which no model needs:"
                       " remove the key",
                       TERN_QUOTED(value->key.data, value->key.bytes), at);
        if (status == TERN_OK) status = take_u64(&value->count, c, "the count of an array");
    }
    return status == TERN_OK ? take_elements(value, c) : status;
}

/* ---- tensors -------------------------------------------------------------------------------- */

static int take_shape(tern_gguf_tensor *tensor, cursor *c)
{
    const size_t at = c->at;
    const char *name = TERN_QUOTED(tensor->name.data, tensor->name.bytes);
    uint32_t n_dims = 0;
    int status = take_u32(&n_dims, c, "the shape of a tensor");
    if (status != TERN_OK) return status;
    if (n_dims < 1 || n_dims > 4)
        return bad(c->gguf, c->err,
                   "tensor '%s' has %u dimensions at byte %zu instead of 1 to 4: " DAMAGED, name,
                   n_dims, at);
    tensor->n_dims = (int)n_dims;
    tensor->n_elements = 1;
    for (int i = 0; i < 4; i++) tensor->ne[i] = 1;
    for (int i = 0; i < tensor->n_dims; i++) {
        status = take_u64(&tensor->ne[i], c, "the shape of a tensor");
        if (status != TERN_OK) return status;
        if (tensor->ne[i] == 0)
            return bad(c->gguf, c->err, "dimension %d of tensor '%s' at byte %zu is 0: " DAMAGED, i,
                       name, at);
        uint64_t product;
        if (__builtin_mul_overflow(tensor->n_elements, tensor->ne[i], &product) ||
            product > INT64_MAX)
            return bad(c->gguf, c->err,
                       "tensor '%s' at byte %zu has more elements than a number can"
                       " count (dimension %d is %llu): " DAMAGED,
                       name, at, i, (unsigned long long)tensor->ne[i]);
        tensor->n_elements = product;
    }
    return TERN_OK;
}

/* Name, shape, type and the offset relative to the data section. */
static int take_tensor(tern_gguf_tensor *tensor, cursor *c, uint32_t alignment)
{
    const size_t at = c->at;
    int status = take_text(&tensor->name, c, "a tensor name");
    if (status != TERN_OK) return status;
    if (tensor->name.bytes == 0 || tensor->name.bytes > MAX_NAME_BYTES)
        return bad(c->gguf, c->err,
                   "the tensor name at byte %zu has %zu bytes instead of 1 to %d: " DAMAGED, at,
                   tensor->name.bytes, MAX_NAME_BYTES);
    uint64_t offset = 0;
    status = take_shape(tensor, c);
    if (status == TERN_OK) status = take_u32(&tensor->type, c, "the type of a tensor");
    if (status == TERN_OK) status = take_u64(&offset, c, "the offset of a tensor");
    if (status != TERN_OK) return status;
    if (offset % alignment != 0)
        return bad(c->gguf, c->err,
                   "tensor '%s' has offset %llu, not a multiple of the alignment %u: " DAMAGED,
                   TERN_QUOTED(tensor->name.data, tensor->name.bytes), (unsigned long long)offset,
                   alignment);
    tensor->offset = (size_t)offset;
    return TERN_OK;
}

static int by_offset(const void *a, const void *b)
{
    const tern_gguf_tensor *const *x = a, *const *y = b;
    return ((*x)->offset > (*y)->offset) - ((*x)->offset < (*y)->offset);
}

/* Bytes of a tensor of a known type, checked; of others the whole gap. Type 39 that is too short
 * for TL2 is another program's (FORMATS 2.2) and counts as unknown. */
static int measure(tern_gguf_tensor *tensor, size_t gap, const tern_gguf *gguf, tern_error *err)
{
    const char *name = TERN_QUOTED(tensor->name.data, tensor->name.bytes);
    const uint64_t n = tensor->n_elements, k = tensor->ne[0];
    const tern_tensor_type *type = tern_tensor_type_find(tensor->type);
    uint64_t bytes = gap;
    if (type && !tern_tensor_type_bytes(&bytes, type, k, n / k))
        return bad(gguf, err,
                   "%s tensor '%s' has %llu elements in rows of %llu, which this type cannot"
                   " hold: " DAMAGED,
                   type->name, name, (unsigned long long)n, (unsigned long long)k);
    if (tensor->type == TERN_GGML_TL2 && bytes > gap) bytes = gap;
    if (bytes > gap || gap == 0)
        return bad(gguf, err,
                   "tensor '%s' of %llu elements and type %u at byte %zu has room for %zu bytes"
                   " before the next tensor or the end of the file, which is too little: " DAMAGED,
                   name, (unsigned long long)n, tensor->type, tensor->offset, gap);
    tensor->bytes = (size_t)bytes;
    return TERN_OK;
}

/* Turns relative offsets into places in the file and proves that no two tensors share a byte. */
static int place_tensors(tern_gguf *gguf, size_t data_begin, tern_error *err)
{
    const size_t end = gguf->file.bytes + gguf->elsewhere, n = gguf->n_tensors;
    for (size_t i = 0; i < n; i++) {
        tern_gguf_tensor *tensor = &gguf->tensors[i];
        if (data_begin > end || tensor->offset >= end - data_begin)
            return bad(gguf, err,
                       "tensor '%s' begins %zu bytes into the data at byte %zu, but the file has"
                       " only %zu bytes: " DAMAGED,
                       TERN_QUOTED(tensor->name.data, tensor->name.bytes), tensor->offset,
                       data_begin, end);
        tensor->offset += data_begin;
    }
    tern_gguf_tensor **sorted;
    int status = tern_alloc(&sorted, n, sizeof *sorted, "the order of tensors", err);
    if (status != TERN_OK) return status;
    for (size_t i = 0; i < n; i++) sorted[i] = &gguf->tensors[i];
    qsort(sorted, n, sizeof *sorted, by_offset);
    for (size_t i = 0; i < n && status == TERN_OK; i++)
        status = measure(sorted[i], (i + 1 < n ? sorted[i + 1]->offset : end) - sorted[i]->offset,
                         gguf, err);
    free(sorted);
    return status;
}

/* ---- the whole header ------------------------------------------------------------------------ */

static int compare_texts(tern_text x, tern_text y)
{
    const size_t shared = x.bytes < y.bytes ? x.bytes : y.bytes;
    const int order = shared ? memcmp(x.data, y.data, shared) : 0;
    return order ? order : (x.bytes > y.bytes) - (x.bytes < y.bytes);
}

static int by_text(const void *a, const void *b)
{
    return compare_texts(*(const tern_text *)a, *(const tern_text *)b);
}

/* `texts` are n texts, `stride` bytes apart: the keys of values or the names of tensors. */
static int refuse_duplicates(const void *texts, size_t n, size_t stride, const char *what,
                             const tern_gguf *gguf, tern_error *err)
{
    tern_text *sorted;
    int status = tern_alloc(&sorted, n, sizeof *sorted, "the order of names", err);
    if (status != TERN_OK) return status;
    for (size_t i = 0; i < n; i++)
        memcpy(&sorted[i], (const uint8_t *)texts + i * stride, sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, by_text);
    for (size_t i = 1; i < n && status == TERN_OK; i++)
        if (compare_texts(sorted[i - 1], sorted[i]) == 0)
            status = bad(gguf, err,
                         "%s '%s' occurs twice, so it is not clear which one counts: " DAMAGED,
                         what, TERN_QUOTED(sorted[i].data, sorted[i].bytes));
    free(sorted);
    return status;
}

static int take_version(cursor *c)
{
    tern_gguf *gguf = c->gguf;
    const uint8_t *magic = NULL;
    int status = take(&magic, c, 4, "the magic number");
    if (status != TERN_OK) return status;
    if (memcmp(magic, "GGUF", 4) != 0)
        return bad(gguf, c->err,
                   "this is not a GGUF file (it begins with '%s' instead of 'GGUF'): give a"
                   " file that ends in .gguf",
                   TERN_QUOTED((const char *)magic, 4));
    status = take_u32(&gguf->version, c, "the version");
    if (status != TERN_OK) return status;
    if ((gguf->version & 0xffff) == 0)
        return bad(gguf, c->err,
                   "this GGUF file is big endian (version field 0x%08x at byte 4): convert it"
                   " to little endian",
                   gguf->version);
    if (gguf->version != 2 && gguf->version != 3)
        return bad(gguf, c->err,
                   "GGUF version %u at byte 4 is not supported, only 2 and 3 are: convert the"
                   " file with a current tool",
                   gguf->version);
    return TERN_OK;
}

static int take_count(size_t *out, cursor *c, const char *what, size_t min_bytes)
{
    const size_t at = c->at;
    uint64_t count = 0;
    const int status = take_u64(&count, c, what);
    if (status != TERN_OK) return status;
    if (count > remaining(c) / min_bytes)
        return bad(c->gguf, c->err,
                   "%s at byte %zu is %llu, more than a file of %zu bytes could hold: " DAMAGED,
                   what, at, (unsigned long long)count, c->gguf->file.bytes);
    *out = (size_t)count;
    return TERN_OK;
}

static int take_alignment(uint32_t *out, const cursor *c)
{
    *out = 32;
    const tern_gguf_value *value = tern_gguf_find(c->gguf, "general.alignment");
    if (!value) return TERN_OK;
    if (value->is_array || value->type != TERN_GGUF_U32)
        return bad(c->gguf, c->err, "general.alignment is no u32: " DAMAGED);
    memcpy(out, value->data, 4);
    if (*out == 0 || (*out & (*out - 1)) != 0)
        return bad(c->gguf, c->err, "general.alignment is %u, not a power of two: " DAMAGED, *out);
    return TERN_OK;
}

/* A model in several files (FORMATS 1.5). */
static int refuse_parts(const cursor *c)
{
    int64_t number = 0, count = 1;
    int status = tern_gguf_i64(&count, c->gguf, "split.count", 1, 0, UINT16_MAX, c->err);
    if (status == TERN_OK)
        status = tern_gguf_i64(&number, c->gguf, "split.no", 0, 0, UINT16_MAX, c->err);
    if (status != TERN_OK || count <= 1) return status;
    return bad(c->gguf, c->err,
               "this is part %d of a model in %d files: join them into one, as llama-gguf-split"
               " --merge does",
               (int)number + 1, (int)count);
}

static int take_header(cursor *c)
{
    tern_gguf *gguf = c->gguf;
    int status = take_version(c);
    if (status == TERN_OK)
        status = take_count(&gguf->n_tensors, c, "the number of tensors", MIN_TENSOR_BYTES);
    if (status == TERN_OK)
        status = take_count(&gguf->n_values, c, "the number of keys", MIN_VALUE_BYTES);
    if (status == TERN_OK)
        status = tern_alloc(&gguf->values, gguf->n_values, sizeof *gguf->values,
                            "the keys of a model file", c->err);
    for (size_t i = 0; i < gguf->n_values && status == TERN_OK; i++)
        status = take_value(&gguf->values[i], c);
    if (status == TERN_OK)
        status = refuse_duplicates(gguf->values, gguf->n_values, sizeof *gguf->values, "key", gguf,
                                   c->err);
    uint32_t alignment = 0;
    if (status == TERN_OK) status = refuse_parts(c);
    if (status == TERN_OK) status = take_alignment(&alignment, c);
    if (status == TERN_OK)
        status = tern_alloc(&gguf->tensors, gguf->n_tensors, sizeof *gguf->tensors,
                            "the tensors of a model file", c->err);
    for (size_t i = 0; i < gguf->n_tensors && status == TERN_OK; i++)
        status = take_tensor(&gguf->tensors[i], c, alignment);
    if (status == TERN_OK)
        status = refuse_duplicates(gguf->tensors, gguf->n_tensors, sizeof *gguf->tensors, "tensor",
                                   gguf, c->err);
    if (status != TERN_OK) return status;
    return place_tensors(gguf, tern_round_up(c->at, alignment), c->err);
}

/* Takes over `file` in every case. */
static int parse(tern_gguf **out, tern_file file, size_t elsewhere, const char *name,
                 tern_error *err)
{
    _Static_assert(sizeof(size_t) == 8, "offsets of files need 64 bits");
    tern_gguf *gguf = NULL;
    int status = tern_alloc(&gguf, 1, sizeof *gguf, "a model file", err);
    if (status != TERN_OK) {
        tern_file_unmap(&file);
        return status;
    }
    gguf->file = file;
    gguf->elsewhere = elsewhere;
    const size_t name_bytes = strlen(name) + 1;
    status = tern_alloc(&gguf->name, name_bytes, 1, "a file name", err);
    if (status == TERN_OK) {
        memcpy(gguf->name, name, name_bytes);
        status = take_header(&(cursor){.gguf = gguf, .err = err});
    }
    if (status == TERN_OK)
        *out = gguf;
    else
        tern_gguf_close(gguf);
    return status;
}

int tern_gguf_open(tern_gguf **out, const char *path, tern_error *err)
{
    tern_file file = {0};
    if (tern_file_map(&file, path, err) != TERN_OK) {
        if (err) err->status = TERN_E_MODEL;
        return TERN_E_MODEL;
    }
    return parse(out, file, 0, path, err);
}

int tern_gguf_parse(tern_gguf **out, const void *data, size_t bytes, const char *name,
                    tern_error *err)
{
    return parse(out, (tern_file){.data = data, .bytes = bytes}, 0, name, err);
}

int tern_gguf_parse_header(tern_gguf **out, const void *data, size_t bytes, size_t data_bytes,
                           const char *name, tern_error *err)
{
    return parse(out, (tern_file){.data = data, .bytes = bytes}, data_bytes, name, err);
}

void tern_gguf_close(tern_gguf *gguf)
{
    if (!gguf) return;
    tern_file_unmap(&gguf->file);
    free(gguf->name);
    free(gguf->values);
    free(gguf->tensors);
    free(gguf);
}
