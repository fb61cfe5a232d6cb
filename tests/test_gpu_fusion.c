/* test_gpu_fusion.c - a layer on emulated GPUs with and without the fusion of neighbours: fewer
 * kernels for one token, the same bytes in all of the memory that the layer may see. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cases.h"
#include "cuda/emu/emu_control.h"
#include "device/backend.h"

enum {
    D = 80, H = 4, KV = 2, HD = 16, F = 144, QKV = (H + 2 * KV) * HD, O = H * HD,
    N_TOK = 3, N_CTX = 640, N_PAGES = N_CTX / TERN_PAGE_TOK, N_OPS = 11, BYTES = 1 << 20,
};

static const tern_batch_limits limits = {N_TOK, 1, 1, N_CTX};

/* A device with the operands of a layer in one buffer. */
typedef struct world {
    tern_device *device;
    tern_stream *stream;
    tern_buffer *memory;
    tern_program *program;
    size_t used;
    uint64_t random;
    tern_weight *weights[4];
    tern_op ops[N_OPS];
    uint8_t bytes[BYTES]; /* of the memory, at the end */
} world;

static void ok(int status)
{
    assert_int_equal(status, TERN_OK);
}

static size_t take(world *w, size_t bytes)
{
    const size_t at = w->used;
    w->used += (bytes + 255) / 256 * 256;
    assert_true(w->used <= BYTES);
    return at;
}

static tern_span floats(world *w, int rows, int cols)
{
    const size_t n = (size_t)rows * (size_t)cols;
    const tern_span s = tern_span_make(w->memory, take(w, n * 4), rows, cols, TERN_F32);
    float *values = case_alloc(n * sizeof *values);
    case_floats(values, (int)n, 2.0f, &w->random);
    ok(tern_upload(w->stream, s.buffer, s.offset_bytes, values, n * 4, NULL));
    ok(tern_stream_sync(w->stream, NULL));
    free(values);
    return s;
}

static tern_span quant(world *w, int k)
{
    const size_t bytes = w->device->backend->quant_bytes(N_TOK, k);
    return tern_span_make(w->memory, take(w, bytes), 1, (int64_t)bytes, TERN_OPAQUE);
}

static const tern_weight *ternary(world *w, int i, int n_out, int k)
{
    const tern_weight_desc desc = {.k = k, .n_out = n_out};
    const int n = n_out * k;
    int8_t *values = case_alloc((size_t)n);
    float *scale = case_alloc((size_t)n_out * sizeof *scale);
    for (int j = 0; j < n; j++) values[j] = (int8_t)case_int(&w->random, -1, 1);
    for (int j = 0; j < n_out; j++) scale[j] = 0.05f + case_float(&w->random, 0.01f);
    uint8_t *codes = case_pack_ternary(values, n_out, k);
    const tern_weight_rows rows = {.rows = n_out, .codes = codes, .scale = scale};
    tern_weight_layout layout;
    ok(tern_weight_layout_of(&layout, w->device->backend, &desc, NULL));
    ok(tern_weight_create(&w->weights[i], w->memory, take(w, layout.bytes), &desc, NULL));
    ok(tern_weight_import(w->weights[i], &rows, NULL));
    free(codes);
    free(scale);
    free(values);
    return w->weights[i];
}

/* NORM_QUANT and LINEAR at ops[at] and behind it. */
static void product(world *w, int at, tern_span x, tern_span y, int accumulate)
{
    const int k = (int)x.cols;
    const tern_span gain = floats(w, 1, k), q = quant(w, k);
    w->ops[at] = (tern_op){.kind = TERN_OP_NORM_QUANT, .u.norm_quant = {x, gain, q, 1e-5f, 0}};
    w->ops[at + 1] = (tern_op){
        .kind = TERN_OP_LINEAR,
        .u.linear = {q, ternary(w, at / 3, (int)y.cols, k), y, accumulate}};
}

