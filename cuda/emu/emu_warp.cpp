/* emu_warp.cpp - where the lanes of a warp meet. Every collective is one meeting: each lane leaves
 * its operands and waits; the last one to come computes for all. */
#include <stdio.h>

#include "emu_cta.h"

namespace tern_emu_rt {

static void check_meeting(emu_thread *self, const emu_warp *warp, unsigned mask)
{
    char what[160];
    if (mask != 0xffffffffu) {
        snprintf(what, sizeof what, "%s (%s:%d) with mask %08x: all lanes have to come",
                 self->site.what, self->site.file, self->site.line, mask);
        emu_thread_fails(cudaErrorLaunchFailure, what);
    }
    if (warp->n_lanes != TERN_EMU_WARP) {
        snprintf(what, sizeof what, "%s (%s:%d) in a warp of %d threads: the block is no multiple "
                 "of 32", self->site.what, self->site.file, self->site.line, warp->n_lanes);
        emu_thread_fails(cudaErrorLaunchFailure, what);
    }
}

void emu_meet(emu_site site, unsigned mask, void (*act)(void *const *lanes), void *mine)
{
    emu_thread *self = emu_self.thread;
    emu_cta *cta = self->cta;
    emu_warp *warp = &cta->warps[self->warp];
    self->site = site;
    check_meeting(self, warp, mask);
    self->wait = EMU_AT_MEET;
    if (warp->n_met == 0) warp->site = site;
    if (!emu_same_site(warp->site, site)) {
        emu_cta_stuck(cta);
        emu_fiber_switch(&self->fiber, &emu_scheduler);
    }
    warp->lanes[self->lane] = mine;
    if (++warp->n_met < TERN_EMU_WARP) return emu_leave(self);
    warp->n_met = 0;
    act(warp->lanes);
    emu_thread *first = &cta->threads[self->warp * TERN_EMU_WARP];
    for (int i = 0; i < TERN_EMU_WARP; i++)
        if (i != self->lane) emu_wake(first + i);
    self->wait = EMU_READY; /* and goes on: one switch less */
}

void emu_sync_act(void *const *)
{
}

void emu_shuffle_act(void *const *lanes)
{
    for (int i = 0; i < TERN_EMU_WARP; i++) {
        emu_shuffle *mine = (emu_shuffle *)lanes[i];
        mine->heard = ((const emu_shuffle *)lanes[mine->from])->value;
    }
}

/* All lanes get the result that `fold` makes of their values. */
template <class Fold> static void vote(void *const *lanes, unsigned result, Fold fold)
{
    for (int i = 0; i < TERN_EMU_WARP; i++)
        result = fold(result, ((const emu_vote *)lanes[i])->value, i);
    for (int i = 0; i < TERN_EMU_WARP; i++) ((emu_vote *)lanes[i])->result = result;
}

void emu_ballot_act(void *const *lanes)
{
    vote(lanes, 0, [](unsigned all, unsigned v, int lane) { return all | v << lane; });
}

void emu_reduce_add_act(void *const *lanes)
{
    vote(lanes, 0, [](unsigned all, unsigned v, int) { return all + v; });
}

void emu_reduce_or_act(void *const *lanes)
{
    vote(lanes, 0, [](unsigned all, unsigned v, int) { return all | v; });
}

void emu_reduce_max_act(void *const *lanes)
{
    vote(lanes, 0, [](unsigned all, unsigned v, int) { return all > v ? all : v; });
}

void emu_reduce_min_act(void *const *lanes)
{
    vote(lanes, 0xffffffffu, [](unsigned all, unsigned v, int) { return all < v ? all : v; });
}

} /* namespace tern_emu_rt */
