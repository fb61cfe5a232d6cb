/* test_sentencepiece.c - a tokenizer.model gives the same keys as the tokenizer.json of the same
 * tokenizer, added tokens follow, and damaged files are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "format/sentencepiece.h"
#include "format/tokenizer_gguf.h"
#include "sentencepiece_builder.h"

static const tern_tokenizer_extra plain = {.bos = 1, .ends = {2, -1, -1}};

static int keys_of(tern_gguf **out, tern_gguf_writer *w, const gguf_builder *file,
                   const tern_tokenizer_extra *extra, tern_error *err)
{
    int status = tern_sentencepiece_keys(w, file->bytes, file->n, extra, "x.model", err);
    if (status == TERN_OK) status = tern_gguf_writer_finish(w, err);
    return status == TERN_OK ? tern_gguf_parse(out, w->bytes, w->n, "x.model", err) : status;
}

/* Takes over the file. */
static int make(tern_tokenizer **out, gguf_builder file, const tern_tokenizer_extra *extra,
                tern_error *err)
{
    tern_gguf_writer w = {0};
    tern_gguf *gguf = NULL;
    int status = keys_of(&gguf, &w, &file, extra, err);
    if (status == TERN_OK) status = tern_tokenizer_from_gguf(out, gguf, NULL, err);
    tern_gguf_close(gguf);
    tern_gguf_writer_free(&w);
    free(file.bytes);
    return status;
}

static void encodes(const tern_tokenizer *t, const char *text, unsigned flags,
                    const int32_t *wanted, size_t n_wanted)
{
    int32_t ids[32];
    size_t n;
    assert_int_equal(tern_tokenizer_encode(t, ids, 32, &n, text, strlen(text), flags, NULL),
                     TERN_OK);
    assert_int_equal(n, n_wanted);
    assert_memory_equal(ids, wanted, n * sizeof *ids);
}

#define ENCODES(t, text, flags, ...)                        \
    encodes(t, text, flags, (const int32_t[]){__VA_ARGS__}, \
            sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t))

static void test_ids(void **state)
{
    (void)state;
    tern_error err = {0};
    for (int prefix = 0; prefix < 2; prefix++) {
        tern_tokenizer *t;
        assert_int_equal(make(&t, small_sentencepiece(2, prefix, 0), &plain, &err), TERN_OK);
        assert_int_equal(tern_tokenizer_n_vocab(t), N_SP);
        if (prefix)
            ENCODES(t, "ab", TERN_ENCODE_BOS, 1, SP_SPACE_AB);
        else
            ENCODES(t, "ab", TERN_ENCODE_BOS, 1, SP_AB);
        if (!prefix) ENCODES(t, "b ab\xc3", 0, SP_B, SP_SPACE_AB, SP_BYTES + 0xc3);
        tern_tokenizer_destroy(t);
    }
}

static void test_added(void **state)
{
    (void)state;
    tern_tokenizer_extra extra = plain;
    json_t *config = json_pack("{s:b, s:{s:{s:s, s:b}, s:{s:s, s:b}}}", "add_bos_token", 0,
                               "added_tokens_decoder", "1", "content", "ignored", "special", 1,
                               "265", "content", "<pad>", "special", 1);
    assert_non_null(config);
    extra.config = config;
    extra.n_vocab = N_SP + 3;
    tern_error err = {0};
    tern_tokenizer *t;
    if (make(&t, small_sentencepiece(2, 0, 0), &extra, &err) != TERN_OK) fail_msg("%s", err.text);
    assert_int_equal(tern_tokenizer_n_vocab(t), N_SP + 3);
    ENCODES(t, "a<pad>b", TERN_ENCODE_BOS | TERN_ENCODE_SPECIAL, SP_A, 265, SP_B);
    ENCODES(t, "<s>", TERN_ENCODE_SPECIAL, 1);
    tern_tokenizer_destroy(t);
    json_decref(config);
}

/* A file of SentencePiece with the tokens of a GGUF header. */
static gguf_builder file_of(const tern_gguf *gguf)
{
    const tern_gguf_value *tokens = tern_gguf_find(gguf, "tokenizer.ggml.tokens");
    const tern_gguf_value *scores = tern_gguf_find(gguf, "tokenizer.ggml.scores");
    const tern_gguf_value *types = tern_gguf_find(gguf, "tokenizer.ggml.token_type");
    gguf_builder b = {0};
    const uint8_t *at = tokens->data;
    put_settings(&b, 2, 1, 0);
    for (uint64_t i = 0; i < tokens->count; i++) {
        const tern_text text = tern_gguf_next_text(&at);
        float score;
        memcpy(&score, scores->data + 4 * i, 4);
        put_piece(&b, text.data, text.bytes, score, (int)tern_gguf_u32_at(types, i));
    }
    return b;
}

