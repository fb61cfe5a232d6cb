/* test_program_attn.c - attention gives the same bits for every number of threads: where a token's
 * groups lie in the parts of many threads, where states to be kept do not fit, where tokens differ
 * in length. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "cases.h"
#include "device/backend.h"

enum { MAX_TOK = 40, MAX_PAGES = 128 };

/* n_tok tokens of one sequence: the last at position `last`, each `step` before the next. */
typedef struct attn_case {
    int h, kv, hd, n_tok, last, step;
} attn_case;

/* A device with queries, pages and results. */
typedef struct rig {
    tern_device *device;
    tern_stream *stream;
    tern_buffer *memory;
    tern_span q, o;
    tern_kv_pool pool;
    tern_program *program;
    int32_t pos[MAX_TOK], seq[MAX_TOK], pages[MAX_PAGES];
    int n_pages;
} rig;

static void ok(int status)
{
    assert_int_equal(status, TERN_OK);
}

/* Drawn queries; pages of small values, scales of int8 above zero. */
static void fill(rig *r, const attn_case *c)
{
    uint64_t seed = 1;
    uint8_t *memory = tern_buffer_host(r->memory);
    case_floats((float *)(void *)(memory + r->q.offset_bytes), (int)(r->q.rows * r->q.cols), 2.0f,
                &seed);
    const size_t head = tern_kv_page_bytes(r->pool.type, 1, c->hd);
    const size_t scales = r->pool.type == TERN_KV_I8 ? 2 * TERN_PAGE_TOK * sizeof(float) : 0;
    for (int i = 0; i < r->n_pages * c->kv; i++) {
        uint8_t *at = memory + r->pool.offset_bytes + (size_t)i * head;
        for (size_t j = 0; j < head - scales; j += 2) {
            uint16_t value = (uint16_t)case_next(&seed);
            if (scales == 0) value = (uint16_t)((value & 0x9fff) + 0x2000); /* 2^-7 .. 2 */
            if (scales && (value & 0xff) == 0x80) value ^= 1;               /* no -128 */
            if (scales && value >> 8 == 0x80) value ^= 0x100;
            memcpy(at + j, &value, 2);
        }
        for (size_t j = head - scales; j < head; j += sizeof(float)) {
            const float scale = 0.01f + case_float(&seed, 0.009f);
            memcpy(at + j, &scale, sizeof scale);
        }
    }
}

static void open_rig(rig *r, const attn_case *c, tern_kv_type type, int n_threads)
{
    memset(r, 0, sizeof *r);
    r->n_pages = c->last / TERN_PAGE_TOK + 1;
    assert_true(c->n_tok <= MAX_TOK && r->n_pages <= MAX_PAGES);
    const size_t rows = (size_t)c->n_tok * (size_t)(c->h * c->hd) * sizeof(float);
    const size_t pages = (size_t)r->n_pages * tern_kv_page_bytes(type, c->kv, c->hd);
    const tern_device_options options = {.n_threads = n_threads};
    ok(tern_device_open(&r->device, "cpu", &options, NULL));
    ok(tern_stream_create(&r->stream, r->device, NULL));
    ok(tern_buffer_create(&r->memory, r->device, 2 * rows + pages, NULL));
    r->q = tern_span_make(r->memory, 0, c->n_tok, c->h * c->hd, TERN_F32);
    r->o = tern_span_make(r->memory, rows, c->n_tok, c->h * c->hd, TERN_F32);
    r->pool = (tern_kv_pool){r->memory, 2 * rows, r->n_pages, c->kv, c->hd, type};
    fill(r, c);
    for (int t = 0; t < c->n_tok; t++) r->pos[t] = c->last - (c->n_tok - 1 - t) * c->step;
    for (int i = 0; i < r->n_pages; i++) r->pages[i] = r->n_pages - 1 - i;
    const tern_op op = {.kind = TERN_OP_ATTN, .u.attn = {r->q, r->pool, r->o, c->h}};
    const tern_batch_limits limits = {c->n_tok, 1, 1, c->last + 1};
    ok(tern_program_create(&r->program, r->device, &op, 1, &limits, NULL));
}

static void close_rig(rig *r)
{
    tern_program_destroy(r->program);
    tern_buffer_destroy(r->memory);
    tern_stream_destroy(r->stream);
    tern_device_close(r->device);
}

/* o [n_tok, h * hd], to be freed. */
static float *run(const attn_case *c, tern_kv_type type, int n_threads)
{
    rig r;
    open_rig(&r, c, type, n_threads);
    const tern_batch batch = {.n_tok = c->n_tok, .n_seq = 1, .pos = r.pos, .seq = r.seq,
                              .pages = r.pages, .pages_ld = r.n_pages};
    ok(tern_program_run(r.program, r.stream, &batch, NULL));
    ok(tern_stream_sync(r.stream, NULL));
    const size_t bytes = (size_t)(r.o.rows * r.o.cols) * sizeof(float);
    float *o = case_alloc(bytes);
    memcpy(o, (const uint8_t *)tern_buffer_host(r.memory) + r.o.offset_bytes, bytes);
    close_rig(&r);
    return o;
}

static void check(const attn_case *c)
{
    static const int threads[] = {2, 3, 7, 16};
    for (int type = TERN_KV_F16; type <= TERN_KV_I8; type++) {
        float *one = run(c, (tern_kv_type)type, 1);
        for (size_t i = 0; i < sizeof threads / sizeof threads[0]; i++) {
            float *many = run(c, (tern_kv_type)type, threads[i]);
            assert_memory_equal(many, one, (size_t)(c->n_tok * c->h * c->hd) * sizeof *one);
            free(many);
        }
        free(one);
    }
}

static void test_one_token(void **state)
{
    (void)state;
    static const int last[] = {0, 511, 512, 1024, 1600, 6000};
    for (size_t i = 0; i < sizeof last / sizeof last[0]; i++) {
        check(&(attn_case){.h = 2, .kv = 1, .hd = 8, .n_tok = 1, .last = last[i]});
        check(&(attn_case){.h = 10, .kv = 5, .hd = 20, .n_tok = 1, .last = last[i]});
    }
}

/* 256 KB of a thread hold the states of 126, 5, 0 groups beyond two. */
static void test_states_that_do_not_fit(void **state)
{
    (void)state;
    check(&(attn_case){.h = 32, .kv = 1, .hd = 256, .n_tok = 1, .last = 5000});
    check(&(attn_case){.h = 120, .kv = 1, .hd = 256, .n_tok = 2, .last = 2100, .step = 900});
}

static void test_chunks(void **state)
{
    (void)state;
    check(&(attn_case){.h = 4, .kv = 2, .hd = 12, .n_tok = 40, .last = 39, .step = 1});
    check(&(attn_case){.h = 4, .kv = 2, .hd = 12, .n_tok = 40, .last = 520, .step = 1});
    check(&(attn_case){.h = 6, .kv = 3, .hd = 16, .n_tok = 3, .last = 3000, .step = 1400});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_token),
        cmocka_unit_test(test_states_that_do_not_fit),
        cmocka_unit_test(test_chunks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
