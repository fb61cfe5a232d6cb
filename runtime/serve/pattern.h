/* pattern.h - a regular expression of a schema's `pattern` as an automaton whose states are sets of
 * its positions, one bit each (Glushkov, "The abstract theory of automata", 1961).
 *
 * What is understood: characters of printable ASCII, '.', \d \w \s and their opposites, an escaped
 * sign, classes [a-z] and [^a-z], groups, |, the quantifiers ? * + {m} {m,} {m,n}, '^' as the first
 * and '$' as the last sign. As JSON Schema has it, a pattern without '^' or '$' may have anything
 * before or behind it. Texts are of printable ASCII alone. */
#ifndef TERN_SERVE_PATTERN_H
#define TERN_SERVE_PATTERN_H

#include <stddef.h>
#include <stdint.h>

#define PATTERN_START ((uint64_t)1 << 63) /* the set before the first character */

typedef struct pattern {
    uint64_t takes[128]; /* positions that a character may stand at */
    uint64_t follow[64]; /* positions behind each one; the last is the start's */
    uint64_t last;       /* positions that a text may end at */
    int n;               /* positions, at most 63 */
} pattern;

/* Returns NULL, or why the pattern is refused, for a message behind "the schema's 'pattern'". Every
 * set that tern_pattern_step then reaches leads on to an end. */
const char *tern_pattern_compile(pattern *out, const char *text);

/* The set behind a character; 0: no text goes on like this. */
uint64_t tern_pattern_step(const pattern *p, uint64_t set, unsigned char c);

#endif
