/* test_gguf.c - a valid file is described exactly; everything else ends in one sentence. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "gguf_builder.h"

/* A file with every value type, three known tensors and one of an unknown type. */
static gguf_builder valid_file(uint32_t version)
{
    gguf_builder b = {0};
    put_header(&b, version, 4, 16);
    put_key_text(&b, "general.architecture", "bitnet-b1.58");
    put_key_u32(&b, "general.alignment", 64);
    put_key(&b, "u8", TERN_GGUF_U8), put_bytes(&b, &(uint8_t){200}, 1);
    put_key(&b, "i8", TERN_GGUF_I8), put_bytes(&b, &(int8_t){-3}, 1);
    put_key(&b, "u16", TERN_GGUF_U16), put_bytes(&b, &(uint16_t){60000}, 2);
    put_key(&b, "i16", TERN_GGUF_I16), put_bytes(&b, &(int16_t){-300}, 2);
    put_key(&b, "i32", TERN_GGUF_I32), put_bytes(&b, &(int32_t){-70000}, 4);
    put_key(&b, "f32", TERN_GGUF_F32), put_bytes(&b, &(float){1.5f}, 4);
    put_key_bool(&b, "yes", 1);
    put_key(&b, "u64", TERN_GGUF_U64), put_u64(&b, UINT64_MAX);
    put_key(&b, "i64", TERN_GGUF_I64), put_u64(&b, (uint64_t)INT64_MIN);
    put_key(&b, "f64", TERN_GGUF_F64), put_bytes(&b, &(double){0.25}, 8);
    put_key_array(&b, "numbers", TERN_GGUF_I32, 3);
    put_u32(&b, 7), put_u32(&b, 8), put_u32(&b, (uint32_t)-9);
    put_key_array(&b, "words", TERN_GGUF_STRING, 2);
    put_text(&b, "one"), put_text(&b, "");
    put_key_array(&b, "nothing", TERN_GGUF_F32, 0);
    put_key_text(&b, "empty", "");
    put_tensor(&b, "ternary", 2, (uint64_t[]){64, 8}, TERN_GGML_I2_S, 128); /* 160 bytes */
    put_tensor(&b, "norm", 1, (uint64_t[]){5}, TERN_GGML_F32, 0);
    put_tensor(&b, "table", 2, (uint64_t[]){6, 3}, TERN_GGML_F16, 64);
    put_tensor(&b, "odd", 4, (uint64_t[]){1, 2, 1, 2}, 1234, 320);
    put_data(&b, 64, 320 + 11);
    return b;
}

static tern_gguf *parse_ok(const gguf_builder *b)
{
    tern_gguf *gguf = NULL;
    tern_error err = {0};
    if (tern_gguf_parse(&gguf, b->bytes, b->n, "test.gguf", &err) != TERN_OK)
        fail_msg("refused: %s", err.text);
    return gguf;
}

/* Parses a copy that ends with its allocation, so that AddressSanitizer sees every overread. */
static int parse_copy(const uint8_t *bytes, size_t n, tern_error *err)
{
    uint8_t *copy = malloc(n ? n : 1);
    assert_non_null(copy);
    if (n) memcpy(copy, bytes, n);
    tern_gguf *gguf = NULL;
    const int status = tern_gguf_parse(&gguf, copy, n, "test.gguf", err);
    if (status == TERN_OK) {
        for (size_t i = 0; i < gguf->n_values; i++) { /* touch what was described */
            const tern_gguf_value *value = &gguf->values[i];
            const uint8_t *at = value->data;
            if (value->type == TERN_GGUF_STRING)
                for (uint64_t j = 0; j < value->count; j++) tern_gguf_next_text(&at);
            assert_true(at >= copy && at <= copy + n);
        }
        for (size_t i = 0; i < gguf->n_tensors; i++) {
            assert_true(gguf->tensors[i].offset <= n);
            assert_true(gguf->tensors[i].bytes <= n - gguf->tensors[i].offset);
        }
    } else {
        assert_null(gguf);
    }
    tern_gguf_close(gguf);
    free(copy);
    return status;
}

