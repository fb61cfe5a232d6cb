/* test_chat.c - conversations as text and as ids: every template, the known answers of Llama 3's
 * vocabulary, contents that spell control tokens, and how a file's template is recognised. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "format/tokenizer_gguf.h"
#include "gguf_builder.h"
#include "shared_data.h"
#include "tern/chat.h"

/* A vocabulary of the printable bytes, newline and space, and tokens of any type behind them. */
typedef struct extra {
    const char *text;
    uint32_t type;
} extra;

enum { FIRST = 96, LF = 95, CONTROL = 3, USER = 4 }; /* id of a byte: its code - 32 */

static tern_tokenizer *vocabulary(const extra *list, size_t n)
{
    gguf_builder b = {0};
    put_header(&b, 3, 0, 5);
    put_key_text(&b, "tokenizer.ggml.model", "gpt2");
    put_key_text(&b, "tokenizer.ggml.pre", "gpt-2");
    put_key_array(&b, "tokenizer.ggml.tokens", TERN_GGUF_STRING, FIRST + n);
    put_text(&b, "\xc4\xa0");
    for (int c = 33; c < 127; c++) put_text(&b, (char[2]){(char)c, 0});
    put_text(&b, "\xc4\x8a");
    for (size_t i = 0; i < n; i++) put_text(&b, list[i].text);
    put_key_array(&b, "tokenizer.ggml.token_type", TERN_GGUF_I32, FIRST + n);
    for (int i = 0; i < FIRST; i++) put_u32(&b, 1);
    for (size_t i = 0; i < n; i++) put_u32(&b, list[i].type);
    put_key_array(&b, "tokenizer.ggml.merges", TERN_GGUF_STRING, 0);
    tern_gguf *gguf = NULL;
    tern_tokenizer *t = NULL;
    tern_error err = {0};
    if (tern_gguf_parse(&gguf, b.bytes, b.n, "test.gguf", &err) ||
        tern_tokenizer_from_gguf(&t, gguf, NULL, &err))
        fail_msg("%s", err.text);
    tern_gguf_close(gguf);
    free(b.bytes);
    return t;
}

#define MESSAGE(role, text)          \
    {                                \
        role, text, sizeof(text) - 1 \
    }

static void reads_as(tern_chat_format format, const tern_chat_message *messages, size_t n,
                     const char *expected)
{
    char *text = NULL;
    size_t bytes = 0;
    tern_error err = {0};
    if (tern_chat_text(&text, &bytes, format, messages, n, &err)) fail_msg("%s", err.text);
    assert_string_equal(text, expected);
    assert_int_equal(bytes, strlen(expected));
    free(text);
}

static void writes_every_template(void **state)
{
    (void)state;
    const tern_chat_message list[] = {MESSAGE("system", " Be\tbrief.\n"), MESSAGE("user", "Hi"),
                                      MESSAGE("assistant", "Yes?"), MESSAGE("user", " \n")};
    reads_as(TERN_CHAT_BITNET, list, 4,
             "System: Be\tbrief.<|eot_id|>User: Hi<|eot_id|>Assistant: Yes?<|eot_id|>"
             "User: <|eot_id|>Assistant: ");
    reads_as(TERN_CHAT_LLAMA3, list, 3,
             "<|start_header_id|>system<|end_header_id|>\n\nBe\tbrief.<|eot_id|>"
             "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
             "<|start_header_id|>assistant<|end_header_id|>\n\nYes?<|eot_id|>"
             "<|start_header_id|>assistant<|end_header_id|>\n\n");
    reads_as(TERN_CHAT_FALCON3, list, 2,
             "<|system|>\n Be\tbrief.\n\n<|user|>\nHi\n<|assistant|>\n");
    reads_as(TERN_CHAT_CHATML, list, 4,
             "<|im_start|>system\n Be\tbrief.\n<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
             "<|im_start|>assistant\nYes?<|im_end|>\n<|im_start|>user\n \n<|im_end|>\n"
             "<|im_start|>assistant\n");
    const tern_chat_message blanks[] = {MESSAGE("user", "\xe3\x80\x80\xc2\xa0 a\xc2\xa0"
                                                        "b\xe2\x80\x89")};
    reads_as(TERN_CHAT_BITNET, blanks, 1,
             "User: a\xc2\xa0"
             "b<|eot_id|>Assistant: ");
    const tern_chat_message none[] = {{"user", NULL, 0}};
    reads_as(TERN_CHAT_BITNET, none, 1, "User: <|eot_id|>Assistant: ");
}

static void refuses(tern_chat_format format, const tern_chat_message *messages, size_t n,
                    const char *part)
{
    char *text = NULL;
    size_t bytes = 7;
    tern_error err = {0};
    assert_int_equal(tern_chat_text(&text, &bytes, format, messages, n, &err), TERN_E_USAGE);
    assert_null(text);
    assert_int_equal(bytes, 7);
    if (!strstr(err.text, part)) fail_msg("'%s' lacks '%s'", err.text, part);
}

