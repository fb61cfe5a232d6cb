/* vocabulary.h - a tiny byte-level vocabulary as GGUF bytes: all single bytes, a few merges, some
 * special tokens. Ids 0 .. 255 are the bytes themselves. */
#ifndef TERN_TESTS_VOCABULARY_H
#define TERN_TESTS_VOCABULARY_H

#include "gguf_builder.h"

enum {
    ID_AB = 256, /* first of tiny_tokens */
    ID_BC,
    ID_ABC,
    ID_AA,
    ID_HELLO, /* no merge makes it */
    ID_SPACE_A,
    ID_S,     /* control, and BOS */
    ID_S_X,   /* control, longer than the one before */
    ID_EQ2,   /* user-defined */
    ID_EQ3,   /* user-defined, longer */
    ID_UNK,   /* unknown */
    ID_END,   /* control, ends by its text */
    ID_WORD,  /* control with an ordinary text: out of reach of text */
    ID_EUR,   /* the three bytes of the euro sign */
    ID_EMPTY, /* unused, no text */
    N_TINY,
};

static const struct {
    const char *text; /* literal; translated into the alphabet when the type is 1 */
    int type;
} tiny_tokens[N_TINY - 256] = {
    {"ab", 1},    {"bc", 1},         {"abc", 1},    {"aa", 1},           {"hello", 1},
    {" a", 1},    {"<s>", 3},        {"<s>x", 3},   {"==", 4},           {"===", 4},
    {"<unk>", 2}, {"<|im_end|>", 3}, {"danger", 3}, {"\xe2\x82\xac", 1}, {"", 5},
};

/* The last two merges make strings that the vocabulary lacks. */
static const char *const tiny_merges[] = {"a b",       "b c",           "ab c", "a a", " a",
                                          "\xe2 \x82", "\xe2\x82 \xac", "x y",  "xy z"};
#define N_TINY_MERGES (sizeof tiny_merges / sizeof *tiny_merges)

/* A byte in the alphabet of GPT-2, as UTF-8. */
static inline size_t put_letter(char out[2], uint8_t byte)
{
    unsigned point = byte;
    if (byte <= 0x20) point = 0x100u + byte;
    if (byte >= 0x7f && byte <= 0xa0) point = 0x121u + (byte - 0x7fu);
    if (byte == 0xad) point = 0x143;
    if (point < 0x80) {
        out[0] = (char)point;
        return 1;
    }
    out[0] = (char)(uint8_t)(0xc0 | point >> 6);
    out[1] = (char)(uint8_t)(0x80 | (point & 63));
    return 2;
}

/* A string in the alphabet; a space at `cut` (0: none) stays a space. */
static inline void put_letters(gguf_builder *b, const char *text, size_t n, size_t cut)
{
    char out[256];
    size_t written = 0;
    for (size_t i = 0; i < n; i++) {
        if (cut && i == cut)
            out[written++] = ' ';
        else
            written += put_letter(out + written, (uint8_t)text[i]);
    }
    put_u64(b, written);
    put_bytes(b, out, written);
}

static inline void put_tiny_tokens(gguf_builder *b)
{
    put_key_array(b, "tokenizer.ggml.tokens", TERN_GGUF_STRING, N_TINY);
    for (int i = 0; i < 256; i++) put_letters(b, &(char){(char)(uint8_t)i}, 1, 0);
    for (int i = 256; i < N_TINY; i++) {
        const char *text = tiny_tokens[i - 256].text;
        if (tiny_tokens[i - 256].type == 1)
            put_letters(b, text, strlen(text), 0);
        else
            put_text(b, text);
    }
}

static inline void put_tiny_types(gguf_builder *b)
{
    put_key_array(b, "tokenizer.ggml.token_type", TERN_GGUF_I32, N_TINY);
    for (int i = 0; i < N_TINY; i++) put_u32(b, i < 256 ? 1 : (uint32_t)tiny_tokens[i - 256].type);
}

static inline void put_tiny_merges(gguf_builder *b)
{
    put_key_array(b, "tokenizer.ggml.merges", TERN_GGUF_STRING, N_TINY_MERGES);
    for (size_t i = 0; i < N_TINY_MERGES; i++) {
        const char *merge = tiny_merges[i];
        if (strcmp(merge, " a") == 0) { /* the one whose left half is a space */
            put_text(b, "\xc4\xa0 a");
            continue;
        }
        put_letters(b, merge, strlen(merge), (size_t)(strchr(merge, ' ') - merge));
    }
}

/* The whole file, with n_more keys to be appended by the caller. */
static inline gguf_builder tiny_vocabulary(uint64_t n_more)
{
    gguf_builder b = {0};
    put_header(&b, 3, 0, 4 + n_more);
    put_key_text(&b, "tokenizer.ggml.model", "gpt2");
    put_tiny_tokens(&b);
    put_tiny_types(&b);
    put_tiny_merges(&b);
    return b;
}

#endif
