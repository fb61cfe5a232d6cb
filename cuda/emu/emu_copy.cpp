/* emu_copy.cpp - cp.async: a copy is done at some moment between its issue and the wait for its
 * group, which the seed chooses; until then its destination holds poison. On an sm_75 it is done at
 * once, as in ptx.cuh. */
#include <string.h>

#include "emu_cta.h"

namespace tern_emu_rt {

#define COPY_BYTES 16

static void complete(emu_thread *thread, int i)
{
    const emu_copy copy = thread->copies[i];
    thread->copies[i] = thread->copies[--thread->n_copies];
    emu_allow(copy.to, COPY_BYTES);
    memcpy(copy.to, copy.from, COPY_BYTES);
}

void emu_copies_complete(emu_thread *thread, unsigned end)
{
    for (int i = thread->n_copies - 1; i >= 0; i--)
        if (thread->copies[i].group < end) complete(thread, i);
}

void emu_copies_progress(emu_thread *thread)
{
    if (thread->n_copies == 0 || emu_random_below(2) == 0) return;
    complete(thread, (int)emu_random_below((unsigned)thread->n_copies));
}

void emu_copy16(void *to, const void *from)
{
    emu_thread *self = emu_self.thread;
    if (((uintptr_t)to | (uintptr_t)from) % COPY_BYTES != 0)
        emu_thread_fails(cudaErrorLaunchFailure, "copy16_async not aligned to 16 bytes");
    if (emu_self.arch < 80 || emu_random_below(4) == 0) {
        memcpy(to, from, COPY_BYTES);
        return;
    }
    if (self->n_copies == EMU_MAX_COPIES) complete(self, 0);
    memset(to, EMU_POISON, COPY_BYTES);
    emu_forbid(to, COPY_BYTES);
    self->copies[self->n_copies++] = {to, from, self->group};
}

void emu_copy_commit(void)
{
    emu_self.thread->group++;
    emu_copies_progress(emu_self.thread);
}

void emu_copy_wait(unsigned groups_left)
{
    emu_thread *self = emu_self.thread;
    if (self->group > groups_left) emu_copies_complete(self, self->group - groups_left);
}

} /* namespace tern_emu_rt */
