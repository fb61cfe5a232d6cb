/* schema.h - a JSON schema as a table of nodes, and a machine that says byte by byte whether a text
 * may still become JSON of that schema. Answers under `response_format` are drawn through it.
 *
 * What is understood: type (one or several), properties, required, items, minItems, maxItems,
 * minLength, maxLength, enum, const, anyOf and oneOf whose alternatives begin differently, $ref
 * into $defs. Annotations are ignored; any other keyword is refused, because it would not be kept.
 * Objects with properties hold these alone, in their order. White space is one blank behind ',' and
 * ':' at most, so that no answer can be all blanks. */
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
    int16_t next;            /* objects: the first property that may come */
    int16_t candidate, at;   /* of a literal or key: a text with the bytes so far, their number */
    int32_t count;           /* items, characters, digits */
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