/* The bytes are refused with a sentence that names the file and holds `part`; frees them. */
static void refused(gguf_builder b, const char *part)
{
    tern_error err = {0};
    const int status = parse_copy(b.bytes, b.n, &err);
    free(b.bytes);
    if (status != TERN_E_MODEL || !strstr(err.text, part) || !strstr(err.text, "'test.gguf': "))
        fail_msg("expected '%s', got status %d: %s", part, status, err.text);
    assert_int_equal(err.status, TERN_E_MODEL);
}

static void describes_values(void **state)
{
    (void)state;
    for (uint32_t version = 2; version <= 3; version++) {
        gguf_builder b = valid_file(version);
        tern_gguf *g = parse_ok(&b);
        int64_t x;
        const struct {
            const char *key;
            int64_t value;
        } integers[] = {{"u8", 200},        {"i8", -3},      {"u16", 60000},
                        {"i16", -300},      {"i32", -70000}, {"general.alignment", 64},
                        {"i64", INT64_MIN}, {"absent", 77}};
        for (size_t i = 0; i < sizeof integers / sizeof *integers; i++) {
            assert_int_equal(tern_gguf_i64(&x, g, integers[i].key, 77, INT64_MIN, INT64_MAX, NULL),
                             0);
            assert_int_equal(x, integers[i].value);
        }
        float f;
        assert_int_equal(tern_gguf_f32(&f, g, "f32", 0, NULL), 0);
        assert_true(f == 1.5f);
        assert_int_equal(tern_gguf_f32(&f, g, "f64", 0, NULL), 0);
        assert_true(f == 0.25f);
        bool yes = false;
        assert_int_equal(tern_gguf_bool(&yes, g, "yes", false, NULL), 0);
        assert_true(yes);
        tern_text text;
        assert_int_equal(tern_gguf_text(&text, g, "general.architecture", NULL), 0);
        assert_true(tern_text_equals(text, "bitnet-b1.58"));
        assert_int_equal(tern_gguf_text(&text, g, "empty", NULL), 0);
        assert_non_null(text.data);
        assert_int_equal(text.bytes, 0);
        assert_int_equal(tern_gguf_text(&text, g, "absent", NULL), 0);
        assert_null(text.data);
        const tern_gguf_value *array;
        assert_int_equal(tern_gguf_array(&array, g, "numbers", TERN_GGUF_I32, NULL), 0);
        assert_int_equal(array->count, 3);
        assert_int_equal((int32_t)tern_gguf_u32_at(array, 2), -9);
        assert_int_equal(tern_gguf_array(&array, g, "words", TERN_GGUF_STRING, NULL), 0);
        const uint8_t *at = array->data;
        assert_true(tern_text_equals(tern_gguf_next_text(&at), "one"));
        assert_true(tern_text_equals(tern_gguf_next_text(&at), ""));
        tern_gguf_close(g);
        free(b.bytes);
    }
}

static void describes_tensors(void **state)
{
    (void)state;
    gguf_builder b = valid_file(3);
    tern_gguf *g = parse_ok(&b);
    const size_t data = b.n - 331;
    const tern_gguf_tensor *t = tern_gguf_find_tensor(g, "ternary");
    assert_int_equal(t->n_dims, 2);
    assert_int_equal(t->n_elements, 512);
    assert_int_equal(t->bytes, 512 / 4 + 32);
    assert_int_equal(t->offset, data + 128);
    t = tern_gguf_find_tensor(g, "norm");
    assert_int_equal(t->bytes, 20);
    assert_int_equal(t->ne[1], 1);
    assert_int_equal(tern_gguf_find_tensor(g, "table")->bytes, 36);
    t = tern_gguf_find_tensor(g, "odd"); /* unknown type: what is left of the file */
    assert_int_equal(t->bytes, 11);
    assert_int_equal(t->n_elements, 4);
    assert_null(tern_gguf_find_tensor(g, "tern"));
    tern_gguf_close(g);
    free(b.bytes);
}

