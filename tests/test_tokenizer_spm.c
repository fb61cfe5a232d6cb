/* test_tokenizer_spm.c - SentencePiece's tokenizer: against a naive encoder on random vocabularies,
 * and llama.cpp's cases to the last id where its vocabulary is at hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "cases.h"
#include "format/tokenizer_gguf.h"
#include "gguf_builder.h"
#include "shared_data.h"

#define VOCABULARY "data/tokenizer/ggml-vocab-llama-spm.gguf"
#define SPACE "\xe2\x96\x81"

/* A vocabulary under construction and the naive encoder's view of it. */
enum { MAX_TOKENS = 600 };
typedef struct vocabulary {
    char text[MAX_TOKENS][40]; /* as in the file */
    float score[MAX_TOKENS];
    uint32_t type[MAX_TOKENS];
    int n, has_bytes, prefix;
} vocabulary;

static void add(vocabulary *v, const char *text, float score, uint32_t type)
{
    for (int i = 0; i < v->n; i++)
        if (strcmp(v->text[i], text) == 0) return;
    snprintf(v->text[v->n], sizeof v->text[0], "%s", text);
    v->score[v->n] = score;
    v->type[v->n++] = type;
}

static const char *const letters[] = {"a", "b", "c", SPACE, "\xc3\xa9", "\xe6\xbc\xa2", "d"};

static vocabulary *random_vocabulary(uint64_t seed, int has_bytes, int prefix)
{
    vocabulary *v = case_alloc(sizeof *v);
    v->has_bytes = has_bytes;
    v->prefix = prefix;
    add(v, "<unk>", 0, 2);
    add(v, "<s>", 0, 3);
    add(v, "</s>", 0, 3);
    char text[40];
    for (int i = 0; i < 256 && has_bytes; i++) {
        snprintf(text, sizeof text, "<0x%02X>", (unsigned)i);
        add(v, text, 0, 6);
    }
    add(v, "==", 0, 4);
    for (int i = 0; i < 200; i++) {
        const int n = case_int(&seed, 1, 4);
        text[0] = 0;
        for (int j = 0; j < n; j++) strcat(text, letters[case_int(&seed, 0, 5)]);
        add(v, text, (float)case_int(&seed, -40, 5), 1); /* many equal scores */
    }
    return v;
}

static tern_tokenizer *make(const vocabulary *v)
{
    gguf_builder b = {0};
    put_header(&b, 3, 0, 5);
    put_key_text(&b, "tokenizer.ggml.model", "llama");
    put_key_bool(&b, "tokenizer.ggml.add_space_prefix", (uint8_t)v->prefix);
    put_key_array(&b, "tokenizer.ggml.tokens", TERN_GGUF_STRING, (uint64_t)v->n);
    for (int i = 0; i < v->n; i++) put_text(&b, v->text[i]);
    put_key_array(&b, "tokenizer.ggml.scores", TERN_GGUF_F32, (uint64_t)v->n);
    put_bytes(&b, v->score, sizeof(float) * (size_t)v->n);
    put_key_array(&b, "tokenizer.ggml.token_type", TERN_GGUF_I32, (uint64_t)v->n);
    put_bytes(&b, v->type, sizeof(uint32_t) * (size_t)v->n);
    tern_gguf *gguf = NULL;
    tern_tokenizer *tokenizer = NULL;
    tern_error err = {0};
    if (tern_gguf_parse(&gguf, b.bytes, b.n, "spm", &err) != TERN_OK ||
        tern_tokenizer_from_gguf(&tokenizer, gguf, NULL, &err) != TERN_OK)
        fail_msg("%s", err.text);
    tern_gguf_close(gguf);
    free(b.bytes);
    return tokenizer;
}

/* Token of an escaped text that text may make; -1. */
static int find(const vocabulary *v, const char *text, int bytes)
{
    for (int i = 0; i < v->n; i++)
        if (strncmp(v->text[i], text, (size_t)bytes) == 0 && !v->text[i][bytes] &&
            (v->type[i] == 1 || v->type[i] == 4))
            return i;
    return -1;
}

/* Characters of an escaped text, then the best pair again and again, looked up in full. */
static int naive(const vocabulary *v, int32_t *ids, const char *text)
{
    int begin[401], n = 0, n_ids = 0; /* symbol i is text[begin[i] .. begin[i + 1]) */
    for (int at = 0; text[at]; at += (text[at] & 0x80) == 0 ? 1 : (text[at] & 0xe0) == 0xc0 ? 2 : 3)
        begin[n++] = at;
    begin[n] = (int)strlen(text);
    for (;;) {
        int best = -1, best_id = -1;
        for (int i = 0; i + 1 < n; i++) {
            const int id = find(v, text + begin[i], begin[i + 2] - begin[i]);
            if (id >= 0 && (best < 0 || v->score[id] > v->score[best_id])) {
                best = i;
                best_id = id;
            }
        }
        if (best < 0) break;
        memmove(begin + best + 1, begin + best + 2, (size_t)(n - best - 1) * sizeof *begin);
        n--;
    }
    for (int i = 0; i < n; i++) {
        const int id = find(v, text + begin[i], begin[i + 1] - begin[i]);
        if (id >= 0 || !v->has_bytes) {
            ids[n_ids++] = id >= 0 ? id : 0;
            continue;
        }
        for (int at = begin[i]; at < begin[i + 1]; at++) ids[n_ids++] = 3 + (uint8_t)text[at];
    }
    return n_ids;
}

