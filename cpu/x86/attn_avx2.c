/* attn_avx2.c - attention over f16 pages, and the fold of states (N6).
 *
 * The layouts put the independent chains side by side: K [hd][64] has a key per lane, so the fmaf
 * chain over d runs in eight lanes at once; V [64][hd] has a component per lane for the chain over
 * j. A converted row serves two query heads of the KV head. Absent keys of a register are computed
 * from what the page holds and cut off before the maximum. Nothing is read outside the page.
 *
 * hd is a multiple of 4: components go 32 at a time (64 for a single head), then 8, then 4. */
#include "cpu/x86/float_avx2.h"
#include "cpu/x86/x86.h"

/* Limit: two FMA a cycle, 58 GMAC/s, beside one conversion for two of them. Measured with
 * kerncheck --bench on a Zen 4, 2-core VM, hd 128, 20 heads on 5: 64 keys 9.8 us, 33 GMAC/s, 105 x
 * ref; 512 keys 93 us, 28 GMAC/s, 156 x ref. */

#define BLOCK TERN_PAGE_TOK

/* One block for one or two query heads. */
typedef struct block_view {
    const float *q; /* [heads, hd] */
    const uint16_t *k, *v;
    float c;
    int hd, n; /* n present keys */
} block_view;

static INLINE __m256 load_f16(const uint16_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
}

/* s [heads][64]; `vectors` of 8 keys at a time. */
static INLINE void scores(float *s, const block_view *b, const int heads, const int vectors)
{
    for (int first = 0; first < b->n; first += 8 * vectors) {
        __m256 sum[8];
        for (int i = 0; i < heads * vectors; i++) sum[i] = _mm256_setzero_ps();
        for (int d = 0; d < b->hd; d++) {
            const uint16_t *k = b->k + d * BLOCK + first;
            __m256 q[2];
            for (int h = 0; h < heads; h++) q[h] = _mm256_set1_ps(b->q[h * b->hd + d] * b->c);
            for (int i = 0; i < vectors; i++) {
                const __m256 keys = load_f16(k + 8 * i);
                for (int h = 0; h < heads; h++)
                    sum[h * vectors + i] = _mm256_fmadd_ps(q[h], keys, sum[h * vectors + i]);
            }
        }
        for (int h = 0; h < heads; h++)
            for (int i = 0; i < vectors; i++)
                _mm256_storeu_ps(s + h * BLOCK + first + 8 * i, sum[h * vectors + i]);
    }
}

/* In place: s_j becomes p_j, +0 for absent keys; m and l go to the state. */
static INLINE void softmax(float *state, float *s, int n)
{
    __m256 p[8], largest = _mm256_set1_ps(s[0]);
    for (int i = 0; i < 8 && 8 * i < n; i++) {
        const __m256 present = _mm256_castsi256_ps(lanes_below(n - 8 * i));
        const __m256 x = _mm256_loadu_ps(s + 8 * i);
        largest = _mm256_max_ps(largest, _mm256_blendv_ps(largest, x, present));
    }
    const float m = max_of_8(largest);
    for (int i = 0; i < 8; i++) {
        const __m256 present = _mm256_castsi256_ps(lanes_below(n - 8 * i));
        p[i] = _mm256_setzero_ps();
        if (8 * i < n) {
            const __m256 x = _mm256_sub_ps(_mm256_loadu_ps(s + 8 * i), _mm256_set1_ps(m));
            p[i] = _mm256_and_ps(exp2_weight_8(x), present);
        }
        _mm256_storeu_ps(s + 8 * i, p[i]);
    }
    for (int h = 4; h >= 1; h /= 2)
        for (int i = 0; i < h; i++) p[i] = _mm256_add_ps(p[i], p[i + h]);
    state[0] = m;
    state[1] = tree_of_8(p[0]);
}

