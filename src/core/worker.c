// SPDX-License-Identifier: MIT
// worker.c - the turn of a worker: what runs next, what is looked at, when it sleeps.
#include "core/worker.h"
#include "base/bug.h"
#include "base/relax.h"
#include "core/monitor.h"
#include "core/sched.h"
#include "core/trace.h"
#include "os/alloc.h"
#include "os/clock.h"
#include "os/random.h"
#include "os/segv.h"
#include "os/thread.h"

/* Stacks that nobody needed for so long go back to the kernel, but for a few. */
#define TRIM_NS    PLAIT_SECOND
#define TRIM_LEAST 64

/* Timers that it fires between two looks around. */
#define TIMERS_MOST 1024

/* How long a worker that ran dry looks around before it sleeps: about what waking it would cost. */
#define DOZE_NS 20000

_Thread_local struct pl_worker *pl_this_worker;

PL_NOINLINE struct pl_worker *pl_worker_current(void)
{
    return pl_this_worker;
}

PL_NOINLINE struct pl_fiber *pl_fiber_current(void)
{
    return pl_this_worker ? pl_this_worker->current : NULL;
}

PL_NOINLINE void pl_worker_enter(struct pl_worker *w)
{
    pl_this_worker = w;
    if (w)
        pl_context_thread(&w->context);
}

int pl_worker_init(struct pl_worker *w, struct pl_sched *s, unsigned index)
{
    const struct plait_options *o = &s->ex.options;
    w->sched = s;
    w->index = index;
    w->ready_end = &w->ready;
    w->rng = pl_random_seed() | 1;
    w->timers.root = NULL;
    int e = pl_stack_pool_init(&w->stacks, o->stack_bytes);
    if (e < 0)
        return e;
    e = pl_deque_init(&w->deque, 256, INT32_MAX, pl_alloc, pl_free_mem);
    if (e < 0)
        goto no_deque;
    enum pl_backend backend = o->io == PLAIT_IO_URING   ? PL_BACKEND_URING
                              : o->io == PLAIT_IO_EPOLL ? PL_BACKEND_EPOLL
                                                        : PL_BACKEND_AUTO;
    e = pl_loop_init(&w->loop, backend, 0);
    if (e < 0)
        goto no_loop;
    return 0;
no_loop:
    pl_deque_done(&w->deque);
no_deque:
    pl_stack_pool_done(&w->stacks);
    return e;
}

void pl_worker_done(struct pl_worker *w)
{
    /* A thread of another executor may have woken the last task and be on its way out of the send.
     * Acquire: pairs with the release at the end of pl_worker_send(). */
    while (atomic_load_explicit(&w->senders, memory_order_acquire) > 0)
        pl_relax();
    pl_fiber_free_idle(w);
    PL_ASSERT(!w->fibers && !w->ready && pl_deque_size_hint(&w->deque) == 0);
    pl_loop_done(&w->loop);
    pl_deque_done(&w->deque);
    pl_stack_pool_done(&w->stacks);
}

void pl_worker_send(struct pl_worker *w, struct pl_job *message)
{
    /* Relaxed: the swap below publishes it, to whoever handles the message and then ends. */
    atomic_fetch_add_explicit(&w->senders, 1, memory_order_relaxed);
    struct pl_job *first = atomic_load_explicit(&w->inbox, memory_order_relaxed);
    do
        message->next = first;
    while (!atomic_compare_exchange_weak(&w->inbox, &first, message)); /* [pair SLEEP] */
    uint32_t sleeping = PL_WORKER_SLEEPING;
    if (atomic_load(&w->state) == PL_WORKER_SLEEPING &&
        atomic_compare_exchange_strong(&w->state, &sleeping, PL_WORKER_RUNNING)) {
        atomic_fetch_sub(&w->sched->sleepers, 1);
        pl_loop_wake(&w->loop);
    }
    /* Release: pairs with the load in pl_worker_done(). */
    atomic_fetch_sub_explicit(&w->senders, 1, memory_order_release);
}

