/* tokenizer_gguf.h - builds a tokenizer from the tokenizer.ggml.* keys of a GGUF file. */
#ifndef TERN_FORMAT_TOKENIZER_GGUF_H
#define TERN_FORMAT_TOKENIZER_GGUF_H

#include "format/gguf.h"
#include "tern/tokenizer.h"

/* Owns everything it needs: the file may be closed afterwards.
 * `pre` overrides the file's pre-tokenizer; NULL follows the file (FORMATS 8.4, 12.2). TERN_E_MODEL
 * for a tokenizer model or pre-tokenizer this program does not know, TERN_E_USAGE for an unknown
 * override. */
int tern_tokenizer_from_gguf(tern_tokenizer **out, const tern_gguf *gguf, const char *pre,
                             tern_error *err);
void tern_tokenizer_destroy(tern_tokenizer *tokenizer);

#endif
