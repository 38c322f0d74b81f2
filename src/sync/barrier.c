// SPDX-License-Identifier: MIT
/*
 * barrier.c - a round ends when all parties have arrived; who waits for it waits for the round to
 * change.
 *
 *   state      31            20 19                          0
 *            +----------------+-----------------------------+
 *            | round          | parties that have arrived   |
 *            +----------------+-----------------------------+
 *
 * One word, so that the last to arrive, and one who leaves, change the round that they mean. A wake
 * may come late, when its round is long over: so who is woken looks whether his is. Acquire-release
 * of each arrival pairs with the acquire of seeing the new round.
 */
#include "base/bug.h"
#include "core/park.h"
#include <errno.h>
#include <plait/sync.h>

#define ROUND   0x100000u
#define ARRIVED 0xfffffu

void plait_barrier_init(plait_barrier *b, uint32_t parties)
{
    if (parties == 0 || parties > ARRIVED)
        PL_BUG("a barrier has between 1 and 1,048,575 parties");
    *b = (plait_barrier){ .private_parties = parties };
}

static uint32_t look(const plait_barrier *b)
{
    /* Acquire: pairs with the release of the swap. */
    return __atomic_load_n(&b->private_state, __ATOMIC_ACQUIRE);
}

static bool swap(plait_barrier *b, uint32_t old, uint32_t new)
{
    /* Acquire-release: pairs with itself and with look(), among those who meet. */
    return __atomic_compare_exchange_n(&b->private_state, &old, new, false, __ATOMIC_ACQ_REL,
                                       __ATOMIC_RELAXED);
}

int plait_barrier_wait(plait_barrier *b)
{
    uint32_t state, round;
    bool last;
    do {
        state = look(b);
        round = state & ~ARRIVED;
        last = (state & ARRIVED) + 1 == b->private_parties;
    } while (!swap(b, state, last ? round + ROUND : state + 1));
    if (last) {
        pl_unpark(&b->private_state, UINT32_MAX);
        return 1;
    }
    while ((state = look(b)) - round <= ARRIVED) {
        int e = pl_park(&b->private_state, state, PLAIT_NEVER, NULL, PL_FOR_BARRIER);
        if (e == 0 || e == -EAGAIN)
            continue;
        /* Leaves, unless the last one has come. */
        while ((state = look(b)) - round <= ARRIVED)
            if (swap(b, state, state - 1))
                return e;
    }
    return 0;
}
