/* exact.h - the mathematics of N2 and N3: the same bits on every machine and compiler.
 *
 * Nothing here calls libm but fmaf, sqrtf, sqrt, rintf and rint, which IEEE 754 defines exactly.
 * The float functions are inline because kernels are built from them; the double ones run on the
 * host. */
#ifndef TERN_BASE_EXACT_H
#define TERN_BASE_EXACT_H

#include <math.h>
#include <stdint.h>

#include "base/f16.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TERN_LOG2E_F 0x1.715476p+0f
#define TERN_ROW_PARTIALS 256 /* P of N2 for rows */
#define TERN_KEY_PARTIALS 64  /* P of N2 in attention */

/* 2^x for x in [-126, 126]; arguments outside are clamped to that range. Relative error 1.5e-7.
 * n = rint(x), f = x - n in [-1/2, 1/2], Horner with fmaf and p(0) = 1, n added to the exponent.
 * The coefficients minimise the relative error of p with its constant fixed at 1 (2.6e-9). */
TERN_HD static inline float tern_exp2(float x)
{
    x = x < -126.0f ? -126.0f : x;
    x = x > 126.0f ? 126.0f : x;
    const float n = rintf(x);
    const float f = x - n;
    float p = 0x1.470b4ap-13f;
    p = fmaf(p, f, 0x1.5f7276p-10f);
    p = fmaf(p, f, 0x1.3b270ep-7f);
    p = fmaf(p, f, 0x1.c6ae72p-5f);
    p = fmaf(p, f, 0x1.ebfbe2p-3f);
    p = fmaf(p, f, 0x1.62e432p-1f);
    p = fmaf(p, f, 1.0f);
    return tern_f32_from_bits(tern_f32_bits(p) + ((uint32_t)(int32_t)n << 23));
}

/* 2^x for x <= 0 as a softmax weight: +0 below -64 (N6, N8). */
TERN_HD static inline float tern_exp2_weight(float x)
{
    return x < -64.0f ? 0.0f : tern_exp2(x);
}

/* silu(x) = x / (1 + 2^(-x*log2 e)). */
TERN_HD static inline float tern_silu(float x)
{
    return x / (1.0f + tern_exp2(-x * TERN_LOG2E_F));
}

/* gelu_tanh(x) = x * sigmoid(2u), u = sqrt(2/pi) * (x + 0.044715 x^3), which is
 * 0.5 * x * (1 + tanh(u)) rewritten with one exp2. */
TERN_HD static inline float tern_gelu_tanh(float x)
{
    const float u = 0x1.988454p-1f * (x + 0.044715f * (x * x * x));
    return x / (1.0f + tern_exp2(-2.0f * TERN_LOG2E_F * u));
}

/* The tree of N2 over p partials (a power of two), in place: for h = p/2 ... 1, part[j] +=
 * part[j+h]. */
TERN_HD static inline float tern_tree_sum(float *part, int p)
{
    for (int h = p / 2; h >= 1; h /= 2)
        for (int j = 0; j < h; j++) part[j] += part[j + h];
    return part[0];
}

/* Natural logarithm of x > 0 in double, by + - * / only. Absolute error below 1e-15 * (1 + |ln
 * x|). */
double tern_log_f64(double x);

/* e^x in double for |x| < 700, by + - * / only. Relative error below 1e-14. */
double tern_exp_f64(double x);

/* sin and cos of x for |x| < 2^30, by + - * / only. Absolute error below 1e-13. */
void tern_sincos_f64(double *sine, double *cosine, double x);

#ifdef __cplusplus
}
#endif
#endif
