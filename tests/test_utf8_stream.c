/* test_utf8_stream.c - looking at UTF-8, quoting, and the stream that never emits half a character.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "base/text.h"
#include "tern/tokenizer.h"

#define R "\xef\xbf\xbd" /* U+FFFD */

/* Unicode 15, tables 3-8 to 3-11, and what surrounds every limit. */
static const struct {
    const char *in, *out;
} cases[] = {
    {"", ""},
    {"plain", "plain"},
    {"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"},
    {"\xc0\xaf\xe0\x80\xbf\xf0\x81\x82\x41", R R R R R R R R "A"},
    {"\xed\xa0\x80\xed\xbf\xbf\xed\xaf\x41", R R R R R R R R "A"},
    {"\xf4\x91\x92\x93\xff\x41\x80\xbf\x42", R R R R R "A" R R "B"},
    {"\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41", R R R R "A"},
    {"\xf4\x8f\xbf\xbf\xf4\x90\x80\x80", "\xf4\x8f\xbf\xbf" R R R R},
    {"\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80", "\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80"},
    {"\xc2", R},
    {"\xe2\x82", R},
    {"\xf0\x9f\x98", R},
    {"a\xf0\x9f\x98z", "a" R "z"},
    {"\xf0\x9f\xf0\x9f\x98\x80", R "\xf0\x9f\x98\x80"},
};

static size_t through(char *out, const char *in, size_t n, size_t cut1, size_t cut2)
{
    tern_utf8_stream stream = {0};
    size_t written = tern_utf8_push(&stream, out, in, cut1);
    written += tern_utf8_push(&stream, out + written, in + cut1, cut2 - cut1);
    written += tern_utf8_push(&stream, out + written, in + cut2, n - cut2);
    written += tern_utf8_finish(&stream, out + written);
    assert_int_equal(stream.n_pending, 0);
    return written;
}

static void replaces_maximal_subparts_wherever_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const size_t n = strlen(cases[i].in);
        for (size_t cut1 = 0; cut1 <= n; cut1++)
            for (size_t cut2 = cut1; cut2 <= n; cut2++) {
                char out[256];
                const size_t written = through(out, cases[i].in, n, cut1, cut2);
                assert_int_equal(written, strlen(cases[i].out));
                assert_memory_equal(out, cases[i].out, written);
            }
    }
}

/* Random bytes give valid UTF-8, within the promised room after every push, and the same in any
 * parts. */
static void random_bytes_stay_in_bounds(void **state)
{
    (void)state;
    static const char alphabet[] = "a\x80\xbf\xc2\xe0\xe2\xed\xf0\xf4\xff\x9f\xa0\x90";
    for (uint32_t seed = 0; seed < 2000; seed++) {
        char in[24], whole[3 * (24 + 4) + 4], parts[3 * (24 + 4) + 4], room[3 * (1 + 4)];
        for (uint32_t i = 0; i < sizeof in; i++)
            in[i] = alphabet[tern_random_u64(seed, 0, i) % (sizeof alphabet - 1)];
        const size_t n = through(whole, in, sizeof in, sizeof in, sizeof in);
        for (size_t at = 0, length; at < n; at += length)
            assert_int_equal(tern_utf8_look(whole + at, n - at, &length), TERN_UTF8_WHOLE);
        tern_utf8_stream stream = {0};
        size_t m = 0;
        for (size_t i = 0; i < sizeof in; i++) {
            const size_t written = tern_utf8_push(&stream, room, in + i, 1);
            assert_true(written <= sizeof room && stream.n_pending <= 3);
            memcpy(parts + m, room, written);
            m += written;
        }
        m += tern_utf8_finish(&stream, parts + m);
        assert_int_equal(m, n);
        assert_memory_equal(parts, whole, n);
    }
}

/* Every code point, and every beginning of one, against the arithmetic of the encoding. */
static void looks_at_every_code_point(void **state)
{
    (void)state;
    static const uint8_t lead[] = {0, 0xc0, 0xe0, 0xf0};
    for (uint32_t point = 0; point < 0x110000; point++) {
        char s[4];
        size_t n = 0, length;
        if (point < 0x80) {
            s[n++] = (char)point;
        } else {
            const int more = point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
            s[n++] = (char)(uint8_t)(lead[more] | point >> (6 * more));
            for (int i = more - 1; i >= 0; i--)
                s[n++] = (char)(uint8_t)(0x80 | (point >> (6 * i) & 63));
        }
        const tern_utf8_kind kind = tern_utf8_look(s, n, &length);
        const int surrogate = point >= 0xd800 && point < 0xe000;
        assert_int_equal(kind, surrogate ? TERN_UTF8_BROKEN : TERN_UTF8_WHOLE);
        assert_int_equal(length, surrogate ? 1 : n);
        if (n > 1 && !surrogate) {
            assert_int_equal(tern_utf8_look(s, n - 1, &length), TERN_UTF8_UNFINISHED);
            assert_int_equal(length, n - 1);
        }
    }
}

static void quotes_hostile_bytes(void **state)
{
    (void)state;
    char long_text[300], out[TERN_QUOTE_BYTES];
    assert_string_equal(TERN_QUOTED("a\\b\n\x00\xc3\xa9~", 8), "a\\\\b\\x0a\\x00\\xc3\\xa9~");
    assert_string_equal(TERN_QUOTED("", 0), "");
    for (int c = 0; c < 256; c += 15) {
        memset(long_text, c, sizeof long_text);
        for (size_t n = 0; n < sizeof long_text; n++) {
            memset(out, 1, sizeof out);
            tern_quote(out, long_text, n);
            const size_t used = strnlen(out, sizeof out);
            assert_true(used < sizeof out);
            if (n > 100) assert_string_equal(out + used - 3, "...");
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replaces_maximal_subparts_wherever_cut),
        cmocka_unit_test(random_bytes_stay_in_bounds),
        cmocka_unit_test(looks_at_every_code_point),
        cmocka_unit_test(quotes_hostile_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
