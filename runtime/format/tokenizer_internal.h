/* tokenizer_internal.h - what a tokenizer is made of. tokenizer_gguf.c fills it, tokenizer.c uses
 * it; nobody else looks inside. */
#ifndef TERN_FORMAT_TOKENIZER_INTERNAL_H
#define TERN_FORMAT_TOKENIZER_INTERNAL_H

#include "format/bpe.h"
#include "format/pretokenize.h"
#include "tern/tokenizer.h"

/* True: text is brought to NFC first. The files of others have no key for it. */
#define TERN_KEY_COMPOSE "tern.tokenizer.nfc"

/* Types of tokens, as numbered in files. */
enum {
    TERN_TOKEN_NORMAL = 1,
    TERN_TOKEN_UNKNOWN = 2,
    TERN_TOKEN_CONTROL = 3,
    TERN_TOKEN_USER = 4,
    TERN_TOKEN_UNUSED = 5,
    TERN_TOKEN_BYTE = 6,
};

/* A token found in raw text before the pattern sees it. */
typedef struct tern_special {
    int32_t id;
    bool control; /* only with TERN_ENCODE_SPECIAL */
} tern_special;

struct tern_tokenizer {
    tern_cutter *cutter;    /* NULL: SentencePiece, which cuts no text */
    tern_bpe bpe;           /* its symbols are the decode table: token id -> bytes */
    uint8_t *type;          /* [n_vocab] */
    uint8_t *end;           /* [n_vocab] 1: ends a generation */
    tern_special *specials; /* sorted by their bytes, see special_at() */
    int32_t n_specials;
    bool special_first[256]; /* bytes that begin a special token */
    int32_t n_vocab, bos, eos;
    bool add_bos, add_eos;
    bool compose;        /* text is brought to NFC first (byte-level tokenizers only) */
    bool space_prefix;   /* SentencePiece: text begins with a space, after special tokens too */
    bool cuts_at_spaces; /* SentencePiece: no token has a space behind another character */
};

/* A SentencePiece text: spaces are written as U+2581. Replaces them by spaces, in place. */
size_t tern_unescape_spaces(char *text, size_t bytes);

/* The token whose text is exactly text [bytes], a special one where there are several, or -1.
 * Allocates nothing. */
int32_t tern_tokenizer_find(const tern_tokenizer *tokenizer, const char *text, size_t bytes);

/* Sorts the specials and fills special_first, once they are all known. */
void tern_tokenizer_sort_specials(tern_tokenizer *tokenizer);

#endif