bool pl_worker_receive(struct pl_worker *w)
{
    if (!atomic_load_explicit(&w->inbox, memory_order_relaxed))
        return false;
    /* Acquire: pairs with the swap in pl_worker_send(). The stack holds the youngest first: turn
     * it. */
    struct pl_job *youngest = atomic_exchange_explicit(&w->inbox, NULL, memory_order_acquire);
    struct pl_job *oldest = NULL;
    while (youngest) {
        struct pl_job *next = youngest->next;
        youngest->next = oldest;
        oldest = youngest;
        youngest = next;
    }
    while (oldest) {
        struct pl_job *message = oldest;
        oldest = message->next; /* the message may be reused as soon as it has run */
        message->run(message, 0);
    }
    return true;
}

int pl_worker_push(struct pl_worker *w, struct pl_job *job)
{
    /* Counted first: a thief may have finished it before the next line. */
    pl_worker_count(&w->created);
    int e = pl_deque_push(&w->deque, job);
    if (e < 0) {
        pl_worker_count(&w->finished);
        return e;
    }
    if (w->sched->slots > 1)
        pl_sched_wake_one(w->sched);
    return 0;
}

/* Its own next job. One worker alone starts them in the order of submission; several take the
 * youngest, whose data is warm, and now and then the oldest, so that none waits for ever. */
static struct pl_job *own_job(struct pl_worker *w)
{
    if (pl_deque_size_hint(&w->deque) == 0 || !pl_sched_may_take(w->sched, w))
        return NULL;
    if (w->sched->slots == 1)
        return pl_deque_shift_alone(&w->deque);
    return w->credit == PL_FAIRNESS ? pl_deque_steal(&w->deque) : pl_deque_pop(&w->deque);
}

struct pl_job *pl_worker_next_job(struct pl_worker *w)
{
    if (w->ready || pl_worker_must_look(w))
        return NULL;
    struct pl_job *job = own_job(w);
    if (job)
        w->credit--;
    return job;
}

/* Fires what is due, at most so many at a time: those that it wakes shall not wait for all others.
 * */
static void run_timers(struct pl_worker *w)
{
    struct pl_heap_node *node = pl_heap_min(&w->timers);
    if (!node)
        return;
    int64_t now = w->clock;
    for (int i = 0; i < TIMERS_MOST && node && node->key <= now; i++) {
        pl_heap_pop(&w->timers);
        pl_strand_timer_due(node);
        node = pl_heap_min(&w->timers);
    }
}

int64_t pl_worker_deadline(const struct pl_worker *w)
{
    struct pl_heap_node *node = pl_heap_min(&w->timers);
    return node ? node->key : PLAIT_NEVER;
}

/* The executor stops: every fiber looks again whether it is cancelled. */
static void tell_fibers(struct pl_worker *w)
{
    w->stopped = true;
    for (struct pl_fiber *f = w->fibers; f; f = f->older)
        pl_strand_interrupt(&f->strand);
}

/* Everything that happens outside and wants to be looked at now and then. A busy worker also
 * submits what was started (`submit`); one that is about to sleep does so when it sleeps. */
static void look_around(struct pl_worker *w, bool submit)
{
    pl_worker_count(&w->heartbeat);
    w->clock = pl_now();
    pl_worker_receive(w);
    run_timers(w);
    if (pl_loop_ready(&w->loop) || (submit && w->loop.fresh))
        pl_loop_poll(&w->loop, 0);
    /* Acquire: pairs with the swap in plait_shutdown(), before which the root was marked; a fiber
     * that looked and did not see the mark would not be told again. */
    if (!w->stopped &&
        atomic_load_explicit(&w->sched->ex.state, memory_order_acquire) == PL_EXECUTOR_STOPPING)
        tell_fibers(w);
}

/* It has found something to do. */
static void stop_searching(struct pl_worker *w)
{
    if (!w->searching)
        return;
    w->searching = false;
    /* The last searcher hands the search on: there may be more than it can do. */
    if (atomic_fetch_sub(&w->sched->searchers, 1) == 1)
        pl_sched_wake_one(w->sched);
}

