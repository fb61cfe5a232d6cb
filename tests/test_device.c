/* test_device.c - the calls of tern/device.h on two CPU devices: names, budgets, transfers, weights
 * and their rows. Whatever is refused leaves no bytes behind. */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cases.h"
#include "tern/device.h"

/* Sanitizers end the program on requests that no machine can meet, unless told not to. */
const char *__asan_default_options(void);
const char *__tsan_default_options(void);

const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

const char *__tsan_default_options(void)
{
    return "allocator_may_return_null=1";
}

typedef struct world {
    tern_device *a, *b; /* cpu:0 and cpu:1 */
    tern_buffer *in_a, *in_b;
    tern_stream *on_a;
} world;

enum { BYTES = 8192 };

static tern_device *open_device(const char *name, uint64_t budget)
{
    const tern_device_options options = {.n_threads = 2, .budget_bytes = budget};
    tern_device *device;
    assert_int_equal(tern_device_open(&device, name, &options, NULL), TERN_OK);
    return device;
}

static int open_world(void **state)
{
    world *w = case_alloc(sizeof *w);
    w->a = open_device("cpu:0", 0);
    w->b = open_device("cpu:1", 0);
    assert_int_equal(tern_buffer_create(&w->in_a, w->a, BYTES, NULL), TERN_OK);
    assert_int_equal(tern_buffer_create(&w->in_b, w->b, BYTES, NULL), TERN_OK);
    assert_int_equal(tern_stream_create(&w->on_a, w->a, NULL), TERN_OK);
    *state = w;
    return 0;
}

static int close_world(void **state)
{
    world *w = *state;
    tern_stream_destroy(w->on_a);
    tern_buffer_destroy(w->in_a);
    tern_buffer_destroy(w->in_b);
    tern_device_close(w->a);
    tern_device_close(w->b);
    free(w);
    return 0;
}

static void test_names(void **state)
{
    (void)state;
    static const char *const unknown[] = {"",
                                          "cpu:",
                                          "cpu:x",
                                          "cpu:100",
                                          "cpu:-1",
                                          "cpu:+1",
                                          "cpu: 1",
                                          "cpu:1x",
                                          "cpu:00",
                                          "cpu:01",
                                          "gpu",
                                          "cuda:100",
                                          "CPU",
                                          "cpux",
                                          ":0",
                                          "cpu:0,cpu:1",
                                          "cpu:99999999999999999999"};
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        tern_device *device = NULL;
        tern_error err = {0};
        if (tern_device_open(&device, unknown[i], NULL, &err) != TERN_E_USAGE)
            fail_msg("'%s' was opened", unknown[i]);
        assert_null(device);
        assert_int_equal(err.status, TERN_E_USAGE);
        if (!strstr(err.text, unknown[i]) || !strstr(err.text, "cpu:N")) fail_msg("%s", err.text);
        assert_null(tern_backend_find(unknown[i], NULL));
    }
    static const char *const known[][2] = {
        {"cpu", "cpu:0"}, {"cpu:0", "cpu:0"}, {"cpu:99", "cpu:99"}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        tern_device *device = open_device(known[i][0], 0);
        assert_string_equal(tern_device_describe(device)->name, known[i][1]);
        assert_int_equal(tern_device_describe(device)->n_threads, 2);
        assert_int_equal(tern_device_self_test(device, NULL), TERN_OK);
        tern_device_close(device);
    }
}

static void test_long_name(void **state)
{
    (void)state;
    char name[2000];
    memset(name, 'c', sizeof name - 1);
    name[sizeof name - 1] = 0;
    tern_device *device;
    tern_error err = {0};
    assert_int_equal(tern_device_open(&device, name, NULL, &err), TERN_E_USAGE);
    assert_non_null(strstr(err.text, "tern devices")); /* the end of the sentence is there */
}

static void test_threads(void **state)
{
    (void)state;
    static const int wrong[] = {-1, 1025, INT_MAX, INT_MIN};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        const tern_device_options options = {.n_threads = wrong[i]};
        tern_device *device;
        assert_int_equal(tern_device_open(&device, "cpu", &options, NULL), TERN_E_USAGE);
    }
}

