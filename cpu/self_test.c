/* self_test.c - known answers of every kernel slot, run when a CPU device opens (P2): a seeded
 * workload, and a hash of what the kernel wrote. The hashes are those of the reference, which gcc,
 * clang, x86-64 and arm64 agree on; a kernel that gives another one is refused. tests/kerncheck
 * looks much closer. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/exact.h"
#include "base/fail.h"
#include "base/memory.h"
#include "base/rng.h"
#include "cpu/cpu_device.h"

/* Shapes with tails everywhere: K is no multiple of 64, N_OUT none of 16. */
enum {
    N_TOK = 3,
    K = 200,
    K_PAD = 256,
    N_OUT = 37,
    N_OUT_PAD = 48,
    HD = 16,
    N_HEADS = 4,
    N_KV = 2,
    N_PAGES = 12,
    LAST_POS = 600, /* two groups of pages, the last page partly filled */
    N_TOP = 5,
    MANY_TOK = 15, /* every block of tokens that a kernel may take: 8, 4, 2, 1 */
    MANY_OUT = 117,
    MANY_OUT_PAD = 128,
    MANY_ROWS = 9, /* of HEAD: twice four and one */
    WIDE_HD = 100, /* components by 64, 32, 8 and 4 */
    WIDE_HEADS = 3,
    WIDE_POS = 130, /* the last of three pages holds three keys */
};

typedef struct workload {
    float x[N_TOK * K], y[N_TOK * N_OUT_PAD], gain[K], col[K], w_scale[N_OUT_PAD];
    int8_t q[N_TOK * K_PAD], high[N_OUT * K_PAD], low[N_OUT * K_PAD];
    float q_scale[N_TOK], xs[N_TOK], logits[N_TOK * N_OUT];
    int32_t q_sum[N_TOK], ids[N_TOK], pos[N_TOK], seq[N_TOK], table[N_PAGES], rows[N_TOK];
    int16_t xq[N_TOK * K_PAD];
    uint8_t codes[N_OUT_PAD * K_PAD / 4];
    float qkv[N_TOK * (N_HEADS + 2 * N_KV) * HD], rope[(LAST_POS + 1) * HD];
    float states[N_HEADS / N_KV * (HD + 2)], merged[HD + 2];
    tern_candidate top[N_TOP];
    tern_score score;
    uint64_t pick_scratch[N_OUT * TERN_PICK_SCRATCH_PER_TOKEN / sizeof(uint64_t)];
    int8_t many_q[MANY_TOK * K_PAD];
    uint8_t many_codes[MANY_OUT_PAD * K_PAD / 4];
    float many_w_scale[MANY_OUT], many_q_scale[MANY_TOK], many_y[MANY_TOK * MANY_OUT];
    int32_t many_q_sum[MANY_TOK];
    float many_xs[MANY_ROWS], many_logits[MANY_ROWS * N_OUT];
    int16_t many_xq[MANY_ROWS * K_PAD];
    float wide_q[WIDE_HEADS * WIDE_HD], wide_states[WIDE_HEADS * (WIDE_HD + 2)];
    uint8_t pages[N_PAGES * N_KV * HD * TERN_PAGE_TOK * 4];
} workload;

static uint64_t hash(uint64_t h, const void *data, size_t bytes)
{
    const uint8_t *p = data;
    for (size_t i = 0; i < bytes; i++) h = (h ^ p[i]) * 0x100000001b3u; /* FNV-1a */
    return h;
}

#define HASH_SEED 0xcbf29ce484222325u
#define HASH_OF(array) hash(HASH_SEED, (array), sizeof(array))

/* Exact multiples of 2^-20 in [-8, 8). */
static void fill_floats(float *out, size_t n, uint32_t stream)
{
    for (size_t i = 0; i < n; i++) {
        const uint64_t random = tern_random_u64(1, stream, (uint32_t)i);
        out[i] = (float)((int32_t)(random & 0xffffff) - 0x800000) * 0x1p-20f;
    }
}

