// SPDX-License-Identifier: MIT
// The switch for aarch64 as an asm statement. Included by arch/switch.h only.
//
// DESIGN. As on x86-64: everything is declared lost, and sp, x29 (frame pointer) and x19 (the base
// pointer of a realigned frame) travel in the context. `hint 36` is `bti j`, what a guarded page
// demands of the target of an indirect jump, and a no-op on older cores.
#ifndef PL_ARCH_AARCH64_H
#define PL_ARCH_AARCH64_H

static inline __attribute__((always_inline)) void pl_switch_raw(struct pl_context *from,
                                                                struct pl_context *to)
{
    register struct pl_context *leaving __asm__("x0") = from;
    register struct pl_context *entering __asm__("x1") = to;

    __asm__ volatile("adr x3, 1f\n\t"
                     "mov x2, sp\n\t"
                     "stp x2, x3, [x0, 0]\n\t"
                     "stp x29, x19, [x0, 16]\n\t"
                     "ldp x2, x3, [x1, 0]\n\t"
                     "ldp x29, x19, [x1, 16]\n\t"
                     "mov sp, x2\n\t"
                     "br x3\n"
                     "1:\n\t"
                     "hint 36\n\t"
                     : "+r"(leaving), "+r"(entering)
                     :
                     : "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13",
                       "x14", "x15", "x16", "x17", "x18", "x20", "x21", "x22", "x23", "x24", "x25",
                       "x26", "x27", "x28", "x30", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7",
                       "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15", "v16", "v17", "v18",
                       "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29",
                       "v30", "v31", "cc", "memory");
}

#endif
