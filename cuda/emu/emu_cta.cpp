/* emu_cta.cpp - runs the threads of a CTA as fibers.
 *
 * A thread runs until it has to wait; then a ready one that the seed chooses goes on. So each seed
 * is one interleaving, with the largest steps that the barriers allow: what a missing barrier lets
 * happen does happen. A thread that ends hands its stack to one that has not begun, without a
 * switch: a kernel that never waits costs a loop of calls. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emu_cta.h"

namespace tern_emu_rt {

#define ZONE_BYTES 1024 /* red zone on either side of shared memory */
#define SMEM_ALIGNMENT 1024 /* of shared memory, which is behind a zone */
#define REDRAWS 6       /* for a thread of the warpgroup that is to run ahead */
#define TURN_ODDS 8     /* one barrier in so many lets another CTA run */

emu_view emu_self;
emu_fiber emu_scheduler;

static emu_cta *pool[EMU_MAX_RESIDENT * EMU_MAX_CHAIN];
static int n_pool;

/* ---- giving way ------------------------------------------------------------------------------ */

static emu_thread *take_ready(emu_cta *cta)
{
    if (cta->n_ready == 0) return nullptr;
    emu_thread **place = &cta->ready[emu_random_below((unsigned)cta->n_ready)];
    for (int i = 0; cta->hopper.uneven && i < REDRAWS; i++) {
        if ((*place)->warp / 4 == cta->hopper.ahead) break;
        place = &cta->ready[emu_random_below((unsigned)cta->n_ready)];
    }
    emu_thread *taken = *place;
    *place = cta->ready[--cta->n_ready];
    return taken;
}

static void look_through(emu_thread *thread)
{
    emu_self.thread = thread;
    emu_self.thread_index = thread->index;
    emu_self.lane = thread->lane;
}

/* First of a fiber: runs its thread, and then others that have not begun. */
static void thread_main(void)
{
    emu_fiber_enter();
    for (;;) {
        emu_thread *self = emu_self.thread;
        emu_cta *cta = self->cta;
        const emu_launch_desc *launch = cta->grid->launch;
        launch->kernel.call(launch->kernel.function, launch->args);
        emu_copies_complete(self, self->group + 1);
        self->wait = EMU_ENDED;
        cta->n_alive--;
        emu_thread *next = take_ready(cta);
        if (next && !next->fiber.stack) {
            next->fiber.stack = self->fiber.stack;
            self->fiber.stack = nullptr;
            look_through(next);
            continue;
        }
        if (next) look_through(next);
        emu_fiber_finish(&self->fiber, next ? &next->fiber : &emu_scheduler);
    }
}

static bool prepare(emu_thread *thread)
{
    return thread->fiber.stack || emu_fiber_start(&thread->fiber, thread_main);
}

void emu_leave(emu_thread *self)
{
    emu_thread *next = take_ready(self->cta);
    if (next == self) return;
    if (next && !prepare(next))
        emu_thread_fails(cudaErrorMemoryAllocation, "no memory for a stack");
    if (next) look_through(next);
    emu_fiber_switch(&self->fiber, next ? &next->fiber : &emu_scheduler);
}

void emu_wake(emu_thread *thread)
{
    thread->wait = EMU_READY;
    thread->cta->ready[thread->cta->n_ready++] = thread;
}

void emu_maybe_yield(void)
{
    if (emu_random_below(4) != 0) return;
    emu_thread *self = emu_self.thread;
    emu_wake(self);
    emu_leave(self);
}

void emu_cta_turn(emu_cta *cta)
{
    emu_thread *next = take_ready(cta);
    if (!next) return;
    emu_self.block_index = cta->index;
    emu_self.smem = cta->smem;
    if (!prepare(next)) {
        emu_device_fails(cta->grid->device, cudaErrorMemoryAllocation, "no memory for a stack");
        return;
    }
    look_through(next);
    emu_fiber_switch(&emu_scheduler, &next->fiber);
}

/* ---- waiting --------------------------------------------------------------------------------- */

/* Literals of one source mostly share their address, which spares the look at the characters. */
static bool same_text(const char *a, const char *b)
{
    return a == b || strcmp(a, b) == 0;
}

bool emu_same_site(emu_site a, emu_site b)
{
    return a.line == b.line && same_text(a.what, b.what) && same_text(a.file, b.file);
}

