/* tl.c - TL1 and TL2 (FORMATS 6), decoded to plain codes while a model loads and never executed.
 * The formulas give the place of one pair or triple of columns; tern_tl_find() has proven that the
 * tiles divide the matrix, so every place lies inside it. */
#include "format/tl.h"

#include <string.h>

#include "base/fail.h"
#include "base/text.h"
#include "format/tensor_type.h"

#define NO_TILES "is in tiles that stand in no file: give their shapes with --tl-config"

/* Known models (FORMATS 6.4): rows, columns, then BM, BY, bmm of TL1 and BM, BY of TL2. TL1 of
 * Llama3-8B is left out: its two published configurations differ. */
static const struct {
    int n_out, k, tl1[3], tl2[2];
} known[] = {
    {1536, 4096, {256, 128, 32}, {256, 96}},
    {1536, 1536, {128, 64, 64}, {128, 192}},
    {4096, 1536, {256, 128, 32}, {256, 96}},
    {3200, 8640, {160, 64, 32}, {160, 96}},
    {3200, 3200, {320, 128, 64}, {320, 96}},
    {8640, 3200, {320, 64, 32}, {320, 96}},
    {14336, 4096, {0}, {256, 96}},
    {4096, 14336, {0}, {128, 96}},
    {1024, 4096, {0}, {256, 96}},
    {4096, 4096, {0}, {128, 96}},
};

/* With k * n_out below 2^63 nothing here overflows. */
bool tern_tl2_bytes(uint64_t *out, uint64_t k, uint64_t n_out)
{
    if (k < 256) return false;
    const uint64_t p = (k - 256) * n_out / 3 * 5 / 8 + 256 * n_out / 2 * 4 / 8;
    *out = (p + 31) / 32 * 32;
    return true;
}

static bool divides(int part, int whole)
{
    return part > 0 && whole % part == 0;
}

static bool tiles_tl1(const tern_tl_shape *s)
{
    return divides(16, s->inner) && (s->inner == 16 || s->inner == 32 || s->inner == 64) &&
           divides(s->bm, s->n_out) && divides(s->inner, s->bm) && divides(s->by, s->k) &&
           divides(256 / s->inner, s->by);
}

static bool tiles_tl2(const tern_tl_shape *s)
{
    if (s->by <= 0 || !divides(24, s->by)) return false;
    if (!divides(s->bm, s->n_out) || !divides(32, s->bm)) return false;
    const uint64_t m = (uint64_t)s->n_out, k3 = (uint64_t)(s->k / s->by * s->by);
    const uint64_t k2 = (uint64_t)s->k - k3;
    uint64_t room;
    return k2 % 32 == 0 && tern_tl2_bytes(&room, (uint64_t)s->k, m) &&
           m * k3 / 6 + m * k3 / 24 + m * k2 / 4 <= room;
}

