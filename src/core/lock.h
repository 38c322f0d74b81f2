// SPDX-License-Identifier: MIT
/*
 * lock.h - a mutex of 4 bytes for the library's own short critical sections, in which nobody waits.
 *
 * 0 free, 1 held, 2 held and perhaps somebody sleeps. Acquire at lock pairs with release at unlock.
 * The three-state algorithm is of Ulrich Drepper, "Futexes Are Tricky" (2011), mutex 2.
 */
#ifndef PL_CORE_LOCK_H
#define PL_CORE_LOCK_H

#include "os/futex.h"
#include <limits.h>
#include <stdatomic.h>
#include <stdint.h>

struct pl_lock {
    _Atomic uint32_t word;
};

void pl_lock_slow(struct pl_lock *l);

static inline void pl_lock(struct pl_lock *l)
{
    uint32_t free = 0;
    // Acquire: pairs with the release in pl_unlock().
    if (!atomic_compare_exchange_strong_explicit(&l->word, &free, 1, memory_order_acquire,
                                                 memory_order_relaxed))
        pl_lock_slow(l);
}

static inline void pl_unlock(struct pl_lock *l)
{
    // Release: pairs with the acquire in pl_lock() and pl_lock_slow().
    if (atomic_exchange_explicit(&l->word, 0, memory_order_release) == 2)
        pl_futex_wake(&l->word, 1);
}

#endif
