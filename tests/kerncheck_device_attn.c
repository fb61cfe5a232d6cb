/* kerncheck_device_attn.c - ROPE_KV, ATTN, ATTN_PART and ATTN_MERGE on a device. */
#include "device/backend.h"
#include "kerncheck_device.h"

typedef struct attn_case {
    int h, kv, hd, n_tok, n_seq, n_ctx;
    tern_kv_type type;
} attn_case;

/* Pages with values that ROPE_KV could have stored: drawn floats go through it on both sides. */
typedef struct attn_memory {
    kd_pair qkv, rope, pages;
    tern_kv_pool pool[2];
} attn_memory;

static attn_memory make_memory(kd_run *run, const attn_case *c, int flavour)
{
    const int width = (c->h + 2 * c->kv) * c->hd;
    const int n_pages = c->n_seq * ((c->n_ctx + TERN_PAGE_TOK - 1) / TERN_PAGE_TOK);
    const size_t bytes = (size_t)n_pages * tern_kv_page_bytes(c->type, c->kv, c->hd);
    attn_memory m = {.qkv = kd_floats(run, c->n_tok, width, width + 3, flavour),
                     .rope = kd_floats(run, c->n_ctx, c->hd, c->hd, 0),
                     .pages = kd_opaque(run, bytes, bytes)};
    for (int i = 0; i < 2; i++)
        m.pool[i] = (tern_kv_pool){run->side[i].memory, m.pages.s[i].offset_bytes, n_pages, c->kv,
                                   c->hd, c->type};
    return m;
}

static size_t page_bytes_of(const attn_memory *m)
{
    return (size_t)m->pages.s[0].cols;
}

static void check_rope_kv(kd_run *run, const attn_case *c, int gains, int flavour)
{
    kd_case(run, "ROPE_KV h %d kv %d hd %d, %d tokens, %s%s, flavour %d", c->h, c->kv, c->hd,
            c->n_tok, c->type == TERN_KV_F16 ? "f16" : "i8", gains ? ", with norms" : "", flavour);
    attn_memory m = make_memory(run, c, flavour);
    const kd_pair gain = kd_floats(run, 2, c->hd, c->hd, 0);
    tern_op ops[2];
    for (int i = 0; i < 2; i++) {
        ops[i] = (tern_op){.kind = TERN_OP_ROPE_KV,
                           .u.rope_kv = {.qkv = m.qkv.s[i], .rope = m.rope.s[i],
                                         .pool = m.pool[i], .h = c->h, .eps = 1e-6f}};
        if (!gains) continue;
        tern_span row = gain.s[i];
        row.rows = 1;
        ops[i].u.rope_kv.q_gain = row;
        row.offset_bytes += (size_t)c->hd * sizeof(float);
        ops[i].u.rope_kv.k_gain = row;
    }
    const tern_batch_limits limits = {c->n_tok, c->n_seq, 1, c->n_ctx};
    kd_batch b;
    kd_batch_make(run, &b, c->n_tok, c->n_seq, 0, c->n_ctx);
    kd_go(run, &ops[0], &ops[1], 1, &limits, &b.batch);
    kd_same(run, "qkv", &m.qkv, (size_t)(c->n_tok * (int)m.qkv.s[0].ld) * sizeof(float));
    kd_same(run, "pages", &m.pages, page_bytes_of(&m));
    kd_gaps(run);
}

void kd_check_rope_kv(kd_run *run)
{
    static const attn_case cases[] = {
        {4, 2, 16, 5, 2, 200, 0},  {1, 1, 4, 1, 1, 64, 0},   {20, 5, 128, 3, 3, 130, 0},
        {6, 2, 64, 70, 2, 100, 0}, {3, 3, 100, 9, 1, 80, 0}, {8, 1, 256, 2, 2, 65, 0},
    };
    for (size_t i = 0; i < 2 * sizeof cases / sizeof cases[0]; i++) {
        attn_case c = cases[i / 2];
        c.type = i % 2 ? TERN_KV_I8 : TERN_KV_F16;
        check_rope_kv(run, &c, 0, 0);
        check_rope_kv(run, &c, 1, 4);
        check_rope_kv(run, &c, 0, 3); /* f16 saturates */
    }
}

