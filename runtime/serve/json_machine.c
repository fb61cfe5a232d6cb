/* json_machine.c - steps through JSON under a schema. A value that ends is popped from the stack;
 * numbers end with the byte behind them, which then goes to the value around. */
#include <string.h>

#include "serve/schema_nodes.h"

#define MAX_EXPONENT 2

/* Phases; those of different kinds may share numbers. */
enum { OBJECT_FIRST, OBJECT_KEY, OBJECT_COLON, OBJECT_VALUE, OBJECT_AFTER, OBJECT_NEXT };
enum { ARRAY_FIRST, ARRAY_AFTER, ARRAY_NEXT };
enum { STRING_TEXT, STRING_ESCAPE, STRING_HEX, STRING_HEX_D = STRING_HEX + 4 };
enum {
    NUMBER_MINUS,
    NUMBER_ZERO,
    NUMBER_WHOLE,
    NUMBER_POINT,
    NUMBER_FRACTION,
    NUMBER_E,
    NUMBER_SIGN,
    NUMBER_EXPONENT
};

/* What became of a byte. */
typedef enum outcome { REFUSED, TAKEN, ENDED /* the value had ended before it */ } outcome;

static int is_digit(unsigned char byte)
{
    return byte >= '0' && byte <= '9';
}

int tern_schema_begins(const schema *s, int node, unsigned char byte)
{
    const schema_node *n = &s->nodes[node];
    switch (n->kind) {
    case SCHEMA_OBJECT: return byte == '{';
    case SCHEMA_ARRAY: return byte == '[';
    case SCHEMA_STRING: return byte == '"';
    case SCHEMA_NUMBER:
    case SCHEMA_INTEGER:
        if (n->bounded) return byte == '-' ? n->low < 0 : is_digit(byte) && n->high >= 0;
        return byte == '-' || is_digit(byte);
    case SCHEMA_LITERALS:
        for (int i = 0; i < n->n; i++)
            if ((unsigned char)n->texts[i][0] == byte) return 1;
        return 0;
    case SCHEMA_CHOICE:
        for (int i = 0; i < n->n; i++)
            if (tern_schema_begins(s, n->nodes[i], byte)) return 1;
    }
    return 0;
}

/* ---- literals and keys ---------------------------------------------------------------------- */

/* The next byte of one of texts low .. high that begin with what was read; 0: none goes on so. */
static int match_text(json_frame *f, const schema_node *n, int low, int high, unsigned char byte)
{
    for (int i = low; i < high; i++) {
        if (f->at > 0 && strncmp(n->texts[i], n->texts[f->candidate], (size_t)f->at) != 0) continue;
        if (byte == 0 || (unsigned char)n->texts[i][f->at] != byte) continue;
        f->candidate = (int16_t)i;
        f->at++;
        return 1;
    }
    return 0;
}

/* Whether what was read is a whole text, and whether a longer one begins with it. */
static int is_whole(const json_frame *f, const schema_node *n, int *longer)
{
    int whole = 0;
    *longer = 0;
    for (int i = 0; i < n->n; i++) {
        if (strncmp(n->texts[i], n->texts[f->candidate], (size_t)f->at) != 0) continue;
        *(n->texts[i][f->at] ? longer : &whole) = 1;
    }
    return whole;
}

static outcome step_literal(json_machine *m, json_frame *f, const schema_node *n,
                            unsigned char byte)
{
    int longer;
    if (!match_text(f, n, 0, n->n, byte))
        return f->at > 0 && is_whole(f, n, &longer) ? ENDED : REFUSED;
    if (is_whole(f, n, &longer) && !longer) m->depth--;
    return TAKEN;
}

/* ---- numbers with bounds -------------------------------------------------------------------- */

static int64_t power_of_ten(int n)
{
    int64_t power = 1;
    while (n-- > 0) power *= 10;
    return power;
}

/* Whether the digits so far with `more` digits behind them, and any behind the point, can be a
 * number within the bounds: all numbers that they can be lie side by side. */
static int within(const json_frame *f, const schema_node *n, int more)
{
    const int fraction = n->kind == SCHEMA_NUMBER ? FRACTION_DIGITS - f->at : 0;
    const int64_t unit = power_of_ten(more + fraction);
    const int64_t low = f->digits * unit, high = low + unit - 1;
    return f->next ? -high <= n->high && -low >= n->low : low <= n->high && high >= n->low;
}

