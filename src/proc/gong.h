// SPDX-License-Identifier: MIT
/*
 * gong.h - how workers wake a thread that waits for several of them.
 *
 * DESIGN
 *   The leader (pool.h) sleeps on one word, a futex in memory that all workers of an executor
 *   share: the only thing that they share with each other. Who strikes changes the word first. The
 *   leader reads it, then promises to sleep (ring.h), then looks at the rings: a strike that comes
 *   after the look changes what it read, and it does not sleep.
 *
 *   The word says nothing, so a worker that writes there can only wake the leader for nothing, or,
 *   with luck, hide one strike of another. The leader never sleeps for longer than PL_GONG_NAP_NS,
 *   whatever happens to a word that workers can reach; and the audit looks more often than that.
 */
#ifndef PL_PROC_GONG_H
#define PL_PROC_GONG_H

#include "os/clock.h"
#include "os/futex.h"
#include <limits.h>

#define PL_GONG_NAP_NS PL_SECOND

struct pl_gong {
    _Atomic uint32_t strikes;
};

// Pairs with the futex's own comparison in pl_gong_await(), which is made as the sleep begins.
static inline void pl_gong_strike(struct pl_gong *g)
{
    atomic_fetch_add(&g->strikes, 1);
    pl_futex_wake_shared(&g->strikes,
                         INT_MAX); // whoever else waits there: the leader is among them
}

// When a leader that is to wait until the deadline looks again.
static inline int64_t pl_gong_nap(int64_t deadline)
{
    int64_t nap = pl_clock_after(PL_GONG_NAP_NS);
    return nap < deadline ? nap : deadline;
}

// Sleeps until it is struck, if it has not been since `strikes` was read; or for a nap.
static inline void pl_gong_await(struct pl_gong *g, uint32_t strikes, int64_t deadline)
{
    (void)pl_futex_wait_shared(&g->strikes, strikes,
                               pl_gong_nap(deadline)); // why it ends is all one
}

#endif
