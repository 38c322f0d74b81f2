// SPDX-License-Identifier: MIT
// event.c - set or not.
#include "core/park.h"
#include <errno.h>
#include <plait/sync.h>

void plait_event_set(plait_event *e)
{
    if (__atomic_exchange_n(&e->private_, 1, __ATOMIC_SEQ_CST) == 0)
        pl_unpark(&e->private_, UINT32_MAX);
}

void plait_event_reset(plait_event *e)
{
    __atomic_store_n(&e->private_, 0, __ATOMIC_SEQ_CST);
}

bool plait_event_is_set(const plait_event *e)
{
    /* Acquire: pairs with the exchange in plait_event_set(). */
    return __atomic_load_n(&e->private_, __ATOMIC_ACQUIRE) != 0;
}

int plait_event_wait(plait_event *e, int64_t deadline)
{
    if (plait_event_is_set(e))
        return 0;
    int code = pl_park(&e->private_, 0, deadline,
                       NULL); /* once woken it was set, even if it is no longer */
    return code == -EAGAIN ? 0 : code;
}
