/* levels.h - kernel levels: which sets of kernels this program holds, which this machine can run,
 * and which one is used. A level has a parent, whose kernels it keeps where it has none of its
 * own. */
#ifndef TERN_CPU_LEVELS_H
#define TERN_CPU_LEVELS_H

#include "cpu/kernels.h"

typedef struct tern_cpu_level {
    const char *name;
    int parent;                                  /* index in the table; -1 for ref */
    uint32_t needs;                              /* mask of machine features */
    void (*fill)(tern_cpu_kernels *table);       /* overwrites the slots it has */
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
