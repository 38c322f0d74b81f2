// SPDX-License-Identifier: MIT
// strand.c - waiting and being interrupted, on fibers and on plain threads.
#include "core/look.h"
#include "core/park.h"
#include "core/strand.h"
#include "base/bug.h"
#include "base/relax.h"
#include "core/notify.h"
#include "core/sched.h"
#include "core/scope.h"
#include "core/worker.h"
#include "os/clock.h"
#include "os/futex.h"
#include "os/ipc.h"
#include "os/thread.h"

/* Ids that a worker takes at once. */
#define BLOCK 64

struct timer {
    struct pl_heap_node node;
    struct pl_wait *wait;
    enum pl_wait_state why;
};

_Thread_local uint32_t pl_lock_word;

static uint32_t lock_word(uint32_t id)
{
    return id << PL_OWNER_SHIFT | 1;
}

uint32_t pl_strand_id(struct pl_strand *s)
{
    /* Fibers got theirs when they were made. */
    if (s->lock_word == 0)
        s->lock_word = lock_word(PL_ID_PLAIN | ((uint32_t)pl_thread_id() & (PL_ID_PLAIN - 1)));
    return s->lock_word >> PL_OWNER_SHIFT;
}

PL_NOINLINE uint32_t pl_lock_word_slow(void)
{
    struct pl_strand *s = pl_strand_current();
    (void)pl_strand_id(s);
    return pl_lock_word = s->lock_word;
}

uint32_t pl_fiber_lock_word(struct pl_worker *w)
{
    static _Atomic uint32_t next = BLOCK;
    /* Relaxed: a number, which publishes nothing. In blocks, so that workers share no line. */
    if (w->next_id % BLOCK == 0)
        w->next_id = atomic_fetch_add_explicit(&next, BLOCK, memory_order_relaxed);
    return lock_word(w->next_id++ & (PL_ID_PLAIN - 1));
}

PL_NOINLINE struct pl_strand *pl_strand_current(void)
{
    static _Thread_local struct pl_strand plain;
    struct pl_worker *w = pl_this_worker;
    return w && w->current ? &w->current->strand : &plain;
}

/* A plain thread's strand is looked at by other threads only while it is in a scope. */
void pl_strand_lock(struct pl_strand *s)
{
    /* Acquire: pairs with the release in pl_strand_unlock(). */
    while (atomic_exchange_explicit(&s->lock, 1, memory_order_acquire) != 0)
        pl_relax();
}

void pl_strand_unlock(struct pl_strand *s)
{
    /* Release: pairs with the acquire in pl_strand_lock(). */
    atomic_store_explicit(&s->lock, 0, memory_order_release);
}

bool pl_wait_fire(struct pl_wait *w, enum pl_wait_state why)
{
    /* The frame of w may go as soon as the swap is done, and of a plain thread the strand too: read
     * first what is needed after it. */
    struct pl_strand *s = w->strand;
    struct pl_worker *worker = s->worker;
    int bell = w->bell;
    uint32_t armed = PL_WAIT_ARMED;
    /* Release: what the firer did is visible to the waiter, which loads with acquire. */
    if (!atomic_compare_exchange_strong_explicit(&w->state, &armed, why, memory_order_acq_rel,
                                                 memory_order_relaxed)) {
        if (armed != PL_WAIT_ASLEEP || !atomic_compare_exchange_strong(&w->state, &armed, why))
            return false;
        atomic_fetch_sub(&pl_asleep, 1); /* here, not by who wakes up: see stuck.c */
    }
    if (!worker && bell >= 0)
        (void)pl_bell_ring(bell);
    else if (!worker)
        pl_futex_wake(&w->state, 1);
    else if (worker == pl_worker_current())
        pl_worker_ready(worker, pl_fiber_of(s));
    else
        pl_worker_send(worker, &pl_fiber_of(s)->wake);
    return true;
}

void pl_wait_fire_here(struct pl_wait *w, enum pl_wait_state why)
{
    /* Relaxed: waiter and firer are one thread. */
    if (atomic_load_explicit(&w->state, memory_order_relaxed) != PL_WAIT_ARMED)
        return;
    atomic_store_explicit(&w->state, why, memory_order_relaxed);
    pl_worker_ready(w->strand->worker, pl_fiber_of(w->strand));
}

/* Ends a wait early: at once, or when the operation behind it has ended. */
static void end_wait(struct pl_wait *w, enum pl_wait_state why)
{
    if (w->interrupt)
        w->interrupt(w);
    else
        pl_wait_fire(w, why);
}

static enum pl_wait_state wait_state(struct pl_wait *w)
{
    /* Acquire: pairs with the exchange in pl_wait_fire(). */
    return (enum pl_wait_state)atomic_load_explicit(&w->state, memory_order_acquire);
}

