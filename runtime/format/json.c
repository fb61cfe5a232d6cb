/* json.c - see json.h. */
#include "format/json.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/files.h"
#include "base/text.h"

#define MAX_FILE_BYTES ((size_t)512 << 20)

int tern_json_parse(json_t **out, const char *text, size_t bytes, const char *name, tern_error *err)
{
    json_error_t why;
    const size_t flags = JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL;
    json_t *json = json_loadb(text, bytes, flags, &why);
    /* jansson finds words for everything but a failed allocation. */
    if (!json && (json_error_code(&why) == json_error_out_of_memory || !why.text[0]))
        return tern_fail(err, TERN_E_FIT, "no memory to read '%.140s': free some", name);
    if (!json)
        return tern_fail(err, TERN_E_MODEL, "'%.140s' is no JSON (line %d: %s): get the file again",
                         name, why.line, TERN_QUOTED(why.text, strlen(why.text)));
    if (!json_is_object(json)) {
        json_decref(json);
        return tern_fail(err, TERN_E_MODEL, "'%.140s' is no JSON object: get the file again", name);
    }
    *out = json;
    return TERN_OK;
}

int tern_json_open(json_t **out, const char *path, bool optional, tern_error *err)
{
    if (optional && access(path, F_OK) != 0 && errno == ENOENT) {
        *out = NULL;
        return TERN_OK;
    }
    tern_file file;
    int status = tern_file_map(&file, path, err);
    if (status != TERN_OK) {
        if (err) err->status = TERN_E_MODEL;
        return TERN_E_MODEL;
    }
    if (file.bytes > MAX_FILE_BYTES)
        status = tern_fail(err, TERN_E_MODEL,
                           "'%.140s' has %zu bytes, more than %zu: it is no"
                           " description of a model",
                           path, file.bytes, MAX_FILE_BYTES);
    if (status == TERN_OK)
        status =
            tern_json_parse(out, file.data ? (const char *)file.data : "", file.bytes, path, err);
    tern_file_unmap(&file);
    return status;
}

json_t *tern_json_member(const json_t *object, const char *key)
{
    json_t *member = json_object_get(object, key);
    return json_is_null(member) ? NULL : member;
}

static int wrong_type(const char *key, const char *wanted, const char *name, tern_error *err)
{
    return tern_fail(err, TERN_E_MODEL, "'%.140s': \"%s\" is not %s: get files made for this model",
                     name, key, wanted);
}

int tern_json_int(int64_t *out, const json_t *object, const char *key, int64_t fallback,
                  int64_t min, int64_t max, const char *name, tern_error *err)
{
    const json_t *member = tern_json_member(object, key);
    if (member && !json_is_integer(member)) return wrong_type(key, "a whole number", name, err);
    const int64_t value = member ? (int64_t)json_integer_value(member) : fallback;
    if (member && (value < min || value > max))
        return tern_fail(err, TERN_E_MODEL,
                         "'%.140s': \"%s\" is %lld, outside %lld to %lld: get files made for this"
                         " model",
                         name, key, (long long)value, (long long)min, (long long)max);
    *out = value;
    return TERN_OK;
}

int tern_json_float(float *out, const json_t *object, const char *key, float fallback,
                    const char *name, tern_error *err)
{
    const json_t *member = tern_json_member(object, key);
    if (member && !json_is_number(member)) return wrong_type(key, "a number", name, err);
    const float value = member ? (float)json_number_value(member) : fallback;
    if (!isfinite(value)) return wrong_type(key, "a number of usual size", name, err);
    *out = value;
    return TERN_OK;
}

int tern_json_bool(bool *out, const json_t *object, const char *key, bool fallback,
                   const char *name, tern_error *err)
{
    const json_t *member = tern_json_member(object, key);
    if (member && !json_is_boolean(member)) return wrong_type(key, "true or false", name, err);
    *out = member ? json_is_true(member) : fallback;
    return TERN_OK;
}

int tern_json_text(const char **out, const json_t *object, const char *key, const char *name,
                   tern_error *err)
{
    const json_t *member = tern_json_member(object, key);
    if (member && !json_is_string(member)) return wrong_type(key, "a text", name, err);
    *out = json_string_value(member);
    return TERN_OK;
}
