/* test_serve_schema.c - answers under a schema: which texts the machine takes, which schemas are
 * refused, that whatever is drawn through the mask is JSON of the schema, damaged schemas. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <regex.h>

#include "base/rng.h"
#include "http_client.h"
#include "serve/schema.h"
#include "serve/token_list.h"

static schema *compile(const char *text)
{
    schema *s = NULL;
    api_error error;
    json_t *value = json_loads(text, 0, NULL);
    assert_non_null(value);
    if (tern_schema_create(&s, value, &error)) fail_msg("%s: %s", text, error.message);
    json_decref(value);
    return s;
}

/* 2: taken and complete, 1: may go on, 0: refused. */
static int run(const schema *s, const char *text)
{
    json_machine m;
    tern_machine_start(&m);
    for (; *text; text++)
        if (!tern_machine_step(&m, s, (unsigned char)*text)) return 0;
    return m.depth == 0 ? 2 : 1;
}

#define PERSON                                                                                     \
    "{\"type\": \"object\", \"properties\": {\"name\": {\"type\": \"string\", \"maxLength\": 5}, " \
    "\"age\": {\"type\": [\"integer\", \"null\"]}, \"tags\": {\"type\": \"array\", \"items\": "    \
    "{\"enum\": [\"a\", \"ab\", 1, 12]}, \"minItems\": 1, \"maxItems\": 2}}, "                     \
    "\"required\": [\"name\", \"tags\"]}"
#define TREE                                                                                       \
    "{\"$ref\": \"#/$defs/t\", \"$defs\": {\"t\": {\"type\": \"object\", \"properties\": {\"v\": " \
    "{\"type\": \"number\"}, \"l\": {\"anyOf\": [{\"$ref\": \"#/$defs/t\"}, {\"type\": "           \
    "\"null\"}]}}, "                                                                               \
    "\"required\": [\"v\", \"l\"]}}}"

#define MEASURES                                                                               \
    "{\"type\": \"object\", \"properties\": {\"n\": {\"type\": \"integer\", \"minimum\": 10, " \
    "\"maximum\": 250}, \"x\": {\"type\": \"number\", \"exclusiveMinimum\": -0.5, "            \
    "\"maximum\": 1.25}, \"s\": {\"type\": \"string\", \"pattern\": "                          \
    "\"^[a-c]{2}(-[0-9]+|[\\\\\\\\\\\"])?$\"}}, \"required\": [\"n\", \"x\", \"s\"]}"
#define BOTH                                                                                      \
    "{\"allOf\": [{\"$ref\": \"#/$defs/a\"}, {\"properties\": {\"n\": {\"maximum\": 7}, "         \
    "\"m\": {\"const\": 1}}, \"required\": [\"m\"]}], \"$defs\": {\"a\": {\"type\": \"object\", " \
    "\"properties\": {\"n\": {\"type\": \"integer\", \"minimum\": 5}}, \"required\": [\"n\"]}}}"

