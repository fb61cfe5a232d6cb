/* rope_kv_avx2.c - ROPE_KV: norm and rotation of q and k, stores of k and v into pages (N6), eight
 * components a register. K is stored across its page, one component at a time.
 * Measured with kerncheck --bench on a Zen 4, 2-core VM, 25 heads of 128 and the stores of 5: f16
 * 1.1 us, 4 x ref; i8 1.6 us, 4 x ref. */
#include "cpu/x86/float_avx2.h"
#include "cpu/x86/x86.h"

/* u_i = (x_i * r) * g_i over one head, in place. */
static void head_norm(float *x, const float *gain, int hd, float eps)
{
    const float r = tern_inverse_rms(row_sum_8(x, 0.0f, hd, 1), hd, eps);
    for (int i = 0; i < hd; i += 8) {
        const __m256 u = _mm256_mul_ps(load_below(x, i, hd), _mm256_set1_ps(r));
        store_below(x, _mm256_mul_ps(u, load_below(gain, i, hd)), i, hd);
    }
}

/* Half-split rotation of one head, in place; `row` holds hd/2 cosines, then hd/2 sines. */
static void head_rotate(float *x, const float *row, int hd)
{
    const int half = hd / 2;
    for (int j = 0; j < half; j += 8) {
        const __m256 c = load_below(row, j, half), s = load_below(row + half, j, half);
        const __m256 x0 = load_below(x, j, half), x1 = load_below(x + half, j, half);
        const __m256 y0 = _mm256_sub_ps(_mm256_mul_ps(x0, c), _mm256_mul_ps(x1, s));
        const __m256 y1 = _mm256_add_ps(_mm256_mul_ps(x0, s), _mm256_mul_ps(x1, c));
        store_below(x, y0, j, half);
        store_below(x + half, y1, j, half);
    }
}

/* To f16, beyond +-65504 saturated. */
static void to_f16(uint16_t *out, const float *x, int hd)
{
    const __m256 limit = _mm256_set1_ps(65504.0f), minus = _mm256_set1_ps(-65504.0f);
    for (int i = 0; i < hd; i += 8) {
        const __m256 y = _mm256_max_ps(_mm256_min_ps(load_below(x, i, hd), limit), minus);
        const __m128i h = _mm256_cvtps_ph(y, _MM_FROUND_TO_NEAREST_INT);
        _mm_storeu_si128((__m128i *)(void *)(out + i), h);
    }
}

/* K [hd][64] and V [64][hd] in f16; slot is the position inside the page. */
static void store_f16(uint8_t *page, const float *k, const float *v, int hd, int slot)
{
    uint16_t *pk = (uint16_t *)(void *)page, *pv = pk + TERN_PAGE_TOK * hd;
    uint16_t row[TERN_MAX_HD + 8];
    to_f16(row, k, hd);
    for (int i = 0; i < hd; i++) pk[i * TERN_PAGE_TOK + slot] = row[i];
    to_f16(row, v, hd);
    memcpy(pv + slot * hd, row, (size_t)hd * sizeof row[0]);
}

/* Plain quantisation of one head; out has room for a multiple of 8. */
static float to_s8(int8_t *out, const float *x, int hd)
{
    const float range = tern_quant_range(row_absmax_8(x, NULL, 0.0f, hd), 1.0f);
    const __m256 factor = _mm256_set1_ps(127.0f / range);
    for (int i = 0; i < hd; i += 8) {
        const __m256i n = round_clamp_8(_mm256_mul_ps(load_below(x, i, hd), factor), 127.0f);
        const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(n),
                                              _mm256_extracti128_si256(n, 1));
        _mm_storel_epi64((__m128i *)(void *)(out + i), _mm_packs_epi16(words, words));
    }
    return range / 127.0f;
}

/* K [hd/4][64][4] and V [16][hd][4] in s8, then sk [64] and sv [64]. */
static void store_i8(uint8_t *page, const float *k, const float *v, int hd, int slot)
{
    int8_t *pk = (int8_t *)page, *pv = pk + TERN_PAGE_TOK * hd;
    float *sk = (float *)(void *)(pv + TERN_PAGE_TOK * hd), *sv = sk + TERN_PAGE_TOK;
    int8_t row[TERN_MAX_HD + 8];
    sk[slot] = to_s8(row, k, hd);
    for (int i = 0; i < hd; i += 4) memcpy(pk + (i / 4 * TERN_PAGE_TOK + slot) * 4, row + i, 4);
    sv[slot] = to_s8(row, v, hd);
    for (int i = 0; i < hd; i++) pv[(slot / 4 * hd + i) * 4 + slot % 4] = row[i];
}

void tern_rope_kv_avx2(const tern_rope_kv_args *a, tern_range tokens)
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
