/* bpe.h - byte-pair encoding of one piece of text: symbols, merges, and the loop that applies them.
 * Two kinds share the loop: byte-level BPE, which begins with bytes and merges listed pairs
 * (FORMATS 12.1), and SentencePiece's, which begins with characters and merges any two neighbours
 * whose joint text is a token (FORMATS 12.3). Knows nothing of files, patterns or special tokens.
 */
#ifndef TERN_FORMAT_BPE_H
#define TERN_FORMAT_BPE_H

#include "format/symbols.h"

/* One merge: the pair of symbols (left << 32 | right) becomes `merged`; lower ranks go first. */
typedef struct tern_bpe_merge {
    uint64_t pair;
    uint32_t next_rank; /* rank + 1; 0: free slot */
    int32_t merged;
} tern_bpe_merge;

/* Symbols 0 .. n_tokens-1 are the tokens, as the bytes they stand for. Behind them come the strings
 * that bytes and merges make but the vocabulary lacks: they take part in merging and are spelled in
 * single bytes when one is left over. */
typedef struct tern_bpe {
    tern_symbols symbols;
    int32_t n_tokens;
    int32_t byte_symbol[256];
    tern_bpe_merge *merges; /* open addressing; a power of two */
    uint64_t n_slots;
    int slot_shift; /* 64 - log2(n_slots): the high bits of a product make the index */
    uint32_t n_merges;
    bool ignore_merges; /* a piece that is a token is that token, whatever the merges say */
    uint32_t *text_rank; /* [n_tokens] SentencePiece: lower ones merge first; otherwise NULL */
    int32_t unknown;     /* SentencePiece: for what no byte token spells; -1: none */
} tern_bpe;

/* Working memory of an encoder; start with {0}, one per thread. */
typedef struct tern_bpe_scratch {
    void *memory;
    size_t cap; /* symbols */
} tern_bpe_scratch;

/* Where ids go. */
typedef struct tern_bpe_sink {
    int32_t *ids;
    size_t cap, n;
} tern_bpe_sink;

/* 1. add tokens with tern_symbols_add(&bpe->symbols, ...), 2. begin, 3. add merges in order of
 * rank. */
int tern_bpe_begin_merges(tern_bpe *bpe, uint64_t n_merges, tern_error *err);

/* Merges text [left_bytes] and text + left_bytes [right_bytes]. TERN_E_MODEL when one of them is
 * neither a token, a byte nor the result of an earlier merge. A repeated merge keeps its first
 * rank. */
int tern_bpe_add_merge(tern_bpe *bpe, const char *text, size_t left_bytes, size_t right_bytes,
                       tern_error *err);

/* SentencePiece instead of 2. and 3.: scores [n_tokens], finite, higher ones merge first; bytes
 * [256] are the tokens of single bytes, -1 where there is none. */
int tern_bpe_begin_texts(tern_bpe *bpe, const float *scores, const int32_t bytes[256],
                         int32_t unknown, tern_error *err);
void tern_bpe_free(tern_bpe *bpe);
void tern_bpe_scratch_free(tern_bpe_scratch *scratch);

/* One id. TERN_E_FIT when the sink is full. */
int tern_bpe_put(tern_bpe_sink *sink, int32_t id, tern_error *err);

/* Encodes piece [bytes], 0 < bytes < 2^31 - any bytes: n log n in the length of the piece.
 * TERN_E_MODEL when it needs a single byte that the vocabulary lacks. */
int tern_bpe_encode(const tern_bpe *bpe, tern_bpe_scratch *scratch, tern_bpe_sink *sink,
                    const char *piece, size_t bytes, tern_error *err);

#endif