static void test_level_by_environment(void **state)
{
    (void)state;
    char *old = getenv("TERN_CPU");
    old = old ? strdup(old) : NULL;
    setenv("TERN_CPU", "bogus", 1);
    tern_device *device;
    tern_error err = {0};
    assert_int_equal(tern_device_open(&device, "cpu", NULL, &err), TERN_E_USAGE);
    assert_non_null(strstr(err.text, "bogus"));
    assert_non_null(strstr(err.text, "ref"));
    tern_device_info info = {0};
    assert_true(tern_device_list(&info, 1) >= 1); /* it is there; opening says what is wrong */
    assert_string_equal(info.name, "cpu:0");
    setenv("TERN_CPU", "ref", 1);
    assert_int_equal(tern_device_open(&device, "cpu", NULL, NULL), TERN_OK);
    assert_string_equal(tern_device_describe(device)->level, "ref");
    tern_device_close(device);
    if (old)
        setenv("TERN_CPU", old, 1);
    else
        unsetenv("TERN_CPU");
    free(old);
}

static void test_list(void **state)
{
    (void)state;
    tern_device_info list[4];
    const int n = tern_device_list(list, 4);
    assert_true(n >= 1);
    assert_int_equal(tern_device_list(NULL, 0), n);
    assert_string_equal(list[0].name, "cpu:0");
    assert_true(list[0].memory_bytes >= list[0].free_bytes && list[0].free_bytes > 0);
}

static void test_budget(void **state)
{
    (void)state;
    tern_device *device = open_device("cpu:0", 1000);
    tern_buffer *first, *second = NULL;
    tern_error err = {0};
    assert_int_equal(tern_buffer_create(&first, device, 600, NULL), TERN_OK);
    assert_int_equal(tern_buffer_create(&second, device, 401, &err), TERN_E_FIT);
    assert_null(second);
    for (int i = 0; i < 3; i++) {
        static const char *const numbers[] = {"401", "1000", "600"};
        if (!strstr(err.text, numbers[i])) fail_msg("%s", err.text);
    }
    assert_int_equal(tern_device_used_bytes(device), 600);
    assert_int_equal(tern_buffer_create(&second, device, SIZE_MAX, NULL), TERN_E_FIT);
    assert_int_equal(tern_buffer_create(&second, device, 400, NULL), TERN_OK);
    assert_int_equal(tern_buffer_create(&second, device, 1, NULL), TERN_E_FIT);
    assert_int_equal(tern_device_used_bytes(device), 1000);
    tern_buffer_destroy(first);
    assert_int_equal(tern_device_used_bytes(device), 400);
    assert_int_equal(tern_buffer_create(&first, device, 600, NULL), TERN_OK);
    tern_buffer_destroy(first);
    tern_buffer_destroy(second);
    assert_int_equal(tern_device_used_bytes(device), 0);
    tern_device_close(device);
}

/* Without a budget the machine itself refuses, and the account is right afterwards. */
static void test_no_memory(void **state)
{
    world *w = *state;
    const uint64_t used = tern_device_used_bytes(w->a);
    static const size_t sizes[] = {SIZE_MAX, SIZE_MAX - 64, SIZE_MAX / 2, (size_t)1 << 60};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        tern_buffer *buffer = NULL;
        tern_error err = {0};
        assert_int_equal(tern_buffer_create(&buffer, w->a, sizes[i], &err), TERN_E_FIT);
        assert_non_null(strstr(err.text, "cpu:0"));
        assert_null(buffer);
        assert_true(tern_device_used_bytes(w->a) == used);
    }
}

