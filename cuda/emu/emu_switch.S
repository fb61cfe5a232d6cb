/* emu_switch.S - void tern_emu_switch(void **save, void *load): leaves one stack for another.
 *
 * Pushes the registers that a call must preserve, stores the stack pointer in *save, takes `load`
 * for it and pops the same registers there; whoever stood at that place goes on. No system call:
 * this is what makes a thread of a kernel cost nanoseconds. emu_fiber.cpp lays out a new stack as
 * if it had been left by this function: FRAME_WORDS words, then the address to go on at. */
    .text
    .globl tern_emu_switch
    .type tern_emu_switch, %function

#if defined(__x86_64__)
    .p2align 4
tern_emu_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    popq %rcx               /* not ret: the call it would be paired with was another one */
    jmpq *%rcx
#elif defined(__aarch64__)
    .p2align 4
tern_emu_switch:
    sub sp, sp, #160
    stp d8, d9, [sp, #0]
    stp d10, d11, [sp, #16]
    stp d12, d13, [sp, #32]
    stp d14, d15, [sp, #48]
    stp x19, x20, [sp, #64]
    stp x21, x22, [sp, #80]
    stp x23, x24, [sp, #96]
    stp x25, x26, [sp, #112]
    stp x27, x28, [sp, #128]
    stp x29, x30, [sp, #144]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldp d8, d9, [sp, #0]
    ldp d10, d11, [sp, #16]
    ldp d12, d13, [sp, #32]
    ldp d14, d15, [sp, #48]
    ldp x19, x20, [sp, #64]
    ldp x21, x22, [sp, #80]
    ldp x23, x24, [sp, #96]
    ldp x25, x26, [sp, #112]
    ldp x27, x28, [sp, #128]
    ldp x29, x30, [sp, #144]
    add sp, sp, #160
    ret
#else
#error "the emulator switches stacks on x86-64 and arm64 only: configure with -DTERN_EMU=OFF"
#endif
    .size tern_emu_switch, . - tern_emu_switch
    .section .note.GNU-stack, "", %progbits
