/* embedded.S - the demo model as read-only data of the program: tern_demo_begin ..
 * tern_demo_end. */
    .section .rodata
    .balign 64
    .global tern_demo_begin
    .global tern_demo_end
tern_demo_begin:
    .incbin TERN_DEMO_FILE
tern_demo_end:
    .byte 0
    .section .note.GNU-stack,"",%progbits