static const struct {
    const char *schema, *text;
    int result;
} machine_cases[] = {
    {PERSON, "{\"name\": \"Ann\", \"age\": 7, \"tags\": [\"a\"]}", 2},
    {PERSON, "{\"name\":\"Ann\",\"tags\":[12,1]}", 2},
    {PERSON, "{\"name\": \"Ann\", \"age\": null, \"tags\": [\"ab\", \"a\"]}", 2},
    {PERSON, "{\"name\": \"Ann\"}", 0},
    {PERSON, "{\"name\": \"Annett", 0},
    {PERSON, "{\"name\": \"\xc3\xa9\\u00e9\\n", 1},
    {PERSON, "{\"name\": \"\xff", 0},
    {PERSON, "{\"name\": \"\\ud8", 0},
    {PERSON, "{\"age\"", 0},
    {PERSON, "{\"name\": \"A\", \"age\": 7.", 0},
    {PERSON, "{\"name\": \"A\", \"age\": 07", 0},
    {PERSON, "{\"name\": \"A\", \"tags\": []", 0},
    {PERSON, "{\"name\": \"A\", \"tags\": [1, 1, ", 0},
    {PERSON, "{\"name\": \"A\", \"tags\": [\"b", 0},
    {PERSON, "{\"name\": \"A\", \"tags\": [1]}x", 0},
    {PERSON, "{  ", 0},
    {PERSON, "[", 0},
    {TREE, "{\"v\": -1.5e-3, \"l\": {\"v\": 0, \"l\": null}}", 2},
    {TREE, "{\"v\": -1.5e-3, \"l\": {\"v\": 0, \"l\": 1", 0},
    {TREE, "{\"v\": .5", 0},
    {"{\"type\": \"object\"}", "{\"x\": [1, {\"y\": true}, null, \"\"], \"z\": {}}", 2},
    {"{\"type\": \"object\", \"additionalProperties\": {\"type\": \"boolean\"}}", "{\"x\": true}",
     2},
    {"{\"type\": \"object\", \"additionalProperties\": {\"type\": \"boolean\"}}", "{\"x\": 1", 0},
    {"{\"type\": \"object\", \"additionalProperties\": false}", "{}", 2},
    {"{\"type\": \"object\", \"additionalProperties\": false}", "{\"", 0},
    {MEASURES, "{\"n\": 250, \"x\": -0.499999, \"s\": \"ab-12\"}", 2},
    {MEASURES, "{\"n\": 10, \"x\": 1.25, \"s\": \"cc\\\"\"}", 2},
    {MEASURES, "{\"n\": 10, \"x\": 1, \"s\": \"cc\\\\\"}", 2},
    {MEASURES, "{\"n\": 9,", 0},
    {MEASURES, "{\"n\": 251", 0},
    {MEASURES, "{\"n\": -", 0},
    {MEASURES, "{\"n\": 10, \"x\": -0.5,", 0},
    {MEASURES, "{\"n\": 10, \"x\": 1.26", 0},
    {MEASURES, "{\"n\": 10, \"x\": 1e", 0},
    {MEASURES, "{\"n\": 10, \"x\": 1, \"s\": \"ad", 0},
    {MEASURES, "{\"n\": 10, \"x\": 1, \"s\": \"a\\\\", 0},
    {BOTH, "{\"n\": 7, \"m\": 1}", 2},
    {BOTH, "{\"n\": 8", 0},
    {BOTH, "{\"n\": 4", 0},
    {BOTH, "{\"n\": 5}", 0},
    {BOTH, "{\"n\": 5, \"m\": 2", 0},
    {"{\"allOf\": [{\"type\": [\"number\", \"string\"]}, {\"type\": \"integer\"}]}", "1.", 0},
    {"{\"type\": \"string\", \"enum\": [\"a\", 1]}", "1", 0},
    {"{\"type\": [\"string\", \"null\"], \"anyOf\": [{\"type\": \"string\", \"maxLength\": 1}, "
     "{\"type\": \"null\"}]}",
     "\"ab", 0},
    {"{\"maxLength\": 1}", "\"ab", 0},
    {"{\"maximum\": 1}", "2", 0},
};

static void test_machine(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof machine_cases / sizeof machine_cases[0]; i++) {
        schema *s = compile(machine_cases[i].schema);
        if (run(s, machine_cases[i].text) != machine_cases[i].result)
            fail_msg("%s: %d", machine_cases[i].text, run(s, machine_cases[i].text));
        tern_schema_free(s);
    }
}

