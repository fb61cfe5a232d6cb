/* float_avx2.h - the float arithmetic of N2, N3 and N4 in ymm registers, the same bits as
 * base/exact.h and cpu/ref/ref.h. For files compiled with AVX2, FMA and F16C. */
#ifndef TERN_CPU_X86_FLOAT_AVX2_H
#define TERN_CPU_X86_FLOAT_AVX2_H

#include <immintrin.h>

#include "cpu/ref/ref.h"

#define INLINE inline __attribute__((always_inline))

/* Lanes below n: a mask for loads, stores and blends. */
static INLINE __m256i lanes_below(int n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

/* The last steps of the tree of N2, h = 4, 2, 1, over the partials of one register. */
static INLINE float tree_of_8(__m256 x)
{
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

/* The largest lane; of equal zeros either. */
static INLINE float max_of_8(__m256 x)
{
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
}

static INLINE __m256 abs_8(__m256 x)
{
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x);
}

/* tern_exp2: the same clamps, the same rounding, the same Horner steps. */
static INLINE __m256 exp2_8(__m256 x)
{
    x = _mm256_max_ps(x, _mm256_set1_ps(-126.0f));
    x = _mm256_min_ps(x, _mm256_set1_ps(126.0f));
    const __m256 n = _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const __m256 f = _mm256_sub_ps(x, n);
    __m256 p = _mm256_set1_ps(0x1.470b4ap-13f);
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(0x1.5f7276p-10f));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(0x1.3b270ep-7f));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(0x1.c6ae72p-5f));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(0x1.ebfbe2p-3f));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(0x1.62e432p-1f));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(1.0f));
    const __m256i exponent = _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), exponent));
}

/* tern_exp2_weight: +0 below -64. */
static INLINE __m256 exp2_weight_8(__m256 x)
{
    const __m256 below = _mm256_cmp_ps(x, _mm256_set1_ps(-64.0f), _CMP_LT_OQ);
    return _mm256_andnot_ps(below, exp2_8(x));
}

/* ---- rows ----------------------------------------------------------------------------------- */

/* x[i .. i+8), +0 from n on. */
static INLINE __m256 load_below(const float *x, int i, int n)
{
    if (i + 8 <= n) return _mm256_loadu_ps(x + i);
    return i < n ? _mm256_maskload_ps(x + i, lanes_below(n - i)) : _mm256_setzero_ps();
}

static INLINE void store_below(float *y, __m256 v, int i, int n)
{
    if (i + 8 <= n)
        _mm256_storeu_ps(y + i, v);
    else if (i < n)
        _mm256_maskstore_ps(y + i, lanes_below(n - i), v);
}

/* (x_i - mean) of eight columns, +0 from n on. */
static INLINE __m256 centred(const float *x, float mean, int i, int n)
{
    const __m256 v = _mm256_sub_ps(load_below(x, i, n), _mm256_set1_ps(mean));
    return i + 8 <= n ? v : _mm256_and_ps(v, _mm256_castsi256_ps(lanes_below(n - i)));
}

/* The sum of x_i, or of (x_i - mean)^2, over a row by N2. A register is eight neighbouring
 * partials; four are carried at a time over the row in steps of 256. What a tail adds is +0, which
 * changes no partial, as none is -0. */
static INLINE float row_sum_8(const float *x, float mean, int n, const int squares)
{
    __m256 part[32];
    for (int g = 0; g < 32; g += 4) {
        __m256 sum[4];
        for (int v = 0; v < 4; v++) sum[v] = _mm256_setzero_ps();
        for (int i = 8 * g; i < n; i += TERN_ROW_PARTIALS)
            for (int v = 0; v < 4; v++) {
                const __m256 y = centred(x, mean, i + 8 * v, n);
                sum[v] = _mm256_add_ps(sum[v], squares ? _mm256_mul_ps(y, y) : y);
            }
        for (int v = 0; v < 4; v++) part[g + v] = sum[v];
    }
    for (int h = 16; h >= 1; h /= 2)
        for (int j = 0; j < h; j++) part[j] = _mm256_add_ps(part[j], part[j + h]);
    return tree_of_8(part[0]);
}

/* (x_i - mean) * g_i of eight columns; no gain: x_i - mean. */
static INLINE __m256 gained(const float *x, const float *gain, float mean, int i, int n)
{
    const __m256 y = centred(x, mean, i, n);
    return gain ? _mm256_mul_ps(y, load_below(gain, i, n)) : y;
}

/* max |(x_i - mean) * g_i| over a row. */
static INLINE float row_absmax_8(const float *x, const float *gain, float mean, int n)
{
    __m256 largest[4];
    for (int v = 0; v < 4; v++) largest[v] = _mm256_setzero_ps();
    for (int i = 0; i < n; i += 32)
        for (int v = 0; v < 4; v++) {
            const __m256 y = abs_8(gained(x, gain, mean, i + 8 * v, n));
            largest[v] = _mm256_max_ps(largest[v], y);
        }
    return max_of_8(_mm256_max_ps(_mm256_max_ps(largest[0], largest[1]),
                                  _mm256_max_ps(largest[2], largest[3])));
}

/* tern_round_clamp of eight values. */
static INLINE __m256i round_clamp_8(__m256 v, float limit)
{
    v = _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    v = _mm256_min_ps(v, _mm256_set1_ps(limit));
    return _mm256_cvtps_epi32(_mm256_max_ps(v, _mm256_set1_ps(-limit)));
}

static INLINE int32_t sum_of_8(__m256i x)
{
    const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    const __m128i two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
    return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 1)));
}

/* ---- logits (N8) ---------------------------------------------------------------------------- */

/* The largest of a row. */
static INLINE float row_max_8(const float *x, int n)
{
    __m256 most = _mm256_set1_ps(x[0]);
    for (int i = 0; i < n; i += 8) {
        const __m256 present = _mm256_castsi256_ps(lanes_below(n - i));
        most = _mm256_max_ps(most, _mm256_blendv_ps(most, load_below(x, i, n), present));
    }
    return max_of_8(most);
}

/* (u64)(w * 2^40) of four weights 0 <= w <= 1: in double all of it is exact, and an integer below
 * 2^52 is the low bits of itself plus 2^52. */
static INLINE __m256i weights_u64(__m128 w)
{
    const __m256d scaled = _mm256_mul_pd(_mm256_cvtps_pd(w), _mm256_set1_pd(0x1p40));
    const __m256d whole = _mm256_round_pd(scaled, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC);
    const __m256d base = _mm256_set1_pd(0x1p52);
    return _mm256_xor_si256(_mm256_castpd_si256(_mm256_add_pd(whole, base)),
                            _mm256_castpd_si256(base));
}

/* tern_weight_u64((l_v - largest) * factor) of eight tokens, none from n on, summed in pairs. */
static INLINE __m256i weights_of_8(const float *logits, float largest, float factor, int v, int n)
{
    const __m256 x = _mm256_sub_ps(load_below(logits, v, n), _mm256_set1_ps(largest));
    const __m256 present = _mm256_castsi256_ps(lanes_below(n - v));
    const __m256 w =
        _mm256_and_ps(exp2_weight_8(_mm256_mul_ps(x, _mm256_set1_ps(factor))), present);
    return _mm256_add_epi64(weights_u64(_mm256_castps256_ps128(w)),
                            weights_u64(_mm256_extractf128_ps(w, 1)));
}

static INLINE uint64_t sum_of_4(__m256i x)
{
    uint64_t part[4];
    _mm256_storeu_si256((__m256i *)(void *)part, x);
    return part[0] + part[1] + part[2] + part[3];
}

#endif
