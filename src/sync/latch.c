// SPDX-License-Identifier: MIT
// latch.c - waiting until a count is down to zero.
#include "base/bug.h"
#include "core/park.h"
#include <errno.h>
#include <plait/sync.h>

void plait_latch_init(plait_latch *l, uint32_t count)
{
    __atomic_store_n(&l->private_, count, __ATOMIC_RELEASE);
}

void plait_latch_add(plait_latch *l, uint32_t count)
{
    uint32_t old = __atomic_fetch_add(&l->private_, count, __ATOMIC_RELAXED);
    if (old > UINT32_MAX - count)
        PL_BUG("the count of the latch overflows");
}

void plait_latch_done(plait_latch *l, uint32_t count)
{
    uint32_t old = __atomic_fetch_sub(&l->private_, count, __ATOMIC_SEQ_CST);
    if (old < count)
        PL_BUG("the latch was counted down below zero");
    if (old == count)
        pl_unpark(&l->private_, UINT32_MAX);
}

int plait_latch_wait(plait_latch *l, int64_t deadline)
{
    uint32_t count;
    /* Acquire: pairs with the counting down. The count changes while it waits, and a wake may be
     * meant for those who waited before it was counted up again: it looks again. */
    while ((count = __atomic_load_n(&l->private_, __ATOMIC_ACQUIRE)) != 0) {
        int e = pl_park(&l->private_, count, deadline, NULL, PL_FOR_LATCH);
        if (e < 0 && e != -EAGAIN)
            return e;
    }
    return 0;
}