/* A program's scratch counts, too, and is given back when creating fails or ends. */
static void test_budget_of_programs(void **state)
{
    (void)state;
    enum { D = 64, VOCAB = 1000 };
    const tern_weight_desc desc = {.use = TERN_USE_TABLE, .k = D, .n_out = VOCAB};
    tern_weight_layout layout;
    assert_int_equal(tern_weight_layout_of(&layout, tern_backend_find("cpu", NULL), &desc, NULL),
                     0);
    const tern_batch_limits limits = {1, 1, 1, 64};
    tern_op op = {.kind = TERN_OP_HEAD, .u.head = {.mode = TERN_HEAD_TOP, .n = 8, .eps = 1e-5f}};
    const size_t bytes = layout.bytes + 4096;
    uint64_t scratch = 0;
    for (int pass = 0; pass < 3; pass++) { /* no budget; one byte too little; exactly enough */
        tern_device *device = open_device("cpu:1", pass ? bytes + scratch - (pass == 1) : 0);
        tern_buffer *buffer;
        tern_weight *table;
        tern_program *program = NULL;
        assert_int_equal(tern_buffer_create(&buffer, device, bytes, NULL), TERN_OK);
        assert_int_equal(tern_weight_create(&table, buffer, 4096, &desc, NULL), TERN_OK);
        op.u.head.table = table;
        op.u.head.x = tern_span_make(buffer, 0, 1, D, TERN_F32);
        op.u.head.gain = tern_span_make(buffer, 1024, 1, D, TERN_F32);
        op.u.head.top = tern_span_make(buffer, 2048, 1, 64, TERN_OPAQUE);
        const int status = tern_program_create(&program, device, &op, 1, &limits, NULL);
        assert_int_equal(status, pass == 1 ? TERN_E_FIT : TERN_OK);
        const uint64_t used = tern_device_used_bytes(device);
        if (pass == 0) scratch = used - bytes;
        assert_true(scratch > VOCAB * sizeof(float));
        assert_true(used == (pass == 1 ? bytes : bytes + scratch));
        tern_program_destroy(program);
        assert_true(tern_device_used_bytes(device) == bytes);
        tern_weight_destroy(table);
        tern_buffer_destroy(buffer);
        tern_device_close(device);
    }
}

static void test_transfers(void **state)
{
    world *w = *state;
    uint8_t out[64] = {0}, in[64];
    memset(in, 7, sizeof in);
    assert_int_equal(tern_upload(w->on_a, w->in_a, BYTES - 64, in, 64, NULL), TERN_OK);
    assert_int_equal(tern_fill(w->on_a, w->in_a, BYTES - 32, 9, 32, NULL), TERN_OK);
    assert_int_equal(tern_download(w->on_a, out, w->in_a, BYTES - 64, 64, NULL), TERN_OK);
    assert_int_equal(tern_stream_sync(w->on_a, NULL), TERN_OK);
    assert_true(out[0] == 7 && out[31] == 7 && out[32] == 9 && out[63] == 9);
    const struct {
        size_t offset, bytes;
    } wrong[] = {{BYTES - 63, 64}, {BYTES, 1},         {BYTES + 1, 0},  {0, BYTES + 1},
                 {0, SIZE_MAX},    {SIZE_MAX, 1},      {64, SIZE_MAX - 63}, {SIZE_MAX - 63, 64}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        const size_t at = wrong[i].offset, n = wrong[i].bytes;
        tern_error err = {0};
        assert_int_equal(tern_upload(w->on_a, w->in_a, at, in, n, &err), TERN_E_USAGE);
        if (!strstr(err.text, "cpu:0") || !strstr(err.text, "8192")) fail_msg("%s", err.text);
        assert_int_equal(tern_download(w->on_a, out, w->in_a, at, n, NULL), TERN_E_USAGE);
        assert_int_equal(tern_fill(w->on_a, w->in_a, at, 0, n, NULL), TERN_E_USAGE);
    }
    assert_int_equal(tern_upload(w->on_a, w->in_a, BYTES, NULL, 0, NULL), TERN_OK);
    tern_error err = {0};
    assert_int_equal(tern_upload(w->on_a, w->in_b, 0, in, 64, &err), TERN_E_USAGE);
    if (!strstr(err.text, "cpu:0") || !strstr(err.text, "cpu:1")) fail_msg("%s", err.text);
    assert_int_equal(tern_download(w->on_a, out, w->in_b, 0, 64, NULL), TERN_E_USAGE);
    assert_int_equal(tern_fill(w->on_a, w->in_b, 0, 1, 64, NULL), TERN_E_USAGE);
    assert_int_equal(((uint8_t *)tern_buffer_host(w->in_b))[0],
                     0); /* zeroed when made, and since */
}

static void test_buffers(void **state)
{
    world *w = *state;
    assert_int_equal(tern_buffer_bytes(w->in_a), BYTES);
    assert_ptr_equal(tern_buffer_device(w->in_b), w->b);
    const uint8_t *bytes = tern_buffer_host(w->in_b);
    assert_int_equal((uintptr_t)bytes % 64, 0);
    for (int i = 0; i < BYTES; i++) assert_int_equal(bytes[i], 0);
    tern_buffer *empty;
    assert_int_equal(tern_buffer_create(&empty, w->a, 0, NULL), TERN_OK);
    tern_buffer_destroy(empty);
}

