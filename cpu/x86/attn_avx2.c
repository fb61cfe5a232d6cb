/* attn_avx2.c - attention over pages of f16 and of int8, and the fold of states (N6).
 *
 * The layouts put the independent chains side by side: K [hd][64] has a key per lane, so the fmaf
 * chain over d runs in eight lanes at once; V [64][hd] has a component per lane for the chain over
 * j. A converted row serves four query heads of the KV head. Absent keys of a register are computed
 * from what the page holds and cut off before the maximum. Nothing is read outside the page.
 *
 * hd is a multiple of 4: components go 64 at a time over the heads of a row, then 8, then 4. */
#include "cpu/x86/float_avx2.h"
#include "cpu/x86/x86.h"

/* Limit: two FMA a cycle, beside one conversion for four of them. Two heads a row took four
 * conversions for eight FMA and a product for each broadcast; four heads take two and none. V and
 * the next K are fetched while the other is computed. Both together, measured with kerncheck
 * --bench on a 2-core Zen 3 VM under load, hd 128, 20 heads on 5, two runs of each by turns: 64
 * keys 10.0 and 11.9 us before, 8.0 and 8.1 after, 41 GMAC/s; 512 keys 104 and 94 us before, 67 and
 * 69 after, 39 GMAC/s. */

#define BLOCK TERN_PAGE_TOK

/* Query heads that share a converted row. */
#define HEADS 4

/* One block for up to HEADS query heads. */
typedef struct block_view {
    const float *q; /* [heads, hd] */
    const uint16_t *k, *v, *next_k;
    float c;
    int hd, n; /* n present keys */
} block_view;

static INLINE __m256 load_f16(const uint16_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
}

static INLINE void fetch(const uint16_t *p)
{
    _mm_prefetch((const char *)p, _MM_HINT_T0);
}

