/* topology.c - see topology.h. hwloc also reads HWLOC_XMLFILE and HWLOC_SYNTHETIC, which the tests
 * use to be other machines. */
#include "base/topology.h"

#include "base/threads.h"

#ifdef TERN_HWLOC
#include <hwloc.h>

/* Cores and processors of the machine; NULL when hwloc cannot tell. */
static hwloc_topology_t load(void)
{
    hwloc_topology_t t;
    if (hwloc_topology_init(&t) != 0) return NULL;
    hwloc_topology_set_all_types_filter(t, HWLOC_TYPE_FILTER_KEEP_NONE);
    hwloc_topology_set_type_filter(t, HWLOC_OBJ_CORE, HWLOC_TYPE_FILTER_KEEP_ALL);
    hwloc_topology_set_flags(t,
                             HWLOC_TOPOLOGY_FLAG_NO_DISTANCES | HWLOC_TOPOLOGY_FLAG_NO_MEMATTRS);
    if (hwloc_topology_load(t) == 0) return t;
    hwloc_topology_destroy(t);
    return NULL;
}

/* Leaves of `set` what is of the fastest kind in it; kinds come slowest first. */
static void keep_fastest(hwloc_topology_t t, hwloc_bitmap_t set)
{
    hwloc_bitmap_t kind = hwloc_bitmap_alloc();
    const int n = kind ? hwloc_cpukinds_get_nr(t, 0) : 0;
    for (int i = n - 1; i >= 0; i--) {
        int efficiency = -1;
        if (hwloc_cpukinds_get_info(t, (unsigned)i, kind, &efficiency, NULL, NULL, 0) != 0 ||
            efficiency < 0)
            break;
        if (!hwloc_bitmap_intersects(kind, set)) continue;
        hwloc_bitmap_and(set, set, kind);
        break;
    }
    hwloc_bitmap_free(kind);
}

static int count_cores(hwloc_topology_t t, hwloc_const_bitmap_t set)
{
    int n = 0;
    for (hwloc_obj_t core = NULL; (core = hwloc_get_next_obj_by_type(t, HWLOC_OBJ_CORE, core));)
        n += hwloc_bitmap_intersects(core->cpuset, set);
    return n;
}

/* 0: not known. */
static int fast_cores(void)
{
    hwloc_topology_t t = load();
    if (!t) return 0;
    int n = 0;
    hwloc_bitmap_t set = hwloc_bitmap_alloc();
    if (set && hwloc_get_cpubind(t, set, HWLOC_CPUBIND_THREAD) == 0) {
        keep_fastest(t, set);
        n = count_cores(t, set);
    }
    hwloc_bitmap_free(set);
    hwloc_topology_destroy(t);
    return n;
}
#else
static int fast_cores(void)
{
    return 0;
}
#endif

int tern_cores_fast(void)
{
    const int n = fast_cores();
    if (n < 1) return tern_cores_available();
    return n < TERN_MAX_THREADS ? n : TERN_MAX_THREADS;
}
