/* inspect.h - what the files of `tern inspect` share.
 *
 *   cmd_inspect.c     options, the two forms of output
 *   inspect_file.c    a GGUF file's keys, tensors and types as JSON
 *   inspect_codes.c   reads the ternary matrices and counts their codes
 *   inspect_doctor.c  what looks wrong with a model */
#ifndef TERN_CLI_INSPECT_H
#define TERN_CLI_INSPECT_H

#include <jansson.h>

#include "model/model_file.h"

/* "I2_S", ...: ggml's name of a tensor type, also of types that cannot be run; "?" for others. */
const char *cli_type_name(uint32_t type);

/* The file's keys with their values; of arrays type and length, of long texts the beginning. */
json_t *cli_inspect_keys(const tern_gguf *gguf);

/* One object a tensor: name, type, shape, offset, bytes. */
json_t *cli_inspect_tensors(const tern_gguf *gguf);

/* One object a type: name, tensors, bytes. */
json_t *cli_inspect_types(const tern_gguf *gguf);

/* What a ternary matrix holds. */
typedef struct cli_codes {
    const tern_gguf_tensor *tensor;
    uint64_t counts[3]; /* of -1, 0, +1 */
    float scale;        /* the largest magnitude among the rows' */
    size_t n_bad;       /* rows that are not ternary; not counted above */
    size_t first_bad;
} cli_codes;

/* Reads all ternary matrices, with progress; the caller frees *out [*n]. */
int cli_count_codes(cli_codes **out, size_t *n, const tern_model *model,
                    const tern_progress *progress, tern_error *err);

/* What the doctor found, one object each: severity ("problem", "warning", "note") and text.
 * Problems make answers wrong for certain, warnings probably, notes say what Tern does instead of
 * the file. */
json_t *cli_doctor(const tern_model *model, const cli_codes *codes, size_t n);

#endif
