// SPDX-License-Identifier: MIT
// alloc.c - the allocator, behind the fault door.
#include "os/alloc.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/bug.h"
#include "os/fault.h"

void *pl_alloc(size_t bytes)
{
    PL_ASSERT(bytes > 0);
    return pl_fault(PL_FAULT_ALLOC) ? NULL : malloc(bytes);
}

void *pl_zalloc(size_t bytes)
{
    return pl_zalloc_array(1, bytes);
}

void *pl_zalloc_array(size_t count, size_t bytes)
{
    PL_ASSERT(count > 0 && bytes > 0);
    if (count > SIZE_MAX / bytes || pl_fault(PL_FAULT_ALLOC))
        return NULL;
    return calloc(count, bytes);
}

void *pl_alloc_aligned(size_t align, size_t bytes)
{
    PL_ASSERT(bytes > 0 && align > 0 && (align & (align - 1)) == 0);
    // aligned_alloc wants a multiple of the alignment.
    size_t rounded = (bytes + align - 1) & ~(align - 1);
    return rounded < bytes || pl_fault(PL_FAULT_ALLOC) ? NULL : aligned_alloc(align, rounded);
}

void *pl_realloc(void *old, size_t bytes)
{
    PL_ASSERT(bytes > 0);
    return pl_fault(PL_FAULT_ALLOC) ? NULL : realloc(old, bytes);
}

char *pl_strdup(const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *copy = pl_alloc(bytes);
    return copy ? memcpy(copy, text, bytes) : NULL;
}

void pl_free_mem(void *block)
{
    free(block);
}
