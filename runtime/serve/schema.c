/* schema.c - a JSON schema to a table of nodes. A reference is compiled once, so schemas may refer
 * to themselves; the size of the table and the nesting are bounded. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "serve/schema_nodes.h"

#define MAX_NODES 2048
#define MAX_TEXTS 1024
#define MAX_NESTING 64

/* A reference and the node it has become. */
typedef struct reference {
    const json_t *target;
    int node;
} reference;

typedef struct compiler {
    schema *s;
    const json_t *root;
    reference references[256];
    int n_references, nesting;
    api_error *error;
} compiler;

static int refuse(compiler *c, const char *what, const char *value)
{
    return tern_api_fail(c->error, 400, "response_format", "the schema's '%.60s' %s", value, what);
}

static int no_memory(compiler *c)
{
    return tern_api_fail(c->error, 500, NULL, "no memory for the schema");
}

/* A new node with room for n texts and nodes; its number, or -1. */
static int add_node(compiler *c, schema_kind kind, size_t n)
{
    schema *s = c->s;
    if (s->n_nodes == MAX_NODES || n > MAX_TEXTS) return refuse(c, "is too large", "whole");
    schema_node *node = &s->nodes[s->n_nodes];
    *node = (schema_node){.kind = kind, .n = (int)n, .item = NODE_ANY, .max = INT_MAX};
    node->texts = calloc(n + 1, sizeof *node->texts);
    node->nodes = calloc(n + 1, sizeof *node->nodes);
    node->required = calloc(n + 1, 1);
    s->n_nodes++;
    return node->texts && node->nodes && node->required ? s->n_nodes - 1 : no_memory(c);
}

static int add_fixed(compiler *c)
{
    static const char *const words[] = {"true", "false", "null"};
    if (add_node(c, SCHEMA_CHOICE, 5) < 0 || add_node(c, SCHEMA_OBJECT, 0) < 0 ||
        add_node(c, SCHEMA_ARRAY, 0) < 0 || add_node(c, SCHEMA_STRING, 0) < 0 ||
        add_node(c, SCHEMA_NUMBER, 0) < 0 || add_node(c, SCHEMA_LITERALS, 3) < 0)
        return -1;
    for (int i = 0; i < 5; i++) c->s->nodes[NODE_ANY].nodes[i] = (int16_t)(NODE_OBJECT + i);
    for (int i = 0; i < 3; i++) {
        c->s->nodes[NODE_WORDS].texts[i] = strdup(words[i]);
        if (!c->s->nodes[NODE_WORDS].texts[i]) return no_memory(c);
    }
    return 0;
}

static int compile(compiler *c, const json_t *value);

/* ---- keywords ------------------------------------------------------------------------------- */

/* Keywords that say nothing about what is valid, and those that are understood elsewhere. */
static int check_keywords(compiler *c, const json_t *value)
{
    static const char *const known[] = {
        "type",       "properties",  "required",    "items",
        "minItems",   "maxItems",    "minLength",   "maxLength",
        "enum",       "const",       "anyOf",       "oneOf",
        "$ref",       "$defs",       "definitions", "additionalProperties",
        "title",      "description", "default",     "examples",
        "$schema",    "$id",         "$comment",    "format",
        "deprecated", "readOnly",    "writeOnly",   "strict"};
    const char *key;
    json_t *member;
    json_object_foreach((json_t *)(uintptr_t)value, key, member)
    {
        size_t i = 0;
        while (i < sizeof known / sizeof known[0] && strcmp(known[i], key) != 0) i++;
        if (i == sizeof known / sizeof known[0])
            return refuse(c, "is a keyword that is not supported", key);
    }
    return 0;
}

static int get_count(compiler *c, int32_t *out, const json_t *value, const char *key)
{
    const json_t *number = json_object_get(value, key);
    if (!number) return 0;
    const json_int_t n = json_integer_value(number);
    if (!json_is_integer(number) || n < 0 || n > INT_MAX)
        return refuse(c, "is no number of things", key);
    *out = (int32_t)n;
    return 0;
}

static int compile_literals(compiler *c, const json_t *value)
{
    const json_t *list = json_object_get(value, "enum");
    const json_t *only = json_object_get(value, "const");
    const size_t n = only ? 1 : json_array_size(list);
    if (n == 0) return refuse(c, "holds nothing", "enum");
    const int node = add_node(c, SCHEMA_LITERALS, n);
    for (size_t i = 0; i < n && node >= 0; i++) {
        char *text = json_dumps(only ? only : json_array_get(list, i), JSON_ENCODE_ANY);
        if (!text || strlen(text) >= INT16_MAX) {
            free(text);
            return refuse(c, "holds a value that is too long", "enum");
        }
        c->s->nodes[node].texts[i] = text;
    }
    return node;
}

