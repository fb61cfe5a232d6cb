/* test_table_ref.c - every slot is filled, and a seeded workload through all of them gives the one
 * hash that every compiler and machine must give. A new hash means that the contract changed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "cases.h"
#include "cpu/ref/ref.h"

#define EXPECTED_HASH 0xeef43eca08899f5eu

enum {
    T = 6, D = 320, K_PAD = 320, F = 500, F_PAD = 512, H = 4, KV = 2, HD = 64, N_VOCAB = 300,
    QKV = (H + 2 * KV) * HD, N_CTX = 600, PAGES = 20, TOP = 20,
};

static tern_cpu_kernels table;
static uint64_t hash, seed;

/* FNV-1a. */
static void add_bytes(const void *bytes, size_t n)
{
    const unsigned char *p = bytes;
    for (size_t i = 0; i < n; i++) hash = (hash ^ p[i]) * 0x100000001b3u;
}

static const tern_range tokens = {0, T};
static float x[T * D], gain[F], qkv[T * QKV], o[T * H * HD], wide[T * 2 * F], y[T * F];
static float scale[T], w_scale[2 * F], rope[N_CTX * HD], logits[T * N_VOCAB];
static int8_t q[T * F_PAD], w[2 * F * F], high[N_VOCAB * K_PAD], low[N_VOCAB * K_PAD];
static int32_t sum[T];
static int16_t xq[T * K_PAD];
static float xs[T], table_scale[N_VOCAB], col[D];
static _Alignas(8) unsigned char scratch[N_VOCAB * TERN_PICK_SCRATCH_PER_TOKEN];

/* Positions of two sequences; the pages are (block * 2 + sequence). */
static const int32_t pos[T] = {0, 63, 64, 511, 530, 599}, seq[T] = {0, 0, 0, 1, 1, 1};
static int32_t blocks[2][10];

static void run_norm_quant(const float *in, int64_t ldx, int k, int k_pad, int variant)
{
    const tern_norm_quant_args a = {.q = q, .scale = scale, .sum = sum, .x = in, .ldx = ldx,
                                    .gain = variant & 1 ? gain : NULL, .k = k, .k_pad = k_pad,
                                    .eps = 1e-5f, .subtract_mean = variant >> 1};
    assert_int_equal(table.norm_quant(&a, tokens), 0);
    add_bytes(q, (size_t)(T * k_pad));
    add_bytes(scale, sizeof scale);
    add_bytes(sum, sizeof sum);
}

static void run_linear(float *out, int64_t ldy, int k, int n_out, int accumulate)
{
    for (int i = 0; i < n_out * k; i++) w[i] = (int8_t)case_int(&seed, -1, 1);
    uint8_t *codes = case_pack_ternary(w, n_out, k);
    for (int i = 0; i < n_out; i++) w_scale[i] = 0.02f + case_float(&seed, 0.01f);
    const tern_linear_args a = {.y = out, .ldy = ldy, .q = q, .q_scale = scale, .q_sum = sum,
                                .codes = codes, .w_scale = w_scale, .k_pad = (k + 63) / 64 * 64,
                                .n_out = n_out, .accumulate = accumulate};
    table.linear(&a, tokens, (tern_range){0, n_out});
    free(codes);
    for (int t = 0; t < T; t++) add_bytes(out + t * ldy, (size_t)n_out * sizeof *out);
}

static void run_attention(tern_kv_type type)
{
    static _Alignas(64) uint8_t pages[PAGES * KV * 64 * HD * 4];
    const size_t page_bytes = KV * (type == TERN_KV_F16 ? 64 * HD * 4 : 64 * HD * 2 + 512);
    const tern_kv_view view = {.pages = pages, .page_bytes = page_bytes, .kv = KV, .hd = HD,
                               .type = type, .pos = pos, .seq = seq, .table = blocks[0],
                               .table_ld = 10};
    for (int i = 0; i < 10; i++) blocks[0][i] = 2 * i, blocks[1][i] = 2 * i + 1;
    /* Earlier positions by other tokens, so that every present key has a value. */
    memset(pages, 0, sizeof pages);
    for (int32_t p = 0; p < N_CTX; p++)
        for (int32_t s = 0; s < 2; s++) {
            tern_kv_view one = view;
            one.pos = &p;
            one.seq = &s;
            static float row[QKV];
            case_floats(row, QKV, 2.0f, &seed);
            const tern_rope_kv_args a = {.qkv = row, .ld = QKV, .rope = rope, .view = one, .h = H};
            table.rope_kv(&a, (tern_range){0, 1});
        }
    const tern_rope_kv_args store = {.qkv = qkv, .ld = QKV, .rope = rope, .q_gain = gain,
                                     .k_gain = gain + HD, .view = view, .h = H, .eps = 1e-6f};
    table.rope_kv(&store, tokens);
    add_bytes(qkv, sizeof qkv);
    add_bytes(pages, PAGES * page_bytes);
    const tern_attn_args a = {.q = qkv, .ldq = QKV, .view = view, .h = H, .c = 0x1.715476p-3f};
    void (*attend)(float *, const tern_attn_args *, int, int, int) =
        type == TERN_KV_F16 ? table.attn_group_f16 : table.attn_group_i8;
    float states[H / KV * (HD + 2)], next[H / KV * (HD + 2)];
    for (int t = 0; t < T; t++)
        for (int head = 0; head < KV; head++)
            for (int group = 0; group <= pos[t] / 512; group++) {
                attend(group ? next : states, &a, t, head, group);
                for (int i = 0; group && i < H / KV; i++)
                    table.attn_merge(states + i * (HD + 2), next + i * (HD + 2), HD);
                add_bytes(states, sizeof states);
                for (int i = 0; i < H / KV; i++)
                    for (int d = 0; d < HD; d++)
                        o[(t * H + head * (H / KV) + i) * HD + d] =
                            states[i * (HD + 2) + 2 + d] * (1.0f / states[i * (HD + 2) + 1]);
            }
}

