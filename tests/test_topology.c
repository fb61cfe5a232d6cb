/* test_topology.c - how many threads by default, on machines that hwloc is told of: cores with two
 * processors each, cores of two kinds. Without hwloc the processors count. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/threads.h"
#include "base/topology.h"

static void test_here(void **state)
{
    (void)state;
    assert_true(tern_cores_fast() >= 1);
    assert_true(tern_cores_fast() <= tern_cores_available());
}

#ifdef TERN_HWLOC
#include <hwloc.h>

static void test_two_a_core(void **state)
{
    (void)state;
    setenv("HWLOC_SYNTHETIC", "package:2 core:3 pu:2", 1);
    assert_int_equal(tern_cores_fast(), 6);
    setenv("HWLOC_SYNTHETIC", "core:5 pu:1", 1);
    assert_int_equal(tern_cores_fast(), 5);
    unsetenv("HWLOC_SYNTHETIC");
}

/* Three fast cores and a slow one, of two processors each, as a file; in both orders. */
static void test_two_kinds(void **state)
{
    (void)state;
    for (int fast_first = 0; fast_first <= 1; fast_first++) {
        char path[] = "/tmp/tern-topology-XXXXXX";
        const int file = mkstemp(path);
        assert_true(file >= 0);
        hwloc_topology_t t;
        assert_int_equal(hwloc_topology_init(&t), 0);
        assert_int_equal(hwloc_topology_set_synthetic(t, "core:4 pu:2"), 0);
        assert_int_equal(hwloc_topology_load(t), 0);
        hwloc_bitmap_t fast = hwloc_bitmap_alloc(), slow = hwloc_bitmap_alloc();
        hwloc_bitmap_set_range(fast, fast_first ? 0 : 2, fast_first ? 5 : 7);
        hwloc_bitmap_andnot(slow, hwloc_topology_get_topology_cpuset(t), fast);
        assert_int_equal(hwloc_cpukinds_register(t, fast, 1, 0, NULL, 0), 0);
        assert_int_equal(hwloc_cpukinds_register(t, slow, 0, 0, NULL, 0), 0);
        assert_int_equal(hwloc_topology_export_xml(t, path, 0), 0);
        setenv("HWLOC_XMLFILE", path, 1);
        const int n = tern_cores_fast();
        unsetenv("HWLOC_XMLFILE");
        hwloc_bitmap_free(fast);
        hwloc_bitmap_free(slow);
        hwloc_topology_destroy(t);
        close(file);
        unlink(path);
        assert_int_equal(n, 3);
    }
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_here),
#ifdef TERN_HWLOC
        cmocka_unit_test(test_two_a_core),
        cmocka_unit_test(test_two_kinds),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
