/* emu_thread.h - what a running kernel sees of the emulator: who the current thread is, and where
 * threads meet. Included through cuda_runtime.h; implemented in emu_cta.cpp and emu_warp.cpp. */
#ifndef TERN_EMU_THREAD_H
#define TERN_EMU_THREAD_H

#include "emu_vector.h"

namespace tern_emu_rt {

#define TERN_EMU_WARP 32

struct emu_thread;

/* The thread that runs, as kernels see it. One kernel runs at a time (emu_state.h), hence a plain
 * global; whoever switches threads sets it. */
struct emu_view {
    emu_thread *thread;
    uint3 thread_index, block_index;
    dim3 block, grid;
    uint8_t *smem; /* dynamic shared memory of the CTA */
    int lane;
    int arch;      /* 75, 90: of the device */
};
extern emu_view emu_self;

/* A place in a kernel where threads wait for each other. */
struct emu_site {
    const char *what, *file;
    int line;
};

/* Waits for all threads of the CTA. Threads that come from different places are an error. `vote` is
 * counted: returns how many threads gave a true one. */
int emu_barrier(emu_site site, int vote);

/* Waits for all lanes of the warp; the last one to come calls act(lanes), where lanes[i] is what
 * lane i gave as `mine`, usually a struct of its operands and results. */
void emu_meet(emu_site site, unsigned mask, void (*act)(void *const *lanes), void *mine);

/* A moment at which another thread may run, seed permitting: at atomics and fences. */
void emu_maybe_yield(void);

/* Gives way until *flag >= value. */
void emu_wait_flag(const unsigned *flag, unsigned value, emu_site site);

/* Gives way until the kernel before this one in the stream is done (emu_grid.cpp). */
void emu_wait_predecessor(emu_site site);

/* Clusters (emu_cluster.cpp). */
void emu_cluster_sync(emu_site site);
void *emu_cluster_peer(const void *mine, unsigned rank);

/* Ends the kernel with an error of the device; `what` is the first half of the sentence. */
[[noreturn]] void emu_thread_fails(int code, const char *what);

/* Asynchronous copies of 16 bytes (emu_copy.cpp). */
void emu_copy16(void *to, const void *from);
void emu_copy_commit(void);
void emu_copy_wait(unsigned groups_left);

/* mbarriers and bulk copies (emu_bulk.cpp). */
void emu_mbarrier_init(uint64_t *bar, unsigned count);
void emu_mbarrier_init_fence(void);
void emu_mbarrier_arrive(uint64_t *bar, unsigned bytes);
void emu_mbarrier_wait(uint64_t *bar, unsigned parity, emu_site site);
void emu_bulk_copy(void *to, const void *from, unsigned bytes, uint64_t *bar);

/* wgmma (emu_wgmma.cpp): the operands of a thread, and what surrounds it. */
struct emu_wgmma_args {
    int *d;
    const uint32_t *a;
    uint64_t b;
    int n;
};
void emu_wgmma_issue(emu_wgmma_args *mine, emu_site site);
void emu_wgmma_fence(emu_site site);
void emu_wgmma_commit(emu_site site);
void emu_wgmma_wait(unsigned groups_left, emu_site site);

} /* namespace tern_emu_rt */
#endif
