// SPDX-License-Identifier: MIT
/*
 * monitor.c - one thread an executor that looks at its workers every few milliseconds.
 *
 * DESIGN
 *   A worker changes its heartbeat whenever it looks around. One whose heartbeat stands still while
 *   it is not asleep is inside a task. The CPU clock of its thread tells the two cases apart: a
 *   clock that runs with the wall clock computes, and is left alone; one that stands though
 *   the thread does not wait for a CPU is blocked in a foreign call. Either is asked to look around
 *   at its next turn, so that timers are a few ticks late at most.
 *
 *   Threads: for each blocked worker one spare worker may take unstarted tasks; spares beyond the
 *   number of blocked workers run what they have started and take nothing new (pl_sched_may_take).
 *   The started tasks of a blocked worker wait for it: started stays put.
 *   Fibers: a loop that stands still while other tasks are alive is reported, once a stall, with
 *   the name of the task that holds it up.
 *
 *   While every worker sleeps the monitor sleeps too, and costs a working program nothing but one
 *   load at each of its wake-ups. Where the workers sleep though tasks are alive that wait for
 *   neither time nor I/O, it first asks whether anybody is left who could wake them (stuck.c).
 */
#include "core/monitor.h"
#include "base/bug.h"
#include "core/sched.h"
#include "core/stuck.h"
#include "core/trace.h"
#include "os/alloc.h"
#include "os/clock.h"
#include "os/thread.h"
#include <stdio.h>

#define TICK_NS       (10 * PLAIT_MILLISECOND)
#define CALM_TICKS    50 /* all asleep for so long: sleep until roused; or sooner, to report */
#define BLOCKED_TICKS 2  /* standing still for so long: blocked */

struct sample {
    uint64_t heartbeat;
    int64_t cpu;
    int64_t since; /* the heartbeat has stood still since then */
    clockid_t clock;
    unsigned still; /* ticks without CPU time */
    bool has_clock, reported;
};

struct pl_monitor {
    pthread_t thread;
    _Atomic uint32_t word; /* futex: 0 watching, 1 deep asleep, 2 stop */
    unsigned calm;
    uint64_t reported; /* the sum of heartbeats at which a deadlock was reported; 0: none */
    struct sample samples[];
};

enum { WATCHING = 0, DEEP = 1, STOP = 2 };

/* Whether the worker stands still without using its CPU. */
static bool is_blocked(struct pl_worker *w, struct sample *x, int64_t now, int64_t tick)
{
    uint64_t heartbeat = atomic_load_explicit(&w->heartbeat, memory_order_relaxed);
    bool asleep = atomic_load_explicit(&w->state, memory_order_relaxed) != PL_WORKER_RUNNING;
    if (!x->has_clock)
        x->has_clock = pl_thread_clock(w->thread, &x->clock) == 0;
    int64_t cpu = x->has_clock ? pl_thread_clock_read(x->clock) : 0;
    int64_t used = cpu - x->cpu;
    x->cpu = cpu;
    if (asleep || heartbeat != x->heartbeat) {
        x->heartbeat = heartbeat;
        x->since = now;
        x->still = 0;
        x->reported = false;
        return false;
    }
    /* Perhaps between two of many tasks: timers and completions shall not wait for all of them.
     * Relaxed: a hint, which the worker's next turn reads. */
    atomic_store_explicit(&w->hurry, 1, memory_order_relaxed);
    /* A tenth: a blocked call that is interrupted now and then is still blocked. */
    x->still = used * 10 < tick ? x->still + 1 : 0;
    if (x->still < BLOCKED_TICKS)
        return false;
    /* On a busy machine a thread that computes may not have had its turn for long.
     * Relaxed: the id does not change any more. */
    return !pl_thread_is_runnable(atomic_load_explicit(&w->thread_id, memory_order_relaxed));
}

static bool others_wait(struct pl_sched *s, struct pl_worker *w)
{
    /* Acquire: pairs with the release in pl_worker_count(). */
    uint64_t finished = atomic_load_explicit(&w->finished, memory_order_acquire);
    uint64_t made =
        atomic_load_explicit(&w->created, memory_order_acquire) + atomic_load(&s->injected);
    return made - finished > 1 || pl_deque_size_hint(&w->deque) > 0;
}

static void report_stall(struct pl_sched *s, struct pl_worker *w, struct sample *x, int64_t now)
{
    const char *task = atomic_load_explicit(&w->running, memory_order_relaxed);
    int64_t ns = now - x->since;
    if (x->reported || ns < s->ex.options.stall_ns || !task || !others_wait(s, w))
        return;
    x->reported = true;
    char text[300];
    snprintf(
        text, sizeof text,
        "the task `%s` has kept the event loop from turning for %lld ms, and other tasks wait; "
        "put what blocks into plait_blocking(), or run it on threads",
        task, (long long)(ns / PLAIT_MILLISECOND));
    pl_notice(&s->ex, PLAIT_NOTICE_STALL, task, ns, text);
}

