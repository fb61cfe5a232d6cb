/* test_levels.c - the choice of a kernel level from names and synthetic feature masks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "cpu/levels.h"
#include "cases.h"

/* Every level but ref overwrites what its parent has, comes after it, and needs at least as
 * much. */
static void test_table(void **state)
{
    (void)state;
    int n;
    const tern_cpu_level *levels = tern_cpu_levels(&n);
    assert_true(n >= 1);
    assert_string_equal(levels[0].name, "ref");
    assert_int_equal(levels[0].parent, -1);
    assert_int_equal(levels[0].needs, 0);
    for (int i = 1; i < n; i++) {
        assert_in_range(levels[i].parent, 0, i - 1);
        assert_true(levels[i].needs != 0);
        assert_int_equal(levels[levels[i].parent].needs & ~levels[i].needs, 0);
        for (int j = 0; j < i; j++) assert_string_not_equal(levels[i].name, levels[j].name);
    }
}

/* No slot may be empty, whatever the machine. */
static void assert_full(const tern_cpu_kernels *kernels)
{
    tern_cpu_kernels copy = *kernels;
    void (*slots[sizeof copy / sizeof(void (*)(void))])(void);
    memcpy(slots, &copy, sizeof slots);
    for (size_t i = 0; i < sizeof slots / sizeof slots[0]; i++) assert_true(slots[i] != NULL);
}

static int best_of(uint32_t features)
{
    int n, best = 0;
    const tern_cpu_level *levels = tern_cpu_levels(&n);
    for (int i = 0; i < n; i++)
        if ((levels[i].needs & ~features) == 0) best = i;
    return best;
}

static void test_empty_is_best(void **state)
{
    (void)state;
    uint64_t seed = 1;
    for (int i = 0; i < 300; i++) {
        /* nothing, everything, one bit, all but one bit, then anything */
        uint32_t features = (uint32_t)case_next(&seed);
        if (i == 0) features = 0;
        if (i == 1) features = UINT32_MAX;
        if (i >= 2 && i < 34) features = 1u << (i - 2);
        if (i >= 34 && i < 66) features = ~(1u << (i - 34));
        tern_cpu_kernels kernels = {0};
        int level = -1;
        assert_int_equal(tern_cpu_level_select(&level, &kernels, i % 2 ? "" : NULL, features, NULL),
                         0);
        assert_int_equal(level, best_of(features));
        assert_full(&kernels);
    }
}

/* What every level's path gives with a mask of exactly its needs. */
static void test_by_name(void **state)
{
    (void)state;
    int n;
    const tern_cpu_level *levels = tern_cpu_levels(&n);
    for (int i = 0; i < n; i++) {
        tern_cpu_kernels kernels = {0};
        int level = -1;
        assert_int_equal(
            tern_cpu_level_select(&level, &kernels, levels[i].name, levels[i].needs, NULL),
            TERN_OK);
        assert_int_equal(level, i);
        assert_full(&kernels);
        if (levels[i].needs == 0) continue;
        tern_error err = {0};
        level = -7;
        assert_int_equal(tern_cpu_level_select(&level, &kernels, levels[i].name,
                                               levels[i].needs & (levels[i].needs - 1), &err),
                         TERN_E_USAGE);
        assert_int_equal(level, -7);
        if (!strstr(err.text, "cannot run")) fail_msg("%s", err.text);
    }
}

static void test_unknown(void **state)
{
    (void)state;
    static const char *const names[] = {"bogus", "REF", "ref ", " ref", "re", "reff", ",", "%s%n",
                                        "a name that is much longer than any level could ever be"};
    int n;
    const tern_cpu_level *levels = tern_cpu_levels(&n);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        tern_cpu_kernels kernels = {0};
        const tern_cpu_kernels untouched = {0};
        int level = -7;
        tern_error err = {0};
        assert_int_equal(tern_cpu_level_select(&level, &kernels, names[i], UINT32_MAX, &err),
                         TERN_E_USAGE);
        assert_int_equal(level, -7);
        assert_memory_equal(&kernels, &untouched, sizeof kernels);
        assert_non_null(strstr(err.text, "TERN_CPU"));
        for (int l = 0; l < n; l++)
            if (!strstr(err.text, levels[l].name)) fail_msg("%s", err.text);
    }
}

static void test_this_machine(void **state)
{
    (void)state;
    tern_cpu_kernels kernels = {0};
    int level = -1;
    assert_int_equal(tern_cpu_level_select(&level, &kernels, NULL, tern_cpu_features(), NULL),
                     TERN_OK);
    assert_int_equal(level, best_of(tern_cpu_features()));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),   cmocka_unit_test(test_empty_is_best),
        cmocka_unit_test(test_by_name), cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_this_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
