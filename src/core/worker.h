// SPDX-License-Identifier: MIT
/*
 * worker.h - one thread of a scheduler: its queues, its event loop, its timers, its fibers.
 *
 * DESIGN
 *   Everything here belongs to the worker's own thread, except the deque's stealing end, the inbox,
 *   and the atomics under "shared".
 *
 *   state:   RUNNING   runs, or looks for work
 *            SLEEPING  is in, or about to enter, its event loop to wait there
 *            NOTIFIED  was SLEEPING, and is woken to search: holds one of the scheduler's searchers
 *   A worker goes to SLEEPING itself; whoever takes it out of SLEEPING by compare-and-swap also
 *   takes it off the count of sleepers, and wakes its loop when that is not the worker itself.
 *
 *   No wake-up is lost: a producer publishes (push to a deque, the injector or an inbox), then a
 *   full fence, then looks for sleepers. A worker counts itself as a sleeper, then (sequentially
 *   consistent) looks at every queue once more, then sleeps. One of the two sees the other. [pair
 *   SLEEP]
 */
#ifndef PL_CORE_WORKER_H
#define PL_CORE_WORKER_H

#include "base/deque.h"
#include "base/heap.h"
#include "core/fiber.h"
#include "core/slab.h"
#include "os/loop.h"
#include <pthread.h>

struct pl_sched;

enum pl_worker_state { PL_WORKER_RUNNING = 0, PL_WORKER_SLEEPING = 1, PL_WORKER_NOTIFIED = 2 };

/* How many jobs and switches until the worker looks at what could otherwise starve: the global
 * queue, its inbox, timers, completions. A prime, so that it does not beat with a pattern of the
 * program's. */
enum { PL_FAIRNESS = 61 };

struct pl_worker {
    struct pl_sched *sched;
    unsigned index;
    uint32_t credit;          /* jobs and switches until it must look around */
    struct pl_fiber *current; /* NULL: on the worker's own stack */
    struct pl_fiber *ready, **ready_end;
    struct pl_fiber *dead;   /* has just left for good; its stack is to be returned */
    struct pl_fiber *fibers; /* all that live, youngest first */
    struct pl_fiber *idle;   /* those that wait for a job, the warmest first */
    unsigned idle_count;
    struct pl_context context;
    struct pl_stack_pool stacks;
    int64_t trim_at;
    struct pl_heap timers;
    int64_t clock;    /* when it last looked around: what waits show as their beginning */
    uint32_t next_id; /* of its fibers: see pl_fiber_lock_word() */
    struct pl_loop loop;
    struct pl_slab slab;
    uint64_t futures_made, futures_freed; /* pooled ones, by this worker */
    bool searching;                       /* holds one of the scheduler's searchers */
    bool stopped;                         /* has told its fibers about the shutdown */
    uint64_t rng;
    pthread_t thread;
    _Atomic int thread_id; /* the kernel's; 0 until it runs; the monitor's */

    /* shared */
    _Alignas(64) struct pl_deque deque;
    _Alignas(64) _Atomic(struct pl_job *) inbox;
    _Atomic uint32_t senders; /* threads in pl_worker_send(): the worker may be gone when it is 0 */
    _Atomic uint32_t state;
    _Alignas(64) _Atomic uint64_t created, finished; /* jobs; written by the worker only */
    _Atomic uint64_t heartbeat;    /* changes with every look around; the monitor's */
    _Atomic uint32_t quiet;        /* as it fell asleep it had no timer and no I/O; the monitor's */
    _Atomic uint32_t hurry;        /* the monitor asks for a look around: its tasks take long */
    _Atomic(const char *) running; /* name of the task that runs now; the monitor's */
};

static inline void pl_worker_count(_Atomic uint64_t *counter)
{
    /* Only the worker writes it. Release: who sums up sees what the job did. */
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1,
                          memory_order_release);
}

/* The worker of the calling thread, or NULL. Not inlined: compilers cache thread-local
 * addresses. */
struct pl_worker *pl_worker_current(void);