static void test_refused_schemas(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"{\"type\": \"strin\"}", "strin"},
        {"{\"type\": \"string\", \"pattern\": \"(?=a)\"}", "pattern"},
        {"{\"type\": \"string\", \"pattern\": \"^a|b$\"}", "pattern"},
        {"{\"type\": \"string\", \"pattern\": \"a{70}\"}", "63"},
        {"{\"type\": \"string\", \"pattern\": \"(((()){99}){99}){99}\"}", "too many"},
        {"{\"type\": \"string\", \"pattern\": \"a\", \"maxLength\": 3}", "pattern"},
        {"{\"type\": \"integer\", \"multipleOf\": 3}", "multipleOf"},
        {"{\"type\": \"integer\", \"minimum\": 3, \"exclusiveMaximum\": 4, \"maximum\": 3.5, "
         "\"exclusiveMinimum\": 3}",
         "maximum"},
        {"{\"type\": \"number\", \"minimum\": 1e12}", "minimum"},
        {"{\"type\": \"number\", \"exclusiveMaximum\": true}", "exclusiveMaximum"},
        {"{\"type\": 7}", "type"},
        {"{\"type\": \"string\", \"minLength\": 3, \"maxLength\": 2}", "minLength"},
        {"{\"type\": \"array\", \"minItems\": 3, \"maxItems\": 2}", "minItems"},
        {"{\"type\": \"object\", \"additionalProperties\": 1}", "additionalProperties"},
        {"{\"type\": \"object\", \"required\": \"x\"}", "required"},
        {"{\"enum\": [1, 2], \"minimum\": 2}", "minimum"},
        {"{\"enum\": [1, 2], \"type\": \"string\"}", "enum"},
        {"{\"anyOf\": [\"string\"]}", "whole"},
        {"{\"allOf\": []}", "allOf"},
        {"{\"allOf\": [{\"$ref\": \"#\"}]}", "allOf"},
        {"{\"allOf\": [{\"pattern\": \"^a\"}, {\"pattern\": \"b$\"}]}", "pattern"},
        {"{\"allOf\": [{\"type\": \"string\"}, {\"type\": \"null\"}]}", "type"},
        {"{\"allOf\": [{\"additionalProperties\": false}, {\"properties\": {\"a\": {}}}]}",
         "additionalProperties"},
        {"{\"allOf\": [{\"$ref\": \"#/$defs/a\"}, {\"$ref\": \"#/$defs/b\"}], \"$defs\": {\"a\": "
         "{\"properties\": {\"l\": {\"$ref\": \"#/$defs/a\"}}}, \"b\": {\"properties\": {\"l\": "
         "{\"$ref\": \"#/$defs/b\"}}}}}",
         "deep"},
        {"{\"anyOf\": [{\"type\": \"string\"}, {\"enum\": [\"a\"]}]}", "anyOf"},
        {"{\"anyOf\": []}", "anyOf"},
        {"{\"$ref\": \"#/nowhere\"}", "#/nowhere"},
        {"{\"$ref\": \"http://x/y\"}", "http://x/y"},
        {"{\"$ref\": \"#\"}", "#"},
        {"{\"$ref\": \"#/a\", \"$defs\": {}}", "#/a"},
        {"{\"$ref\": \"#/$defs/a\", \"$defs\": {\"a\": {\"$ref\": \"#/$defs/b\"}, \"b\": "
         "{\"anyOf\": "
         "[{\"$ref\": \"#/$defs/a\"}]}}}",
         "itself"},
        {"{\"type\": \"object\", \"required\": [\"x\"]}", "required"},
        {"{\"type\": \"array\", \"minItems\": -1}", "minItems"},
        {"{\"type\": \"array\", \"items\": 7}", "whole"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        schema *s = NULL;
        api_error error = {0};
        json_t *value = json_loads(cases[i][0], 0, NULL);
        assert_non_null(value);
        assert_int_equal(tern_schema_create(&s, value, &error), -1);
        assert_int_equal(error.http, 400);
        if (!strstr(error.message, cases[i][1])) fail_msg("%s: %s", cases[i][0], error.message);
        json_decref(value);
    }
}

/* All texts of an alphabet up to a length, in turn; 0 after the last. */
static int next_text(char *text, const char *alphabet, size_t longest)
{
    for (size_t i = 0; i < longest; i++) {
        const char *at = text[i] ? strchr(alphabet, text[i]) + 1 : alphabet;
        text[i] = *at ? *at : alphabet[0];
        if (*at) return 1;
    }
    return 0;
}

/* A schema's answer for an item of a list that holds it alone. */
static int run_item(const schema *s, const char *text)
{
    char list[32];
    snprintf(list, sizeof list, "[%s]", text);
    return run(s, list) == 2;
}

/* Numbers with bounds against what the C library reads. */
static void test_bounds(void **state)
{
    (void)state;
    static const struct {
        double low, high;
        int exclusive, whole;
    } cases[] = {{-12, 105, 0, 1}, {3, 3, 0, 1},      {-7, -2, 1, 1},     {99, 1000, 1, 1},
                 {0.3, 0.3, 0, 0}, {-1.5, 0.1, 1, 0}, {0.05, 12.5, 0, 0}, {-20, -0.25, 0, 0}};
    int n_taken = 0;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *const kind = cases[i].exclusive ? "exclusiveM" : "m";
        char text[256], number[8] = "";
        snprintf(text, sizeof text,
                 "{\"type\": \"array\", \"items\": {\"type\": \"%s\", \"%sinimum\": %.17g, "
                 "\"%saximum\": %.17g}}",
                 cases[i].whole ? "integer" : "number", kind, cases[i].low, kind, cases[i].high);
        schema *s = compile(text);
        while (next_text(number, "-.012359", 6)) {
            json_t *value = json_loads(number, JSON_DECODE_ANY, NULL);
            const double x = json_number_value(value);
            const int inside = cases[i].exclusive ? x > cases[i].low && x < cases[i].high
                                                  : x >= cases[i].low && x <= cases[i].high;
            const int valid = (cases[i].whole ? json_is_integer(value) : json_is_number(value)) &&
                              inside && !(number[0] == '-' && cases[i].low >= 0);
            if (run_item(s, number) != valid) fail_msg("%s: %s is %d", text, number, !valid);
            n_taken += valid;
            json_decref(value);
        }
        tern_schema_free(s);
    }
    assert_true(n_taken > 1000);
}