static void fill_bytes(int8_t *out, size_t n, uint32_t stream)
{
    for (size_t i = 0; i < n; i++) {
        const int value = (int)(tern_random_u64(1, stream, (uint32_t)i) % 255u) - 127;
        out[i] = (int8_t)value;
    }
}

/* Four codes 0 .. 2 a byte. */
static void fill_codes(uint8_t *out, size_t n, uint32_t stream)
{
    for (size_t i = 0; i < n; i++) {
        const uint64_t r = tern_random_u64(1, stream, (uint32_t)i);
        out[i] = (uint8_t)(r % 3 | (r >> 8) % 3 << 2 | (r >> 16) % 3 << 4 | (r >> 24) % 3 << 6);
    }
}

static void fill(workload *w)
{
    fill_floats(w->x, N_TOK * K, 1);
    fill_floats(w->gain, K, 2);
    fill_floats(w->w_scale, N_OUT_PAD, 3);
    fill_floats(w->rope, (LAST_POS + 1) * HD, 4);
    fill_floats(w->y, N_TOK * N_OUT_PAD, 5);
    fill_bytes(w->high, sizeof w->high, 6);
    fill_bytes(w->low, sizeof w->low, 7);
    fill_bytes(w->q, sizeof w->q, 9);
    fill_floats(w->q_scale, N_TOK, 10);
    memset(w->q_sum, 0, sizeof w->q_sum);
    for (int i = 0; i < N_TOK * K_PAD; i++) w->q_sum[i / K_PAD] += w->q[i];
    fill_codes(w->codes, sizeof w->codes, 8);
    for (int i = 0; i < K; i++) w->col[i] = i % 3 ? 0.5f : 4.0f;
    for (int i = 0; i < N_PAGES; i++) w->table[i] = N_PAGES - 1 - i;
    for (int t = 0; t < N_TOK; t++) {
        w->ids[t] = 36 - 7 * t;
        w->pos[t] = LAST_POS - N_TOK + 1 + t;
        w->rows[t] = N_TOK - 1 - t;
    }
}

static const tern_range all_tokens = {0, N_TOK}, all_outputs = {0, N_OUT};

static uint64_t test_embed(const tern_cpu_kernels *k, workload *w)
{
    const tern_embed_args a = {.x = w->x, .ldx = K, .ids = w->ids, .high = w->high, .low = w->low,
                               .scale = w->w_scale, .col = w->col, .d = K, .k_pad = K_PAD,
                               .multiplier = 1.0f};
    k->embed(&a, all_tokens);
    return HASH_OF(w->x);
}

static uint64_t test_norm_quant(const tern_cpu_kernels *k, workload *w)
{
    const tern_norm_quant_args a = {.q = w->q,
                                    .scale = w->q_scale,
                                    .sum = w->q_sum,
                                    .x = w->x,
                                    .ldx = K,
                                    .gain = w->gain,
                                    .k = K,
                                    .k_pad = K_PAD,
                                    .eps = 1e-5f};
    k->norm_quant(&a, all_tokens);
    return hash(hash(HASH_OF(w->q), w->q_scale, sizeof w->q_scale), w->q_sum, sizeof w->q_sum);
}

static uint64_t test_linear(const tern_cpu_kernels *k, workload *w)
{
    tern_linear_args a = {.y = w->y, .ldy = N_OUT_PAD, .q = w->q, .q_scale = w->q_scale,
                          .q_sum = w->q_sum, .codes = w->codes, .w_scale = w->w_scale,
                          .k_pad = K_PAD, .n_out = N_OUT};
    k->linear(&a, all_tokens, all_outputs);
    a.accumulate = 1;
    k->linear(&a, (tern_range){1, 2}, all_outputs); /* one row, as in decode */
    return HASH_OF(w->y);
}

