/* safetensors.h - a safetensors file as a checked description (FORMATS 10.1): names, types, shapes,
 * and where the values lie in the mapped file. Used by runtime/model for checkpoints of Hugging
 * Face; hostile bytes end here. */
#ifndef TERN_FORMAT_SAFETENSORS_H
#define TERN_FORMAT_SAFETENSORS_H

#include <stdbool.h>

#include "base/files.h"
#include "tern/base.h"

/* Element types that weights come in; the others of the format are TERN_ST_OTHER. */
typedef enum tern_st_type {
    TERN_ST_F32,
    TERN_ST_F16,
    TERN_ST_BF16,
    TERN_ST_U8,
    TERN_ST_OTHER,
} tern_st_type;

typedef struct tern_st_tensor {
    char *name;
    tern_st_type type;
    int n_dims;
    uint64_t shape[2]; /* rows, columns of a matrix; a vector has columns only; else not set */
    uint64_t n_elements;
    size_t offset, bytes; /* in the file */
} tern_st_tensor;

typedef struct tern_safetensors {
    tern_file file;
    char *name; /* path, for messages */
    tern_st_tensor *tensors; /* by name */
    size_t n_tensors;
} tern_safetensors;

/* Maps and checks a file. TERN_E_MODEL for everything that is wrong with it. */
int tern_safetensors_open(tern_safetensors **out, const char *path, tern_error *err);

/* The same over memory that outlives the result. */
int tern_safetensors_parse(tern_safetensors **out, const void *data, size_t bytes, const char *name,
                           tern_error *err);
void tern_safetensors_close(tern_safetensors *file);

/* NULL when absent. */
const tern_st_tensor *tern_safetensors_find(const tern_safetensors *file, const char *name);

#endif