static void same_value(const tern_gguf *a, const tern_gguf *b, const char *key)
{
    const tern_gguf_value *x = tern_gguf_find(a, key), *y = tern_gguf_find(b, key);
    assert_true(x && y && x->type == y->type && x->count == y->count);
    const uint8_t *p = x->data, *q = y->data;
    if (x->type != TERN_GGUF_STRING) {
        assert_memory_equal(p, q, x->count * tern_gguf_type_bytes(x->type));
        return;
    }
    for (uint64_t i = 0; i < x->count; i++) {
        const tern_text text = tern_gguf_next_text(&p), other = tern_gguf_next_text(&q);
        assert_int_equal(text.bytes, other.bytes);
        assert_memory_equal(text.data, other.data, text.bytes);
    }
}

/* Whose ids are those of the library `tokenizers` (test_tokenizer_json.c). */
static void test_same_as_json(void **state)
{
    (void)state;
    static const char *const keys[] = {"model",
                                       "pre",
                                       "tokens",
                                       "scores",
                                       "token_type",
                                       "unknown_token_id",
                                       "add_space_prefix",
                                       "add_bos_token"};
    json_t *json;
    tern_gguf_writer w = {0}, w2 = {0};
    tern_gguf *one, *two;
    tern_tokenizer_extra extra = {.bos = -1, .ends = {-1, -1, -1}};
    const char *path = TERN_SOURCE_DIR "/tests/tokenizers/llama.json";
    assert_int_equal(tern_json_open(&json, path, false, NULL), TERN_OK);
    assert_int_equal(tern_tokenizer_json_keys(&w, json, &extra, "x.json", NULL), TERN_OK);
    assert_int_equal(tern_gguf_writer_finish(&w, NULL), TERN_OK);
    assert_int_equal(tern_gguf_parse(&one, w.bytes, w.n, "x.json", NULL), TERN_OK);
    gguf_builder file = file_of(one);
    assert_int_equal(keys_of(&two, &w2, &file, &extra, NULL), TERN_OK);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        char key[64];
        snprintf(key, sizeof key, "tokenizer.ggml.%s", keys[i]);
        same_value(one, two, key);
    }
    tern_gguf_close(one);
    tern_gguf_close(two);
    tern_gguf_writer_free(&w);
    tern_gguf_writer_free(&w2);
    free(file.bytes);
    json_decref(json);
}

/* ---- what is refused ------------------------------------------------------------------------- */

static void refused(gguf_builder file, const tern_tokenizer_extra *extra, const char *words)
{
    tern_tokenizer *t = NULL;
    tern_error err = {0};
    const int status = make(&t, file, extra, &err);
    if (status != TERN_E_MODEL || err.status != TERN_E_MODEL || !strstr(err.text, words))
        fail_msg("wanted '%s', got %d: %s", words, status, err.text);
}

static void test_refusals(void **state)
{
    (void)state;
    gguf_builder b = {0};
    refused(b, &plain, "damaged");
    refused(small_sentencepiece(1, 0, 0), &plain, "not of type BPE");
    tern_tokenizer_extra extra = plain;
    extra.n_vocab = N_SP - 1;
    refused(small_sentencepiece(2, 0, 0), &extra, "has 264 tokens, but the model 263");
    b = small_sentencepiece(2, 0, 0);
    put_piece(&b, "x", 1, 0.0f, 7);
    refused(b, &plain, "damaged");
    b = small_sentencepiece(2, 0, 0);
    put_varint(&b, 4 << 3 | 3); /* a group, which no such file has */
    refused(b, &plain, "damaged");
    b = small_sentencepiece(2, 0, 0);
    put_varint(&b, 1 << 3 | 2), put_varint(&b, UINT64_MAX);
    refused(b, &plain, "damaged");
}

static int n_warnings;

static void count_warning(void *user, tern_log_level level, const char *line)
{
    (void)user;
    n_warnings += level == TERN_LOG_WARNING && strstr(line, "rewrites") != NULL;
}

static void test_warning(void **state)
{
    (void)state;
    tern_log_set(count_warning, NULL);
    for (int squeezes = 0; squeezes < 2; squeezes++) {
        tern_tokenizer *t;
        n_warnings = 0;
        assert_int_equal(make(&t, small_sentencepiece(2, 1, squeezes), &plain, NULL), TERN_OK);
        assert_int_equal(n_warnings, squeezes);
        tern_tokenizer_destroy(t);
    }
    tern_log_set(NULL, NULL);
}

/* Cut off anywhere, or with a byte changed: a tokenizer, or one sentence. */
static void test_damage(void **state)
{
    (void)state;
    gguf_builder file = small_sentencepiece(2, 0, 0);
    for (size_t i = 0; i < file.n; i += 1 + i / 64)
        for (int change = 0; change < 2; change++) {
            gguf_builder b = {0};
            put_bytes(&b, file.bytes, change ? file.n : i);
            if (change) b.bytes[i] ^= 0x5a;
            tern_tokenizer *t = NULL;
            tern_error err = {0};
            const int status = make(&t, b, &plain, &err);
            assert_true(status == TERN_OK || (status == TERN_E_MODEL && err.text[0]));
            tern_tokenizer_destroy(t);
        }
    free(file.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids),      cmocka_unit_test(test_added),
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_same_as_json),
        cmocka_unit_test(test_warning),  cmocka_unit_test(test_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
