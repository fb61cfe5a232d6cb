/* levels.h - kernel levels: which sets of kernels this program holds, which this machine can run,
 * and which one is used. A level has a parent, whose kernels it keeps where it has none of its
 * own. */
#ifndef TERN_CPU_LEVELS_H
#define TERN_CPU_LEVELS_H

#include "cpu/kernels.h"

/* Features of a machine, as the operating system lets programs use them: the ymm and zmm registers
 * count only where it saves them. */
enum {
    TERN_CPU_AVX2 = 1 << 0,
    TERN_CPU_FMA = 1 << 1,
    TERN_CPU_F16C = 1 << 2,
    TERN_CPU_AVXVNNI = 1 << 3,
    TERN_CPU_AVX512F = 1 << 4,
    TERN_CPU_AVX512BW = 1 << 5,
    TERN_CPU_AVX512DQ = 1 << 6,
    TERN_CPU_AVX512VL = 1 << 7,
    TERN_CPU_AVX512VNNI = 1 << 8,
    TERN_CPU_AVX512VBMI = 1 << 9,

    /* What the levels of that name need; the limits of the machine go by the same masks. */
    TERN_NEEDS_AVX2 = TERN_CPU_AVX2 | TERN_CPU_FMA | TERN_CPU_F16C,
    TERN_NEEDS_AVX512VNNI = TERN_NEEDS_AVX2 | TERN_CPU_AVX512F | TERN_CPU_AVX512BW |
                            TERN_CPU_AVX512DQ | TERN_CPU_AVX512VL | TERN_CPU_AVX512VNNI,
};

typedef struct tern_cpu_level {
    const char *name;
    int parent;                            /* index in the table; -1 for ref */
    uint32_t needs;                        /* TERN_CPU_*; what the parent needs among them */
    void (*fill)(tern_cpu_kernels *table); /* overwrites the slots it has */
} tern_cpu_level;

/* The table, ref first, better levels later. */
const tern_cpu_level *tern_cpu_levels(int *n);

/* Features of this machine, as bits of `needs`. */
uint32_t tern_cpu_features(void);

/* Chooses a level: `wanted` by name, or the best that `features` allow when NULL or empty. Fills
 * the kernels along the path from ref and returns the index in *level. TERN_E_USAGE for an unknown
 * name or a level beyond the features; the sentence lists the names. */
int tern_cpu_level_select(int *level, tern_cpu_kernels *table, const char *wanted,
                          uint32_t features, tern_error *err);

#endif
