// SPDX-License-Identifier: MIT
/*
 * retry.c - running the tasks of dead workers again, where their submit said that this is harmless.
 *
 * DESIGN
 *   A task that was lost goes back to the phase QUEUED, but pauses before it is queued: what killed
 *   its worker may be over in a moment (memory was short), and what kills every worker should not
 *   keep all of them busy dying. Meanwhile its ticket lies in a heap of its own, and is all that
 *   the pool knows of it; the heap's key is the end of the pause, or the task's deadline if that
 *   comes first. Cancelled meanwhile, the future ends at once, and the ticket keeps a reference
 *   until its time has come, as a cancelled entry of the queue does.
 */
#include "proc/pool.h"

#include "base/bug.h"
#include "os/alloc.h"
#include "os/clock.h"

#define PAUSE_MOST_NS (60 * PL_SECOND)

// The pause after the given number of losses.
static int64_t pause_ns(const struct pl_asked *a, uint32_t lost)
{
    int64_t ns = a->retry_ns;
    for (uint32_t i = 1; i < lost && ns < PAUSE_MOST_NS; i++)
        ns *= 2;
    return ns < PAUSE_MOST_NS ? ns : PAUSE_MOST_NS;
}

bool pl_pool_retry(struct pl_pool *p, struct pl_flight *fl)
{
    const struct pl_future_extra *x = fl->future->extra;
    if (!x || x->lost > x->asked.retries || p->broken)
        return false;
    struct pl_ticket *t = fl->ticket ? fl->ticket : pl_zalloc(sizeof *t);
    if (!t)
        return false; // it ends with the record of its death
    fl->ticket = NULL;
    plait_future *f = pl_flight_clear(p, fl);
    atomic_store(&f->notify.phase, PL_PHASE_QUEUED); // under the lock
    f->notify.job.run = pl_pool_pauses;
    t->future = f;
    t->pause_ends = pl_clock_after(pause_ns(&x->asked, x->lost));
    t->timer.key = t->pause_ends < f->cancel.deadline ? t->pause_ends : f->cancel.deadline;
    pl_heap_push(&p->pauses, &t->timer);
    pl_pool_rouse(p, t->timer.key);
    return true;
}

// Claims the future of a ticket that has left the heap; NULL: it was cancelled meanwhile.
static plait_future *claim(struct pl_ticket *t)
{
    plait_future *f = t->future;
    if (pl_pool_claim(f))
        return f;
    pl_free_mem(t);
    pl_future_unref(f);
    return NULL;
}

static void end(struct pl_pool *p, struct pl_ticket *t, int code, enum plait_reason reason,
                struct pl_after *after)
{
    plait_future *f = claim(t);
    if (!f)
        return;
    pl_free_mem(t);
    pl_cancel_mark(&f->cancel, reason);
    pl_pool_end(p, f, code, reason, after);
}

void pl_pause_over(struct pl_pool *p, struct pl_ticket *t, int64_t now, struct pl_after *after)
{
    plait_future *f = t->future;
    if (now < t->pause_ends) {
        end(p, t, -ETIMEDOUT, PLAIT_REASON_DEADLINE, after);
        return;
    }
    if (!claim(t))
        return;
    atomic_store(&f->notify.phase, PL_PHASE_QUEUED); // under the lock
    f->notify.job.run = pl_pool_submitted;
    t->pause_ends = 0;
    t->timer.key = f->cancel.deadline;
    if (f->cancel.deadline == PLAIT_NEVER) {
        pl_free_mem(t);
        t = NULL;
    }
    // It was submitted before all that wait.
    pl_pool_put_first(p, f, t);
}

void pl_pool_drop_pauses(struct pl_pool *p, int code, enum plait_reason reason,
                         struct pl_after *after)
{
    struct pl_heap_node *n;
    while ((n = pl_heap_pop(&p->pauses)))
        end(p, PL_CONTAINER(n, struct pl_ticket, timer), code, reason, after);
}
