/* test_compose.c - Normalization Form C: known pairs, random texts and every character against
 * utf8proc's own normaliser, the promised growth, and a run of marks that takes no time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <utf8proc.h>

#include "cases.h"
#include "format/compose.h"

static void composes(const char *text, size_t bytes, const char *wanted, size_t n_wanted)
{
    char *out;
    size_t n;
    assert_int_equal(tern_compose(&out, &n, text, bytes, NULL), TERN_OK);
    if (n != n_wanted || memcmp(out, wanted, n) != 0) fail_msg("'%s' gave '%s'", text, out);
    free(out);
}

static void test_pairs(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"", ""},
        {"plain", "plain"},
        {"e\u0301", "\u00e9"},                    /* composed */
        {"\u00e9", "\u00e9"},                     /* already */
        {"\u212b", "\u00c5"},                     /* a singleton */
        {"\u0958", "\u0915\u093c"},               /* excluded from composition */
        {"q\u0307\u0323", "q\u0323\u0307"},       /* marks in the order of their classes */
        {"d\u0307\u0323", "\u1e0d\u0307"},        /* one of them composed */
        {"\u1112\u1161\u11ab", "\ud55c"},         /* Hangul */
        {"\u0301x", "\u0301x"},                   /* a mark without a letter */
        {"a\u0315\u0300\u05ae\u0300b", "\u00e0\u05ae\u0300\u0315b"}, /* equal classes keep order */
        {"\ufb01 \u2460", "\ufb01 \u2460"},       /* compatibility stays */
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
        composes(pairs[i][0], strlen(pairs[i][0]), pairs[i][1], strlen(pairs[i][1]));
    composes("a\0e\u0301", 5, "a\0\u00e9", 4);
}

static size_t put(char *out, int32_t character)
{
    return (size_t)utf8proc_encode_char(character, (uint8_t *)out);
}

static void test_library(void **state)
{
    (void)state;
    static const int32_t ranges[][2] = {{'a', 'z'},       {0x300, 0x345},   {0xc0, 0x17f},
                                        {0x1e00, 0x1fff}, {0x1100, 0x1175}, {0x11a8, 0x11c2},
                                        {0xac00, 0xd7a3}, {0x915, 0x95f},   {0x1d157, 0x1d1c0}};
    uint64_t seed = 3;
    for (int round = 0; round < 5000; round++) {
        char text[200];
        size_t n = 0;
        for (int i = case_int(&seed, 1, 40); i > 0; i--) {
            const int32_t *range = ranges[case_int(&seed, 0, 8)];
            n += put(text + n, case_int(&seed, range[0], range[1]));
        }
        text[n] = 0;
        char *wanted = (char *)utf8proc_NFC((const uint8_t *)text);
        assert_non_null(wanted);
        composes(text, n, wanted, strlen(wanted));
        free(wanted);
    }
}

static void test_every_character(void **state)
{
    (void)state;
    size_t most = 0;
    for (int32_t c = 1; c < 0x110000; c++) {
        char text[5];
        if (c >= 0xd800 && c < 0xe000) continue;
        const size_t bytes = put(text, c);
        text[bytes] = 0;
        char *wanted = (char *)utf8proc_NFC((const uint8_t *)text);
        assert_non_null(wanted);
        const size_t n = strlen(wanted);
        composes(text, bytes, wanted, n);
        assert_true(n <= TERN_COMPOSE_GROWTH * bytes);
        most = n > most * bytes ? n / bytes : most;
        free(wanted);
    }
    assert_int_equal(most, TERN_COMPOSE_GROWTH);
}

/* A megabyte of marks in the worst order: the time would show anything quadratic. */
static void test_long_run(void **state)
{
    (void)state;
    enum { N = 1 << 18 };
    char *text = case_alloc(2 * 2 * N + 1), *wanted = case_alloc(2 * 2 * N + 1);
    for (size_t i = 0; i < N; i++) {
        memcpy(text + 4 * i, "\u0301\u0323", 4); /* classes 230, 220 */
        memcpy(wanted + 2 * i, "\u0323", 2);
        memcpy(wanted + 2 * (N + i), "\u0301", 2);
    }
    composes(text, (size_t)4 * N, wanted, (size_t)4 * N);
    free(text);
    free(wanted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pairs),
        cmocka_unit_test(test_library),
        cmocka_unit_test(test_every_character),
        cmocka_unit_test(test_long_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