static int may_be_within(const json_frame *f, const schema_node *n)
{
    const int whole = NUMBER_DIGITS - (n->kind == SCHEMA_NUMBER ? FRACTION_DIGITS : 0);
    const int grows = f->phase == NUMBER_MINUS || f->phase == NUMBER_WHOLE;
    for (int more = 0; more <= (grows ? whole - f->count : 0); more++)
        if (within(f, n, more)) return 1;
    return 0;
}

/* Whether the number may end here. */
static int is_within(const json_frame *f, const schema_node *n)
{
    const int fraction = n->kind == SCHEMA_NUMBER ? FRACTION_DIGITS - f->at : 0;
    const int64_t value = f->digits * power_of_ten(fraction) * (f->next ? -1 : 1);
    return f->phase != NUMBER_MINUS && f->phase != NUMBER_POINT && value >= n->low &&
           value <= n->high;
}

static outcome step_bounded(json_frame *f, const schema_node *n, unsigned char byte)
{
    const int is_number = n->kind == SCHEMA_NUMBER;
    json_frame next = *f;
    if (is_digit(byte)) {
        if (f->phase == NUMBER_ZERO || (f->phase == NUMBER_FRACTION && f->at == FRACTION_DIGITS))
            return REFUSED;
        if (f->phase == NUMBER_WHOLE && f->count == NUMBER_DIGITS - is_number * FRACTION_DIGITS)
            return REFUSED;
        next.digits = 10 * f->digits + byte - '0';
        if (f->phase == NUMBER_MINUS) next.phase = byte == '0' ? NUMBER_ZERO : NUMBER_WHOLE;
        if (f->phase == NUMBER_POINT) next.phase = NUMBER_FRACTION;
        if (next.phase == NUMBER_FRACTION)
            next.at++;
        else
            next.count++;
    } else if (byte == '.' && is_number && (f->phase == NUMBER_ZERO || f->phase == NUMBER_WHOLE)) {
        next.phase = NUMBER_POINT;
    } else {
        return is_within(f, n) ? ENDED : REFUSED;
    }
    if (!may_be_within(&next, n)) return REFUSED;
    *f = next;
    return TAKEN;
}

/* ---- values --------------------------------------------------------------------------------- */

static outcome begin_value(json_machine *m, const schema *s, int node, unsigned char byte)
{
    const schema_node *n = &s->nodes[node];
    while (n->kind == SCHEMA_CHOICE) {
        int i = 0;
        while (i < n->n && !tern_schema_begins(s, n->nodes[i], byte)) i++;
        if (i == n->n) return REFUSED;
        node = n->nodes[i];
        n = &s->nodes[node];
    }
    if (!tern_schema_begins(s, node, byte) || m->depth == SCHEMA_MAX_DEPTH) return REFUSED;
    json_frame *f = &m->frames[m->depth++];
    *f = (json_frame){.node = (int16_t)node};
    if (n->kind == SCHEMA_LITERALS) return step_literal(m, f, n, byte);
    if (n->kind == SCHEMA_NUMBER || n->kind == SCHEMA_INTEGER) {
        f->phase = byte == '-' ? NUMBER_MINUS : byte == '0' ? NUMBER_ZERO : NUMBER_WHOLE;
        f->count = byte != '-';
        f->next = byte == '-';
        f->digits = byte == '-' ? 0 : byte - '0';
        return !n->bounded || may_be_within(f, n) ? TAKEN : REFUSED;
    }
    if (n->pattern) f->positions = PATTERN_START;
    return TAKEN;
}

static outcome step_number(json_frame *f, int whole_only, unsigned char byte)
{
    const int digit = is_digit(byte), room = f->count < NUMBER_DIGITS;
    switch (f->phase) {
    case NUMBER_MINUS:
        f->phase = byte == '0' ? NUMBER_ZERO : NUMBER_WHOLE;
        f->count = 1;
        return digit ? TAKEN : REFUSED;
    case NUMBER_POINT:
    case NUMBER_SIGN:
        f->phase = f->phase == NUMBER_POINT ? NUMBER_FRACTION : NUMBER_EXPONENT;
        f->count = 1;
        return digit ? TAKEN : REFUSED;
    case NUMBER_E:
        f->phase = byte == '+' || byte == '-' ? NUMBER_SIGN : NUMBER_EXPONENT;
        f->count = 1;
        return digit || f->phase == NUMBER_SIGN ? TAKEN : REFUSED;
    case NUMBER_EXPONENT:
        if (!digit) return ENDED;
        return f->count++ < MAX_EXPONENT ? TAKEN : REFUSED;
    default: break;
    }
    if (digit && f->phase != NUMBER_ZERO && room) {
        f->count++;
        return TAKEN;
    }
    if (digit) return REFUSED;
    if (!whole_only && byte == '.' && f->phase != NUMBER_FRACTION) {
        f->phase = NUMBER_POINT;
        return TAKEN;
    }
    if (!whole_only && (byte == 'e' || byte == 'E')) {
        f->phase = NUMBER_E;
        return TAKEN;
    }
    return ENDED;
}

