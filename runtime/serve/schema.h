/* schema.h - a JSON schema as a table of nodes, and a machine that says byte by byte whether a text
 * may still become JSON of that schema. Answers under `response_format` are drawn through it.
 *
 * What is understood: type (one or several; without it, the type that the other keywords are for),
 * properties, required, additionalProperties, items, minItems, maxItems, minLength, maxLength,
 * pattern (as pattern.h has it), minimum, maximum, exclusiveMinimum, exclusiveMaximum, enum, const,
 * anyOf and oneOf whose alternatives begin differently, allOf, $ref into $defs. Annotations are
 * ignored; any other keyword is refused, because it would not be kept, and so is what cannot be
 * kept beside another keyword.
 *
 * Answers are some of the valid ones. Objects with properties hold these alone, in their order.
 * White space is one blank behind ',' and ':' at most, so that no answer can be all blanks. Numbers
 * have 15 digits; those with bounds have no exponent and 6 digits behind the point. */
#ifndef TERN_SERVE_SCHEMA_H
#define TERN_SERVE_SCHEMA_H

#include <jansson.h>
#include <stdint.h>

#include "serve/api_error.h"

#define SCHEMA_MAX_DEPTH 32 /* of nested values in an answer */

typedef struct schema schema;

/* value NULL: any object. Returns 0, or -1 and the error, which names the keyword. */
int tern_schema_create(schema **out, const json_t *value, api_error *error);
void tern_schema_free(schema *s);

/* One value that has begun. */
typedef struct json_frame {
    int16_t node;
    uint8_t phase;
    uint8_t need, low, high; /* strings: bytes that a character still needs, bounds of the next */
    int16_t next;            /* objects: the first property that may come; numbers: minus sign */
    int16_t candidate, at;   /* of a literal or key: a text with the bytes so far, their number;
                              * at: digits behind the point of a number with bounds */
    int32_t count;           /* items, characters, digits */
    union {
        int64_t digits;     /* of a number with bounds, as a whole number */
        uint64_t positions; /* of a pattern */
    };
} json_frame;

/* Where a text stands. */
typedef struct json_machine {
    int depth; /* 0: complete, -1: not begun */
    json_frame frames[SCHEMA_MAX_DEPTH];
} json_machine;

void tern_machine_start(json_machine *m);

/* Takes a byte; 0 when no text of the schema goes on like this, and the machine is then of no more
 * use. */
int tern_machine_step(json_machine *m, const schema *s, unsigned char byte);

#endif
