/* pattern.c - a parser that builds the automaton while it reads: every character or class of the
 * pattern is a position; what follows what is noted where parts meet. A counted part is read as
 * often as it is counted. */
#include "serve/pattern.h"

#include <stdlib.h>
#include <string.h>

#define MAX_POSITIONS 63
#define MAX_GROUPS 32  /* one inside the other */
#define MAX_PARTS 4096 /* read in all, repeated ones again */
#define MAX_COUNT 1000

#define FIRST ' ' /* printable ASCII */
#define LAST '~'

typedef struct parser {
    pattern *out;
    const char *at;
    int n_groups, n_parts;
    int n_choices;   /* '|' outside of groups */
    const char *why; /* it is refused */
} parser;

/* A part of the pattern: where its texts begin and end, and whether it may be nothing. */
typedef struct fragment {
    uint64_t first, last;
    int empty;
} fragment;

typedef struct char_set {
    uint8_t has[128];
} char_set;

static const fragment nothing = {0, 0, 1};

static fragment refuse(parser *p, const char *why)
{
    if (!p->why) p->why = why;
    return nothing;
}

/* ---- joining -------------------------------------------------------------------------------- */

static void connect(parser *p, uint64_t from, uint64_t to)
{
    for (int i = 0; i < MAX_POSITIONS; i++)
        if (from >> i & 1u) p->out->follow[i] |= to;
}

static fragment join(parser *p, fragment a, fragment b)
{
    connect(p, a.last, b.first);
    return (fragment){a.first | (a.empty ? b.first : 0), b.last | (b.empty ? a.last : 0),
                      a.empty && b.empty};
}

static fragment repeat(parser *p, fragment a)
{
    connect(p, a.last, a.first);
    return a;
}

static fragment position(parser *p, const char_set *set)
{
    if (p->out->n == MAX_POSITIONS)
        return refuse(p, "has more than 63 places for characters: shorten it");
    const uint64_t bit = (uint64_t)1 << p->out->n;
    int any = 0;
    for (int c = FIRST; c <= LAST; c++) {
        if (!set->has[c]) continue;
        p->out->takes[c] |= bit;
        any = 1;
    }
    if (!any) return refuse(p, "has a class without a character of printable ASCII");
    p->out->n++;
    return (fragment){bit, bit, 0};
}

/* ---- characters ----------------------------------------------------------------------------- */

static void add_range(char_set *set, int low, int high)
{
    for (int c = low; c <= high; c++) set->has[c] = 1;
}

static void invert(char_set *set)
{
    for (int c = 0; c < 128; c++) set->has[c] = !set->has[c];
}

/* Behind a backslash. Returns the character, or -1 where it stands for a class. */
static int read_escape(parser *p, char_set *set)
{
    const char c = *p->at;
    const char lower = (char)(c | 0x20);
    if (c == 0 || c < FIRST || c > LAST || (c >= '0' && c <= '9')) {
        refuse(p, "holds an escape that is not supported");
        return -1;
    }
    p->at++;
    if (!((lower >= 'a' && lower <= 'z') || c == '_')) {
        add_range(set, c, c);
        return c;
    }
    char_set named = {0};
    if (lower == 'd' || lower == 'w') add_range(&named, '0', '9');
    if (lower == 's') add_range(&named, ' ', ' ');
    if (lower == 'w') {
        add_range(&named, 'a', 'z');
        add_range(&named, 'A', 'Z');
        add_range(&named, '_', '_');
    }
    if (!strchr("dws", lower)) refuse(p, "holds an escape that is not supported");
    if (lower != c) invert(&named);
    for (int i = 0; i < 128; i++) set->has[i] |= named.has[i];
    return -1;
}

/* One character or escape of a class; -1 where it stands for several. */
static int read_member(parser *p, char_set *set)
{
    const char c = *p->at;
    if (c == '\\') {
        p->at++;
        return read_escape(p, set);
    }
    if (c < FIRST || c > LAST) {
        refuse(p, c ? "holds a character outside printable ASCII" : "has a class without an end");
        return -1;
    }
    p->at++;
    add_range(set, c, c);
    return c;
}

/* Behind '['. */
static fragment read_class(parser *p)
{
    char_set set = {0};
    const int inverted = *p->at == '^';
    p->at += inverted;
    while (*p->at != ']' && !p->why) {
        const int low = read_member(p, &set);
        if (p->why || p->at[0] != '-' || p->at[1] == ']') continue;
        p->at++;
        const int high = read_member(p, &set);
        if (low < 0 || high < low) return refuse(p, "has a class with a range that is none");
        add_range(&set, low, high);
    }
    if (p->why) return nothing;
    p->at++;
    if (inverted) invert(&set);
    return position(p, &set);
}

/* ---- parts ---------------------------------------------------------------------------------- */

static fragment read_choice(parser *p);

