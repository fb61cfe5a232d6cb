/* test_tokenizer_llama3.c - the Llama-3 vocabulary: llama.cpp's test cases to the last id, the
 * known answers of FORMATS 12.7, round trips. Skipped where the vocabulary is not at hand. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/rng.h"
#include "format/tokenizer_gguf.h"
#include "gguf_builder.h"
#include "shared_data.h"

#define VOCABULARY "data/tokenizer/ggml-vocab-llama-bpe.gguf"

static tern_tokenizer *tokenizer;

static int load(void **state)
{
    (void)state;
    char path[SHARED_PATH_BYTES];
    if (!shared_path(path, VOCABULARY)) return -1;
    tern_gguf *gguf = NULL;
    tern_error err = {0};
    if (tern_gguf_open(&gguf, path, &err) != 0 ||
        tern_tokenizer_from_gguf(&tokenizer, gguf, NULL, &err) != 0)
        print_error("%s\n", err.text);
    tern_gguf_close(gguf);
    return tokenizer ? 0 : -1;
}

static int unload(void **state)
{
    (void)state;
    tern_tokenizer_destroy(tokenizer);
    return 0;
}

static char *read_shared(const char *name, size_t *bytes)
{
    char path[SHARED_PATH_BYTES], *text = NULL;
    if (!shared_path(path, name)) fail();
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(tern_stream_read(&text, bytes, file, path, 64 << 20, NULL), 0);
    fclose(file);
    return text;
}

/* Ids as a line of the .out file writes them: each with a space in front. */
static void line_of(char *line, size_t cap, const char *text, size_t bytes)
{
    int32_t ids[4096];
    size_t n = 0, used = 0;
    assert_true(tern_tokenizer_bound(tokenizer, bytes) <= 4096);
    assert_int_equal(tern_tokenizer_encode(tokenizer, ids, 4096, &n, text, bytes, 0, NULL), 0);
    line[0] = 0;
    for (size_t i = 0; i < n; i++) used += (size_t)snprintf(line + used, cap - used, " %d", ids[i]);
    assert_true(used < cap);
}

static void upstream_cases(void **state)
{
    (void)state;
    static const char separator[] = "\n__ggml_vocab_test__\n";
    size_t bytes, out_bytes;
    char *in = read_shared(VOCABULARY ".inp", &bytes),
         *out = read_shared(VOCABULARY ".out", &out_bytes);
    char *text = in, *expected = out, line[20000];
    int n_cases = 0;
    for (char *end; (end = strstr(text, separator)) != NULL; text = end + strlen(separator)) {
        char *newline = strchr(expected, '\n');
        assert_non_null(newline);
        *newline = 0;
        line_of(line, sizeof line, text, (size_t)(end - text));
        assert_string_equal(line, expected);
        expected = newline + 1;
        n_cases++;
    }
    assert_int_equal(n_cases, 46);
    free(in);
    free(out);
}

static void known_answers(void **state)
{
    (void)state;
    const unsigned special = TERN_ENCODE_SPECIAL, bos = TERN_ENCODE_BOS;
    const struct {
        const char *text;
        unsigned flags;
        int32_t ids[32]; /* up to the first 0 */
    } answers[] = {
        {"Hello world", 0, {9906, 1917}},
        {" Hello world", 0, {22691, 1917}},
        {"Hello world", bos, {128000, 9906, 1917}},
        {"The capital of France is", 0, {791, 6864, 315, 9822, 374}},
        {"I'm 12345 years old!\n\n  Next",
         0,
         {40, 2846, 220, 4513, 1774, 1667, 2362, 2268, 220, 9479}},
        {"<|begin_of_text|>User: Hi<|eot_id|>Assistant: ",
         special,
         {128000, 1502, 25, 21694, 128009, 72803, 25, 220}},
        {"System: You are a helpful AI assistant.<|eot_id|>User: How are you?<|eot_id|>Assistant: ",
         special | bos,
         {128000, 2374, 25,   1472, 527, 264, 11190,  15592, 18328, 13, 128009,
          1502,   25,   2650, 527,  499, 30,  128009, 72803, 25,    220}},
    };
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        int32_t ids[128];
        size_t n = 0, n_expected = 0;
        while (answers[i].ids[n_expected]) n_expected++;
        assert_int_equal(tern_tokenizer_encode(tokenizer, ids, 128, &n, answers[i].text,
                                               strlen(answers[i].text), answers[i].flags, NULL),
                         0);
        assert_int_equal(n, n_expected);
        assert_memory_equal(ids, answers[i].ids, n * sizeof *ids);
    }
}