static uint64_t test_linear_many(const tern_cpu_kernels *k, workload *w)
{
    fill_bytes(w->many_q, sizeof w->many_q, 11);
    fill_codes(w->many_codes, sizeof w->many_codes, 12);
    fill_floats(w->many_w_scale, MANY_OUT, 13);
    fill_floats(w->many_q_scale, MANY_TOK, 14);
    memset(w->many_q_sum, 0, sizeof w->many_q_sum);
    for (int i = 0; i < MANY_TOK * K_PAD; i++) w->many_q_sum[i / K_PAD] += w->many_q[i];
    const tern_linear_args a = {
        .y = w->many_y, .ldy = MANY_OUT, .q = w->many_q, .q_scale = w->many_q_scale,
        .q_sum = w->many_q_sum, .codes = w->many_codes, .w_scale = w->many_w_scale,
        .k_pad = K_PAD, .n_out = MANY_OUT,
    };
    k->linear(&a, (tern_range){0, MANY_TOK}, (tern_range){0, MANY_OUT});
    return HASH_OF(w->many_y);
}

static tern_kv_view view_of(workload *w, tern_kv_type type)
{
    return (tern_kv_view){.pages = w->pages, .page_bytes = tern_kv_page_bytes(type, N_KV, HD),
                          .kv = N_KV, .hd = HD, .type = type, .pos = w->pos, .seq = w->seq,
                          .table = w->table, .table_ld = N_PAGES};
}

/* Stores every position, three at a time, then reads them with both groups. */
static uint64_t test_attention(const tern_cpu_kernels *k, workload *w, tern_kv_type type)
{
    memset(w->pages, 0, sizeof w->pages);
    const tern_rope_kv_args store = {.qkv = w->qkv,
                                     .ld = (N_HEADS + 2 * N_KV) * HD,
                                     .rope = w->rope,
                                     .view = view_of(w, type),
                                     .h = N_HEADS,
                                     .eps = 1e-5f};
    for (int first = 0; first + N_TOK <= LAST_POS + 1; first += N_TOK) {
        fill_floats(w->qkv, sizeof w->qkv / sizeof(float), 100 + (uint32_t)first);
        for (int t = 0; t < N_TOK; t++) w->pos[t] = first + t;
        k->rope_kv(&store, all_tokens);
    }
    uint64_t h = hash(HASH_OF(w->pages), w->qkv, sizeof w->qkv);
    const tern_attn_args a = {.q = w->qkv, .ldq = (N_HEADS + 2 * N_KV) * HD,
                              .view = view_of(w, type), .h = N_HEADS, .c = 0.36067376f};
    for (int group = 0; group < 2; group++) {
        if (type == TERN_KV_F16)
            k->attn_group_f16(w->states, &a, N_TOK - 1, 1, group);
        else
            k->attn_group_i8(w->states, &a, N_TOK - 1, 1, group);
        h = hash(h, w->states, sizeof w->states);
        if (group == 0) memcpy(w->merged, w->states, sizeof w->merged);
    }
    k->attn_merge(w->merged, w->states, HD);
    return hash(h, w->merged, sizeof w->merged);
}

static uint64_t test_attention_f16(const tern_cpu_kernels *k, workload *w)
{
    return test_attention(k, w, TERN_KV_F16);
}

static uint64_t test_attention_i8(const tern_cpu_kernels *k, workload *w)
{
    return test_attention(k, w, TERN_KV_I8);
}

/* f16 in +-[2^-7, 2). */
static void fill_page_f16(uint8_t *page, size_t bytes, uint32_t stream)
{
    for (size_t i = 0; i < bytes; i += 2) {
        const uint64_t random = tern_random_u64(1, stream, (uint32_t)i);
        const uint16_t value = (uint16_t)((random & 0x9fff) + 0x2000);
        memcpy(page + i, &value, 2);
    }
}

/* s8 within +-127, then positive scales. */
static void fill_page_i8(uint8_t *page, size_t bytes, uint32_t stream)
{
    const size_t scales = 2 * TERN_PAGE_TOK * sizeof(float);
    fill_bytes((int8_t *)page, bytes - scales, stream);
    for (size_t i = bytes - scales; i < bytes; i += sizeof(float)) {
        const uint64_t random = tern_random_u64(1, stream + 9, (uint32_t)i);
        const float scale = (float)(1 + random % 64) * 0x1p-10f;
        memcpy(page + i, &scale, sizeof scale);
    }
}