static void test_events(void **state)
{
    world *w = *state;
    tern_event *event;
    tern_stream *on_b;
    assert_int_equal(tern_stream_create(&on_b, w->b, NULL), TERN_OK);
    assert_int_equal(tern_event_create(&event, w->a, NULL), TERN_OK);
    assert_int_equal(tern_event_record(event, w->on_a, NULL), TERN_OK);
    assert_int_equal(tern_event_wait(event, w->on_a, NULL), TERN_OK);
    tern_error err = {0};
    assert_int_equal(tern_event_record(event, on_b, &err), TERN_E_USAGE);
    if (!strstr(err.text, "cpu:0") || !strstr(err.text, "cpu:1")) fail_msg("%s", err.text);
    tern_event_destroy(event);
    tern_stream_destroy(on_b);
}

/* ---- weights -------------------------------------------------------------------------------- */

static void test_weight_shapes(void **state)
{
    world *w = *state;
    const tern_weight_desc wrong[] = {
        {.k = 0, .n_out = 16},
        {.k = 64, .n_out = 0},
        {.k = -64, .n_out = 16},
        {.k = 64, .n_out = INT_MIN},
        {.k = INT_MAX, .n_out = 1}, /* 127 * k must stay below 2^31 */
        {.k = 1 << 24, .n_out = 1},
        {.use = (tern_weight_use)4, .k = 64, .n_out = 16},
        {.use = TERN_USE_GATE_UP, .k = 64, .n_out = 17},
        {.use = TERN_USE_QKV, .k = 64, .n_out = 16}, /* no heads */
        {.use = TERN_USE_QKV, .k = 64, .n_out = 16, .h = 2, .kv = 1, .hd = 8},
        {.use = TERN_USE_QKV, .k = 64, .n_out = 32, .h = INT_MAX, .kv = INT_MAX, .hd = INT_MAX},
        {.use = TERN_USE_TABLE, .k = 64, .n_out = 16, .head_type = (tern_head_type)2},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        tern_weight_layout layout;
        tern_weight *weight = NULL;
        tern_error err = {0};
        if (tern_weight_layout_of(&layout, tern_backend_find("cpu", NULL), &wrong[i], &err) !=
            TERN_E_USAGE)
            fail_msg("weight %zu was accepted", i);
        assert_true(err.text[0] != 0);
        assert_int_equal(tern_weight_create(&weight, w->in_a, 0, &wrong[i], NULL), TERN_E_USAGE);
        assert_null(weight);
    }
}

static void test_weight_places(void **state)
{
    world *w = *state;
    const tern_weight_desc desc = {.k = 64, .n_out = 48};
    tern_weight_layout layout;
    assert_int_equal(tern_weight_layout_of(&layout, tern_backend_find("cpu", NULL), &desc, NULL),
                     0);
    const size_t wrong[] = {1, layout.alignment / 2, BYTES, BYTES - layout.bytes + layout.alignment,
                            SIZE_MAX - 63, SIZE_MAX};
    tern_weight *weight = NULL;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        tern_error err = {0};
        assert_int_equal(tern_weight_create(&weight, w->in_a, wrong[i], &desc, &err), TERN_E_USAGE);
        assert_non_null(strstr(err.text, "8192"));
        assert_null(weight);
    }
    const size_t last = (BYTES - layout.bytes) / layout.alignment * layout.alignment;
    assert_int_equal(tern_weight_create(&weight, w->in_a, last, &desc, NULL), TERN_OK);
    assert_memory_equal(tern_weight_describe(weight), &desc, sizeof desc);
    tern_weight_destroy(weight);
}

