/* fuzz_schema.c - any bytes as a JSON schema and, behind a zero byte, as what is drawn through it:
 * bytes that are refused are passed over. What comes to its end is JSON. */
#include <jansson.h>

#include "fuzz.h"
#include "serve/schema.h"

static void draw(const schema *s, const uint8_t *data, size_t n)
{
    static char text[4096];
    size_t length = 0;
    json_machine m;
    tern_machine_start(&m);
    for (size_t i = 0; i < n && m.depth != 0 && length < sizeof text; i++) {
        json_machine copy = m;
        if (!tern_machine_step(&copy, s, data[i])) continue;
        m = copy;
        text[length++] = (char)data[i];
    }
    if (m.depth != 0) return;
    json_error_t why;
    json_t *value = json_loadb(text, length, JSON_DECODE_ANY | JSON_ALLOW_NUL, &why);
    /* jansson takes U+0000 in texts, but not in the names of members, where JSON has it, too. */
    if (!value && json_error_code(&why) != json_error_null_byte_in_key) abort();
    json_decref(value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const uint8_t *end = n ? memchr(data, 0, n) : NULL;
    const size_t length = end ? (size_t)(end - data) : n;
    json_t *value = json_loadb((const char *)data, length, JSON_REJECT_DUPLICATES, NULL);
    schema *s = NULL;
    api_error error = {0};
    if (value && tern_schema_create(&s, value, &error) == 0)
        draw(s, data + length, n - length);
    else if (value && (error.http != 400 || !error.message[0]))
        abort();
    tern_schema_free(s);
    json_decref(value);
    return 0;
}
