/* emu_fiber.cpp - stacks for fibers, and telling the address sanitizer about them.
 *
 * Stacks are mapped in slabs and kept for ever, the last one used first; below each lies a page
 * that faults, so an overflow is a crash at the spot and not a riddle. Stacks begin at different
 * offsets within a page: equal addresses modulo 4096 would share a few lines of the L1 cache. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "emu_fiber.h"

#if TERN_EMU_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

extern "C" void tern_emu_switch(void **save, void *load);

namespace tern_emu_rt {

#define STACK_BYTES ((size_t)(TERN_EMU_ASAN ? 256 : 64) * 1024)
#define SLAB_STACKS 64
#if defined(__x86_64__)
#define FRAME_WORDS 6 /* that emu_switch.S pops before the address to go on at */
#else
#define FRAME_WORDS 19
#endif

static uint8_t **pool; /* stacks that no fiber has */
static size_t n_pool, n_stacks;

static bool map_slab(void)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), step = page + STACK_BYTES;
    uint8_t **grown = (uint8_t **)realloc(pool, (n_stacks + SLAB_STACKS) * sizeof *pool);
    if (!grown) return false;
    pool = grown;
    void *slab = mmap(nullptr, SLAB_STACKS * step, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (slab == MAP_FAILED) return false;
    for (size_t i = 0; i < SLAB_STACKS; i++) {
        uint8_t *guard = (uint8_t *)slab + i * step;
        if (mprotect(guard, page, PROT_NONE) != 0) return false;
        pool[n_pool++] = guard + page;
    }
    n_stacks += SLAB_STACKS;
    return true;
}

bool emu_fiber_start(emu_fiber *fiber, void (*main)(void))
{
    if (n_pool == 0 && !map_slab()) return false;
    fiber->stack = pool[--n_pool];
    fiber->fake = nullptr;
    const size_t offset = (uintptr_t)fiber->stack / STACK_BYTES % 15 * 256;
    void **top = (void **)(fiber->stack + STACK_BYTES - 256 - offset);
    memset(top - 2 - FRAME_WORDS, 0, (2 + FRAME_WORDS) * sizeof *top);
    /* x86-64: the address is popped and a word (where a return address would be) stays, so that
     * main() finds the alignment of a called function. arm64: the last word popped is x30. */
    top[-2] = (void *)main;
    fiber->sp = top - 2 - FRAME_WORDS;
    return true;
}

#if TERN_EMU_ASAN
/* The sanitizer wants the bounds of the stack that is entered; those of the process's own stack are
 * what it says about the stack that was left. */
static emu_fiber *left;
static const void *own_bottom;
static size_t own_bytes;

static void before_switch(emu_fiber *from, const emu_fiber *to, bool last)
{
    left = last ? nullptr : from; /* the last time, its stack is nobody's any more */
    __sanitizer_start_switch_fiber(last ? nullptr : &from->fake, to->stack ? to->stack : own_bottom,
                                   to->stack ? STACK_BYTES : own_bytes);
}

static void after_switch(void *fake)
{
    const void *bottom;
    size_t bytes;
    __sanitizer_finish_switch_fiber(fake, &bottom, &bytes);
    if (left && !left->stack) {
        own_bottom = bottom;
        own_bytes = bytes;
    }
}
#else
static void before_switch(emu_fiber *, const emu_fiber *, bool)
{
}

static void after_switch(void *)
{
}
#endif

void emu_fiber_enter(void)
{
    after_switch(nullptr);
}

void emu_fiber_switch(emu_fiber *from, emu_fiber *to)
{
    before_switch(from, to, false);
    tern_emu_switch(&from->sp, to->sp);
    after_switch(from->fake);
}

void emu_fiber_abandon(emu_fiber *fiber)
{
    if (!fiber->stack) return;
#if TERN_EMU_ASAN
    __asan_unpoison_memory_region(fiber->stack, STACK_BYTES);
#endif
    pool[n_pool++] = fiber->stack;
    fiber->stack = nullptr;
}

void emu_fiber_finish(emu_fiber *from, emu_fiber *to)
{
    before_switch(from, to, true);
    /* Still standing on it; the pool touches no byte of a stack before the switch is done. */
    pool[n_pool++] = from->stack;
    from->stack = nullptr;
    tern_emu_switch(&from->sp, to->sp);
}

} /* namespace tern_emu_rt */
