/* levels.c - the table of kernel levels and the choice among them. */
#include "cpu/levels.h"

#include <stdio.h>
#include <string.h>

#include "base/fail.h"

static const tern_cpu_level levels[] = {
    {"ref", -1, 0, tern_cpu_kernels_ref},
};
#define N_LEVELS ((int)(sizeof levels / sizeof levels[0]))

const tern_cpu_level *tern_cpu_levels(int *n)
{
    *n = N_LEVELS;
    return levels;
}

uint32_t tern_cpu_features(void)
{
    return 0; /* no level needs one */
}

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
