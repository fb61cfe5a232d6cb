/* test_gemm_table.c - the comparison with cuBLAS as data: medians and spread, ratios of pairs,
 * where a lead ends, and outputs that never show a time that was not taken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "bench/gemm_table.h"

static const gemm_conditions h200 = {"a GPU", "sm_90", "abc", 0, {4e12, 600e12, 30e12}};

/* Three samples of all sides; the baselines take `ratio` times as long. */
static gemm_case case_of(int t, double ratio)
{
    gemm_case c = {.preset = "2b4t", .matrix = "qkv", .t = t, .k = 2560, .n_out = 3840,
                   .check = {GEMM_RIGHT, GEMM_RIGHT, GEMM_RIGHT}, .n_samples = 3};
    for (int m = 0; m < GEMM_N_MODES; m++)
        for (int i = 0; i < 3; i++) {
            c.ns[GEMM_TERN][m][i] = 1000 * (i + 1); /* a machine that slows down */
            c.ns[GEMM_FP16][m][i] = c.ns[GEMM_INT8][m][i] = ratio * 1000 * (i + 1);
        }
    return c;
}

static char *report(const gemm_conditions *x, const gemm_case *cases, int n, gemm_form form)
{
    char *text = NULL;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);
    assert_non_null(out);
    gemm_report(out, x, cases, n, form);
    fclose(out);
    return text;
}

static void test_median_and_spread(void **state)
{
    (void)state;
    const gemm_stat odd = gemm_stat_of((const double[]){30, 10, 20}, 3);
    const gemm_stat even = gemm_stat_of((const double[]){40, 10, 30, 20}, 4);
    assert_true(odd.median == 20 && odd.spread == 1);
    assert_true(even.median == 25 && even.spread == 30.0 / 25);
}

/* Pairs: a machine that slows down under both sides changes no ratio. */
static void test_ratio_is_of_pairs(void **state)
{
    (void)state;
    gemm_case c = case_of(1, 4);
    assert_true(gemm_ratio(&c, GEMM_FP16, GEMM_COLD) == 4);
    c.check[GEMM_FP16] = GEMM_WRONG;
    assert_true(gemm_ratio(&c, GEMM_FP16, GEMM_COLD) == 0);
    c.check[GEMM_TERN] = GEMM_WRONG;
    assert_true(gemm_ratio(&c, GEMM_INT8, GEMM_COLD) == 0);
}

static void test_where_the_lead_ends(void **state)
{
    (void)state;
    const gemm_case cases[] = {case_of(1, 4), case_of(16, 0.9), case_of(64, 2), case_of(256, 1),
                               case_of(1024, 0.8)};
    assert_int_equal(gemm_lead_ends(cases, 5, GEMM_FP16, GEMM_HOT), 256);
    assert_int_equal(gemm_lead_ends(cases, 3, GEMM_FP16, GEMM_HOT), 0);
    assert_int_equal(gemm_lead_ends(cases, 2, GEMM_INT8, GEMM_HOT), 16);
}

static void test_json(void **state)
{
    (void)state;
    const gemm_case cases[] = {case_of(1, 4), case_of(256, 0.5)};
    char *text = report(&h200, cases, 2, GEMM_JSON);
    json_t *root = json_loads(text, 0, NULL);
    assert_non_null(root);
    const json_t *rows = json_object_get(root, "rows");
    assert_int_equal(json_array_size(rows), 2 * GEMM_N_SIDES * GEMM_N_MODES);
    const json_t *first = json_array_get(rows, 0);
    assert_true(json_real_value(json_object_get(first, "ns")) == 2000);
    assert_true(json_real_value(json_object_get(first, "weight_tb_s")) ==
                1.2288); /* 2560 * 3840 / 4 bytes in 2 us */
    assert_true(json_real_value(json_object_get(first, "of_limit")) == 0.3072); /* of 4 TB/s */
    json_decref(root);
    free(text);
}

static void test_what_is_wrong_has_no_time(void **state)
{
    (void)state;
    gemm_case c = case_of(1, 4);
    c.check[GEMM_TERN] = GEMM_WRONG;
    char *text = report(&h200, &c, 1, GEMM_CSV);
    assert_non_null(strstr(text, "2b4t,qkv,1,2560,3840,W1.58A8,none,WRONG,,,,,,\n"));
    free(text);
    text = report(&h200, &c, 1, GEMM_MARKDOWN);
    assert_non_null(strstr(text, "W1.58A8 | WRONG, not timed"));
    free(text);
}

static void test_an_emulated_device_has_no_times(void **state)
{
    (void)state;
    const gemm_conditions emulated = {"Emulated", "sm_90", "", 1, {0, 0, 0}};
    const gemm_case c = case_of(1, 4);
    for (int form = GEMM_MARKDOWN; form <= GEMM_JSON; form++) {
        char *text = report(&emulated, &c, 1, (gemm_form)form);
        assert_null(strstr(text, "2000"));
        assert_null(strstr(text, "\"ns\""));
        assert_true(form == GEMM_CSV || strstr(text, "EMULATED") ||
                    strstr(text, "\"emulated\": true"));
        free(text);
    }
}

static void test_markdown(void **state)
{
    (void)state;
    const gemm_case cases[] = {case_of(1, 4), case_of(256, 0.5)};
    char *text = report(&h200, cases, 2, GEMM_MARKDOWN);
    assert_non_null(strstr(text, "| 2b4t qkv | 1 | cuBLASLt fp16 | 8.00 | 100 % |"));
    assert_non_null(strstr(text, "| 2b4t qkv | cuBLASLt fp16 | 256 | 256 | 256 |"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_median_and_spread),
        cmocka_unit_test(test_ratio_is_of_pairs),
        cmocka_unit_test(test_where_the_lead_ends),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_what_is_wrong_has_no_time),
        cmocka_unit_test(test_an_emulated_device_has_no_times),
        cmocka_unit_test(test_markdown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
