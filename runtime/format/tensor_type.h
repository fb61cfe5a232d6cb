/* tensor_type.h - how the values of a tensor lie in a GGUF file (FORMATS 2-7): one table of types,
 * each with its size and its pure readers. Used by gguf.c for sizes and by runtime/model while it
 * loads, a row at a time.
 *
 * A row is k = ne[0] values. Rows of block types are whole blocks; I2_S, TL1 and TL2 are laid out
 * over the whole matrix and read by (row, column). */
#ifndef TERN_FORMAT_TENSOR_TYPE_H
#define TERN_FORMAT_TENSOR_TYPE_H

#include <stdbool.h>

#include "format/tl.h"
#include "tern/base.h"

/* ggml's numbers of the types this reader knows; 36, 38 and 39 are those of bitnet.cpp, 134 and 135
 * those of ik_llama.cpp. */
enum {
    TERN_GGML_F32 = 0,
    TERN_GGML_F16 = 1,
    TERN_GGML_Q4_0 = 2,
    TERN_GGML_Q8_0 = 8,
    TERN_GGML_Q4_K = 12,
    TERN_GGML_Q6_K = 14,
    TERN_GGML_BF16 = 30,
    TERN_GGML_TQ1_0 = 34,
    TERN_GGML_TQ2_0 = 35,
    TERN_GGML_I2_S = 36,
    TERN_GGML_TL1 = 38,
    TERN_GGML_TL2 = 39,
    TERN_GGML_IQ1_BN = 134,
    TERN_GGML_IQ2_BN = 135,
};

/* The byte orders of I2_S, which no file names (FORMATS 4.5); `a` is the one of every published
 * file. */
typedef enum tern_i2s_layout {
    TERN_I2S_A, /* blocks of 128, 32 bytes apart, high bits first */
    TERN_I2S_B, /* blocks of 64, 16 bytes apart, high bits first */
    TERN_I2S_C, /* four rows interleaved, high bits first */
    TERN_I2S_D, /* in sequence, low bits first */
} tern_i2s_layout;

/* The bytes of one tensor, its shape, and what the file does not say about them. */
typedef struct tern_packed {
    const uint8_t *data;
    size_t k, n_out; /* columns and rows */
    tern_i2s_layout i2s;
    tern_tl_shape tl; /* TL1 and TL2 only; BM 0: not known */
} tern_packed;

#define TERN_CODE_3 \
    "has the code 3, which no encoder writes: the file is damaged or of another layout"

/* Row `row` as codes {0, 1, 2} [k]; *scale is what they are multiplied by. NULL when all is well,
 * otherwise what is wrong with the row, as the end of a sentence. */
typedef const char *tern_codes_fn(uint8_t *codes, float *scale, const tern_packed *t, size_t row);

typedef struct tern_tensor_type {
    uint32_t number;
    const char *name;
    uint32_t block, block_bytes; /* values and bytes of a block; 0: laid out over the matrix */
    uint32_t row_bytes;          /* in front of the blocks of each row */
    void (*floats)(float *out, const uint8_t *row, size_t k); /* NULL: only codes times a scale */
    tern_codes_fn *codes;                                     /* NULL: only floats */
} tern_tensor_type;

/* NULL for a number that is not in the table. */
const tern_tensor_type *tern_tensor_type_find(uint32_t number);

/* "F32 (0), F16 (1), ...", for messages. */
const char *tern_tensor_type_names(void);

/* Bytes of a matrix of n_out rows of k, 0 < k * n_out < 2^63; UINT64_MAX when no number holds them.
 * False when rows of k are not possible in this type. */
bool tern_tensor_type_bytes(uint64_t *out, const tern_tensor_type *type, uint64_t k,
                            uint64_t n_out);

/* The readers of the families: float_blocks.c, ternary_blocks.c, ternary.c, tl.c. */
void tern_floats_f32(float *out, const uint8_t *row, size_t k);
void tern_floats_f16(float *out, const uint8_t *row, size_t k);
void tern_floats_bf16(float *out, const uint8_t *row, size_t k);
void tern_floats_q8_0(float *out, const uint8_t *row, size_t k);
void tern_floats_q4_0(float *out, const uint8_t *row, size_t k);
void tern_floats_q4_k(float *out, const uint8_t *row, size_t k);
void tern_floats_q6_k(float *out, const uint8_t *row, size_t k);
void tern_floats_tq1_0(float *out, const uint8_t *row, size_t k); /* NaN: code 3, see TERN_CODE_3 */
void tern_floats_tq2_0(float *out, const uint8_t *row, size_t k);
tern_codes_fn tern_codes_tq1_0, tern_codes_tq2_0, tern_codes_iq1_bn, tern_codes_iq2_bn;
tern_codes_fn tern_codes_i2s, tern_codes_tl1, tern_codes_tl2;

/* The first two scales of a row that differ, for messages; false where none do, and for types other
 * than TQ1_0 and TQ2_0. */
bool tern_tq_scales(float out[2], const tern_packed *t, const tern_tensor_type *type, size_t row);

#endif
