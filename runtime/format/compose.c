/* compose.c - see compose.h. utf8proc has the tables; its own ordering of marks takes quadratic
 * time on long runs of them, which a server must not, so the runs are sorted here. */
#include "format/compose.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/fail.h"
#include "base/memory.h"

#define OPTIONS ((utf8proc_option_t)(UTF8PROC_STABLE | UTF8PROC_COMPOSE))
#define MOST_PARTS 4 /* of a canonical decomposition; what utf8proc says is checked all the same */

/* The parts of the character at text; *length is its bytes. */
static int decompose(int32_t parts[MOST_PARTS], size_t *length, const char *text, size_t bytes)
{
    int32_t character;
    const utf8proc_ssize_t n =
        utf8proc_iterate((const uint8_t *)text, (utf8proc_ssize_t)bytes, &character);
    *length = n > 0 ? (size_t)n : 1;
    if (n <= 0) return 0;
    int unused = 0;
    const utf8proc_ssize_t n_parts =
        utf8proc_decompose_char(character, parts, MOST_PARTS, OPTIONS, &unused);
    return n_parts < 0 || n_parts > MOST_PARTS ? 0 : (int)n_parts;
}

/* All parts of a text into out, or only their number where out is NULL. */
static size_t decompose_all(int32_t *out, const char *text, size_t bytes)
{
    size_t n = 0, length;
    int32_t parts[MOST_PARTS];
    for (size_t at = 0; at < bytes; at += length) {
        const int here = decompose(parts, &length, text + at, bytes - at);
        if (out) memcpy(out + n, parts, (size_t)here * sizeof *parts);
        n += (size_t)here;
    }
    return n;
}

/* A mark: its class above its place, so that marks of one class keep their order. */
typedef struct mark {
    uint64_t key;
    int32_t character;
} mark;

static int compare_marks(const void *a, const void *b)
{
    const mark *x = a, *y = b;
    return x->key < y->key ? -1 : x->key > y->key;
}

static int class_of(int32_t character)
{
    return utf8proc_get_property(character)->combining_class;
}

/* Orders every run of marks (class > 0) by class; `marks` has room for the longest run. */
static void order_marks(int32_t *parts, size_t n, mark *marks)
{
    size_t run = 0;
    for (size_t i = 0; i <= n; i++) {
        const int class = i < n ? class_of(parts[i]) : 0;
        if (class > 0) {
            marks[run] = (mark){(uint64_t)class << 56 | run, parts[i]};
            run++;
            continue;
        }
        if (run > 1) qsort(marks, run, sizeof *marks, compare_marks);
        for (size_t j = 0; j < run; j++) parts[i - run + j] = marks[j].character;
        run = 0;
    }
}

static size_t longest_run(const int32_t *parts, size_t n)
{
    size_t most = 0, run = 0;
    for (size_t i = 0; i < n; i++) {
        run = class_of(parts[i]) > 0 ? run + 1 : 0;
        most = run > most ? run : most;
    }
    return most;
}

int tern_compose(char **out, size_t *n, const char *text, size_t bytes, tern_error *err)
{
    const size_t n_parts = decompose_all(NULL, text, bytes);
    int32_t *parts;
    mark *marks;
    int status = tern_alloc(&parts, n_parts + 1, sizeof *parts, "a text to compose", err);
    if (status != TERN_OK) return status;
    decompose_all(parts, text, bytes);
    status = tern_alloc(&marks, longest_run(parts, n_parts), sizeof *marks, "marks", err);
    if (status != TERN_OK) {
        free(parts);
        return status;
    }
    order_marks(parts, n_parts, marks);
    free(marks);
    /* In place: UTF-8 takes no more bytes than code points of four, and a zero behind them. */
    const utf8proc_ssize_t written = utf8proc_reencode(parts, (utf8proc_ssize_t)n_parts, OPTIONS);
    if (written < 0) {
        free(parts);
        return tern_fail(err, TERN_E_USAGE, "a text cannot be composed: %s",
                         utf8proc_errmsg(written));
    }
    *n = (size_t)written;
    *out = (char *)parts;
    return TERN_OK;
}
