/* test_tokenizer.c - merging, special tokens, BOS, broken text and hostile vocabularies, with a
 * tiny vocabulary made here. The Llama-3 vocabulary has its own test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/rng.h"
#include "format/tokenizer_gguf.h"
#include "vocabulary.h"

/* Builds a tokenizer from bytes, which are freed: nothing of the file may be needed later. */
static int build(tern_tokenizer **out, gguf_builder b, const char *pre, tern_error *err)
{
    tern_gguf *gguf = NULL;
    int status = tern_gguf_parse(&gguf, b.bytes, b.n, "test.gguf", err);
    if (status == TERN_OK) status = tern_tokenizer_from_gguf(out, gguf, pre, err);
    tern_gguf_close(gguf);
    if (b.bytes) memset(b.bytes, 0xee, b.n);
    free(b.bytes);
    return status;
}

static tern_tokenizer *build_ok(gguf_builder b, const char *pre)
{
    tern_tokenizer *t = NULL;
    tern_error err = {0};
    if (build(&t, b, pre, &err) != TERN_OK) fail_msg("refused: %s", err.text);
    return t;
}

/* The ids end with -1. */
static void encodes(const tern_tokenizer *t, const char *text, size_t bytes, unsigned flags,
                    const int32_t *expected)
{
    int32_t ids[256];
    size_t n = 0, n_expected = 0;
    tern_error err = {0};
    while (expected[n_expected] >= 0) n_expected++;
    const size_t cap = tern_tokenizer_bound(t, bytes);
    assert_true(cap <= 256);
    if (tern_tokenizer_encode(t, ids, cap, &n, text, bytes, flags, &err) != 0)
        fail_msg("'%s': %s", text, err.text);
    if (n != n_expected || memcmp(ids, expected, n * sizeof *ids) != 0) {
        for (size_t i = 0; i < n; i++) print_message(" %d", ids[i]);
        fail_msg("'%s' gave these ids", text);
    }
}

#define ENCODES(t, text, flags, ...) \
    encodes(t, text, sizeof(text) - 1, flags, (const int32_t[]){__VA_ARGS__, -1})

static void merges_by_rank_from_the_left(void **state)
{
    (void)state;
    tern_tokenizer *t = build_ok(tiny_vocabulary(0), "qwen2");
    ENCODES(t, "a", 0, 'a');
    ENCODES(t, "ab", 0, ID_AB);
    ENCODES(t, "bc", 0, ID_BC);
    ENCODES(t, "abc", 0, ID_ABC);
    ENCODES(t, "bcabc", 0, ID_BC, ID_ABC);
    ENCODES(t, "aaa", 0, ID_AA, 'a');
    ENCODES(t, "aaaaa", 0, ID_AA, ID_AA, 'a');
    ENCODES(t, "aaab", 0, ID_AA, ID_AB); /* a b goes before a a */
    ENCODES(t, "a a", 0, 'a', ID_SPACE_A);
    ENCODES(t, "\xe2\x82\xac", 0, ID_EUR);
    ENCODES(t, "hello", 0, 'h', 'e', 'l', 'l', 'o'); /* a token that merges cannot make */
    ENCODES(t, "xyxyz", 0, 'x', 'y', 'x', 'y', 'z'); /* merged, but no tokens: single bytes */
    encodes(t, "", 0, TERN_ENCODE_BOS, (const int32_t[]){-1});
    tern_tokenizer_destroy(t);
    t = build_ok(tiny_vocabulary(0), "llama3");
    assert_string_equal(tern_tokenizer_pre(t), "llama-bpe");
    ENCODES(t, "hello", 0, ID_HELLO); /* ignore merges */
    ENCODES(t, "hellob", 0, 'h', 'e', 'l', 'l', 'o', 'b');
    tern_tokenizer_destroy(t);
    tern_tokenizer_destroy(NULL);
}

