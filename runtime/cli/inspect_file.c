/* inspect_file.c - the contents of a GGUF file as JSON, whether or not it holds a model of ours. */
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "cli/inspect.h"

#define TEXT_SHOWN 60 /* bytes of a long text */

const char *cli_type_name(uint32_t type)
{
    static const struct {
        uint32_t number;
        const char *name;
    } types[] = {
        {0, "F32"},    {1, "F16"},        {2, "Q4_0"},     {3, "Q4_1"},     {6, "Q5_0"},
        {7, "Q5_1"},   {8, "Q8_0"},       {10, "Q2_K"},    {11, "Q3_K"},    {12, "Q4_K"},
        {13, "Q5_K"},  {14, "Q6_K"},      {16, "IQ2_XXS"}, {17, "IQ2_XS"},  {18, "IQ3_XXS"},
        {19, "IQ1_S"}, {20, "IQ4_NL"},    {21, "IQ3_S"},   {22, "IQ2_S"},   {23, "IQ4_XS"},
        {24, "I8"},    {25, "I16"},       {26, "I32"},     {27, "I64"},     {28, "F64"},
        {29, "IQ1_M"}, {30, "BF16"},      {34, "TQ1_0"},   {35, "TQ2_0"},   {36, "I2_S"},
        {38, "TL1"},   {39, "TL2/MXFP4"}, {134, "IQ1_BN"}, {135, "IQ2_BN"},
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].number == type) return types[i].name;
    return "?";
}

/* Bytes as valid UTF-8, broken ones as \xHH. */
static json_t *text_json(tern_text text)
{
    json_t *whole = json_stringn(text.data, text.bytes);
    return whole ? whole : json_string(TERN_QUOTED(text.data, text.bytes));
}

static json_t *long_text_json(tern_text text)
{
    if (text.bytes <= TEXT_SHOWN) return text_json(text);
    size_t n = TEXT_SHOWN; /* not inside of a character */
    while (n > 0 && ((unsigned char)text.data[n] & 0xc0) == 0x80) n--;
    json_t *shown = text_json((tern_text){text.data, n});
    json_t *object = json_pack("{s:s+, s:I}", "text", json_string_value(shown), "...", "bytes",
                               (json_int_t)text.bytes);
    json_decref(shown);
    return object;
}

static json_t *number_json(const tern_gguf_value *v)
{
    union {
        uint64_t u64;
        int64_t i64;
        float f32;
        double f64;
    } bits = {0};
    memcpy(&bits, v->data, tern_gguf_type_bytes(v->type));
    switch (v->type) {
    case TERN_GGUF_F32: return json_real((double)bits.f32);
    case TERN_GGUF_F64: return json_real(bits.f64);
    case TERN_GGUF_BOOL: return json_boolean(bits.u64);
    case TERN_GGUF_I8: return json_integer((int8_t)bits.u64);
    case TERN_GGUF_I16: return json_integer((int16_t)bits.u64);
    case TERN_GGUF_I32: return json_integer((int32_t)bits.u64);
    default: return json_integer((json_int_t)bits.i64);
    }
}

static json_t *value_json(const tern_gguf_value *v)
{
    if (v->is_array)
        return json_pack("{s:s, s:I}", "array", tern_gguf_type_name(v->type), "length",
                         (json_int_t)v->count);
    if (v->type == TERN_GGUF_STRING) {
        const uint8_t *at = v->data;
        return long_text_json(tern_gguf_next_text(&at));
    }
    json_t *number = number_json(v);
    return number ? number : json_string("not finite");
}

json_t *cli_inspect_keys(const tern_gguf *gguf)
{
    json_t *object = json_object();
    for (size_t i = 0; i < gguf->n_values; i++) {
        const tern_gguf_value *v = &gguf->values[i];
        json_object_set_new(object, TERN_QUOTED(v->key.data, v->key.bytes), value_json(v));
    }
    return object;
}

json_t *cli_inspect_tensors(const tern_gguf *gguf)
{
    json_t *list = json_array();
    for (size_t i = 0; i < gguf->n_tensors; i++) {
        const tern_gguf_tensor *t = &gguf->tensors[i];
        json_t *shape = json_array();
        for (int d = 0; d < t->n_dims; d++)
            json_array_append_new(shape, json_integer((json_int_t)t->ne[d]));
        json_array_append_new(list, json_pack("{s:s, s:s, s:i, s:o, s:I, s:I}", "name",
                                              TERN_QUOTED(t->name.data, t->name.bytes), "type",
                                              cli_type_name(t->type), "type_number", (int)t->type,
                                              "shape", shape, "offset", (json_int_t)t->offset,
                                              "bytes", (json_int_t)t->bytes));
    }
    return list;
}

json_t *cli_inspect_types(const tern_gguf *gguf)
{
    json_t *list = json_array();
    for (size_t i = 0; i < gguf->n_tensors; i++) {
        const uint32_t type = gguf->tensors[i].type;
        size_t first = 0, tensors = 0, bytes = 0;
        while (gguf->tensors[first].type != type) first++;
        if (first < i) continue; /* counted with the first of its kind */
        for (size_t j = i; j < gguf->n_tensors; j++)
            if (gguf->tensors[j].type == type) {
                tensors++;
                bytes += gguf->tensors[j].bytes;
            }
        json_array_append_new(list, json_pack("{s:s, s:i, s:I, s:I}", "type", cli_type_name(type),
                                              "type_number", (int)type, "tensors",
                                              (json_int_t)tensors, "bytes", (json_int_t)bytes));
    }
    return list;
}