static void check(const tern_tokenizer *tokenizer, const vocabulary *v, uint64_t seed)
{
    char plain[200] = "", escaped[640] = "";
    if (v->prefix) strcat(escaped, SPACE);
    const int n = case_int(&seed, 1, 40);
    for (int i = 0; i < n; i++) {
        const char *letter = letters[case_int(&seed, 0, 6)];
        strcat(plain, strcmp(letter, SPACE) == 0 && case_int(&seed, 0, 3) ? " " : letter);
        strcat(escaped, letter);
    }
    int32_t ids[512], wanted[512];
    size_t n_ids = 0;
    const int n_wanted = naive(v, wanted, escaped);
    assert_true(tern_tokenizer_bound(tokenizer, strlen(plain)) <= 512);
    assert_int_equal(
        tern_tokenizer_encode(tokenizer, ids, 512, &n_ids, plain, strlen(plain), 0, NULL), TERN_OK);
    if (n_ids != (size_t)n_wanted || memcmp(ids, wanted, n_ids * 4) != 0) fail_msg("'%s'", plain);
}

static void test_naive(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 40; seed++) {
        vocabulary *v = random_vocabulary(seed, seed % 3 != 0, seed % 2 == 0);
        tern_tokenizer *tokenizer = make(v);
        assert_string_equal(tern_tokenizer_pre(tokenizer), "llama");
        for (uint64_t i = 0; i < 100; i++) check(tokenizer, v, seed * 1000 + i);
        tern_tokenizer_destroy(tokenizer);
        free(v);
    }
}

/* The bytes of the ids are the text again, behind the space in front. (A U+2581 of the text
 * comes back as a space, and text behind "==" has a space in front: neither is drawn.) */
static void test_any_bytes(void **state)
{
    (void)state;
    vocabulary *v = random_vocabulary(7, 1, 1);
    tern_tokenizer *tokenizer = make(v);
    uint64_t seed = 1;
    for (int round = 0; round < 2000; round++) {
        char text[100], back[256];
        const size_t n = (size_t)case_int(&seed, 1, 100);
        for (size_t i = 0; i < n; i++)
            text[i] =
                (char)(uint8_t)(round % 2 ? case_int(&seed, 0, 255) : case_int(&seed, 92, 98));
        for (size_t i = 0; i < n; i++)
            text[i] = text[i] == '\xe2' || text[i] == '=' ? 'a' : text[i];
        int32_t ids[256];
        size_t n_ids, at = 0;
        assert_true(tern_tokenizer_bound(tokenizer, n) <= 256);
        assert_int_equal(tern_tokenizer_encode(tokenizer, ids, 256, &n_ids, text, n, 0, NULL),
                         TERN_OK);
        for (size_t i = 0; i < n_ids; i++) {
            size_t bytes;
            const char *piece = tern_tokenizer_bytes(tokenizer, ids[i], &bytes);
            assert_false(tern_tokenizer_is_control(tokenizer, ids[i]));
            memcpy(back + at, piece, bytes);
            at += bytes;
        }
        assert_int_equal(at, n + 1);
        assert_int_equal(back[0], ' ');
        assert_memory_equal(back + 1, text, n);
    }
    tern_tokenizer_destroy(tokenizer);
    free(v);
}

static void test_specials(void **state)
{
    (void)state;
    vocabulary *v = random_vocabulary(7, 1, 1);
    tern_tokenizer *tokenizer = make(v);
    assert_int_equal(tern_tokenizer_bos(tokenizer), 1);
    assert_int_equal(tern_tokenizer_eos(tokenizer), 2);
    int32_t ids[64], plain[64];
    size_t n, n_plain;
    const unsigned special = TERN_ENCODE_BOS | TERN_ENCODE_SPECIAL;
    assert_int_equal(tern_tokenizer_encode(tokenizer, ids, 64, &n, "</s>d", 5, special, NULL), 0);
    assert_int_equal(ids[0], 1);
    assert_int_equal(ids[1], 2);
    /* Text behind a special token has a space in front, as at the beginning. */
    assert_int_equal(tern_tokenizer_encode(tokenizer, plain, 64, &n_plain, "d", 1, 0, NULL), 0);
    assert_int_equal(n, n_plain + 2);
    assert_memory_equal(ids + 2, plain, n_plain * 4);
    /* Text never makes a control token, even where merges could spell it. */
    assert_int_equal(tern_tokenizer_encode(tokenizer, ids, 64, &n, "</s>", 4, 0, NULL), 0);
    for (size_t i = 0; i < n; i++) assert_true(ids[i] > 2);
    assert_int_equal(tern_tokenizer_encode(tokenizer, ids, 64, &n, "==", 2, 0, NULL), 0);
    assert_int_equal(n, 1); /* user-defined: found in all text, without a space */
    assert_int_equal(tern_tokenizer_encode(tokenizer, ids, 64, &n, "", 0, 0, NULL), 0);
    assert_int_equal(n, 0);
    tern_tokenizer_destroy(tokenizer);
    free(v);
}