static void finds_special_tokens(void **state)
{
    (void)state;
    tern_tokenizer *t = build_ok(tiny_vocabulary(0), "llama-bpe");
    const unsigned special = TERN_ENCODE_SPECIAL;
    ENCODES(t, "a<s>b", 0, 'a', '<', 's', '>', 'b');
    ENCODES(t, "a<s>b", special, 'a', ID_S, 'b');
    ENCODES(t, "<s>x<s>", special, ID_S_X, ID_S);
    ENCODES(t, "<s><s", special, ID_S, '<', 's');
    ENCODES(t, "<<s>", special, '<', ID_S);
    ENCODES(t, "=", 0, '=');
    ENCODES(t, "a==b", 0, 'a', ID_EQ2, 'b');
    ENCODES(t, "====", 0, ID_EQ3, '=');
    ENCODES(t, "=====", special, ID_EQ3, ID_EQ2);
    ENCODES(t, "<unk>", 0, '<', 'u', 'n', 'k', '>');
    ENCODES(t, "<unk>", special, ID_UNK);
    ENCODES(t, "a<s>\xff<s>", special, 'a', ID_S, 0xff, ID_S);
    /* A control token with an ordinary text is no way into the model, ignore merges or not. */
    ENCODES(t, "danger", 0, 'd', 'a', 'n', 'g', 'e', 'r');
    ENCODES(t, "danger", special, ID_WORD);
    tern_tokenizer_destroy(t);
}

static void describes_tokens(void **state)
{
    (void)state;
    gguf_builder b = tiny_vocabulary(3);
    put_key_u32(&b, "tokenizer.ggml.bos_token_id", ID_S);
    put_key_u32(&b, "tokenizer.ggml.eos_token_id", ID_S_X);
    put_key_u32(&b, "tokenizer.ggml.eot_token_id", 'e');
    tern_tokenizer *t = build_ok(b, "llama-bpe");
    assert_int_equal(tern_tokenizer_n_vocab(t), N_TINY);
    assert_int_equal(tern_tokenizer_bos(t), ID_S);
    assert_int_equal(tern_tokenizer_eos(t), ID_S_X);
    size_t bytes = 99;
    for (int i = 0; i < N_TINY; i++) {
        const char *text = tern_tokenizer_bytes(t, i, &bytes);
        assert_non_null(text);
        const char single = (char)(uint8_t)i;
        const char *expected = i < 256 ? &single : tiny_tokens[i - 256].text;
        assert_int_equal(bytes, i < 256 ? 1 : strlen(expected));
        assert_memory_equal(text, expected, bytes);
        const int type = i < 256 ? 1 : tiny_tokens[i - 256].type;
        assert_int_equal(tern_tokenizer_is_control(t, i), type == 2 || type == 3);
        assert_int_equal(tern_tokenizer_is_end(t, i), i == ID_S_X || i == 'e' || i == ID_END);
    }
    const int32_t outside[] = {-1, N_TINY, N_TINY + 1, INT32_MAX, INT32_MIN};
    for (int i = 0; i < 5; i++) {
        assert_null(tern_tokenizer_bytes(t, outside[i], &bytes));
        assert_false(tern_tokenizer_is_control(t, outside[i]) ||
                     tern_tokenizer_is_end(t, outside[i]));
    }
    tern_tokenizer_destroy(t);
    t = build_ok(tiny_vocabulary(0), NULL); /* no pre key, no Llama-3 sizes */
    assert_string_equal(tern_tokenizer_pre(t), "default");
    assert_int_equal(tern_tokenizer_bos(t), -1);
    assert_int_equal(tern_tokenizer_eos(t), -1);
    tern_tokenizer_destroy(t);
}

