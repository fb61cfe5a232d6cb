/* sentencepiece_builder.h - writes messages of a tokenizer.model into a gguf_builder's memory. */
#ifndef TERN_TESTS_SENTENCEPIECE_BUILDER_H
#define TERN_TESTS_SENTENCEPIECE_BUILDER_H

#include "gguf_builder.h"

static inline void put_varint(gguf_builder *b, uint64_t x)
{
    for (; x > 127; x >>= 7) put_bytes(b, &(uint8_t){(uint8_t)(x | 128)}, 1);
    put_bytes(b, &(uint8_t){(uint8_t)x}, 1);
}

/* A number, or bytes: texts and messages. */
static inline void put_number_field(gguf_builder *b, unsigned number, uint64_t x)
{
    put_varint(b, number << 3);
    put_varint(b, x);
}

static inline void put_bytes_field(gguf_builder *b, unsigned number, const void *data, size_t n)
{
    put_varint(b, number << 3 | 2);
    put_varint(b, n);
    put_bytes(b, data, n);
}

static inline void put_piece(gguf_builder *b, const char *text, size_t bytes, float score, int type)
{
    gguf_builder piece = {0};
    put_bytes_field(&piece, 1, text, bytes);
    put_varint(&piece, 2 << 3 | 5);
    put_bytes(&piece, &score, 4);
    if (type != 1) put_number_field(&piece, 3, (uint64_t)type);
    put_bytes_field(b, 1, piece.bytes, piece.n);
    free(piece.bytes);
}

/* What trainer and normaliser say; model 2 is BPE. */
static inline void put_settings(gguf_builder *b, int model, int space_prefix, int squeezes)
{
    gguf_builder trainer = {0}, normaliser = {0};
    put_number_field(&trainer, 3, (uint64_t)model);
    put_bytes_field(&normaliser, 1, "identity", 8);
    put_number_field(&normaliser, 3, (uint64_t)space_prefix);
    put_number_field(&normaliser, 4, (uint64_t)squeezes);
    put_bytes_field(b, 2, trainer.bytes, trainer.n);
    put_bytes_field(b, 3, normaliser.bytes, normaliser.n);
    free(trainer.bytes);
    free(normaliser.bytes);
}

/* <unk>, <s>, </s>, the 256 bytes, then "a", "b", U+2581, "ab" and U+2581 "ab". */
enum { SP_BYTES = 3, SP_A = 259, SP_B, SP_SPACE, SP_AB, SP_SPACE_AB, N_SP };

static inline gguf_builder small_sentencepiece(int model, int space_prefix, int squeezes)
{
    static const char *const texts[] = {"a", "b", "\342\226\201", "ab", "\342\226\201ab"};
    gguf_builder b = {0};
    put_piece(&b, "<unk>", 5, 0.0f, 2);
    put_piece(&b, "<s>", 3, 0.0f, 3);
    put_piece(&b, "</s>", 4, 0.0f, 3);
    for (int i = 0; i < 256; i++) {
        static const char digits[] = "0123456789ABCDEF";
        const char text[] = {'<', '0', 'x', digits[i / 16], digits[i % 16], '>'};
        put_piece(&b, text, sizeof text, 0.0f, 6);
    }
    for (int i = 0; i < 5; i++) put_piece(&b, texts[i], strlen(texts[i]), -(float)(5 - i), 1);
    put_settings(&b, model, space_prefix, squeezes);
    return b;
}

#endif
