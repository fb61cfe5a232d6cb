/* emu_grid.cpp - runs the CTAs of a kernel: in an order that the seed chooses, and as many at a
 * time as the device would hold, so that one may wait for another. */
#include <stdio.h>

#include "emu_control.h"
#include "emu_cta.h"

namespace tern_emu_rt {

#define MAX_EARLY 8  /* CTAs of a dependent kernel that begin before its predecessor ends */
#define BEGIN_ODDS 8 /* one turn in so many begins a further CTA beside the running ones */

static unsigned long kernels_run;

static uint64_t common_divisor(uint64_t a, uint64_t b)
{
    while (b) {
        const uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static void grid_begin(emu_grid *grid, emu_device *device, const emu_launch_desc *launch)
{
    const dim3 g = launch->grid, b = launch->block, c = launch->cluster;
    *grid = {};
    grid->device = device;
    grid->launch = launch;
    grid->go = 1;
    grid->cluster = (int)(c.x * c.y * c.z);
    grid->n_clusters = (uint64_t)g.x * g.y * g.z / (uint64_t)grid->cluster;
    grid->first = emu_random() % grid->n_clusters;
    do {
        grid->step = 1 + emu_random() % grid->n_clusters;
    } while (common_divisor(grid->step, grid->n_clusters) != 1);
    const int fit = emu_ctas_per_sm(device, b.x * b.y * b.z, launch->smem_bytes) * device->n_sm;
    grid->max_resident = fit < EMU_MAX_RESIDENT ? fit : EMU_MAX_RESIDENT;
    if (grid->max_resident < grid->cluster) grid->max_resident = grid->cluster; /* one always is */
    grid->max_early = grid->max_resident < MAX_EARLY ? grid->max_resident : MAX_EARLY;
}

/* The i-th CTA of the n-th cluster. */
static uint3 index_of(const emu_launch_desc *launch, uint64_t n, unsigned i)
{
    const dim3 g = launch->grid, c = launch->cluster;
    const uint64_t x = g.x / c.x, y = g.y / c.y;
    return {(unsigned)(n % x) * c.x + i % c.x, (unsigned)(n / x % y) * c.y + i / c.x % c.y,
            (unsigned)(n / x / y) * c.z + i / c.x / c.y};
}

/* Begins a CTA, or those of a cluster. */
static void begin_cluster(emu_grid *grid)
{
    const uint64_t n = (grid->first + grid->n_begun++ * grid->step) % grid->n_clusters;
    emu_cta **members = grid->resident + grid->n_resident;
    for (int i = 0; i < grid->cluster; i++) {
        emu_cta *cta = emu_cta_begin(grid, index_of(grid->launch, n, (unsigned)i));
        if (!cta) {
            emu_device_fails(grid->device, cudaErrorMemoryAllocation, "no memory for a CTA");
            return;
        }
        members[i] = cta;
        grid->n_resident++;
    }
    if (grid->cluster > 1 && !emu_cluster_begin(members, grid->cluster))
        emu_device_fails(grid->device, cudaErrorMemoryAllocation, "no memory for a cluster");
}

/* The CTA whose turn it is; NULL when all wait for flags, or none is there. */
static emu_cta *choose_cta(emu_grid *grid)
{
    const unsigned n = (unsigned)grid->n_resident;
    const unsigned from = n ? emu_random_below(n) : 0;
    for (unsigned i = 0; i < n; i++) {
        emu_cta *cta = grid->resident[(from + i) % n];
        emu_cta_poll(cta);
        if (cta->n_ready > 0) return cta;
    }
    return nullptr;
}

static void after_turn(emu_grid *grid, emu_cta *cta)
{
    if (cta->n_ready > 0 || grid->device->error != cudaSuccess) return;
    if (cta->n_alive > 0) {
        if (cta->n_at_flag == 0) emu_cta_stuck(cta);
        return;
    }
    int i = 0;
    while (grid->resident[i] != cta) i++;
    grid->resident[i] = grid->resident[--grid->n_resident];
    emu_cta_end(cta);
}

/* True: the kernel is done, or the device has failed. False: what is left waits for flags that no
 * resident CTA will raise. */
static bool grid_advance(emu_grid *grid)
{
    emu_self.block = grid->launch->block;
    emu_self.grid = grid->launch->grid;
    emu_self.arch = grid->device->arch;
    while (grid->device->error == cudaSuccess) {
        const int most = grid->go ? grid->max_resident : grid->max_early;
        const bool may_begin = grid->n_begun < grid->n_clusters &&
                               grid->n_resident + grid->cluster <= most;
        emu_cta *cta = choose_cta(grid);
        if (may_begin && (!cta || emu_random_below(BEGIN_ODDS) == 0)) {
            begin_cluster(grid);
        } else if (cta) {
            emu_cta_turn(cta);
            after_turn(grid, cta);
        } else {
            return grid->n_resident == 0;
        }
    }
    return true;
}

static void report_dead_wait(emu_grid *grid)
{
    char who[200];
    for (int i = 0; i < grid->n_resident; i++)
        for (int t = 0; t < grid->resident[i]->n_threads; t++) {
            const emu_thread *thread = &grid->resident[i]->threads[t];
            if (thread->wait != EMU_AT_FLAG && thread->wait != EMU_AT_MBARRIER) continue;
            emu_name_thread(who, sizeof who, thread);
            if (thread->wait == EMU_AT_MBARRIER)
                return emu_device_fails(grid->device, cudaErrorLaunchTimeout,
                                        "%s waits in %s (%s:%d) for phase %u, which does not end",
                                        who, thread->site.what, thread->site.file,
                                        thread->site.line, thread->value);
            emu_device_fails(grid->device, cudaErrorLaunchTimeout,
                             "%s waits in %s (%s:%d) for %u, but the flag stays at %u: %d CTAs are "
                             "resident, %llu of %llu clusters have not begun",
                             who, thread->site.what, thread->site.file, thread->site.line,
                             thread->value, *thread->flag, grid->n_resident,
                             (unsigned long long)(grid->n_clusters - grid->n_begun),
                             (unsigned long long)grid->n_clusters);
            return;
        }
}

static void grid_end(emu_grid *grid)
{
    for (int i = 0; i < grid->n_resident; i++) emu_cta_abandon(grid->resident[i]);
    char what[200], name[100];
    if (grid->device->error != cudaSuccess) return;
    const bool waits = grid->waits || !grid->launch->dependent;
    if (waits && !emu_zone_broken(grid->device, what, sizeof what)) return;
    emu_kernel_name(name, sizeof name, &grid->launch->kernel);
    if (waits)
        emu_device_fails(grid->device, cudaErrorIllegalAddress, "kernel %s: %s", name, what);
    else
        emu_device_fails(grid->device, cudaErrorLaunchFailure,
                         "kernel %s is launched as a dependent one, but has no wait_predecessor()",
                         name);
}

static void finish(emu_grid *grid)
{
    grid->go = 1;
    if (!grid_advance(grid)) report_dead_wait(grid);
    grid_end(grid);
}

void emu_run_chain(emu_device *device, const emu_launch_desc *const *launches, int n)
{
    emu_grid grids[EMU_MAX_CHAIN];
    for (int i = n - 1; i >= 0; i--) {
        grid_begin(&grids[i], device, launches[i]);
        grids[i].go = i == 0;
        if (i > 0) grid_advance(&grids[i]);
    }
    for (int i = 0; i < n; i++) finish(&grids[i]);
    kernels_run += (unsigned long)n;
}

void emu_wait_predecessor(emu_site site)
{
    emu_grid *grid = emu_self.thread->cta->grid;
    grid->waits = true;
    if (!grid->go) emu_wait_flag(&grid->go, 1, site);
}

} /* namespace tern_emu_rt */

using namespace tern_emu_rt;

unsigned long tern_emu_kernels_run(void)
{
    EMU_LOCKED;
    return kernels_run;
}
