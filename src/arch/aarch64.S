// SPDX-License-Identifier: MIT
// aarch64: the first instructions of a new context, and the switch as a function.

#if defined(__aarch64__) && defined(__LP64__)

        .text

// A new context starts here by an indirect jump, with x19 = entry, x29 = arg, sp aligned to 16.
// The undefined return address and the zero frame pointer end every backtrace here.
        .globl  pl_switch_start
        .hidden pl_switch_start
        .type   pl_switch_start, %function
        .p2align 4
pl_switch_start:
        .cfi_startproc
        .cfi_undefined x30
        hint    36                      // bti j
        mov     x0, x29
        mov     x29, xzr
        mov     x30, xzr
        blr     x19
        brk     1                       // entry returned
        .cfi_endproc
        .size   pl_switch_start, . - pl_switch_start

// void pl_switch_called(struct pl_context *from, struct pl_context *to)
// The registers that arch/aarch64.h declares clobbered and a caller expects kept lie on the stack:
// x20-x28, x30 and the low halves of v8-v15. Return by `ret`: the caller has no landing pad.
        .globl  pl_switch_called
        .hidden pl_switch_called
        .type   pl_switch_called, %function
        .p2align 4
pl_switch_called:
        .cfi_startproc
        hint    34                      // bti c
        sub     sp, sp, 144
        .cfi_adjust_cfa_offset 144
        stp     x20, x21, [sp, 0]
        stp     x22, x23, [sp, 16]
        stp     x24, x25, [sp, 32]
        stp     x26, x27, [sp, 48]
        stp     x28, x30, [sp, 64]
        .cfi_rel_offset x20, 0
        .cfi_rel_offset x21, 8
        .cfi_rel_offset x22, 16
        .cfi_rel_offset x23, 24
        .cfi_rel_offset x24, 32
        .cfi_rel_offset x25, 40
        .cfi_rel_offset x26, 48
        .cfi_rel_offset x27, 56
        .cfi_rel_offset x28, 64
        .cfi_rel_offset x30, 72
        stp     d8, d9, [sp, 80]
        stp     d10, d11, [sp, 96]
        stp     d12, d13, [sp, 112]
        stp     d14, d15, [sp, 128]
        adr     x3, 1f
        mov     x2, sp
        stp     x2, x3, [x0, 0]
        stp     x29, x19, [x0, 16]
        ldp     x2, x3, [x1, 0]
        ldp     x29, x19, [x1, 16]
        mov     sp, x2
        br      x3
1:      hint    36                      // bti j
        ldp     d8, d9, [sp, 80]
        ldp     d10, d11, [sp, 96]
        ldp     d12, d13, [sp, 112]
        ldp     d14, d15, [sp, 128]
        ldp     x20, x21, [sp, 0]
        ldp     x22, x23, [sp, 16]
        ldp     x24, x25, [sp, 32]
        ldp     x26, x27, [sp, 48]
        ldp     x28, x30, [sp, 64]
        add     sp, sp, 144
        .cfi_adjust_cfa_offset -144
        .cfi_restore x30
        ret
        .cfi_endproc
        .size   pl_switch_called, . - pl_switch_called

// Branch target identification: every target of an indirect jump here is marked (bit 0). Return
// addresses are not signed (bit 1), nor is the guarded control stack exchanged (bit 2).
        .section .note.gnu.property, "a", %note
        .p2align 3
        .long   4                       // bytes of the name
        .long   16                      // bytes of the description
        .long   5                       // NT_GNU_PROPERTY_TYPE_0
        .asciz  "GNU"
        .long   0xc0000000              // GNU_PROPERTY_AARCH64_FEATURE_1_AND
        .long   4
        .long   1
        .long   0

#endif

        .section .note.GNU-stack, "", %progbits
