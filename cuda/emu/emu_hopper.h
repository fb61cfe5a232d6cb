/* emu_hopper.h - what a CTA has under way on an sm_90: bulk copies (emu_bulk.cpp) and wgmma
 * (emu_wgmma.cpp). Private to cuda/emu. */
#ifndef TERN_EMU_HOPPER_H
#define TERN_EMU_HOPPER_H

#include "emu_thread.h"

namespace tern_emu_rt {

struct emu_cta;

struct emu_bulk {
    void *to;
    const void *from;
    size_t bytes;
    uint64_t *bar;
};
#define EMU_MAX_BULK 256 /* under way in a CTA; one more makes an old one complete */

/* The registers that the 128 threads gave. Sums stand here until it is done, and the threads see
 * poison; A and shared memory are read when it is done. */
#define EMU_WARPGROUP 128
#define EMU_WGMMA_SUMS 64 /* of a thread, at most */
struct emu_wgmma {
    int n;
    uint64_t b;
    unsigned group;
    int *d[EMU_WARPGROUP];
    const uint32_t *a[EMU_WARPGROUP];
    int sums[EMU_WARPGROUP][EMU_WGMMA_SUMS];
};
#define EMU_MAX_WGMMA 8 /* under way in a warpgroup; one more makes the oldest complete */

/* Four warps that meet. */
struct emu_warpgroup {
    int n_threads, n_met;
    emu_site site;            /* of the first thread that waits */
    void *threads[EMU_WARPGROUP]; /* what they brought */
    unsigned group;           /* of wgmma, open now */
    bool fenced;              /* since the last commit */
    int n_ops;                /* under way, in the order of their issue */
    emu_wgmma *ops;           /* [EMU_MAX_WGMMA], or NULL; kept by the CTA */
};
#define EMU_WARPGROUPS 8

struct emu_hopper {
    bool uneven;              /* has mbarriers: warpgroups may drift apart, and do */
    int ahead;                /* the one that is preferred now */
    int n_unfenced;           /* threads whose initialised mbarriers no fence has shown yet */
    int n_bulk;
    emu_bulk bulk[EMU_MAX_BULK];
    emu_warpgroup groups[EMU_WARPGROUPS];
};

/* Nothing is under way in a CTA that begins. */
void emu_hopper_begin(emu_cta *cta);

/* Completes bulk copies until a thread can go on, or none is left. */
void emu_bulk_poll(emu_cta *cta);

/* Completes one, if chance has it. */
void emu_bulk_progress(emu_cta *cta);

} /* namespace tern_emu_rt */
#endif
