// SPDX-License-Identifier: MIT
// show.c - what a dump says about the workers of an executor of processes. It is made on any thread
// and in signal handlers, without the pool's lock: a number may be one of a moment ago.
#include "core/look.h"
#include "proc/pool.h"

static const char *const states[] = {
    [PL_HAND_EMPTY] = "no process",
    [PL_HAND_FORKING] = "starts",
    [PL_HAND_LIVE] = "lives",
    [PL_HAND_DYING] = "dies",
};

PL_UNSANITIZED bool pl_pool_show(const struct plait_executor *ex, unsigned worker,
                                 struct pl_text *t)
{
    const struct pl_pool *p = (const struct pl_pool *)ex;
    if (worker >= p->hand_count)
        return false;
    const struct pl_hand *h = &p->hands[worker];
    enum pl_hand_state state = h->state;
    pl_put(t, "  worker ");
    pl_put_number(t, worker, 10);
    pl_put(t, ": ");
    pl_put(t, states[state]);
    if (state == PL_HAND_LIVE || state == PL_HAND_DYING) {
        pl_put(t, ", process ");
        pl_put_number(t, (uint64_t)h->pid, 10);
        pl_put(t, ", tasks at it: ");
        pl_put_number(t, h->inflight, 10);
        pl_put(t, ", ended in it: ");
        pl_put_number(t, h->served, 10);
    }
    pl_put(t, "\n");
    return true;
}
