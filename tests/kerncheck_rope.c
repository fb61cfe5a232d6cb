/* kerncheck_rope.c - ROPE_KV: both kinds of pages, with and without the norms of heads, head sizes
 * on and off every register, values that saturate. */
#include "kerncheck.h"

enum { T = 3, N_CTX = 200, PAGES = 4 };

typedef struct rope_case {
    int hd, h, kv, flavour, norms;
    tern_kv_type type;
} rope_case;

typedef struct rope_operands {
    tern_rope_kv_args args;
    int32_t pos[T], seq[T], table[PAGES];
    size_t n_qkv, page_bytes;
} rope_operands;

static void make(kc_run *run, rope_operands *o, const rope_case *c)
{
    const size_t hd = (size_t)c->hd, width = (size_t)(c->h + 2 * c->kv) * hd, ld = width + 3;
    float *gains = kc_alloc(run, 2 * hd * 4), *rope = kc_alloc(run, N_CTX * hd * 4);
    o->n_qkv = (T - 1) * ld + width;
    o->page_bytes = tern_kv_page_bytes(c->type, c->kv, c->hd);
    for (int t = 0; t < T; t++) {
        o->pos[t] = case_int(&run->random, 0, N_CTX - 1);
        o->seq[t] = 0;
    }
    for (int i = 0; i < PAGES; i++) o->table[i] = PAGES - 1 - i;
    o->args = (tern_rope_kv_args){
        .qkv = kc_alloc(run, o->n_qkv * 4), .ld = (int64_t)ld, .rope = rope,
        .q_gain = c->norms & 1 ? gains : NULL, .k_gain = c->norms & 2 ? gains + hd : NULL,
        .h = c->h, .eps = 1e-5f,
        .view = {.pages = kc_alloc(run, PAGES * o->page_bytes), .page_bytes = o->page_bytes,
                 .kv = c->kv, .hd = c->hd, .type = c->type, .pos = o->pos, .seq = o->seq,
                 .table = o->table, .table_ld = PAGES},
    };
    kc_floats(run, gains, 2 * hd, 0);
    kc_floats(run, rope, N_CTX * hd, 0);
    kc_floats(run, o->args.qkv, o->n_qkv, c->flavour);
    for (size_t i = 0; i < o->n_qkv && c->flavour == 0; i++) /* some around the end of f16 */
        if (case_int(&run->random, 0, 3) == 0) o->args.qkv[i] *= 20000.0f;
}

void kc_check_rope_kv(kc_run *run)
{
    for (int i = 0; i < 400; i++) {
        const rope_case c = {.hd = 4 * (i < 64 ? i + 1 : case_int(&run->random, 1, 64)),
                             .h = case_int(&run->random, 1, 4), .kv = case_int(&run->random, 1, 2),
                             .flavour = i % KC_FLAVOURS, .norms = i / 5 % 4,
                             .type = i % 2 ? TERN_KV_F16 : TERN_KV_I8};
        kc_case(run, "hd %d, h %d, kv %d, flavour %d, norms %d, type %d", c.hd, c.h, c.kv,
                c.flavour, c.norms, (int)c.type);
        rope_operands o;
        make(run, &o, &c);
        tern_rope_kv_args b = o.args;
        b.qkv = kc_twin(run, o.args.qkv, o.n_qkv * 4);
        b.view.pages = kc_twin(run, o.args.view.pages, PAGES * o.page_bytes);
        run->ref->rope_kv(&o.args, (tern_range){0, T});
        run->got->rope_kv(&b, (tern_range){0, T});
        kc_same_floats(run, "qkv", o.args.qkv, b.qkv, o.n_qkv);
        kc_same(run, "pages", o.args.view.pages, b.view.pages, PAGES * o.page_bytes);
    }
    kc_end(run);
}

static void call_rope(const tern_cpu_kernels *kernels, void *context)
{
    kernels->rope_kv(context, (tern_range){0, 1});
}

void kc_bench_rope_kv(kc_run *run)
{
    for (int type = TERN_KV_F16; type <= TERN_KV_I8; type++) {
        const char *const name = type == TERN_KV_F16 ? "20 + 5 heads, f16" : "20 + 5 heads, i8";
        kc_case(run, "%s", name);
        const rope_case c = {.hd = 128, .h = 20, .kv = 5, .type = (tern_kv_type)type,
                             .flavour = 1};
        rope_operands o;
        make(run, &o, &c);
        const kc_work work = {call_rope, &o.args, 0, 0, 30 * 128};
        kc_bench(run, name, &work);
    }
    kc_end(run);
}
