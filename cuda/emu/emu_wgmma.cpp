/* emu_wgmma.cpp - wgmma m64nNk32 as loops over the layouts of the PTX manual (section "Asynchronous
 * Warpgroup Level Matrix Instructions"). It is done, in the order of issue, at a moment between its
 * issue and the wait that the seed chooses. Stricter than the manual in one thing: every group
 * begins with a fence, since its A has just been written. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emu_cta.h"
#include "ptx_emu.h"

namespace tern_emu_rt {

#define K_BYTES 32 /* of a row of A and of a column of B */
#define MAX_N (2 * EMU_WGMMA_SUMS)
#define POISON_WORD (int)(EMU_POISON * 0x01010101u)

void emu_hopper_begin(emu_cta *cta)
{
    emu_hopper *hopper = &cta->hopper;
    hopper->uneven = false;
    hopper->n_unfenced = hopper->n_bulk = 0;
    for (int g = 0; g < EMU_WARPGROUPS; g++) {
        emu_wgmma *ops = hopper->groups[g].ops;
        hopper->groups[g] = {};
        hopper->groups[g].ops = ops;
    }
    for (int i = 0; i < cta->n_threads && i < EMU_WARPGROUP * EMU_WARPGROUPS; i++)
        hopper->groups[i / EMU_WARPGROUP].n_threads++;
}

/* ---- the product ----------------------------------------------------------------------------- */

/* Where byte k of column n of B stands, from the beginning of shared memory: rows of 16, 32, 64 or
 * 128 bytes, eight of them a group; the swizzle moves 16-byte chunks inside. */
static size_t place_of_b(uint64_t b, int n, int k)
{
    static const size_t row_bytes[4] = {16, 128, 64, 32};
    const size_t start = (b & 0x3fff) << 4, leading = (b >> 16 & 0x3fff) << 4;
    const size_t stride = (b >> 32 & 0x3fff) << 4, row = row_bytes[b >> 62];
    const size_t column = row == 16 ? (size_t)(k / 16) * leading + (size_t)(k % 16) : (size_t)k;
    const size_t at = start + (size_t)(n / 8) * stride + (size_t)(n % 8) * row + column;
    return at ^ ((at >> 7 & (row / 16 - 1)) << 4);
}

static void read_b(int8_t b[MAX_N][K_BYTES], const emu_cta *cta, const emu_wgmma *op)
{
    for (int n = 0; n < op->n; n++)
        for (int k = 0; k < K_BYTES; k++) b[n][k] = (int8_t)cta->smem[place_of_b(op->b, n, k)];
}

/* Thread 32w + l has rows 16w + l/4 and eight below, columns 4 * (l % 4) .. +3 and sixteen on. */
static void read_a(uint8_t a[64][K_BYTES], const emu_wgmma *op)
{
    for (int t = 0; t < EMU_WARPGROUP; t++)
        for (int i = 0; i < 16; i++) {
            const int row = t / 32 * 16 + t % 32 / 4 + 8 * (i / 4 % 2);
            a[row][16 * (i / 8) + 4 * (t % 4) + i % 4] =
                (uint8_t)(op->a[t][i / 4] >> (8 * (i % 4)));
        }
}

static void multiply(const emu_cta *cta, emu_wgmma *op)
{
    uint8_t a[64][K_BYTES];
    int8_t b[MAX_N][K_BYTES];
    read_a(a, op);
    read_b(b, cta, op);
    for (int t = 0; t < EMU_WARPGROUP; t++)
        for (int i = 0; i < op->n / 2; i++) {
            const uint8_t *row = a[t / 32 * 16 + t % 32 / 4 + 8 * (i / 2 % 2)];
            const int8_t *column = b[i / 4 * 8 + t % 4 * 2 + i % 2];
            int sum = 0;
            for (int k = 0; k < K_BYTES; k++) sum += row[k] * column[k];
            op->sums[t][i] = (int)((unsigned)op->sums[t][i] + (unsigned)sum);
        }
}

/* The oldest is done: its sums go to the next one that adds to them, or to the threads. */
static void complete_oldest(const emu_cta *cta, emu_warpgroup *group)
{
    emu_wgmma *op = &group->ops[0], *next = NULL;
    multiply(cta, op);
    for (int i = 1; i < group->n_ops && !next; i++)
        if (group->ops[i].d[0] == op->d[0]) next = &group->ops[i];
    for (int t = 0; t < EMU_WARPGROUP; t++)
        memcpy(next ? next->sums[t] : op->d[t], op->sums[t], (size_t)op->n / 2 * sizeof(int));
    memmove(op, op + 1, (size_t)--group->n_ops * sizeof *op);
}