/* Patterns against the C library's. */
static void test_patterns(void **state)
{
    (void)state;
    static const char *const patterns[] = {
        "^a$",          "a",          "^(a|b)*1$",  "^[ab]{2,3}-?$",    "^[^a]+a",   "(ab|1){2}$",
        "^a{2,}b{0,1}", "^(a|b1?)+$", "^.1.$",      "^[a-b1-]*$",       "^(a*b*)*$", "a|b-",
        "^$",           "",           "^(a?){3}b$", "^((a|b){1,2}1)*$", "^a{0}b$",   "^(|a)b$"};
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
        regex_t other;
        char text[256], word[8] = "", quoted[16];
        int n_taken = 0;
        snprintf(text, sizeof text,
                 "{\"type\": \"array\", \"items\": {\"type\": \"string\", \"pattern\": \"%s\"}}",
                 patterns[i]);
        schema *s = compile(text);
        assert_int_equal(regcomp(&other, patterns[i], REG_EXTENDED | REG_NOSUB), 0);
        while (next_text(word, "ab1-", 6)) {
            snprintf(quoted, sizeof quoted, "\"%s\"", word);
            const int valid = regexec(&other, word, 0, NULL, 0) == 0;
            if (run_item(s, quoted) != valid) fail_msg("'%s': %s is %d", text, word, !valid);
            n_taken += valid;
        }
        if (patterns[i][0] && strcmp(patterns[i], "^$") != 0) assert_true(n_taken > 0);
        regfree(&other);
        tern_schema_free(s);
    }
    schema *s = compile("{\"pattern\": \"^\\\\d\\\\w\\\\s\\\\D\\\\.$\"}");
    assert_int_equal(run(s, "\"1_ x.\""), 2);
    assert_int_equal(run(s, "\"1_ 1"), 0);
    assert_int_equal(run(s, "\"1_ xx"), 0);
    tern_schema_free(s);
}

/* The mask against the machine itself, token by token, along a text. */
static void test_mask(void **state)
{
    (void)state;
    tern_model *model;
    assert_int_equal(tern_model_open(&model, NULL, NULL), TERN_OK);
    const tern_tokenizer *tokenizer = tern_model_tokenizer(model);
    const int n_vocab = tern_tokenizer_n_vocab(tokenizer);
    token_list *list = tern_tokens_create(tokenizer);
    uint32_t *mask = malloc(((size_t)n_vocab / 32 + 1) * sizeof *mask);
    schema *s = compile(PERSON);
    json_machine m;
    int n_allowed = 0;
    tern_machine_start(&m);
    for (const char *at = "{\"name\": \"Ann\", \"tags\": [12]}";; at++) {
        memset(mask, 0, ((size_t)n_vocab / 32 + 1) * sizeof *mask);
        tern_tokens_allow(list, &m, s, mask);
        for (int id = 0; id < n_vocab; id++) {
            size_t n, i = 0;
            const char *bytes = tern_tokenizer_bytes(tokenizer, id, &n);
            json_machine copy = m;
            while (i < n && tern_machine_step(&copy, s, (unsigned char)bytes[i])) i++;
            const int taken = n > 0 && i == n && !tern_tokenizer_is_control(tokenizer, id);
            assert_int_equal(mask[id / 32] >> (id % 32) & 1u, taken);
            n_allowed += taken;
        }
        if (!*at) break;
        assert_true(tern_machine_step(&m, s, (unsigned char)*at));
    }
    assert_true(n_allowed > n_vocab);
    assert_int_equal(m.depth, 0);
    tern_schema_free(s);
    free(mask);
    tern_tokens_free(list);
    tern_model_close(model);
}

