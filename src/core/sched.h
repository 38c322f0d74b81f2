// SPDX-License-Identifier: MIT
/*
 * sched.h - the scheduler behind the executors of fibers (one worker) and of threads (several).
 *
 * DESIGN
 *   Jobs that a worker creates go to its own deque: it takes the youngest (of a single worker: the
 *   oldest), others steal the oldest. Jobs from other threads go to the injector, a queue under a
 *   lock, which every worker looks at when it runs out, and every PL_FAIRNESS turns.
 *
 *   Waking. One searcher at a time is woken, never more than half of the workers search. A woken
 *   worker is a searcher on the waker's behalf; a searcher that finds work and was the last one
 *   wakes the next, so a burst fans out without a system call a job. See worker.h for why no
 *   wake-up is lost.
 *
 *   The end. Draining is over when nothing is alive: each worker counts the jobs it created and
 *   finished, the injector those it took in. Who goes to sleep in a scheduler that drains sums up
 *   all `finished` first and all `created` after: equal sums mean that nothing was alive in
 *   between, and nothing can be created by nothing. (Finished never exceeds created, and both only
 *   grow.) A scope's child on its owner's worker counts only where it runs on a fiber of its own:
 *   its owner, which cannot end before it, stands for it.
 */
#ifndef PL_CORE_SCHED_H
#define PL_CORE_SCHED_H

#include "base/bug.h"
#include "core/executor.h"
#include "core/future.h"
#include "core/lock.h"
#include "core/worker.h"

struct pl_monitor;
struct pl_blocking_pool;

struct pl_sched {
    struct plait_executor ex;  /* first */
    struct pl_worker *workers; /* slots: the regular ones, then spares */
    unsigned regular, slots;
    bool foreign;
    pthread_t owner; /* foreign: who opened it */

    _Alignas(64) _Atomic uint32_t sleepers; /* workers in SLEEPING */
    _Atomic uint32_t searchers;
    _Atomic uint32_t blocked; /* workers that block in a foreign call; the monitor's */
    _Atomic uint32_t ended;   /* nothing is alive and nothing will be: a futex */
    _Atomic uint32_t used;    /* slots that are in use: the first `used` */

    _Alignas(64) struct pl_lock inject_lock;
    struct pl_job *inject_first, **inject_end;
    _Atomic uint64_t injected;   /* jobs that ever came; written under the lock */
    _Atomic uint32_t submitters; /* calls that are inside inject() */
    _Atomic uint32_t inject_count;
    struct pl_waiting_room *room; /* who waits for the queue to have room; under the lock */

    _Atomic uint32_t closer; /* a thread is in pl_sched_wait_end() */
    struct pl_blocking_pool *blocking;
    _Atomic(struct pl_monitor *) monitor; /* set when the workers run already */
};

static inline struct pl_sched *pl_sched_of(struct plait_executor *ex)
{
    return (struct pl_sched *)ex;
}

/* Prepares the shared part for `regular` workers and room for more up to `slots`; `ex` has been
 * initialised.
 * 0 or a negative errno, with nothing to undo. */
int pl_sched_init(struct pl_sched *s, unsigned regular, unsigned slots);

/* Starts the thread of the next free slot. 0; -EAGAIN when there is none. */
int pl_sched_add_worker(struct pl_sched *s);

/* Waits until a scheduler that was shut down has ended; a foreign one is driven to its end. */
void pl_sched_wait_end(struct pl_sched *s);

/* After the end: joins every thread and releases all but the memory of *s and the futures
 * that are still held. Returns how many records of the slabs its workers took and did not free. */
uint64_t pl_sched_done(struct pl_sched *s);

/* Wakes everybody who waits for room in the queue: it has been closed. */
void pl_sched_close_queue(struct pl_sched *s);

/* Whether ex is a scheduler of fibers or threads. */
bool pl_is_sched(const struct plait_executor *ex);

/* Starts a job: on the calling worker's deque when it is one of this scheduler's, else through the
 * injector. 0; -ENOMEM; -EAGAIN: full and PLAIT_FULL_FAIL; -ESHUTDOWN; -ECANCELED, -ETIMEDOUT while
 * it waited for room. */
int pl_sched_submit(struct pl_sched *s, struct pl_job *job);

/* Whether worker w may start jobs: a spare only while enough others are blocked. */
static inline bool pl_sched_may_take(const struct pl_sched *s, const struct pl_worker *w)
{
    return w->index < s->regular ||
           w->index - s->regular < atomic_load_explicit(&s->blocked, memory_order_relaxed);
}

/* A job for worker w: from the injector or from another worker's deque; NULL when there is none. */
struct pl_job *pl_sched_take(struct pl_sched *s, struct pl_worker *w);
struct pl_job *pl_sched_steal(struct pl_sched *s, struct pl_worker *w);

/* There is a new job: wakes a sleeper unless somebody is searching. After publishing the job;
 * contains the fence. */
void pl_sched_wake_sleeper(struct pl_sched *s);
static inline void pl_sched_wake_one(struct pl_sched *s)
{
    atomic_thread_fence(memory_order_seq_cst); /* [pair SLEEP] */
    if (PL_UNLIKELY(atomic_load_explicit(&s->sleepers, memory_order_relaxed) > 0))
        pl_sched_wake_sleeper(s);
}
void pl_sched_wake_all(struct pl_sched *s);

/* Whether there are jobs that nobody has started. */
bool pl_sched_has_unstarted(struct pl_sched *s);

/* Whether worker w could find anything to do. For the last look before sleeping. */
bool pl_sched_has_work(struct pl_sched *s, struct pl_worker *w);

/* Draining and nothing alive: then marks the scheduler as ended. */
bool pl_sched_check_end(struct pl_sched *s);

#endif
