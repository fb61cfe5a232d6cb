/* tokenizer_json.h - the tokenizer of a Hugging Face checkpoint (FORMATS 12.6) as the
 * tokenizer.ggml.* keys that the same tokenizer has in a GGUF file, so that there is one way to
 * read it. */
#ifndef TERN_FORMAT_TOKENIZER_JSON_H
#define TERN_FORMAT_TOKENIZER_JSON_H

#include "format/gguf_writer.h"
#include "format/json.h"

/* What the files beside tokenizer.json say. */
typedef struct tern_tokenizer_extra {
    int32_t n_vocab;      /* rows of the embedding: missing tokens are filled up; 0: as many as
                            tokens */
    int32_t bos;          /* -1: none */
    int32_t ends[3];      /* -1: none */
    const json_t *config; /* tokenizer_config.json; NULL: there is none */
    tern_text chat;       /* chat_template.jinja, which goes before config's; data NULL: none */
} tern_tokenizer_extra;

/* Writes the keys of `tokenizer` (tokenizer.json, called `name` in messages). TERN_E_MODEL for a
 * tokenizer that is neither byte-level BPE nor SentencePiece's BPE. A pre-tokenizer pattern that
 * is not known is written as it is, so that the reader of the keys refuses it, unless told
 * better. */
int tern_tokenizer_json_keys(tern_gguf_writer *w, const json_t *tokenizer,
                             const tern_tokenizer_extra *extra, const char *name, tern_error *err);

#endif
