/* f16.h - IEEE 754 binary16, by integer arithmetic, so that every machine agrees. */
#ifndef TERN_BASE_F16_H
#define TERN_BASE_F16_H

#include <stdint.h>
#include <string.h>

/* Before a function that CUDA kernels call too. */
#ifdef __CUDACC__
#define TERN_HD __host__ __device__
#else
#define TERN_HD
#endif

TERN_HD static inline uint32_t tern_f32_bits(float x)
{
    uint32_t u;
    memcpy(&u, &x, 4);
    return u;
}

TERN_HD static inline float tern_f32_from_bits(uint32_t u)
{
    float x;
    memcpy(&x, &u, 4);
    return x;
}

/* Exact for every input; subnormals, infinities and NaN payloads included. */
TERN_HD static inline float tern_f32_from_f16(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
    const uint32_t exponent = (h >> 10) & 31u;
    const uint32_t mantissa = h & 0x3ffu;
    if (exponent == 0) { /* zero or subnormal: mantissa * 2^-24 is exact in f32 */
        const float magnitude = (float)mantissa * 0x1p-24f;
        return tern_f32_from_bits(sign | tern_f32_bits(magnitude));
    }
    const uint32_t biased = exponent == 31 ? 255u : exponent + 112u;
    return tern_f32_from_bits(sign | biased << 23 | mantissa << 13);
}

/* Round to nearest even; beyond +-65504 saturates (N6: stores saturate). NaN is not defined. */
TERN_HD static inline uint16_t tern_f16_from_f32(float x)
{
    const uint32_t u = tern_f32_bits(x);
    const uint32_t sign = (u >> 16) & 0x8000u;
    const uint32_t magnitude = u & 0x7fffffffu;
    if (magnitude >= 0x477fe000u) return (uint16_t)(sign | 0x7bffu); /* >= 65504 */
    if (magnitude < 0x38800000u) {                                    /* below 2^-14: subnormal */
        /* Adding 0.5 puts the units of 2^-24 into the low mantissa bits, rounded to even. */
        const float shifted = tern_f32_from_bits(magnitude) + 0.5f;
        return (uint16_t)(sign | (tern_f32_bits(shifted) - 0x3f000000u));
    }
    const uint32_t odd = (magnitude >> 13) & 1u;
    return (uint16_t)(sign | ((magnitude + 0xfffu + odd - 0x38000000u) >> 13));
}

#endif
