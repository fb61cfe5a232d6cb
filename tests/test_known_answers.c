/* test_known_answers.c - the known answers of a device: the reference gives them, and a device that
 * does not is refused with a sentence that names the program. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "device/backend.h"
#include "device/known_answers.h"

static void test_levels(void **state)
{
    (void)state;
    static const char *const levels[] = {"ref", ""};
    for (int i = 0; i < 2; i++) {
        tern_error err = {0};
        tern_device *device;
        setenv("TERN_CPU", levels[i], 1);
        assert_int_equal(tern_device_open(&device, "cpu", NULL, &err), TERN_OK);
        const uint64_t used = tern_device_used_bytes(device);
        if (tern_known_answers(device, &err) != TERN_OK) fail_msg("%s", err.text);
        assert_int_equal(tern_device_used_bytes(device), used);
        tern_device_close(device);
    }
}

static int run_nothing(tern_program *program, tern_stream *stream, const tern_batch *batch,
                       tern_error *err)
{
    (void)program;
    (void)stream;
    (void)batch;
    (void)err;
    return TERN_OK;
}

static void test_wrong_device(void **state)
{
    (void)state;
    tern_error err = {0};
    tern_device *device;
    assert_int_equal(tern_device_open(&device, "cpu", NULL, &err), TERN_OK);
    tern_backend lazy = *device->backend;
    lazy.program_run = run_nothing;
    device->backend = &lazy;
    assert_int_equal(tern_known_answers(device, &err), TERN_E_SELF_TEST);
    assert_non_null(strstr(err.text, "quantisation and products"));
    tern_device_close(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_wrong_device),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
