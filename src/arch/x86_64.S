// SPDX-License-Identifier: MIT
// x86-64: the first instructions of a new context, and the switch as a function.

#if defined(__x86_64__) && defined(__LP64__)

        .text

// A new context starts here by an indirect jump, with rbx = entry, rbp = arg, rsp aligned to 16.
// The undefined return address and the zero frame pointer end every backtrace here.
        .globl  pl_switch_start
        .hidden pl_switch_start
        .type   pl_switch_start, @function
        .p2align 4
pl_switch_start:
        .cfi_startproc
        .cfi_undefined rip
        endbr64
        movq    %rbp, %rdi
        xorl    %ebp, %ebp
        callq   *%rbx
        ud2                             // entry returned
        .cfi_endproc
        .size   pl_switch_start, . - pl_switch_start

// void pl_switch_called(struct pl_context *from, struct pl_context *to)
// The registers that arch/x86_64.h declares clobbered and a caller expects kept lie on the stack.
        .globl  pl_switch_called
        .hidden pl_switch_called
        .type   pl_switch_called, @function
        .p2align 4
pl_switch_called:
        .cfi_startproc
        endbr64
        pushq   %r12
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset r12, 0
        pushq   %r13
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset r13, 0
        pushq   %r14
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset r14, 0
        pushq   %r15
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset r15, 0
        leaq    1f(%rip), %rax
        movq    %rsp, 0(%rdi)
        movq    %rax, 8(%rdi)
        movq    %rbp, 16(%rdi)
        movq    %rbx, 24(%rdi)
        movq    8(%rsi), %rcx
        movq    0(%rsi), %rsp
        movq    16(%rsi), %rbp
        movq    24(%rsi), %rbx
        jmpq    *%rcx
        .p2align 3
1:      endbr64
        popq    %r15
        .cfi_adjust_cfa_offset -8
        .cfi_restore r15
        popq    %r14
        .cfi_adjust_cfa_offset -8
        .cfi_restore r14
        popq    %r13
        .cfi_adjust_cfa_offset -8
        .cfi_restore r13
        popq    %r12
        .cfi_adjust_cfa_offset -8
        .cfi_restore r12
        popq    %rcx                    // a ret would be predicted to return to the other side
        .cfi_adjust_cfa_offset -8
        .cfi_register rip, rcx
        notrack jmpq *%rcx              // a return address carries no endbr64
        .cfi_endproc
        .size   pl_switch_called, . - pl_switch_called

// CET: every target of an indirect jump here is marked (bit 0, IBT). Not the shadow stack (bit 1):
// the switch does not exchange it, and this note makes the loader leave it off.
        .section .note.gnu.property, "a", @note
        .p2align 3
        .long   4                       // bytes of the name
        .long   16                      // bytes of the description
        .long   5                       // NT_GNU_PROPERTY_TYPE_0
        .asciz  "GNU"
        .long   0xc0000002              // GNU_PROPERTY_X86_FEATURE_1_AND
        .long   4
        .long   1
        .long   0

#endif

        .section .note.GNU-stack, "", %progbits
