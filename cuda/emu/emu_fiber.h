/* emu_fiber.h - fibers: functions with a stack of their own that give way to each other by hand.
 * Used by the scheduler of the emulator (emu_cta.cpp), one fiber for each thread of a kernel. */
#ifndef TERN_EMU_FIBER_H
#define TERN_EMU_FIBER_H

#include <stddef.h>
#include <stdint.h>

#if defined(__SANITIZE_ADDRESS__)
#define TERN_EMU_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TERN_EMU_ASAN 1
#endif
#endif
#ifndef TERN_EMU_ASAN
#define TERN_EMU_ASAN 0
#endif

namespace tern_emu_rt {

struct emu_fiber {
    void *sp;       /* where it stands while others run */
    uint8_t *stack; /* lowest byte; NULL: it has none (yet), or it is the process's own */
    void *fake;     /* of the address sanitizer */
};

/* Gives `fiber` a stack from the pool, on which main() will begin at the first switch. main() calls
 * emu_fiber_enter() first and never returns. False when memory is out. */
bool emu_fiber_start(emu_fiber *fiber, void (*main)(void));
void emu_fiber_enter(void);

/* Leaves `from` for `to`; returns when someone switches back. */
void emu_fiber_switch(emu_fiber *from, emu_fiber *to);

/* The same for the last time: the stack of `from` goes back to the pool. */
void emu_fiber_finish(emu_fiber *from, emu_fiber *to);

/* Puts back the stack of a fiber that stands somewhere and will never go on. */
void emu_fiber_abandon(emu_fiber *fiber);

} /* namespace tern_emu_rt */
#endif