static int is_required(const json_t *list, const char *key)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name = json_string_value(json_array_get(list, i));
        if (name && strcmp(name, key) == 0) return 1;
    }
    return 0;
}

static int compile_object(compiler *c, const json_t *value)
{
    json_t *properties = json_object_get(value, "properties"), *member;
    const json_t *required = json_object_get(value, "required");
    const json_t *others = json_object_get(value, "additionalProperties");
    const int node = add_node(c, SCHEMA_OBJECT, json_object_size(properties));
    const char *key;
    int i = 0;
    if (node < 0) return -1;
    for (size_t r = 0; r < json_array_size(required); r++) {
        const char *name = json_string_value(json_array_get(required, r));
        if (!name || !json_object_get(properties, name))
            return refuse(c, "names a property that is not described", "required");
    }
    json_object_foreach(properties, key, member)
    {
        json_t *name = json_string(key);
        char *text = name ? json_dumps(name, JSON_ENCODE_ANY) : NULL;
        json_decref(name);
        if (!text || strlen(text) >= INT16_MAX) {
            free(text);
            return refuse(c, "holds a name that is too long", "properties");
        }
        c->s->nodes[node].texts[i] = text;
        c->s->nodes[node].required[i] = (uint8_t)is_required(required, key);
        const int child = compile(c, member);
        if (child < 0) return -1;
        c->s->nodes[node].nodes[i++] = (int16_t)child;
    }
    if (i == 0 && json_is_object(others)) {
        const int child = compile(c, others);
        if (child < 0) return -1;
        c->s->nodes[node].item = child;
    }
    return node;
}

static int compile_array(compiler *c, const json_t *value)
{
    const json_t *items = json_object_get(value, "items");
    const int node = add_node(c, SCHEMA_ARRAY, 0), child = items ? compile(c, items) : NODE_ANY;
    if (node < 0 || child < 0) return -1;
    c->s->nodes[node].item = child;
    return get_count(c, &c->s->nodes[node].min, value, "minItems") ||
                   get_count(c, &c->s->nodes[node].max, value, "maxItems")
               ? -1
               : node;
}

static int compile_type(compiler *c, const json_t *value, const char *type)
{
    if (strcmp(type, "object") == 0) return compile_object(c, value);
    if (strcmp(type, "array") == 0) return compile_array(c, value);
    if (strcmp(type, "number") == 0) return NODE_NUMBER;
    if (strcmp(type, "integer") == 0) return add_node(c, SCHEMA_INTEGER, 0);
    if (strcmp(type, "string") == 0) {
        const int node = add_node(c, SCHEMA_STRING, 0);
        if (node < 0 || get_count(c, &c->s->nodes[node].min, value, "minLength") ||
            get_count(c, &c->s->nodes[node].max, value, "maxLength"))
            return -1;
        return node;
    }
    const int is_null = strcmp(type, "null") == 0;
    if (!is_null && strcmp(type, "boolean") != 0) return refuse(c, "is no type", type);
    json_t *words = is_null ? json_pack("{s:[n]}", "enum") : json_pack("{s:[b,b]}", "enum", 1, 0);
    const int node = words ? compile_literals(c, words) : no_memory(c);
    json_decref(words);
    return node;
}

/* Alternatives, no two of which can begin with the same byte: then the first byte decides. */
static int compile_choice(compiler *c, const json_t *value, const json_t *list, const char *key)
{
    const size_t n = json_array_size(list);
    const int node = add_node(c, SCHEMA_CHOICE, n);
    if (node < 0) return -1;
    if (n == 0) return refuse(c, "holds nothing", key);
    c->s->nodes[node].n = 0; /* it begins with nothing until it is whole */
    for (size_t i = 0; i < n; i++) {
        const json_t *one = json_array_get(list, i);
        const int child =
            json_is_string(one) ? compile_type(c, value, json_string_value(one)) : compile(c, one);
        if (child < 0) return -1;
        for (int byte = 1; byte < 128; byte++)
            if (tern_schema_begins(c->s, child, (unsigned char)byte) &&
                tern_schema_begins(c->s, node, (unsigned char)byte))
                return refuse(c, "has alternatives that begin alike", key);
        c->s->nodes[node].nodes[i] = (int16_t)child;
        c->s->nodes[node].n++;
    }
    return node;
}

