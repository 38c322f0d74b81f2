// SPDX-License-Identifier: MIT
// lock.c - the contended path of lock.h.
#include "core/lock.h"
#include "base/relax.h"
#include "os/clock.h"

void pl_lock_slow(struct pl_lock *l)
{
    /* Sections are tens of nanoseconds long: look a few times before sleeping. */
    for (int i = 0; i < 100; i++) {
        uint32_t free = 0;
        if (atomic_load_explicit(&l->word, memory_order_relaxed) == 0 &&
            atomic_compare_exchange_weak_explicit(&l->word, &free, 1, memory_order_acquire,
                                                  memory_order_relaxed))
            return;
        pl_relax();
    }
    while (atomic_exchange_explicit(&l->word, 2, memory_order_acquire) != 0)
        pl_futex_wait(&l->word, 2, PL_FOREVER);
}