/* o_d of `vectors` * 8 components from d on. */
static INLINE void values(float *const *o, const float *p, const block_view *b, int d,
                          const int heads, const int vectors)
{
    __m256 sum[8];
    for (int i = 0; i < heads * vectors; i++) sum[i] = _mm256_setzero_ps();
    for (int j = 0; j < b->n; j++) {
        const uint16_t *v = b->v + j * b->hd + d;
        __m256 weight[2];
        for (int h = 0; h < heads; h++) weight[h] = _mm256_set1_ps(p[h * BLOCK + j]);
        for (int i = 0; i < vectors; i++) {
            const __m256 x = load_f16(v + 8 * i);
            for (int h = 0; h < heads; h++)
                sum[h * vectors + i] = _mm256_fmadd_ps(weight[h], x, sum[h * vectors + i]);
        }
    }
    for (int h = 0; h < heads; h++)
        for (int i = 0; i < vectors; i++)
            _mm256_storeu_ps(o[h] + d + 8 * i, sum[h * vectors + i]);
}

/* The last four components. */
static void last_values(float *o, const float *p, const block_view *b, int d)
{
    __m128 sum = _mm_setzero_ps();
    for (int j = 0; j < b->n; j++) {
        const __m128i v = _mm_loadl_epi64((const __m128i *)(const void *)(b->v + j * b->hd + d));
        sum = _mm_fmadd_ps(_mm_set1_ps(p[j]), _mm_cvtph_ps(v), sum);
    }
    _mm_storeu_ps(o + d, sum);
}

/* The states of one block for `heads` query heads. */
static INLINE void block_states(float *const *state, const block_view *b, const int heads)
{
    const int wide = heads == 1 ? 8 : 4;
    float s[2 * BLOCK], *o[2];
    int d = 0;
    scores(s, b, heads, wide);
    for (int h = 0; h < heads; h++) {
        softmax(state[h], s + h * BLOCK, b->n);
        o[h] = state[h] + 2;
    }
    for (; d + 8 * wide <= b->hd; d += 8 * wide) values(o, s, b, d, heads, wide);
    for (; d + 8 <= b->hd; d += 8) values(o, s, b, d, heads, 1);
    for (int h = 0; h < heads && d < b->hd; h++) last_values(o[h], s + h * BLOCK, b, d);
}

void tern_attn_merge_avx2(float *into, const float *from, int hd)
{
    const float m = tern_max(into[0], from[0]);
    const float a = tern_exp2_weight(into[0] - m), b = tern_exp2_weight(from[0] - m);
    const __m256 a8 = _mm256_set1_ps(a), b8 = _mm256_set1_ps(b);
    int d = 2;
    into[0] = m;
    into[1] = into[1] * a + from[1] * b;
    for (; d + 8 <= 2 + hd; d += 8) {
        const __m256 old = _mm256_mul_ps(_mm256_loadu_ps(into + d), a8);
        _mm256_storeu_ps(into + d, _mm256_fmadd_ps(_mm256_loadu_ps(from + d), b8, old));
    }
    for (; d < 2 + hd; d++) into[d] = fmaf(from[d], b, into[d] * a);
}

void tern_attn_group_f16_avx2(float *states, const tern_attn_args *a, int token, int kv_head,
                              int group)
{
    const int hd = a->view.hd, heads = a->h / a->view.kv, size = hd + 2;
    float folded[2][2 + TERN_MAX_HD];
    for (int b = 0; b < TERN_GROUP_PAGES; b++) {
        const int block = group * TERN_GROUP_PAGES + b;
        const int left = a->view.pos[token] + 1 - block * BLOCK;
        if (left < 1) break;
        const uint8_t *page = tern_kv_head_page(&a->view, token, block, kv_head);
        block_view view = {.k = (const uint16_t *)(const void *)page,
                           .c = a->c,
                           .hd = hd,
                           .n = left < BLOCK ? left : BLOCK};
        view.v = view.k + BLOCK * hd;
        for (int i = 0; i < heads; i += 2) {
            float *own[2] = {states + i * size, states + (i + 1) * size};
            float *next[2] = {folded[0], folded[1]};
            view.q = a->q + token * a->ldq + (int64_t)(kv_head * heads + i) * hd;
            if (i + 1 < heads)
                block_states(b ? next : own, &view, 2);
            else
                block_states(b ? next : own, &view, 1);
            for (int h = 0; h < 2 && i + h < heads && b > 0; h++)
                tern_attn_merge_avx2(own[h], next[h], hd);
        }
    }
}
