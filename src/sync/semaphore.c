// SPDX-License-Identifier: MIT
// semaphore.c - units that are free, in one word; who finds none waits for the word to leave 0. A
// free unit may be taken by anybody, also past those who wait; one who has waited for long is
// handed his, which then never shows in the word.
#include "base/bug.h"
#include "core/park.h"
#include "os/clock.h"
#include <errno.h>
#include <plait/sync.h>

#define HANDED_OVER 1u

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
    struct pl_patience patience = { 0 };
    while (plait_semaphore_try(s) < 0) {
        int e = pl_park(&s->private_, 0, PLAIT_NEVER, &patience, PL_FOR_SEMAPHORE);
        if (e == 0 && patience.token == HANDED_OVER)
            return 0;
        if (e < 0 && e != -EAGAIN) {
            /* It may have been woken for a unit that it does not take. */
            if (__atomic_load_n(&s->private_, __ATOMIC_SEQ_CST) > 0)
                pl_unpark(&s->private_, 1);
            return e;
        }
    }
    return 0;
}

static void add(uint32_t *word, uint32_t units)
{
    uint32_t old = __atomic_fetch_add(word, units, __ATOMIC_SEQ_CST);
    if (units > INT32_MAX || old > INT32_MAX - units)
        PL_BUG("a semaphore has at most INT32_MAX units");
}

static uint32_t give(uint32_t *word, bool found, bool more, int64_t since)
{
    (void)more;
    if (found && pl_now() - since > PL_PATIENCE_NS)
        return HANDED_OVER;
    add(word, 1);
    return 0;
}

void plait_semaphore_release(plait_semaphore *s, uint32_t units)
{
    for (bool found = true; found && units > 0; units--)
        found = pl_unpark_one(&s->private_, give);
    if (units == 0)
        return;
    add(&s->private_, units);
    pl_unpark(&s->private_, units);
}
