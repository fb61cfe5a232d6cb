/* linear_avx512vnni.c - LINEAR with vpdpbusd (u8 codes x s8 activations into s32).
 *
 * One 64-byte tile of the public layout is 16 rows x 16 columns, a row per 32-bit lane; an
 * activation word of four columns, broadcast from memory, feeds all 16 rows.
 * Nothing is read beyond k_pad columns and ceil16(n_out) rows. */
#include <immintrin.h>
#include <string.h>

#include "cpu/x86/x86.h"

/* Regimes
 *   1, 2, 4 tokens: four masks in place (0x03, 0x0c, 0x30, 0xc0) and an accumulator per mask and
 *     token, shifted right by 0, 2, 4, 6 at the end. Bound: the accumulator of mask p is 4^p times
 *     a quarter of the sum, |.| <= 128 * 127 * k/4 = 4064 k, so sums are folded every MASKED_COLS
 *     columns: 4064 * 2^19 < 2^31. The folded total stays below 2 * 127 * k. One row group at a
 *     time: the weights are a single sequential stream (four streams read memory half as fast).
 *   8 tokens: codes shifted down once serve all, one accumulator per (row group, token).
 * Expected: 1 token bound by the memory (32.3 GB/s read by one thread), more by one vpdpbusd a
 * cycle, 64 * 3.65 = 234 GMAC/s. Measured with kerncheck --bench (one thread of a Zen 4, 2-core VM,
 * 2560 x 6912, gcc 12 / clang 14): 1 token cold 26.9 / 32.1 GB/s, hot 45 / 55 GB/s; 2 tokens 226 /
 * 230, 8 tokens 226 / 213, 256 tokens 208 / 218 GMAC/s. */

#define MASKED_COLS (1 << 19)
#define TOKEN_BLOCK 64 /* tokens whose activations stay in L2 while row groups pass by */
#define GROUPS 2       /* row groups that share an activation of many tokens */
#define ROWS TERN_TILE_ROWS

#define INLINE inline __attribute__((always_inline))

typedef struct tile_view {
    const uint8_t *codes; /* of the first row group */
    const int8_t *q;      /* of the first token */
    size_t group_bytes, k_pad;
} tile_view;

static INLINE __m512i broadcast4(const int8_t *q)
{
    int32_t word;
    memcpy(&word, q, 4);
    return _mm512_set1_epi32(word);
}

/* dot[t] = codes of one row group times token t. */
static INLINE void dot_masked(__m512i *dot, const tile_view *v, const int tokens)
{
    const __m512i mask0 = _mm512_set1_epi8(3), mask1 = _mm512_slli_epi16(mask0, 2),
                  mask2 = _mm512_slli_epi16(mask0, 4), mask3 = _mm512_slli_epi16(mask0, 6);
    for (int t = 0; t < tokens; t++) dot[t] = _mm512_setzero_si512();
    for (size_t begin = 0; begin < v->k_pad; begin += MASKED_COLS) {
        const size_t end = v->k_pad - begin < MASKED_COLS ? v->k_pad : begin + MASKED_COLS;
        __m512i acc[4][4];
        for (int t = 0; t < tokens; t++)
            for (int p = 0; p < 4; p++) acc[t][p] = _mm512_setzero_si512();
#pragma GCC unroll 2
        for (size_t c = begin; c < end; c += TERN_TILE_COLS) {
            const __m512i w = _mm512_loadu_si512(v->codes + c * 4);
            const __m512i w0 = _mm512_and_si512(w, mask0), w1 = _mm512_and_si512(w, mask1);
            const __m512i w2 = _mm512_and_si512(w, mask2), w3 = _mm512_and_si512(w, mask3);
            for (int t = 0; t < tokens; t++) {
                const int8_t *q = v->q + (size_t)t * v->k_pad + c;
                acc[t][0] = _mm512_dpbusd_epi32(acc[t][0], w0, broadcast4(q));
                acc[t][1] = _mm512_dpbusd_epi32(acc[t][1], w1, broadcast4(q + 4));
                acc[t][2] = _mm512_dpbusd_epi32(acc[t][2], w2, broadcast4(q + 8));
                acc[t][3] = _mm512_dpbusd_epi32(acc[t][3], w3, broadcast4(q + 12));
            }
        }
        for (int t = 0; t < tokens; t++) {
            const __m512i low = _mm512_add_epi32(acc[t][0], _mm512_srai_epi32(acc[t][1], 2));
            const __m512i high = _mm512_add_epi32(_mm512_srai_epi32(acc[t][2], 4),
                                                  _mm512_srai_epi32(acc[t][3], 6));
            dot[t] = _mm512_add_epi32(dot[t], _mm512_add_epi32(low, high));
        }
    }
}