/* Random bytes that the machine takes, with an end forced by closing: JSON that parses. */
static void test_random_walks(void **state)
{
    (void)state;
    static const char *const schemas[] = {PERSON, TREE, "{\"type\": \"object\"}", MEASURES};
    int n_complete = 0;
    for (uint32_t walk = 0; walk < 800; walk++) {
        schema *s = compile(schemas[walk % 4]);
        json_machine m;
        char text[400];
        size_t n = 0;
        tern_machine_start(&m);
        for (uint32_t tries = 0; m.depth != 0 && n < sizeof text && tries < 60000; tries++) {
            static const char likely[] = "{}[]\"\":,n0ltruefasv1gex\\";
            const uint64_t random = tern_random_u64(81, walk, tries);
            json_machine copy = m;
            const unsigned char byte =
                random % 4 ? (unsigned char)likely[random / 4 % 23] : (unsigned char)(random / 4);
            if (!tern_machine_step(&copy, s, byte)) continue;
            m = copy;
            text[n++] = (char)byte;
        }
        json_t *root = m.depth == 0 ? json_loadb(text, n, 0, NULL) : NULL;
        if (m.depth == 0 && !root) fail_msg("'%.*s' is no JSON", (int)n, text);
        n_complete += root != NULL;
        json_decref(root);
        tern_schema_free(s);
    }
    assert_true(n_complete > 450);
}

static void test_damaged_schemas(void **state)
{
    (void)state;
    static const char *const seeds[] = {PERSON, TREE, MEASURES, BOTH};
    for (uint32_t i = 0; i < 8000; i++) {
        char text[600];
        snprintf(text, sizeof text, "%s", seeds[i % 4]);
        const size_t n = strlen(text);
        for (uint32_t j = 0; j <= i % 3; j++) {
            const size_t from = tern_random_u64(82, i, 3 * j) % n,
                         to = tern_random_u64(82, i, 3 * j + 1) % n;
            text[to] = text[from];
        }
        json_t *value = json_loads(text, 0, NULL);
        schema *s = NULL;
        api_error error;
        if (value && tern_schema_create(&s, value, &error) == 0) {
            run(s, "{\"name\": \"A\", \"tags\": [1]}");
            tern_schema_free(s);
        }
        json_decref(value);
    }
}

static test_server server;

/* Whatever the seed, an answer that has not been cut is an object of the schema. */
static void test_answers(void **state)
{
    (void)state;
    const tern_server_options options = server_defaults();
    assert_int_equal(server_open(&server, &options, 4), TERN_OK);
    int n_whole = 0;
    for (int seed = 0; seed < 12; seed++) {
        char body[1024];
        snprintf(body, sizeof body,
                 "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}], \"seed\": %d, "
                 "\"max_tokens\": 200, \"response_format\": {\"type\": \"json_schema\", "
                 "\"json_schema\": {\"name\": \"p\", \"strict\": true, \"schema\": " PERSON "}}}",
                 seed);
        response r = client_post(&server, "/v1/chat/completions", body);
        assert_int_equal(r.http, 200);
        json_t *root = json_loads(r.body, 0, NULL);
        json_t *choice = json_array_get(json_object_get(root, "choices"), 0);
        const char *text =
            json_string_value(json_object_get(json_object_get(choice, "message"), "content"));
        if (strcmp(json_string_value(json_object_get(choice, "finish_reason")), "stop") == 0) {
            json_t *person = json_loads(text, 0, NULL);
            if (!json_is_string(json_object_get(person, "name")) ||
                !json_is_array(json_object_get(person, "tags")))
                fail_msg("'%s' is no person", text);
            n_whole++;
            json_decref(person);
        }
        json_decref(root);
        free(r.all);
    }
    assert_true(n_whole >= 10);
    response r = client_post(&server, "/v1/completions",
                             "{\"prompt\": \"a\", \"response_format\": {\"type\": \"xml\"}}");
    assert_int_equal(r.http, 400);
    assert_non_null(strstr(r.body, "\"response_format\""));
    free(r.all);
    server_close(&server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_machine),
        cmocka_unit_test(test_refused_schemas),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_patterns),
        cmocka_unit_test(test_mask),
        cmocka_unit_test(test_random_walks),
        cmocka_unit_test(test_damaged_schemas),
        cmocka_unit_test(test_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
