/* levels.c - the table of kernel levels and the choice among them. */
#include "cpu/levels.h"

#include <stdio.h>
#include <string.h>

#include "base/fail.h"

#if defined(__x86_64__)
#include <cpuid.h>

#include "cpu/x86/x86.h"
#endif

static const tern_cpu_level levels[] = {
    {"ref", -1, 0, tern_cpu_kernels_ref},
#if defined(__x86_64__)
    {"avx2", 0, TERN_NEEDS_AVX2, tern_cpu_kernels_avx2},
    {"avx512vnni", 1, TERN_NEEDS_AVX512VNNI, tern_cpu_kernels_avx512vnni},
#endif
};
#define N_LEVELS ((int)(sizeof levels / sizeof levels[0]))

const tern_cpu_level *tern_cpu_levels(int *n)
{
    *n = N_LEVELS;
    return levels;
}

#if defined(__x86_64__)
/* Which registers the operating system saves (XCR0): xmm and ymm are bits 1 and 2; the masks and
 * the two parts of zmm bits 5 to 7. */
static uint32_t saved_registers(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

static uint32_t bit(uint32_t word, int at, uint32_t feature)
{
    return word >> at & 1u ? feature : 0;
}

/* Bit numbers as in the processor manuals, CPUID leaves 1, 7.0 and 7.1. */
uint32_t tern_cpu_features(void)
{
    uint32_t a, b, c, d, found = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c >> 27 & 1)) return 0; /* no xgetbv */
    const uint32_t saved = saved_registers();
    if ((saved & 0x06u) != 0x06u) return 0;
    found |= bit(c, 12, TERN_CPU_FMA) | bit(c, 29, TERN_CPU_F16C);
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return found;
    const uint32_t subleaves = a;
    found |= bit(b, 5, TERN_CPU_AVX2);
    if ((saved & 0xe6u) == 0xe6u)
        found |= bit(b, 16, TERN_CPU_AVX512F) | bit(b, 17, TERN_CPU_AVX512DQ) |
                 bit(b, 30, TERN_CPU_AVX512BW) | bit(b, 31, TERN_CPU_AVX512VL) |
                 bit(c, 1, TERN_CPU_AVX512VBMI) | bit(c, 11, TERN_CPU_AVX512VNNI);
    if (subleaves >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d))
        found |= bit(a, 4, TERN_CPU_AVXVNNI);
    return found;
}
#else
uint32_t tern_cpu_features(void)
{
    return 0; /* no level needs one */
}
#endif

static void fill_path(tern_cpu_kernels *table, int level)
{
    if (levels[level].parent >= 0) fill_path(table, levels[level].parent);
    levels[level].fill(table);
}

static int refuse(const char *wanted, const char *why, tern_error *err)
{
    char names[128] = "";
    for (int i = 0; i < N_LEVELS; i++) {
        const size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "", levels[i].name);
    }
    return tern_fail(err, TERN_E_USAGE, "TERN_CPU is '%.32s', %s: use one of %s, or leave it empty",
                     wanted, why, names);
}

int tern_cpu_level_select(int *level, tern_cpu_kernels *table, const char *wanted,
                          uint32_t features, tern_error *err)
{
    int chosen = -1;
    const int any = !wanted || !*wanted;
    for (int i = 0; i < N_LEVELS; i++) {
        const int runs = (levels[i].needs & ~features) == 0;
        if (any ? !runs : strcmp(levels[i].name, wanted) != 0) continue;
        if (!runs) return refuse(wanted, "which this machine cannot run", err);
        chosen = i;
    }
    if (chosen < 0) return refuse(wanted, "which is no kernel level", err);
    fill_path(table, chosen);
    *level = chosen;
    return TERN_OK;
}
