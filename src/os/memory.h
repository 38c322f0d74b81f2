// SPDX-License-Identifier: MIT
// The door to the kernel for address space: reserve, guard, discard, release.
#ifndef PL_OS_MEMORY_H
#define PL_OS_MEMORY_H

#include <stddef.h>

// What stops a stack that grows too far.
enum pl_guard_kind {
    PL_GUARD_CANARY,   // nothing does; the owner checks afterwards whether the page was written
    PL_GUARD_MPROTECT, // a page without access: two mappings each
    PL_GUARD_MADVISE,  // a guard marker in the page table (Linux 6.13): no mapping
};

// Bytes of a page.
size_t pl_memory_page(void);

// Reserves zeroed private memory that costs nothing until touched, never in huge pages. 0 and *ret;
// -ENOMEM.
int pl_memory_reserve(size_t bytes, char **ret);

// Unmaps a reservation, or whole pages of one.
void pl_memory_release(void *at, size_t bytes);

// Gives the pages' memory back; they read as zeros afterwards, guards stay. 0; -EINVAL, -ENOMEM.
int pl_memory_discard(void *at, size_t bytes);

// The best guard that this kernel offers.
enum pl_guard_kind pl_memory_guard_best(void);

// Installs `count` guards of `bytes` each, `stride` apart. Returns how many now stand, counted from
// the first, or a negative errno if none does: -ENOTSUP where the kind cannot be had here.
int pl_memory_guard(enum pl_guard_kind kind, void *first, size_t bytes, size_t stride, int count);

// How many mappings the kernel allows this process.
size_t pl_memory_max_mappings(void);

#endif