static void getters_refuse_other_types(void **state)
{
    (void)state;
    gguf_builder b = valid_file(3);
    tern_gguf *g = parse_ok(&b);
    tern_error err = {0};
    int64_t x = 5;
    float f = 5;
    bool flag = true;
    tern_text text = {.bytes = 5};
    const tern_gguf_value *array;
    assert_int_equal(tern_gguf_i64(&x, g, "f32", 0, 0, 9, &err), TERN_E_MODEL);
    assert_string_equal(err.text,
                        "'test.gguf': key 'f32' is a f32 instead of an integer: get a file made"
                        " for this model");
    assert_int_equal(tern_gguf_i64(&x, g, "u16", 0, 0, 4096, &err), TERN_E_MODEL);
    assert_non_null(strstr(err.text, "key 'u16' is 60000, outside 0 to 4096"));
    assert_int_equal(tern_gguf_i64(&x, g, "u64", 0, INT64_MIN, INT64_MAX, &err), TERN_E_MODEL);
    assert_non_null(strstr(err.text, "more than 9223372036854775807"));
    assert_int_equal(tern_gguf_i64(&x, g, "numbers", 0, 0, 9, &err), TERN_E_MODEL);
    assert_non_null(strstr(err.text, "an array of i32 instead of an integer"));
    assert_int_equal(tern_gguf_f32(&f, g, "u8", 0, &err), TERN_E_MODEL);
    assert_int_equal(tern_gguf_bool(&flag, g, "u8", false, &err), TERN_E_MODEL);
    assert_int_equal(tern_gguf_text(&text, g, "words", &err), TERN_E_MODEL);
    assert_int_equal(tern_gguf_array(&array, g, "words", TERN_GGUF_F32, &err), TERN_E_MODEL);
    assert_non_null(
        strstr(err.text, "key 'words' is an array of string instead of an array of f32"));
    assert_true(x == 5 && f == 5 && flag && text.bytes == 5); /* outputs untouched */
    tern_gguf_close(g);
    free(b.bytes);
}

/* A header with one key of the given type, to which the caller appends the value. */
static gguf_builder one_key(const char *key, uint32_t type)
{
    gguf_builder b = {0};
    put_header(&b, 3, 0, 1);
    put_key(&b, key, type);
    return b;
}

static void refuses_wrong_headers(void **state)
{
    (void)state;
    gguf_builder b = {0};
    refused(b, "the magic number at byte 0 needs 4 bytes but the file ends after 0");
    b = (gguf_builder){0};
    put_bytes(&b, "PK\x03\x04....", 8);
    refused(b, "this is not a GGUF file (it begins with 'PK\\x03\\x04' instead of 'GGUF')");
    b = (gguf_builder){0};
    put_header(&b, 1, 0, 0);
    refused(b, "GGUF version 1 at byte 4 is not supported");
    b = (gguf_builder){0};
    put_header(&b, 4, 0, 0);
    refused(b, "GGUF version 4");
    b = (gguf_builder){0};
    put_header(&b, 0x03000000, 0, 0);
    refused(b, "this GGUF file is big endian");
    b = (gguf_builder){0};
    put_header(&b, 3, UINT64_MAX, 0);
    refused(b, "the number of tensors at byte 8 is 18446744073709551615, more than");
    b = (gguf_builder){0};
    put_header(&b, 3, 0, 3);
    put_key_u32(&b, "a", 1);
    refused(b, "the number of keys at byte 16 is 3, more than a file of 41 bytes");
}

