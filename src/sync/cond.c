// SPDX-License-Identifier: MIT
// cond.c - a condition: a counter of signals, so that one that comes between unlocking and waiting
// is seen.
#include "core/park.h"
#include "sync/mutex.h"
#include <errno.h>

int plait_cond_wait(plait_cond *c, plait_mutex *m, int64_t deadline)
{
    uint32_t signals = __atomic_load_n(&c->private_, __ATOMIC_RELAXED);
    plait_mutex_unlock(m);
    int e = pl_park(&c->private_, signals, deadline, NULL, PL_FOR_COND);
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
