/* test_gpu_fusion.c - two layers on emulated GPUs with and without the fusion of neighbours: fewer
 * kernels for one token, the same bytes in all of the memory that they may see. */
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
    N_TOK = 3, FEW_CTX = 640, MANY_CTX = 4736, MAX_PAGES = MANY_CTX / TERN_PAGE_TOK,
    LAYER_OPS = 11, LAYERS = 2, N_OPS = LAYERS * LAYER_OPS,
    BYTES = 2 << 20,
};

/* A device with the operands of two layers in one buffer; activations are those of both. */
typedef struct world {
    tern_device *device;
    tern_stream *stream;
    tern_buffer *memory;
    tern_program *program;
    size_t used;
    int n_ctx;
    uint64_t random;
    tern_weight *weights[4 * LAYERS];
    int n_weights;
    tern_span x, qkv, o, gate_up, act, rope;
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

/* Pages that look as if every position had been stored: f16 from 2^-7 to 2, s8, scales. */
static size_t drawn_pages(world *w, int n_pages, tern_kv_type type)
{
    const size_t bytes = (size_t)n_pages * tern_kv_page_bytes(type, KV, HD), at = take(w, bytes);
    const size_t head = tern_kv_page_bytes(type, 1, HD), scales = 2 * TERN_PAGE_TOK * sizeof(float);
    uint8_t *pages = case_alloc(bytes);
    for (size_t i = 0; i < bytes; i += 4) {
        const uint32_t random = (uint32_t)case_next(&w->random);
        const float scale = (float)(1 + random % 64) * 0x1p-11f;
        const uint32_t f16 = (random & 0x9fff9fffu) + 0x20002000u, s8 = random & 0x7f7f7f7fu;
        memcpy(pages + i, type == TERN_KV_F16 ? &f16 : &s8, 4);
        if (type == TERN_KV_I8 && i % head >= head - scales) memcpy(pages + i, &scale, 4);
    }
    ok(tern_upload(w->stream, w->memory, at, pages, bytes, NULL));
    ok(tern_stream_sync(w->stream, NULL));
    free(pages);
    return at;
}

static tern_span quant(world *w, int k)
{
    const size_t bytes = w->device->backend->quant_bytes(N_TOK, k);
    return tern_span_make(w->memory, take(w, bytes), 1, (int64_t)bytes, TERN_OPAQUE);
}

static const tern_weight *ternary(world *w, int n_out, int k)
{
    const tern_weight_desc desc = {.k = k, .n_out = n_out};
    const int n = n_out * k, i = w->n_weights++;
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
        .u.linear = {q, ternary(w, (int)y.cols, k), y, accumulate}};
}

/* The operands of both layers. */
static void make_activations(world *w)
{
    w->x = floats(w, N_TOK, D);
    w->qkv = floats(w, N_TOK, QKV);
    w->o = floats(w, N_TOK, O);
    w->gate_up = floats(w, N_TOK, 2 * F);
    w->act = floats(w, N_TOK, F);
    w->rope = floats(w, w->n_ctx, HD);
}

/* A layer of runtime/model/graph.c, from ops[at] on. */
static void make_layer(world *w, int at, tern_kv_type type)
{
    const int n_pages = w->n_ctx / TERN_PAGE_TOK;
    const tern_kv_pool pool = {w->memory, drawn_pages(w, n_pages, type), n_pages, KV, HD, type};
    product(w, at, w->x, w->qkv, 0);
    w->ops[at + 2] = (tern_op){.kind = TERN_OP_ROPE_KV,
                               .u.rope_kv = {.qkv = w->qkv, .rope = w->rope, .pool = pool, .h = H,
                                             .eps = 1e-5f}};
    w->ops[at + 3] = (tern_op){.kind = TERN_OP_ATTN,
                               .u.attn = {tern_span_cols(w->qkv, 0, O), pool, w->o, H}};
    product(w, at + 4, w->o, w->x, 1);
    product(w, at + 6, w->x, w->gate_up, 0);
    w->ops[at + 8] = (tern_op){.kind = TERN_OP_ACT_MUL,
                               .u.act_mul = {tern_span_cols(w->gate_up, 0, F),
                                             tern_span_cols(w->gate_up, F, F), w->act,
                                             TERN_ACT_RELU2}};
    product(w, at + 9, w->act, w->x, 1);
}