/* "#/$defs/name": the description, or NULL. */
static const json_t *find_reference(const compiler *c, const char *path)
{
    const json_t *at = c->root;
    if (path[0] != '#') return NULL;
    for (path++; *path == '/' && at;) {
        char name[128];
        const size_t n = strcspn(++path, "/");
        if (n >= sizeof name) return NULL;
        memcpy(name, path, n);
        name[n] = 0;
        at = json_object_get(at, name);
        path += n;
    }
    return *path ? NULL : at;
}

/* Whether choices alone lead from a node to another. Alternatives do not begin alike, so no node is
 * reached twice. */
static int leads_to(const schema *s, int from, int node)
{
    if (from == node) return 1;
    const schema_node *n = &s->nodes[from];
    for (int i = 0; n->kind == SCHEMA_CHOICE && i < n->n; i++)
        if (leads_to(s, n->nodes[i], node)) return 1;
    return 0;
}

/* A node for the target, which is compiled the first time: a choice of one, so that the target may
 * refer to it meanwhile. */
static int compile_reference(compiler *c, const char *path)
{
    const json_t *target = find_reference(c, path);
    if (!target) return refuse(c, "is not in the schema", path);
    for (int i = 0; i < c->n_references; i++)
        if (c->references[i].target == target) return c->references[i].node;
    const int node = add_node(c, SCHEMA_CHOICE, 1);
    if (node < 0) return -1;
    if (c->n_references == (int)(sizeof c->references / sizeof c->references[0]))
        return refuse(c, "is one reference too many", path);
    c->references[c->n_references++] = (reference){target, node};
    c->s->nodes[node].n = 0;
    const int child = compile(c, target);
    if (child < 0) return -1;
    if (leads_to(c->s, child, node)) return refuse(c, "refers to itself alone", path);
    c->s->nodes[node].nodes[0] = (int16_t)child;
    c->s->nodes[node].n = 1;
    return node;
}

static int compile_value(compiler *c, const json_t *value)
{
    const json_t *any = json_object_get(value, "anyOf"), *one = json_object_get(value, "oneOf");
    const json_t *type = json_object_get(value, "type"), *ref = json_object_get(value, "$ref");
    if (check_keywords(c, value)) return -1;
    if (json_is_string(ref)) return compile_reference(c, json_string_value(ref));
    if (json_object_get(value, "enum") || json_object_get(value, "const"))
        return compile_literals(c, value);
    if (any) return compile_choice(c, value, any, "anyOf");
    if (one) return compile_choice(c, value, one, "oneOf");
    if (json_is_array(type)) return compile_choice(c, value, type, "type");
    if (json_is_string(type)) return compile_type(c, value, json_string_value(type));
    if (json_object_get(value, "properties")) return compile_object(c, value);
    if (json_object_get(value, "items")) return compile_array(c, value);
    return NODE_ANY;
}

/* The node of a schema, or -1. */
static int compile(compiler *c, const json_t *value)
{
    if (json_is_true(value)) return NODE_ANY;
    if (!json_is_object(value)) return refuse(c, "holds something that is no schema", "whole");
    if (++c->nesting > MAX_NESTING) return refuse(c, "is nested too deep", "whole");
    const int node = compile_value(c, value);
    c->nesting--;
    return node;
}

int tern_schema_create(schema **out, const json_t *value, api_error *error)
{
    schema *s = calloc(1, sizeof *s);
    compiler *c = calloc(1, sizeof *c);
    int status = -1;
    if (s) s->nodes = calloc(MAX_NODES, sizeof *s->nodes);
    if (!s || !c || !s->nodes) {
        tern_api_fail(error, 500, NULL, "no memory for the schema");
    } else {
        *c = (compiler){.s = s, .root = value, .error = error};
        status = add_fixed(c);
        s->root = NODE_OBJECT;
        if (status == 0 && value) s->root = status = compile(c, value);
        if (status > 0) status = 0;
    }
    free(c);
    if (status == 0)
        *out = s;
    else
        tern_schema_free(s);
    return status;
}

void tern_schema_free(schema *s)
{
    if (!s) return;
    for (int i = 0; i < s->n_nodes; i++) {
        for (int t = 0; t < s->nodes[i].n && s->nodes[i].texts; t++) free(s->nodes[i].texts[t]);
        free(s->nodes[i].texts);
        free(s->nodes[i].nodes);
        free(s->nodes[i].required);
    }
    free(s->nodes);
    free(s);
}
