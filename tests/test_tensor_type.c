/* test_tensor_type.c - every ternary type against an encoder written from the text of its format
 * (packers.h), and against published bytes where there are any (FORMATS 4.7, 6.3); sizes of all
 * types. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cases.h"
#include "packers.h"

static void check_hex(const uint8_t *bytes, const char *hex)
{
    for (size_t i = 0; i < strlen(hex) / 2; i++) {
        unsigned byte;
        assert_int_equal(sscanf(hex + 2 * i, "%2x", &byte), 1);
        assert_int_equal(bytes[i], byte);
    }
}

/* FORMATS 4.7. */
static void vector_codes(uint8_t codes[256])
{
    for (int j = 0; j < 256; j++) codes[j] = (uint8_t)((7 * j * j + 3 * j + 1) % 11 % 3);
}

static uint8_t *random_codes(size_t n, uint64_t seed)
{
    uint8_t *codes = case_alloc(n);
    for (size_t i = 0; i < n; i++) codes[i] = (uint8_t)case_int(&seed, 0, 2);
    return codes;
}

/* Reads all rows and compares; `scale` is what every row must say. */
static void check_rows(uint32_t number, const tern_packed *t, const uint8_t *codes, float scale)
{
    uint8_t *row = case_alloc(t->k);
    const tern_tensor_type *type = tern_tensor_type_find(number);
    assert_non_null(type);
    for (size_t r = 0; r < t->n_out; r++) {
        float got = -1.0f;
        const char *wrong = type->codes(row, &got, t, r);
        if (wrong) fail_msg("%s row %zu %s", type->name, r, wrong);
        assert_memory_equal(row, codes + r * t->k, t->k);
        assert_true(got == scale);
    }
    free(row);
}

/* A matrix with room for `number`, no byte more. */
static uint8_t *alloc_packed(uint32_t number, size_t n_out, size_t k)
{
    uint64_t bytes = 0;
    assert_true(tern_tensor_type_bytes(&bytes, tern_tensor_type_find(number), k, n_out));
    return case_alloc(bytes);
}

/* ---- I2_S ------------------------------------------------------------------------------------ */

static void test_i2s(void **state)
{
    (void)state;
    static const size_t shapes[][2] = {{8, 128}, {12, 160}, {4, 1344}, {64, 36}};
    const float scale = 0.37f;
    for (int layout = TERN_I2S_A; layout <= TERN_I2S_D; layout++)
        for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
            const size_t n_out = shapes[i][0], k = shapes[i][1];
            uint8_t *codes = random_codes(n_out * k, 3 + i);
            uint8_t *data = alloc_packed(TERN_GGML_I2_S, n_out, k);
            encode_i2s(data, codes, n_out, k, (tern_i2s_layout)layout);
            memcpy(data + n_out * k / 4, &scale, 4);
            const tern_packed t = {
                .data = data, .k = k, .n_out = n_out, .i2s = (tern_i2s_layout)layout};
            check_rows(TERN_GGML_I2_S, &t, codes, scale);
            int shift;
            data[i2s_place(t.i2s, k, 1, 5, &shift)] |= 0xff;
            float got;
            const char *wrong = tern_codes_i2s(codes, &got, &t, 1);
            assert_true(wrong && strstr(wrong, "code 3"));
            free(codes);
            free(data);
        }
}

static void test_i2s_vectors(void **state)
{
    (void)state;
    uint8_t codes[256], data[64 + 32] = {0};
    vector_codes(codes);
    encode_i2s(data, codes, 1, 256, TERN_I2S_B);
    check_hex(data, "5915a14a546556852852955915a14a5452955915a14a546556852852955915a1852852955915a1"
                    "4a54655685285295596556852852955915a14a546556852852");
    memset(data, 0, sizeof data);
    encode_i2s(data, codes, 4, 8, TERN_I2S_C);
    check_hex(data, "4615a951456a5491");
    const tern_packed odd = {.data = data, .k = 8, .n_out = 6, .i2s = TERN_I2S_C};
    float scale;
    assert_non_null(tern_codes_i2s(codes, &scale, &odd, 0));
}

/* ---- ternary blocks -------------------------------------------------------------------------- */

