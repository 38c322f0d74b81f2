// SPDX-License-Identifier: MIT
// semaphore.c - units that are free, in one word; who finds none waits for the word to leave 0.
#include "base/bug.h"
#include "core/park.h"
#include <errno.h>
#include <plait/sync.h>

void plait_semaphore_init(plait_semaphore *s, uint32_t units)
{
    if (units > INT32_MAX)
        PL_BUG("a semaphore has at most INT32_MAX units");
    __atomic_store_n(&s->private_, units, __ATOMIC_RELEASE);
}

int plait_semaphore_try(plait_semaphore *s)
{
    uint32_t units = __atomic_load_n(&s->private_, __ATOMIC_RELAXED);
    while (units > 0)
        /* Acquire: pairs with the release in plait_semaphore_release(). */
        if (__atomic_compare_exchange_n(&s->private_, &units, units - 1, true, __ATOMIC_ACQUIRE,
                                        __ATOMIC_RELAXED))
            return 0;
    return -EBUSY;
}

int plait_semaphore_acquire(plait_semaphore *s)
{
    while (plait_semaphore_try(s) < 0) {
        int e = pl_park(&s->private_, 0, PLAIT_NEVER, NULL, PL_FOR_SEMAPHORE);
        if (e < 0 && e != -EAGAIN) {
            /* It may have been woken for a unit that it does not take. */
            if (__atomic_load_n(&s->private_, __ATOMIC_SEQ_CST) > 0)
                pl_unpark(&s->private_, 1);
            return e;
        }
    }
    return 0;
}

void plait_semaphore_release(plait_semaphore *s, uint32_t units)
{
    uint32_t old = __atomic_fetch_add(&s->private_, units, __ATOMIC_SEQ_CST);
    if (units > INT32_MAX || old > INT32_MAX - units)
        PL_BUG("a semaphore has at most INT32_MAX units");
    pl_unpark(&s->private_, units);
}
