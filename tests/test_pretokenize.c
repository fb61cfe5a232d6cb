/* test_pretokenize.c - the pieces of every pre-tokenizer, compiled and interpreted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "format/pretokenize.h"

static tern_cutter *cutter_of(const char *name, bool jit)
{
    tern_cutter *cutter = NULL;
    bool known = false;
    tern_error err = {0};
    if (tern_cutter_create(&cutter, &known, name, strlen(name), jit, &err) != 0)
        fail_msg("%s", err.text);
    assert_true(known);
    return cutter;
}

/* Pieces with a bar between them. */
typedef struct joined {
    char text[1024];
    size_t n;
} joined;

static int join(void *user, const char *piece, size_t bytes, tern_error *err)
{
    (void)err;
    joined *j = user;
    assert_true(bytes > 0 && j->n + bytes + 2 < sizeof j->text);
    if (j->n) j->text[j->n++] = '|';
    memcpy(j->text + j->n, piece, bytes);
    j->n += bytes;
    j->text[j->n] = 0;
    return 0;
}

static void cuts(const char *name, const char *text, const char *expected)
{
    for (int jit = 0; jit < 2; jit++) {
        tern_cutter *cutter = cutter_of(name, jit);
        joined j = {0};
        assert_int_equal(tern_cutter_run(cutter, text, strlen(text), join, &j, NULL), 0);
        assert_string_equal(j.text, expected);
        tern_cutter_destroy(cutter);
    }
}

static void cuts_llama_bpe(void **state)
{
    (void)state;
    const char *const name = "llama-bpe";
    cuts(name, "", "");
    cuts(name, "Hello world", "Hello| world");
    cuts(name, "I'm 12345 years", "I|'m| |123|45| years");
    cuts(name, "WE'LL it'Ve", "WE|'LL| it|'Ve");
    cuts(name, "a   b", "a|  | b");
    cuts(name, "a \n\n  b ", "a| \n\n| | b| ");
    cuts(name, "x!?\r\n\ny", "x|!?\r\n\n|y");
    cuts(name, " ...dots", " ...|dots");
    cuts(name, "\t\tx", "\t|\tx");
    cuts(name, "\xd0\xbf\xd1\x80\xd0\xb8 \xe4\xbd\xa0\xe5\xa5\xbd",
         "\xd0\xbf\xd1\x80\xd0\xb8| \xe4\xbd\xa0\xe5\xa5\xbd");
    cuts(name, "\xd9\xa1\xd9\xa2\xd9\xa3\xd9\xa4",
         "\xd9\xa1\xd9\xa2\xd9\xa3|\xd9\xa4"); /* Arabic digits */
    cuts("llama-v3", "1234", "123|4");
}

/* Where engines differ, see the top of pretokenize.c. */
static void follows_the_reference_engines(void **state)
{
    (void)state;
    cuts("llama-bpe", "a\xc2\x85\xc2\x85z", "a|\xc2\x85|\xc2\x85z"); /* U+0085 is white space */
    cuts("llama-bpe", "!\xc2\x85!", "!|\xc2\x85|!");
    cuts("llama-bpe", "!\xe1\xa0\x8e!", "!\xe1\xa0\x8e!");    /* U+180E is not */
    cuts("llama-bpe", "!\xe3\x80\x80!", "!|\xe3\x80\x80|!");  /* U+3000 is */
    cuts("llama-bpe", "x'\xc5\xbfo", "x|'\xc5\xbf|o");        /* U+017F folds to s */
    cuts("gpt-2", "x'\xc5\xbfo X'S", "x|'|\xc5\xbfo| X|'|S"); /* no folding here */
}

static void cuts_the_others(void **state)
{
    (void)state;
    cuts("qwen2", "a 123's", "a| |1|2|3|'s");
    cuts("gpt-2", "Hello world's 1234  ", "Hello| world|'s| 1234|  ");
    cuts("gpt-2", "a  b", "a| | b");
    cuts("gpt-2", "a\n\nb ", "a|\n|\n|b| ");
    cuts("default", "Hello, world 12345", "Hello|,| world| |123|45");
    cuts("default", "a==b`c", "a|==|b|`|c");
    cuts("falcon", "a`=1234 x", "a|`=|123|4| x");
    cuts("falcon_e", "a`=1234 x", "a|`=|1|2|3|4| x");
    cuts("falcon3", "1234", "123|4"); /* as llama-bpe */
}

