// SPDX-License-Identifier: MIT
/*
 * ladder.c - ending tasks before their time: cancels, deadlines, timeouts, the executor's stop.
 *
 * DESIGN
 *   A task that has not started is taken back, and ends at once. One that runs is asked first: a
 *   flag in its slot, of which the worker's listener tells it, so that its plait calls fail and
 *   plait_cancelled() says why. What has not ended a while later gets SIGTERM, with all its process
 *   group, and after the grace SIGKILL. A worker without a handler dies of the SIGTERM; the future
 *   then ends with -ECANCELED or -ETIMEDOUT, not with -EOWNERDEAD, and the worker is replaced.
 *
 *   Where a worker runs several tasks at a time the others of a killed worker are lost with it.
 *   That is the price of `tasks_per_worker`, and why it is 1 by default.
 */
#include "proc/pool.h"

#include <signal.h>

#include "base/bug.h"
#include "os/clock.h"

// From the flag to SIGTERM: half of the grace, but not more than this.
#define TOLD_MOST_NS (250 * PL_MILLISECOND)
// A worker that has taken a task has not yet noted when it is due: look again.
#define AGAIN_NS PL_MILLISECOND

static void arm(struct pl_pool *p, struct pl_flight *fl, int64_t when)
{
    if (pl_heap_is_linked(&fl->timer))
        pl_heap_remove(&p->timers, &fl->timer);
    if (when == PL_FOREVER)
        return;
    fl->timer.key = when;
    pl_heap_push(&p->timers, &fl->timer);
    pl_pool_rouse(p, when);
}

void pl_flight_arm(struct pl_pool *p, struct pl_flight *fl)
{
    int64_t when = fl->future->cancel.deadline;
    if (PL_LIKELY(when == PLAIT_NEVER && fl->timeout_ns == 0))
        return;
    if (fl->timeout_ns > 0) {
        int64_t due = pl_clock_after(fl->timeout_ns); // the earliest: as if it started now
        when = due < when ? due : when;
    }
    arm(p, fl, when);
}

void pl_flight_ask(struct pl_pool *p, struct pl_flight *fl, enum plait_reason reason,
                   struct pl_after *after)
{
    struct pl_hand *h = fl->hand;
    struct pl_slot *s = &h->channel->slots[fl->slot];
    if (fl->ladder != PL_LADDER_NONE)
        return;
    pl_cancel_mark(&fl->future->cancel, reason); // unless who calls has done it
    bool loading = fl->state == PL_FLIGHT_LOADING;
    if (loading || pl_slot_take(s, PL_SLOT_REVOKED)) {
        plait_future *f = pl_flight_clear(p, fl);
        if (loading)
            pl_flight_free(h, fl);
        else
            pl_flight_revoked(fl);
        pl_hand_refresh(p, h);
        pl_pool_end(p, f, pl_reason_code(reason), reason, after);
        return;
    }
    fl->ladder = PL_LADDER_TOLD;
    fl->reason = (uint8_t)reason;
    // Sequentially consistent, and before the message: see begin() in serve.c.
    atomic_store(&s->cancel, (uint32_t)reason);
    struct pl_message m = { .kind = PL_MESSAGE_CANCEL, .slot = fl->slot };
    (void)pl_socket_send(h->socket, &m, sizeof m, NULL, 0); // who does not listen gets the signal
    int64_t told = p->ex.options.grace_ns / 2;
    arm(p, fl, pl_clock_after(told < TOLD_MOST_NS ? told : TOLD_MOST_NS));
}

// Its deadline may have passed. `now` is not before its timer's time.
static void check_deadline(struct pl_pool *p, struct pl_flight *fl, int64_t now,
                           struct pl_after *after)
{
    struct pl_slot *s = &fl->hand->channel->slots[fl->slot];
    int64_t deadline = fl->future->cancel.deadline, due = PL_FOREVER;
    if (fl->timeout_ns > 0 && deadline > now) {
        int64_t latest = pl_clock_after(fl->timeout_ns);
        if (fl->state == PL_FLIGHT_LOADING || pl_slot_state(s) == PL_SLOT_QUEUED) {
            due = latest; // it has not started
        } else {
            // Written by the worker, so not to be believed beyond what it can be.
            due = atomic_load_explicit(&s->due, memory_order_relaxed);
            if (due == 0)
                due = now + AGAIN_NS;
            else if (due > latest)
                due = latest;
        }
    }
    int64_t when = due < deadline ? due : deadline;
    if (when > now)
        arm(p, fl, when);
    else
        pl_flight_ask(p, fl, PLAIT_REASON_DEADLINE, after);
}

