/* kerncheck_attn.c - ATTN over pages of both kinds and the fold of states: head sizes on and off
 * every register, every number of present keys, pages that end at the guard. */
#include "kerncheck.h"

#include <stdio.h>

#include "base/f16.h"

typedef struct attn_case {
    tern_kv_type type;
    int hd, kv, heads, pos, n_pages, flavour;
} attn_case;

/* Operands of one token; its pages lie in a random order, absent keys hold old values. */
typedef struct attn_operands {
    tern_attn_args args;
    int32_t pos, seq;
    size_t n_states;
} attn_operands;

static uint16_t random_f16(kc_run *run, int flavour)
{
    const float x = case_float(&run->random, flavour == 3 ? 65504.0f : 2.0f);
    if (flavour == 1) return (uint16_t)(case_int(&run->random, 0, 1) << 15);
    if (flavour == 2) return (uint16_t)case_int(&run->random, 0, 0x3ff);
    return tern_f16_from_f32(x);
}

/* s8 within +-127, then scales as NORM_QUANT gives them; a flavour of 1 leaves new pages: zeros. */
static void fill_i8(kc_run *run, uint8_t *pages, size_t bytes, const attn_case *c)
{
    const size_t values = 2 * 64 * (size_t)c->hd, head_bytes = values + 2 * 64 * sizeof(float);
    for (size_t i = 0; i < bytes && c->flavour != 1; i += head_bytes) {
        for (size_t j = 0; j < values; j++)
            pages[i + j] = (uint8_t)(c->flavour == 3 ? 127 - 254 * case_int(&run->random, 0, 1)
                                                     : case_int(&run->random, -127, 127));
        for (size_t j = 0; j < 2 * 64; j++) {
            float scale = 0.01f + case_float(&run->random, 0.009f);
            if (case_int(&run->random, 0, 7) == 0) scale = 1e-5f / 127.0f;
            memcpy(pages + i + values + j * sizeof scale, &scale, sizeof scale);
        }
    }
}

static void make(kc_run *run, attn_operands *o, const attn_case *c)
{
    const size_t h = (size_t)(c->kv * c->heads), hd = (size_t)c->hd, n = (size_t)c->n_pages;
    const size_t page_bytes = tern_kv_page_bytes(c->type, c->kv, c->hd);
    uint8_t *pages = kc_alloc(run, n * page_bytes);
    if (c->type == TERN_KV_I8) fill_i8(run, pages, n * page_bytes, c);
    for (size_t i = 0; i < n * page_bytes && c->type == TERN_KV_F16; i += 2) {
        const uint16_t value = random_f16(run, c->flavour);
        memcpy(pages + i, &value, 2);
    }
    int32_t *table = kc_alloc(run, n * sizeof *table);
    const int turn = case_int(&run->random, 0, c->n_pages - 1);
    for (int i = 0; i < c->n_pages; i++) table[i] = (i + turn) % c->n_pages;
    float *q = kc_alloc(run, h * hd * sizeof *q);
    kc_floats(run, q, h * hd, c->flavour == 3 ? 0 : c->flavour);
    o->pos = c->pos;
    o->seq = 0;
    o->n_states = (size_t)c->heads * (hd + 2);
    o->args = (tern_attn_args){
        .q = q, .ldq = (int64_t)(h * hd), .h = (int)h, .c = 0.36067376f,
        .view = {.pages = pages, .page_bytes = page_bytes, .kv = c->kv, .hd = c->hd,
                 .type = c->type, .pos = &o->pos, .seq = &o->seq, .table = table,
                 .table_ld = c->n_pages},
    };
}

/* Which zero a maximum keeps is open (device.h). */
static void one_zero(float *states, size_t n, size_t step)
{
    for (size_t i = 0; i < n; i += step) states[i] += 0.0f;
}

static void call_slot(const tern_cpu_kernels *kernels, float *states, const tern_attn_args *a,
                      int kv_head, int group)
{
    if (a->view.type == TERN_KV_F16)
        kernels->attn_group_f16(states, a, 0, kv_head, group);
    else
        kernels->attn_group_i8(states, a, 0, kv_head, group);
}

static void check(kc_run *run, const attn_case *c)
{
    kc_case(run, "hd %d, kv %d, heads %d, pos %d, flavour %d", c->hd, c->kv, c->heads, c->pos,
            c->flavour);
    attn_operands o;
    make(run, &o, c);
    float *ref = kc_alloc(run, o.n_states * sizeof *ref);
    float *got = kc_alloc(run, o.n_states * sizeof *got);
    for (int kv_head = 0; kv_head < c->kv; kv_head++)
        for (int group = 0; group * 512 <= c->pos; group++) {
            call_slot(run->ref, ref, &o.args, kv_head, group);
            call_slot(run->got, got, &o.args, kv_head, group);
            one_zero(ref, o.n_states, (size_t)c->hd + 2);
            one_zero(got, o.n_states, (size_t)c->hd + 2);
            kc_same_floats(run, "states", ref, got, o.n_states);
        }
}