static void switch_to(struct pl_worker *w, struct pl_fiber *f)
{
    pl_fiber_becomes_current(w, f);
    pl_context_switch(&w->context, &f->context);
    if (w->dead) {
        pl_fiber_free(w, w->dead);
        w->dead = NULL;
    }
}

static void start(struct pl_worker *w, struct pl_job *job)
{
    struct pl_fiber *f = pl_fiber_for(w, job);
    if (f) {
        switch_to(w, f);
        return;
    }
    job->run(job, -ENOMEM);
    pl_worker_count(&w->finished);
}

/* Runs one fiber or job that is at hand here; false when there is none. */
static bool run_own(struct pl_worker *w)
{
    struct pl_job *job = NULL;
    /* Unstarted jobs must not starve behind fibers that yield to each other. */
    if (!w->ready || w->credit % 4 == 0 || w->credit == PL_FAIRNESS)
        job = own_job(w);
    if (w->credit > 0)
        w->credit--;
    if (job) {
        stop_searching(w);
        start(w, job);
        return true;
    }
    struct pl_fiber *f = w->ready;
    if (!f)
        return false;
    w->ready = f->next;
    if (!w->ready)
        w->ready_end = &w->ready;
    stop_searching(w);
    switch_to(w, f);
    return true;
}

static bool run_foreign(struct pl_worker *w)
{
    struct pl_job *job = pl_sched_may_take(w->sched, w) ? pl_sched_take(w->sched, w) : NULL;
    if (!job)
        return false;
    stop_searching(w);
    start(w, job);
    return true;
}

/* One step; false when nothing is ready. */
static bool step(struct pl_worker *w)
{
    if (pl_worker_must_look(w)) {
        /* Relaxed, and only when it is set: the line is the monitor's too. */
        if (PL_UNLIKELY(atomic_load_explicit(&w->hurry, memory_order_relaxed)))
            atomic_store_explicit(&w->hurry, 0, memory_order_relaxed);
        look_around(w, true);
        w->credit = PL_FAIRNESS;
        if (atomic_load_explicit(&w->sched->inject_count, memory_order_relaxed) > 0 &&
            run_foreign(w))
            return true;
    }
    if (run_own(w))
        return true;
    look_around(w, false);
    if (w->ready)
        return true;
    return run_foreign(w);
}

unsigned pl_worker_turn(struct pl_worker *w, unsigned budget)
{
    unsigned turns = 0;
    while (turns < budget && step(w))
        turns++;
    return turns;
}

/* It has found nothing. A worker that was woken to search must not sleep while it still counts as a
 * searcher: nobody would wake it again. */
static void give_up_search(struct pl_worker *w)
{
    if (!w->searching)
        return;
    w->searching = false;
    atomic_fetch_sub(&w->sched->searchers, 1); /* [pair SLEEP]: before the last look in
                                                  pl_worker_prepare_sleep() */
}

/* Looks at the others' deques for a while. True: took a job and ran it. */
static bool search(struct pl_worker *w)
{
    struct pl_sched *s = w->sched;
    if (s->slots == 1 || !pl_sched_may_take(s, w))
        return false;
    if (!w->searching) {
        uint32_t searchers = atomic_load_explicit(&s->searchers, memory_order_relaxed);
        if (2 * searchers >= s->regular)
            return false;
        atomic_fetch_add(&s->searchers, 1);
        w->searching = true;
    }
    int64_t until = 0;
    for (unsigned round = 0;; round++) {
        struct pl_job *job = pl_sched_steal(s, w);
        if (job) {
            PL_TRACE(PL_TRACE_STEAL, job, NULL);
            stop_searching(w);
            start(w, job);
            return true;
        }
        if (atomic_load_explicit(&w->inbox, memory_order_relaxed) ||
            atomic_load_explicit(&s->inject_count, memory_order_relaxed) ||
            (pl_loop_inflight(&w->loop) && w->loop.cq_tail && pl_loop_ready(&w->loop)))
            return true;
        if (round % 32 == 0) {
            int64_t now = pl_now();
            if (until == 0)
                until = now + DOZE_NS;
            else if (now >= until || now >= pl_worker_deadline(w))
                break;
        }
        pl_relax();
    }
    give_up_search(w);
    return false;
}