static void refuses_wrong_values(void **state)
{
    (void)state;
    gguf_builder b = one_key("", TERN_GGUF_U64);
    put_u64(&b, 0);
    refused(b, "the key at byte 24 has 0 bytes");
    b = one_key("k", 13);
    put_u64(&b, 0);
    refused(b, "key 'k' has value type 13 at byte 33");
    b = one_key("k", TERN_GGUF_STRING);
    put_u64(&b, UINT64_MAX);
    refused(b, "needs 18446744073709551615 bytes");
    b = one_key("k", TERN_GGUF_BOOL);
    put_bytes(&b, "\x02", 1);
    refused(b, "key 'k' holds the bool 2");
    b = (gguf_builder){0};
    put_header(&b, 3, 0, 1);
    put_key_array(&b, "k", TERN_GGUF_ARRAY, 0);
    refused(b, "key 'k' at byte 24 is an array of arrays");
    b = (gguf_builder){0};
    put_header(&b, 3, 0, 1);
    put_key_array(&b, "k", TERN_GGUF_U64, (uint64_t)1 << 61); /* times 8 overflows */
    put_u64(&b, 0);
    refused(b, "claims 2305843009213693952 values of type u64");
    b = (gguf_builder){0};
    put_header(&b, 3, 0, 1);
    put_key_array(&b, "k", TERN_GGUF_STRING, 3);
    put_text(&b, "a"), put_text(&b, "b");
    refused(b, "claims 3 values of type string");
    b = (gguf_builder){0};
    put_header(&b, 3, 0, 2);
    put_key_u32(&b, "same", 1), put_key_u32(&b, "same", 2);
    refused(b, "key 'same' occurs twice");
    b = one_key("evil\x1b[31m\n\xff", TERN_GGUF_BOOL);
    put_bytes(&b, "\x07", 1);
    refused(b, "key 'evil\\x1b[31m\\x0a\\xff' holds");
    b = one_key("general.alignment", TERN_GGUF_U32);
    put_u32(&b, 48);
    refused(b, "general.alignment is 48, not a power of two");
    b = one_key("general.alignment", TERN_GGUF_U64);
    put_u64(&b, 32);
    refused(b, "general.alignment is no u32");
    gguf_builder part = {0};
    put_header(&part, 3, 0, 2);
    put_key(&part, "split.no", TERN_GGUF_U16), put_bytes(&part, &(uint16_t){1}, 2);
    put_key(&part, "split.count", TERN_GGUF_U16), put_bytes(&part, &(uint16_t){3}, 2);
    refused(part, "part 2 of a model in 3 files: join them");
    b = one_key("split.count", TERN_GGUF_STRING);
    put_text(&b, "3");
    refused(b, "split.count");
}

/* A file with two tensors of the given shape, type and offsets and `bytes` of data. */
static gguf_builder two_tensors(const uint64_t *ne, int n_dims, uint32_t type, uint64_t second,
                                size_t bytes)
{
    gguf_builder b = {0};
    put_header(&b, 3, 2, 0);
    put_tensor(&b, "a", n_dims, ne, type, 0);
    put_tensor(&b, "b", n_dims, ne, type, second);
    put_data(&b, 32, bytes);
    return b;
}

static void refuses_wrong_tensors(void **state)
{
    (void)state;
    const uint64_t ne8[] = {8, 1, 1, 1, 1}, zero[] = {0},
                   huge[] = {(uint64_t)1 << 40, (uint64_t)1 << 40}, ne6[] = {6};
    gguf_builder b = two_tensors(ne8, 1, TERN_GGML_F32, 32, 64);
    tern_gguf_close(parse_ok(&b)); /* the builder is right as such */
    free(b.bytes);
    refused(two_tensors(ne8, 0, TERN_GGML_F32, 32, 64), "tensor 'a' has 0 dimensions");
    refused(two_tensors(ne8, 5, TERN_GGML_F32, 32, 64), "tensor 'a' has 5 dimensions");
    refused(two_tensors(zero, 1, TERN_GGML_F32, 32, 64),
            "dimension 0 of tensor 'a' at byte 33 is 0");
    refused(two_tensors(huge, 2, TERN_GGML_F32, 32, 64), "more elements than a number can count");
    refused(two_tensors((uint64_t[]){INT64_MAX}, 1, TERN_GGML_F32, 32, 64), "too little");
    refused(two_tensors((uint64_t[]){INT64_MAX}, 1, TERN_GGML_F16, 32, 64), "too little");
    refused(two_tensors(ne6, 1, TERN_GGML_I2_S, 64, 128), "I2_S tensor 'a' has 6 elements");
    refused(two_tensors(ne8, 1, TERN_GGML_I2_S, 32, 128), "tensor 'a' of 8 elements and type 36");
    refused(two_tensors(ne8, 1, TERN_GGML_F32, 33, 128),
            "offset 33, not a multiple of the alignment 32");
    refused(two_tensors(ne8, 1, TERN_GGML_F32, 0, 128), "has room for 0 bytes");
    refused(two_tensors(ne8, 1, 99, 0, 128), "has room for 0 bytes");
    refused(two_tensors(ne8, 1, TERN_GGML_F32, 32, 63), "tensor 'b' of 8 elements");
    refused(two_tensors(ne8, 1, TERN_GGML_F32, 64, 64), "tensor 'b' begins 64 bytes into the data");
    refused(two_tensors(ne8, 1, TERN_GGML_F32, UINT64_MAX - 31, 64), "tensor 'b' begins");
    b = (gguf_builder){0};
    put_header(&b, 3, 2, 0);
    put_tensor(&b, "same", 1, ne8, 0, 0), put_tensor(&b, "same", 1, ne8, 0, 32);
    put_data(&b, 32, 64);
    refused(b, "tensor 'same' occurs twice");
    b = (gguf_builder){0};
    put_header(&b, 3, 1, 0);
    put_tensor(&b, "0123456789012345678901234567890123456789012345678901234567890123", 1, ne8, 0,
               0);
    put_data(&b, 32, 64);
    refused(b, "the tensor name at byte 24 has 64 bytes instead of 1 to 63");
}

