// SPDX-License-Identifier: MIT
// once.c - 0 nobody has run it, 1 somebody runs it, 2 it has succeeded.
#include "core/park.h"
#include <errno.h>
#include <plait/sync.h>

enum { FRESH = 0, RUNNING = 1, DONE = 2 };

int plait_once_run(plait_once *o, int (*fn)(void *arg), void *arg)
{
    for (;;) {
        uint32_t state = FRESH;
        /* Acquire: pairs with the release of DONE. */
        if (__atomic_compare_exchange_n(&o->private_, &state, RUNNING, false, __ATOMIC_ACQUIRE,
                                        __ATOMIC_ACQUIRE)) {
            int e = fn(arg);
            __atomic_store_n(&o->private_, e < 0 ? FRESH : DONE, __ATOMIC_SEQ_CST);
            pl_unpark(&o->private_, UINT32_MAX);
            return e < 0 ? e : 0;
        }
        if (state == DONE)
            return 0;
        int e = pl_park(&o->private_, RUNNING, PLAIT_NEVER, NULL, PL_FOR_ONCE);
        if (e < 0 && e != -EAGAIN)
            return e;
    }
}