/* The layer of runtime/model/graph.c. */
static void make_layer(world *w, tern_kv_type type)
{
    const tern_span x = floats(w, N_TOK, D), qkv = floats(w, N_TOK, QKV), o = floats(w, N_TOK, O);
    const tern_span gate_up = floats(w, N_TOK, 2 * F), act = floats(w, N_TOK, F);
    const tern_span rope = floats(w, N_CTX, HD);
    const size_t pages = take(w, N_PAGES * tern_kv_page_bytes(type, KV, HD));
    const tern_kv_pool pool = {w->memory, pages, N_PAGES, KV, HD, type};
    product(w, 0, x, qkv, 0);
    w->ops[2] = (tern_op){.kind = TERN_OP_ROPE_KV, .u.rope_kv = {.qkv = qkv, .rope = rope,
                                                                 .pool = pool, .h = H,
                                                                 .eps = 1e-5f}};
    w->ops[3] = (tern_op){.kind = TERN_OP_ATTN,
                          .u.attn = {tern_span_cols(qkv, 0, O), pool, o, H}};
    product(w, 4, o, x, 1);
    product(w, 6, x, gate_up, 0);
    w->ops[8] = (tern_op){.kind = TERN_OP_ACT_MUL,
                          .u.act_mul = {tern_span_cols(gate_up, 0, F),
                                        tern_span_cols(gate_up, F, F), act, TERN_ACT_RELU2}};
    product(w, 9, act, x, 1);
}

static world *world_open(const char *device, const char *off, tern_kv_type type)
{
    world *w = case_alloc(sizeof *w);
    w->random = 11;
    if (off) setenv("TERN_CUDA_OFF", off, 1);
    ok(tern_device_open(&w->device, device, NULL, NULL));
    unsetenv("TERN_CUDA_OFF");
    ok(tern_stream_create(&w->stream, w->device, NULL));
    ok(tern_buffer_create(&w->memory, w->device, BYTES, NULL));
    make_layer(w, type);
    ok(tern_program_create(&w->program, w->device, w->ops, N_OPS, &limits, NULL));
    return w;
}

static void world_close(world *w)
{
    tern_program_destroy(w->program);
    for (int i = 0; i < 4; i++) tern_weight_destroy(w->weights[i]);
    tern_buffer_destroy(w->memory);
    tern_stream_destroy(w->stream);
    tern_device_close(w->device);
    free(w);
}

/* Runs the layer on n tokens from position `first`; returns how many kernels that took. */
static unsigned long step(world *w, int first, int n)
{
    int32_t pos[N_TOK], seq[N_TOK] = {0}, pages[N_PAGES];
    for (int t = 0; t < n; t++) pos[t] = first + t;
    for (int p = 0; p < N_PAGES; p++) pages[p] = N_PAGES - 1 - p;
    const tern_batch batch = {.n_tok = n, .n_seq = 1, .pos = pos, .seq = seq, .pages = pages,
                              .pages_ld = N_PAGES};
    const unsigned long before = tern_emu_kernels_run();
    ok(tern_program_run(w->program, w->stream, &batch, NULL));
    ok(tern_stream_sync(w->stream, NULL));
    ok(tern_download(w->stream, w->bytes, w->memory, 0, w->used, NULL));
    ok(tern_stream_sync(w->stream, NULL));
    return tern_emu_kernels_run() - before;
}

#define PLAIN_KERNELS 12 /* NORM_QUANT 4, LINEAR 4, ROPE_KV, ATTN 2, ACT_MUL */
#define FUSED_KERNELS 7  /* without NORM_QUANT and ACT_MUL */

static void compare(const char *device, tern_kv_type type)
{
    world *plain = world_open(device, "fusion", type), *fused = world_open(device, NULL, type);
    for (int i = 0; i < 4; i++) { /* the second and later ones are graphs */
        assert_int_equal(step(plain, i, 1), PLAIN_KERNELS);
        assert_int_equal(step(fused, i, 1), FUSED_KERNELS);
        assert_int_equal(plain->used, fused->used);
        assert_memory_equal(plain->bytes, fused->bytes, plain->used);
    }
    assert_int_equal(step(plain, 4, N_TOK), PLAIN_KERNELS);
    assert_int_equal(step(fused, 4, N_TOK), PLAIN_KERNELS);
    assert_memory_equal(plain->bytes, fused->bytes, plain->used);
    assert_int_equal(step(plain, 600, 1), PLAIN_KERNELS); /* in the second group of pages */
    assert_int_equal(step(fused, 600, 1), FUSED_KERNELS);
    assert_memory_equal(plain->bytes, fused->bytes, plain->used);
    world_close(plain);
    world_close(fused);
}

static void test_hopper(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        tern_emu_set_seed(seed);
        compare("emu:0", seed % 2 ? TERN_KV_F16 : TERN_KV_I8);
    }
}

static void test_turing(void **state)
{
    (void)state;
    compare("emu:1", TERN_KV_F16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hopper),
        cmocka_unit_test(test_turing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