static void every_truncation_ends_cleanly(void **state)
{
    (void)state;
    gguf_builder b = valid_file(3);
    for (size_t n = 0; n < b.n; n++) {
        tern_error err = {0};
        const int status = parse_copy(b.bytes, n, &err);
        /* The last tensor's type is unknown, so its size is whatever is left, down to one byte. */
        assert_int_equal(status, n > b.n - 11 ? TERN_OK : TERN_E_MODEL);
        if (status != TERN_OK) assert_non_null(strstr(err.text, "'test.gguf': "));
    }
    free(b.bytes);
}

static void every_changed_byte_ends_cleanly(void **state)
{
    (void)state;
    gguf_builder b = valid_file(3);
    for (size_t i = 0; i < b.n - 331; i++) {
        const uint8_t original = b.bytes[i];
        for (int change = 1; change < 256; change++) {
            b.bytes[i] = (uint8_t)(original ^ change);
            tern_error err = {0};
            const int status = parse_copy(b.bytes, b.n, &err);
            assert_true(status == TERN_OK || (status == TERN_E_MODEL && err.text[0]));
        }
        b.bytes[i] = original;
    }
    free(b.bytes);
}

static void opens_files(void **state)
{
    (void)state;
    tern_gguf *g = NULL;
    tern_error err = {0};
    assert_int_equal(tern_gguf_open(&g, "/nonexistent/model.gguf", &err), TERN_E_MODEL);
    assert_int_equal(err.status, TERN_E_MODEL);
    assert_string_equal(err.text,
                        "cannot open '/nonexistent/model.gguf': No such file or directory");
    assert_int_equal(tern_gguf_open(&g, "/nonexistent/model.gguf", NULL), TERN_E_MODEL);
    char path[] = "/tmp/tern-test-gguf-XXXXXX";
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    gguf_builder b = valid_file(3);
    assert_int_equal(write(fd, b.bytes, b.n), b.n);
    close(fd);
    assert_int_equal(tern_gguf_open(&g, path, &err), TERN_OK);
    assert_string_equal(g->name, path);
    assert_int_equal(g->n_tensors, 4);
    tern_gguf_close(g);
    tern_gguf_close(NULL);
    unlink(path);
    free(b.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(describes_values),
        cmocka_unit_test(describes_tensors),
        cmocka_unit_test(getters_refuse_other_types),
        cmocka_unit_test(refuses_wrong_headers),
        cmocka_unit_test(refuses_wrong_values),
        cmocka_unit_test(refuses_wrong_tensors),
        cmocka_unit_test(every_truncation_ends_cleanly),
        cmocka_unit_test(every_changed_byte_ends_cleanly),
        cmocka_unit_test(opens_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
