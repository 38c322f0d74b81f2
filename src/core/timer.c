// SPDX-License-Identifier: MIT
/*
 * timer.c - tickers, and timers that call back.
 *
 * DESIGN
 *   Timers are in a heap under a lock; a thread sleeps until the first is due. It is woken only for
 *   one that is due before the moment until which it sleeps: so arming and stopping again, which is
 *   what most timers see, makes no system call. Stopping the first wakes nobody: the thread wakes
 *   in vain once, and sleeps on.
 *
 *   `firing` is the timer whose function runs, without the lock. It is compared, never followed:
 *   the function may have freed it. Who stops it waits for `round`, which changes after each.
 *
 *   A timer's thread rather than the heap of a worker: a timer may be stopped from anywhere, and
 *   outlive the task that armed it; and a plain program has no worker.
 */
#include <plait/timer.h>

#include "base/bug.h"
#include "base/heap.h"
#include "core/lock.h"
#include "os/alloc.h"
#include "os/clock.h"
#include "os/thread.h"
#include <plait/fiber.h>

enum { STACK_BYTES = 256 << 10 };

struct timer {
    struct pl_heap_node node; /* key: when */
    void (*fn)(void *arg);
    void *arg;
};

_Static_assert(sizeof(struct timer) <= sizeof(plait_timer), "plait_timer is too small");
_Static_assert(_Alignof(struct timer) <= _Alignof(plait_timer), "plait_timer is not aligned");

struct plait_timers {
    struct pl_lock lock;
    struct pl_heap heap;
    int64_t sleeps_until; /* of the thread; 0 while it is awake */
    const struct timer *firing;
    bool stop;
    _Atomic uint32_t bell;  /* futex: there is something to look at */
    _Atomic uint32_t round; /* futex: changes when a timer's function has returned */
    pthread_t thread;
};

// ---- tickers -----------------------------------------------------------------------------------

int plait_ticker_init(plait_ticker *t, int64_t period_ns)
{
    if (period_ns <= 0)
        return -EINVAL;
    *t = (plait_ticker){ .next = pl_clock_after(period_ns), .period = period_ns };
    return 0;
}

int plait_ticker_wait(plait_ticker *t)
{
    int e = plait_sleep_until(t->next);
    if (e < 0)
        return e;
    int64_t skipped = (pl_now() - t->next) / t->period;
    int64_t last = t->next + skipped * t->period; /* not after now */
    t->next = last > PL_FOREVER - t->period ? PL_FOREVER : last + t->period;
    t->missed += (uint64_t)skipped;
    return skipped > INT32_MAX ? INT32_MAX : (int)skipped;
}

// ---- timers ------------------------------------------------------------------------------------

static void ring(plait_timers *ts)
{
    atomic_fetch_add(&ts->bell, 1);
    pl_futex_wake(&ts->bell, 1);
}

/* Under the lock, which is let go around the call. */
static void fire(plait_timers *ts, struct timer *t)
{
    void (*fn)(void *arg) = t->fn;
    void *arg = t->arg;
    ts->firing = t;
    pl_unlock(&ts->lock);
    fn(arg);
    pl_lock(&ts->lock);
    ts->firing = NULL;
    atomic_fetch_add(&ts->round, 1);
    pl_futex_wake(&ts->round, INT_MAX);
}

static void *run(void *arg)
{
    plait_timers *ts = arg;
    pl_lock(&ts->lock);
    while (!ts->stop) {
        struct pl_heap_node *first = pl_heap_min(&ts->heap);
        if (first && first->key <= pl_now()) {
            pl_heap_remove(&ts->heap, first);
            fire(ts, PL_CONTAINER(first, struct timer, node));
            continue;
        }
        int64_t until = first ? first->key : PL_FOREVER;
        ts->sleeps_until = until;
        uint32_t bell = atomic_load(&ts->bell);
        pl_unlock(&ts->lock);
        pl_futex_wait(&ts->bell, bell, until);
        pl_lock(&ts->lock);
        ts->sleeps_until = 0;
    }
    pl_unlock(&ts->lock);
    return NULL;
}

int plait_timers_new(plait_timers **ret)
{
    plait_timers *ts = pl_zalloc(sizeof *ts);
    if (!ts)
        return -ENOMEM;
    int err = pl_thread_start(&ts->thread, "plait/timers", STACK_BYTES, run, ts);
    if (err < 0) {
        pl_free_mem(ts);
        return err;
    }
    *ret = ts;
    return 0;
}

void plait_timers_free(plait_timers *ts)
{
    if (!ts)
        return;
    if (pthread_equal(ts->thread, pthread_self()))
        PL_BUG("plait_timers_free() is called from one of its timers");
    pl_lock(&ts->lock);
    ts->stop = true;
    pl_unlock(&ts->lock);
    ring(ts);
    pl_thread_join(ts->thread);
    while (pl_heap_pop(&ts->heap)) /* so that each may be started elsewhere */
        ;
    pl_free_mem(ts);
}

void plait_timer_start(plait_timers *ts, plait_timer *timer, int64_t when, void (*fn)(void *arg),
                       void *arg)
{
    struct timer *t = (struct timer *)timer;
    pl_lock(&ts->lock);
    if (pl_heap_is_linked(&t->node))
        pl_heap_remove(&ts->heap, &t->node);
    t->node.key = when;
    t->fn = fn;
    t->arg = arg;
    pl_heap_push(&ts->heap, &t->node);
    bool earlier = when < ts->sleeps_until;
    if (earlier)
        ts->sleeps_until = when; /* one wake is enough for all until then */
    pl_unlock(&ts->lock);
    if (earlier)
        ring(ts);
}

bool plait_timer_stop(plait_timers *ts, plait_timer *timer)
{
    struct timer *t = (struct timer *)timer;
    bool armed, waits = true;
    while (waits) {
        pl_lock(&ts->lock);
        armed = pl_heap_is_linked(&t->node);
        if (armed)
            pl_heap_remove(&ts->heap, &t->node);
        waits = !armed && ts->firing == t && !pthread_equal(ts->thread, pthread_self());
        uint32_t round = atomic_load(&ts->round);
        pl_unlock(&ts->lock);
        if (waits)
            pl_futex_wait(&ts->round, round, PL_FOREVER);
    }
    return armed;
}