static void run_ffn(void)
{
    run_norm_quant(x, D, D, K_PAD, 1);
    run_linear(wide, 2 * F, D, 2 * F, 0);
    for (int act = TERN_ACT_RELU2; act <= TERN_ACT_GELU_TANH; act++) {
        const tern_act_mul_args a = {.y = y, .gate = wide, .up = wide + F, .ldy = F,
                                     .ld_gate = 2 * F, .ld_up = 2 * F, .act = (tern_act)act};
        table.act_mul(&a, tokens, (tern_range){0, F});
        add_bytes(y, sizeof y);
    }
    run_norm_quant(y, F, F, F_PAD, 3);
    run_linear(x, D, F, D, 1);
}

static void run_rows(void)
{
    const tern_norm_args n = {
        .y = x, .x = x, .gain = gain, .ldy = D, .ldx = D, .n = D, .eps = 1e-5f};
    table.norm(&n, tokens);
    const tern_add_args s = {
        .y = x, .a = x, .b = o, .ldy = D, .lda = D, .ldb = H * HD, .n = H * HD};
    table.add(&s, tokens);
    add_bytes(x, sizeof x);
    float pooled[2 * D];
    for (int pooling = TERN_POOL_MEAN; pooling <= TERN_POOL_LAST; pooling++) {
        const tern_pool_args a = {.y = pooled, .x = x, .ldy = D, .ldx = D, .seq = seq, .n_tok = T,
                                  .d = D, .pooling = (tern_pooling)pooling};
        table.pool(&a, (tern_range){0, 2});
        add_bytes(pooled, sizeof pooled);
    }
}

static void run_head(const int8_t *low_plane)
{
    static const int32_t rows[T] = {5, 4, 3, 2, 1, 0};
    const tern_head_args a = {.x = x, .ldx = D, .rows = rows, .gain = gain, .xq = xq, .xs = xs,
                              .high = high, .low = low_plane, .scale = table_scale,
                              .logits = logits, .ld_logits = N_VOCAB, .d = D, .k_pad = K_PAD,
                              .n_vocab = N_VOCAB, .eps = 1e-5f};
    assert_int_equal(table.head_quant(&a, tokens), 0);
    table.head_logits(&a, tokens, (tern_range){0, N_VOCAB});
    add_bytes(xq, sizeof xq);
    add_bytes(logits, sizeof logits);
    for (int t = 0; t < T; t++) {
        tern_candidate top[TOP];
        tern_score score;
        table.head_top(top, logits + t * N_VOCAB, N_VOCAB, TOP);
        table.head_score(&score, logits + t * N_VOCAB, N_VOCAB, 17 * t);
        add_bytes(top, sizeof top);
        add_bytes(&score, sizeof score);
        const tern_pick pick = {.temperature = 0.9f, .top_k = t * 5, .top_p = 0.95f,
                                .min_p = 0.001f, .seed = 99, .position = (uint32_t)t};
        const tern_pick_args p = {.logits = logits + t * N_VOCAB, .n_vocab = N_VOCAB, .pick = &pick,
                                  .scratch = scratch};
        const int32_t id = table.pick(&p);
        add_bytes(&id, sizeof id);
    }
}

static void test_every_slot_is_filled(void **state)
{
    (void)state;
    void (*slots[sizeof table / sizeof(void (*)(void))])(void);
    memcpy(slots, &table, sizeof slots);
    for (size_t i = 0; i < sizeof slots / sizeof slots[0]; i++) assert_true(slots[i] != NULL);
}

static void test_hash_of_a_workload(void **state)
{
    (void)state;
    hash = 0xcbf29ce484222325u;
    seed = 81;
    case_floats(gain, F, 1.0f, &seed);
    case_floats(rope, N_CTX * HD, 1.0f, &seed);
    for (int i = 0; i < N_VOCAB * K_PAD; i++) {
        high[i] = (int8_t)case_int(&seed, -127, 127);
        low[i] = (int8_t)case_int(&seed, -128, 127);
    }
    for (int v = 0; v < N_VOCAB; v++) table_scale[v] = 1e-6f + case_float(&seed, 5e-7f);
    for (int i = 0; i < D; i++) col[i] = (float)(1 << i % 3);
    static const int32_t ids[T] = {3, 299, 0, 3, 150, 77};
    const tern_embed_args e = {.x = x, .ldx = D, .ids = ids, .high = high, .low = low,
                               .scale = table_scale, .col = col, .d = D, .k_pad = K_PAD,
                               .multiplier = 12.0f};
    table.embed(&e, tokens);
    add_bytes(x, sizeof x);
    for (int layer = 0; layer < 2; layer++) {
        run_norm_quant(x, D, D, K_PAD, layer);
        run_linear(qkv, QKV, D, QKV, 0);
        run_attention(layer ? TERN_KV_I8 : TERN_KV_F16);
        run_norm_quant(o, H * HD, H * HD, H * HD, 2);
        run_linear(x, D, H * HD, D, 1);
        run_ffn();
    }
    run_rows();
    run_head(low);
    run_head(NULL);
    if (hash != EXPECTED_HASH) printf("hash 0x%016llx\n", (unsigned long long)hash);
    assert_true(hash == EXPECTED_HASH);
}

static int setup(void **state)
{
    (void)state;
    tern_cpu_kernels_ref(&table);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_slot_is_filled),
        cmocka_unit_test(test_hash_of_a_workload),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
