/* schema_nodes.h - the table of nodes, shared by the compiler (schema.c) and the machine
 * (json_machine.c). */
#ifndef TERN_SERVE_SCHEMA_NODES_H
#define TERN_SERVE_SCHEMA_NODES_H

#include "serve/schema.h"

typedef enum schema_kind {
    SCHEMA_OBJECT, /* texts: quoted keys, nodes: their values; without keys: item for all */
    SCHEMA_ARRAY,  /* item, min, max */
    SCHEMA_STRING, /* min, max characters */
    SCHEMA_NUMBER,
    SCHEMA_INTEGER,
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
} schema_node;

struct schema {
    schema_node *nodes;
    int n_nodes, root;
};

/* Whether a value of the node can begin with the byte. */
int tern_schema_begins(const schema *s, int node, unsigned char byte);

#endif