static uint64_t test_wide(const tern_cpu_kernels *k, workload *w, tern_kv_type type)
{
    static const int32_t pos = WIDE_POS, seq = 0, table[] = {2, 0, 1};
    const size_t page_bytes = tern_kv_page_bytes(type, 1, WIDE_HD);
    if (type == TERN_KV_F16) {
        fill_page_f16(w->pages, 3 * page_bytes, 15);
    } else {
        for (uint32_t i = 0; i < 3; i++)
            fill_page_i8(w->pages + i * page_bytes, page_bytes, 17 + i);
    }
    fill_floats(w->wide_q, WIDE_HEADS * WIDE_HD, 16);
    const tern_attn_args a = {
        .q = w->wide_q, .ldq = WIDE_HEADS * WIDE_HD, .h = WIDE_HEADS, .c = 0x1p-4f,
        .view = {.pages = w->pages, .page_bytes = page_bytes, .kv = 1, .hd = WIDE_HD,
                 .type = type, .pos = &pos, .seq = &seq, .table = table, .table_ld = 3},
    };
    if (type == TERN_KV_F16)
        k->attn_group_f16(w->wide_states, &a, 0, 0, 0);
    else
        k->attn_group_i8(w->wide_states, &a, 0, 0, 0);
    return HASH_OF(w->wide_states);
}

static uint64_t test_wide_f16(const tern_cpu_kernels *k, workload *w)
{
    return test_wide(k, w, TERN_KV_F16);
}

static uint64_t test_wide_i8(const tern_cpu_kernels *k, workload *w)
{
    return test_wide(k, w, TERN_KV_I8);
}

static uint64_t test_act_mul(const tern_cpu_kernels *k, workload *w)
{
    uint64_t h = HASH_SEED;
    for (int act = TERN_ACT_RELU2; act <= TERN_ACT_GELU_TANH; act++) {
        const tern_act_mul_args a = {.y = w->x + K, .gate = w->gain, .up = w->x, .ldy = K,
                                     .act = (tern_act)act};
        k->act_mul(&a, (tern_range){0, 1}, (tern_range){0, K});
        h = hash(h, w->x + K, K * sizeof(float));
    }
    return h;
}

static uint64_t test_rows(const tern_cpu_kernels *k, workload *w)
{
    const tern_norm_args norm = {.y = w->x, .x = w->x, .gain = w->gain, .ldy = K, .ldx = K, .n = K,
                                 .eps = 1e-5f};
    k->norm(&norm, all_tokens);
    const tern_add_args add = {.y = w->x, .a = w->x, .b = w->gain, .ldy = K, .lda = K, .n = K};
    k->add(&add, all_tokens);
    const tern_pool_args pool = {.y = w->x, .x = w->x, .ldy = K, .ldx = K, .seq = w->seq,
                                 .n_tok = N_TOK, .d = K, .pooling = TERN_POOL_LAST};
    k->pool(&pool, (tern_range){0, 1});
    return HASH_OF(w->x);
}

static uint64_t test_head(const tern_cpu_kernels *k, workload *w)
{
    uint64_t h = HASH_SEED;
    for (int planes = 2; planes >= 1; planes--) {
        const tern_head_args a = {.x = w->x,
                                  .ldx = K,
                                  .rows = w->rows,
                                  .gain = w->gain,
                                  .xq = w->xq,
                                  .xs = w->xs,
                                  .high = w->high,
                                  .low = planes == 2 ? w->low : NULL,
                                  .scale = w->w_scale,
                                  .logits = w->logits,
                                  .ld_logits = N_OUT,
                                  .d = K,
                                  .k_pad = K_PAD,
                                  .n_vocab = N_OUT,
                                  .eps = 1e-5f};
        k->head_quant(&a, all_tokens);
        k->head_logits(&a, all_tokens, all_outputs);
        h = hash(h, w->logits, sizeof w->logits);
    }
    return h;
}