/* The first byte of a character outside ASCII: how many follow, and the bounds of the first of
 * them (Unicode 15, table 3-7). */
static int begin_character(json_frame *f, unsigned char byte)
{
    if (byte < 0xc2 || byte > 0xf4) return 0;
    f->need = byte < 0xe0 ? 1 : byte < 0xf0 ? 2 : 3;
    f->low = byte == 0xe0 ? 0xa0 : byte == 0xf0 ? 0x90 : 0x80;
    f->high = byte == 0xed ? 0x9f : byte == 0xf4 ? 0x8f : 0xbf;
    return 1;
}

static int hex_value(unsigned char byte)
{
    if (is_digit(byte)) return byte - '0';
    const int letter = (byte | 0x20) - 'a';
    return letter >= 0 && letter < 6 ? 10 + letter : -1;
}

/* Inside \..., \uXXXX; surrogates stay out. */
static outcome step_escape(json_frame *f, unsigned char byte)
{
    if (f->phase == STRING_ESCAPE) {
        if (byte == 'u') {
            f->phase = STRING_HEX;
            return TAKEN;
        }
        f->phase = STRING_TEXT;
        f->count++;
        return byte != 0 && strchr("\"\\/bfnrt", byte) ? TAKEN : REFUSED;
    }
    const int value = hex_value(byte);
    if (value < 0 || (f->phase == STRING_HEX_D && value > 7)) return REFUSED;
    if (f->phase == STRING_HEX_D)
        f->phase = STRING_HEX + 2;
    else if (f->phase == STRING_HEX && value == 0xd)
        f->phase = STRING_HEX_D;
    else if (f->phase < STRING_HEX + 3)
        f->phase++;
    else {
        f->phase = STRING_TEXT;
        f->count++;
    }
    return TAKEN;
}

/* Under a pattern: printable ASCII, of which two need a backslash. */
static outcome step_pattern(json_machine *m, json_frame *f, const pattern *p, unsigned char byte)
{
    if (f->phase == STRING_TEXT && byte == '"') {
        if (!(f->positions & p->last)) return REFUSED;
        m->depth--;
        return TAKEN;
    }
    if (f->phase == STRING_TEXT && byte == '\\') {
        f->phase = STRING_ESCAPE;
        return tern_pattern_step(p, f->positions, '"') || tern_pattern_step(p, f->positions, '\\')
                   ? TAKEN
                   : REFUSED;
    }
    if (f->phase == STRING_ESCAPE && byte != '"' && byte != '\\') return REFUSED;
    f->phase = STRING_TEXT;
    f->positions = tern_pattern_step(p, f->positions, byte);
    return f->positions ? TAKEN : REFUSED;
}

static outcome step_string(json_machine *m, json_frame *f, const schema_node *n, unsigned char byte)
{
    if (n->pattern) return step_pattern(m, f, n->pattern, byte);
    if (f->phase != STRING_TEXT) return step_escape(f, byte);
    if (f->need > 0) {
        if (byte < f->low || byte > f->high) return REFUSED;
        f->low = 0x80;
        f->high = 0xbf;
        if (--f->need == 0) f->count++;
        return TAKEN;
    }
    if (byte == '"') {
        if (f->count < n->min) return REFUSED;
        m->depth--;
        return TAKEN;
    }
    if (byte < 0x20 || f->count >= n->max) return REFUSED;
    if (byte == '\\')
        f->phase = STRING_ESCAPE;
    else if (byte >= 0x80)
        return begin_character(f, byte) ? TAKEN : REFUSED;
    else
        f->count++;
    return TAKEN;
}

/* ---- objects and arrays --------------------------------------------------------------------- */

