/* attn_avx2.c - attention over pages of f16 and of int8, and the fold of states (N6).
 *
 * The layouts put the independent chains side by side: K [hd][64] has a key per lane, so the fmaf
 * chain over d runs in eight lanes at once; V [64][hd] has a component per lane for the chain over
 * j; the int8 layouts are the same with four d or j in the bytes of a lane. A converted register
 * serves four query heads of the KV head. Absent keys of a register are computed from what the page
 * holds and cut off before the maximum. Nothing is read outside the KV head's part of the page.
 *
 * hd is a multiple of 4: f16 components go 64 at a time over the heads of a row, then 8, then 4;
 * int8 components 16, then 8, of which the last four may be scales, computed and not stored. */
#include "cpu/x86/float_avx2.h"
#include "cpu/x86/x86.h"

#define BLOCK TERN_PAGE_TOK

/* Query heads that share a converted register. */
#define HEADS 4

/* The query heads as the scores take them. */
typedef struct query_heads {
    float scaled[HEADS][TERN_MAX_HD];      /* f16 pages: q * c */
    int32_t words[HEADS][TERN_MAX_HD / 2]; /* i8 pages: quantised, see pair_words() */
    float sq_c[HEADS];
} query_heads;

/* A block: the KV head's part of its page and of the page that is likely read next. */
typedef struct block_view {
    const uint8_t *page, *next;
    int hd, n; /* n present keys */
} block_view;

