// SPDX-License-Identifier: MIT
/*
 * mutex.c - mutual exclusion in one word.
 *
 *       31                      2    1        0
 *      +------------------------+--------+--------+
 *      | who holds it           | PARKED | LOCKED |
 *      +------------------------+--------+--------+
 *
 * Who holds it: the id of a strand (core/strand.h), for people who look (plait_dump()); nothing
 * else reads it. 0 while it is handed over. It costs a few instructions a lock and unlock, and not
 * another word.
 * LOCKED: held. PARKED: somebody waits, so who unlocks must look. A free mutex may be taken by
 * anybody, also past those who wait, which is what makes it fast; one who has waited for a
 * millisecond, over all the times that it was woken and came too late, is handed it. Acquire of
 * taking LOCKED pairs with the release of clearing it. The algorithm is that of WebKit's WTF::Lock
 * (Filip Pizlo, "Locking in WebKit", 2016) with its hand-over made by age.
 */
#include "base/bug.h"
#include "base/relax.h"
#include "core/park.h"
#include "core/strand.h"
#include "os/clock.h"
#include "sync/mutex.h"

#define LOCKED      1u
#define PARKED      2u
#define HANDED_OVER 1u

static inline bool take(uint32_t *word, uint32_t old, uint32_t new)
{
    /* Acquire: pairs with the release of who gave it back. */
    return __atomic_compare_exchange_n(word, &old, new, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

/* A free mutex that nobody waits for. */
static inline bool take_free(plait_mutex *m)
{
    uint32_t me = pl_lock_word;
    return PL_LIKELY(me != 0) && take(&m->private_, 0, me);
}

static PL_NOINLINE int lock_slow(uint32_t *word, bool interruptible)
{
    struct pl_patience patience = { 0 };
    const uint32_t me = pl_lock_word_slow();
    for (int spins = 0;;) {
        uint32_t old = __atomic_load_n(word, __ATOMIC_RELAXED);
        if (!(old & LOCKED)) {
            if (take(word, old, old | me))
                return 0;
            continue;
        }
        if (!(old & PARKED) && spins < 40) {
            spins++;
            pl_relax();
            continue;
        }
        if (!(old & PARKED) && !__atomic_compare_exchange_n(word, &old, old | PARKED, false,
                                                            __ATOMIC_RELAXED, __ATOMIC_RELAXED))
            continue;
        int e = interruptible ? pl_park(word, old | PARKED, PLAIT_NEVER, &patience, PL_FOR_MUTEX)
                              : pl_park_uninterrupted(word, old | PARKED, &patience, PL_FOR_MUTEX);
        if (e == 0 && patience.token == HANDED_OVER) {
            __atomic_fetch_or(word, me, __ATOMIC_RELAXED); /* it is the caller's already */
            return 0;
        }
        if (e < 0 && e != -EAGAIN)
            return e;
    }
}

int plait_mutex_lock(plait_mutex *m)
{
    return PL_LIKELY(take_free(m)) ? 0 : lock_slow(&m->private_, true);
}

void pl_mutex_lock_again(plait_mutex *m)
{
    if (!take_free(m))
        lock_slow(&m->private_, false);
}

int plait_mutex_trylock(plait_mutex *m)
{
    uint32_t old = __atomic_load_n(&m->private_, __ATOMIC_RELAXED);
    return !(old & LOCKED) && take(&m->private_, old, old | pl_lock_word_slow()) ? 0 : -EBUSY;
}

static uint32_t pass_on(uint32_t *word, bool found, bool more, int64_t since)
{
    bool hand_over = found && pl_now() - since > PL_PATIENCE_NS;
    /* Release: pairs with the acquire of who takes the lock next. */
    __atomic_store_n(word, (hand_over ? LOCKED : 0) | (more ? PARKED : 0), __ATOMIC_RELEASE);
    return hand_over ? HANDED_OVER : 0;
}

static PL_NOINLINE void unlock_slow(uint32_t *word)
{
    uint32_t held = __atomic_load_n(word, __ATOMIC_RELAXED);
    if (!(held & LOCKED))
        PL_BUG("the mutex is not locked");
    /* Held by another strand, which has left it to the caller, or handed over a moment ago.
     * Release: as below. */
    while (!(held & PARKED))
        if (__atomic_compare_exchange_n(word, &held, 0, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
            return;
    pl_unpark_one(word, pass_on);
}

void plait_mutex_unlock(plait_mutex *m)
{
    uint32_t held = pl_lock_word | LOCKED; /* by the caller, and nobody waits: what it mostly is */
    /* Release: pairs with the acquire of who takes the lock next. */
    if (PL_UNLIKELY(!__atomic_compare_exchange_n(&m->private_, &held, 0, false, __ATOMIC_RELEASE,
                                                 __ATOMIC_RELAXED)))
        unlock_slow(&m->private_);
}

int plait_recursive_mutex_lock(plait_recursive_mutex *m)
{
    struct pl_strand *me = pl_strand_current();
    /* Relaxed: only this strand can have stored its own address. */
    if (__atomic_load_n(&m->private_owner, __ATOMIC_RELAXED) != me) {
        int e = plait_mutex_lock(&m->private_mutex);
        if (e < 0)
            return e;
        __atomic_store_n(&m->private_owner, me, __ATOMIC_RELAXED);
    }
    m->private_depth++;
    return 0;
}

void plait_recursive_mutex_unlock(plait_recursive_mutex *m)
{
    if (__atomic_load_n(&m->private_owner, __ATOMIC_RELAXED) != pl_strand_current())
        PL_BUG("the recursive mutex is not locked by the caller");
    if (--m->private_depth > 0)
        return;
    __atomic_store_n(&m->private_owner, NULL, __ATOMIC_RELAXED);
    plait_mutex_unlock(&m->private_mutex);
}
