/* head_avx2.c - HEAD (N7): 15-bit activations, and exact fixed-point logits with vpmaddwd.
 *
 * Bytes of a plane widen to 16 bits and meet x in pairs: |x * plane| summed over a pair is at most
 * 2 * 16319 * 128 < 2^22, so a 32-bit lane takes 512 steps of 16 columns (512 * 4177664 < 2^31);
 * then both planes join in 64 bits. Four rows of x share the widened planes of a table row.
 * Expected: one row bound by the memory (32.3 GB/s read by one thread). Measured with kerncheck
 * --bench (one thread of a Zen 4, 2-core VM, 2560 columns, 2 planes): 1 row cold 29.4 GB/s; 4 rows
 * in cache 79 GMAC/s, 4.5 x ref; head_quant 0.25 ns a value, 10 x ref. */
#include "cpu/x86/float_avx2.h"
#include "cpu/x86/x86.h"

#define HEAD_LIMIT 16319.0f
#define CHUNK 8192 /* columns that fit 32-bit lanes */

static int quant_row(const tern_head_args *a, int row)
{
    const float *x = a->x + a->rows[row] * a->ldx;
    int16_t *xq = a->xq + (size_t)row * (size_t)a->k_pad;
    const float ss = row_sum_8(x, 0.0f, a->d, 1);
    if (!tern_is_finite(ss)) {
        memset(xq, 0, (size_t)a->k_pad * sizeof *xq);
        a->xs[row] = 0.0f;
        return 1;
    }
    const float r = tern_inverse_rms(ss, a->d, a->eps);
    const float range = tern_quant_range(row_absmax_8(x, a->gain, 0.0f, a->d), r);
    const __m256 factor = _mm256_set1_ps((HEAD_LIMIT / range) * r);
    for (int i = 0; i < a->k_pad; i += 16) {
        const __m256 y0 = gained(x, a->gain, 0.0f, i, a->d);
        const __m256 y1 = gained(x, a->gain, 0.0f, i + 8, a->d);
        const __m256i n0 = round_clamp_8(_mm256_mul_ps(y0, factor), HEAD_LIMIT);
        const __m256i n1 = round_clamp_8(_mm256_mul_ps(y1, factor), HEAD_LIMIT);
        const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(n0, n1), 0xd8);
        _mm256_storeu_si256((__m256i *)(void *)(xq + i), words);
    }
    a->xs[row] = range / HEAD_LIMIT;
    return 0;
}

int tern_head_quant_avx2(const tern_head_args *a, tern_range rows)
{
    int failed = 0;
    for (int row = rows.begin; row < rows.end; row++) failed |= quant_row(a, row);
    return failed;
}

static INLINE __m256i load_s8(const int8_t *p)
{
    return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)p));
}

static INLINE __m256i widen(__m256i x)
{
    return _mm256_add_epi64(_mm256_cvtepi32_epi64(_mm256_castsi256_si128(x)),
                            _mm256_cvtepi32_epi64(_mm256_extracti128_si256(x, 1)));
}

/* 256 * sum of high + sum of low. */
static INLINE int64_t combine(__m256i high, __m256i low)
{
    const __m256i four = _mm256_add_epi64(_mm256_slli_epi64(widen(high), 8), widen(low));
    const __m128i two = _mm_add_epi64(_mm256_castsi256_si128(four),
                                      _mm256_extracti128_si256(four, 1));
    return _mm_cvtsi128_si64(two) + _mm_extract_epi64(two, 1);
}

/* T of one table row and n rows of x from `row` on. */
static INLINE void totals(int64_t *total, const tern_head_args *a, int row, int v, const int n)
{
    const size_t k_pad = (size_t)a->k_pad;
    const int16_t *x = a->xq + (size_t)row * k_pad;
    const int8_t *high = a->high + (size_t)v * k_pad;
    const int8_t *low = a->low ? a->low + (size_t)v * k_pad : NULL;
    for (int r = 0; r < n; r++) total[r] = 0;
    for (size_t begin = 0; begin < k_pad; begin += CHUNK) {
        const size_t end = k_pad - begin < CHUNK ? k_pad : begin + CHUNK;
        __m256i h[4], l[4];
        for (int r = 0; r < n; r++) h[r] = l[r] = _mm256_setzero_si256();
        for (size_t i = begin; i < end; i += 16) {
            const __m256i w = load_s8(high + i);
            const __m256i u = low ? load_s8(low + i) : _mm256_setzero_si256();
            for (int r = 0; r < n; r++) {
                const int16_t *at = x + (size_t)r * k_pad + i;
                const __m256i xi = _mm256_loadu_si256((const __m256i *)(const void *)at);
                h[r] = _mm256_add_epi32(h[r], _mm256_madd_epi16(w, xi));
                if (low) l[r] = _mm256_add_epi32(l[r], _mm256_madd_epi16(u, xi));
            }
        }
        for (int r = 0; r < n; r++) total[r] += combine(h[r], l[r]);
    }
}

static INLINE void logits(const tern_head_args *a, int row, int v, const int n)
{
    int64_t total[4];
    totals(total, a, row, v, n);
    for (int r = 0; r < n; r++)
        a->logits[(row + r) * a->ld_logits + v] =
            (float)total[r] * (a->xs[row + r] * a->scale[v]);
}

/* Table rows one after the other: the planes are two sequential streams. */
void tern_head_logits_avx2(const tern_head_args *a, tern_range rows, tern_range vocab)
{
    for (int v = vocab.begin; v < vocab.end; v++) {
        int row = rows.begin;
        for (; row + 4 <= rows.end; row += 4) logits(a, row, v, 4);
        for (; row < rows.end; row++) logits(a, row, v, 1);
    }
}
