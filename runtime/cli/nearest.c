/* nearest.c - edit distance with swaps of neighbours (optimal string alignment), three rows at a
 * time. Called when a command or an option is not known. */
#include "cli/nearest.h"

#include <string.h>

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

size_t cli_distance(const char *a, const char *b)
{
    const size_t n = strlen(a), m = strlen(b);
    size_t rows[3][CLI_MAX_WORD]; /* row i is rows[i % 3]: from the first i letters of a */
    for (size_t j = 0; j <= m; j++) rows[0][j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t *row = rows[i % 3];
        const size_t *above = rows[(i - 1) % 3], *above2 = rows[(i + 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            row[j] = least(least(above[j], row[j - 1]) + 1, above[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = least(row[j], above2[j - 2] + 1);
        }
    }
    return rows[n % 3][m];
}

void cli_nearest_offer(cli_nearest *search, const char *candidate)
{
    const size_t n = strlen(candidate), far = n / 3 > 2 ? n / 3 : 2;
    if (strlen(search->word) >= CLI_MAX_WORD || n >= CLI_MAX_WORD || n <= 2) return;
    const size_t distance = cli_distance(search->word, candidate);
    if (distance > far || distance >= strlen(search->word) ||
        (search->best && distance >= search->distance)) return;
    search->best = candidate;
    search->distance = distance;
}