/* s [heads][64]; `vectors` of 8 keys at a time. Fetches V on the way. */
static INLINE void scores(float *s, const block_view *b, const int heads, const int vectors)
{
    float scaled[HEADS][TERN_MAX_HD];
    for (int h = 0; h < heads; h++)
        for (int d = 0; d < b->hd; d++) scaled[h][d] = b->q[h * b->hd + d] * b->c;
    for (int first = 0; first < b->n; first += 8 * vectors) {
        __m256 sum[8];
        for (int i = 0; i < heads * vectors; i++) sum[i] = _mm256_setzero_ps();
        for (int d = 0; d < b->hd; d++) {
            __m256 keys[8];
            fetch(b->v + first * b->hd + d * 8 * vectors);
            for (int i = 0; i < vectors; i++) keys[i] = load_f16(b->k + d * BLOCK + first + 8 * i);
            for (int h = 0; h < heads; h++) {
                const __m256 q = _mm256_broadcast_ss(&scaled[h][d]);
                for (int i = 0; i < vectors; i++)
                    sum[h * vectors + i] = _mm256_fmadd_ps(q, keys[i], sum[h * vectors + i]);
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

/* o_d of `vectors` * 8 components from d on. Fetches the next K on the way. */
static INLINE void values(float *const *o, const float *p, const block_view *b, int d,
                          const int heads, const int vectors)
{
    __m256 sum[8];
    for (int i = 0; i < heads * vectors; i++) sum[i] = _mm256_setzero_ps();
    for (int j = 0; j < b->n; j++) {
        __m256 x[8];
        fetch(b->next_k + d * BLOCK + j * 8 * vectors);
        for (int i = 0; i < vectors; i++) x[i] = load_f16(b->v + j * b->hd + d + 8 * i);
        for (int h = 0; h < heads; h++) {
            const __m256 weight = _mm256_broadcast_ss(p + h * BLOCK + j);
            for (int i = 0; i < vectors; i++)
                sum[h * vectors + i] = _mm256_fmadd_ps(weight, x[i], sum[h * vectors + i]);
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
    const int wide = 8 / heads;
    float s[HEADS * BLOCK], *o[HEADS];
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

/* The page that is likely read after this one: the next block's, or another KV head's first. */
static const uint8_t *next_page(const tern_kv_view *view, int token, int block, int kv_head)
{
    if ((block + 1) * BLOCK <= view->pos[token])
        return tern_kv_head_page(view, token, block + 1, kv_head);
    return tern_kv_head_page(view, token, 0, kv_head + 1 < view->kv ? kv_head + 1 : 0);
}

/* Block b of a group for `heads` query heads: the first starts their states, others are folded. */
static INLINE void fold_heads(float *states, const block_view *view, int b, const int heads)
{
    const int size = view->hd + 2;
    float folded[HEADS][2 + TERN_MAX_HD], *to[HEADS];
    for (int h = 0; h < heads; h++) to[h] = b ? folded[h] : states + h * size;
    block_states(to, view, heads);
    for (int h = 0; h < heads && b > 0; h++)
        tern_attn_merge_avx2(states + h * size, folded[h], view->hd);
}

void tern_attn_group_f16_avx2(float *states, const tern_attn_args *a, int token, int kv_head,
                              int group)
{
    const int hd = a->view.hd, heads = a->h / a->view.kv, size = hd + 2;
    for (int b = 0; b < TERN_GROUP_PAGES; b++) {
        const int block = group * TERN_GROUP_PAGES + b;
        const int left = a->view.pos[token] + 1 - block * BLOCK;
        if (left < 1) break;
        const uint8_t *page = tern_kv_head_page(&a->view, token, block, kv_head);
        const uint8_t *next = next_page(&a->view, token, block, kv_head);
        block_view view = {.k = (const uint16_t *)(const void *)page,
                           .next_k = (const uint16_t *)(const void *)next,
                           .c = a->c,
                           .hd = hd,
                           .n = left < BLOCK ? left : BLOCK};
        view.v = view.k + BLOCK * hd;
        for (int i = 0, step; i < heads; i += step) {
            step = heads - i >= 4 ? 4 : heads - i >= 2 ? 2 : 1;
            view.q = a->q + token * a->ldq + (int64_t)(kv_head * heads + i) * hd;
            if (step == 4)
                fold_heads(states + i * size, &view, b, 4);
            else if (step == 2)
                fold_heads(states + i * size, &view, b, 2);
            else
                fold_heads(states + i * size, &view, b, 1);
        }
    }
}

/* ---- int8 pages ----------------------------------------------------------------------------- */

/* Limit: three instructions for 32 products, two a cycle, 78 GMAC/s. Measured on a Zen 4 VM:
 * 64 keys 13 us, 25 GMAC/s, 29 x ref; 512 keys 95 us, 28 GMAC/s, 34 x ref. */

/* s [64] of one query head: K [hd/4][64][4] has a key per 32-bit lane. |q| times k with the sign of
 * q: both are at most 127, so a pair is at most 2 * 127 * 127 < 2^15 and nothing saturates. */
static INLINE void scores_i8(float *s, const int8_t *q, float sq_c, const int8_t *k, int hd)
{
    const float *sk = (const float *)(const void *)(k + 2 * BLOCK * hd);
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i dot[8];
    for (int i = 0; i < 8; i++) dot[i] = _mm256_setzero_si256();
    for (int d = 0; d < hd; d += 4) {
        int32_t word;
        memcpy(&word, q + d, 4);
        const __m256i x = _mm256_set1_epi32(word), size = _mm256_abs_epi8(x);
        for (int i = 0; i < 8; i++) {
            const int8_t *at = k + d * BLOCK + 32 * i;
            const __m256i keys = _mm256_loadu_si256((const __m256i *)(const void *)at);
            const __m256i pairs = _mm256_maddubs_epi16(size, _mm256_sign_epi8(keys, x));
            dot[i] = _mm256_add_epi32(dot[i], _mm256_madd_epi16(pairs, ones));
        }
    }
    for (int i = 0; i < 8; i++) {
        const __m256 scale = _mm256_mul_ps(_mm256_set1_ps(sq_c), _mm256_loadu_ps(sk + 8 * i));
        _mm256_storeu_ps(s + 8 * i, _mm256_mul_ps(_mm256_cvtepi32_ps(dot[i]), scale));
    }
}

/* u_j in two 7-bit planes from w_j = p_j * sv_j; returns W. */
static INLINE float value_weights(uint8_t *high, uint8_t *low, const float *p, const float *sv)
{
    float w[BLOCK];
    __m256 most = _mm256_setzero_ps();
    for (int j = 0; j < BLOCK; j += 8) {
        const __m256 x = _mm256_mul_ps(_mm256_loadu_ps(p + j), _mm256_loadu_ps(sv + j));
        _mm256_storeu_ps(w + j, x);
        most = _mm256_max_ps(most, x);
    }
    const float largest = max_of_8(most);
    const __m256 factor = _mm256_set1_ps(largest > 0.0f ? 16383.0f / largest : 0.0f);
    for (int j = 0; j < BLOCK; j += 8) {
        int32_t u[8];
        const __m256i n = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(w + j), factor));
        _mm256_storeu_si256((__m256i *)(void *)u, n);
        for (int i = 0; i < 8; i++) {
            high[j + i] = (uint8_t)(u[i] >> 7);
            low[j + i] = (uint8_t)(u[i] & 127);
        }
    }
    return largest;
}

/* Sums of u_j * v_jd for eight components, or for four when the 16 bytes are all there is. */
static INLINE __m256i value_sums(const uint8_t *high, const uint8_t *low, const int8_t *v, int hd,
                                 const int n)
{
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i h = _mm256_setzero_si256(), l = h;
    for (int j = 0; j < BLOCK; j += 4, v += 4 * hd) {
        int32_t word_h, word_l;
        memcpy(&word_h, high + j, 4);
        memcpy(&word_l, low + j, 4);
        const __m256i x =
            n == 8 ? _mm256_loadu_si256((const __m256i *)(const void *)v)
                   : _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)v));
        const __m256i pairs_h = _mm256_maddubs_epi16(_mm256_set1_epi32(word_h), x);
        const __m256i pairs_l = _mm256_maddubs_epi16(_mm256_set1_epi32(word_l), x);
        h = _mm256_add_epi32(h, _mm256_madd_epi16(pairs_h, ones));
        l = _mm256_add_epi32(l, _mm256_madd_epi16(pairs_l, ones));
    }
    return _mm256_add_epi32(_mm256_slli_epi32(h, 7), l);
}

static void block_i8(float *state, const int8_t *q, float sq_c, const uint8_t *page, int hd, int n)
{
    const int8_t *k = (const int8_t *)page, *v = k + BLOCK * hd;
    const float *sv = (const float *)(const void *)(v + BLOCK * hd) + BLOCK;
    float s[BLOCK];
    uint8_t high[BLOCK], low[BLOCK];
    scores_i8(s, q, sq_c, k, hd);
    softmax(state, s, n);
    const __m256 scale = _mm256_set1_ps(value_weights(high, low, s, sv) / 16383.0f);
    int d = 0;
    for (; d + 8 <= hd; d += 8) {
        const __m256i sum = value_sums(high, low, v + 4 * d, hd, 8);
        _mm256_storeu_ps(state + 2 + d, _mm256_mul_ps(_mm256_cvtepi32_ps(sum), scale));
    }
    if (d < hd) {
        const __m128i sum = _mm256_castsi256_si128(value_sums(high, low, v + 4 * d, hd, 4));
        const __m128 o = _mm_mul_ps(_mm_cvtepi32_ps(sum), _mm256_castps256_ps128(scale));
        _mm_storeu_ps(state + 2 + d, o);
    }
}

void tern_attn_group_i8_avx2(float *states, const tern_attn_args *a, int token, int kv_head,
                             int group)
{
    const int hd = a->view.hd, heads = a->h / a->view.kv;
    float folded[2 + TERN_MAX_HD];
    int8_t q8[TERN_MAX_HD];
    for (int i = 0; i < heads; i++) {
        const float *q = a->q + token * a->ldq + (int64_t)(kv_head * heads + i) * hd;
        const float sq_c = tern_quant_plain(q8, q, hd) * a->c;
        float *state = states + i * (hd + 2);
        for (int b = 0; b < TERN_GROUP_PAGES; b++) {
            const int block = group * TERN_GROUP_PAGES + b;
            const int left = a->view.pos[token] + 1 - block * BLOCK;
            if (left < 1) break;
            const uint8_t *page = tern_kv_head_page(&a->view, token, block, kv_head);
            block_i8(b ? folded : state, q8, sq_c, page, hd, left < BLOCK ? left : BLOCK);
            if (b > 0) tern_attn_merge_avx2(state, folded, hd);
        }
    }
}