static uint64_t test_head_many(const tern_cpu_kernels *k, workload *w)
{
    static const int32_t rows[MANY_ROWS] = {0, 1, 2, 2, 1, 0, 0, 2, 1};
    const tern_range all = {0, MANY_ROWS};
    const tern_head_args a = {
        .x = w->x, .ldx = K, .rows = rows, .gain = w->gain, .xq = w->many_xq, .xs = w->many_xs,
        .high = w->high, .low = w->low, .scale = w->w_scale, .logits = w->many_logits,
        .ld_logits = N_OUT, .d = K, .k_pad = K_PAD, .n_vocab = N_OUT, .eps = 1e-5f,
    };
    k->head_quant(&a, all);
    k->head_logits(&a, all, all_outputs);
    return HASH_OF(w->many_logits);
}

static uint64_t test_choice(const tern_cpu_kernels *k, workload *w)
{
    memcpy(w->logits, w->x, sizeof w->logits);
    memset(&w->score, 0, sizeof w->score);
    k->head_top(w->top, w->logits, N_OUT, N_TOP);
    k->head_score(&w->score, w->logits, N_OUT, 7);
    uint64_t h = hash(HASH_OF(w->top), &w->score, sizeof w->score);
    const tern_pick picks[] = {
        {0},
        {.temperature = 4.0f, .seed = 5, .position = 9},
        {.temperature = 8.0f, .top_k = 9, .top_p = 0.9f, .min_p = 0.01f, .seed = 6},
    };
    for (size_t i = 0; i < sizeof picks / sizeof picks[0]; i++) {
        const tern_pick_args a = {.logits = w->logits, .n_vocab = N_OUT, .pick = &picks[i],
                                  .scratch = w->pick_scratch};
        const int32_t id = k->pick(&a);
        h = hash(h, &id, sizeof id);
    }
    return h;
}

static const struct {
    const char *name;
    uint64_t (*run)(const tern_cpu_kernels *k, workload *w);
    uint64_t answer;
} known[] = {
    {"embed", test_embed, 0xdfe928d08f0a683au},
    {"norm_quant", test_norm_quant, 0xa9c46d0f4f564a36u},
    {"linear", test_linear, 0x2ce4a59bb7f95620u},
    {"linear (many tokens)", test_linear_many, 0xd1210fc4a88c833au},
    {"rope_kv and attention (f16)", test_attention_f16, 0xb1cc50af65e503e2u},
    {"rope_kv and attention (i8)", test_attention_i8, 0x3d41165a2e9ed37eu},
    {"attention (f16, wide)", test_wide_f16, 0x3d64ae6cab8b1942u},
    {"attention (i8, wide)", test_wide_i8, 0x60a57b4f4f6e871du},
    {"act_mul", test_act_mul, 0x0c66816a0941c0ccu},
    {"norm, add and pool", test_rows, 0xb3875a1457b1dcebu},
    {"head", test_head, 0xfd116db7f4b6a004u},
    {"head (many rows)", test_head_many, 0x3cd7688c3c83cfb5u},
    {"top, score and pick", test_choice, 0x22c83d318e1e48b8u},
};

int tern_cpu_self_test(tern_device *device, tern_error *err)
{
    workload *w;
    int status = tern_alloc(&w, 1, sizeof *w, "the self-test", err);
    if (status != TERN_OK) return status;
    tern_float_env_set();
    for (size_t i = 0; i < sizeof known / sizeof known[0] && status == TERN_OK; i++) {
        fill(w);
        const uint64_t got = known[i].run(&((tern_cpu_device *)device)->kernels, w);
        if (got != known[i].answer)
            status =
                tern_fail(err, TERN_E_SELF_TEST,
                          "%s: the kernels for %s of level %s give a wrong answer on this machine "
                          "(%016llx instead of %016llx): set TERN_CPU to a lower level",
                          device->info.name, known[i].name, device->info.level,
                          (unsigned long long)got, (unsigned long long)known[i].answer);
    }
    free(w);
    return status;
}