// SIGTERM, and after the grace SIGKILL. First the hand is emptied: nothing but this task, or what
// runs beside it, can be hit, however late the signal comes.
static void terminate(struct pl_pool *p, struct pl_flight *fl)
{
    struct pl_hand *h = fl->hand;
    if (h->state != PL_HAND_LIVE)
        return;
    pl_hand_take_back(p, h, PL_SLOTS, PL_ANY_PRIORITY);
    if (pl_slot_state(&h->channel->slots[fl->slot]) == PL_SLOT_DONE)
        return; // it has ended just now, and will be reaped
    fl->ladder = PL_LADDER_TERM;
    pl_hand_condemn(h, NULL, p->ex.options.grace_ns);
    pl_hand_signal(h, SIGTERM);
}

static void flight_due(struct pl_pool *p, struct pl_flight *fl, int64_t now, struct pl_after *after)
{
    switch ((enum pl_ladder)fl->ladder) {
    case PL_LADDER_NONE:
        check_deadline(p, fl, now, after);
        break;
    case PL_LADDER_TOLD:
        terminate(p, fl);
        break;
    case PL_LADDER_TERM:
        break; // the hand is dying
    }
}

void pl_pool_run_timers(struct pl_pool *p, int64_t now, struct pl_after *after)
{
    struct pl_heap_node *n;
    while ((n = pl_heap_min(&p->tickets)) && n->key <= now) {
        pl_heap_pop(&p->tickets);
        pl_ticket_due(p, PL_CONTAINER(n, struct pl_ticket, timer), after);
    }
    while ((n = pl_heap_min(&p->pauses)) && n->key <= now) {
        pl_heap_pop(&p->pauses);
        pl_pause_over(p, PL_CONTAINER(n, struct pl_ticket, timer), now, after);
    }
    while ((n = pl_heap_min(&p->timers)) && n->key <= now) {
        pl_heap_pop(&p->timers);
        flight_due(p, PL_CONTAINER(n, struct pl_flight, timer), now, after);
    }
}

void pl_pool_cancel(struct plait_executor *ex, plait_future *f)
{
    struct pl_pool *p = pl_pool_of(ex);
    enum plait_reason reason = pl_cancel_reason(&f->cancel);
    struct pl_after after;
    pl_after_init(&after);
    pl_lock(&p->lock);
    if (pl_pool_claim(f)) {
        // In the queue, which still links it by its job; or it pauses; or it is not yet submitted,
        // and then not counted.
        bool queued = f->notify.job.run == pl_pool_submitted;
        pl_future_ref(f); // for who finds it there
        atomic_store_explicit(&f->notify.phase, PL_PHASE_ENDED,
                              memory_order_relaxed); // under the lock
        f->code = pl_reason_code(reason);
        f->reason = (uint16_t)reason;
        after.cancelled = f;
        after.counted = queued || f->notify.job.run == pl_pool_pauses;
        if (queued)
            pl_pool_left_queue(p);
    } else if (atomic_load_explicit(&f->notify.phase, memory_order_relaxed) == PL_PHASE_RUNNING) {
        struct pl_flight *fl = PL_CONTAINER(f->notify.job.next, struct pl_flight, home);
        pl_flight_ask(p, fl, reason, &after);
    }
    pl_pool_unlock(p, &after);
}

void pl_pool_stop_all(struct pl_pool *p, struct pl_after *after)
{
    pl_pool_drop_queue(p, -ECANCELED, PLAIT_REASON_SHUTDOWN, after);
    for (unsigned i = 0; i < p->hand_count; i++) {
        struct pl_hand *h = &p->hands[i];
        for (unsigned slot = 0; h->inflight > 0 && slot < PL_SLOTS; slot++)
            if (h->flights[slot].future)
                pl_flight_ask(p, &h->flights[slot], PLAIT_REASON_SHUTDOWN, after);
    }
}
