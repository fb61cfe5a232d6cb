/* json.h - JSON files and their members with types and ranges, over jansson. A reader names the
 * file in every sentence; absent members take a fallback, and null counts as absent. */
#ifndef TERN_FORMAT_JSON_H
#define TERN_FORMAT_JSON_H

#include <jansson.h>
#include <stdbool.h>

#include "tern/base.h"

/* Parses text [bytes], which must be an object without duplicate keys; free with json_decref().
 * TERN_E_MODEL names the line. */
int tern_json_parse(json_t **out, const char *text, size_t bytes, const char *name,
                    tern_error *err);

/* The same from a file; *out is NULL and all is well when it does not exist and `optional` is set.
 * TERN_E_MODEL beyond 512 MiB. */
int tern_json_open(json_t **out, const char *path, bool optional, tern_error *err);

/* Members of an object; `name` is the file, for messages. TERN_E_MODEL for another type and outside
 * of the range. json_text: NULL when absent. */
int tern_json_int(int64_t *out, const json_t *object, const char *key, int64_t fallback,
                  int64_t min, int64_t max, const char *name, tern_error *err);
int tern_json_float(float *out, const json_t *object, const char *key, float fallback,
                    const char *name, tern_error *err);
int tern_json_bool(bool *out, const json_t *object, const char *key, bool fallback,
                   const char *name, tern_error *err);
int tern_json_text(const char **out, const json_t *object, const char *key, const char *name,
                   tern_error *err);

/* The member when it is there and no null, else NULL. */
json_t *tern_json_member(const json_t *object, const char *key);

#endif