/* Behind the last property that may come next: the first required one, or all. */
static int last_next(const json_frame *f, const schema_node *n)
{
    int i = f->next;
    while (i < n->n && !n->required[i]) i++;
    return i < n->n ? i + 1 : n->n;
}

static int may_close(const json_frame *f, const schema_node *n)
{
    for (int i = f->next; i < n->n; i++)
        if (n->required[i]) return 0;
    return 1;
}

static outcome step_key(json_machine *m, const schema *s, json_frame *f, unsigned char byte)
{
    const schema_node *n = &s->nodes[f->node];
    if (n->n == 0) { /* any key: a string of its own */
        if (n->item < 0) return REFUSED;
        f->phase = OBJECT_COLON;
        return begin_value(m, s, NODE_STRING, byte);
    }
    f->phase = OBJECT_KEY;
    if (!match_text(f, n, f->next, last_next(f, n), byte)) return REFUSED;
    if (n->texts[f->candidate][f->at] == 0) {
        f->phase = OBJECT_COLON;
        f->next = (int16_t)(f->candidate + 1);
        f->at = 0;
    }
    return TAKEN;
}

static outcome step_object(json_machine *m, const schema *s, json_frame *f, unsigned char byte)
{
    const schema_node *n = &s->nodes[f->node];
    switch (f->phase) {
    case OBJECT_COLON:
        f->phase = OBJECT_VALUE;
        f->count = 0;
        return byte == ':' ? TAKEN : REFUSED;
    case OBJECT_VALUE:
        if (byte == ' ' && f->count++ == 0) return TAKEN;
        f->phase = OBJECT_AFTER;
        return begin_value(m, s, n->n ? n->nodes[f->next - 1] : n->item, byte);
    case OBJECT_FIRST:
    case OBJECT_AFTER:
        if (byte == '}' && may_close(f, n)) {
            m->depth--;
            return TAKEN;
        }
        if (f->phase == OBJECT_FIRST) return step_key(m, s, f, byte);
        if (byte != ',' || (n->n && f->next == n->n)) return REFUSED;
        f->phase = OBJECT_NEXT;
        f->count = 0;
        return TAKEN;
    case OBJECT_NEXT:
        if (byte == ' ' && f->count++ == 0) return TAKEN;
        return step_key(m, s, f, byte);
    default: return step_key(m, s, f, byte);
    }
}

static outcome step_array(json_machine *m, const schema *s, json_frame *f, unsigned char byte)
{
    const schema_node *n = &s->nodes[f->node];
    if (f->phase != ARRAY_NEXT && byte == ']' && f->count >= n->min) {
        m->depth--;
        return TAKEN;
    }
    if (f->phase == ARRAY_AFTER) {
        if (byte != ',' || f->count >= n->max) return REFUSED;
        f->phase = ARRAY_NEXT;
        f->at = 0;
        return TAKEN;
    }
    if (f->phase == ARRAY_NEXT && byte == ' ' && f->at++ == 0) return TAKEN;
    if (f->count >= n->max) return REFUSED;
    f->phase = ARRAY_AFTER;
    f->count++;
    return begin_value(m, s, n->item, byte);
}

void tern_machine_start(json_machine *m)
{
    m->depth = -1;
}

int tern_machine_step(json_machine *m, const schema *s, unsigned char byte)
{
    if (m->depth < 0) {
        m->depth = 0;
        return begin_value(m, s, s->root, byte) == TAKEN;
    }
    while (m->depth > 0) {
        json_frame *f = &m->frames[m->depth - 1];
        const schema_node *n = &s->nodes[f->node];
        outcome o = REFUSED;
        switch (n->kind) {
        case SCHEMA_OBJECT: o = step_object(m, s, f, byte); break;
        case SCHEMA_ARRAY: o = step_array(m, s, f, byte); break;
        case SCHEMA_STRING: o = step_string(m, f, n, byte); break;
        case SCHEMA_NUMBER:
        case SCHEMA_INTEGER:
            o = n->bounded ? step_bounded(f, n, byte)
                           : step_number(f, n->kind == SCHEMA_INTEGER, byte);
            break;
        case SCHEMA_LITERALS: o = step_literal(m, f, n, byte); break;
        case SCHEMA_CHOICE: break; /* never on the stack */
        }
        if (o != ENDED) return o == TAKEN;
        m->depth--;
    }
    return 0;
}
