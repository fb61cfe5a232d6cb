/* test_tokenizer_json.c - tokenizer.json of every kind, and the ids that the library `tokenizers`
 * gives for 2,000 made-up texts (scripts/make_tokenizers.py); what is wrong in such files is
 * refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "format/tokenizer_gguf.h"
#include "format/tokenizer_json.h"

#define FOLDER TERN_SOURCE_DIR "/tests/tokenizers/"
enum { MAX_IDS = 2048, NO_TEXT = 0xffff };

static const tern_tokenizer_extra nothing = {.bos = -1, .ends = {-1, -1, -1}};

/* A tokenizer from the text of a tokenizer.json. */
static int from_json(tern_tokenizer **out, const json_t *json, const tern_tokenizer_extra *extra,
                     const char *pre, tern_error *err)
{
    tern_gguf_writer w = {0};
    tern_gguf *gguf = NULL;
    int status = tern_tokenizer_json_keys(&w, json, extra, "x.json", err);
    if (status == TERN_OK) status = tern_gguf_writer_finish(&w, err);
    if (status == TERN_OK) status = tern_gguf_parse(&gguf, w.bytes, w.n, "x.json", err);
    if (status == TERN_OK) status = tern_tokenizer_from_gguf(out, gguf, pre, err);
    tern_gguf_close(gguf);
    tern_gguf_writer_free(&w);
    return status;
}

static tern_tokenizer *load(const char *name)
{
    char path[256];
    json_t *json;
    tern_tokenizer *tokenizer = NULL;
    tern_error err = {0};
    snprintf(path, sizeof path, FOLDER "%s.json", name);
    const int is_default = strcmp(name, "default") == 0; /* has no form in tokenizer.json */
    if (tern_json_open(&json, path, false, &err) != TERN_OK ||
        from_json(&tokenizer, json, &nothing, is_default ? name : NULL, &err) != TERN_OK)
        fail_msg("%s: %s", name, err.text);
    json_decref(json);
    assert_string_equal(tern_tokenizer_pre(tokenizer), name);
    return tokenizer;
}

static FILE *open_data(const char *name, const char *ending)
{
    char path[256];
    snprintf(path, sizeof path, FOLDER "%s%s", name, ending);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    return file;
}

/* The bytes of the ids are the text. */
static void check_bytes(const tern_tokenizer *tokenizer, const int32_t *ids, size_t n,
                        const char *text, size_t bytes)
{
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        size_t here;
        const char *piece = tern_tokenizer_bytes(tokenizer, ids[i], &here);
        assert_true(at + here <= bytes);
        assert_memory_equal(piece, text + at, here);
        at += here;
    }
    assert_int_equal(at, bytes);
}

static void check_all(const char *name)
{
    tern_tokenizer *tokenizer = load(name);
    FILE *texts = open_data("texts", ".bin"), *answers = open_data(name, ".ids");
    const int pieces = strcmp(name, "llama") == 0, composes = strcmp(name, "qwen2") == 0;
    uint32_t n_texts, bytes;
    int n_compared = 0;
    assert_int_equal(fread(&n_texts, 4, 1, texts), 1);
    for (uint32_t i = 0; i < n_texts; i++) {
        char text[1024];
        uint16_t n_wanted, wanted[MAX_IDS];
        int32_t ids[MAX_IDS];
        size_t n = 0;
        assert_int_equal(fread(&bytes, 4, 1, texts), 1);
        assert_true(bytes <= sizeof text);
        assert_int_equal(fread(text, 1, bytes, texts), bytes);
        assert_int_equal(fread(&n_wanted, 2, 1, answers), 1);
        if (n_wanted == NO_TEXT) continue;
        assert_int_equal(fread(wanted, 2, n_wanted, answers), n_wanted);
        assert_int_equal(tern_tokenizer_encode(tokenizer, ids, MAX_IDS, &n, text, bytes, 0, NULL),
                         TERN_OK);
        int same = n == n_wanted;
        for (size_t j = 0; j < n && same; j++) same = ids[j] == wanted[j];
        if (!same) fail_msg("%s, text %u: '%.*s'", name, i, (int)bytes, text);
        if (!pieces && !composes) check_bytes(tokenizer, ids, n, text, bytes);
        n_compared++;
    }
    assert_int_equal(fgetc(answers), EOF);
    assert_true(n_texts == 2000 && n_compared > 1000);
    fclose(texts);
    fclose(answers);
    tern_tokenizer_destroy(tokenizer);
}