static bool is_armed(struct pl_wait *w)
{
    enum pl_wait_state state = wait_state(w);
    return state == PL_WAIT_ARMED || state == PL_WAIT_ASLEEP;
}

/* Suspends the fiber, and shows for what. */
static void suspend(struct pl_strand *s, int64_t until)
{
    struct pl_worker *w = s->worker;
    /* A task that has run for long has made the worker's clock late, and the monitor has asked for
     * a look around. */
    if (PL_UNLIKELY(atomic_load_explicit(&w->hurry, memory_order_relaxed)))
        w->clock = pl_now();
    pl_shown_begin(&s->shown, w->clock, until);
    pl_fiber_suspend(pl_fiber_of(s));
    pl_shown_end(&s->shown);
}

_Atomic uint64_t pl_asleep;

/* A plain thread that waits without a deadline counts as asleep until it is fired. */
static void fall_asleep(struct pl_wait *w)
{
    uint32_t armed = PL_WAIT_ARMED;
    if (atomic_compare_exchange_strong(&w->state, &armed, PL_WAIT_ASLEEP))
        atomic_fetch_add(&pl_asleep, PL_ASLEEP_ONCE + 1);
}

void pl_wait_uninterrupted(struct pl_wait *w)
{
    struct pl_strand *s = w->strand;
    pl_strand_checkpoint(s);
    if (s->worker) {
        /* Also when it was fired already: who fires makes the fiber ready, exactly once. */
        suspend(s, PLAIT_NEVER);
        PL_ASSERT(!is_armed(w));
    } else {
        struct pl_plain *shown = pl_plain_show(s, PLAIT_NEVER, pl_now());
        fall_asleep(w);
        while (is_armed(w))
            pl_futex_wait(&w->state, PL_WAIT_ASLEEP, PL_FOREVER);
        pl_plain_hide(shown);
    }
    pl_strand_checkpoint(s);
}

/* On the worker's own stack. */
void pl_strand_timer_due(struct pl_heap_node *node)
{
    struct timer *t = PL_CONTAINER(node, struct timer, node);
    if (t->why == PL_WAIT_CANCELLED)
        pl_strand_interrupt(t->wait->strand);
    else
        end_wait(t->wait, t->why);
}

static enum pl_wait_state wait_fiber(struct pl_wait *w, struct timer *t)
{
    struct pl_strand *s = w->strand;
    struct pl_heap *timers = &s->worker->timers;
    /* A canceller that comes after this look sends a message to this very thread, which will find
     * s->waiting. The firer makes the fiber ready, so it suspends in either case. */
    if (pl_strand_marked(s) != 0)
        end_wait(w, PL_WAIT_CANCELLED);
    if (t->node.key != PLAIT_NEVER)
        pl_heap_push(timers, &t->node);
    s->waiting = w;
    suspend(s, t->node.key);
    s->waiting = NULL;
    if (t->node.key != PLAIT_NEVER && pl_heap_is_linked(&t->node))
        pl_heap_remove(timers, &t->node);
    return wait_state(w);
}

/* Sleeps until w may have been fired. -ETIMEDOUT at the deadline. */
static int sleep_thread(struct pl_wait *w, int64_t deadline, struct pl_watch *watch)
{
    if (!watch)
        return pl_futex_wait(
            &w->state, wait_state(w) == PL_WAIT_ASLEEP ? PL_WAIT_ASLEEP : PL_WAIT_ARMED, deadline);
    int n = pl_fds_wait(watch->fds, watch->n, deadline);
    if (n > 0)
        watch->ready(watch);
    return n == 0 ? -ETIMEDOUT : 0;
}

static enum pl_wait_state wait_thread(struct pl_wait *w, struct timer *t, struct pl_watch *watch)
{
    struct pl_strand *s = w->strand;
    pl_strand_lock(s);
    s->waiting = w;
    pl_strand_unlock(s);
    /* From here on a canceller finds the wait; one that came before is seen by this look. */
    if (pl_strand_cancelled(s) != 0)
        pl_wait_fire(w, PL_WAIT_CANCELLED);
    struct pl_plain *shown = pl_plain_show(s, t->node.key, pl_now());
    if (t->node.key == PLAIT_NEVER && !watch)
        fall_asleep(w);
    while (is_armed(w))
        if (sleep_thread(w, t->node.key, watch) == -ETIMEDOUT)
            pl_wait_fire(w, t->why);
    pl_plain_hide(shown);
    pl_strand_lock(s);
    s->waiting = NULL;
    pl_strand_unlock(s);
    return wait_state(w);
}

