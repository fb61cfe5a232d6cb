/* topology.h - which processors of this machine are worth a thread. */
#ifndef TERN_BASE_TOPOLOGY_H
#define TERN_BASE_TOPOLOGY_H

/* Threads that compute fastest together: one for each core of the fastest kind that this process
 * may run on, since threads of one core share its multipliers, and equal parts of the work wait for
 * the slowest core. Without hwloc, or where it cannot tell, all processors: tern_cores_available().
 * At least 1. */
int tern_cores_fast(void);

#endif
