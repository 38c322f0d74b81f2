// SPDX-License-Identifier: MIT
/*
 * cond.c - a condition: a queue of those who wait, and a counter of signals.
 *
 * DESIGN
 *   Who waits joins the queue while it holds the mutex, and gives the mutex back from there: a
 *   signal that is given under the mutex wakes the one who has waited for longest, and nobody who
 *   comes later can take what it was for without having been woken. The counter is for signals that
 *   are given without the mutex: one between the look at it and the joining is seen.
 */
#include "core/park.h"
#include "sync/mutex.h"
#include <errno.h>
#include <stdbool.h>

struct giving {
    struct pl_then then; /* first */
    plait_mutex *mutex;
    bool given;
};

static void give(struct pl_then *then)
{
    struct giving *g = (struct giving *)then;
    g->given = true;
    plait_mutex_unlock(g->mutex);
}

int plait_cond_wait(plait_cond *c, plait_mutex *m, int64_t deadline)
{
    struct giving g = { .then.run = give, .mutex = m };
    uint32_t signals = __atomic_load_n(&c->private_, __ATOMIC_RELAXED);
    int e = pl_park_then(&c->private_, signals, deadline, &g.then, PL_FOR_COND);
    if (!g.given) /* nor does it wait; but whoever changes what is waited for gets his turn */
        plait_mutex_unlock(m);
    pl_mutex_lock_again(m); /* whatever became of the caller's scope */
    return e == -EAGAIN ? 0 : e;
}

void plait_cond_signal(plait_cond *c)
{
    __atomic_fetch_add(&c->private_, 1, __ATOMIC_SEQ_CST);
    pl_unpark(&c->private_, 1);
}

void plait_cond_broadcast(plait_cond *c)
{
    __atomic_fetch_add(&c->private_, 1, __ATOMIC_SEQ_CST);
    pl_unpark(&c->private_, UINT32_MAX);
}
