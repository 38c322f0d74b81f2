// SPDX-License-Identifier: MIT
/*
 * mutex.c - mutual exclusion in one word.
 *
 *       31                      2    1        0
 *      +------------------------+--------+--------+
 *      | 0                      | PARKED | LOCKED |
 *      +------------------------+--------+--------+
 *
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
#define PATIENCE_NS PLAIT_MILLISECOND

static bool take(uint32_t *word, uint32_t old)
{
    return __atomic_compare_exchange_n(word, &old, old | LOCKED, false, __ATOMIC_ACQUIRE,
                                       __ATOMIC_RELAXED);
}

static PL_NOINLINE int lock_slow(uint32_t *word, bool interruptible)
{
    struct pl_patience patience = { 0 };
    for (int spins = 0;;) {
        uint32_t old = __atomic_load_n(word, __ATOMIC_RELAXED);
        if (!(old & LOCKED)) {
            if (take(word, old))
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
        int e = interruptible ? pl_park(word, LOCKED | PARKED, PLAIT_NEVER, &patience)
                              : pl_park_uninterrupted(word, LOCKED | PARKED, &patience);
        if (e == 0 && patience.token == HANDED_OVER)
            return 0;
        if (e < 0 && e != -EAGAIN)
            return e;
    }
}

int plait_mutex_lock(plait_mutex *m)
{
    return PL_LIKELY(take(&m->private_, 0)) ? 0 : lock_slow(&m->private_, true);
}

void pl_mutex_lock_again(plait_mutex *m)
{
    if (!take(&m->private_, 0))
        lock_slow(&m->private_, false);
}

int plait_mutex_trylock(plait_mutex *m)
{
    uint32_t old = __atomic_load_n(&m->private_, __ATOMIC_RELAXED);
    return !(old & LOCKED) && take(&m->private_, old) ? 0 : -EBUSY;
}

static uint32_t pass_on(uint32_t *word, bool found, bool more, int64_t since)
{
    bool hand_over = found && pl_now() - since > PATIENCE_NS;
    /* Release: pairs with the acquire of who takes the lock next. */
    __atomic_store_n(word, (hand_over ? LOCKED : 0) | (more ? PARKED : 0), __ATOMIC_RELEASE);
    return hand_over ? HANDED_OVER : 0;
}

void plait_mutex_unlock(plait_mutex *m)
{
    uint32_t locked = LOCKED;
    /* Release: pairs with the acquire of who takes the lock next. */
    if (PL_LIKELY(__atomic_compare_exchange_n(&m->private_, &locked, 0, false, __ATOMIC_RELEASE,
                                              __ATOMIC_RELAXED)))
        return;
    if (!(locked & LOCKED))
        PL_BUG("the mutex is not locked");
    pl_unpark_one(&m->private_, pass_on);
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
