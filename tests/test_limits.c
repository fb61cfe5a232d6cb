/* test_limits.c - the measurement of the machine's limits: every set of loops that this machine can
 * run does work and says how much; no time is asserted. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cpu/levels.h"
#include "cpu/limits.h"

static void check_probes(uint32_t features)
{
    tern_cpu_probes p;
    tern_cpu_probes_select(&p, features);
    static uint8_t data[2 * TERN_PROBE_BLOCK];
    memset(data, 0, sizeof data);
    const uint64_t zero = p.read(data, sizeof data);
    data[sizeof data - 64] = 1; /* seen in the last block read */
    assert_false(p.read(data, sizeof data) == zero);
    uint64_t sink = 0;
    const uint64_t macs = p.int8(&sink, 10), fmas = p.fma(&sink, 10);
    assert_true(macs >= 10 * TERN_PROBE_UNROLL && macs % (10 * TERN_PROBE_UNROLL) == 0);
    assert_true(fmas >= 10 * TERN_PROBE_UNROLL && fmas % (10 * TERN_PROBE_UNROLL) == 0);
    assert_true(p.int8(&sink, 20) == 2 * macs);
}

static void test_probes(void **state)
{
    (void)state;
    int n;
    const tern_cpu_level *levels = tern_cpu_levels(&n);
    const uint32_t features = tern_cpu_features();
    for (int i = 0; i < n; i++)
        if ((levels[i].needs & features) == levels[i].needs) check_probes(levels[i].needs);
    check_probes(features);
}

static void test_meter(void **state)
{
    (void)state;
    for (int n_threads = 1; n_threads <= 3; n_threads += 2) {
        tern_cpu_meter *meter;
        assert_int_equal(tern_cpu_meter_create(&meter, n_threads, (size_t)1 << 20, NULL), TERN_OK);
        const tern_cpu_limits l = tern_cpu_meter_run(meter);
        assert_true(isfinite(l.read_bytes) && l.read_bytes > 0.0);
        assert_true(isfinite(l.int8_mac) && l.int8_mac > 0.0);
        assert_true(isfinite(l.f32_fma) && l.f32_fma > 0.0);
        assert_true(strlen(tern_cpu_meter_name(meter)) > 0);
        tern_cpu_meter_destroy(meter);
    }
    tern_cpu_meter *none = NULL;
    assert_int_equal(tern_cpu_meter_create(&none, 0, 4096, NULL), TERN_E_USAGE);
    assert_null(none);
    tern_cpu_meter_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_probes), cmocka_unit_test(test_meter)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
