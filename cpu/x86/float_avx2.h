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

#endif
