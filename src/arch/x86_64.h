// SPDX-License-Identifier: MIT
// The switch for x86-64 as an asm statement. Included by arch/switch.h only.
//
// DESIGN. The compiler is told that everything is lost, and spills what it needs around the
// statement; only rsp, rbp and rbx travel in the context, because rbp may be the frame pointer and
// rbx the base pointer of a realigned frame, which a compiler cannot spill (clang would even drop
// such a clobber silently). The x87 and mask registers are named because the ABI lets a call
// destroy them, so callers of a function that contains a switch expect no more. endbr64 is what CET
// demands of the target of an indirect jump; elsewhere it is a no-op.
#ifndef PL_ARCH_X86_64_H
#define PL_ARCH_X86_64_H

#ifdef __AVX512F__
#define PL_CLOBBERS_AVX512                                                                         \
    , "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25",    \
        "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31", "k1", "k2", "k3", "k4", "k5", "k6",  \
        "k7"
#else
#define PL_CLOBBERS_AVX512
#endif

static inline __attribute__((always_inline)) void pl_switch_raw(struct pl_context *from,
                                                                struct pl_context *to)
{
    __asm__ volatile("leaq 1f(%%rip), %%rax\n\t"
                     "movq %%rsp, 0(%%rdi)\n\t"
                     "movq %%rax, 8(%%rdi)\n\t"
                     "movq %%rbp, 16(%%rdi)\n\t"
                     "movq %%rbx, 24(%%rdi)\n\t"
                     "movq 8(%%rsi), %%rcx\n\t"
                     "movq 0(%%rsi), %%rsp\n\t"
                     "movq 16(%%rsi), %%rbp\n\t"
                     "movq 24(%%rsi), %%rbx\n\t"
                     "jmpq *%%rcx\n\t"
                     ".p2align 3\n"
                     "1:\n\t"
                     "endbr64\n\t"
                     : "+D"(from), "+S"(to)
                     :
                     : "rax", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
                       "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
                       "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "st", "st(1)",
                       "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)", "mm0", "mm1", "mm2",
                       "mm3", "mm4", "mm5", "mm6", "mm7", "cc", "memory" PL_CLOBBERS_AVX512);
}

#undef PL_CLOBBERS_AVX512

#endif
