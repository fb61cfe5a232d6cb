/* kerncheck_attn.c - ATTN over f16 pages and the fold of states: head sizes on and off every
 * register, every number of present keys, pages that end at the guard. */
#include "kerncheck.h"

#include <stdio.h>

#include "base/f16.h"

typedef struct attn_case {
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

static void make(kc_run *run, attn_operands *o, const attn_case *c)
{
    const size_t h = (size_t)(c->kv * c->heads), hd = (size_t)c->hd, n = (size_t)c->n_pages;
    const size_t page_bytes = tern_kv_page_bytes(TERN_KV_F16, c->kv, c->hd);
    uint8_t *pages = kc_alloc(run, n * page_bytes);
    for (size_t i = 0; i < n * page_bytes; i += 2) {
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
                 .type = TERN_KV_F16, .pos = &o->pos, .seq = &o->seq, .table = table,
                 .table_ld = c->n_pages},
    };
}

/* Which zero a maximum keeps is open (device.h). */
static void one_zero(float *states, size_t n, size_t step)
{
    for (size_t i = 0; i < n; i += step) states[i] += 0.0f;
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
            run->ref->attn_group_f16(ref, &o.args, 0, kv_head, group);
            run->got->attn_group_f16(got, &o.args, 0, kv_head, group);
            one_zero(ref, o.n_states, (size_t)c->hd + 2);
            one_zero(got, o.n_states, (size_t)c->hd + 2);
            kc_same_floats(run, "states", ref, got, o.n_states);
        }
}

void kc_check_attn_group_f16(kc_run *run)
{
    static const int sizes[] = {4, 8, 12, 16, 20, 32, 36, 64, 68, 80, 96, 128, 256};
    for (int pos = 0; pos < 64; pos++) { /* every number of present keys in the first block */
        const attn_case c = {.hd = sizes[pos % 13], .kv = 1, .heads = 1 + pos % 3, .pos = pos,
                             .n_pages = 1, .flavour = pos % KC_FLAVOURS};
        check(run, &c);
    }
    for (int i = 0; i < 60; i++) {
        attn_case c = {.hd = sizes[i % 13], .kv = case_int(&run->random, 1, 3),
                       .heads = case_int(&run->random, 1, 5), .flavour = i % KC_FLAVOURS};
        c.pos = case_int(&run->random, 0, i % 5 ? 300 : 1100);
        c.n_pages = c.pos / 64 + 1;
        check(run, &c);
    }
    kc_end(run);
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
        kernels->attn_group_f16(b->states, &b->o.args, 0, kv_head, 0);
}

void kc_bench_attn_group_f16(kc_run *run)
{
    static const int positions[] = {20, 63, 511};
    for (int i = 0; i < 3; i++) {
        const int pos = positions[i];
        const attn_case c = {.hd = 128, .kv = 5, .heads = 4, .pos = pos, .n_pages = pos / 64 + 1};
        char shape[64];
        snprintf(shape, sizeof shape, "hd 128, 5 x 4 heads, %d", pos + 1);
        kc_case(run, "%s", shape);
        attn_bench b;
        make(run, &b.o, &c);
        b.states = kc_alloc(run, b.o.n_states * sizeof(float));
        const double bytes = 2.0 * 2 * 128 * 5 * (pos + 1);
        const kc_work work = {call_group, &b, bytes, 2.0 * 128 * 20 * (pos + 1), 0};
        kc_bench(run, shape, &work);
    }
    kc_end(run);
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