static void test_oracle(void **state)
{
    check_all(*state);
}

/* ---- what the files around it say ------------------------------------------------------------ */

#define BYTE_LEVEL "\"pre_tokenizer\":{\"type\":\"ByteLevel\"}"

static int make(tern_tokenizer **out, const char *text, const tern_tokenizer_extra *extra,
                tern_error *err)
{
    json_t *json;
    int status = tern_json_parse(&json, text, strlen(text), "x.json", err);
    if (status != TERN_OK) return status;
    status = from_json(out, json, extra, NULL, err);
    json_decref(json);
    return status;
}

static void test_ids(void **state)
{
    (void)state;
    static const char text[] =
        "{\"added_tokens\":[{\"id\":2,\"content\":\"<s>\",\"special\":true}],"
        "\"post_processor\":{\"type\":\"Sequence\",\"processors\":[{\"type\":\"ByteLevel\"},"
        "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}},"
        "{\"Sequence\":{\"id\":\"A\"}}]}]}," BYTE_LEVEL
        ",\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1},\"merges\":[]}}";
    tern_tokenizer_extra extra = {.n_vocab = 6, .bos = 2, .ends = {1, 4, -1}};
    tern_tokenizer *tokenizer;
    tern_error err;
    int32_t ids[8];
    size_t n, bytes;
    assert_int_equal(make(&tokenizer, text, &extra, &err), TERN_OK);
    assert_int_equal(tern_tokenizer_n_vocab(tokenizer), 6); /* filled up to the table's rows */
    assert_memory_equal(tern_tokenizer_bytes(tokenizer, 5, &bytes), "[PAD5]", 6);
    assert_true(tern_tokenizer_is_end(tokenizer, 1) && tern_tokenizer_is_end(tokenizer, 4));
    assert_int_equal(tern_tokenizer_encode(tokenizer, ids, 8, &n, "ab", 2, TERN_ENCODE_BOS, NULL),
                     TERN_OK);
    assert_true(n == 3 && ids[0] == 2 && ids[1] == 0 && ids[2] == 1);
    tern_tokenizer_destroy(tokenizer);
    extra.config = json_pack("{s:b}", "add_bos_token", 0);
    assert_int_equal(make(&tokenizer, text, &extra, &err), TERN_OK);
    assert_int_equal(tern_tokenizer_encode(tokenizer, ids, 8, &n, "ab", 2, TERN_ENCODE_BOS, NULL),
                     TERN_OK);
    assert_int_equal(n, 2);
    tern_tokenizer_destroy(tokenizer);
    json_decref((json_t *)(uintptr_t)extra.config);
    extra.config = json_pack("{s:b}", "add_eos_token", 1);
    assert_int_equal(make(&tokenizer, text, &extra, &err), TERN_OK);
    assert_int_equal(tern_tokenizer_encode(tokenizer, ids, 8, &n, "a", 1, TERN_ENCODE_EOS, NULL),
                     TERN_OK);
    assert_true(n == 2 && ids[0] == 0 && ids[1] == 1);
    tern_tokenizer_destroy(tokenizer);
    json_decref((json_t *)(uintptr_t)extra.config);
}

static void refused(const char *text, const tern_tokenizer_extra *extra, const char *words)
{
    tern_tokenizer *tokenizer = NULL;
    tern_error err = {0};
    const int status = make(&tokenizer, text, extra, &err);
    if (status != TERN_E_MODEL || !strstr(err.text, words))
        fail_msg("wanted '%s', got %d: %s", words, status, err.text);
    assert_null(tokenizer);
}

