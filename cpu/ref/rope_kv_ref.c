/* rope_kv_ref.c - ROPE_KV: norm and rotation of q and k, stores of k and v into pages (N6). */
#include "cpu/ref/ref.h"

/* u_i = (x_i * r) * g_i over one head, in place. */
static void head_norm(float *x, const float *gain, int hd, float eps)
{
    const float r = tern_inverse_rms(tern_row_sum_squares(x, 0.0f, hd), hd, eps);
    for (int i = 0; i < hd; i++) x[i] = (x[i] * r) * gain[i];
}

/* Half-split rotation of one head, in place; `row` holds hd/2 cosines, then hd/2 sines. */
static void head_rotate(float *x, const float *row, int hd)
{
    const int half = hd / 2;
    for (int j = 0; j < half; j++) {
        const float c = row[j], s = row[half + j];
        const float x0 = x[j], x1 = x[half + j];
        x[j] = x0 * c - x1 * s;
        x[half + j] = x0 * s + x1 * c;
    }
}

/* K [hd][64] and V [64][hd] in f16; slot is the position inside the page. */
static void store_f16(uint8_t *page, const float *k, const float *v, int hd, int slot)
{
    uint16_t *pk = (uint16_t *)(void *)page, *pv = pk + TERN_PAGE_TOK * hd;
    for (int i = 0; i < hd; i++) {
        pk[i * TERN_PAGE_TOK + slot] = tern_f16_from_f32(k[i]);
        pv[slot * hd + i] = tern_f16_from_f32(v[i]);
    }
}

/* K [hd/4][64][4] and V [16][hd][4] in s8, then sk [64] and sv [64]. */
static void store_i8(uint8_t *page, const float *k, const float *v, int hd, int slot)
{
    int8_t *pk = (int8_t *)page, *pv = pk + TERN_PAGE_TOK * hd;
    float *sk = (float *)(void *)(pv + TERN_PAGE_TOK * hd), *sv = sk + TERN_PAGE_TOK;
    int8_t k8[TERN_MAX_HD], v8[TERN_MAX_HD];
    sk[slot] = tern_quant_plain(k8, k, hd);
    sv[slot] = tern_quant_plain(v8, v, hd);
    for (int i = 0; i < hd; i++) {
        pk[(i / 4 * TERN_PAGE_TOK + slot) * 4 + i % 4] = k8[i];
        pv[(slot / 4 * hd + i) * 4 + slot % 4] = v8[i];
    }
}

void tern_rope_kv_ref(const tern_rope_kv_args *a, tern_range tokens)
{
    const int hd = a->view.hd, kv = a->view.kv;
    for (int t = tokens.begin; t < tokens.end; t++) {
        const int pos = a->view.pos[t];
        const float *row = a->rope + (size_t)pos * (size_t)hd;
        float *q = a->qkv + t * a->ld, *k = q + a->h * hd, *v = k + kv * hd;
        for (int i = 0; i < a->h; i++) {
            if (a->q_gain) head_norm(q + i * hd, a->q_gain, hd, a->eps);
            head_rotate(q + i * hd, row, hd);
        }
        for (int i = 0; i < kv; i++) {
            if (a->k_gain) head_norm(k + i * hd, a->k_gain, hd, a->eps);
            head_rotate(k + i * hd, row, hd);
            uint8_t *page = tern_kv_head_page(&a->view, t, pos / TERN_PAGE_TOK, i);
            if (a->view.type == TERN_KV_F16)
                store_f16(page, k + i * hd, v + i * hd, hd, pos % TERN_PAGE_TOK);
            else
                store_i8(page, k + i * hd, v + i * hd, hd, pos % TERN_PAGE_TOK);
        }
    }
}
