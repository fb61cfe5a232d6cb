/* limits_avx512vnni.c - loops whose speed is a limit of the machine (cpu/limits.h): 64-byte loads,
 * vpdpbusd, vfmadd. Twelve accumulators hide the latencies; the operands pass through an empty asm,
 * so that no compiler computes ahead. */
#include <immintrin.h>

#include "cpu/x86/x86.h"

static uint64_t read_avx512(const uint8_t *data, size_t bytes)
{
    __m512i sum[8];
    for (int i = 0; i < 8; i++) sum[i] = _mm512_setzero_si512();
    for (size_t at = 0; at < bytes; at += sizeof sum)
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++)
            sum[i] = _mm512_xor_si512(sum[i], _mm512_loadu_si512(data + at + (size_t)i * 64));
    for (int i = 1; i < 8; i++) sum[0] = _mm512_xor_si512(sum[0], sum[i]);
    return (uint64_t)_mm512_reduce_add_epi64(sum[0]);
}

static uint64_t int8_vnni(uint64_t *sink, uint64_t rounds)
{
    __m512i sum[TERN_PROBE_UNROLL];
    __m512i a = _mm512_set1_epi8(2), b = _mm512_set1_epi8(-3);
    for (int i = 0; i < TERN_PROBE_UNROLL; i++) sum[i] = _mm512_setzero_si512();
    for (uint64_t r = 0; r < rounds; r++) {
        __asm__ volatile("" : "+v"(a), "+v"(b));
#pragma GCC unroll 12
        for (int i = 0; i < TERN_PROBE_UNROLL; i++) sum[i] = _mm512_dpbusd_epi32(sum[i], a, b);
    }
    for (int i = 0; i < TERN_PROBE_UNROLL; i++) *sink += (uint64_t)_mm512_reduce_add_epi64(sum[i]);
    return rounds * TERN_PROBE_UNROLL * 64;
}

static uint64_t fma_avx512(uint64_t *sink, uint64_t rounds)
{
    __m512 sum[TERN_PROBE_UNROLL];
    __m512 a = _mm512_set1_ps(0.5f), b = _mm512_set1_ps(1.5f);
    for (int i = 0; i < TERN_PROBE_UNROLL; i++) sum[i] = _mm512_set1_ps((float)i);
    for (uint64_t r = 0; r < rounds; r++) {
        __asm__ volatile("" : "+v"(a), "+v"(b));
#pragma GCC unroll 12
        for (int i = 0; i < TERN_PROBE_UNROLL; i++) sum[i] = _mm512_fmadd_ps(sum[i], a, b);
    }
    for (int i = 0; i < TERN_PROBE_UNROLL; i++)
        *sink += (uint64_t)_mm_cvtss_f32(_mm512_castps512_ps128(sum[i]));
    return rounds * TERN_PROBE_UNROLL * 16;
}

void tern_cpu_probes_avx512vnni(tern_cpu_probes *probes)
{
    *probes = (tern_cpu_probes){"avx512vnni", read_avx512, int8_vnni, fma_avx512};
}
