/* linear_avx2.c - LINEAR with vpmaddubsw (u8 codes x s8 activations, pairs into s16).
 *
 * Half a tile of the public layout is 8 rows x 16 columns, a row per 32-bit lane; an activation
 * word of four columns, broadcast from memory, feeds all 8 rows. Codes are shifted down to 0 .. 2
 * first, so that a pair is at most 2 * 2 * 127 = 508 and nothing saturates. Bound: a tile adds four
 * pairs to a 16-bit lane, 16 tiles at most 16 * 4 * 508 = 32512 < 2^15; then vpmaddwd with ones
 * widens the two lanes of a row into s32.
 * Nothing is read beyond k_pad columns and ceil16(n_out) rows. */
#include <immintrin.h>
#include <string.h>

#include "cpu/x86/x86.h"

/* Limit: two vpmaddubsw a cycle, 64 products, beside as many additions: with the codes taken apart
 * 20 instructions for 256 products of four tokens, 51 a cycle where four issue, 163 GMAC/s at 3.2
 * GHz. The 8 sums, 2 codes, 2 tiles and the mask leave 3 registers: gcc 12 regrouped the sums of
 * the four steps of a tile and spilled them, hence the empty asm after each. Predicted: towards
 * that limit. Seen with kerncheck --bench, 2560 x 6912, one thread of a 2-core Zen 3 VM under
 * load, two runs of each by turns: 1 token hot 199 and 184 us, cold unchanged (memory: 48 GMAC/s);
 * 2 tokens 92 and 119, 4 tokens 100 and 135, 8 tokens 99 and 136, 256 tokens 93 and 128 GMAC/s.
 * Look-ups (vpshufb) would lose on many tokens: two tables of bytes, widened and summed, are 6
 * instructions for 64 products, here 4. */

#define NARROW_COLS (16 * TERN_TILE_COLS) /* columns that fit 16-bit sums */
#define TOKEN_BLOCK 64 /* tokens whose activations stay in L2 while row groups pass by */
#define ROWS TERN_TILE_ROWS

#define INLINE inline __attribute__((always_inline))

static INLINE __m256i broadcast4(const int8_t *q)
{
    int32_t word;
    memcpy(&word, q, 4);
    return _mm256_set1_epi32(word);
}

/* dot[half * tokens + t] = the codes of eight rows times token t; q rows are k_pad apart. */
static INLINE void dot_rows(__m256i *dot, const uint8_t *codes, const int8_t *q, size_t k_pad,
                            const int tokens)
{
    const __m256i mask = _mm256_set1_epi8(3), ones = _mm256_set1_epi16(1);
    for (int i = 0; i < 2 * tokens; i++) dot[i] = _mm256_setzero_si256();
    for (size_t begin = 0; begin < k_pad; begin += NARROW_COLS) {
        const size_t end = k_pad - begin < NARROW_COLS ? k_pad : begin + NARROW_COLS;
        __m256i sum[8];
        for (int i = 0; i < 2 * tokens; i++) sum[i] = _mm256_setzero_si256();
        for (size_t c = begin; c < end; c += TERN_TILE_COLS) {
            __m256i w0 = _mm256_loadu_si256((const __m256i *)(const void *)(codes + c * 4));
            __m256i w1 = _mm256_loadu_si256((const __m256i *)(const void *)(codes + c * 4 + 32));
#pragma GCC unroll 4
            for (int p = 0; p < 4; p++) {
                const __m256i code0 = _mm256_and_si256(w0, mask);
                const __m256i code1 = _mm256_and_si256(w1, mask);
                w0 = _mm256_srli_epi16(w0, 2);
                w1 = _mm256_srli_epi16(w1, 2);
                for (int t = 0; t < tokens; t++) {
                    const __m256i x = broadcast4(q + (size_t)t * k_pad + c + (size_t)p * 4);
                    const __m256i pairs0 = _mm256_maddubs_epi16(code0, x);
                    const __m256i pairs1 = _mm256_maddubs_epi16(code1, x);
                    sum[t] = _mm256_add_epi16(sum[t], pairs0);
                    sum[tokens + t] = _mm256_add_epi16(sum[tokens + t], pairs1);
                    __asm__("" : "+x"(sum[t]), "+x"(sum[tokens + t])); /* in this order */
                }
            }
        }
        for (int i = 0; i < 2 * tokens; i++)
            dot[i] = _mm256_add_epi32(dot[i], _mm256_madd_epi16(sum[i], ones));
    }
}

/* y of one token and eight rows, of which n are written. */
static INLINE void store(const tern_linear_args *a, __m256i dot, int t, int row, int n)
{
    if (n <= 0) return;
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i rows = _mm256_cmpgt_epi32(_mm256_set1_epi32(n), lanes);
    float *y = a->y + t * a->ldy + row;
    const __m256 acc = _mm256_cvtepi32_ps(_mm256_sub_epi32(dot, _mm256_set1_epi32(a->q_sum[t])));
    const __m256 scale = _mm256_mul_ps(_mm256_set1_ps(a->q_scale[t]),
                                       _mm256_maskload_ps(a->w_scale + row, rows));
    __m256 v = _mm256_mul_ps(acc, scale);
    if (a->accumulate) v = _mm256_add_ps(_mm256_maskload_ps(y, rows), v);
    _mm256_maskstore_ps(y, rows, v);
}

static INLINE void block(const tern_linear_args *a, int t0, tern_range rows, const int tokens)
{
    __m256i dot[8];
    const size_t k_pad = (size_t)a->k_pad;
    dot_rows(dot, a->codes + (size_t)rows.begin * k_pad / 4, a->q + (size_t)t0 * k_pad, k_pad,
             tokens);
    for (int t = 0; t < tokens; t++)
        for (int half = 0; half < 2; half++) {
            const int row = rows.begin + half * 8;
            store(a, dot[half * tokens + t], t0 + t, row, rows.end - row);
        }
}

void tern_linear_avx2(const tern_linear_args *a, tern_range tokens, tern_range outputs)
{
    for (int t0 = tokens.begin; t0 < tokens.end; t0 += TOKEN_BLOCK) {
        const int end = tokens.end - t0 < TOKEN_BLOCK ? tokens.end : t0 + TOKEN_BLOCK;
        for (int row = outputs.begin; row < outputs.end; row += ROWS) {
            int t = t0;
            for (; t + 4 <= end; t += 4) block(a, t, (tern_range){row, outputs.end}, 4);
            if (t + 2 <= end) {
                block(a, t, (tern_range){row, outputs.end}, 2);
                t += 2;
            }
            if (t < end) block(a, t, (tern_range){row, outputs.end}, 1);
        }
    }
}