static void test_tq_vectors(void **state)
{
    (void)state;
    uint8_t codes[256], block[66];
    vector_codes(codes);
    encode_tq1_0(block, codes, 0x3c00);
    check_hex(block,
              "9a33bc94868281d5476dcf9a33bc94868281d5476dcf9a33bc94868281d5476d83b94d7bd4892c"
              "e86f7e9c83b94d7bd49fde722d");
    encode_tq2_0(block, codes, 0x3c00);
    check_hex(block,
              "19649249259555565861861964924925955556586186196492492595555658615658618619649249"
              "259555565861861964924925955556586186196492492595");
}

static void test_tq(void **state)
{
    (void)state;
    enum { N_OUT = 5, K = 768, N = N_OUT * K };
    static const uint32_t numbers[] = {TERN_GGML_TQ1_0, TERN_GGML_TQ2_0};
    for (int i = 0; i < 2; i++) {
        uint8_t *codes = random_codes(N, 11), *data = alloc_packed(numbers[i], N_OUT, K);
        const size_t bytes = i ? 66 : 54;
        memset(codes + 256, 1, 256); /* a block of zeros has no scale */
        uint8_t *kept = memcpy(case_alloc(N), codes, N);
        for (size_t b = 0; b < N / 256; b++) {
            const uint16_t d = b == 1 ? 0 : 0x3555;
            if (i)
                encode_tq2_0(data + b * bytes, codes + b * 256, d);
            else
                encode_tq1_0(data + b * bytes, codes + b * 256, d);
        }
        const tern_packed t = {.data = data, .k = K, .n_out = N_OUT};
        check_rows(numbers[i], &t, codes, tern_f32_from_f16(0x3555));
        data[bytes * 5 - 2] ^= 1; /* the second block of row 1 */
        float scale;
        const char *wrong = tern_tensor_type_find(numbers[i])->codes(codes, &scale, &t, 1);
        assert_true(wrong && strstr(wrong, "different scales"));
        assert_null(tern_tensor_type_find(numbers[i])->codes(codes, &scale, &t, 2));
        float two[2];
        const tern_tensor_type *type = tern_tensor_type_find(numbers[i]);
        assert_true(tern_tq_scales(two, &t, type, 1));
        assert_true(two[0] == tern_f32_from_f16(0x3555) && two[1] == tern_f32_from_f16(0x3554));
        assert_false(tern_tq_scales(two, &t, type, 2));
        float values[K]; /* as a table, where every block keeps its scale */
        type->floats(values, data + 3 * bytes, K);
        for (size_t e = 0; e < K; e++) {
            const float d = tern_f32_from_f16(e / 256 == 1 ? 0x3554 : 0x3555);
            assert_true(values[e] == (float)(kept[K + e] - 1) * d);
        }
        free(kept);
        free(codes);
        free(data);
    }
    uint8_t block[66], codes[256];
    memset(block, 0xff, sizeof block);
    block[65] = 0x3c;
    float scale;
    const tern_packed t = {.data = block, .k = 256, .n_out = 1};
    const char *wrong = tern_codes_tq2_0(codes, &scale, &t, 0);
    assert_true(wrong && strstr(wrong, "code 3"));
    float values[256];
    tern_floats_tq2_0(values, block, 256);
    assert_true(isnan(values[0]));
}

static void test_bn(void **state)
{
    (void)state;
    enum { N_OUT = 7, K = 192 };
    uint8_t *codes = random_codes(N_OUT * K, 21);
    uint8_t *one = alloc_packed(TERN_GGML_IQ1_BN, N_OUT, K);
    uint8_t *two = alloc_packed(TERN_GGML_IQ2_BN, N_OUT, K);
    const uint16_t half = 0x3123;
    const float scale = tern_f32_from_f16(half);
    encode_bn(one, codes, N_OUT, K, TERN_GGML_IQ1_BN, half);
    encode_bn(two, codes, N_OUT, K, TERN_GGML_IQ2_BN, half);
    tern_packed t = {.data = one, .k = K, .n_out = N_OUT};
    check_rows(TERN_GGML_IQ1_BN, &t, codes, scale);
    t.data = two;
    check_rows(TERN_GGML_IQ2_BN, &t, codes, scale);
    two[4 + 9] |= 0x30;
    two[4 + 9] |= 0xc0;
    float got;
    const char *wrong = tern_codes_iq2_bn(codes, &got, &t, 0);
    assert_true(wrong && strstr(wrong, "code 3"));
    free(codes);
    free(one);
    free(two);
}

/* ---- TL1, TL2 -------------------------------------------------------------------------------- */

