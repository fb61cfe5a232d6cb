/* pretokenize.h - cuts text into the pieces inside which a BPE merges (FORMATS 12.2). */
#ifndef TERN_FORMAT_PRETOKENIZE_H
#define TERN_FORMAT_PRETOKENIZE_H

#include <stdbool.h>

#include "tern/base.h"

typedef struct tern_cutter tern_cutter;

/* What is known about a pre-tokenizer besides its patterns. */
typedef struct tern_pre_info {
    const char *name;   /* the one of tern_tokenizer_pre() */
    bool ignore_merges; /* a piece that is a token stays whole */
    bool add_bos;       /* unless the file says otherwise */
} tern_pre_info;

/* Names and aliases, "llama-bpe, llama3, ...", for messages. */
const char *tern_pre_names(void);

/* Compiles the patterns of `name` or of what it is an alias of; without `jit` they are interpreted,
 * with the same result. *known is false, and nothing is made, for a name that is not in the table.
 */
int tern_cutter_create(tern_cutter **out, bool *known, const char *name, size_t name_bytes,
                       bool jit, tern_error *err);
void tern_cutter_destroy(tern_cutter *cutter);
const tern_pre_info *tern_cutter_info(const tern_cutter *cutter);

/* Gets one piece, never empty; pieces come in order and together are the text. Non-zero stops the
 * cutting and is returned by tern_cutter_run(). */
typedef int tern_piece_fn(void *user, const char *piece, size_t bytes, tern_error *err);

/* Cuts text [bytes], which must be valid UTF-8. Any number of threads may do so at once. */
int tern_cutter_run(const tern_cutter *cutter, const char *text, size_t bytes, tern_piece_fn *fn,
                    void *user, tern_error *err);

#endif
