/* limits_avx2.c - loops whose speed is a limit of the machine (cpu/limits.h): 32-byte loads,
 * vpmaddubsw into 16-bit sums, vfmadd. Twelve accumulators hide the latencies; the operands pass
 * through an empty asm, so that no compiler computes ahead. */
#include <immintrin.h>

#include "cpu/x86/x86.h"

static uint64_t read_avx2(const uint8_t *data, size_t bytes)
{
    __m256i sum[8];
    for (int i = 0; i < 8; i++) sum[i] = _mm256_setzero_si256();
    for (size_t at = 0; at < bytes; at += sizeof sum)
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) {
            const void *from = data + at + (size_t)i * 32;
            sum[i] = _mm256_xor_si256(sum[i], _mm256_loadu_si256((const __m256i *)from));
        }
    for (int i = 1; i < 8; i++) sum[0] = _mm256_xor_si256(sum[0], sum[i]);
    return (uint64_t)_mm256_extract_epi64(sum[0], 0) ^ (uint64_t)_mm256_extract_epi64(sum[0], 3);
}

static uint64_t int8_avx2(uint64_t *sink, uint64_t rounds)
{
    __m256i sum[TERN_PROBE_UNROLL];
    __m256i a = _mm256_set1_epi8(2), b = _mm256_set1_epi8(-3);
    for (int i = 0; i < TERN_PROBE_UNROLL; i++) sum[i] = _mm256_setzero_si256();
    for (uint64_t r = 0; r < rounds; r++) {
        __asm__ volatile("" : "+x"(a), "+x"(b));
#pragma GCC unroll 12
        for (int i = 0; i < TERN_PROBE_UNROLL; i++) {
            __m256i pairs = _mm256_maddubs_epi16(a, b);
            __asm__("" : "+x"(pairs)); /* one product per step, not one for all */
            sum[i] = _mm256_add_epi16(sum[i], pairs);
        }
    }
    for (int i = 0; i < TERN_PROBE_UNROLL; i++) *sink += (uint64_t)_mm256_extract_epi64(sum[i], 0);
    return rounds * TERN_PROBE_UNROLL * 32;
}

static uint64_t fma_avx2(uint64_t *sink, uint64_t rounds)
{
    __m256 sum[TERN_PROBE_UNROLL];
    __m256 a = _mm256_set1_ps(0.5f), b = _mm256_set1_ps(1.5f);
    for (int i = 0; i < TERN_PROBE_UNROLL; i++) sum[i] = _mm256_set1_ps((float)i);
    for (uint64_t r = 0; r < rounds; r++) {
        __asm__ volatile("" : "+x"(a), "+x"(b));
#pragma GCC unroll 12
        for (int i = 0; i < TERN_PROBE_UNROLL; i++) sum[i] = _mm256_fmadd_ps(sum[i], a, b);
    }
    for (int i = 0; i < TERN_PROBE_UNROLL; i++) *sink += (uint64_t)_mm256_cvtss_f32(sum[i]);
    return rounds * TERN_PROBE_UNROLL * 8;
}

void tern_cpu_probes_avx2(tern_cpu_probes *probes)
{
    *probes = (tern_cpu_probes){"avx2", read_avx2, int8_avx2, fma_avx2};
}
