/* schema.c - a JSON schema to a table of nodes. A reference is compiled once, so schemas may refer
 * to themselves; the size of the table and the nesting are bounded. */
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "serve/schema_merge.h"
#include "serve/schema_nodes.h"

#define MAX_NODES 2048
#define MAX_TEXTS 1024
#define MAX_NESTING 64
#define MAX_MERGES 512 /* schemas that are merged into others */

/* A reference and the node it has become. */
typedef struct reference {
    const json_t *target;
    int node;
} reference;

typedef struct compiler {
    schema *s;
    const json_t *root;
    reference references[256];
    int n_references, nesting, n_merged;
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

static int check_keywords(compiler *c, const json_t *value)
{
    const char *key;
    json_t *member;
    json_object_foreach((json_t *)(uintptr_t)value, key, member)
    {
        if (tern_schema_keyword(key) == KEYWORD_UNKNOWN)
            return refuse(c, "is a keyword that is not supported", key);
    }
    return 0;
}

/* The first keyword that says something beside those given. */
static const char *find_beside(const json_t *value, const char *const *given, size_t n)
{
    const char *key;
    json_t *member;
    json_object_foreach((json_t *)(uintptr_t)value, key, member)
    {
        size_t i = 0;
        while (i < n && strcmp(given[i], key) != 0) i++;
        if (i == n && tern_schema_keyword(key) != KEYWORD_NOTE) return key;
    }
    return NULL;
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

static int get_counts(compiler *c, schema_node *node, const json_t *value, const char *min,
                      const char *max)
{
    if (get_count(c, &node->min, value, min) || get_count(c, &node->max, value, max)) return -1;
    return node->min <= node->max ? 0 : refuse(c, "is more than the largest number allowed", min);
}

/* ---- literals ------------------------------------------------------------------------------- */

static int is_of_type(const json_t *value, const char *type)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT: return strcmp(type, "object") == 0;
    case JSON_ARRAY: return strcmp(type, "array") == 0;
    case JSON_STRING: return strcmp(type, "string") == 0;
    case JSON_INTEGER: return strcmp(type, "integer") == 0 || strcmp(type, "number") == 0;
    case JSON_REAL: return strcmp(type, "number") == 0;
    case JSON_TRUE:
    case JSON_FALSE: return strcmp(type, "boolean") == 0;
    case JSON_NULL: return strcmp(type, "null") == 0;
    }
    return 0;
}

/* Whether a literal is what `type` and, where there is `const`, that say. */
static int is_valid(const json_t *value, const json_t *literal)
{
    const json_t *type = json_object_get(value, "type");
    json_t *only = json_object_get(value, "const");
    int valid = !json_is_array(type);
    if (json_is_string(type)) valid = is_of_type(literal, json_string_value(type));
    for (size_t i = 0; i < json_array_size(type) && !valid; i++) {
        const char *name = json_string_value(json_array_get(type, i));
        valid = name && is_of_type(literal, name);
    }
    return valid && (!only || json_equal(only, (json_t *)(uintptr_t)literal));
}

static int compile_literals(compiler *c, const json_t *value)
{
    static const char *const given[] = {"enum", "const", "type"};
    const json_t *list = json_object_get(value, "enum"), *only = json_object_get(value, "const");
    const char *other = find_beside(value, given, 3), *key = list ? "enum" : "const";
    const size_t n = list ? json_array_size(list) : 1;
    if (other) return refuse(c, "is not supported beside 'enum' or 'const'", other);
    const int node = add_node(c, SCHEMA_LITERALS, n);
    if (node < 0) return -1;
    schema_node *s = &c->s->nodes[node];
    s->n = 0;
    for (size_t i = 0; i < n; i++) {
        const json_t *literal = list ? json_array_get(list, i) : only;
        if (!is_valid(value, literal)) continue;
        char *text = json_dumps(literal, JSON_ENCODE_ANY);
        if (!text || strlen(text) >= INT16_MAX) {
            free(text);
            return refuse(c, "holds a value that is too long", key);
        }
        s->texts[s->n++] = text;
    }
    return s->n ? node : refuse(c, "holds nothing that is valid", key);
}

/* ---- objects and arrays --------------------------------------------------------------------- */

static int is_required(const json_t *list, const char *key)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name = json_string_value(json_array_get(list, i));
        if (name && strcmp(name, key) == 0) return 1;
    }
    return 0;
}