/* The same, for where every instruction counts, and in functions that do not switch stacks. */
extern _Thread_local struct pl_worker *pl_this_worker __attribute__((tls_model("initial-exec")));

/* What the worker's thread switches to next; NULL: the worker's own stack. */
static inline void pl_fiber_becomes_current(struct pl_worker *w, struct pl_fiber *f)
{
    w->current = f;
    pl_lock_word = f ? f->strand.lock_word : 0;
}

/* The calling fiber, or NULL. */
struct pl_fiber *pl_fiber_current(void);

int pl_worker_init(struct pl_worker *w, struct pl_sched *s, unsigned index);
void pl_worker_done(struct pl_worker *w);

/* The calling thread is this worker (NULL: none) from now on. */
void pl_worker_enter(struct pl_worker *w);

/* Runs what is ready, without waiting, at most `budget` turns; returns how many there were. */
unsigned pl_worker_turn(struct pl_worker *w, unsigned budget);

/* Goes to SLEEPING, unless there is something to do after all: false. Afterwards: sleep, then
 * awake. */
bool pl_worker_prepare_sleep(struct pl_worker *w);
void pl_worker_awake(struct pl_worker *w);

/* Whether it could sleep on a word instead of in its loop: nothing is in flight there, and no timer
 * runs. */
static inline bool pl_worker_is_free(const struct pl_worker *w)
{
    return pl_loop_inflight(&w->loop) == 0 && !w->timers.root;
}

/* On a fiber of a free worker: sleeps, with all that is on it, while *word == value, unless there
 * is something to do. Afterwards it looks around at the next turn. */
void pl_worker_sleep_on(struct pl_worker *w, _Atomic uint32_t *word, uint32_t value);

/* The same for a worker that also ends when the scheduler has nothing left to do and takes nothing
 * more. Only after SLEEPS: sleep, then awake. */
enum pl_worker_rest { PL_WORKER_GOES_ON, PL_WORKER_SLEEPS, PL_WORKER_ENDS };
enum pl_worker_rest pl_worker_rest(struct pl_worker *w);

/* Turns and sleeps until the scheduler has ended. The body of a worker's thread. */
void pl_worker_run(struct pl_worker *w);

/* When the next timer is due: PLAIT_NEVER when there is none. */
int64_t pl_worker_deadline(const struct pl_worker *w);

/* Makes a suspended fiber of this worker ready. On its thread. */
static inline void pl_worker_ready(struct pl_worker *w, struct pl_fiber *f)
{
    f->next = NULL;
    *w->ready_end = f;
    w->ready_end = &f->next;
}

/* Whether it is time to look around: after so many turns, which are a short time, or else the
 * monitor counts it out. */
static inline bool pl_worker_must_look(const struct pl_worker *w)
{
    /* Relaxed: a hint. */
    return w->credit == 0 ||
           __builtin_expect(
               atomic_load_explicit(&((struct pl_worker *)w)->hurry, memory_order_relaxed), 0);
}

/* The next fiber to switch to without asking the scheduler; NULL when there is none, or when it is
 * time to look around. On its thread. */
static inline struct pl_fiber *pl_worker_next_ready(struct pl_worker *w)
{
    struct pl_fiber *f = w->ready;
    if (!f || pl_worker_must_look(w))
        return NULL;
    w->credit--;
    w->ready = f->next;
    if (!w->ready)
        w->ready_end = &w->ready;
    return f;
}

/* The same for the next job that a fiber may host when its own has ended. */
struct pl_job *pl_worker_next_job(struct pl_worker *w);

/* Sends a message to the worker. Any thread. */
void pl_worker_send(struct pl_worker *w, struct pl_job *message);

/* Handles the messages that are there. On its thread. */
bool pl_worker_receive(struct pl_worker *w);

/* Pushes a job of the worker's own and sees that somebody runs it. On its thread. 0 or -ENOMEM. */
int pl_worker_push(struct pl_worker *w, struct pl_job *job);

#endif
