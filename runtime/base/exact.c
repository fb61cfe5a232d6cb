/* exact.c - logarithm, exponential, sine and cosine in double from + - * / and rint alone (N3), so
 * that tables and log-probabilities have the same bits on every host. Speed does not matter
 * here. */
#include "base/exact.h"

#include <string.h>

/* ln 2 and pi/2 in parts whose leading ones have trailing zeros, so that n * part is exact: 32 bits
 * of ln 2 for exponents, 23 bits of pi/2 for the 2^30 quadrants that arguments below 2^30 can
 * have. */
static const double ln2_high = 0x1.62e42fee00000p-1, ln2_low = 0x1.a39ef35793c76p-33;
static const double half_pi_1 = 0x1.921fb4p+0, half_pi_2 = 0x1.4442dp-24,
                    half_pi_3 = 0x1.846988p-48, half_pi_4 = 0x1.8cc51701b839ap-72;

double tern_log_f64(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, 8);
    int shift = 0;
    if (bits >> 52 == 0) { /* subnormal: scale into the normal range first */
        x *= 0x1p54;
        shift = -54;
        memcpy(&bits, &x, 8);
    }
    int exponent = (int)(bits >> 52) - 1023 + shift;
    bits = (bits & 0xfffffffffffffu) | (uint64_t)1023 << 52;
    double m;
    memcpy(&m, &bits, 8);
    if (m > 0x1.6a09e667f3bcdp+0) { /* sqrt(2): keep m near 1 */
        m *= 0.5;
        exponent++;
    }
    /* ln m = 2 atanh(s), s = (m-1)/(m+1), |s| < 0.172: 12 terms reach 1e-19. */
    const double s = (m - 1.0) / (m + 1.0), s2 = s * s;
    double series = 0.0;
    for (int k = 25; k >= 3; k -= 2) series = (series + 1.0 / k) * s2;
    const double ln_m = 2.0 * s + 2.0 * s * series;
    return exponent * ln2_high + (exponent * ln2_low + ln_m);
}

double tern_exp_f64(double x)
{
    const double n = rint(x * 0x1.71547652b82fep+0);
    const double r = (x - n * ln2_high) - n * ln2_low; /* |r| < 0.35: 16 terms reach 1e-20 */
    double p = 1.0;
    for (int k = 16; k >= 1; k--) p = 1.0 + p * r / k;
    const int half = (int)n / 2; /* two factors, so that neither leaves the normal range */
    const uint64_t a = (uint64_t)(1023 + half) << 52, b = (uint64_t)(1023 + (int)n - half) << 52;
    double scale_a, scale_b;
    memcpy(&scale_a, &a, 8);
    memcpy(&scale_b, &b, 8);
    return p * scale_a * scale_b;
}

void tern_sincos_f64(double *sine, double *cosine, double x)
{
    const double n = rint(x * 0x1.45f306dc9c883p-1); /* 2/pi */
    const double r = (((x - n * half_pi_1) - n * half_pi_2) - n * half_pi_3) - n * half_pi_4;
    const double r2 = r * r; /* |r| <= pi/4: terms to r^19 reach 1e-19 */
    double s = 0.0, c = 0.0;
    for (int k = 18; k >= 2; k -= 2) {
        s = (1.0 + s) * -r2 / (k * (k + 1.0));
        c = (1.0 + c) * -r2 / (k * (k - 1.0));
    }
    s = r + r * s;
    c = 1.0 + c;
    const int quadrant = (int)((int64_t)n & 3);
    *sine = quadrant == 0 ? s : quadrant == 1 ? c : quadrant == 2 ? -s : -c;
    *cosine = quadrant == 0 ? c : quadrant == 1 ? -s : quadrant == 2 ? -c : s;
}