/* dot[g * tokens + t] = codes of row group g times token t. */
static INLINE void dot_shifted(__m512i *dot, const tile_view *v, const int groups, const int tokens)
{
    const __m512i mask = _mm512_set1_epi8(3);
    for (int i = 0; i < groups * tokens; i++) dot[i] = _mm512_setzero_si512();
    for (size_t c = 0; c < v->k_pad; c += TERN_TILE_COLS) {
        __m512i w[GROUPS];
        for (int g = 0; g < groups; g++)
            w[g] = _mm512_loadu_si512(v->codes + (size_t)g * v->group_bytes + c * 4);
#pragma GCC unroll 4
        for (int p = 0; p < 4; p++) {
            __m512i code[GROUPS];
            for (int g = 0; g < groups; g++) {
                code[g] = _mm512_and_si512(w[g], mask);
                w[g] = _mm512_srli_epi16(w[g], 2);
            }
            for (int t = 0; t < tokens; t++) {
                const __m512i q = broadcast4(v->q + (size_t)t * v->k_pad + c + (size_t)p * 4);
                for (int g = 0; g < groups; g++)
                    dot[g * tokens + t] = _mm512_dpbusd_epi32(dot[g * tokens + t], code[g], q);
            }
        }
    }
}

/* y of one token and one row group, rows below row_end. */
static INLINE void store(const tern_linear_args *a, __m512i dot, int t, int row, int row_end)
{
    const int n = row_end - row;
    const __mmask16 rows = (__mmask16)(n >= ROWS ? 0xffffu : (1u << n) - 1);
    float *y = a->y + t * a->ldy + row;
    const __m512 acc = _mm512_cvtepi32_ps(_mm512_sub_epi32(dot, _mm512_set1_epi32(a->q_sum[t])));
    const __m512 scale = _mm512_mul_ps(_mm512_set1_ps(a->q_scale[t]),
                                       _mm512_maskz_loadu_ps(rows, a->w_scale + row));
    __m512 v = _mm512_mul_ps(acc, scale);
    if (a->accumulate) v = _mm512_add_ps(_mm512_maskz_loadu_ps(rows, y), v);
    _mm512_mask_storeu_ps(y, rows, v);
}

static INLINE void block(const tern_linear_args *a, int t0, const tern_range *rows,
                         const int groups, const int tokens)
{
    __m512i dot[16];
    const size_t k_pad = (size_t)a->k_pad, group_bytes = k_pad * ROWS / 4;
    const tile_view v = {.codes = a->codes + (size_t)(rows->begin / ROWS) * group_bytes,
                         .q = a->q + (size_t)t0 * k_pad,
                         .group_bytes = group_bytes,
                         .k_pad = k_pad};
    if (tokens <= 4)
        dot_masked(dot, &v, tokens);
    else
        dot_shifted(dot, &v, groups, tokens);
    for (int t = 0; t < tokens; t++)
        for (int g = 0; g < groups; g++)
            store(a, dot[g * tokens + t], t0 + t, rows->begin + g * ROWS, rows->end);
}

/* The last tokens, fewer than 8, of one row group. */
static void last_tokens(const tern_linear_args *a, tern_range tokens, tern_range rows)
{
    int t = tokens.begin;
    if (t + 4 <= tokens.end) {
        block(a, t, &rows, 1, 4);
        t += 4;
    }
    if (t + 2 <= tokens.end) {
        block(a, t, &rows, 1, 2);
        t += 2;
    }
    if (t < tokens.end) block(a, t, &rows, 1, 1);
}

/* One or two row groups from row on, for up to TOKEN_BLOCK tokens. */
static void row_groups(const tern_linear_args *a, tern_range tokens, tern_range rows)
{
    const tern_range second = {rows.begin + ROWS, rows.end};
    int t = tokens.begin;
    if (second.begin < rows.end)
        for (; t + 8 <= tokens.end; t += 8) block(a, t, &rows, 2, 8);
    else
        for (; t + 8 <= tokens.end; t += 8) block(a, t, &rows, 1, 8);
    const tern_range last = {t, tokens.end};
    last_tokens(a, last, rows);
    if (second.begin < rows.end) last_tokens(a, last, second);
}

void tern_linear_avx512vnni(const tern_linear_args *a, tern_range tokens, tern_range outputs)
{
    for (int t = tokens.begin; t < tokens.end; t += TOKEN_BLOCK) {
        const int end = tokens.end - t < TOKEN_BLOCK ? tokens.end : t + TOKEN_BLOCK;
        for (int row = outputs.begin; row < outputs.end; row += GROUPS * ROWS)
            row_groups(a, (tern_range){t, end}, (tern_range){row, outputs.end});
    }
}
