/* units.c - see units.h. */
#include "base/units.h"

#include <stdlib.h>
#include <string.h>

bool tern_read_count(double *out, const char **end, const char *text)
{
    char *unit;
    double number = (double)strtoll(text, &unit, 10); /* far beyond 2^53 when out of range */
    if (unit == text) return false;
    if (*unit == 'k' || *unit == 'K')
        number *= 0x1p10, unit++;
    else if (*unit == 'M')
        number *= 0x1p20, unit++;
    if (!(number >= -0x1p53 && number <= 0x1p53)) return false;
    *out = number;
    *end = unit;
    return true;
}

bool tern_read_bytes(uint64_t *out, const char *text)
{
    static const struct {
        const char *name;
        double bytes;
    } units[] = {{"", 1},     {"B", 1},    {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30},
                 {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9},     {"TiB", 0x1p40}, {"TB", 1e12}};
    if (text[0] < '0' || text[0] > '9') return false;
    char *end;
    const double value = strtod(text, &end);
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(end, units[i].name) != 0 || !(value * units[i].bytes <= 0x1p50)) continue;
        *out = (uint64_t)(value * units[i].bytes);
        return true;
    }
    return false;
}
