// SPDX-License-Identifier: MIT
// relax.h - tells the processor that this is a spin loop.
#ifndef PL_BASE_RELAX_H
#define PL_BASE_RELAX_H

static inline void pl_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#else
    __asm__ volatile("" ::: "memory");
#endif
}

#endif