static void check_groups(kc_run *run, tern_kv_type type)
{
    static const int sizes[] = {4, 8, 12, 16, 20, 32, 36, 64, 68, 80, 96, 128, 256};
    for (int pos = 0; pos < 64; pos++) { /* every number of present keys in the first block */
        const attn_case c = {.type = type, .hd = sizes[pos % 13], .kv = 1, .heads = 1 + pos % 3,
                             .pos = pos, .n_pages = 1, .flavour = pos % KC_FLAVOURS};
        check(run, &c);
    }
    for (int i = 0; i < 60; i++) {
        attn_case c = {.type = type, .hd = sizes[i % 13], .kv = case_int(&run->random, 1, 3),
                       .heads = case_int(&run->random, 1, 5), .flavour = i % KC_FLAVOURS};
        c.pos = case_int(&run->random, 0, i % 5 ? 300 : 1100);
        c.n_pages = c.pos / 64 + 1;
        check(run, &c);
    }
    kc_end(run);
}

void kc_check_attn_group_f16(kc_run *run)
{
    check_groups(run, TERN_KV_F16);
}

void kc_check_attn_group_i8(kc_run *run)
{
    check_groups(run, TERN_KV_I8);
}

void kc_check_attn_merge(kc_run *run)
{
    for (int i = 0; i < 200; i++) {
        const int hd = 4 * case_int(&run->random, 1, 64), flavour = i % KC_FLAVOURS;
        const size_t n = (size_t)hd + 2;
        kc_case(run, "hd %d, flavour %d", hd, flavour);
        float *into = kc_alloc(run, n * sizeof *into), *from = kc_alloc(run, n * sizeof *from);
        kc_floats(run, into, n, flavour);
        kc_floats(run, from, n, i % 2 ? 0 : flavour);
        float *got = kc_twin(run, into, n * sizeof *into);
        run->ref->attn_merge(into, from, hd);
        run->got->attn_merge(got, from, hd);
        one_zero(into, n, n);
        one_zero(got, n, n);
        kc_same_floats(run, "state", into, got, n);
    }
    kc_end(run);
}

/* ---- bench: 2B4T has 20 heads of 128 on 5 KV heads ------------------------------------------- */

typedef struct attn_bench {
    attn_operands o;
    float *states;
} attn_bench;

static void call_group(const tern_cpu_kernels *kernels, void *context)
{
    attn_bench *b = context;
    for (int kv_head = 0; kv_head < b->o.args.view.kv; kv_head++)
        call_slot(kernels, b->states, &b->o.args, kv_head, 0);
}

static void bench_groups(kc_run *run, tern_kv_type type)
{
    static const int positions[] = {20, 63, 511};
    for (int i = 0; i < 3; i++) {
        const int pos = positions[i];
        const attn_case c = {.type = type, .hd = 128, .kv = 5, .heads = 4, .pos = pos,
                             .n_pages = pos / 64 + 1};
        char shape[64];
        snprintf(shape, sizeof shape, "hd 128, 5 x 4 heads, %d", pos + 1);
        kc_case(run, "%s", shape);
        attn_bench b;
        make(run, &b.o, &c);
        b.states = kc_alloc(run, b.o.n_states * sizeof(float));
        const double bytes = (type == TERN_KV_F16 ? 2.0 : 1.0) * 2 * 128 * 5 * (pos + 1);
        const kc_work work = {call_group, &b, bytes, 2.0 * 128 * 20 * (pos + 1), 0};
        kc_bench(run, shape, &work);
    }
    kc_end(run);
}

void kc_bench_attn_group_f16(kc_run *run)
{
    bench_groups(run, TERN_KV_F16);
}

void kc_bench_attn_group_i8(kc_run *run)
{
    bench_groups(run, TERN_KV_I8);
}

static void call_merge(const tern_cpu_kernels *kernels, void *context)
{
    attn_bench *b = context;
    for (int i = 0; i < 1000; i++) kernels->attn_merge(b->states, b->states + 130, 128);
}

void kc_bench_attn_merge(kc_run *run)
{
    kc_case(run, "1000 folds of hd 128");
    attn_bench b = {.states = kc_alloc(run, 260 * sizeof(float))};
    kc_floats(run, b.states, 260, 0);
    const kc_work work = {call_merge, &b, 0, 0, 128e3};
    kc_bench(run, "1000 folds of hd 128", &work);
    kc_end(run);
}
