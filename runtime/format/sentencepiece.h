/* sentencepiece.h - tokenizer.model, SentencePiece's own file, as the tokenizer.ggml.* keys that
 * the same tokenizer has in a GGUF file. Checkpoints without a tokenizer.json have it. */
#ifndef TERN_FORMAT_SENTENCEPIECE_H
#define TERN_FORMAT_SENTENCEPIECE_H

#include "format/tokenizer_json.h"

/* Writes the keys of a file [bytes], called `name` in messages. Tokens that were added later are
 * those of added_tokens_decoder in extra->config. TERN_E_MODEL for a file that is damaged or whose
 * model is not BPE. */
int tern_sentencepiece_keys(tern_gguf_writer *w, const void *file, size_t bytes,
                            const tern_tokenizer_extra *extra, const char *name, tern_error *err);

#endif
