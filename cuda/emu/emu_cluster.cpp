/* emu_cluster.cpp - CTAs of a cluster: they begin together, wait for each other, and see each
 * other's shared memory. Stricter than the manual in one thing: threads that have ended do not
 * count as arrived, so all threads of a cluster come to its barrier or none. */
#include <stdlib.h>

#include "emu_cta.h"

namespace tern_emu_rt {

bool emu_cluster_begin(emu_cta *const *members, int n)
{
    emu_cluster *cluster = (emu_cluster *)calloc(1, sizeof *cluster);
    if (!cluster) return false;
    for (int i = 0; i < n; i++) {
        cluster->members[i] = members[i];
        cluster->n_threads += members[i]->n_threads;
        members[i]->cluster = cluster;
    }
    cluster->n_left = n;
    return true;
}

void emu_cluster_leave(emu_cta *cta)
{
    emu_cluster *cluster = cta->cluster;
    if (!cluster) return;
    for (int i = 0; i < EMU_MAX_CLUSTER; i++)
        if (cluster->members[i] == cta) cluster->members[i] = nullptr;
    if (--cluster->n_left == 0) free(cluster);
    cta->cluster = nullptr;
}

void emu_cluster_sync(emu_site site)
{
    emu_cta *cta = emu_self.thread->cta;
    emu_cluster *cluster = cta->cluster;
    if (!cluster)
        emu_thread_fails(cudaErrorLaunchFailure, "cluster_sync in a kernel without clusters");
    emu_copies_progress(emu_self.thread);
    emu_bulk_progress(cta);
    const unsigned next = cluster->generation + 1;
    if (++cluster->n_arrived < cluster->n_threads) {
        emu_wait_flag(&cluster->generation, next, site);
        return;
    }
    cluster->n_arrived = 0;
    cluster->generation = next;
    emu_maybe_yield();
}

void *emu_cluster_peer(const void *mine, unsigned rank)
{
    const emu_cluster *cluster = emu_self.thread->cta->cluster;
    if (!cluster || rank >= EMU_MAX_CLUSTER || !cluster->members[rank])
        emu_thread_fails(cudaErrorIllegalAddress, "cluster_peer of a CTA that is not there");
    return cluster->members[rank]->smem + ((const uint8_t *)mine - emu_self.smem);
}

} /* namespace tern_emu_rt */
