/* attn_ref.c - attention over one group of pages, and the fold of states (N6).
 *
 * A state is m, l, o[hd]. A group is TERN_GROUP_PAGES blocks of 64 positions, folded left to right.
 * Positions beyond the token's own are absent: their p is +0 and adds nothing to any chain (stores
 * saturate and pages are zeroed, so no infinity meets the zero); hence loops end before them. */
#include "cpu/ref/ref.h"

void tern_attn_merge_ref(float *into, const float *from, int hd)
{
    const float m = tern_max(into[0], from[0]);
    const float a = tern_exp2_weight(into[0] - m), b = tern_exp2_weight(from[0] - m);
    into[0] = m;
    into[1] = into[1] * a + from[1] * b;
    for (int d = 0; d < hd; d++) into[2 + d] = fmaf(from[2 + d], b, into[2 + d] * a);
}

/* p_j = w(s_j - m) for the n present keys, +0 for the others; m and l go to the state. */
static void softmax_block(float *state, float p[TERN_PAGE_TOK], const float *s, int n)
{
    float m = s[0], tree[TERN_KEY_PARTIALS];
    for (int j = 1; j < n; j++) m = tern_max(m, s[j]);
    for (int j = 0; j < TERN_PAGE_TOK; j++) p[j] = j < n ? tern_exp2_weight(s[j] - m) : 0.0f;
    memcpy(tree, p, sizeof tree);
    state[0] = m;
    state[1] = tern_tree_sum(tree, TERN_KEY_PARTIALS);
}

/* The state of one block with n present keys for one query head, f16 pages. */
static void block_f16(float *state, const float *q, float c, const uint8_t *page, int hd, int n)
{
    const uint16_t *k = (const uint16_t *)(const void *)page, *v = k + TERN_PAGE_TOK * hd;
    float s[TERN_PAGE_TOK] = {0}, p[TERN_PAGE_TOK], *o = state + 2;
    for (int d = 0; d < hd; d++) {
        const float scaled = q[d] * c;
        for (int j = 0; j < n; j++)
            s[j] = fmaf(scaled, tern_f32_from_f16(k[d * TERN_PAGE_TOK + j]), s[j]);
    }
    softmax_block(state, p, s, n);
    for (int d = 0; d < hd; d++) o[d] = 0.0f;
    for (int j = 0; j < n; j++)
        for (int d = 0; d < hd; d++) o[d] = fmaf(p[j], tern_f32_from_f16(v[j * hd + d]), o[d]);
}

/* o from the weights p of a block, i8 pages: w_j = p_j * sv_j as integers to 16383.
 * Bound: |sum of u * v| <= 64 * 16383 * 127 < 2^27. */
static void values_i8(float *o, const float *p, const int8_t *v, const float *sv, int hd)
{
    float w[TERN_PAGE_TOK], largest = 0.0f;
    int32_t u[TERN_PAGE_TOK];
    for (int j = 0; j < TERN_PAGE_TOK; j++) {
        w[j] = p[j] * sv[j];
        largest = tern_max(largest, w[j]);
    }
    for (int j = 0; j < TERN_PAGE_TOK; j++)
        u[j] = largest > 0.0f ? (int32_t)rintf(w[j] * (16383.0f / largest)) : 0;
    for (int d = 0; d < hd; d++) {
        int32_t sum = 0;
        for (int j = 0; j < TERN_PAGE_TOK; j++) sum += u[j] * v[(j / 4 * hd + d) * 4 + j % 4];
        o[d] = (float)sum * (largest / 16383.0f);
    }
}

/* The state of one block with n present keys for one query head, i8 pages. */
static void block_i8(float *state, const int8_t *q, float sq_c, const uint8_t *page, int hd, int n)
{
    const int8_t *k = (const int8_t *)page, *v = k + TERN_PAGE_TOK * hd;
    const float *sk = (const float *)(const void *)(v + TERN_PAGE_TOK * hd);
    const float *sv = sk + TERN_PAGE_TOK;
    int32_t dot[TERN_PAGE_TOK] = {0};
    float s[TERN_PAGE_TOK], p[TERN_PAGE_TOK];
    for (int d = 0; d < hd; d += 4)
        for (int j = 0; j < TERN_PAGE_TOK; j++)
            for (int b = 0; b < 4; b++) dot[j] += q[d + b] * k[d * TERN_PAGE_TOK + j * 4 + b];
    for (int j = 0; j < n; j++) s[j] = (float)dot[j] * (sq_c * sk[j]);
    softmax_block(state, p, s, n);
    values_i8(state + 2, p, v, sv, hd);
}

/* Positions of a block that a token at position pos sees: 1 .. 64, or less than 1 for none. */
static int present_keys(int pos, int block)
{
    const int n = pos + 1 - block * TERN_PAGE_TOK;
    return n < TERN_PAGE_TOK ? n : TERN_PAGE_TOK;
}

void tern_attn_group_f16_ref(float *states, const tern_attn_args *a, int token, int kv_head,
                             int group)
{
    const int hd = a->view.hd, heads = a->h / a->view.kv;
    float folded[2 + TERN_MAX_HD];
    for (int i = 0; i < heads; i++) {
        const float *q = a->q + token * a->ldq + (kv_head * heads + i) * hd;
        float *state = states + i * (hd + 2);
        for (int b = 0; b < TERN_GROUP_PAGES; b++) {
            const int block = group * TERN_GROUP_PAGES + b;
            const int n = present_keys(a->view.pos[token], block);
            if (n < 1) break;
            const uint8_t *page = tern_kv_head_page(&a->view, token, block, kv_head);
            block_f16(b == 0 ? state : folded, q, a->c, page, hd, n);
            if (b > 0) tern_attn_merge_ref(state, folded, hd);
        }
    }
}

void tern_attn_group_i8_ref(float *states, const tern_attn_args *a, int token, int kv_head,
                            int group)
{
    const int hd = a->view.hd, heads = a->h / a->view.kv;
    float folded[2 + TERN_MAX_HD];
    int8_t q8[TERN_MAX_HD];
    for (int i = 0; i < heads; i++) {
        const float *q = a->q + token * a->ldq + (kv_head * heads + i) * hd;
        const float sq_c = tern_quant_plain(q8, q, hd) * a->c;
        float *state = states + i * (hd + 2);
        for (int b = 0; b < TERN_GROUP_PAGES; b++) {
            const int block = group * TERN_GROUP_PAGES + b;
            const int n = present_keys(a->view.pos[token], block);
            if (n < 1) break;
            const uint8_t *page = tern_kv_head_page(&a->view, token, block, kv_head);
            block_i8(b == 0 ? state : folded, q8, sq_c, page, hd, n);
            if (b > 0) tern_attn_merge_ref(state, folded, hd);
        }
    }
}