static void test_refusals(void **state)
{
    (void)state;
    const tern_tokenizer_extra two = {.n_vocab = 2, .bos = -1, .ends = {-1, -1, -1}};
    static const char *const list[][2] = {
        {"", "is no JSON"},
        {"{", "is no JSON"},
        {"{\"a\":1,\"a\":2}", "is no JSON"},
        {"[]", "is no JSON object"},
        {"{}", "neither byte-level nor"},
        {"{\"model\":{\"type\":\"Unigram\"}}", "not of type BPE"},
        {"{" BYTE_LEVEL "}", "leave gaps, or there are none"},
        {"{" BYTE_LEVEL ",\"model\":{\"vocab\":{\"a\":9000000}}}", "leave gaps"},
        {"{" BYTE_LEVEL ",\"model\":{\"vocab\":{\"a\":-1}}}", "leave gaps"},
        {"{" BYTE_LEVEL ",\"model\":{\"vocab\":{\"a\":0,\"b\":-1}}}", "is no number inside"},
        {"{" BYTE_LEVEL ",\"model\":{\"vocab\":{\"a\":0,\"b\":0}}}", "the same id"},
        {"{" BYTE_LEVEL ",\"model\":{\"vocab\":{\"a\":0,\"b\":\"1\"}}}", "is no number inside"},
        {"{" BYTE_LEVEL ",\"model\":{\"vocab\":{\"a\":0}},\"added_tokens\":[{\"id\":1}]}",
         "has no text"},
        {"{" BYTE_LEVEL ",\"model\":{\"vocab\":{\"a\":0},\"merges\":[\"a\"]}}", "no pair of texts"},
        {"{" BYTE_LEVEL ",\"model\":{\"vocab\":{\"a\":0},\"merges\":[[\"a\",7]]}}", "no pair"},
        {"{" BYTE_LEVEL ",\"model\":{\"vocab\":{\"a\":0},\"merges\":[\"ab c\"]}}",
         "merge 0 names a part"},
        {"{\"model\":{\"byte_fallback\":true,\"vocab\":{\"a\":0},\"merges\":[\"a b\"]}}",
         "makes no token"},
        {"{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true}}", "in front"},
        {"{" BYTE_LEVEL ",\"normalizer\":{\"type\":\"Lowercase\"}}", "other than NFC"},
        {"{" BYTE_LEVEL ",\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":["
         "{\"type\":\"NFC\"},{\"type\":\"Strip\"}]}}",
         "other than NFC"},
        {"{\"normalizer\":{\"type\":\"NFC\"},\"model\":{\"byte_fallback\":true}}",
         "other than spaces"},
        {"{\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\","
         "\"pattern\":{\"Regex\":\"[a-z]+\"}},{\"type\":\"ByteLevel\"}]},"
         "\"model\":{\"vocab\":{\"a\":0},\"merges\":[]}}",
         "the pre-tokenizer '[a-z]+' is not known"},
    };
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++)
        refused(list[i][0], &nothing, list[i][1]);
    refused("{" BYTE_LEVEL ",\"model\":{\"vocab\":{\"a\":0,\"b\":1,\"c\":2},\"merges\":[]}}", &two,
            "has 3 tokens, but the model 2");
}

int main(void)
{
    static char *const names[] = {"llama-bpe", "qwen2", "gpt-2", "falcon", "default", "llama"};
    const struct CMUnitTest tests[] = {
        {"llama-bpe", test_oracle, NULL, NULL, names[0]},
        {"qwen2", test_oracle, NULL, NULL, names[1]},
        {"gpt-2", test_oracle, NULL, NULL, names[2]},
        {"falcon", test_oracle, NULL, NULL, names[3]},
        {"default", test_oracle, NULL, NULL, names[4]},
        {"llama", test_oracle, NULL, NULL, names[5]},
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
