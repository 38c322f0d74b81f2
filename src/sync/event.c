// SPDX-License-Identifier: MIT
/*
 * event.c - set or not.
 *
 *   31                                     1     0
 *  +----------------------------------------+-----+
 *  | how many times it was set              | SET |
 *  +----------------------------------------+-----+
 *
 * Who waits goes on when it was set, even if it is no longer; and not when he is woken by a set
 * that was before the reset that he saw: the count tells the two apart.
 */
#include "core/park.h"
#include <errno.h>
#include <plait/sync.h>

#define SET       1u
#define ONCE_MORE 2u

void plait_event_set(plait_event *e)
{
    uint32_t old = __atomic_load_n(&e->private_, __ATOMIC_RELAXED), new;
    do
        new = old &SET ? old : (old + ONCE_MORE) | SET;
    /* Also when it is set: pairs with the acquire of whoever sees it set from now on. */
    while (!__atomic_compare_exchange_n(&e->private_, &old, new, false, __ATOMIC_SEQ_CST,
                                        __ATOMIC_RELAXED));
    if (new != old)
        pl_unpark(&e->private_, UINT32_MAX);
}

void plait_event_reset(plait_event *e)
{
    __atomic_fetch_and(&e->private_, ~SET, __ATOMIC_SEQ_CST);
}

bool plait_event_is_set(const plait_event *e)
{
    /* Acquire: pairs with the exchange in plait_event_set(). */
    return __atomic_load_n(&e->private_, __ATOMIC_ACQUIRE) & SET;
}

int plait_event_wait(plait_event *e, int64_t deadline)
{
    /* Acquire, both times: pairs with the exchange in plait_event_set(). */
    uint32_t before = __atomic_load_n(&e->private_, __ATOMIC_ACQUIRE);
    while (!(before & SET) && __atomic_load_n(&e->private_, __ATOMIC_ACQUIRE) == before) {
        int code = pl_park(&e->private_, before, deadline, NULL, PL_FOR_EVENT);
        if (code < 0 && code != -EAGAIN)
            return code;
    }
    return 0;
}
