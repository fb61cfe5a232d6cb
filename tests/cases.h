/* cases.h - seeded inputs for kernel tests: the same values on every machine and compiler. */
#ifndef TERN_TESTS_CASES_H
#define TERN_TESTS_CASES_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* SplitMix64. */
static inline uint64_t case_next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* Uniform in low .. high, both included. */
static inline int case_int(uint64_t *state, int low, int high)
{
    return low + (int)(case_next(state) % (uint64_t)(high - low + 1));
}

/* Multiples of 2^-23 in [-1, 1), times `scale`. */
static inline float case_float(uint64_t *state, float scale)
{
    return (float)((int32_t)(case_next(state) >> 40) - (1 << 23)) * 0x1p-23f * scale;
}

static inline void case_floats(float *x, int n, float scale, uint64_t *state)
{
    for (int i = 0; i < n; i++) x[i] = case_float(state, scale);
}

static inline void *case_alloc(size_t bytes)
{
    void *p = calloc(bytes ? bytes : 1, 1);
    if (!p) abort();
    return p;
}

/* w [n_out, k] in {-1, 0, 1} to the public host layout, byte by byte as device.h words it. */
static inline uint8_t *case_pack_ternary(const int8_t *w, int n_out, int k)
{
    const int k_pad = (k + 63) / 64 * 64, groups = (n_out + 15) / 16;
    uint8_t *codes = case_alloc((size_t)groups * 16 * (size_t)k_pad / 4);
    for (int r = 0; r < groups * 16; r++) {
        for (int c = 0; c < k_pad; c++) {
            const int code = r < n_out && c < k ? w[(size_t)r * (size_t)k + (size_t)c] + 1 : 1;
            const size_t tile = ((size_t)(r / 16) * (size_t)(k_pad / 16) + (size_t)(c / 16)) * 64;
            const int p = c % 16 / 4, b = c % 4;
            codes[tile + (size_t)(r % 16 * 4 + b)] |= (uint8_t)(code << 2 * p);
        }
    }
    return codes;
}

#endif