/* Behind '('. */
static fragment read_group(parser *p)
{
    if (p->at[0] == '?' && p->at[1] != ':')
        return refuse(p, "holds a group of a kind that is not supported");
    if (p->at[0] == '?') p->at += 2;
    if (++p->n_groups > MAX_GROUPS) return refuse(p, "is nested too deep");
    const fragment inner = read_choice(p);
    p->n_groups--;
    if (*p->at != ')') return refuse(p, "has a group without an end");
    p->at++;
    return inner;
}

static fragment read_atom(parser *p)
{
    char_set set = {0};
    const char c = *p->at;
    if (++p->n_parts > MAX_PARTS) return refuse(p, "has too many parts");
    if (c < FIRST || c > LAST) return refuse(p, "holds a character outside printable ASCII");
    if (strchr("^$*+?{}]", c)) return refuse(p, "has a sign of its own meaning out of place");
    p->at++;
    if (c == '(') return read_group(p);
    if (c == '[') return read_class(p);
    if (c == '\\') {
        read_escape(p, &set);
        return p->why ? nothing : position(p, &set);
    }
    add_range(&set, c == '.' ? FIRST : c, c == '.' ? LAST : c);
    return position(p, &set);
}

static int read_number(parser *p)
{
    char *end = NULL;
    const long n = *p->at >= '0' && *p->at <= '9' ? strtol(p->at, &end, 10) : -1;
    if (n < 0 || n > MAX_COUNT) {
        refuse(p, "has a quantifier that is none, or counts beyond 1000");
        return 0;
    }
    p->at = end;
    return (int)n;
}

/* The quantifier at hand: *max -1 for any number. Once, where there is none. */
static void read_quantifier(parser *p, int *min, int *max)
{
    const char c = *p->at;
    *min = c != '?' && c != '*';
    *max = c == '*' || c == '+' ? -1 : 1;
    if (c == 0 || !strchr("?*+{", c)) return;
    p->at++;
    if (c == '{') {
        *min = *max = read_number(p);
        if (*p->at == ',') *max = *++p->at == '}' ? -1 : read_number(p);
        if (*p->at != '}' || (*max >= 0 && *max < *min))
            refuse(p, "has a quantifier that is none, or counts beyond 1000");
        p->at += *p->at == '}';
    }
    p->at += *p->at == '?'; /* lazy: the same texts */
}

/* An atom as often as its quantifier says. */
static fragment read_part(parser *p)
{
    const char *begin = p->at;
    int min, max;
    fragment one = read_atom(p), all = nothing;
    if (p->why) return nothing;
    read_quantifier(p, &min, &max);
    const char *end = p->at;
    const int copies = max < 0 ? (min > 1 ? min : 1) : max;
    for (int i = 0; i < copies && !p->why; i++) {
        if (i > 0) {
            p->at = begin;
            one = read_atom(p);
        }
        if (max < 0 && i == copies - 1) one = repeat(p, one);
        if (i >= min) one.empty = 1;
        all = join(p, all, one);
    }
    p->at = end;
    return all;
}

static fragment read_sequence(parser *p)
{
    fragment all = nothing;
    while (*p->at && *p->at != '|' && *p->at != ')' && !(p->at[0] == '$' && !p->at[1]) && !p->why)
        all = join(p, all, read_part(p));
    return all;
}

static fragment read_choice(parser *p)
{
    fragment all = read_sequence(p);
    while (*p->at == '|' && !p->why) {
        p->at++;
        p->n_choices += p->n_groups == 0;
        const fragment other = read_sequence(p);
        all = (fragment){all.first | other.first, all.last | other.last, all.empty || other.empty};
    }
    return all;
}

static fragment anything(parser *p)
{
    char_set set = {0};
    add_range(&set, FIRST, LAST);
    fragment all = repeat(p, position(p, &set));
    all.empty = 1;
    return all;
}

const char *tern_pattern_compile(pattern *out, const char *text)
{
    *out = (pattern){0};
    parser p = {.out = out, .at = text};
    const int begins = *text == '^';
    p.at += begins;
    fragment all = begins ? nothing : anything(&p);
    const fragment body = read_choice(&p);
    const int ends = p.at[0] == '$' && !p.at[1];
    if (!p.why && *p.at && !ends) refuse(&p, "has a ')' out of place");
    if (p.n_choices > 0 && (begins || ends))
        refuse(&p, "has '|' beside '^' or '$': put a group around it");
    all = join(&p, all, body);
    if (!ends) all = join(&p, all, anything(&p));
    out->follow[MAX_POSITIONS] = all.first;
    out->last = all.last | (all.empty ? PATTERN_START : 0);
    return p.why;
}

uint64_t tern_pattern_step(const pattern *p, uint64_t set, unsigned char c)
{
    uint64_t next = 0;
    for (; set; set &= set - 1) next |= p->follow[__builtin_ctzll(set)];
    return c < 128 ? next & p->takes[c] : 0;
}
