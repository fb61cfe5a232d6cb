/* gguf.h - a GGUF file (v2, v3) as a checked description. Nothing is copied: names, strings and
 * arrays point into the file's bytes, every one of them checked to lie inside. Used by
 * format/tokenizer and by runtime/model; hostile bytes end here. */
#ifndef TERN_FORMAT_GGUF_H
#define TERN_FORMAT_GGUF_H

#include <stdbool.h>

#include "base/files.h"
#include "format/tensor_type.h"
#include "tern/base.h"

/* Numbers of the value types in the file. */
typedef enum tern_gguf_type {
    TERN_GGUF_U8,
    TERN_GGUF_I8,
    TERN_GGUF_U16,
    TERN_GGUF_I16,
    TERN_GGUF_U32,
    TERN_GGUF_I32,
    TERN_GGUF_F32,
    TERN_GGUF_BOOL,
    TERN_GGUF_STRING,
    TERN_GGUF_ARRAY,
    TERN_GGUF_U64,
    TERN_GGUF_I64,
    TERN_GGUF_F64,
} tern_gguf_type;

/* Bytes inside the file, not zero-terminated. */
typedef struct tern_text {
    const char *data;
    size_t bytes;
} tern_text;

typedef struct tern_gguf_value {
    tern_text key;
    tern_gguf_type type; /* of the value, or of the elements of an array */
    bool is_array;
    uint64_t count;      /* elements; 1 for a scalar */
    const uint8_t *data; /* first element; strings lie one after another as u64 length + bytes */
} tern_gguf_value;

typedef struct tern_gguf_tensor {
    tern_text name;
    uint32_t type; /* ggml number */
    int n_dims;
    uint64_t ne[4];        /* ne[0] fastest; unused ones are 1 */
    uint64_t n_elements;   /* product, checked */
    const tern_file *file; /* that holds the data */
    size_t offset;         /* from its beginning */
    size_t bytes;          /* exact for known types; for others the gap to the next tensor */
} tern_gguf_tensor;

typedef struct tern_gguf {
    tern_file file;
    char *name; /* path, for messages */
    size_t elsewhere; /* bytes of a data section that is not behind the header: see parse_header */
    uint32_t version;
    tern_gguf_value *values;
    size_t n_values;
    tern_gguf_tensor *tensors;
    size_t n_tensors;
    struct tern_gguf **shards; /* the other files of the model; their tensors are in this list */
    size_t n_shards;
} tern_gguf;

/* Maps and checks a file, with those beside it that hold more of its tensors (split.count; the
 * path is that of the first, NAME-00001-of-0000N.gguf). TERN_E_MODEL for everything that is wrong,
 * a missing file included. */
int tern_gguf_open(tern_gguf **out, const char *path, tern_error *err);

/* The same without the files beside it. */
int tern_gguf_open_alone(tern_gguf **out, const char *path, tern_error *err);

/* The same over memory that outlives the result; `name` is for messages. */
int tern_gguf_parse(tern_gguf **out, const void *data, size_t bytes, const char *name,
                    tern_error *err);

/* A header alone, of a file whose data section of data_bytes the caller has elsewhere: offsets are
 * checked, but point outside of the memory. */
int tern_gguf_parse_header(tern_gguf **out, const void *data, size_t bytes, size_t data_bytes,
                           const char *name, tern_error *err);
void tern_gguf_close(tern_gguf *gguf);

/* Of all files, a data section elsewhere included. */
uint64_t tern_gguf_bytes(const tern_gguf *gguf);

/* TERN_E_MODEL when two tensors have one name. */
int tern_gguf_check_names(const tern_gguf *gguf, tern_error *err);

/* NULL when absent. */
const tern_gguf_value *tern_gguf_find(const tern_gguf *gguf, const char *key);
const tern_gguf_tensor *tern_gguf_find_tensor(const tern_gguf *gguf, const char *name);

/* Scalar getters. Absent: *out is set to `fallback` and 0 returned; present with another type or
 * outside the range: TERN_E_MODEL with a sentence. Integers of every width are accepted for i64,
 * f64 for f32; infinities and NaN are outside the range. */
int tern_gguf_i64(int64_t *out, const tern_gguf *gguf, const char *key, int64_t fallback,
                  int64_t min, int64_t max, tern_error *err);
int tern_gguf_f32(float *out, const tern_gguf *gguf, const char *key, float fallback,
                  tern_error *err);
int tern_gguf_bool(bool *out, const tern_gguf *gguf, const char *key, bool fallback,
                   tern_error *err);
/* Absent: data NULL. An empty string has data. */
int tern_gguf_text(tern_text *out, const tern_gguf *gguf, const char *key, tern_error *err);

/* Walks an array of strings: *at starts as value->data; returns the string and moves on. */
tern_text tern_gguf_next_text(const uint8_t **at);

/* Element i of a numeric array of 4-byte elements (i32, u32, f32), alignment-safe. */
uint32_t tern_gguf_u32_at(const tern_gguf_value *value, uint64_t i);

/* An array of `type` under `key`; *out is NULL when it is absent. TERN_E_MODEL for anything else.
 */
int tern_gguf_array(const tern_gguf_value **out, const tern_gguf *gguf, const char *key,
                    tern_gguf_type type, tern_error *err);

/* "u8", "string", ...: the name of a value type, for messages. */
const char *tern_gguf_type_name(tern_gguf_type type);

/* Bytes of one value; 0 for strings and arrays, which have no fixed size. */
size_t tern_gguf_type_bytes(tern_gguf_type type);

bool tern_text_equals(tern_text text, const char *other);

#endif
