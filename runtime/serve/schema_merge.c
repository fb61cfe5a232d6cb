/* schema_merge.c - keywords, and how two of a kind become one. What cannot be said in one keyword
 * is refused, never dropped. */
#include "serve/schema_merge.h"

#include <stdint.h>
#include <string.h>

#define MAX_MERGED 256 /* members of a list or of an object */

keyword tern_schema_keyword(const char *key)
{
    static const struct {
        const char *key;
        keyword is;
    } table[] = {
        {"type", KEYWORD_TYPE},
        {"enum", KEYWORD_TYPE},
        {"const", KEYWORD_TYPE},
        {"$ref", KEYWORD_TYPE},
        {"anyOf", KEYWORD_TYPE},
        {"oneOf", KEYWORD_TYPE},
        {"allOf", KEYWORD_TYPE},
        {"properties", KEYWORD_OBJECT},
        {"required", KEYWORD_OBJECT},
        {"additionalProperties", KEYWORD_OBJECT},
        {"items", KEYWORD_ARRAY},
        {"minItems", KEYWORD_ARRAY},
        {"maxItems", KEYWORD_ARRAY},
        {"pattern", KEYWORD_STRING},
        {"minLength", KEYWORD_STRING},
        {"maxLength", KEYWORD_STRING},
        {"minimum", KEYWORD_NUMBER},
        {"maximum", KEYWORD_NUMBER},
        {"exclusiveMinimum", KEYWORD_NUMBER},
        {"exclusiveMaximum", KEYWORD_NUMBER},
        {"$defs", KEYWORD_NOTE},
        {"definitions", KEYWORD_NOTE},
        {"title", KEYWORD_NOTE},
        {"description", KEYWORD_NOTE},
        {"default", KEYWORD_NOTE},
        {"examples", KEYWORD_NOTE},
        {"$schema", KEYWORD_NOTE},
        {"$id", KEYWORD_NOTE},
        {"$comment", KEYWORD_NOTE},
        {"format", KEYWORD_NOTE},
        {"deprecated", KEYWORD_NOTE},
        {"readOnly", KEYWORD_NOTE},
        {"writeOnly", KEYWORD_NOTE},
        {"strict", KEYWORD_NOTE},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (strcmp(table[i].key, key) == 0) return table[i].is;
    return KEYWORD_UNKNOWN;
}

/* A schema that means both. */
static json_t *both(json_t *a, json_t *b)
{
    return json_pack("{s:[O,O]}", "allOf", a, b);
}

static json_t *merge_properties(json_t *a, json_t *b)
{
    json_t *all = json_is_object(a) && json_is_object(b) ? json_copy(a) : NULL, *value;
    const char *key;
    json_object_foreach(b, key, value)
    {
        json_t *old = json_object_get(all, key);
        if (!old)
            json_object_set(all, key, value);
        else if (!json_equal(old, value))
            json_object_set_new(all, key, both(old, value));
    }
    return all;
}

static int holds(const json_t *list, const json_t *value)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (json_equal(json_array_get(list, i), value)) return 1;
    return 0;
}

static json_t *unite(json_t *a, json_t *b)
{
    json_t *all = json_is_array(a) && json_is_array(b) ? json_copy(a) : NULL;
    for (size_t i = 0; all && i < json_array_size(b); i++)
        if (!holds(a, json_array_get(b, i))) json_array_append(all, json_array_get(b, i));
    return all;
}

/* What both lists hold, as `type` and `enum` mean it; NULL when that is nothing. */
static json_t *intersect(json_t *a, json_t *b, int types)
{
    json_t *first = json_is_array(a) ? json_incref(a) : json_pack("[O]", a);
    json_t *second = json_is_array(b) ? json_incref(b) : json_pack("[O]", b);
    json_t *integer = json_string("integer"), *number = json_string("number");
    json_t *all = json_array();
    for (size_t i = 0; i < json_array_size(first); i++)
        if (holds(second, json_array_get(first, i)))
            json_array_append(all, json_array_get(first, i));
    if (types && !holds(all, integer) && !holds(all, number) &&
        ((holds(first, integer) && holds(second, number)) ||
         (holds(first, number) && holds(second, integer))))
        json_array_append(all, integer);
    json_decref(integer);
    json_decref(number);
    json_decref(first);
    json_decref(second);
    if (json_array_size(all) > 0) return all;
    json_decref(all);
    return NULL;
}

/* The larger number for min..., exclusiveMin..., the smaller for the others. */
static json_t *tighter(const char *key, json_t *a, json_t *b)
{
    if (!json_is_number(a) || !json_is_number(b)) return NULL;
    const int larger = strstr(key, "min") == key || strstr(key, "Min") != NULL;
    const double x = json_number_value(a), y = json_number_value(b);
    return json_incref((larger ? x >= y : x <= y) ? a : b);
}

/* The value that means both, or NULL. */
static json_t *merge_value(const char *key, json_t *a, json_t *b)
{
    if (json_equal(a, b) || tern_schema_keyword(key) == KEYWORD_NOTE) return json_incref(a);
    const size_t n_a = json_is_object(a) ? json_object_size(a) : json_array_size(a);
    const size_t n_b = json_is_object(b) ? json_object_size(b) : json_array_size(b);
    if (n_a > MAX_MERGED || n_b > MAX_MERGED) return NULL;
    if (strcmp(key, "properties") == 0) return merge_properties(a, b);
    if (strcmp(key, "required") == 0) return unite(a, b);
    if (strcmp(key, "type") == 0) return intersect(a, b, 1);
    if (strcmp(key, "enum") == 0) return intersect(a, b, 0);
    if (strcmp(key, "items") == 0) return both(a, b);
    return tighter(key, a, b);
}

/* Whether the properties that `a` admits are all that `b` describes. */
static int admits(const json_t *a, const json_t *b)
{
    const json_t *others = json_object_get(a, "additionalProperties");
    const json_t *known = json_object_get(a, "properties");
    const char *key;
    json_t *value;
    if (!others || json_is_true(others)) return 1;
    json_object_foreach(json_object_get(b, "properties"), key, value)
    {
        if (!json_object_get(known, key)) return 0;
    }
    return 1;
}

const char *tern_schema_merge(json_t *into, const json_t *part)
{
    const char *key;
    json_t *value;
    if (!admits(into, part) || !admits(part, into)) return "additionalProperties";
    json_object_foreach((json_t *)(uintptr_t)part, key, value)
    {
        json_t *old = json_object_get(into, key);
        json_t *merged = old ? merge_value(key, old, value) : json_incref(value);
        if (!merged) return key;
        if (json_object_set_new(into, key, merged)) return "";
    }
    return NULL;
}
