/* gguf_writer.h - builds the header of a GGUF v3 file in memory: keys first, then tensors, whose
 * offsets it assigns. Used by format/tokenizer_json, and by runtime/model to describe checkpoints
 * of other formats and to convert them.
 *
 * Running out of memory is remembered and reported by tern_gguf_writer_finish(), so that a header
 * reads as a list of calls. Nothing here is checked against the format: tern_gguf_parse() does. */
#ifndef TERN_FORMAT_GGUF_WRITER_H
#define TERN_FORMAT_GGUF_WRITER_H

#include "format/gguf.h"

#define TERN_GGUF_ALIGNMENT 32

/* Start with {0}. */
typedef struct tern_gguf_writer {
    uint8_t *bytes;
    size_t n, cap;
    uint64_t n_values, n_tensors;
    uint64_t data_bytes; /* of the tensors so far, each padded */
    bool out_of_memory;
} tern_gguf_writer;

void tern_gguf_writer_free(tern_gguf_writer *w);

void tern_gguf_put_u32(tern_gguf_writer *w, const char *key, uint32_t value);
void tern_gguf_put_f32(tern_gguf_writer *w, const char *key, float value);
void tern_gguf_put_bool(tern_gguf_writer *w, const char *key, bool value);
void tern_gguf_put_text(tern_gguf_writer *w, const char *key, const char *text, size_t bytes);

/* A value of another file, key and all. */
void tern_gguf_put_value(tern_gguf_writer *w, const tern_gguf_value *value);

/* An array, whose `count` elements follow, one call each. */
void tern_gguf_put_array(tern_gguf_writer *w, const char *key, tern_gguf_type type, uint64_t count);
void tern_gguf_add_text(tern_gguf_writer *w, const char *text, size_t bytes);
void tern_gguf_add_bytes(tern_gguf_writer *w, const void *data, size_t bytes);

/* A matrix of n_out rows of k; n_out 0: a vector. The type and shape have a size. */
void tern_gguf_put_tensor(tern_gguf_writer *w, const char *name, size_t name_bytes, uint32_t type,
                          uint64_t k, uint64_t n_out);

/* Fills in the counts and pads to the data section; nothing may follow. TERN_E_FIT when memory ran
 * out on the way. */
int tern_gguf_writer_finish(tern_gguf_writer *w, tern_error *err);

#endif
