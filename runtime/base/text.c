/* text.c - see text.h. The second byte of a sequence alone decides about overlong forms, surrogates
 * and the end of Unicode, so its range depends on the first byte; all others are 80..BF. */
#include "base/text.h"

#include <stdint.h>
#include <string.h>

tern_utf8_kind tern_utf8_look(const char *s, size_t n, size_t *length)
{
    const uint8_t first = (uint8_t)s[0];
    *length = 1;
    if (first < 0x80) return TERN_UTF8_WHOLE;
    if (first < 0xc2 || first > 0xf4) return TERN_UTF8_BROKEN;
    const size_t want = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    const uint8_t low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    const uint8_t high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    for (size_t i = 1; i < want; i++) {
        if (i == n) return TERN_UTF8_UNFINISHED;
        const uint8_t byte = (uint8_t)s[i];
        if (byte < (i == 1 ? low : 0x80) || byte > (i == 1 ? high : 0xbf)) return TERN_UTF8_BROKEN;
        *length = i + 1;
    }
    return TERN_UTF8_WHOLE;
}

const char *tern_quote(char out[TERN_QUOTE_BYTES], const char *s, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        if (used + 4 + sizeof "..." > TERN_QUOTE_BYTES) {
            memcpy(out + used, "...", 3);
            used += 3;
            break;
        }
        const uint8_t byte = (uint8_t)s[i];
        if (byte == '\\') out[used++] = '\\';
        if (byte >= 0x20 && byte < 0x7f) {
            out[used++] = (char)byte;
        } else {
            out[used++] = '\\';
            out[used++] = 'x';
            out[used++] = digits[byte >> 4];
            out[used++] = digits[byte & 15];
        }
    }
    out[used] = 0;
    return out;
}