static enum pl_wait_state wait_until(struct pl_wait *w, int64_t deadline, struct pl_watch *watch)
{
    struct pl_strand *s = w->strand;
    if (wait_state(w) != PL_WAIT_ARMED) {
        if (s->worker)
            pl_fiber_suspend(pl_fiber_of(s)); /* the firer has made it ready */
        return wait_state(w);
    }
    struct timer t = { .wait = w, .why = PL_WAIT_TIMEOUT };
    t.node.key = deadline > 0 ? deadline : PLAIT_NEVER;
    if (s->cancel && s->cancel->deadline <= t.node.key && s->cancel->deadline != PLAIT_NEVER) {
        t.node.key = s->cancel->deadline;
        t.why = PL_WAIT_CANCELLED;
    }
    return s->worker ? wait_fiber(w, &t) : wait_thread(w, &t, watch);
}

enum pl_wait_state pl_wait_watching(struct pl_wait *w, int64_t deadline, struct pl_watch *watch)
{
    struct pl_strand *s = w->strand;
    pl_strand_checkpoint(s);
    enum pl_wait_state state = wait_until(w, deadline, watch);
    pl_strand_checkpoint(s);
    return state;
}

enum pl_wait_state pl_wait(struct pl_wait *w, int64_t deadline)
{
    return pl_wait_watching(w, deadline, NULL);
}

/* `code`, or -ETIMEDOUT where that is 0 and the deadline has passed. */
static int or_expired(struct pl_strand *s, int code)
{
    struct pl_cancel *c = s->cancel;
    if (code == 0 && c && c->deadline != PLAIT_NEVER && pl_now() >= c->deadline) {
        pl_cancel_expire(c);
        code = -ETIMEDOUT;
    }
    return code;
}

void pl_strand_interrupt(struct pl_strand *s)
{
    if (!s->worker)
        pl_strand_lock(s);
    /* Past s->clean, which is the plain thread's own. */
    int code = or_expired(s, pl_reason_code(pl_strand_reason(s, s->cancel)));
    if (code != 0 && s->waiting)
        end_wait(s->waiting, PL_WAIT_CANCELLED);
    /* In any case: a shield is over the strand, not over what it started before. */
    pl_scope_pass_on(s->scope);
    if (!s->worker)
        pl_strand_unlock(s);
}

_Atomic uint64_t pl_cancel_epoch = 1;
struct pl_cancel pl_cancel_shielded = { .deadline = PLAIT_NEVER };

enum plait_reason pl_strand_reason(const struct pl_strand *s, const struct pl_cancel *c)
{
    enum plait_reason reason = pl_cancel_chain(c);
    if (reason != PLAIT_REASON_NONE || !c || !s->worker)
        return reason;
    while (c->parent)
        c = c->parent;
    return c == &pl_cancel_shielded ? reason : pl_cancel_chain(&s->worker->sched->ex.root);
}

int pl_strand_marked_slow(struct pl_strand *s)
{
    /* The count is read before the walk: what is marked meanwhile makes the next look walk
     * again. */
    uint64_t epoch = atomic_load(&pl_cancel_epoch);
    enum plait_reason reason = pl_strand_reason(s, s->cancel);
    if (reason == PLAIT_REASON_NONE)
        s->clean = epoch;
    return pl_reason_code(reason);
}

int pl_strand_cancelled(struct pl_strand *s)
{
    pl_strand_checkpoint(s);
    return or_expired(s, pl_strand_marked(s));
}

int pl_strand_code(struct pl_strand *s)
{
    int code = pl_strand_cancelled(s);
    return code ? code : -ECANCELED;
}

static void notified(struct pl_job *message, int refused)
{
    (void)refused;
    struct pl_notify *n = PL_CONTAINER(message, struct pl_notify, job);
    pl_strand_interrupt(n->strand);
    /* Release: pairs with the acquire in pl_notify_end_slow(). */
    atomic_store_explicit(&n->phase, PL_PHASE_HANDLED, memory_order_release);
}

void pl_notify_post(struct pl_notify *n)
{
    uint32_t running = PL_PHASE_RUNNING;
    if (!atomic_compare_exchange_strong(&n->phase, &running, PL_PHASE_POSTED))
        return;
    n->job.run = notified;
    if (n->strand->worker)
        pl_worker_send(n->strand->worker, &n->job);
    else
        notified(&n->job, 0);
}

void pl_notify_end_slow(struct pl_notify *n)
{
    /* Acquire: pairs with the release of PL_PHASE_HANDLED. */
    while (atomic_load_explicit(&n->phase, memory_order_acquire) == PL_PHASE_POSTED) {
        struct pl_worker *w = n->strand->worker;
        if (!w || !pl_worker_receive(w))
            pl_relax();
    }
}

int pl_strand_yield(struct pl_strand *s)
{
    int e = pl_strand_cancelled(s);
    if (e < 0)
        return e;
    if (!s->worker) {
        pl_thread_yield();
        return 0;
    }
    pl_fiber_yield(pl_fiber_of(s));
    pl_strand_checkpoint(s);
    return 0;
}
