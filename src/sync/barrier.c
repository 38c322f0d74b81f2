// SPDX-License-Identifier: MIT
// barrier.c - a round ends when all parties have arrived; who waits for it waits for the round to
// change.
#include "base/bug.h"
#include "core/park.h"
#include <errno.h>
#include <plait/sync.h>

void plait_barrier_init(plait_barrier *b, uint32_t parties)
{
    if (parties == 0)
        PL_BUG("a barrier has at least one party");
    *b = (plait_barrier){ .private_parties = parties };
}

int plait_barrier_wait(plait_barrier *b)
{
    /* Acquire: pairs with the addition that ends a round, before which `arrived` was reset. */
    uint32_t round = __atomic_load_n(&b->private_round, __ATOMIC_ACQUIRE);
    if (__atomic_add_fetch(&b->private_arrived, 1, __ATOMIC_ACQ_REL) == b->private_parties) {
        __atomic_store_n(&b->private_arrived, 0,
                         __ATOMIC_RELAXED); /* before the next round can begin */
        __atomic_fetch_add(&b->private_round, 1, __ATOMIC_SEQ_CST);
        pl_unpark(&b->private_round, UINT32_MAX);
        return 1;
    }
    for (;;) {
        int e = pl_park(&b->private_round, round, PLAIT_NEVER, NULL);
        if (e == 0 || e == -EAGAIN)
            return 0;
        /* Leaves, unless the last one has come: then the round is over, or about to be. */
        uint32_t arrived = __atomic_load_n(&b->private_arrived, __ATOMIC_ACQUIRE);
        if (__atomic_load_n(&b->private_round, __ATOMIC_ACQUIRE) != round)
            return 0;
        if (arrived > 0 && arrived < b->private_parties &&
            __atomic_compare_exchange_n(&b->private_arrived, &arrived, arrived - 1, false,
                                        __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
            return e;
    }
}
