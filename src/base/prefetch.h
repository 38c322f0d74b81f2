// SPDX-License-Identifier: MIT
// prefetch.h - asks for a cache line that will be written soon, so that nobody waits for its way
// from another core.
#ifndef PL_BASE_PREFETCH_H
#define PL_BASE_PREFETCH_H

static inline void pl_prefetch_to_write(const void *at)
{
#if defined(__x86_64__)
    // What the compiler's builtin becomes without -mprfchw fetches a line to read; where the
    // processor does not know this one it does nothing.
    __asm__ volatile("prefetchw %0" : : "m"(*(const char *)at));
#else
    __builtin_prefetch(at, 1);
#endif
}

#endif
