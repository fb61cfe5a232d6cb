/* safetensors.c - reads the JSON header of a safetensors file: u64 length, then an object of tensor
 * name -> {dtype, shape, data_offsets}. Invariant: a tensor in the list has exactly the bytes that
 * its shape and type ask for, inside the file, and shares none with another. */
#include "format/safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "base/text.h"
#include "format/json.h"

#define MAX_HEADER_BYTES 100000000u /* of the reference library */
#define DAMAGED "the file is damaged, get it again"

static const struct {
    const char *name;
    tern_st_type type;
    uint64_t bytes;
} dtypes[] = {
    {"F32", TERN_ST_F32, 4},    {"F16", TERN_ST_F16, 2},       {"BF16", TERN_ST_BF16, 2},
    {"U8", TERN_ST_U8, 1},      {"F64", TERN_ST_OTHER, 8},     {"I64", TERN_ST_OTHER, 8},
    {"I32", TERN_ST_OTHER, 4},  {"I16", TERN_ST_OTHER, 2},     {"I8", TERN_ST_OTHER, 1},
    {"BOOL", TERN_ST_OTHER, 1}, {"F8_E4M3", TERN_ST_OTHER, 1}, {"F8_E5M2", TERN_ST_OTHER, 1},
};

static int bad_tensor(const tern_safetensors *file, const char *tensor, const char *what,
                      tern_error *err)
{
    return tern_fail(err, TERN_E_MODEL, "'%.140s': tensor '%s' %s: " DAMAGED, file->name,
                     TERN_QUOTED(tensor, strlen(tensor)), what);
}

/* Type and bytes of an element; false for a type that is not of the format. */
static bool find_dtype(tern_st_type *type, uint64_t *bytes, const char *name)
{
    for (size_t i = 0; name && i < sizeof dtypes / sizeof dtypes[0]; i++)
        if (strcmp(dtypes[i].name, name) == 0) {
            *type = dtypes[i].type;
            *bytes = dtypes[i].bytes;
            return true;
        }
    return false;
}

static bool take_shape(tern_st_tensor *t, const json_t *shape)
{
    if (!json_is_array(shape)) return false;
    t->n_dims = (int)json_array_size(shape);
    t->n_elements = 1;
    if (t->n_dims > 16) return false;
    for (int i = 0; i < t->n_dims; i++) {
        const json_t *size = json_array_get(shape, (size_t)i);
        const json_int_t value = json_integer_value(size);
        if (!json_is_integer(size) || value < 0) return false;
        if (__builtin_mul_overflow(t->n_elements, (uint64_t)value, &t->n_elements)) return false;
        if (t->n_dims <= 2) t->shape[2 - t->n_dims + i] = (uint64_t)value;
    }
    if (t->n_dims == 1) t->shape[0] = 1;
    return t->n_elements <= INT64_MAX;
}

static int take_tensor(tern_st_tensor *t, const tern_safetensors *file, size_t data_begin,
                       const json_t *description, tern_error *err)
{
    uint64_t element = 0;
    const json_t *offsets = json_object_get(description, "data_offsets");
    const json_t *first = json_array_get(offsets, 0), *last = json_array_get(offsets, 1);
    if (!find_dtype(&t->type, &element, json_string_value(json_object_get(description, "dtype"))))
        return bad_tensor(file, t->name, "has no type of the format", err);
    if (!take_shape(t, json_object_get(description, "shape")))
        return bad_tensor(file, t->name, "has no shape of whole numbers", err);
    if (json_array_size(offsets) != 2 || !json_is_integer(first) || !json_is_integer(last))
        return bad_tensor(file, t->name, "has no pair of offsets", err);
    const json_int_t begin = json_integer_value(first), end = json_integer_value(last);
    uint64_t wanted;
    if (begin < 0 || end < begin || (uint64_t)end > file->file.bytes - data_begin)
        return bad_tensor(file, t->name, "lies outside of the file", err);
    if (__builtin_mul_overflow(t->n_elements, element, &wanted) ||
        wanted != (uint64_t)(end - begin))
        return bad_tensor(file, t->name, "has another number of bytes than its shape asks for",
                          err);
    t->offset = data_begin + (size_t)begin;
    t->bytes = (size_t)(end - begin);
    return TERN_OK;
}

