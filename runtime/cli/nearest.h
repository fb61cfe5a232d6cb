/* nearest.h - the word that a person probably meant. */
#ifndef TERN_CLI_NEAREST_H
#define TERN_CLI_NEAREST_H

#include <stddef.h>

#define CLI_MAX_WORD 64 /* longer words have no neighbour */

/* Letters to add, drop, change or swap with their neighbour to make `b` of `a`, both shorter than
 * CLI_MAX_WORD. */
size_t cli_distance(const char *a, const char *b);

/* A search: start with the word and best NULL, then offer candidates in the order of preference. */
typedef struct cli_nearest {
    const char *word;
    const char *best; /* NULL: none is near */
    size_t distance;
} cli_nearest;

/* Takes a candidate that is nearer than the best so far: at most a third of its letters away, or
 * two, and fewer than the word has. */
void cli_nearest_offer(cli_nearest *search, const char *candidate);

#endif