static void test_ternary_rows(void **state)
{
    world *w = *state;
    enum { K = 70, N_OUT = 40 };
    const tern_weight_desc desc = {.k = K, .n_out = N_OUT};
    uint64_t seed = 5;
    int8_t values[N_OUT * K];
    float scale[N_OUT] = {1.0f};
    for (int i = 0; i < N_OUT * K; i++) values[i] = (int8_t)case_int(&seed, -1, 1);
    uint8_t *codes = case_pack_ternary(values, N_OUT, K);
    tern_weight *weight;
    assert_int_equal(tern_weight_create(&weight, w->in_a, 0, &desc, NULL), TERN_OK);
    const tern_weight_rows wrong[] = {
        {-16, 16, codes, NULL, NULL, scale, NULL}, {8, 16, codes, NULL, NULL, scale, NULL},
        {0, 0, codes, NULL, NULL, scale, NULL},    {0, -1, codes, NULL, NULL, scale, NULL},
        {0, 41, codes, NULL, NULL, scale, NULL},   {32, 9, codes, NULL, NULL, scale, NULL},
        {48, 1, codes, NULL, NULL, scale, NULL},   {0, INT_MAX, codes, NULL, NULL, scale, NULL},
        {INT_MAX - 15, 16, codes, NULL, NULL, scale, NULL},
        {INT_MIN, INT_MIN, codes, NULL, NULL, scale, NULL},
        {0, 16, NULL, NULL, NULL, scale, NULL},    {0, 16, codes, NULL, NULL, NULL, NULL},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(tern_weight_import(weight, &wrong[i], NULL), TERN_E_USAGE);
    const size_t bytes = tern_ternary_host_bytes(N_OUT, K);
    for (size_t i = 0; i < 4 * bytes; i += 37) { /* code 3 anywhere, padding included */
        uint8_t *bad = codes + i / 4;
        const uint8_t right = *bad;
        *bad |= (uint8_t)(3 << 2 * (i % 4));
        tern_error err = {0};
        const tern_weight_rows rows = {.rows = N_OUT, .codes = codes, .scale = scale};
        assert_int_equal(tern_weight_import(weight, &rows, &err), TERN_E_MODEL);
        assert_non_null(strstr(err.text, "code 3"));
        *bad = right;
    }
    const tern_weight_rows last = {32, 8, codes + bytes / 3 * 2, NULL, NULL, scale + 32, NULL};
    const tern_weight_rows first = {0, 32, codes, NULL, NULL, scale, NULL};
    assert_int_equal(tern_weight_import(weight, &last, NULL), TERN_OK);
    assert_int_equal(tern_weight_import(weight, &first, NULL), TERN_OK);
    tern_weight_destroy(weight);
    free(codes);
}

static void test_table_rows(void **state)
{
    world *w = *state;
    const tern_weight_desc desc = {.use = TERN_USE_TABLE, .k = 16, .n_out = 20};
    const tern_weight_desc coarse = {.use = TERN_USE_TABLE, .k = 16, .n_out = 20,
                                     .head_type = TERN_HEAD_I8};
    const int8_t planes[20 * 16] = {0};
    const float ones[20] = {0};
    tern_weight *weight;
    assert_int_equal(tern_weight_create(&weight, w->in_a, 0, &desc, NULL), TERN_OK);
    tern_weight_rows rows = {.rows = 20, .high = planes, .low = planes, .scale = ones, .col = ones};
    assert_int_equal(tern_weight_import(weight, &rows, NULL), TERN_OK);
    rows.low = NULL;
    assert_int_equal(tern_weight_import(weight, &rows, NULL), TERN_E_USAGE);
    tern_weight_destroy(weight);
    assert_int_equal(tern_weight_create(&weight, w->in_a, 0, &coarse, NULL), TERN_OK);
    assert_int_equal(tern_weight_import(weight, &rows, NULL), TERN_OK);
    rows.high = NULL;
    assert_int_equal(tern_weight_import(weight, &rows, NULL), TERN_E_USAGE);
    rows.high = planes;
    rows.rows = 21;
    assert_int_equal(tern_weight_import(weight, &rows, NULL), TERN_E_USAGE);
    tern_weight_destroy(weight);
}

static void test_destroy_nothing(void **state)
{
    (void)state;
    tern_device_close(NULL);
    tern_buffer_destroy(NULL);
    tern_weight_destroy(NULL);
    tern_stream_destroy(NULL);
    tern_event_destroy(NULL);
    tern_program_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names), cmocka_unit_test(test_long_name),
        cmocka_unit_test(test_threads), cmocka_unit_test(test_level_by_environment),
        cmocka_unit_test(test_list), cmocka_unit_test(test_budget),
        cmocka_unit_test(test_no_memory), cmocka_unit_test(test_budget_of_programs),
        cmocka_unit_test(test_transfers), cmocka_unit_test(test_buffers),
        cmocka_unit_test(test_events), cmocka_unit_test(test_weight_shapes),
        cmocka_unit_test(test_weight_places), cmocka_unit_test(test_ternary_rows),
        cmocka_unit_test(test_table_rows), cmocka_unit_test(test_destroy_nothing),
    };
    return cmocka_run_group_tests(tests, open_world, close_world);
}