static void refuses_what_no_template_writes(void **state)
{
    (void)state;
    const tern_chat_message user[] = {MESSAGE("user", "Hi"), MESSAGE("tool\n", "x")};
    refuses(TERN_CHAT_NONE, user, 1, "base model without a chat template");
    refuses(TERN_CHAT_UNKNOWN, user, 1, "not known here");
    refuses(TERN_CHAT_BITNET, user, 0, "0 messages");
    refuses(TERN_CHAT_BITNET, user, 2, "message 2 has the role 'tool\\x0a': use system, user");
}

/* The ids end with -1. */
static void encodes_to(const tern_tokenizer *t, tern_chat_format format,
                       const tern_chat_message *messages, size_t n_messages,
                       const int32_t *expected)
{
    int32_t *ids = NULL;
    size_t n = 0, n_expected = 0;
    tern_error err = {0};
    while (expected[n_expected] >= 0) n_expected++;
    if (tern_chat_encode(&ids, &n, t, format, messages, n_messages, &err)) fail_msg("%s", err.text);
    if (n != n_expected || memcmp(ids, expected, n * sizeof *ids) != 0) {
        for (size_t i = 0; i < n; i++) print_message(" %d", ids[i]);
        fail_msg("these ids");
    }
    free(ids);
}

#define C(letter) (letter - 32)
#define WORD_EOT C('<'), C('|'), C('e'), C('o'), C('t'), C('_'), C('i'), C('d'), C('|'), C('>')
#define USER_TURN C('U'), C('s'), C('e'), C('r'), C(':'), C(' ')
#define ANSWER \
    C('A'), C('s'), C('s'), C('i'), C('s'), C('t'), C('a'), C('n'), C('t'), C(':'), C(' ')

/* Of every type that a file may give the token, and in every place of a content. */
static void contents_are_text(void **state)
{
    (void)state;
    const tern_chat_message list[] = {MESSAGE("user", "<|eot_id|>a<<|eot_id|>")};
    for (uint32_t type = CONTROL; type <= USER; type++) {
        const extra tokens[] = {{"<|eot_id|>", type}};
        tern_tokenizer *t = vocabulary(tokens, 1);
        encodes_to(
            t, TERN_CHAT_BITNET, list, 1,
            (const int32_t[]){USER_TURN, WORD_EOT, C('a'), C('<'), WORD_EOT, FIRST, ANSWER, -1});
        tern_tokenizer_destroy(t);
    }
}

static void keeps_user_defined_tokens_that_are_no_markers(void **state)
{
    (void)state;
    const extra tokens[] = {{"<|eot_id|>", CONTROL}, {"==", USER}};
    const tern_chat_message list[] = {MESSAGE("user", "==<|")};
    tern_tokenizer *t = vocabulary(tokens, 2);
    encodes_to(t, TERN_CHAT_BITNET, list, 1,
               (const int32_t[]){USER_TURN, FIRST + 1, C('<'), C('|'), FIRST, ANSWER, -1});
    tern_tokenizer_destroy(t);
}

static void markers_may_be_missing_in_falcon3_only(void **state)
{
    (void)state;
    const extra tokens[] = {{"<|user|>", USER}};
    const tern_chat_message list[] = {MESSAGE("user", "a")};
    tern_tokenizer *t = vocabulary(tokens, 1);
    encodes_to(t, TERN_CHAT_FALCON3, list, 1,
               (const int32_t[]){FIRST, LF, C('a'), LF, C('<'), C('|'), C('a'), C('s'), C('s'),
                                 C('i'), C('s'), C('t'), C('a'), C('n'), C('t'), C('|'), C('>'), LF,
                                 -1});
    int32_t *ids = NULL;
    size_t n = 7;
    tern_error err = {0};
    assert_int_equal(tern_chat_encode(&ids, &n, t, TERN_CHAT_BITNET, list, 1, &err), TERN_E_USAGE);
    assert_null(ids);
    assert_int_equal(n, 7);
    assert_string_equal(err.text,
                        "the chat template bitnet needs the token '<|eot_id|>', which this model's "
                        "vocabulary lacks: name another template");
    assert_int_equal(tern_chat_encode(&ids, &n, t, TERN_CHAT_NONE, list, 1, &err), TERN_E_USAGE);
    tern_tokenizer_destroy(t);
}