int emu_barrier(emu_site site, int vote)
{
    emu_thread *self = emu_self.thread;
    emu_cta *cta = self->cta;
    emu_copies_progress(self);
    emu_bulk_progress(cta);
    self->wait = EMU_AT_BARRIER;
    self->site = site;
    if (cta->n_at_barrier == 0) cta->barrier = site;
    if (!emu_same_site(cta->barrier, site)) {
        emu_cta_stuck(cta);
        emu_fiber_switch(&self->fiber, &emu_scheduler);
    }
    cta->votes += vote != 0;
    if (++cta->n_at_barrier == cta->n_threads) {
        cta->vote_result = cta->votes;
        cta->n_at_barrier = cta->votes = 0;
        for (int i = 0; i < cta->n_threads; i++) emu_wake(&cta->threads[i]);
        if (emu_random_below(TURN_ODDS) == 0)
            emu_fiber_switch(&self->fiber, &emu_scheduler);
        else
            emu_leave(self);
    } else {
        emu_leave(self);
    }
    return cta->vote_result;
}

void emu_wait_flag(const unsigned *flag, unsigned value, emu_site site)
{
    emu_thread *self = emu_self.thread;
    if (*(const volatile unsigned *)flag >= value) return emu_maybe_yield();
    self->wait = EMU_AT_FLAG;
    self->site = site;
    self->flag = flag;
    self->value = value;
    self->cta->n_at_flag++;
    emu_leave(self);
}

void emu_cta_poll(emu_cta *cta)
{
    for (int i = 0; cta->n_at_flag > 0 && i < cta->n_threads; i++) {
        emu_thread *thread = &cta->threads[i];
        if (thread->wait != EMU_AT_FLAG) continue;
        if (*(const volatile unsigned *)thread->flag < thread->value) continue;
        cta->n_at_flag--;
        emu_wake(thread);
    }
    emu_bulk_poll(cta);
}

/* ---- reports --------------------------------------------------------------------------------- */

void emu_name_cta(char *out, size_t bytes, const emu_cta *cta)
{
    char name[100];
    emu_kernel_name(name, sizeof name, &cta->grid->launch->kernel);
    snprintf(out, bytes, "kernel %s, block (%u,%u,%u)", name, cta->index.x, cta->index.y,
             cta->index.z);
}

void emu_name_thread(char *out, size_t bytes, const emu_thread *thread)
{
    char cta[160];
    emu_name_cta(cta, sizeof cta, thread->cta);
    snprintf(out, bytes, "%s, thread (%u,%u,%u)", cta, thread->index.x, thread->index.y,
             thread->index.z);
}

void emu_thread_fails(int code, const char *what)
{
    char who[200];
    emu_thread *self = emu_self.thread;
    emu_name_thread(who, sizeof who, self);
    emu_device_fails(self->cta->grid->device, (cudaError_t)code, "%s: %s", who, what);
    emu_fiber_switch(&self->fiber, &emu_scheduler);
    __builtin_unreachable(); /* the scheduler abandons the CTA */
}

static void name_wait(char *out, size_t bytes, const emu_thread *thread)
{
    if (thread->wait == EMU_ENDED)
        snprintf(out, bytes, "has ended");
    else if (thread->wait == EMU_READY)
        snprintf(out, bytes, "is elsewhere");
    else
        snprintf(out, bytes, "waits in %s (%s:%d)", thread->site.what, thread->site.file,
                 thread->site.line);
}

static bool same_wait(const emu_thread *a, const emu_thread *b)
{
    return a->wait == b->wait && (a->wait == EMU_ENDED || emu_same_site(a->site, b->site));
}

/* Names the first thread that waits for company, and the first one that will not keep it. */
void emu_cta_stuck(emu_cta *cta)
{
    const emu_thread *waits = nullptr, *other = nullptr;
    for (int i = 0; i < cta->n_threads && !waits; i++) {
        const emu_wait wait = cta->threads[i].wait;
        if (wait == EMU_AT_BARRIER || wait == EMU_AT_MEET || wait == EMU_AT_WARPGROUP)
            waits = &cta->threads[i];
    }
    if (!waits) return;
    for (int i = 0; i < cta->n_threads && !other; i++) {
        const emu_thread *thread = &cta->threads[i];
        const bool expected = waits->wait == EMU_AT_BARRIER || thread->warp == waits->warp ||
                              (waits->wait == EMU_AT_WARPGROUP &&
                               thread->warp / 4 == waits->warp / 4);
        if (expected && thread->wait != EMU_READY && !same_wait(waits, thread)) other = thread;
    }
    char who[200], where[160], else_where[160] = "not all threads come";
    emu_name_thread(who, sizeof who, waits);
    name_wait(where, sizeof where, waits);
    if (other) {
        char what[128];
        name_wait(what, sizeof what, other);
        snprintf(else_where, sizeof else_where, "thread (%u,%u,%u) %s", other->index.x,
                 other->index.y, other->index.z, what);
    }
    emu_device_fails(cta->grid->device, cudaErrorLaunchFailure, "%s %s, but %s", who, where,
                     else_where);
}

