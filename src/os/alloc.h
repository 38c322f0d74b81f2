// SPDX-License-Identifier: MIT
// alloc.h - the allocator, behind the fault door. Every allocation of the library comes through
// here.
#ifndef PL_OS_ALLOC_H
#define PL_OS_ALLOC_H

#include <stddef.h>

// NULL when out of memory. A size of 0 is a bug.
void *pl_alloc(size_t bytes) __attribute__((malloc, alloc_size(1)));

// Zeroed.
void *pl_zalloc(size_t bytes) __attribute__((malloc, alloc_size(1)));

// Zeroed array; NULL also when count * bytes overflows.
void *pl_zalloc_array(size_t count, size_t bytes) __attribute__((malloc, alloc_size(1, 2)));

// Aligned to a power of two, for records that own their cache line.
void *pl_alloc_aligned(size_t align, size_t bytes) __attribute__((malloc, alloc_size(2)));

// Grows or shrinks; NULL leaves the old block as it was.
void *pl_realloc(void *old, size_t bytes) __attribute__((alloc_size(2)));

char *pl_strdup(const char *text) __attribute__((malloc));

// NULL is allowed.
void pl_free_mem(void *block);

#endif