static world *world_open(const char *device, const char *off, tern_kv_type type, int n_ctx)
{
    const tern_batch_limits limits = {N_TOK, 1, 1, n_ctx};
    world *w = case_alloc(sizeof *w);
    w->n_ctx = n_ctx;
    w->random = 11;
    if (off) setenv("TERN_CUDA_OFF", off, 1);
    ok(tern_device_open(&w->device, device, NULL, NULL));
    unsetenv("TERN_CUDA_OFF");
    ok(tern_stream_create(&w->stream, w->device, NULL));
    ok(tern_buffer_create(&w->memory, w->device, BYTES, NULL));
    make_activations(w);
    for (int i = 0; i < LAYERS; i++) make_layer(w, i * LAYER_OPS, type);
    ok(tern_program_create(&w->program, w->device, w->ops, N_OPS, &limits, NULL));
    return w;
}

static void world_close(world *w)
{
    tern_program_destroy(w->program);
    for (int i = 0; i < w->n_weights; i++) tern_weight_destroy(w->weights[i]);
    tern_buffer_destroy(w->memory);
    tern_stream_destroy(w->stream);
    tern_device_close(w->device);
    free(w);
}

/* Runs both layers on n tokens from position `first`; returns how many kernels that took. */
static unsigned long step(world *w, int first, int n)
{
    const int n_pages = w->n_ctx / TERN_PAGE_TOK;
    int32_t pos[N_TOK], seq[N_TOK] = {0}, pages[MAX_PAGES];
    for (int t = 0; t < n; t++) pos[t] = first + t;
    for (int p = 0; p < n_pages; p++) pages[p] = n_pages - 1 - p;
    const tern_batch batch = {.n_tok = n, .n_seq = 1, .pos = pos, .seq = seq, .pages = pages,
                              .pages_ld = n_pages};
    const unsigned long before = tern_emu_kernels_run();
    ok(tern_program_run(w->program, w->stream, &batch, NULL));
    ok(tern_stream_sync(w->stream, NULL));
    ok(tern_download(w->stream, w->bytes, w->memory, 0, w->used, NULL));
    ok(tern_stream_sync(w->stream, NULL));
    return tern_emu_kernels_run() - before;
}

/* A layer is NORM_QUANT 4, LINEAR 4, ROPE_KV, ATTN 2, ACT_MUL; fused four LINEARs and an ATTN, but
 * for the last one, since nobody writes its qkv anew. */
#define PLAIN_KERNELS (2 * 12)
#define FUSED_KERNELS (5 + 7)

/* Both at once on n tokens from `first` on. */
static void compare(world *plain, world *fused, int first, int n, unsigned long kernels)
{
    assert_int_equal(step(plain, first, n), PLAIN_KERNELS);
    assert_int_equal(step(fused, first, n), kernels);
    assert_int_equal(plain->used, fused->used);
    assert_memory_equal(plain->bytes, fused->bytes, plain->used);
}

static void check(const char *device, tern_kv_type type, int n_ctx)
{
    world *plain = world_open(device, "fusion", type, n_ctx);
    world *fused = world_open(device, NULL, type, n_ctx);
    const unsigned long kernels = FUSED_KERNELS + (n_ctx == MANY_CTX); /* a merge of its own */
    for (int i = 0; i < 4; i++) /* the second and later ones are graphs */
        compare(plain, fused, i, 1, kernels);
    compare(plain, fused, 4, N_TOK, PLAIN_KERNELS);
    compare(plain, fused, 64, 1, kernels); /* two blocks */
    compare(plain, fused, n_ctx - 30, 1, kernels); /* several groups */
    world_close(plain);
    world_close(fused);
}

static void test_hopper(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        tern_emu_set_seed(seed);
        check("emu:0", seed % 2 ? TERN_KV_F16 : TERN_KV_I8, FEW_CTX);
    }
    check("emu:0", TERN_KV_I8, MANY_CTX);
}

static void test_turing(void **state)
{
    (void)state;
    check("emu:1", TERN_KV_F16, FEW_CTX);
    check("emu:1", TERN_KV_I8, FEW_CTX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hopper),
        cmocka_unit_test(test_turing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
