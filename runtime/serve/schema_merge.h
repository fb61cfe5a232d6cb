/* schema_merge.h - the keywords of a schema, and `allOf`: two schemas become one that means
 * both. */
#ifndef TERN_SERVE_SCHEMA_MERGE_H
#define TERN_SERVE_SCHEMA_MERGE_H

#include <jansson.h>

typedef enum keyword {
    KEYWORD_UNKNOWN,
    KEYWORD_NOTE, /* says nothing about what is valid */
    KEYWORD_TYPE, /* type, enum, const, $ref and choices */
    KEYWORD_OBJECT,
    KEYWORD_ARRAY,
    KEYWORD_STRING,
    KEYWORD_NUMBER
} keyword;

keyword tern_schema_keyword(const char *key);

/* Adds the conditions of `part` to `into`, which has its members to itself. Returns NULL, or the
 * keyword that cannot be merged; "" where memory is short. */
const char *tern_schema_merge(json_t *into, const json_t *part);

#endif
