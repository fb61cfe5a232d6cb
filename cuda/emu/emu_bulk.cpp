/* emu_bulk.cpp - mbarriers and bulk copies. A copy is done at some moment that the seed chooses,
 * and then its mbarrier hears of it; until then its destination holds poison. */
#include <stdio.h>
#include <string.h>

#include "emu_cta.h"

namespace tern_emu_rt {

#define MAGIC 0x4d
#define BULK_ALIGNMENT 16
#define AHEAD_ODDS 8 /* one arrival in so many changes which warpgroup runs ahead */

/* An mbarrier in its eight bytes of shared memory. */
struct mbarrier {
    uint8_t magic, phase, count, pending;
    int32_t bytes; /* expected and not there: below 0 where they came first */
};
static_assert(sizeof(mbarrier) == sizeof(uint64_t), "an mbarrier has eight bytes");

static mbarrier *checked(uint64_t *bar, const char *what)
{
    mbarrier *b = (mbarrier *)(void *)bar;
    char sentence[100];
    snprintf(sentence, sizeof sentence, "%s of an mbarrier that is not initialised", what);
    if ((uintptr_t)bar % 8 != 0 || b->magic != MAGIC)
        emu_thread_fails(cudaErrorLaunchFailure, sentence);
    return b;
}

/* Ends the phase where nothing is missing, and wakes those who wait for that. */
static void advance(emu_cta *cta, mbarrier *b)
{
    if (b->pending > 0 || b->bytes != 0) return;
    b->phase ^= 1;
    b->pending = b->count;
    for (int i = 0; i < cta->n_threads; i++) {
        emu_thread *thread = &cta->threads[i];
        if (thread->wait != EMU_AT_MBARRIER || thread->bar != (void *)b) continue;
        if (thread->value == b->phase) continue;
        cta->n_at_flag--;
        emu_wake(thread);
    }
}

static void complete(emu_cta *cta, int i)
{
    emu_hopper *hopper = &cta->hopper;
    const emu_bulk copy = hopper->bulk[i];
    hopper->bulk[i] = hopper->bulk[--hopper->n_bulk];
    emu_allow(copy.to, copy.bytes);
    memcpy(copy.to, copy.from, copy.bytes);
    mbarrier *b = (mbarrier *)(void *)copy.bar;
    b->bytes -= (int32_t)copy.bytes;
    advance(cta, b);
}

void emu_bulk_progress(emu_cta *cta)
{
    const unsigned n = (unsigned)cta->hopper.n_bulk;
    if (n > 0 && emu_random_below(2) == 0) complete(cta, (int)emu_random_below(n));
}

void emu_bulk_poll(emu_cta *cta)
{
    while (cta->n_ready == 0 && cta->hopper.n_bulk > 0)
        complete(cta, (int)emu_random_below((unsigned)cta->hopper.n_bulk));
}

void emu_mbarrier_init(uint64_t *bar, unsigned count)
{
    emu_thread *self = emu_self.thread;
    if (emu_self.arch < 90) emu_thread_fails(cudaErrorLaunchFailure, "mbarrier_init below sm_90");
    if ((uintptr_t)bar % 8 != 0 || count == 0 || count > 255)
        emu_thread_fails(cudaErrorLaunchFailure, "mbarrier_init of no aligned word or no count");
    const mbarrier fresh = {MAGIC, 0, (uint8_t)count, (uint8_t)count, 0};
    memcpy(bar, &fresh, sizeof fresh);
    self->cta->hopper.uneven = true;
    if (!self->unfenced) self->cta->hopper.n_unfenced++;
    self->unfenced = true;
}

void emu_mbarrier_init_fence(void)
{
    emu_thread *self = emu_self.thread;
    if (self->unfenced) self->cta->hopper.n_unfenced--;
    self->unfenced = false;
}

void emu_mbarrier_arrive(uint64_t *bar, unsigned bytes)
{
    emu_cta *cta = emu_self.thread->cta;
    mbarrier *b = checked(bar, "an arrival");
    emu_bulk_progress(cta);
    if (emu_random_below(AHEAD_ODDS) == 0)
        cta->hopper.ahead = (int)emu_random_below((unsigned)(cta->n_threads + 127) / 128);
    if (b->pending == 0) emu_thread_fails(cudaErrorLaunchFailure, "one arrival too many");
    b->bytes += (int32_t)bytes;
    b->pending--;
    advance(cta, b);
}

void emu_mbarrier_wait(uint64_t *bar, unsigned parity, emu_site site)
{
    emu_thread *self = emu_self.thread;
    const mbarrier *b = checked(bar, "a wait");
    emu_bulk_progress(self->cta);
    if (b->phase != parity) return emu_maybe_yield();
    self->wait = EMU_AT_MBARRIER;
    self->site = site;
    self->bar = bar;
    self->value = parity;
    self->cta->n_at_flag++;
    emu_leave(self);
}

void emu_bulk_copy(void *to, const void *from, unsigned bytes, uint64_t *bar)
{
    emu_cta *cta = emu_self.thread->cta;
    emu_hopper *hopper = &cta->hopper;
    const uint8_t *end = cta->smem + cta->grid->launch->smem_bytes;
    checked(bar, "a bulk copy");
    if (hopper->n_unfenced > 0)
        emu_thread_fails(cudaErrorLaunchFailure,
                         "bulk_copy to an mbarrier whose initialisation no fence has shown");
    if (((uintptr_t)to | (uintptr_t)from | bytes) % BULK_ALIGNMENT != 0 || bytes == 0)
        emu_thread_fails(cudaErrorLaunchFailure, "bulk_copy not aligned to 16 bytes");
    if ((const uint8_t *)to < cta->smem || (const uint8_t *)to + bytes > end ||
        !emu_on_device(cta->grid->device, from, bytes))
        emu_thread_fails(cudaErrorIllegalAddress,
                         "bulk_copy beyond shared memory or beyond an allocation");
    if (hopper->n_bulk == EMU_MAX_BULK) complete(cta, 0);
    memset(to, EMU_POISON, bytes);
    emu_forbid(to, bytes);
    hopper->bulk[hopper->n_bulk++] = {to, from, bytes, bar};
    emu_bulk_progress(cta);
}

} /* namespace tern_emu_rt */