static int by_offset(const void *a, const void *b)
{
    const tern_st_tensor *x = a, *y = b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

static int by_name(const void *a, const void *b)
{
    const tern_st_tensor *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static int refuse_overlaps(tern_safetensors *file, tern_error *err)
{
    qsort(file->tensors, file->n_tensors, sizeof *file->tensors, by_offset);
    for (size_t i = 1; i < file->n_tensors; i++) {
        const tern_st_tensor *before = &file->tensors[i - 1], *here = &file->tensors[i];
        if (before->bytes && here->bytes && here->offset < before->offset + before->bytes)
            return bad_tensor(file, here->name, "shares bytes with another one", err);
    }
    qsort(file->tensors, file->n_tensors, sizeof *file->tensors, by_name);
    return TERN_OK;
}

static int take_tensors(tern_safetensors *file, json_t *header, size_t data_begin, tern_error *err)
{
    const char *name;
    json_t *description;
    int status = tern_alloc(&file->tensors, json_object_size(header), sizeof *file->tensors,
                            "the tensors of a checkpoint", err);
    if (status != TERN_OK) return status;
    json_object_foreach(header, name, description)
    {
        if (strcmp(name, "__metadata__") == 0) continue;
        tern_st_tensor *t = &file->tensors[file->n_tensors];
        status = tern_alloc(&t->name, strlen(name) + 1, 1, "the name of a tensor", err);
        if (status != TERN_OK) return status;
        memcpy(t->name, name, strlen(name));
        file->n_tensors++;
        status = take_tensor(t, file, data_begin, description, err);
        if (status != TERN_OK) return status;
    }
    return refuse_overlaps(file, err);
}

static int take_header(tern_safetensors *file, tern_error *err)
{
    uint64_t bytes = 0;
    if (file->file.bytes >= 8) memcpy(&bytes, file->file.data, 8);
    if (file->file.bytes < 8 || bytes > file->file.bytes - 8 || bytes > MAX_HEADER_BYTES)
        return tern_fail(err, TERN_E_MODEL,
                         "'%.140s' of %zu bytes claims a header of %llu bytes: it is no safetensors"
                         " file, or " DAMAGED,
                         file->name, file->file.bytes, (unsigned long long)bytes);
    json_t *header = NULL;
    int status =
        tern_json_parse(&header, (const char *)file->file.data + 8, (size_t)bytes, file->name, err);
    if (status == TERN_OK) status = take_tensors(file, header, 8 + (size_t)bytes, err);
    json_decref(header);
    return status;
}

/* Takes over `mapped` in every case. */
static int parse(tern_safetensors **out, tern_file mapped, const char *name, tern_error *err)
{
    tern_safetensors *file;
    int status = tern_alloc(&file, 1, sizeof *file, "a checkpoint", err);
    if (status != TERN_OK) {
        tern_file_unmap(&mapped);
        return status;
    }
    file->file = mapped;
    status = tern_alloc(&file->name, strlen(name) + 1, 1, "a file name", err);
    if (status == TERN_OK) {
        memcpy(file->name, name, strlen(name));
        status = take_header(file, err);
    }
    if (status == TERN_OK)
        *out = file;
    else
        tern_safetensors_close(file);
    return status;
}

int tern_safetensors_open(tern_safetensors **out, const char *path, tern_error *err)
{
    tern_file file = {0};
    if (tern_file_map(&file, path, err) != TERN_OK) {
        if (err) err->status = TERN_E_MODEL;
        return TERN_E_MODEL;
    }
    return parse(out, file, path, err);
}

int tern_safetensors_parse(tern_safetensors **out, const void *data, size_t bytes, const char *name,
                           tern_error *err)
{
    return parse(out, (tern_file){.data = data, .bytes = bytes}, name, err);
}

void tern_safetensors_close(tern_safetensors *file)
{
    if (!file) return;
    tern_file_unmap(&file->file);
    for (size_t i = 0; i < file->n_tensors; i++) free(file->tensors[i].name);
    free(file->tensors);
    free(file->name);
    free(file);
}

const tern_st_tensor *tern_safetensors_find(const tern_safetensors *file, const char *name)
{
    const tern_st_tensor key = {.name = (char *)(uintptr_t)name};
    if (file->n_tensors == 0) return NULL;
    return bsearch(&key, file->tensors, file->n_tensors, sizeof key, by_name);
}
