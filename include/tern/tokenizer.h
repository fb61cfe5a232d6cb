/* tern/tokenizer.h - text to token ids and back.
 *
 * Byte-level BPE as in GPT-2 and Llama 3: text is cut by the pre-tokenizer's pattern, bytes are
 * merged by rank inside each piece, every byte sequence can be encoded and comes back unchanged
 * (where the model's tokenizer asks for it, in Unicode's Normalization Form C).
 * SentencePiece's BPE as in Llama 1 and 2: characters are merged by score, spaces are part of the
 * tokens, and most vocabularies want a space in front of a text, which comes back with it. A
 * tokenizer is immutable and may be used by any number of threads; a tern_utf8_stream belongs to
 * one.
 */
#ifndef TERN_TOKENIZER_H
#define TERN_TOKENIZER_H

#include "tern/base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tern_tokenizer tern_tokenizer;

/* Flags of tern_tokenizer_encode. */
enum {
    TERN_ENCODE_BOS = 1,     /* put the model's BOS first, when the model wants one */
    TERN_ENCODE_SPECIAL = 2, /* recognise control tokens in the text; never in untrusted text */
    TERN_ENCODE_EOS = 4,     /* put EOS last, when the model wants one; not in text to continue */
};

/* Ids that any text of that many bytes can need, special tokens included. */
size_t tern_tokenizer_bound(const tern_tokenizer *tokenizer, size_t text_bytes);

/* Encodes text [bytes] (any bytes; invalid UTF-8 is encoded byte by byte) into ids [cap]; *n is
 * their number. TERN_E_FIT when cap is too small; tern_tokenizer_bound() always suffices.
 * TERN_E_MODEL when the text needs a single byte that the vocabulary lacks. On failure *n is
 * untouched, ids are not. */
int tern_tokenizer_encode(const tern_tokenizer *tokenizer, int32_t *ids, size_t cap, size_t *n,
                          const char *text, size_t bytes, unsigned flags, tern_error *err);

/* The bytes a token stands for (not zero-terminated, may be a part of a UTF-8 sequence); *bytes is
 * their number. Control tokens give their name. NULL for an id outside the vocabulary. */
const char *tern_tokenizer_bytes(const tern_tokenizer *tokenizer, int32_t id, size_t *bytes);

int tern_tokenizer_n_vocab(const tern_tokenizer *tokenizer);

/* -1 where the model has none. */
int32_t tern_tokenizer_bos(const tern_tokenizer *tokenizer);
int32_t tern_tokenizer_eos(const tern_tokenizer *tokenizer);

/* 1 for control and unknown tokens, which are never shown as text. */
int tern_tokenizer_is_control(const tern_tokenizer *tokenizer, int32_t id);

/* 1 when the token ends a generation: EOS, EOT, EOM or a token with one of the usual end texts. */
int tern_tokenizer_is_end(const tern_tokenizer *tokenizer, int32_t id);

/* "llama-bpe", ...: the pre-tokenizer in use; "llama" for SentencePiece, which has none. */
const char *tern_tokenizer_pre(const tern_tokenizer *tokenizer);

/* Turns pieces of bytes into whole UTF-8 characters: an unfinished sequence waits for its rest, a
 * broken one becomes U+FFFD. Start with {0}. */
typedef struct tern_utf8_stream {
    unsigned char pending[4];
    int n_pending;
} tern_utf8_stream;

/* Appends bytes [n]; writes valid UTF-8 into out, which has room for 3 * (n + 4) bytes, and returns
 * how many bytes were written. */
size_t tern_utf8_push(tern_utf8_stream *stream, char *out, const char *bytes, size_t n);

/* At the end of the text: what is still pending becomes U+FFFD; out has room for 4 bytes. */
size_t tern_utf8_finish(tern_utf8_stream *stream, char *out);

#ifdef __cplusplus
}
#endif
#endif