bool tern_tl_find(tern_tl_shape *out, const tern_tl_config *config, bool tl2, size_t n_out,
                  size_t k)
{
    tern_tl_shape found = {0};
    for (int i = 0; config && i < config->n; i++)
        if ((size_t)config->shape[i].n_out == n_out && (size_t)config->shape[i].k == k)
            found = config->shape[i];
    for (size_t i = 0; !config && i < sizeof known / sizeof known[0]; i++) {
        if ((size_t)known[i].n_out != n_out || (size_t)known[i].k != k) continue;
        const int *tiles = tl2 ? known[i].tl2 : known[i].tl1;
        found =
            (tern_tl_shape){known[i].n_out, known[i].k, tiles[0], tiles[1], tl2 ? 32 : tiles[2]};
    }
    if (found.bm <= 0 || !(tl2 ? tiles_tl2(&found) : tiles_tl1(&found))) return false;
    *out = found;
    return true;
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* A pair of weights from its index 3a + b + 4. */
static bool put_pair(uint8_t *codes, uint8_t index)
{
    codes[0] = index / 3;
    codes[1] = index % 3;
    return index <= 8;
}

static uint8_t nibble(uint8_t byte, size_t high)
{
    return high ? byte >> 4 : byte & 15;
}

const char *tern_codes_tl1(uint8_t *codes, float *scale, const tern_packed *t, size_t row)
{
    if (t->tl.bm == 0) return NO_TILES;
    memcpy(scale, t->data + t->k * t->n_out / 4, sizeof *scale);
    const size_t bm = (size_t)t->tl.bm, by = (size_t)t->tl.by, inner = (size_t)t->tl.inner;
    const size_t width = 256 / inner; /* columns of an inner block */
    const size_t lane = row % 16, rb = row % inner / 16, bt = row % bm / inner;
    bool good = true;
    for (size_t j = 0; j < t->k / 2; j++) {
        const size_t p = j % (by / 2), p2 = p % (width / 2);
        size_t at = (row / bm * (t->k / by) + j / (by / 2)) * (bm / inner) + bt;
        at = (at * (by / width) + p / (width / 2)) * (inner / 16) + rb;
        at = (at * (width / 4) + p2 / 2) * 16 + lane;
        good &= put_pair(codes + 2 * j, nibble(t->data[at], p2 % 2 == 0));
    }
    return good ? NULL : "has a pair of weights above 8: the file is damaged or has other tiles";
}

/* Place of a row among the 32 of a TL2 block: the middle groups of eight change places. */
static size_t swapped(size_t row)
{
    static const size_t group[4] = {0, 2, 1, 3};
    return 8 * group[row % 32 / 8] + row % 8;
}

/* Columns in triples: nibbles |9a + 3b + c|, then one sign bit each. */
static bool triples_tl2(uint8_t *codes, const tern_packed *t, size_t row, size_t k3)
{
    const size_t bm = (size_t)t->tl.bm, by = (size_t)t->tl.by;
    const uint8_t *signs = t->data + t->n_out * k3 / 6;
    bool good = true;
    for (size_t j = 0; j < k3 / 3; j++) {
        const size_t jj = j % (by / 3), g = jj / 8;
        const size_t block = (row / bm * (k3 / by) + j / (by / 3)) * (bm / 32) + row % bm / 32;
        const uint8_t byte = t->data[(block * (by / 6) + jj / 2) * 32 + swapped(row)];
        const int magnitude = nibble(byte, jj % 2 == 0);
        uint16_t word;
        memcpy(&word, signs + 2 * ((block * (by / 24) + g) * 16 + row % 16), sizeof word);
        const int negative = word >> (15 - (2 * (jj % 8) + row % 32 / 16)) & 1;
        const int shifted = (negative ? -magnitude : magnitude) + 13; /* 9a + 3b + c, codes */
        good &= magnitude <= 13;
        codes[3 * j] = (uint8_t)(shifted / 9 % 3);
        codes[3 * j + 1] = (uint8_t)(shifted / 3 % 3);
        codes[3 * j + 2] = (uint8_t)(shifted % 3);
    }
    return good;
}

/* The remaining columns, in pairs as in TL1. */
static bool pairs_tl2(uint8_t *codes, const tern_packed *t, size_t row, size_t k3)
{
    const size_t bm = (size_t)t->tl.bm, k2 = t->k - k3;
    const uint8_t *data = t->data + t->n_out * k3 / 6 + t->n_out * k3 / 24;
    bool good = true;
    for (size_t j = 0; j < k2 / 2; j++) {
        const size_t block = (row / bm * (k2 / 32) + j / 16) * (bm / 32) + row % bm / 32;
        const uint8_t byte = data[(block * 8 + j % 16 / 2) * 32 + swapped(row)];
        good &= put_pair(codes + k3 + 2 * j, nibble(byte, j % 2 == 0));
    }
    return good;
}

const char *tern_codes_tl2(uint8_t *codes, float *scale, const tern_packed *t, size_t row)
{
    uint64_t bytes;
    if (t->tl.bm == 0 || !tern_tl2_bytes(&bytes, t->k, t->n_out)) return NO_TILES;
    memcpy(scale, t->data + bytes, sizeof *scale);
    const size_t k3 = t->k / (size_t)t->tl.by * (size_t)t->tl.by;
    const bool good = triples_tl2(codes, t, row, k3);
    return pairs_tl2(codes, t, row, k3) && good
               ? NULL
               : "has a number above what weights make: the file is damaged or has other tiles";
}

/* ---- configuration --------------------------------------------------------------------------- */

/* The number that "name = number" gives, or -1. */
static int number_of(const char *line, size_t n)
{
    const char *equals = memchr(line, '=', n);
    if (!equals) return -1;
    int value = 0, digits = 0;
    for (const char *p = equals + 1; p < line + n; p++) {
        if (*p == ' ' || *p == '\t' || *p == '\r') continue;
        if (*p < '0' || *p > '9' || ++digits > 7) return -1;
        value = 10 * value + (*p - '0');
    }
    return digits ? value : -1;
}

/* One line of a configuration; false when it makes no sense. */
static bool take_line(tern_tl_config *config, const char *line, size_t n)
{
    for (; n > 0 && (*line == ' ' || *line == '\t'); n--) line++;
    if (n == 0 || *line == '#' || *line == ';' || *line == '\r') return true;
    if (*line == '[') return config->n++ < TERN_TL_MAX_SHAPES;
    if (config->n == 0) return false;
    tern_tl_shape *s = &config->shape[config->n - 1];
    const struct {
        const char *name;
        int *value;
    } fields[] = {
        {"m", &s->n_out}, {"k", &s->k}, {"bm", &s->bm}, {"bk", &s->by}, {"bmm", &s->inner}};
    const size_t length = strcspn(line, " \t=\n");
    const int value = number_of(line, n);
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        if (strlen(fields[i].name) == length && memcmp(fields[i].name, line, length) == 0) {
            *fields[i].value = value;
            return value > 0;
        }
    return false;
}

int tern_tl_config_parse(tern_tl_config *out, const char *text, const char *name, tern_error *err)
{
    tern_tl_config config = {0};
    int number = 1;
    for (const char *line = text; *line; number++) {
        const size_t n = strcspn(line, "\n");
        if (!take_line(&config, line, n))
            return tern_fail(err, TERN_E_USAGE,
                             "'%.140s': line %d is '%s': use sections [NAME] of m, k, bm, bk, "
                             "bmm = NUMBER, at most %d",
                             name, number, TERN_QUOTED(line, n), TERN_TL_MAX_SHAPES);
        line += n + (line[n] == '\n');
    }
    *out = config;
    return TERN_OK;
}
