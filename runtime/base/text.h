/* text.h - bytes that claim to be text: UTF-8 looked at one sequence at a time, and names from
 * hostile files made fit for a message. */
#ifndef TERN_BASE_TEXT_H
#define TERN_BASE_TEXT_H

#include <stddef.h>

/* What the first sequence of some bytes is. */
typedef enum tern_utf8_kind {
    TERN_UTF8_WHOLE,      /* one character */
    TERN_UTF8_BROKEN,     /* no character begins like this */
    TERN_UTF8_UNFINISHED, /* the beginning of a character, cut off by the end of the bytes */
} tern_utf8_kind;

/* Looks at the first sequence of s [n], n > 0. *length is the length of the character, of the
 * unfinished beginning, or of what one U+FFFD replaces: the longest part that could still have
 * begun a character, at least one byte (Unicode 15, section 3.9, "maximal subpart"; the WHATWG
 * decoder does the same). Overlong forms, surrogates and everything above U+10FFFF are broken. */
tern_utf8_kind tern_utf8_look(const char *s, size_t n, size_t *length);

#define TERN_QUOTE_BYTES 100

/* Writes s [n] for a message: printable ASCII as it is, other bytes as \xHH, a backslash as \\,
 * "..." instead of what does not fit. Returns out. */
const char *tern_quote(char out[TERN_QUOTE_BYTES], const char *s, size_t n);

/* tern_quote with its buffer: lives as long as the enclosing block. */
#define TERN_QUOTED(s, n) tern_quote((char[TERN_QUOTE_BYTES]){0}, (s), (n))

#endif
