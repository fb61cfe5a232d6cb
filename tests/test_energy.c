/* test_energy.c - the energy counter of a GPU with a library that stands in for NVML (tests/nvml),
 * and the sentences when something is missing. */
#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cuda/energy.h"

/* Users that the stand-in has seen come and not go; it stays loaded during the test. */
static int inside(void)
{
    void *library = dlopen("libnvidia-ml.so.1", RTLD_NOW);
    int (*count)(void);
    void *symbol = library ? dlsym(library, "nvml_fake_inside") : NULL;
    if (!symbol) fail_msg("the stand-in for NVML is not found");
    memcpy(&count, &symbol, sizeof symbol);
    return count();
}

static void test_reads(void **state)
{
    (void)state;
    assert_int_equal(inside(), 0);
    tern_error err = {0};
    tern_energy *energy;
    uint64_t first = 0, second = 0;
    assert_int_equal(tern_energy_open(&energy, "0000:3b:00.0", &err), TERN_OK);
    assert_int_equal(tern_energy_read(&first, energy, &err), TERN_OK);
    assert_int_equal(tern_energy_read(&second, energy, &err), TERN_OK);
    assert_int_equal(second - first, 1000);
    assert_true(first > UINT32_MAX);
    assert_int_equal(inside(), 1);
    tern_energy_close(energy);
    tern_energy_close(NULL);
    assert_int_equal(inside(), 0);
}

static void refused(const char *id, int status, const char *text)
{
    tern_error err = {0};
    tern_energy *energy = NULL;
    assert_int_equal(tern_energy_open(&energy, id, &err), status);
    assert_null(energy);
    if (!strstr(err.text, text)) fail_msg("'%s' lacks '%s'", err.text, text);
    assert_int_equal(inside(), 0);
}

static void test_refuses(void **state)
{
    (void)state;
    refused("0000:5e:00.0", TERN_E_DEVICE, "0000:5e:00.0 is not known: it has no counter: Not");
    refused("0000:01:00.0", TERN_E_DEVICE, "NVML does not find it: Not Found");
    refused("0000:3b:00.0:0000:3b:00.0:0000:3b:00.0", TERN_E_USAGE, "is no PCI bus id");
}

/* With `absent` as argument there is no library. */
static void test_absent(void **state)
{
    (void)state;
    tern_error err = {0};
    tern_energy *energy = NULL;
    assert_int_equal(tern_energy_open(&energy, "0000:3b:00.0", &err), TERN_E_DEVICE);
    assert_null(energy);
    assert_non_null(strstr(err.text, "there is no libnvidia-ml.so.1"));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest with[] = {
        cmocka_unit_test(test_reads),
        cmocka_unit_test(test_refuses),
    };
    const struct CMUnitTest without[] = {cmocka_unit_test(test_absent)};
    if (argc < 2 || strcmp(argv[1], "absent") != 0) return cmocka_run_group_tests(with, NULL, NULL);
    void *library = dlopen("libnvidia-ml.so.1", RTLD_NOW);
    if (library) return 77; /* a driver is installed here */
    return cmocka_run_group_tests(without, NULL, NULL);
}