static void vocabulary(void **state)
{
    (void)state;
    assert_int_equal(tern_tokenizer_n_vocab(tokenizer), 128256);
    assert_string_equal(tern_tokenizer_pre(tokenizer), "llama-bpe");
    assert_int_equal(tern_tokenizer_bos(tokenizer), 128000);
    assert_true(tern_tokenizer_is_end(tokenizer, tern_tokenizer_eos(tokenizer)));
    assert_true(tern_tokenizer_is_end(tokenizer, 128001) &&
                tern_tokenizer_is_end(tokenizer, 128009));
    int n_control = 0, n_end = 0;
    for (int32_t id = 0; id < 128256; id++) {
        n_control += tern_tokenizer_is_control(tokenizer, id);
        n_end += tern_tokenizer_is_end(tokenizer, id);
    }
    assert_int_equal(n_control, 256);
    assert_int_equal(n_end, 2);
    size_t bytes;
    assert_memory_equal(tern_tokenizer_bytes(tokenizer, 22691, &bytes), " Hello", 6);
    assert_int_equal(bytes, 6);
}

/* Every token that text can make encodes back to itself: its bytes are one piece at most times. */
static void check_round_trip(const char *text, size_t n)
{
    int32_t ids[1024];
    size_t n_ids = 0, at = 0;
    assert_true(tern_tokenizer_bound(tokenizer, n) <= 1024);
    assert_int_equal(tern_tokenizer_encode(tokenizer, ids, 1024, &n_ids, text, n, 0, NULL), 0);
    for (size_t i = 0; i < n_ids; i++) {
        size_t bytes;
        const char *token = tern_tokenizer_bytes(tokenizer, ids[i], &bytes);
        assert_true(at + bytes <= n);
        assert_memory_equal(token, text + at, bytes);
        assert_false(tern_tokenizer_is_control(tokenizer, ids[i]));
        at += bytes;
    }
    assert_int_equal(at, n);
}

static void round_trips(void **state)
{
    (void)state;
    char text[512];
    for (uint32_t seed = 0; seed < 3000; seed++) { /* any bytes */
        const size_t n = tern_random_u64(seed, 1, 0) % 200;
        for (uint32_t i = 0; i < n; i++) text[i] = (char)(uint8_t)tern_random_u64(seed, 0, i);
        check_round_trip(text, n);
    }
    for (uint32_t seed = 0; seed < 3000;
         seed++) { /* tokens glued together, special ones included */
        size_t n = 0;
        for (uint32_t i = 0; n < 300; i++) {
            const int32_t id = (int32_t)(tern_random_u64(seed, 2, i) % (i % 8 ? 128000 : 128256));
            size_t bytes;
            const char *token = tern_tokenizer_bytes(tokenizer, id, &bytes);
            if (n + bytes > sizeof text) break;
            memcpy(text + n, token, bytes);
            n += bytes;
        }
        check_round_trip(text, n);
    }
}

/* FORMATS 8.4: the official 2B4T file has this vocabulary but no tokenizer.ggml.pre. */
static void needs_no_pre_key(void **state)
{
    (void)state;
    size_t bytes;
    char *data = read_shared(VOCABULARY, &bytes);
    char *key = memmem(data, bytes, "tokenizer.ggml.pre", 18);
    assert_non_null(key);
    key[17] = 'x';
    tern_gguf *gguf = NULL;
    tern_tokenizer *without = NULL;
    assert_int_equal(tern_gguf_parse(&gguf, data, bytes, "test.gguf", NULL), 0);
    assert_int_equal(tern_tokenizer_from_gguf(&without, gguf, NULL, NULL), 0);
    assert_string_equal(tern_tokenizer_pre(without), "llama-bpe");
    tern_tokenizer_destroy(without);
    assert_int_equal(tern_tokenizer_from_gguf(&without, gguf, "qwen2", NULL), 0);
    assert_string_equal(tern_tokenizer_pre(without), "qwen2");
    tern_tokenizer_destroy(without);
    tern_gguf_close(gguf);
    free(data);
}

static void *encode_again(void *user)
{
    int32_t ids[64];
    size_t n = 0;
    for (int i = 0; i < 200; i++)
        if (tern_tokenizer_encode(tokenizer, ids, 64, &n, "The capital of France is\xff 12345", 31,
                                  0, NULL) != 0 ||
            n != 9 || ids[1] != 6864)
            *(int *)user = 1;
    return NULL;
}

static void threads_share_it(void **state)
{
    (void)state;
    pthread_t threads[4];
    int wrong[4] = {0};
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, encode_again, &wrong[i]), 0);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < 4; i++) assert_int_equal(wrong[i], 0);
}

int main(void)
{
    char path[SHARED_PATH_BYTES];
    if (!shared_path(path, VOCABULARY)) return SKIPPED;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(upstream_cases),   cmocka_unit_test(known_answers),
        cmocka_unit_test(vocabulary),       cmocka_unit_test(round_trips),
        cmocka_unit_test(needs_no_pre_key), cmocka_unit_test(threads_share_it),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
