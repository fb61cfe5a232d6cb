/* test_screening.c - HEAD TOP computes few rows of the table in full (N7); its answer equals the
 * best of all logits, bit for bit, on tables whose bounds are tight, loose, tied and absurd. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cases.h"
#include "tern/device.h"

enum { N_TOK = 3, D = 100, N_VOCAB = 700, MAX_TOP = 64 };

/* What the table holds. */
enum { NORMAL, EQUAL_ROWS, LOW_PLANE_ONLY, WILD_SCALES, ZEROS, N_TABLES };

typedef struct world {
    tern_device *device;
    tern_buffer *memory;
    tern_stream *stream;
    tern_weight *table;
    tern_span x, gain, logits, top;
} world;

static tern_span place(world *w, size_t *used, int64_t rows, int64_t cols, tern_dtype type)
{
    const tern_span span = tern_span_make(w->memory, *used, rows, cols, type);
    *used += ((size_t)(rows * cols) * tern_dtype_bytes(type) + 63) / 64 * 64;
    return span;
}

static void fill_table(world *w, int kind, uint64_t *seed)
{
    static int8_t high[N_VOCAB * D], low[N_VOCAB * D];
    static float scale[N_VOCAB], col[D];
    for (int i = 0; i < N_VOCAB * D; i++) {
        const int from = kind == EQUAL_ROWS && i >= D ? i % D : -1;
        high[i] = (int8_t)(from >= 0 ? high[from] : case_int(seed, -127, 127));
        low[i] = (int8_t)(from >= 0 ? low[from] : case_int(seed, -128, 127));
        if (kind == LOW_PLANE_ONLY || kind == ZEROS) high[i] = 0;
        if (kind == ZEROS) low[i] = 0;
    }
    for (int v = 0; v < N_VOCAB; v++) {
        scale[v] = kind == EQUAL_ROWS ? 0.01f : 0.01f + case_float(seed, 0.005f);
        if (kind == WILD_SCALES) scale[v] = v % 7 == 0 ? 0.0f : v % 5 == 0 ? 1e30f : 1e-42f;
    }
    for (int i = 0; i < D; i++) col[i] = 1.0f;
    const tern_weight_rows rows = {
        .rows = N_VOCAB, .high = high, .low = low, .scale = scale, .col = col};
    assert_int_equal(tern_weight_import(w->table, &rows, NULL), TERN_OK);
}

static void open_world(world *w, int n_threads)
{
    const tern_device_options options = {.n_threads = n_threads};
    const tern_weight_desc desc = {.use = TERN_USE_TABLE, .k = D, .n_out = N_VOCAB};
    assert_int_equal(tern_device_open(&w->device, "cpu", &options, NULL), TERN_OK);
    assert_int_equal(tern_buffer_create(&w->memory, w->device, 1 << 20, NULL), TERN_OK);
    assert_int_equal(tern_stream_create(&w->stream, w->device, NULL), TERN_OK);
    tern_weight_layout layout;
    const tern_backend *backend = tern_backend_find("cpu", NULL);
    assert_int_equal(tern_weight_layout_of(&layout, backend, &desc, NULL), TERN_OK);
    assert_int_equal(tern_weight_create(&w->table, w->memory, 0, &desc, NULL), TERN_OK);
    size_t used = (layout.bytes + 63) / 64 * 64;
    w->x = place(w, &used, N_TOK, D, TERN_F32);
    w->gain = place(w, &used, 1, D, TERN_F32);
    w->logits = place(w, &used, N_TOK, N_VOCAB, TERN_F32);
    w->top = place(w, &used, 1, N_TOK * MAX_TOP * (int64_t)sizeof(tern_candidate), TERN_OPAQUE);
    assert_true(used <= 1 << 20);
}

static void close_world(world *w)
{
    tern_weight_destroy(w->table);
    tern_stream_destroy(w->stream);
    tern_buffer_destroy(w->memory);
    tern_device_close(w->device);
}

static void fill_x(world *w, int zero, uint64_t *seed)
{
    float x[N_TOK * D], gain[D];
    case_floats(x, N_TOK * D, 4.0f, seed);
    case_floats(gain, D, 1.0f, seed);
    if (zero) memset(x, 0, sizeof x);
    assert_int_equal(tern_upload(w->stream, w->memory, w->x.offset_bytes, x, sizeof x, NULL), 0);
    assert_int_equal(
        tern_upload(w->stream, w->memory, w->gain.offset_bytes, gain, sizeof gain, NULL), 0);
}

static void run(world *w, tern_head_mode mode, int n)
{
    static const int32_t pos[N_TOK] = {0, 1, 2}, seq[N_TOK] = {0, 0, 0}, rows[N_TOK] = {2, 0, 1};
    const tern_op op = {.kind = TERN_OP_HEAD,
                        .layer = -1,
                        .u.head = {.x = w->x, .gain = w->gain, .table = w->table,
                                   .logits = w->logits, .top = w->top, .mode = mode, .n = n,
                                   .eps = 1e-5f}};
    const tern_batch_limits limits = {N_TOK, 1, N_TOK, N_TOK};
    const tern_batch batch = {
        .n_tok = N_TOK, .n_seq = 1, .n_rows = N_TOK, .pos = pos, .seq = seq, .rows = rows};
    tern_program *program;
    tern_error err = {0};
    assert_int_equal(tern_program_create(&program, w->device, &op, 1, &limits, &err), TERN_OK);
    assert_int_equal(tern_program_run(program, w->stream, &batch, &err), TERN_OK);
    assert_int_equal(tern_stream_sync(w->stream, &err), TERN_OK);
    tern_program_destroy(program);
}

static int better_first(const void *a, const void *b)
{
    const tern_candidate *x = a, *y = b;
    if (x->logit != y->logit) return x->logit > y->logit ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static void compare(world *w, int n)
{
    static float logits[N_TOK * N_VOCAB];
    static tern_candidate expected[N_VOCAB], top[N_TOK * MAX_TOP];
    run(w, TERN_HEAD_FULL, 0);
    tern_download(w->stream, logits, w->memory, w->logits.offset_bytes, sizeof logits, NULL);
    run(w, TERN_HEAD_TOP, n);
    tern_download(w->stream, top, w->memory, w->top.offset_bytes, sizeof top, NULL);
    for (int row = 0; row < N_TOK; row++) {
        for (int v = 0; v < N_VOCAB; v++)
            expected[v] = (tern_candidate){logits[row * N_VOCAB + v], v};
        qsort(expected, N_VOCAB, sizeof *expected, better_first);
        for (int i = 0; i < n; i++) {
            assert_int_equal(top[row * n + i].id, expected[i].id);
            assert_memory_equal(&top[row * n + i].logit, &expected[i].logit, sizeof(float));
        }
    }
}

static void test_equals_full(void **state)
{
    (void)state;
    uint64_t seed = 12;
    for (int n_threads = 1; n_threads <= 3; n_threads += 2) {
        world w;
        open_world(&w, n_threads);
        for (int kind = 0; kind < N_TABLES; kind++)
            for (int round = 0; round < 6; round++) {
                fill_table(&w, kind, &seed);
                fill_x(&w, round == 5, &seed);
                compare(&w, round % 3 == 0 ? 1 : round % 3 == 1 ? 7 : MAX_TOP);
            }
        close_world(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_equals_full)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
