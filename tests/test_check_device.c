/* test_check_device.c - the checking device: says nothing when both sides agree, and names
 * operation, layer, operand and element when they do not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "device/check_device.h"
#include "program_fixture.h"

/* The first value of a float, one bit off, after every run of the broken side. */
static float *wrong_value;
static const tern_backend *honest;

static int run_wrong(tern_program *program, tern_stream *stream, const tern_batch *batch,
                     tern_error *err)
{
    const int status = honest->program_run(program, stream, batch, err);
    uint32_t bits;
    memcpy(&bits, wrong_value, sizeof bits);
    bits ^= 1;
    memcpy(wrong_value, &bits, sizeof bits);
    return status;
}

static void test_agreement(void **state)
{
    (void)state;
    for (int type = 0; type < 2; type++) {
        fixture *f = fx_open("check:cpu:3", 1, (tern_kv_type)type);
        assert_string_equal(tern_device_describe(f->device)->name, "check:cpu:3");
        tern_program *program;
        tern_error err = {0};
        assert_int_equal(
            tern_program_create(&program, f->device, f->ops, FX_N_OPS, &fx_limits, &err), TERN_OK);
        for (int first = 0; first < 200; first += 60) {
            fx_batch(f, first, 50);
            assert_int_equal(tern_program_run(program, f->stream, &f->batch, &err), TERN_OK);
            if (tern_stream_sync(f->stream, &err) != TERN_OK) fail_msg("%s", err.text);
        }
        tern_program_destroy(program);
        fx_close(f);
    }
}

static void test_difference(void **state)
{
    (void)state;
    fixture *f = fx_open("check:cpu:0", 1, TERN_KV_F16);
    tern_program *program;
    tern_error err = {0};
    const tern_op ops[] = {f->ops[FX_EMBED], f->ops[FX_NORM]};
    assert_int_equal(tern_program_create(&program, f->device, ops, 2, &fx_limits, &err), TERN_OK);
    tern_device *got = ((check_device *)f->device)->side[GOT];
    tern_buffer *memory = ((check_buffer *)f->memory)->side[GOT];
    wrong_value = (float *)(void *)((uint8_t *)tern_buffer_host(memory) + f->x.offset_bytes) +
                  2 * f->x.ld + 7;
    honest = got->backend;
    tern_backend wrong = *honest;
    wrong.program_run = run_wrong;
    got->backend = &wrong;
    assert_int_equal(tern_program_run(program, f->stream, &f->batch, &err), TERN_OK);
    assert_int_equal(tern_stream_sync(f->stream, &err), TERN_E_SELF_TEST);
    assert_non_null(strstr(err.text, "EMBED of layer 0"));
    assert_non_null(strstr(err.text, "row 2, column 7 of 'x'"));
    got->backend = honest;
    tern_program_destroy(program);
    fx_close(f);
}

static void test_names(void **state)
{
    (void)state;
    tern_error err = {0};
    tern_device *device;
    assert_null(tern_backend_find("check:nothing", &err));
    assert_int_equal(tern_device_open(&device, "check:nothing", NULL, &err), TERN_E_USAGE);
    assert_non_null(strstr(err.text, "nothing"));
    assert_ptr_equal(tern_backend_find("check:cpu:1", &err), &tern_backend_check);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_agreement),
        cmocka_unit_test(test_difference),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
