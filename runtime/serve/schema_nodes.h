/* schema_nodes.h - the table of nodes, shared by the compiler (schema.c) and the machine
 * (json_machine.c). */
#ifndef TERN_SERVE_SCHEMA_NODES_H
#define TERN_SERVE_SCHEMA_NODES_H

#include "serve/pattern.h"
#include "serve/schema.h"

#define NUMBER_DIGITS 15  /* of a number: what a double holds, and an end */
#define FRACTION_DIGITS 6 /* of them, at most so many behind the point of a number with bounds */

typedef enum schema_kind {
    SCHEMA_OBJECT, /* texts: quoted keys, nodes: values; without keys: item for all, -1: none */
    SCHEMA_ARRAY,  /* item, min, max */
    SCHEMA_STRING, /* min, max characters; or pattern */
    SCHEMA_NUMBER,
    SCHEMA_INTEGER, /* and numbers: low, high where there are bounds */
    SCHEMA_LITERALS, /* one of texts */
    SCHEMA_CHOICE,   /* one of nodes: the one that can begin with the byte */
} schema_kind;

/* Nodes that every table begins with. */
enum { NODE_ANY, NODE_OBJECT, NODE_ARRAY, NODE_STRING, NODE_NUMBER, NODE_WORDS, N_FIXED_NODES };

typedef struct schema_node {
    schema_kind kind;
    int n, item;
    int32_t min, max;
    char **texts;      /* [n] */
    int16_t *nodes;    /* [n] */
    uint8_t *required; /* [n] of an object */
    pattern *pattern;  /* NULL: none */
    int bounded;
    int64_t low, high; /* in units of the last digit: 1, or 10^-FRACTION_DIGITS of a number */
} schema_node;

struct schema {
    schema_node *nodes;
    int n_nodes, root;
};

/* Whether a value of the node can begin with the byte. */
int tern_schema_begins(const schema *s, int node, unsigned char byte);

#endif