/* As many spares as workers are blocked, when there is something for them to do. */
static void compensate(struct pl_sched *s, unsigned blocked)
{
    atomic_store(&s->blocked, blocked);
    if (blocked == 0 || !pl_sched_has_unstarted(s))
        return;
    uint32_t used = atomic_load_explicit(&s->used, memory_order_relaxed);
    if (used - s->regular < blocked && used < s->slots && pl_sched_add_worker(s) == 0)
        PL_TRACE(PL_TRACE_SPARE, &s->workers[used], NULL);
    pl_sched_wake_one(s);
}

/* True when some worker is awake. */
static bool look(struct pl_sched *s, int64_t tick)
{
    struct pl_monitor *m = s->monitor;
    uint32_t used = atomic_load_explicit(&s->used, memory_order_acquire);
    int64_t now = pl_now();
    unsigned blocked = 0;
    bool awake = false;
    for (uint32_t i = 0; i < used; i++) {
        struct pl_worker *w = &s->workers[i];
        blocked += is_blocked(w, &m->samples[i], now, tick);
        /* Sequentially consistent, after the swap to DEEP: pairs with pl_monitor_rouse(). One of
         * the two sees the other. */
        awake |= atomic_load(&w->state) == PL_WORKER_RUNNING;
        if (s->slots == 1)
            report_stall(s, w, &m->samples[i], now);
    }
    if (s->slots > s->regular)
        compensate(s, blocked);
    return awake;
}

/* How many ticks all sleep before the monitor does: no more than it takes to call it a deadlock. */
static unsigned calm_ticks(const struct pl_sched *s)
{
    int64_t ticks = s->ex.options.deadlock_ns / TICK_NS;
    return ticks < 1 ? 1 : ticks < CALM_TICKS ? (unsigned)ticks : CALM_TICKS;
}

/* Sleeps until roused. Every worker sleeps, and has done so for m->calm ticks. */
static void sleep_deep(struct pl_sched *s)
{
    struct pl_monitor *m = s->monitor;
    const int64_t patience = s->ex.options.deadlock_ns;
    int64_t ask_at =
        patience == PLAIT_NEVER ? PLAIT_NEVER : pl_now() + patience - m->calm * TICK_NS;
    while (atomic_load(&m->word) == DEEP) {
        uint64_t beats = 0;
        if (ask_at == PLAIT_NEVER || !pl_stuck_maybe(s, &beats) || beats == m->reported) {
            pl_futex_wait(&m->word, DEEP, PL_FOREVER);
        } else if (pl_now() < ask_at) {
            pl_futex_wait(&m->word, DEEP, ask_at);
        } else if (pl_stuck_report(s)) {
            m->reported = beats;
        } else {
            ask_at = pl_now() + 2 * patience; /* there are others, who may come to wait too */
        }
    }
}

static void *watch(void *arg)
{
    struct pl_sched *s = arg;
    struct pl_monitor *m = s->monitor;
    const unsigned calm = calm_ticks(s);
    int64_t last = pl_now();
    while (atomic_load(&m->word) != STOP) {
        if (m->calm < calm) {
            pl_futex_wait(&m->word, WATCHING, last + TICK_NS);
        } else {
            uint32_t watching = WATCHING;
            if (atomic_compare_exchange_strong(&m->word, &watching, DEEP) && !look(s, TICK_NS))
                sleep_deep(s);
            uint32_t deep = DEEP;
            atomic_compare_exchange_strong(&m->word, &deep, WATCHING);
            m->calm = 0;
        }
        int64_t now = pl_now();
        m->calm = look(s, now - last) ? 0 : m->calm + 1;
        last = now;
    }
    return NULL;
}

void pl_monitor_rouse(struct pl_sched *s)
{
    /* Acquire: pairs with the release in pl_monitor_start(). */
    struct pl_monitor *m = atomic_load_explicit(&s->monitor, memory_order_acquire);
    uint32_t deep = DEEP;
    /* Sequentially consistent, after the worker was taken out of SLEEPING: pairs with look(). */
    if (m && atomic_load(&m->word) == DEEP &&
        atomic_compare_exchange_strong(&m->word, &deep, WATCHING))
        pl_futex_wake(&m->word, 1);
}

int pl_monitor_start(struct pl_sched *s)
{
    if (s->foreign)
        return 0;
    struct pl_monitor *m = pl_zalloc(sizeof *m + s->slots * sizeof m->samples[0]);
    if (!m)
        return -ENOMEM;
    char name[16];
    snprintf(name, sizeof name, "%.8s/watch", s->ex.name);
    /* Release: pairs with the acquire in pl_monitor_rouse(), on workers that run already. */
    atomic_store_explicit(&s->monitor, m, memory_order_release);
    int e = pl_thread_start(&m->thread, name, 0, watch, s);
    if (e < 0) {
        s->monitor = NULL;
        pl_free_mem(m);
    }
    return e;
}

void pl_monitor_stop(struct pl_sched *s)
{
    struct pl_monitor *m = s->monitor;
    if (!m)
        return;
    atomic_store(&m->word, STOP);
    pl_futex_wake(&m->word, 1);
    pl_thread_join(m->thread);
}

void pl_monitor_free(struct pl_sched *s)
{
    pl_free_mem(s->monitor);
    s->monitor = NULL;
}