static void refused(const vocabulary *v, int with_scores, const char *words)
{
    gguf_builder b = {0};
    put_header(&b, 3, 0, with_scores ? 4 : 3);
    put_key_text(&b, "tokenizer.ggml.model", "llama");
    put_key_array(&b, "tokenizer.ggml.tokens", TERN_GGUF_STRING, (uint64_t)v->n);
    for (int i = 0; i < v->n; i++) put_text(&b, v->text[i]);
    put_key_array(&b, "tokenizer.ggml.token_type", TERN_GGUF_I32, (uint64_t)v->n);
    put_bytes(&b, v->type, sizeof(uint32_t) * (size_t)v->n);
    if (with_scores) {
        put_key_array(&b, "tokenizer.ggml.scores", TERN_GGUF_F32, (uint64_t)v->n);
        put_bytes(&b, v->score, sizeof(float) * (size_t)v->n);
    }
    tern_gguf *gguf = NULL;
    tern_tokenizer *tokenizer = NULL;
    tern_error err = {0};
    assert_int_equal(tern_gguf_parse(&gguf, b.bytes, b.n, "spm", &err), TERN_OK);
    assert_int_equal(tern_tokenizer_from_gguf(&tokenizer, gguf, NULL, &err), TERN_E_MODEL);
    if (!strstr(err.text, words)) fail_msg("no '%s' in: %s", words, err.text);
    assert_null(tokenizer);
    tern_gguf_close(gguf);
    free(b.bytes);
}

static void test_refusals(void **state)
{
    (void)state;
    vocabulary *v = random_vocabulary(3, 1, 1);
    refused(v, 0, "scores");
    v->score[300] = (float)(1e300 * 1e300);
    refused(v, 1, "the score of token 300");
    v->score[300] = 0;
    snprintf(v->text[20], sizeof v->text[0], "<0xg0>");
    refused(v, 1, "'<0xg0>'");
    free(v);
}

/* ---- llama.cpp's cases ----------------------------------------------------------------------- */

static char *read_shared(const char *name)
{
    char path[SHARED_PATH_BYTES], *text = NULL;
    size_t bytes;
    if (!shared_path(path, name)) skip();
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(tern_stream_read(&text, &bytes, file, path, 1 << 20, NULL), 0);
    fclose(file);
    return text;
}

static void test_upstream(void **state)
{
    (void)state;
    static const char border[] = "\n__ggml_vocab_test__\n";
    char path[SHARED_PATH_BYTES];
    if (!shared_path(path, VOCABULARY)) skip();
    tern_gguf *gguf = NULL;
    tern_tokenizer *tokenizer = NULL;
    assert_int_equal(tern_gguf_open(&gguf, path, NULL), TERN_OK);
    assert_int_equal(tern_tokenizer_from_gguf(&tokenizer, gguf, NULL, NULL), TERN_OK);
    tern_gguf_close(gguf);
    char *cases = read_shared(VOCABULARY ".inp"), *lines = read_shared(VOCABULARY ".out");
    int n_cases = 0;
    char *line = lines, *text = cases;
    for (char *end; (end = strstr(text, border)) != NULL; text = end + strlen(border), n_cases++) {
        char got[4096] = "";
        const size_t bytes = (size_t)(end - text);
        int32_t ids[1024];
        size_t n, used = 0;
        assert_int_equal(tern_tokenizer_encode(tokenizer, ids, 1024, &n, text, bytes, 0, NULL), 0);
        for (size_t i = 0; i < n; i++)
            used += (size_t)snprintf(got + used, sizeof got - used, " %d", ids[i]);
        const size_t length = strcspn(line, "\n");
        if (length != used || memcmp(line, got, used) != 0)
            fail_msg("case %d: wanted%.*s, got%s", n_cases, (int)length, line, got);
        line += length + (line[length] == '\n');
    }
    assert_int_equal(n_cases, 46);
    tern_tokenizer_destroy(tokenizer);
    free(cases);
    free(lines);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_naive),    cmocka_unit_test(test_any_bytes),
        cmocka_unit_test(test_specials), cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_upstream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