static void knows_its_names(void **state)
{
    (void)state;
    static const char *const unknown[] = {"", "llama", "llama-bpe ", "LLAMA-BPE", "falcon-3"};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        tern_cutter *cutter = NULL;
        bool known = true;
        assert_int_equal(
            tern_cutter_create(&cutter, &known, unknown[i], strlen(unknown[i]), true, NULL), 0);
        assert_false(known);
        assert_null(cutter);
    }
    tern_cutter *cutter = cutter_of("pixtral", true);
    assert_string_equal(tern_cutter_info(cutter)->name, "llama-bpe");
    assert_true(tern_cutter_info(cutter)->ignore_merges && tern_cutter_info(cutter)->add_bos);
    tern_cutter_destroy(cutter);
    tern_cutter_destroy(NULL);
}

static int stop_at_second(void *user, const char *piece, size_t bytes, tern_error *err)
{
    (void)piece, (void)bytes, (void)err;
    return ++*(int *)user == 2 ? TERN_E_FIT : 0;
}

static void stops_when_told(void **state)
{
    (void)state;
    tern_cutter *cutter = cutter_of("default", true);
    int n = 0;
    assert_int_equal(tern_cutter_run(cutter, "a,b,c", 5, stop_at_second, &n, NULL), TERN_E_FIT);
    assert_int_equal(n, 2);
    tern_cutter_destroy(cutter);
}

/* Running sum over the ends of pieces. */
static int add_end(void *user, const char *piece, size_t bytes, tern_error *err)
{
    (void)err;
    uint64_t *sum = user;
    assert_ptr_equal(piece, (const char *)(uintptr_t)sum[1]); /* where the last piece ended */
    sum[1] += bytes;
    sum[0] = sum[0] * 31 + bytes;
    return 0;
}

static uint64_t sum_of(const tern_cutter *cutter, const char *text, size_t n)
{
    uint64_t sum[2] = {0, (uintptr_t)text};
    tern_error err = {0};
    if (tern_cutter_run(cutter, text, n, add_end, sum, &err) != 0) fail_msg("%s", err.text);
    assert_ptr_equal(text + n, (const char *)(uintptr_t)sum[1]); /* nothing lost */
    return sum[0];
}

/* Random text of characters at the borders of all classes: pieces cover it, compiled or
 * interpreted. */
static void jit_changes_nothing(void **state)
{
    (void)state;
    static const char *const characters[] = {"a",
                                             "S",
                                             "s",
                                             "'",
                                             " ",
                                             " ",
                                             "\n",
                                             "\r",
                                             "\t",
                                             "1",
                                             "9",
                                             "!",
                                             "$",
                                             "`",
                                             "_",
                                             "\xc3\xa9",
                                             "\xc2\x85",
                                             "\xc2\xa0",
                                             "\xc5\xbf",
                                             "\xe2\x80\xa8",
                                             "\xe1\xa0\x8e",
                                             "\xcc\x81",
                                             "\xd9\xa1",
                                             "\xc2\xbd",
                                             "\xe4\xbd\xa0",
                                             "\xf0\x9f\x98\x80",
                                             "\xe2\x85\xa7",
                                             "\x7f"};
    static const char *const names[] = {"llama-bpe", "qwen2", "gpt-2", "default", "falcon",
                                        "falcon_e"};
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        tern_cutter *fast = cutter_of(names[k], true), *slow = cutter_of(names[k], false);
        for (uint32_t seed = 0; seed < 2000; seed++) {
            char text[256];
            size_t n = 0;
            for (uint32_t i = 0; i < 40; i++) {
                const char *c = characters[tern_random_u64(seed, 0, i) %
                                           (sizeof characters / sizeof *characters)];
                memcpy(text + n, c, strlen(c));
                n += strlen(c);
            }
            assert_int_equal(sum_of(fast, text, n), sum_of(slow, text, n));
        }
        tern_cutter_destroy(fast);
        tern_cutter_destroy(slow);
    }
}

/* Longer than PCRE2's default limit of ten million steps, in the run that backtracks most. */
static void long_runs_are_cut(void **state)
{
    (void)state;
    enum { N = 11 << 20 };
    char *text = malloc(N);
    assert_non_null(text);
    for (int jit = 0; jit < 2; jit++) {
        tern_cutter *cutter = cutter_of("llama-bpe", jit);
        memset(text, ' ', N);
        text[N - 1] = 'x';
        sum_of(cutter, text, N);
        memset(text, 'x', N);
        sum_of(cutter, text, N);
        memset(text, '!', N);
        sum_of(cutter, text, N);
        tern_cutter_destroy(cutter);
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cuts_llama_bpe),    cmocka_unit_test(follows_the_reference_engines),
        cmocka_unit_test(cuts_the_others),   cmocka_unit_test(knows_its_names),
        cmocka_unit_test(stops_when_told),   cmocka_unit_test(jit_changes_nothing),
        cmocka_unit_test(long_runs_are_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