static INLINE void fetch(const void *p)
{
    _mm_prefetch((const char *)p, _MM_HINT_T0);
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

/* ---- f16 pages ------------------------------------------------------------------------------ */

/* Limit: two FMA a cycle, beside one conversion for four of them. Two heads a row took four
 * conversions for eight FMA and a product for each broadcast; four heads take two and none. V and
 * the next K are fetched while the other is computed. Both together, measured with kerncheck
 * --bench on a 2-core Zen 3 VM under load, hd 128, 20 heads on 5, two runs of each by turns: 64
 * keys 10.0 and 11.9 us before, 8.0 and 8.1 after, 41 GMAC/s; 512 keys 104 and 94 us before, 67
 * and 69 after, 39 GMAC/s. Tried: 12 sums instead of 8 (three registers of keys a row), nothing. */

static INLINE __m256 load_f16(const uint16_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
}

static INLINE const uint16_t *keys_f16(const uint8_t *page)
{
    return (const uint16_t *)(const void *)page;
}

static INLINE void query_f16(query_heads *to, int h, const float *q, float c, int hd)
{
    for (int d = 0; d < hd; d++) to->scaled[h][d] = q[d] * c;
}

/* s [heads][64]; `vectors` of 8 keys at a time. Fetches V on the way. */
static INLINE void scores_f16(float *s, const query_heads *q, const block_view *b, const int heads,
                              const int vectors)
{
    const uint16_t *k = keys_f16(b->page), *v = k + BLOCK * b->hd;
    for (int first = 0; first < b->n; first += 8 * vectors) {
        __m256 sum[8];
        for (int i = 0; i < heads * vectors; i++) sum[i] = _mm256_setzero_ps();
        for (int d = 0; d < b->hd; d++) {
            __m256 keys[8];
            fetch(v + first * b->hd + d * 8 * vectors);
            for (int i = 0; i < vectors; i++) keys[i] = load_f16(k + d * BLOCK + first + 8 * i);
            for (int h = 0; h < heads; h++) {
                const __m256 x = _mm256_broadcast_ss(&q->scaled[h][d]);
                for (int i = 0; i < vectors; i++)
                    sum[h * vectors + i] = _mm256_fmadd_ps(x, keys[i], sum[h * vectors + i]);
            }
        }
        for (int h = 0; h < heads; h++)
            for (int i = 0; i < vectors; i++)
                _mm256_storeu_ps(s + h * BLOCK + first + 8 * i, sum[h * vectors + i]);
    }
}

/* o_d of `vectors` * 8 components from d on. Fetches the next K on the way. */
static INLINE void values_f16(float *const *state, const float *p, const block_view *b, int d,
                              const int heads, const int vectors)
{
    const uint16_t *v = keys_f16(b->page) + BLOCK * b->hd, *next = keys_f16(b->next);
    __m256 sum[8];
    for (int i = 0; i < heads * vectors; i++) sum[i] = _mm256_setzero_ps();
    for (int j = 0; j < b->n; j++) {
        __m256 x[8];
        fetch(next + d * BLOCK + j * 8 * vectors);
        for (int i = 0; i < vectors; i++) x[i] = load_f16(v + j * b->hd + d + 8 * i);
        for (int h = 0; h < heads; h++) {
            const __m256 weight = _mm256_broadcast_ss(p + h * BLOCK + j);
            for (int i = 0; i < vectors; i++)
                sum[h * vectors + i] = _mm256_fmadd_ps(weight, x[i], sum[h * vectors + i]);
        }
    }
    for (int h = 0; h < heads; h++)
        for (int i = 0; i < vectors; i++)
            _mm256_storeu_ps(state[h] + 2 + d + 8 * i, sum[h * vectors + i]);
}

/* The last four components. */
static void last_values_f16(float *o, const float *p, const block_view *b, int d)
{
    const uint16_t *v = keys_f16(b->page) + BLOCK * b->hd;
    __m128 sum = _mm_setzero_ps();
    for (int j = 0; j < b->n; j++) {
        const __m128i x = _mm_loadl_epi64((const __m128i *)(const void *)(v + j * b->hd + d));
        sum = _mm_fmadd_ps(_mm_set1_ps(p[j]), _mm_cvtph_ps(x), sum);
    }
    _mm_storeu_ps(o + d, sum);
}

/* The states of one block. */
static INLINE void block_f16(float *const *state, const query_heads *q, const block_view *b,
                             const int heads)
{
    const int wide = 8 / heads;
    float s[HEADS * BLOCK];
    int d = 0;
    scores_f16(s, q, b, heads, wide);
    for (int h = 0; h < heads; h++) softmax(state[h], s + h * BLOCK, b->n);
    for (; d + 8 * wide <= b->hd; d += 8 * wide) values_f16(state, s, b, d, heads, wide);
    for (; d + 8 <= b->hd; d += 8) values_f16(state, s, b, d, heads, 1);
    for (int h = 0; h < heads && d < b->hd; h++) last_values_f16(state[h] + 2, s + h * BLOCK, b, d);
}

/* ---- int8 pages ----------------------------------------------------------------------------- */

/* Limit: vpmaddwd for 16 products, two a cycle, 32 products; a sum for each and the shifts that
 * widen are 38 instructions for 64 bytes and four heads, 27 products a cycle where four issue.
 * Before, each query head read the page anew: vpmaddubsw and vpmaddwd for scores, both twice for
 * the two 7-bit planes of values, whose bytes were made one by one. Predicted: half the
 * multiplications, the rest nearly gone, 27 to 72 GMAC/s. Seen on a 2-core Zen 3 VM (3.2 GHz),
 * kerncheck --bench, hd 128, 20 heads on 5, three runs of each by turns: 64 keys 12.0 and 6.8 us,
 * 512 keys 88.3 and 51.5 us, 51 GMAC/s; 21 keys 11.7 and 4.2 us. What is missing is float work: by
 * the time of 21 keys some 1500 cycles of 4100 a block. Tried: exp2 without clamps and without
 * masks in full blocks, under 2 %. */

/* Eight integers of 16 bits: of each four first the even ones, then the odd ones, two in a word, as
 * dot_bytes() takes them. */
static INLINE __m128i pair_words(__m256i x)
{
    const __m256i second = _mm256_slli_epi32(_mm256_srli_si256(x, 8), 16);
    const __m256i words = _mm256_blend_epi16(x, second, 0xaa);
    return _mm256_castsi256_si128(_mm256_permute4x64_epi64(words, 0x08));
}

static INLINE void query_i8(query_heads *to, int h, const float *q, float c, int hd)
{
    const float range = tern_quant_range(row_absmax_8(q, NULL, 0.0f, hd), 1.0f);
    const __m256 factor = _mm256_set1_ps(127.0f / range);
    for (int d = 0; d < hd; d += 8) {
        const __m256i n = round_clamp_8(_mm256_mul_ps(load_below(q, d, hd), factor), 127.0f);
        _mm_storeu_si128((__m128i *)(void *)&to->words[h][d / 2], pair_words(n));
    }
    to->sq_c[h] = range / 127.0f * c;
}

/* n rows of bytes, `step` apart, four bytes a lane, times weights: four of a head a row, in two
 * words; `ahead` is fetched on the way. */
typedef struct byte_rows {
    const int8_t *at, *ahead;
    size_t step;
    int n;
    const int32_t *words;
    int ld; /* words of a head */
} byte_rows;

/* sum [heads][vectors] of 8 lanes. Bytes of a lane are widened in place, the even ones, then the
 * odd ones, and vpmaddwd adds two products. The empty asm keeps gcc from regrouping the sums,
 * which spills half of them: 7 %. Bounds: 127 * 127 * TERN_MAX_HD < 2^22 for scores, 64 * 16383 *
 * 127 < 2^27 for values. */
static INLINE void dot_bytes(__m256i *sum, const byte_rows *rows, const int heads,
                             const int vectors)
{
    const int8_t *at = rows->at;
    for (int i = 0; i < heads * vectors; i++) sum[i] = _mm256_setzero_si256();
    for (int r = 0; r < rows->n; r++, at += rows->step) {
        fetch(rows->ahead + 64 * r);
        for (int odd = 0; odd < 2; odd++) {
            __m256i x[2];
            for (int i = 0; i < vectors; i++) {
                x[i] = _mm256_loadu_si256((const __m256i *)(const void *)(at + 32 * i));
                x[i] = _mm256_srai_epi16(odd ? x[i] : _mm256_slli_epi16(x[i], 8), 8);
            }
            for (int h = 0; h < heads; h++) {
                const __m256i w = _mm256_set1_epi32(rows->words[h * rows->ld + 2 * r + odd]);
                for (int i = 0; i < vectors; i++) {
                    __m256i *to = &sum[h * vectors + i];
                    *to = _mm256_add_epi32(*to, _mm256_madd_epi16(x[i], w));
                    __asm__("" : "+x"(*to));
                }
            }
        }
    }
}

/* s [heads][64], 16 keys at a time. Fetches V on the way. */
static INLINE void scores_i8(float *s, const query_heads *q, const block_view *b, const int heads)
{
    const int8_t *k = (const int8_t *)b->page, *v = k + BLOCK * b->hd;
    const float *sk = (const float *)(const void *)(v + BLOCK * b->hd);
    for (int first = 0; first < b->n; first += 16) {
        __m256i dot[2 * HEADS];
        const byte_rows rows = {k + 4 * first, v + first * b->hd, 4 * BLOCK,
                                b->hd / 4,     q->words[0],       TERN_MAX_HD / 2};
        dot_bytes(dot, &rows, heads, 2);
        for (int h = 0; h < heads; h++)
            for (int i = 0; i < 2; i++) {
                const int j = first + 8 * i;
                const __m256 scale =
                    _mm256_mul_ps(_mm256_set1_ps(q->sq_c[h]), _mm256_loadu_ps(sk + j));
                _mm256_storeu_ps(s + h * BLOCK + j,
                                 _mm256_mul_ps(_mm256_cvtepi32_ps(dot[2 * h + i]), scale));
            }
    }
}

/* u_j from w_j = p_j * sv_j, for dot_bytes(); returns W/16383. */
static INLINE float value_weights(int32_t *words, const float *p, const float *sv)
{
    __m256 w[8], most = _mm256_setzero_ps();
    for (int i = 0; i < 8; i++) {
        w[i] = _mm256_mul_ps(_mm256_loadu_ps(p + 8 * i), _mm256_loadu_ps(sv + 8 * i));
        most = _mm256_max_ps(most, w[i]);
    }
    const float largest = max_of_8(most);
    const __m256 factor = _mm256_set1_ps(largest > 0.0f ? 16383.0f / largest : 0.0f);
    for (int i = 0; i < 8; i++) {
        const __m256i u = _mm256_cvtps_epi32(_mm256_mul_ps(w[i], factor));
        _mm_storeu_si128((__m128i *)(void *)(words + 4 * i), pair_words(u));
    }
    return largest / 16383.0f;
}

/* o_d of `vectors` * 8 components from d on. Fetches the next K on the way. */
static INLINE void values_i8(float *const *state, const float *scale, const int32_t *words,
                             const block_view *b, int d, const int heads, const int vectors)
{
    const int8_t *v = (const int8_t *)b->page + BLOCK * b->hd;
    __m256i dot[2 * HEADS];
    const byte_rows rows = {
        v + 4 * d, (const int8_t *)b->next + BLOCK * d, 4 * (size_t)b->hd, (b->n + 3) / 4, words,
        BLOCK / 2};
    dot_bytes(dot, &rows, heads, vectors);
    for (int h = 0; h < heads; h++)
        for (int i = 0; i < vectors; i++) {
            const __m256 o =
                _mm256_mul_ps(_mm256_cvtepi32_ps(dot[h * vectors + i]), _mm256_set1_ps(scale[h]));
            store_below(state[h] + 2, o, d + 8 * i, b->hd);
        }
}

/* The states of one block. */
static INLINE void block_i8(float *const *state, const query_heads *q, const block_view *b,
                            const int heads)
{
    const uint8_t *scales = b->page + 2 * BLOCK * b->hd;
    const float *sv = (const float *)(const void *)scales + BLOCK;
    float s[HEADS * BLOCK], scale[HEADS];
    int32_t words[HEADS * BLOCK / 2];
    int d = 0;
    scores_i8(s, q, b, heads);
    for (int h = 0; h < heads; h++) {
        softmax(state[h], s + h * BLOCK, b->n);
        scale[h] = value_weights(words + h * BLOCK / 2, s + h * BLOCK, sv);
    }
    for (int i = 0; i < 2 * BLOCK * 4; i += 64) fetch(b->next + 2 * BLOCK * b->hd + i);
    for (; d + 16 <= b->hd; d += 16) values_i8(state, scale, words, b, d, heads, 2);
    for (; d < b->hd; d += 8) values_i8(state, scale, words, b, d, heads, 1);
}

/* ---- folds ---------------------------------------------------------------------------------- */

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

/* One KV head of a token in one group. */
typedef struct group_view {
    const tern_attn_args *a;
    int token, kv_head, group;
} group_view;

/* The page that is likely read after this one: the next block's, or another KV head's first. */
static const uint8_t *next_page(const group_view *g, int block)
{
    const tern_kv_view *view = &g->a->view;
    if ((block + 1) * BLOCK <= view->pos[g->token])
        return tern_kv_head_page(view, g->token, block + 1, g->kv_head);
    return tern_kv_head_page(view, g->token, 0, g->kv_head + 1 < view->kv ? g->kv_head + 1 : 0);
}

/* `heads` query heads of the KV head, from `first` on: the first block starts their states, the
 * others are folded. */
static INLINE void fold_heads(float *states, const group_view *g, int first, const int heads,
                              const tern_kv_type type)
{
    const tern_kv_view *view = &g->a->view;
    const int hd = view->hd, size = hd + 2, of_kv = g->a->h / view->kv;
    float folded[HEADS][2 + TERN_MAX_HD], *to[HEADS];
    query_heads query;
    for (int h = 0; h < heads; h++) {
        const int head = g->kv_head * of_kv + first + h;
        const float *q = g->a->q + g->token * g->a->ldq + (int64_t)head * hd;
        if (type == TERN_KV_F16)
            query_f16(&query, h, q, g->a->c, hd);
        else
            query_i8(&query, h, q, g->a->c, hd);
    }
    states += first * size;
    for (int b = 0; b < TERN_GROUP_PAGES; b++) {
        const int block = g->group * TERN_GROUP_PAGES + b;
        const int left = view->pos[g->token] + 1 - block * BLOCK;
        if (left < 1) break;
        const block_view here = {tern_kv_head_page(view, g->token, block, g->kv_head),
                                 next_page(g, block), hd, left < BLOCK ? left : BLOCK};
        for (int h = 0; h < heads; h++) to[h] = b ? folded[h] : states + h * size;
        if (type == TERN_KV_F16)
            block_f16(to, &query, &here, heads);
        else
            block_i8(to, &query, &here, heads);
        for (int h = 0; h < heads && b > 0; h++)
            tern_attn_merge_avx2(states + h * size, folded[h], hd);
    }
}

static INLINE void fold_group(float *states, const group_view *g, const tern_kv_type type)
{
    const int heads = g->a->h / g->a->view.kv;
    int i = 0;
    for (; i + 4 <= heads; i += 4) fold_heads(states, g, i, 4, type);
    if (i + 2 <= heads) {
        fold_heads(states, g, i, 2, type);
        i += 2;
    }
    if (i < heads) fold_heads(states, g, i, 1, type);
}

void tern_attn_group_f16_avx2(float *states, const tern_attn_args *a, int token, int kv_head,
                              int group)
{
    fold_group(states, &(group_view){a, token, kv_head, group}, TERN_KV_F16);
}

void tern_attn_group_i8_avx2(float *states, const tern_attn_args *a, int token, int kv_head,
                             int group)
{
    fold_group(states, &(group_view){a, token, kv_head, group}, TERN_KV_I8);
}
