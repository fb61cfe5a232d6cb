/* test_profile.c - profiles: curves, the library, files written and read back, files that are
 * wrong. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "plan/profile.h"

#define DIGITS(number) #number
#define DIGITS_OF(macro) DIGITS(macro)
#define VERSION "\"tern_profiles\": " DIGITS_OF(TERN_PROFILE_VERSION)

static void test_curves(void **state)
{
    (void)state;
    const tern_curve c = {.n = 3, .at = {2, 4, 8}, .ns = {10, 14, 30}};
    assert_true(tern_curve_ns(&c, 2) == 10);
    assert_true(tern_curve_ns(&c, 8) == 30);
    assert_true(tern_curve_ns(&c, 3) == 12);
    assert_true(tern_curve_ns(&c, 6) == 22);
    assert_true(tern_curve_ns(&c, 1) == 5); /* proportional outside */
    assert_true(tern_curve_ns(&c, 16) == 60);
}

/* All that the issue of hardware asks for is there, is estimated and says from what. */
static void test_library(void **state)
{
    (void)state;
    static const char *const wanted[] = {"rtx3060-laptop",
                                         "rtx4060-laptop",
                                         "rtx4090",
                                         "rtx5090",
                                         "a10",
                                         "l4",
                                         "a100",
                                         "h100",
                                         "h200",
                                         "ryzen-7950x",
                                         "core-i9-14900k",
                                         "epyc-9654",
                                         "raspberry-pi-5",
                                         "apple-m2-max"};
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        tern_profile p;
        tern_error err = {0};
        if (tern_profile_library(&p, wanted[i], &err) != TERN_OK) fail_msg("%s", err.text);
        assert_string_equal(p.name, wanted[i]);
        assert_true(p.estimated && strlen(p.source) > 10 && p.watts > 0);
        assert_true(p.read_bytes > 1e10 && p.int8_mac > p.f32_fma);
        assert_true(p.memory_bytes >= (uint64_t)6 << 30);
    }
    tern_profile p = {.n_threads = -7};
    tern_error err = {0};
    assert_int_equal(tern_profile_library(&p, "voodoo2", &err), TERN_E_USAGE);
    assert_non_null(strstr(err.text, "voodoo2"));
    assert_non_null(strstr(err.text, "rtx4090"));
    assert_int_equal(p.n_threads, -7);
}

static tern_profile measured(void)
{
    tern_profile p = {.name = "cpu:0",
                      .kind = "cpu",
                      .hardware = "A processor",
                      .level = "ref",
                      .build = "tern 1",
                      .storage = "2-bit",
                      .n_threads = 3,
                      .memory_bytes = (uint64_t)77 << 20,
                      .read_bytes = 12.5e9,
                      .int8_mac = 1e11,
                      .f32_fma = 5e10,
                      .reach_read = 1,
                      .reach_compute = 1,
                      .op_ns = 800,
                      .run_ns = 900,
                      .to_bytes = 1e9,
                      .from_bytes = 2e9,
                      .copy_ns = 50,
                      .while_copies = 0.5,
                      .sustained = 0.75};
    for (int i = 0; i < TERN_N_CURVES; i++)
        p.curves[i] = (tern_curve){.n = 2, .at = {1, 2 + i}, .ns = {0.25, 0.5}};
    return p;
}

static void test_written_is_read(void **state)
{
    (void)state;
    tern_profile two[2] = {measured(), measured()}, back[2];
    two[1].n_threads = 1;
    char *text;
    int n = 0;
    tern_error err = {0};
    assert_int_equal(tern_profiles_write(&text, two, 2, NULL), TERN_OK);
    if (tern_profiles_parse(back, 2, &n, text, strlen(text), "t", &err) != TERN_OK)
        fail_msg("%s", err.text);
    assert_int_equal(n, 2);
    assert_int_equal(back[0].n_threads, 3);
    assert_int_equal(back[1].n_threads, 1);
    assert_string_equal(back[0].hardware, "A processor");
    assert_true(back[0].memory_bytes == two[0].memory_bytes && !back[0].estimated);
    assert_true(fabs(back[0].read_bytes / 12.5e9 - 1) < 1e-5 && back[0].while_copies == 0.5);
    for (int i = 0; i < TERN_N_CURVES; i++)
        assert_true(back[0].curves[i].n == 2 && back[0].curves[i].at[1] == 2 + i);
    assert_int_equal(tern_profiles_parse(back, 1, &n, text, strlen(text), "t", NULL), TERN_E_USAGE);
    free(text);
}

/* The text with one piece exchanged is refused, with the word that names what is wrong. */
static void test_wrong_files(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *word;
    } wrong[] = {
        {VERSION, "\"tern_profiles\": 99", "version 99"},
        {VERSION, "\"tern_plan\": 1", "no file of profiles"},
        {"\"name\"", "\"nome\"", "nome"},
        {"\"A processor\"", "7", "hardware"},
        {"\"A processor\"", "\"\"", "hardware"},
        {"\"threads\": 3", "\"threads\": -3", "threads"},
        {"\"threads\": 3", "\"threads\": 1e9", "threads"},
        {"\"memory_mib\": 77", "\"memory_mib\": 0", "memory_mib"},
        {"\"read_gb_s\": 12.5", "\"read_gb_s\": 0.0", "read_gb_s"},
        {"\"read_gb_s\": 12.5", "\"read_gb_s\": \"fast\"", "read_gb_s"},
        {"\"read_gb_s\": 12.5", "\"read_gb_s\": 12.5, \"wrong\": 1", "wrong"},
        {"\"sustained\": 0.75", "\"sustained\": 1.75", "sustained"},
        {"\"linear\"", "\"limear\"", "linear"},
        {"\"profiles\": [", "\"profiles\": 3, \"x\": [", "0 profiles"},
        {"{", "[", "no JSON"},
        {"\"level\"", "\"name\"", "no JSON"}, /* twice */
    };
    const tern_profile p = measured();
    char *text;
    assert_int_equal(tern_profiles_write(&text, &p, 1, NULL), TERN_OK);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char *at = strstr(text, wrong[i].from), *changed = malloc(strlen(text) + 100);
        assert_true(at && changed);
        sprintf(changed, "%.*s%s%s", (int)(at - text), text, wrong[i].to,
                at + strlen(wrong[i].from));
        tern_profile out;
        tern_error err = {0};
        int n = -7;
        const int status = tern_profiles_parse(&out, 1, &n, changed, strlen(changed), "F", &err);
        if (status != TERN_E_USAGE || !strstr(err.text, wrong[i].word) || !strstr(err.text, "'F'"))
            fail_msg("%zu, status %d: %s", i, status, err.text);
        assert_int_equal(n, -7);
        free(changed);
    }
    for (size_t cut = 0; cut < strlen(text); cut += 7) { /* cut off anywhere */
        tern_profile out;
        int n;
        assert_int_equal(tern_profiles_parse(&out, 1, &n, text, cut, "F", NULL), TERN_E_USAGE);
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_curves), cmocka_unit_test(test_library),
        cmocka_unit_test(test_written_is_read), cmocka_unit_test(test_wrong_files)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