/* ---- beginning and end ----------------------------------------------------------------------- */

static bool reserve(emu_cta *cta, int n_threads, size_t smem_bytes)
{
    if (n_threads > cta->capacity) {
        free(cta->threads);
        free(cta->ready);
        cta->threads = (emu_thread *)calloc((size_t)n_threads, sizeof *cta->threads);
        cta->ready = (emu_thread **)malloc((size_t)n_threads * sizeof *cta->ready);
        cta->capacity = cta->threads && cta->ready ? n_threads : 0;
    }
    const size_t block_bytes = (smem_bytes + 2 * ZONE_BYTES + SMEM_ALIGNMENT - 1) /
                               SMEM_ALIGNMENT * SMEM_ALIGNMENT;
    if (block_bytes > cta->block_bytes) {
        free(cta->block);
        cta->block = (uint8_t *)aligned_alloc(SMEM_ALIGNMENT, block_bytes);
        cta->block_bytes = cta->block ? block_bytes : 0;
    }
    return cta->capacity >= n_threads && cta->block_bytes >= block_bytes;
}

static void seat(emu_cta *cta, dim3 block)
{
    memset(cta->warps, 0, sizeof cta->warps);
    for (int i = 0; i < cta->n_threads; i++) {
        emu_thread *thread = &cta->threads[i];
        const unsigned n = (unsigned)i;
        thread->cta = cta;
        thread->fiber = {};
        thread->index = {n % block.x, n / block.x % block.y, n / block.x / block.y};
        thread->lane = i % TERN_EMU_WARP;
        thread->warp = i / TERN_EMU_WARP;
        thread->unfenced = false;
        thread->group = 0;
        thread->n_copies = 0;
        thread->wait = EMU_READY;
        cta->ready[i] = thread;
        cta->warps[thread->warp].n_lanes++;
    }
}

emu_cta *emu_cta_begin(emu_grid *grid, uint3 index)
{
    const emu_launch_desc *launch = grid->launch;
    emu_cta *cta = n_pool ? pool[--n_pool] : (emu_cta *)calloc(1, sizeof *cta);
    if (!cta) return nullptr;
    const int n = (int)(launch->block.x * launch->block.y * launch->block.z);
    if (!reserve(cta, n, launch->smem_bytes)) {
        pool[n_pool++] = cta;
        return nullptr;
    }
    cta->grid = grid;
    cta->index = index;
    cta->n_threads = cta->n_alive = cta->n_ready = n;
    cta->n_at_flag = cta->n_at_barrier = cta->votes = 0;
    cta->cluster = nullptr;
    seat(cta, launch->block);
    emu_hopper_begin(cta);
    cta->smem = cta->block + ZONE_BYTES;
    memset(cta->block, EMU_ZONE, ZONE_BYTES);
    memset(cta->smem, EMU_POISON, launch->smem_bytes);
    memset(cta->smem + launch->smem_bytes, EMU_ZONE, ZONE_BYTES);
    emu_forbid(cta->block, ZONE_BYTES);
    emu_forbid(cta->smem + launch->smem_bytes, ZONE_BYTES);
    return cta;
}

void emu_cta_abandon(emu_cta *cta)
{
    for (int i = 0; i < cta->n_threads; i++) emu_fiber_abandon(&cta->threads[i].fiber);
    emu_cluster_leave(cta);
    emu_allow(cta->block, cta->block_bytes);
    pool[n_pool++] = cta;
}

void emu_cta_end(emu_cta *cta)
{
    const emu_launch_desc *launch = cta->grid->launch;
    char name[160];
    emu_allow(cta->block, cta->block_bytes);
    if (cta->hopper.n_bulk > 0) {
        emu_name_cta(name, sizeof name, cta);
        emu_device_fails(cta->grid->device, cudaErrorLaunchFailure,
                         "%s: ended with %d bulk copies under way", name, cta->hopper.n_bulk);
    }
    const bool front = emu_zone_intact(cta->block, ZONE_BYTES);
    if (!front || !emu_zone_intact(cta->smem + launch->smem_bytes, ZONE_BYTES)) {
        emu_name_cta(name, sizeof name, cta);
        emu_device_fails(cta->grid->device, cudaErrorIllegalAddress,
                         "%s: wrote %s its %zu bytes of shared memory", name,
                         front ? "behind" : "before", launch->smem_bytes);
    }
    emu_cta_abandon(cta);
}

} /* namespace tern_emu_rt */