static void puts_bos_where_the_model_wants_it(void **state)
{
    (void)state;
    static const struct {
        const char *pre;
        int key; /* add_bos_token; -1: absent */
        bool expected;
    } cases[] = {{"llama-bpe", -1, true}, {"llama-bpe", 0, false}, {"llama-bpe", 1, true},
                 {"qwen2", -1, false},    {"gpt-2", 1, true},      {"gpt-2", -1, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        gguf_builder b = tiny_vocabulary(cases[i].key >= 0 ? 3 : 2);
        put_key_text(&b, "tokenizer.ggml.pre", cases[i].pre);
        put_key_u32(&b, "tokenizer.ggml.bos_token_id", ID_S);
        if (cases[i].key >= 0)
            put_key_bool(&b, "tokenizer.ggml.add_bos_token", (uint8_t)cases[i].key);
        tern_tokenizer *t = build_ok(b, NULL);
        assert_string_equal(tern_tokenizer_pre(t), cases[i].pre);
        ENCODES(t, "a", 0, 'a');
        if (cases[i].expected)
            ENCODES(t, "a", TERN_ENCODE_BOS, ID_S, 'a');
        else
            ENCODES(t, "a", TERN_ENCODE_BOS, 'a');
        tern_tokenizer_destroy(t);
    }
}

static void puts_eos_where_the_model_wants_it(void **state)
{
    (void)state;
    for (uint8_t wanted = 0; wanted < 2; wanted++) {
        gguf_builder b = tiny_vocabulary(2);
        put_key_u32(&b, "tokenizer.ggml.eos_token_id", ID_S);
        put_key_bool(&b, "tokenizer.ggml.add_eos_token", wanted);
        tern_tokenizer *t = build_ok(b, "gpt-2");
        ENCODES(t, "a", TERN_ENCODE_BOS, 'a'); /* a text to continue */
        if (wanted)
            ENCODES(t, "a", TERN_ENCODE_EOS, 'a', ID_S);
        else
            ENCODES(t, "a", TERN_ENCODE_EOS, 'a');
        tern_tokenizer_destroy(t);
    }
}

static void check_round_trip(const tern_tokenizer *t, const char *text, size_t n, unsigned flags)
{
    int32_t ids[300];
    size_t n_ids = 0, at = 0;
    assert_int_equal(tern_tokenizer_encode(t, ids, 300, &n_ids, text, n, flags, NULL), TERN_OK);
    for (size_t i = 0; i < n_ids; i++) {
        size_t bytes;
        const char *token = tern_tokenizer_bytes(t, ids[i], &bytes);
        assert_non_null(token);
        assert_true(at + bytes <= n);
        assert_memory_equal(token, text + at, bytes);
        at += bytes;
    }
    assert_int_equal(at, n);
}

static void any_bytes_come_back(void **state)
{
    (void)state;
    static const char alphabet[] = "abc \n'sS<>x=1\xe2\x82\xac\xc3\xff\x80\xed\xa0";
    static const char *const pres[] = {"llama-bpe", "qwen2", "gpt-2", "default", "falcon"};
    for (size_t p = 0; p < sizeof pres / sizeof *pres; p++) {
        tern_tokenizer *t = build_ok(tiny_vocabulary(0), pres[p]);
        for (uint32_t seed = 0; seed < 2000; seed++) {
            char text[40];
            const size_t n = tern_random_u64(seed, 1, 0) % (sizeof text + 1);
            for (uint32_t i = 0; i < n; i++) {
                const uint64_t r = tern_random_u64(seed, 0, i);
                text[i] = seed % 2 ? alphabet[r % (sizeof alphabet - 1)] : (char)(uint8_t)r;
            }
            check_round_trip(t, text, n, seed % 3 ? 0 : TERN_ENCODE_SPECIAL);
        }
        tern_tokenizer_destroy(t);
    }
}

static void needs_room_and_says_so(void **state)
{
    (void)state;
    tern_tokenizer *t = build_ok(tiny_vocabulary(0), "qwen2");
    int32_t ids[4];
    size_t n = 77;
    tern_error err = {0};
    assert_int_equal(tern_tokenizer_encode(t, ids, 2, &n, "cba", 3, 0, &err), TERN_E_FIT);
    assert_int_equal(n, 77);
    assert_string_equal(err.text, "the text needs more than 2 tokens: give more room");
    assert_int_equal(tern_tokenizer_encode(t, ids, 3, &n, "cba", 3, 0, &err), TERN_OK);
    assert_int_equal(tern_tokenizer_encode(t, ids, 4, &n, "a", (size_t)1 << 31, 0, &err),
                     TERN_E_FIT);
    tern_tokenizer_destroy(t);
}

/* Composed characters where the file asks for it, around special tokens and broken bytes. */
static void composes_where_the_file_says(void **state)
{
    (void)state;
    gguf_builder b = tiny_vocabulary(1);
    put_key_bool(&b, "tern.tokenizer.nfc", 1);
    tern_tokenizer *t = build_ok(b, "qwen2"), *plain = build_ok(tiny_vocabulary(0), "qwen2");
    ENCODES(t, "e\u0301", 0, 0xc3, 0xa9);
    ENCODES(plain, "e\u0301", 0, 'e', 0xcc, 0x81);
    ENCODES(t, "e==\u0301e\u0301\xcc", 0, 'e', ID_EQ2, 0xcc, 0x81, 0xc3, 0xa9, 0xcc);
    ENCODES(t, "ab", 0, ID_AB);
    assert_true(tern_tokenizer_bound(t, 10) > tern_tokenizer_bound(plain, 10));
    tern_tokenizer_destroy(t);
    tern_tokenizer_destroy(plain);
}

/* A megabyte that the pattern does not cut: the time would show anything quadratic. */
static void a_long_piece_is_no_trap(void **state)
{
    (void)state;
    enum { N = 1000001 };
    tern_tokenizer *t = build_ok(tiny_vocabulary(0), "llama-bpe");
    char *text = malloc(N);
    int32_t *ids = malloc(sizeof *ids * tern_tokenizer_bound(t, N));
    assert_true(text && ids);
    size_t n = 0;
    memset(text, 'a', N);
    assert_int_equal(tern_tokenizer_encode(t, ids, N, &n, text, N, 0, NULL), TERN_OK);
    assert_int_equal(n, N / 2 + 1);
    assert_int_equal(ids[0], ID_AA);
    assert_int_equal(ids[n - 1], 'a');
    memset(text, ' ', N);
    assert_int_equal(tern_tokenizer_encode(t, ids, N, &n, text, N, 0, NULL), TERN_OK);
    assert_int_equal(n, N);
    memset(text, '<', N);
    assert_int_equal(tern_tokenizer_encode(t, ids, N, &n, text, N, TERN_ENCODE_SPECIAL, NULL),
                     TERN_OK);
    memset(text, 0x80, N);
    assert_int_equal(tern_tokenizer_encode(t, ids, N, &n, text, N, 0, NULL), TERN_OK);
    assert_int_equal(n, N);
    free(text);
    free(ids);
    tern_tokenizer_destroy(t);
}

/* ---- hostile vocabularies -------------------------------------------------------------------- */

static void refused_as(int expected, gguf_builder b, const char *pre, const char *part)
{
    tern_tokenizer *t = NULL;
    tern_error err = {0};
    const int status = build(&t, b, pre, &err);
    if (status != expected || !strstr(err.text, part) || !strstr(err.text, "'test.gguf': "))
        fail_msg("expected '%s', got status %d: %s", part, status, err.text);
    assert_null(t);
}

static void refused(gguf_builder b, const char *part)
{
    refused_as(TERN_E_MODEL, b, NULL, part);
}

static gguf_builder begin(uint64_t n_keys, const char *model)
{
    gguf_builder b = {0};
    put_header(&b, 3, 0, n_keys);
    put_key_text(&b, "tokenizer.ggml.model", model);
    return b;
}

static void refuses_wrong_keys(void **state)
{
    (void)state;
    refused(begin(1, "bert"),
            "the tokenizer is 'bert', but only byte-level BPE ('gpt2') and SentencePiece");
    refused(begin(1, "llama"), "the vocabulary has 0 tokens");
    gguf_builder b = {0};
    put_header(&b, 3, 0, 0);
    refused(b, "the tokenizer is 'missing'");
    refused(begin(1, "gpt2"), "the vocabulary has 0 tokens");
    b = begin(2, "gpt2");
    put_key_array(&b, "tokenizer.ggml.tokens", TERN_GGUF_U32, 1), put_u32(&b, 0);
    refused(b, "'tokenizer.ggml.tokens' is an array of u32 instead of an array of string");
    b = begin(2, "gpt2");
    put_key_text(&b, "tokenizer.ggml.tokens", "a");
    refused(b, "'tokenizer.ggml.tokens' is a string instead of an array of string");
    b = begin(2, "gpt2");
    put_tiny_tokens(&b);
    refused(b, "a gpt2 tokenizer needs tokenizer.ggml.merges");
    b = begin(3, "gpt2");
    put_tiny_tokens(&b);
    put_key_array(&b, "tokenizer.ggml.token_type", TERN_GGUF_I32, 1), put_u32(&b, 1);
    refused(b, "271 tokens but 1 values of tokenizer.ggml.token_type");
    b = begin(3, "gpt2");
    put_tiny_tokens(&b);
    put_key_array(&b, "tokenizer.ggml.scores", TERN_GGUF_F32, 0);
    refused(b, "271 tokens but 0 values of tokenizer.ggml.scores");
    b = begin(3, "gpt2");
    put_key_array(&b, "tokenizer.ggml.tokens", TERN_GGUF_STRING, 1), put_text(&b, "a");
    put_key_array(&b, "tokenizer.ggml.token_type", TERN_GGUF_I32, 1), put_u32(&b, 7);
    refused(b, "token 0 has type 7, but types go from 0 to 6");
    b = tiny_vocabulary(1);
    put_key_text(&b, "tokenizer.ggml.pre", "klingon\n");
    refused(b, "the pre-tokenizer 'klingon\\x0a' is not known: name one of llama-bpe");
    refused_as(TERN_E_USAGE, tiny_vocabulary(0), "klingon",
               "the pre-tokenizer 'klingon' is not known");
    b = tiny_vocabulary(1);
    put_key_u32(&b, "tokenizer.ggml.eos_token_id", N_TINY);
    refused(b, "key 'tokenizer.ggml.eos_token_id' is 271, outside 0 to 270");
    b = tiny_vocabulary(1);
    put_key_text(&b, "tokenizer.ggml.bos_token_id", "<s>");
    refused(b, "is a string instead of an integer");
    b = tiny_vocabulary(1);
    put_key_bool(&b, "tokenizer.ggml.add_bos_token", 1);
    refused(b, "tokenizer.ggml.add_bos_token is true but tokenizer.ggml.bos_token_id is missing");
    b = tiny_vocabulary(1);
    put_key_bool(&b, "tokenizer.ggml.add_eos_token", 1);
    refused(b, "tokenizer.ggml.add_eos_token is true but tokenizer.ggml.eos_token_id is missing");
}

/* The tokens a and b, and one merge. */
static gguf_builder one_merge(const char *merge)
{
    gguf_builder b = begin(3, "gpt2");
    put_key_array(&b, "tokenizer.ggml.tokens", TERN_GGUF_STRING, 2);
    put_text(&b, "a"), put_text(&b, "b");
    put_key_array(&b, "tokenizer.ggml.merges", TERN_GGUF_STRING, 1);
    put_text(&b, merge);
    return b;
}

static void refuses_wrong_merges(void **state)
{
    (void)state;
    tern_tokenizer_destroy(build_ok(one_merge("a b"), NULL));
    refused(one_merge(""), "merge 0 is no pair of texts in the byte alphabet: ''");
    refused(one_merge("a"), "merge 0 is no pair");
    refused(one_merge("ab"), "merge 0 is no pair");
    refused(one_merge("a "), "merge 0 is no pair");
    refused(one_merge(" a"), "merge 0 is no pair");
    refused(one_merge("a b c"), "merge 0 is no pair");
    refused(one_merge("a \xe2\x82\xac"),
            "merge 0 is no pair of texts in the byte alphabet: 'a \\xe2");
    refused(one_merge("ab a"),
            "merge 0 names a part that is neither a token nor the result of an earlier"
            " merge: 'ab a'");
}

/* Two tokens of one text: the first counts, in text and as a special token. */
static void takes_the_first_of_equal_tokens(void **state)
{
    (void)state;
    gguf_builder b = begin(5, "gpt2");
    put_key_text(&b, "tokenizer.ggml.pre", "gpt-2");
    put_key_array(&b, "tokenizer.ggml.tokens", TERN_GGUF_STRING, 4);
    put_text(&b, "a"), put_text(&b, "a"), put_text(&b, "<s>"), put_text(&b, "<s>");
    put_key_array(&b, "tokenizer.ggml.token_type", TERN_GGUF_I32, 4);
    put_u32(&b, 1), put_u32(&b, 1), put_u32(&b, 3), put_u32(&b, 3);
    put_key_array(&b, "tokenizer.ggml.merges", TERN_GGUF_STRING, 0);
    tern_tokenizer *t = build_ok(b, NULL);
    ENCODES(t, "a<s>a", TERN_ENCODE_SPECIAL, 0, 2, 0);
    tern_tokenizer_destroy(t);
}

/* A byte that no token stands for is an error when a text needs it, not before. */
static void misses_single_bytes_when_needed(void **state)
{
    (void)state;
    tern_tokenizer *t = build_ok(one_merge("a b"), NULL);
    int32_t ids[8];
    size_t n = 0;
    tern_error err = {0};
    ENCODES(t, "abba", 0, 0, 1, 1, 0);
    assert_int_equal(tern_tokenizer_encode(t, ids, 8, &n, "abc", 3, 0, &err), TERN_E_MODEL);
    assert_string_equal(err.text,
                        "the vocabulary has no token for the byte 0x63, which this text needs:"
                        " use another model");
    tern_tokenizer_destroy(t);
}

/* Bytes of a small file changed one at a time: refused, or a tokenizer that can encode and
 * describe. */
static void changed_bytes_end_cleanly(void **state)
{
    (void)state;
    gguf_builder b = begin(5, "gpt2");
    put_key_text(&b, "tokenizer.ggml.pre", "gpt-2");
    put_key_array(&b, "tokenizer.ggml.tokens", TERN_GGUF_STRING, 4);
    put_text(&b, "a"), put_text(&b, "b"), put_text(&b, "ab"), put_text(&b, "<s>");
    put_key_array(&b, "tokenizer.ggml.token_type", TERN_GGUF_I32, 4);
    put_u32(&b, 1), put_u32(&b, 1), put_u32(&b, 1), put_u32(&b, 3);
    put_key_array(&b, "tokenizer.ggml.merges", TERN_GGUF_STRING, 1);
    put_text(&b, "a b");
    static const uint8_t changes[] = {1, 2, 3, 4, 8, 0x10, 0x40, 0x80, 0xff};
    for (size_t i = 0; i < b.n; i++)
        for (size_t c = 0; c < sizeof changes; c++) {
            gguf_builder copy = {0};
            put_bytes(&copy, b.bytes, b.n);
            copy.bytes[i] ^= changes[c];
            tern_tokenizer *t = NULL;
            tern_error err = {0};
            const int status = build(&t, copy, NULL, &err);
            assert_true(status == TERN_OK || (status == TERN_E_MODEL && err.text[0] && !t));
            if (status != TERN_OK) continue;
            int32_t ids[16];
            size_t n;
            tern_tokenizer_encode(t, ids, 16, &n, "ab<s>ba\xff", 8, TERN_ENCODE_SPECIAL, NULL);
            for (int32_t id = 0; id < tern_tokenizer_n_vocab(t); id++)
                assert_non_null(tern_tokenizer_bytes(t, id, &n));
            tern_tokenizer_destroy(t);
        }
    free(b.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges_by_rank_from_the_left),
        cmocka_unit_test(finds_special_tokens),
        cmocka_unit_test(describes_tokens),
        cmocka_unit_test(puts_bos_where_the_model_wants_it),
        cmocka_unit_test(puts_eos_where_the_model_wants_it),
        cmocka_unit_test(any_bytes_come_back),
        cmocka_unit_test(needs_room_and_says_so),
        cmocka_unit_test(composes_where_the_file_says),
        cmocka_unit_test(a_long_piece_is_no_trap),
        cmocka_unit_test(refuses_wrong_keys),
        cmocka_unit_test(refuses_wrong_merges),
        cmocka_unit_test(takes_the_first_of_equal_tokens),
        cmocka_unit_test(misses_single_bytes_when_needed),
        cmocka_unit_test(changed_bytes_end_cleanly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