static void test_tl1(void **state)
{
    (void)state;
    static const tern_tl_shape shapes[] = {
        {256, 128, 128, 64, 32}, {256, 256, 128, 128, 64}, {1536, 1536, 128, 64, 64}};
    for (size_t i = 0; i < 3; i++) {
        const tern_tl_shape *s = &shapes[i];
        const size_t n_out = (size_t)s->n_out, k = (size_t)s->k;
        uint8_t *codes = random_codes(n_out * k, 31 + i);
        uint8_t *data = alloc_packed(TERN_GGML_TL1, n_out, k);
        const float scale = 1.5f;
        encode_tl1(data, codes, s);
        memcpy(data + n_out * k / 4, &scale, 4);
        tern_packed t = {.data = data, .k = k, .n_out = n_out};
        const char *wrong = tern_codes_tl1(codes, &(float){0}, &t, 0);
        assert_true(wrong && strstr(wrong, "--tl-config"));
        const tern_tl_config config = {{*s}, 1};
        assert_true(tern_tl_find(&t.tl, i == 2 ? NULL : &config, false, n_out, k));
        check_rows(TERN_GGML_TL1, &t, codes, scale);
        data[0] = 0x9f;
        wrong = tern_codes_tl1(codes, &(float){0}, &t, 0);
        assert_true(wrong && strstr(wrong, "above 8"));
        free(codes);
        free(data);
    }
}

static void test_tl2(void **state)
{
    (void)state;
    static const tern_tl_shape shapes[] = {
        {256, 384, 128, 96, 0}, {128, 512, 64, 96, 0}, {3200, 3200, 320, 96, 32}};
    for (size_t i = 0; i < 3; i++) {
        const tern_tl_shape *s = &shapes[i];
        const size_t n_out = (size_t)s->n_out, k = (size_t)s->k;
        uint8_t *codes = random_codes(n_out * k, 41 + i);
        uint8_t *data = alloc_packed(TERN_GGML_TL2, n_out, k);
        const float scale = 2.5f;
        uint64_t bytes;
        assert_true(tern_tl2_bytes(&bytes, k, n_out));
        encode_tl2(data, codes, s);
        memcpy(data + bytes, &scale, 4);
        tern_packed t = {.data = data, .k = k, .n_out = n_out};
        const char *wrong = tern_codes_tl2(codes, &(float){0}, &t, 0);
        assert_true(wrong && strstr(wrong, "--tl-config"));
        const tern_tl_config config = {{*s}, 1};
        assert_true(tern_tl_find(&t.tl, i == 2 ? NULL : &config, true, n_out, k));
        check_rows(TERN_GGML_TL2, &t, codes, scale);
        data[0] = 0xef;
        wrong = tern_codes_tl2(codes, &(float){0}, &t, 0);
        assert_true(wrong && strstr(wrong, "above"));
        free(codes);
        free(data);
    }
}

/* FORMATS 6.3: sizes of TL2 in files. */
static void test_tl2_sizes(void **state)
{
    (void)state;
    static const uint64_t sizes[][3] = {
        {3200, 8640, 5794176},   {3200, 3200, 2167520},   {8640, 3200, 5852192},
        {1536, 4096, 1327136},   {1536, 1536, 507936},    {4096, 1536, 1354464},
        {14336, 4096, 12386336}, {4096, 14336, 12277120}, {1024, 4096, 884768},
        {4096, 4096, 3538976},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint64_t bytes;
        assert_true(tern_tensor_type_bytes(&bytes, tern_tensor_type_find(TERN_GGML_TL2),
                                           sizes[i][1], sizes[i][0]));
        assert_int_equal(bytes, sizes[i][2]);
        tern_tl_shape shape;
        assert_true(tern_tl_find(&shape, NULL, true, sizes[i][0], sizes[i][1]));
        const int ambiguous = i >= 6; /* two configurations of TL1 are published */
        assert_true(tern_tl_find(&shape, NULL, false, sizes[i][0], sizes[i][1]) == !ambiguous);
    }
    tern_tl_shape shape = {.n_out = 7};
    assert_false(tern_tl_find(&shape, NULL, true, 2560, 2560));
    assert_int_equal(shape.n_out, 7);
}