/* ---- where threads meet ---------------------------------------------------------------------- */

typedef void (*group_act)(emu_cta *cta, emu_warpgroup *group);

/* Waits for all threads of the warpgroup; the last one to come acts. */
static void meet(emu_site site, group_act act, void *mine)
{
    emu_thread *self = emu_self.thread;
    emu_cta *cta = self->cta;
    const int index = self->warp / 4, place = (int)(self - cta->threads) % EMU_WARPGROUP;
    emu_warpgroup *group = &cta->hopper.groups[index];
    self->site = site;
    if (emu_self.arch != 90 || group->n_threads != EMU_WARPGROUP)
        emu_thread_fails(cudaErrorLaunchFailure,
                         "wgmma needs an sm_90a and four whole warps, the first of them 4i");
    self->wait = EMU_AT_WARPGROUP;
    if (group->n_met == 0) group->site = site;
    if (!emu_same_site(group->site, site)) {
        emu_cta_stuck(cta);
        emu_fiber_switch(&self->fiber, &emu_scheduler);
    }
    group->threads[place] = mine;
    if (++group->n_met < EMU_WARPGROUP) return emu_leave(self);
    group->n_met = 0;
    act(cta, group);
    for (int i = 0; i < EMU_WARPGROUP; i++)
        if (i != place) emu_wake(&cta->threads[index * EMU_WARPGROUP + i]);
    self->wait = EMU_READY; /* and goes on: one switch less */
    if (group->n_ops > 0 && emu_random_below(4) == 0) complete_oldest(cta, group);
}

static void fence_act(emu_cta *, emu_warpgroup *group)
{
    group->fenced = true;
}

void emu_wgmma_fence(emu_site site)
{
    meet(site, fence_act, NULL);
}

static void commit_act(emu_cta *, emu_warpgroup *group)
{
    group->group++;
    group->fenced = false;
}

void emu_wgmma_commit(emu_site site)
{
    meet(site, commit_act, NULL);
}

static void wait_act(emu_cta *cta, emu_warpgroup *group)
{
    const unsigned left = *(const unsigned *)group->threads[0];
    while (group->n_ops > 0 && group->ops[0].group + left < group->group)
        complete_oldest(cta, group);
}

void emu_wgmma_wait(unsigned groups_left, emu_site site)
{
    meet(site, wait_act, &groups_left);
}

static void check_issue(const emu_cta *cta, const emu_warpgroup *group)
{
    const emu_wgmma_args *first = (const emu_wgmma_args *)group->threads[0];
    if (!group->fenced)
        emu_thread_fails(cudaErrorLaunchFailure, "wgmma in a group without a wgmma_fence");
    for (int t = 1; t < EMU_WARPGROUP; t++)
        if (((const emu_wgmma_args *)group->threads[t])->b != first->b)
            emu_thread_fails(cudaErrorLaunchFailure, "wgmma with different descriptors");
    for (int n = 0; n < first->n; n++)
        if ((place_of_b(first->b, n, K_BYTES - 1) | 127) >= cta->grid->launch->smem_bytes + 127)
            emu_thread_fails(cudaErrorIllegalAddress, "wgmma reads beyond shared memory");
}

static void issue_act(emu_cta *cta, emu_warpgroup *group)
{
    check_issue(cta, group);
    if (!group->ops) group->ops = (emu_wgmma *)malloc(EMU_MAX_WGMMA * sizeof *group->ops);
    if (!group->ops) emu_thread_fails(cudaErrorMemoryAllocation, "no memory for a wgmma");
    if (group->n_ops == EMU_MAX_WGMMA) complete_oldest(cta, group);
    emu_wgmma *op = &group->ops[group->n_ops];
    bool follows = false;
    for (int t = 0; t < EMU_WARPGROUP; t++) {
        const emu_wgmma_args *given = (const emu_wgmma_args *)group->threads[t];
        op->d[t] = given->d;
        op->a[t] = given->a;
        op->n = given->n;
        op->b = given->b;
    }
    op->group = group->group;
    for (int i = 0; i < group->n_ops; i++) follows |= group->ops[i].d[0] == op->d[0];
    for (int t = 0; t < EMU_WARPGROUP && !follows; t++)
        for (int i = 0; i < op->n / 2; i++) {
            op->sums[t][i] = op->d[t][i];
            op->d[t][i] = POISON_WORD;
        }
    group->n_ops++;
}

void emu_wgmma_issue(emu_wgmma_args *mine, emu_site site)
{
    meet(site, issue_act, mine);
}

} /* namespace tern_emu_rt */
