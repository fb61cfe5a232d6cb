/* gguf_values.c - looks into a checked description: keys and tensors by name, values by type.
 * Everything here relies on gguf.c having proven that it lies inside the file. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "base/text.h"
#include "format/gguf.h"

static const struct {
    const char *name;
    size_t bytes; /* 0: strings and arrays have no fixed size */
} value_types[] = {
    [TERN_GGUF_U8] = {"u8", 1},         [TERN_GGUF_I8] = {"i8", 1},
    [TERN_GGUF_U16] = {"u16", 2},       [TERN_GGUF_I16] = {"i16", 2},
    [TERN_GGUF_U32] = {"u32", 4},       [TERN_GGUF_I32] = {"i32", 4},
    [TERN_GGUF_F32] = {"f32", 4},       [TERN_GGUF_BOOL] = {"bool", 1},
    [TERN_GGUF_STRING] = {"string", 0}, [TERN_GGUF_ARRAY] = {"array", 0},
    [TERN_GGUF_U64] = {"u64", 8},       [TERN_GGUF_I64] = {"i64", 8},
    [TERN_GGUF_F64] = {"f64", 8},
};

const char *tern_gguf_type_name(tern_gguf_type type)
{
    return value_types[type].name;
}

size_t tern_gguf_type_bytes(tern_gguf_type type)
{
    return value_types[type].bytes;
}

bool tern_text_equals(tern_text text, const char *other)
{
    return text.bytes == strlen(other) && memcmp(text.data, other, text.bytes) == 0;
}

const tern_gguf_value *tern_gguf_find(const tern_gguf *gguf, const char *key)
{
    for (size_t i = 0; i < gguf->n_values; i++)
        if (tern_text_equals(gguf->values[i].key, key)) return &gguf->values[i];
    return NULL;
}

const tern_gguf_tensor *tern_gguf_find_tensor(const tern_gguf *gguf, const char *name)
{
    for (size_t i = 0; i < gguf->n_tensors; i++)
        if (tern_text_equals(gguf->tensors[i].name, name)) return &gguf->tensors[i];
    return NULL;
}

static int wrong_type(const tern_gguf *gguf, const tern_gguf_value *value, const char *wanted,
                      tern_error *err)
{
    return tern_fail(err, TERN_E_MODEL,
                     "'%.140s': key '%s' is %s%s instead of %s: get a file made for this model",
                     gguf->name, TERN_QUOTED(value->key.data, value->key.bytes),
                     value->is_array ? "an array of " : "a ", value_types[value->type].name,
                     wanted);
}

/* A scalar integer of any width; false for anything else. *above: larger than INT64_MAX. */
static bool integer_of(int64_t *out, bool *above, const tern_gguf_value *value)
{
    uint64_t bits = 0;
    *above = false;
    if (value->is_array) return false;
    if (value->type != TERN_GGUF_STRING) memcpy(&bits, value->data, value_types[value->type].bytes);
    switch (value->type) {
    case TERN_GGUF_U8:
    case TERN_GGUF_U16:
    case TERN_GGUF_U32: *out = (int64_t)bits; return true;
    case TERN_GGUF_U64:
        *above = bits > INT64_MAX;
        *out = *above ? INT64_MAX : (int64_t)bits;
        return true;
    case TERN_GGUF_I8: *out = (int8_t)bits; return true;
    case TERN_GGUF_I16: *out = (int16_t)bits; return true;
    case TERN_GGUF_I32: *out = (int32_t)bits; return true;
    case TERN_GGUF_I64: *out = (int64_t)bits; return true;
    default: return false;
    }
}

int tern_gguf_i64(int64_t *out, const tern_gguf *gguf, const char *key, int64_t fallback,
                  int64_t min, int64_t max, tern_error *err)
{
    const tern_gguf_value *value = tern_gguf_find(gguf, key);
    int64_t number = fallback;
    bool above = false;
    if (value) {
        if (!integer_of(&number, &above, value)) return wrong_type(gguf, value, "an integer", err);
        if (above || number < min || number > max)
            return tern_fail(err, TERN_E_MODEL,
                             "'%.140s': key '%s' is %s%lld, outside %lld to %lld: get a file made "
                             "for this model",
                             gguf->name, key, above ? "more than " : "", (long long)number,
                             (long long)min, (long long)max);
    }
    *out = number;
    return TERN_OK;
}

int tern_gguf_f32(float *out, const tern_gguf *gguf, const char *key, float fallback,
                  tern_error *err)
{
    const tern_gguf_value *value = tern_gguf_find(gguf, key);
    float number = fallback;
    if (value) {
        if (value->is_array || (value->type != TERN_GGUF_F32 && value->type != TERN_GGUF_F64))
            return wrong_type(gguf, value, "a floating-point number", err);
        if (value->type == TERN_GGUF_F64) {
            double wide;
            memcpy(&wide, value->data, 8);
            number = (float)wide;
        } else {
            memcpy(&number, value->data, 4);
        }
        if (!isfinite(number))
            return tern_fail(
                err, TERN_E_MODEL,
                "'%.140s': key '%s' is not a finite number: get a file made for this model",
                gguf->name, key);
    }
    *out = number;
    return TERN_OK;
}

int tern_gguf_bool(bool *out, const tern_gguf *gguf, const char *key, bool fallback,
                   tern_error *err)
{
    const tern_gguf_value *value = tern_gguf_find(gguf, key);
    if (value && (value->is_array || value->type != TERN_GGUF_BOOL))
        return wrong_type(gguf, value, "a bool", err);
    *out = value ? value->data[0] == 1 : fallback;
    return TERN_OK;
}

int tern_gguf_text(tern_text *out, const tern_gguf *gguf, const char *key, tern_error *err)
{
    const tern_gguf_value *value = tern_gguf_find(gguf, key);
    if (value && (value->is_array || value->type != TERN_GGUF_STRING))
        return wrong_type(gguf, value, "a string", err);
    *out = (tern_text){0};
    if (value) {
        const uint8_t *at = value->data;
        *out = tern_gguf_next_text(&at);
    }
    return TERN_OK;
}

int tern_gguf_array(const tern_gguf_value **out, const tern_gguf *gguf, const char *key,
                    tern_gguf_type type, tern_error *err)
{
    const tern_gguf_value *value = tern_gguf_find(gguf, key);
    if (value && (!value->is_array || value->type != type)) {
        char wanted[32];
        snprintf(wanted, sizeof wanted, "an array of %s", value_types[type].name);
        return wrong_type(gguf, value, wanted, err);
    }
    *out = value;
    return TERN_OK;
}

tern_text tern_gguf_next_text(const uint8_t **at)
{
    uint64_t bytes;
    memcpy(&bytes, *at, 8);
    const tern_text text = {.data = (const char *)(*at + 8), .bytes = (size_t)bytes};
    *at += 8 + bytes;
    return text;
}

uint32_t tern_gguf_u32_at(const tern_gguf_value *value, uint64_t i)
{
    uint32_t element;
    memcpy(&element, value->data + i * 4, 4);
    return element;
}