void pl_worker_awake(struct pl_worker *w)
{
    uint32_t state = PL_WORKER_SLEEPING;
    if (atomic_compare_exchange_strong(&w->state, &state, PL_WORKER_RUNNING)) {
        atomic_fetch_sub(&w->sched->sleepers, 1);
    } else if (state == PL_WORKER_NOTIFIED) {
        w->searching = true;
        atomic_store(&w->state, PL_WORKER_RUNNING);
    }
    pl_monitor_rouse(w->sched);
}

enum pl_worker_rest pl_worker_rest(struct pl_worker *w)
{
    bool sleeps = pl_worker_prepare_sleep(w);
    /* After it was counted as a sleeper: whoever begins to drain wakes those who sleep, and this is
     * the last look of one that did not yet. [pair SLEEP] */
    if (!pl_sched_check_end(w->sched))
        return sleeps ? PL_WORKER_SLEEPS : PL_WORKER_GOES_ON;
    pl_worker_awake(w);
    return PL_WORKER_ENDS;
}

bool pl_worker_prepare_sleep(struct pl_worker *w)
{
    give_up_search(w); /* it may have been woken to search, and then not searched */
    bool quiet = !pl_heap_min(&w->timers) && pl_loop_inflight(&w->loop) == 0;
    atomic_store_explicit(&w->quiet, quiet, memory_order_relaxed); /* published by the next line */
    atomic_store(&w->state, PL_WORKER_SLEEPING);
    atomic_fetch_add(&w->sched->sleepers, 1); /* [pair SLEEP] */
    if (pl_sched_has_work(w->sched, w)) {
        pl_worker_awake(w);
        return false;
    }
    /* A spare that is no longer needed leaves to the others what it took and did not start, and
     * what came while it was the one that searched. */
    if (w->index >= w->sched->regular && pl_sched_has_unstarted(w->sched))
        pl_sched_wake_one(w->sched);
    return true;
}

/* Until when it sleeps: a worker that holds many idle stacks comes back once more to return them.
 * */
static int64_t sleep_until(struct pl_worker *w)
{
    int64_t deadline = pl_worker_deadline(w);
    if (w->stacks.idle_count < TRIM_LEAST)
        return deadline;
    int64_t now = pl_now();
    if (now >= w->trim_at) {
        pl_stack_pool_trim(&w->stacks);
        w->trim_at = now + TRIM_NS;
    }
    return w->stacks.idle_count >= TRIM_LEAST && w->trim_at < deadline ? w->trim_at : deadline;
}

void pl_worker_sleep_on(struct pl_worker *w, _Atomic uint32_t *word, uint32_t value)
{
    w->credit = 0;
    if (!pl_worker_prepare_sleep(w))
        return;
    PL_TRACE(PL_TRACE_SLEEP, w, NULL);
    pl_loop_sleep_on(&w->loop, word, value, sleep_until(w));
    pl_worker_awake(w);
    PL_TRACE(PL_TRACE_WAKE, w, NULL);
}

void pl_worker_run(struct pl_worker *w)
{
    struct pl_sched *s = w->sched;
    void *altstack = s->ex.options.report_overflow ? pl_altstack_init() : NULL;
    pl_worker_enter(w);
    atomic_store_explicit(&w->thread_id, pl_thread_id(), memory_order_relaxed);
    for (;;) {
        pl_worker_turn(w, UINT32_MAX);
        if (search(w))
            continue;
        enum pl_worker_rest rest = pl_worker_rest(w);
        if (rest == PL_WORKER_ENDS)
            break;
        if (rest == PL_WORKER_GOES_ON)
            continue;
        PL_TRACE(PL_TRACE_SLEEP, w, NULL);
        int e = pl_loop_poll(&w->loop, sleep_until(w));
        PL_ASSERT(e >= 0);
        pl_worker_awake(w);
        PL_TRACE(PL_TRACE_WAKE, w, NULL);
    }
    give_up_search(w);
    pl_worker_enter(NULL);
    pl_altstack_done(altstack);
}