/* Fills every page: f16 and s8 values at random, positive scales. */
static void draw_pages(kd_run *run, attn_memory *m, const attn_case *c)
{
    const size_t bytes = page_bytes_of(m), head = tern_kv_page_bytes(c->type, 1, c->hd);
    uint8_t *page = case_alloc(bytes);
    for (size_t i = 0; i < bytes; i += 2) {
        uint16_t value = (uint16_t)case_next(&run->random);
        if (c->type == TERN_KV_F16) value = (uint16_t)((value & 0x9fff) + 0x2000); /* 2^-7 .. 2 */
        if (c->type == TERN_KV_I8 && (value & 0xff) == 0x80) value ^= 1;
        if (c->type == TERN_KV_I8 && value >> 8 == 0x80) value ^= 0x100;
        memcpy(page + i, &value, 2);
    }
    const size_t scales = 2 * TERN_PAGE_TOK * sizeof(float);
    for (size_t h = head; c->type == TERN_KV_I8 && h <= bytes; h += head)
        for (size_t i = h - scales; i < h; i += sizeof(float)) {
            const float scale = (float)case_int(&run->random, 0, 64) * 0x1p-11f;
            memcpy(page + i, &scale, sizeof scale);
        }
    for (int i = 0; i < 2; i++)
        tern_upload(run->side[i].stream, run->side[i].memory, m->pages.s[i].offset_bytes, page,
                    bytes, NULL);
    for (int i = 0; i < 2; i++) tern_stream_sync(run->side[i].stream, NULL);
    free(page);
}

static void check_attn(kd_run *run, const attn_case *c, int flavour)
{
    const int groups = (c->n_ctx + 511) / 512, state = c->hd + 2;
    kd_case(run, "ATTN h %d kv %d hd %d, %d tokens, context %d, %s, flavour %d", c->h, c->kv, c->hd,
            c->n_tok, c->n_ctx, c->type == TERN_KV_F16 ? "f16" : "i8", flavour);
    attn_memory m = make_memory(run, c, flavour);
    draw_pages(run, &m, c);
    const kd_pair o = kd_floats(run, c->n_tok, c->h * c->hd, c->h * c->hd + 1, 0);
    const kd_pair parts = kd_floats(run, c->n_tok * c->h * groups, state, state + 1, 0);
    const kd_pair merged = kd_floats(run, c->n_tok, c->h * c->hd, c->h * c->hd, 0);
    tern_op ops[2][3];
    for (int i = 0; i < 2; i++) {
        const tern_span q = tern_span_cols(m.qkv.s[i], 0, (int64_t)c->h * c->hd);
        ops[i][0] = (tern_op){.kind = TERN_OP_ATTN, .u.attn = {q, m.pool[i], o.s[i], c->h}};
        ops[i][1] = (tern_op){.kind = TERN_OP_ATTN_PART,
                              .u.attn_part = {q, m.pool[i], parts.s[i], c->h, groups}};
        ops[i][2] = (tern_op){.kind = TERN_OP_ATTN_MERGE,
                              .u.attn_merge = {parts.s[i], merged.s[i], c->h, groups}};
    }
    const tern_batch_limits limits = {c->n_tok, c->n_seq, 1, c->n_ctx};
    kd_batch b;
    kd_batch_make(run, &b, c->n_tok, c->n_seq, 0, c->n_ctx);
    kd_go(run, ops[0], ops[1], 3, &limits, &b.batch);
    kd_same(run, "ATTN", &o, (size_t)(c->n_tok * (int)o.s[0].ld) * sizeof(float));
    kd_same(run, "ATTN_PART", &parts,
            (size_t)(c->n_tok * c->h * groups) * (size_t)(state + 1) * sizeof(float));
    kd_same(run, "ATTN_MERGE", &merged, (size_t)(c->n_tok * c->h * c->hd) * sizeof(float));
    kd_gaps(run);
}

void kd_check_attn(kd_run *run)
{
    static const attn_case cases[] = {
        {4, 2, 16, 5, 2, 1500, 0}, {1, 1, 4, 1, 1, 64, 0},    {20, 5, 128, 2, 2, 600, 0},
        {6, 2, 64, 9, 3, 700, 0},  {3, 3, 100, 3, 1, 300, 0}, {8, 1, 256, 2, 1, 130, 0},
        {2, 1, 8, 400, 3, 900, 0}, {16, 1, 20, 4, 2, 1100, 0},
        /* several tokens of a prompt: 16, 16, 15 and 16 rows, the last CTAs with fewer */
        {4, 1, 32, 150, 3, 700, 0}, {20, 5, 128, 30, 2, 200, 0}, {3, 1, 64, 140, 2, 300, 0},
        {8, 1, 256, 131, 1, 140, 0},
    };
    for (size_t i = 0; i < 2 * sizeof cases / sizeof cases[0]; i++) {
        attn_case c = cases[i / 2];
        c.type = i % 2 ? TERN_KV_I8 : TERN_KV_F16;
        check_attn(run, &c, 0);
        if (c.n_tok < 100) check_attn(run, &c, i % 4 < 2 ? 4 : 1);
    }
}