/* FORMATS 12.7. */
static void known_answers(void **state)
{
    (void)state;
    char path[SHARED_PATH_BYTES];
    if (!shared_path(path, "data/tokenizer/ggml-vocab-llama-bpe.gguf")) skip();
    tern_gguf *gguf = NULL;
    tern_tokenizer *t = NULL;
    tern_error err = {0};
    if (tern_gguf_open(&gguf, path, &err) || tern_tokenizer_from_gguf(&t, gguf, NULL, &err))
        fail_msg("%s", err.text);
    tern_gguf_close(gguf);
    const tern_chat_message list[] = {MESSAGE("system", "You are a helpful AI assistant."),
                                      MESSAGE("user", "How are you?"), MESSAGE("user", "Hi")};
    encodes_to(t, TERN_CHAT_BITNET, list + 2, 1,
               (const int32_t[]){128000, 1502, 25, 21694, 128009, 72803, 25, 220, -1});
    encodes_to(t, TERN_CHAT_BITNET, list, 2,
               (const int32_t[]){128000, 2374,   25,     1472, 527, 264,  11190, 15592,
                                 18328,  13,     128009, 1502, 25,  2650, 527,   499,
                                 30,     128009, 72803,  25,   220, -1});
    encodes_to(t, TERN_CHAT_LLAMA3, list + 2, 1,
               (const int32_t[]){128000, 128006, 882, 128007, 271, 13347, 128009, 128006, 78191,
                                 128007, 271, -1});
    assert_true(tern_tokenizer_is_end(t, 128001) && tern_tokenizer_is_end(t, 128009));
    assert_int_equal(tern_chat_recognise(NULL, 0, "bitnet-b1.58", t), TERN_CHAT_BITNET);
    assert_int_equal(tern_chat_recognise(NULL, 0, "llama", t), TERN_CHAT_NONE);
    tern_tokenizer_destroy(t);
}

static void recognises_templates(void **state)
{
    (void)state;
    const extra tokens[] = {{"<|eot_id|>", CONTROL}};
    tern_tokenizer *with = vocabulary(tokens, 1), *without = vocabulary(NULL, 0);
    static const struct {
        const char *stored, *arch;
        bool eot;
        tern_chat_format expected;
    } cases[] = {
        {NULL, "bitnet-b1.58", true, TERN_CHAT_NONE},
        {"whatever", "bitnet-b1.58", true, TERN_CHAT_BITNET},
        {"{{ 'Human: ' }}{{ 'BITNETAssistant: ' }}", "bitnet-b1.58", true, TERN_CHAT_BITNET},
        {"<|im_start|>", "bitnet-25", true, TERN_CHAT_BITNET},
        {NULL, "bitnet-b1.58", false, TERN_CHAT_NONE},
        {"", "bitnet-b1.58", false, TERN_CHAT_NONE},
        {NULL, "llama", true, TERN_CHAT_NONE},
        {"{{'<|im_start|>' + message['role']}}", "llama", true, TERN_CHAT_CHATML},
        {"'<|start_header_id|>' '<|eot_id|>'", "llama", true, TERN_CHAT_LLAMA3},
        {"'<|user|>\n' '<|assistant|>\n'", "llama", false, TERN_CHAT_FALCON3},
        {"'<|user|>\n' '<|end|>' '<|assistant|>\n'", "llama", false, TERN_CHAT_UNKNOWN},
        {"message['role'] | capitalize + ': ' + '<|eot_id|>'", "llama", true, TERN_CHAT_BITNET},
        {"[INST]", "llama", true, TERN_CHAT_UNKNOWN},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *stored = cases[i].stored;
        const tern_chat_format got = tern_chat_recognise(
            stored, stored ? strlen(stored) : 0, cases[i].arch, cases[i].eot ? with : without);
        if (got != cases[i].expected) fail_msg("case %zu is %s", i, tern_chat_name(got));
    }
    tern_tokenizer_destroy(with);
    tern_tokenizer_destroy(without);
}

static void finds_names(void **state)
{
    (void)state;
    tern_chat_format format = TERN_CHAT_UNKNOWN;
    tern_error err = {0};
    for (int i = 0; i < TERN_N_CHAT_FORMATS; i++) {
        if (i == TERN_CHAT_UNKNOWN) continue;
        assert_int_equal(tern_chat_find(&format, tern_chat_name((tern_chat_format)i), &err), 0);
        assert_int_equal(format, i);
    }
    assert_int_equal(tern_chat_find(&format, "unknown", &err), TERN_E_USAGE);
    assert_int_equal(tern_chat_find(&format, "klingon\n", &err), TERN_E_USAGE);
    assert_string_equal(err.text, "'klingon\\x0a' is no chat template: use none, bitnet, llama3, "
                                  "falcon3 or chatml");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_every_template),
        cmocka_unit_test(refuses_what_no_template_writes),
        cmocka_unit_test(contents_are_text),
        cmocka_unit_test(keeps_user_defined_tokens_that_are_no_markers),
        cmocka_unit_test(markers_may_be_missing_in_falcon3_only),
        cmocka_unit_test(known_answers),
        cmocka_unit_test(recognises_templates),
        cmocka_unit_test(finds_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
