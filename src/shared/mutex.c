// SPDX-License-Identifier: MIT
/*
 * mutex.c - mutual exclusion between processes that may die, and conditions.
 *
 * DESIGN
 *   The word names who holds it:
 *
 *        31                                  2     1         0
 *       +------------------------------------+-----------+---------+
 *       | tag of the owner that holds it     | UNSETTLED | WAITERS |
 *       +------------------------------------+-----------+---------+
 *
 *   0 is free. UNSETTLED: the holder got it from a dead one and has not yet said that what it
 *   guards is consistent. UNSETTLED without a tag: given up for ever, by a holder that never did.
 *   WAITERS: who unlocks must wake.
 *
 *   Every change is one swap, so at each instruction the word says truly who holds it. A holder is
 *   dead when the table of owners no longer has its tag (arena.h); who finds that takes the lock
 *   over by the same kind of swap as a free one. Nobody has to keep a list of what it holds.
 *
 *   One that was woken sets WAITERS when it takes the lock, since others may wait still.
 */
#include <errno.h>

#include "base/bug.h"
#include "base/relax.h"
#include "core/strand.h"
#include "shared/arena.h"
#include "shared/robust.h"
#include <plait/base.h>

#define WAITERS   1u
#define UNSETTLED 2u
#define FLAGS     (WAITERS | UNSETTLED)

#ifndef PL_SHARED_SPINS // a model has fewer
#define PL_SHARED_SPINS 100
#endif

static bool swap(uint32_t *word, uint32_t from, uint32_t to)
{
    return __atomic_compare_exchange_n(word, &from, to, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

// One attempt. 0, -EOWNERDEAD: taken; -ENOTRECOVERABLE; -EBUSY: *seen is the word of who has it.
static int try_take(uint32_t *word, uint32_t waiters, uint32_t *seen)
{
    for (;;) {
        uint32_t w = __atomic_load_n(word, __ATOMIC_SEQ_CST);
        *seen = w;
        if (w == UNSETTLED)
            return -ENOTRECOVERABLE;
        if (w == 0 && swap(word, 0, pl_arena.me | waiters))
            return 0;
        if (w == 0)
            continue;
        if (pl_tag_lives(w))
            return -EBUSY;
        if (swap(word, w, pl_arena.me | UNSETTLED | (w & WAITERS) | waiters))
            return -EOWNERDEAD;
    }
}

static int lock(uint32_t *word, bool interruptible)
{
    int e = pl_arena_open();
    uint32_t seen, waiters = 0;
    if (e < 0)
        return e;
    for (int spins = 0;;) {
        uint32_t deaths = pl_shared_deaths(); // before the look whether the holder lives
        e = try_take(word, waiters, &seen);
        if (e != -EBUSY)
            return e;
        if (!(seen & WAITERS) && spins++ < PL_SHARED_SPINS) {
            pl_relax();
            continue;
        }
        if (!(seen & WAITERS) && !swap(word, seen, seen | WAITERS))
            continue;
        waiters = WAITERS;
        if (!interruptible)
            pl_shared_await_uninterrupted(word, seen | WAITERS, deaths);
        else if ((e = pl_shared_await(word, seen | WAITERS, deaths, PLAIT_NEVER)) < 0)
            return e;
    }
}

int plait_shared_mutex_lock(plait_shared_mutex *m)
{
    pl_strand_point();
    return lock(&m->private_, true);
}

int pl_shared_lock_again(plait_shared_mutex *m)
{
    return lock(&m->private_, false);
}

int plait_shared_mutex_trylock(plait_shared_mutex *m)
{
    uint32_t seen;
    int e = pl_arena_open();
    return e < 0 ? e : try_take(&m->private_, 0, &seen);
}

static uint32_t held_word(const plait_shared_mutex *m)
{
    uint32_t w = __atomic_load_n(&m->private_, __ATOMIC_SEQ_CST);
    if ((w & ~FLAGS) != pl_arena.me || pl_arena.me == 0)
        PL_BUG("the shared mutex is not locked by this process");
    return w;
}

static void give_back(plait_shared_mutex *m, uint32_t to)
{
    uint32_t old = __atomic_exchange_n(&m->private_, to, __ATOMIC_SEQ_CST);
    if (old & WAITERS)
        pl_shared_wake(&m->private_, to ? PL_WAKE_ALL : PL_WAKE_ONE);
}

void plait_shared_mutex_unlock(plait_shared_mutex *m)
{
    give_back(m, held_word(m) & UNSETTLED);
}

void pl_shared_unlock(plait_shared_mutex *m)
{
    give_back(m, 0);
}

void pl_shared_settle(plait_shared_mutex *m)
{
    __atomic_fetch_and(&m->private_, ~UNSETTLED, __ATOMIC_SEQ_CST);
}

int plait_shared_mutex_consistent(plait_shared_mutex *m)
{
    if (!(held_word(m) & UNSETTLED))
        return -EINVAL;
    __atomic_fetch_and(&m->private_, ~UNSETTLED, __ATOMIC_SEQ_CST);
    return 0;
}

// ---- conditions: a counter of signals, so that one between unlocking and waiting is seen

int plait_shared_cond_wait(plait_shared_cond *c, plait_shared_mutex *m, int64_t deadline)
{
    uint32_t deaths = pl_shared_deaths();
    uint32_t signals = __atomic_load_n(&c->private_, __ATOMIC_SEQ_CST);
    plait_shared_mutex_unlock(m);
    int e = pl_shared_await(&c->private_, signals, deaths, deadline);
    int locked = pl_shared_lock_again(m); // whatever became of the caller's scope
    return locked < 0 ? locked : e;
}

void plait_shared_cond_signal(plait_shared_cond *c)
{
    __atomic_fetch_add(&c->private_, 1, __ATOMIC_SEQ_CST);
    pl_shared_wake(&c->private_, PL_WAKE_ONE);
}

void plait_shared_cond_broadcast(plait_shared_cond *c)
{
    __atomic_fetch_add(&c->private_, 1, __ATOMIC_SEQ_CST);
    pl_shared_wake(&c->private_, PL_WAKE_ALL);
}