static void test_tl_config(void **state)
{
    (void)state;
    tern_tl_config config;
    tern_tl_shape s;
    assert_int_equal(
        tern_tl_config_parse(&config,
                             "# made by hand\n[Kernels_0]\nm = 256\nk=384\r\n bm = 128\n"
                             "bk = 96\nbmm = 32\n\n[Kernels_1]\nm=64\nk=64\nbm=64\nbk=64\n"
                             "bmm=32",
                             "x.ini", NULL),
        TERN_OK);
    assert_int_equal(config.n, 2);
    assert_true(tern_tl_find(&s, &config, true, 256, 384));
    assert_true(s.bm == 128 && s.by == 96 && s.inner == 32);
    assert_true(tern_tl_find(&s, &config, false, 64, 64));
    assert_false(tern_tl_find(&s, &config, false, 3200, 3200)); /* the table is not asked */
    static const char *const bad[] = {
        "m = 5",        "[a]\nq = 5",
        "[a]\nm",       "[a]\nm = x",
        "[a]\nm = 0",   "[a]\nm = 99999999999",
        "[a]\nbmx = 3", "[\n[\n[\n[\n[\n[\n[\n[\n[\n[\n[\n[\n[\n[\n[\n[\n["};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        tern_error err = {0};
        assert_int_equal(tern_tl_config_parse(&config, bad[i], "x.ini", &err), TERN_E_USAGE);
        assert_non_null(strstr(err.text, "'x.ini': line "));
    }
    /* Tiles that do not divide the matrix would lead outside of it. */
    static const tern_tl_shape odd[] = {{256, 384, 96, 96, 32}, {256, 384, 128, 100, 32},
                                        {256, 384, 16, 96, 32}, {256, 384, 128, 96, 24},
                                        {256, 384, 0, 96, 32},  {256, 384, 128, 0, 32}};
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        const tern_tl_config one = {{odd[i]}, 1};
        assert_false(tern_tl_find(&s, &one, false, 256, 384));
        if (i != 3) assert_false(tern_tl_find(&s, &one, true, 256, 384));
    }
}

/* ---- sizes ----------------------------------------------------------------------------------- */

static void test_sizes(void **state)
{
    (void)state;
    static const struct {
        uint32_t number;
        uint64_t k, n_out, bytes; /* 0: not possible */
    } sizes[] = {
        {TERN_GGML_F32, 3, 5, 60},
        {TERN_GGML_F16, 3, 5, 30},
        {TERN_GGML_BF16, 3, 5, 30},
        {TERN_GGML_Q8_0, 64, 3, 204},
        {TERN_GGML_Q8_0, 48, 2, 0},
        {TERN_GGML_Q4_0, 64, 3, 108},
        {TERN_GGML_Q4_K, 512, 2, 576},
        {TERN_GGML_Q4_K, 128, 4, 0},
        {TERN_GGML_Q6_K, 2560, 2, 4200},
        {TERN_GGML_TQ1_0, 256, 3, 162},
        {TERN_GGML_TQ2_0, 256, 3, 198},
        {TERN_GGML_TQ2_0, 128, 2, 0},
        {TERN_GGML_I2_S, 2560, 640, 409632},
        {TERN_GGML_I2_S, 3, 3, 0},
        {TERN_GGML_TL1, 256, 64, 4128},
        {TERN_GGML_TL2, 128, 64, 0},
        {TERN_GGML_IQ1_BN, 128, 3, 84},
        {TERN_GGML_IQ1_BN, 96, 2, 0},
        {TERN_GGML_IQ2_BN, 128, 3, 108},
        {TERN_GGML_F32, INT64_MAX, 1, UINT64_MAX},
        {TERN_GGML_IQ2_BN, 64, INT64_MAX / 64, UINT64_MAX},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint64_t bytes = 0;
        const bool possible = tern_tensor_type_bytes(&bytes, tern_tensor_type_find(sizes[i].number),
                                                     sizes[i].k, sizes[i].n_out);
        assert_true(possible == (sizes[i].bytes != 0));
        if (sizes[i].bytes != UINT64_MAX) assert_true(bytes == sizes[i].bytes);
    }
    static const uint32_t unknown[] = {3, 9, 16, 31, 37, 40, 133, 335, UINT32_MAX};
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++)
        assert_null(tern_tensor_type_find(unknown[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_i2s),        cmocka_unit_test(test_i2s_vectors),
        cmocka_unit_test(test_tq_vectors), cmocka_unit_test(test_tq),
        cmocka_unit_test(test_bn),         cmocka_unit_test(test_tl1),
        cmocka_unit_test(test_tl2),        cmocka_unit_test(test_tl2_sizes),
        cmocka_unit_test(test_tl_config),  cmocka_unit_test(test_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