static int check_object(compiler *c, const json_t *properties, const json_t *required,
                        const json_t *others)
{
    if (properties && !json_is_object(properties)) return refuse(c, "is no object", "properties");
    if (others && !json_is_object(others) && !json_is_boolean(others))
        return refuse(c, "is no schema", "additionalProperties");
    if (required && !json_is_array(required)) return refuse(c, "is no array", "required");
    if (json_array_size(required) > json_object_size(properties))
        return refuse(c, "names a property that is not described, or one twice", "required");
    for (size_t i = 0; i < json_array_size(required); i++) {
        const char *name = json_string_value(json_array_get(required, i));
        if (!name || !json_object_get(properties, name))
            return refuse(c, "names a property that is not described", "required");
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
    if (node < 0 || check_object(c, properties, required, others)) return -1;
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
    if (json_is_false(others)) c->s->nodes[node].item = -1;
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
    return get_counts(c, &c->s->nodes[node], value, "minItems", "maxItems") ? -1 : node;
}

/* ---- strings and numbers -------------------------------------------------------------------- */

static int compile_string(compiler *c, const json_t *value)
{
    const json_t *text = json_object_get(value, "pattern");
    const int node = add_node(c, SCHEMA_STRING, 0);
    if (node < 0 || get_counts(c, &c->s->nodes[node], value, "minLength", "maxLength")) return -1;
    if (!text) return node;
    if (!json_is_string(text)) return refuse(c, "is no string", "pattern");
    if (json_object_get(value, "minLength") || json_object_get(value, "maxLength"))
        return refuse(c, "is not supported beside 'minLength' or 'maxLength'", "pattern");
    pattern *p = c->s->nodes[node].pattern = malloc(sizeof *p);
    if (!p) return no_memory(c);
    const char *why = tern_pattern_compile(p, json_string_value(text));
    return why ? refuse(c, why, "pattern") : node;
}

/* A bound in units of the last digit that is written, so that what is written is within as a double
 * as well: n / scale is what a reader makes of the digits. */
static int64_t bound_of(double bound, double scale, int upper, int exclusive)
{
    const double most = 1e15, scaled = bound * scale;
    const int64_t n = scaled <= -most ? (int64_t)-most
                      : scaled >= most ? (int64_t)most
                                       : (int64_t)llround(scaled);
    const double read = (double)n / scale;
    if (upper) return n - (exclusive ? read >= bound : read > bound);
    return n + (exclusive ? read <= bound : read < bound);
}

static int compile_number(compiler *c, const json_t *value, schema_kind kind)
{
    static const char *const keys[] = {"minimum", "exclusiveMinimum", "maximum",
                                       "exclusiveMaximum"};
    const double scale = kind == SCHEMA_NUMBER ? 1e6 : 1.0; /* 10^FRACTION_DIGITS */
    const int node = add_node(c, kind, 0);
    if (node < 0) return -1;
    schema_node *n = &c->s->nodes[node];
    n->high = 999999999999999; /* NUMBER_DIGITS */
    n->low = -n->high;
    for (int i = 0; i < 4; i++) {
        const json_t *bound = json_object_get(value, keys[i]);
        if (!bound) continue;
        if (!json_is_number(bound)) return refuse(c, "is no number", keys[i]);
        const int64_t at = bound_of(json_number_value(bound), scale, i >= 2, i % 2);
        if (i < 2 && at > n->low) n->low = at;
        if (i >= 2 && at < n->high) n->high = at;
        n->bounded = 1;
        if (n->low > n->high) return refuse(c, "leaves no number to write", keys[i]);
    }
    return node;
}

/* ---- types and choices ---------------------------------------------------------------------- */

static int compile_type(compiler *c, const json_t *value, const char *type)
{
    if (strcmp(type, "object") == 0) return compile_object(c, value);
    if (strcmp(type, "array") == 0) return compile_array(c, value);
    if (strcmp(type, "number") == 0) return compile_number(c, value, SCHEMA_NUMBER);
    if (strcmp(type, "integer") == 0) return compile_number(c, value, SCHEMA_INTEGER);
    if (strcmp(type, "string") == 0) return compile_string(c, value);
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
        const int child = json_is_string(one) && strcmp(key, "type") == 0
                              ? compile_type(c, value, json_string_value(one))
                              : compile(c, one);
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

/* ---- allOf ---------------------------------------------------------------------------------- */

static int merge_all(compiler *c, json_t *into, const json_t *value, int depth);

/* Adds what a reference means. */
static int merge_reference(compiler *c, json_t *into, const json_t *ref, int depth)
{
    const char *path = json_string_value(ref);
    const json_t *target = path ? find_reference(c, path) : NULL;
    if (!target) return refuse(c, "is not in the schema", path ? path : "$ref");
    return merge_all(c, into, target, depth + 1);
}

/* Adds the conditions of a schema, of what it refers to and of its `allOf`. */
static int merge_all(compiler *c, json_t *into, const json_t *value, int depth)
{
    const json_t *list = json_object_get(value, "allOf"), *ref = json_object_get(value, "$ref");
    if (json_is_true(value)) return 0;
    if (!json_is_object(value)) return refuse(c, "holds something that is no schema", "allOf");
    if (check_keywords(c, value)) return -1;
    if (depth > MAX_NESTING || ++c->n_merged > MAX_MERGES)
        return refuse(c, "is too large or nested too deep", "allOf");
    if (list && json_array_size(list) == 0) return refuse(c, "holds nothing", "allOf");
    json_t *own = json_copy((json_t *)(uintptr_t)value);
    json_object_del(own, "allOf");
    json_object_del(own, "$ref");
    const char *key = own ? tern_schema_merge(into, own) : "";
    int status = !key     ? 0
                 : key[0] ? refuse(c, "cannot be kept together with others of its kind", key)
                          : no_memory(c);
    json_decref(own);
    if (status == 0 && ref) status = merge_reference(c, into, ref, depth);
    for (size_t i = 0; i < json_array_size(list) && status == 0; i++)
        status = merge_all(c, into, json_array_get(list, i), depth + 1);
    return status;
}

static int compile_merged(compiler *c, const json_t *value)
{
    json_t *merged = json_object();
    int node = merged ? merge_all(c, merged, value, 0) : no_memory(c);
    if (node == 0) node = compile(c, merged);
    json_decref(merged);
    return node;
}

/* Alternatives, and what stands beside them: that is said of each one. */
static int compile_alternatives(compiler *c, const json_t *value, const char *key)
{
    const json_t *list = json_object_get(value, key);
    if (!find_beside(value, &key, 1)) return compile_choice(c, value, list, key);
    json_t *rest = json_copy((json_t *)(uintptr_t)value), *each = json_array();
    json_object_del(rest, key);
    for (size_t i = 0; i < json_array_size(list); i++)
        json_array_append_new(each, json_pack("{s:[O,O]}", "allOf", rest, json_array_get(list, i)));
    const int node = json_array_size(each) == json_array_size(list)
                         ? compile_choice(c, value, each, key)
                         : no_memory(c);
    json_decref(rest);
    json_decref(each);
    return node;
}

/* ---- schemas -------------------------------------------------------------------------------- */

/* A schema without a type is of the type that its first keyword is for. */
static int compile_untyped(compiler *c, const json_t *value)
{
    const char *key;
    json_t *member;
    json_object_foreach((json_t *)(uintptr_t)value, key, member)
    {
        switch (tern_schema_keyword(key)) {
        case KEYWORD_OBJECT: return compile_object(c, value);
        case KEYWORD_ARRAY: return compile_array(c, value);
        case KEYWORD_STRING: return compile_string(c, value);
        case KEYWORD_NUMBER: return compile_number(c, value, SCHEMA_NUMBER);
        case KEYWORD_UNKNOWN:
        case KEYWORD_NOTE:
        case KEYWORD_TYPE: break;
        }
    }
    return NODE_ANY;
}

static int compile_value(compiler *c, const json_t *value)
{
    static const char *const given = "$ref";
    const json_t *type = json_object_get(value, "type"), *ref = json_object_get(value, "$ref");
    if (check_keywords(c, value)) return -1;
    if (json_is_string(ref) && !find_beside(value, &given, 1))
        return compile_reference(c, json_string_value(ref));
    if (ref || json_object_get(value, "allOf")) return compile_merged(c, value);
    if (json_object_get(value, "enum") || json_object_get(value, "const"))
        return compile_literals(c, value);
    if (json_object_get(value, "anyOf")) return compile_alternatives(c, value, "anyOf");
    if (json_object_get(value, "oneOf")) return compile_alternatives(c, value, "oneOf");
    if (json_is_array(type)) return compile_choice(c, value, type, "type");
    if (json_is_string(type)) return compile_type(c, value, json_string_value(type));
    return type ? refuse(c, "is no type and no list of types", "type") : compile_untyped(c, value);
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
        free(s->nodes[i].pattern);
    }
    free(s->nodes);
    free(s);
}
