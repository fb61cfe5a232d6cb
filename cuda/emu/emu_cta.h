/* emu_cta.h - a CTA of a running kernel: its threads, its warps, its shared memory. Private to
 * cuda/emu: emu_cta.cpp runs one, emu_grid.cpp runs many. */
#ifndef TERN_EMU_CTA_H
#define TERN_EMU_CTA_H

#include "emu_fiber.h"
#include "emu_hopper.h"
#include "emu_state.h"

namespace tern_emu_rt {

struct emu_cta;

/* What keeps a thread from running. */
enum emu_wait {
    EMU_READY,
    EMU_AT_BARRIER,
    EMU_AT_MEET,
    EMU_AT_WARPGROUP,
    EMU_AT_FLAG,
    EMU_AT_MBARRIER,
    EMU_ENDED
};

/* An asynchronous copy that was issued and is not done. */
struct emu_copy {
    void *to;
    const void *from;
    unsigned group;
};
#define EMU_MAX_COPIES 64 /* under way in a thread; one more makes an old one complete */

struct emu_thread {
    emu_fiber fiber;
    emu_cta *cta;
    uint3 index;
    int lane, warp;
    emu_wait wait;
    emu_site site;            /* where it waits */
    const unsigned *flag;     /* EMU_AT_FLAG: until *flag >= value */
    unsigned value;           /* EMU_AT_MBARRIER: the parity */
    const void *bar;
    bool unfenced;            /* has initialised an mbarrier that no fence has shown */
    unsigned group;           /* of copies, open now */
    int n_copies;
    emu_copy copies[EMU_MAX_COPIES];
};

struct emu_warp {
    int n_lanes, n_met;
    emu_site site;            /* of the first lane that waits */
    void *lanes[TERN_EMU_WARP]; /* what they brought */
};

struct emu_grid;

/* CTAs that begin together (emu_cluster.cpp). */
struct emu_cluster {
    emu_cta *members[EMU_MAX_CLUSTER]; /* by rank; NULL: has ended */
    int n_left, n_threads, n_arrived;
    unsigned generation;               /* of the barrier: rises when all have arrived */
};

/* False where memory is out. */
bool emu_cluster_begin(emu_cta *const *members, int n);
void emu_cluster_leave(emu_cta *cta);

struct emu_cta {
    emu_grid *grid;
    uint3 index;
    int n_threads, n_alive, n_ready, n_at_flag; /* the last: and at mbarriers */
    int n_at_barrier, votes, vote_result;
    emu_site barrier;         /* of the first thread that waits there */
    emu_thread **ready;       /* a bag: [n_ready] of those that could run */
    emu_thread *threads;      /* [capacity] */
    int capacity;
    emu_warp warps[TERN_EMU_WARP];
    emu_hopper hopper;
    emu_cluster *cluster;     /* or NULL */
    uint8_t *block, *smem;    /* [front zone, smem_bytes, back zone], and the middle */
    size_t block_bytes;
};

/* Several CTAs may be resident, but one runs; this is the stack of whoever started it. */
extern emu_fiber emu_scheduler;

/* A CTA from the pool, its threads ready; NULL when memory is out. */
emu_cta *emu_cta_begin(emu_grid *grid, uint3 index);

/* Runs threads until none is ready, or until chance has it that another CTA's turn has come. */
void emu_cta_turn(emu_cta *cta);

/* Makes threads ready whose flag is up. */
void emu_cta_poll(emu_cta *cta);

/* Reports threads that wait for others which cannot come. */
void emu_cta_stuck(emu_cta *cta);

/* Looks at the red zones and puts it back. */
void emu_cta_end(emu_cta *cta);

/* Puts it back in the middle of its work. */
void emu_cta_abandon(emu_cta *cta);

/* Gives way; the thread is already noted wherever it waits. */
void emu_leave(emu_thread *self);

/* Makes a waiting thread ready. */
void emu_wake(emu_thread *thread);

bool emu_same_site(emu_site a, emu_site b);

/* Completes copies of a thread: all of those whose group is below `end`. */
void emu_copies_complete(emu_thread *thread, unsigned end);

/* Completes one of them, if chance has it. */
void emu_copies_progress(emu_thread *thread);

/* ---- a launch in progress (emu_grid.cpp) ----------------------------------------------------- */

#define EMU_MAX_RESIDENT 96 /* 3 SMs of 32 CTAs */

struct emu_grid {
    emu_device *device;
    const emu_launch_desc *launch;
    int cluster;                 /* CTAs in one */
    uint64_t n_clusters, n_begun, first, step; /* the i-th is (first + i * step) % n_clusters */
    unsigned go; /* 1: the kernel before it in the stream is done */
    bool waits;  /* a thread has called wait_predecessor() */
    int n_resident, max_resident, max_early; /* CTAs at a time, and before `go` */
    emu_cta *resident[EMU_MAX_RESIDENT];
};

/* "kernel NAME, block (x,y,z)", and with ", thread (x,y,z)" behind. */
void emu_name_cta(char *out, size_t bytes, const emu_cta *cta);
void emu_name_thread(char *out, size_t bytes, const emu_thread *thread);

} /* namespace tern_emu_rt */
#endif
