// SPDX-License-Identifier: MIT
/*
 * strand.h - a flow of control, and how it waits: the same for a fiber and for a plain thread.
 *
 * DESIGN
 *   Everything that waits in plait waits through struct pl_wait: a word that goes from ARMED to the
 *   reason why the wait ended, exactly once, by compare-and-swap. Whoever wins the swap makes the
 *   strand run again; all others do nothing. A fiber is made ready on its own worker (directly, or
 *   through the worker's inbox from another thread); a plain thread sleeps in a futex on the word
 *   itself.
 *
 *   The record lives in the waiting frame. Whoever may fire it finds it through some list; the
 *   waiter takes itself off that list under the list's lock before its frame goes, and lists fire
 *   under their lock: so nobody fires a dead record.
 *
 *   Cancellation. A canceller marks the node (cancel.h) and tells what it belongs to (notify.h);
 *   that ends in pl_strand_interrupt(), on the strand's own worker, or for a plain thread under the
 *   strand's lock. A superfluous interrupt finds nothing to do and does nothing.
 */
#ifndef PL_CORE_STRAND_H
#define PL_CORE_STRAND_H

#include "core/cancel.h"
#include "os/fault.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct pl_worker;
struct pl_scope;
struct plait_executor;

enum pl_wait_state {
    PL_WAIT_ARMED = 0,
    PL_WAIT_WOKEN = 1,     /* what was waited for */
    PL_WAIT_TIMEOUT = 2,   /* the deadline of the wait itself */
    PL_WAIT_CANCELLED = 3, /* the strand's chain was cancelled, or its deadline passed */
    PL_WAIT_ASLEEP = 4,    /* as ARMED, of a plain thread that has no deadline: see stuck.c */
};

/* What a strand waits for: only for people who look (dump.c). */
enum pl_waits_for {
    PL_FOR_OTHER = 0,
    PL_FOR_TIME,
    PL_FOR_IO, /* object: pl_for_io() */
    PL_FOR_GET,
    PL_FOR_PUT,
    PL_FOR_CHOICE, /* object: how many cases */
    PL_FOR_FUTURE,
    PL_FOR_FUTURES,
    PL_FOR_SCOPE,
    PL_FOR_MAP,
    PL_FOR_QUEUE,
    PL_FOR_THREAD,
    PL_FOR_MUTEX,
    PL_FOR_READ_LOCK,
    PL_FOR_WRITE_LOCK,
    PL_FOR_COND,
    PL_FOR_SEMAPHORE,
    PL_FOR_EVENT,
    PL_FOR_LATCH,
    PL_FOR_BARRIER,
    PL_FOR_ONCE,
    PL_FOR_BROADCAST,
    PL_FOR_WORK,
    PL_FOR_SHARED,
    PL_FOR_CLOSE,
    PL_FOR_TASKS,
    PL_FOR_ARGUMENT,
    PL_FOR_COUNT,
};

/* What a strand shows of its wait to other threads, which may look at any time. Written by the
 * strand only: `what` and `object` before it waits, the others when it begins to. */
struct pl_shown {
    _Atomic uint32_t turn; /* odd while it waits; another number each time */
    _Atomic uint32_t what; /* enum pl_waits_for */
    _Atomic uintptr_t object;
    _Atomic int64_t since; /* late by as much as the worker's clock: see worker.h */
    _Atomic int64_t until; /* PLAIT_NEVER: no deadline */
};

static inline void pl_shown_begin(struct pl_shown *x, int64_t since, int64_t until)
{
    atomic_store_explicit(&x->since, since, memory_order_relaxed);
    atomic_store_explicit(&x->until, until, memory_order_relaxed);
    /* Release: who sees the odd number sees what the wait is for, and the frames below. */
    uint32_t turn = atomic_load_explicit(&x->turn, memory_order_relaxed);
    atomic_store_explicit(&x->turn, turn + 1, memory_order_release);
}

static inline void pl_shown_end(struct pl_shown *x)
{
    uint32_t turn = atomic_load_explicit(&x->turn, memory_order_relaxed);
    atomic_store_explicit(&x->turn, turn + 1, memory_order_relaxed);
    /* Release: who saw what is written from now on, also to the stack, sees that number too, and
     * discards it. Pairs with the fence in unchanged(), dump.c. */
    atomic_thread_fence(memory_order_release);
}

static inline void pl_shown_copy(struct pl_shown *to, const struct pl_shown *from)
{
    uint32_t what = atomic_load_explicit(&from->what, memory_order_relaxed);
    uintptr_t object = atomic_load_explicit(&from->object, memory_order_relaxed);
    atomic_store_explicit(&to->what, what, memory_order_relaxed);
    atomic_store_explicit(&to->object, object, memory_order_relaxed);
}

struct pl_strand {
    struct pl_worker *worker; /* NULL: a plain thread */
    struct pl_cancel *cancel; /* innermost node, or NULL */
    struct pl_scope *scope;   /* innermost open scope of this strand's task, or NULL */
    struct pl_wait *waiting;  /* while it waits interruptibly; a plain thread's under `lock` */
    const char *task;         /* name of the running task, or NULL */
    struct pl_locals *locals; /* the values of the running task, or NULL: see local.h */
    struct pl_given *given;   /* its descriptors, or NULL: see given.h */
    uint64_t clean;           /* pl_cancel_epoch when its chain was last found clean; 0: unknown */
    _Atomic uint32_t lock;    /* plain threads only: waiting and scope against cancellers */
    uint32_t lock_word;       /* what a mutex that it holds contains: park.h; 0: not yet known */
    struct pl_shown shown;
};

struct pl_wait {
    _Atomic uint32_t state; /* enum pl_wait_state; a plain thread's futex */
    int bell;               /* what wakes a plain thread that waits in poll(2); -1: none */
    struct pl_strand *strand;
    void (*interrupt)(struct pl_wait *w); /* I/O: instead of being fired, asks the operation to end;
                                             on the worker's thread. NULL: fire */
};

/* The calling strand. Never NULL. Not to be cached across a wait by callers on plain threads
 * only. */
struct pl_strand *pl_strand_current(void);

static inline void pl_wait_init(struct pl_wait *w, struct pl_strand *s)
{
    atomic_init(&w->state, PL_WAIT_ARMED);
    w->bell = -1;
    w->strand = s;
    w->interrupt = 0;
    atomic_store_explicit(&s->shown.what, PL_FOR_OTHER, memory_order_relaxed);
}

/* Says what the wait is for. After pl_wait_init(), before waiting. */
static inline void pl_wait_for(struct pl_wait *w, enum pl_waits_for what, const void *object)
{
    atomic_store_explicit(&w->strand->shown.what, what, memory_order_relaxed);
    atomic_store_explicit(&w->strand->shown.object, (uintptr_t)object, memory_order_relaxed);
}
static inline const void *pl_for_io(unsigned operation, int fd)
{
    return (const void *)(uintptr_t)((uint64_t)operation << 32 | (uint32_t)fd);
}

/* A number that no other strand has at the time: a fiber's, or PL_ID_PLAIN and the thread's of the
 * kernel. 30 bits. */
#define PL_ID_PLAIN (UINT32_C(1) << 29)
uint32_t pl_strand_id(struct pl_strand *s);

/* The lock_word of the strand that the calling thread runs; 0: a plain thread, or a worker between
 * two fibers, that has not asked yet. Each switch to a fiber sets it. */
extern _Thread_local uint32_t pl_lock_word __attribute__((tls_model("initial-exec")));
uint32_t pl_lock_word_slow(void); /* never 0 */

/* For a fiber that is made. On its worker's thread. */
uint32_t pl_fiber_lock_word(struct pl_worker *w);

/* Plain threads that wait in plait without a deadline and were not fired yet:
 *
 *      63                      32 31                       0
 *     +--------------------------+--------------------------+
 *     | how often one began to   | how many there are       |
 *     +--------------------------+--------------------------+
 *
 * The same word at two times: the same threads slept all the time between. */
#define PL_ASLEEP_ONCE (UINT64_C(1) << 32)
extern _Atomic uint64_t pl_asleep;

/* Ends the wait; true when this call did. Any thread. */
bool pl_wait_fire(struct pl_wait *w, enum pl_wait_state why);

/* The same for a fiber's wait, on its worker's thread, that no other thread can end. */
void pl_wait_fire_here(struct pl_wait *w, enum pl_wait_state why);

/* Waits until w is fired, at most until the deadline (0 or PLAIT_NEVER: none), and not when the
 * strand is cancelled: then it returns PL_WAIT_CANCELLED, at once if it is already so and w has not
 * been fired. Call on the strand that w names. */
enum pl_wait_state pl_wait(struct pl_wait *w, int64_t deadline);

/* A plain thread that waits for descriptors too: fds[0] is w->bell, which was set before anybody
 * could fire w. `ready` is called when poll(2) has found something, and may fire w. Who fires w
 * does so under a lock that the waiter takes before it closes the bell. */
struct pollfd;
struct pl_watch {
    struct pollfd *fds;
    unsigned n;
    void (*ready)(struct pl_watch *watch);
};
enum pl_wait_state pl_wait_watching(struct pl_wait *w, int64_t deadline, struct pl_watch *watch);

/* The same as pl_wait(), but neither cancellation nor a deadline ends it: for joins, and for
 * operations that must be reaped. */
void pl_wait_uninterrupted(struct pl_wait *w);

/* Looks again whether the strand is cancelled, and ends its wait if so. On its worker's thread; for
 * a plain thread's strand, on any. */
void pl_strand_interrupt(struct pl_strand *s);

/* A plain thread's `waiting` and `scope` change under this lock. Short, never held while
 * waiting. */
void pl_strand_lock(struct pl_strand *s);
void pl_strand_unlock(struct pl_strand *s);

/* A timer that pl_wait() armed is due. On the worker's own stack. */
struct pl_heap_node;
void pl_strand_timer_due(struct pl_heap_node *node);

/* Whether the chain is marked, as a code; does not look at the clock. */
int pl_strand_marked_slow(struct pl_strand *s);
static inline bool pl_strand_is_clean(const struct pl_strand *s)
{
    return atomic_load(&pl_cancel_epoch) == s->clean;
}
static inline int pl_strand_marked(struct pl_strand *s)
{
    return pl_strand_is_clean(s) ? 0 : pl_strand_marked_slow(s);
}

/* Why what runs on s under the node c is cancelled, or NONE: a node of the chain, or else the
 * executor of s, which a chain that began on a plain thread or in another executor does not
 * contain. */
enum plait_reason pl_strand_reason(const struct pl_strand *s, const struct pl_cancel *c);

/* 0, -ECANCELED or -ETIMEDOUT: looks at the clock, and marks a deadline that has passed. */
int pl_strand_cancelled(struct pl_strand *s);

/* Closes fd by way of the event loop, where calls that wait on it end. The code of close(2).
 * Suspends a fiber, also in a cancelled scope. */
int pl_strand_close(int fd);

/* Where a cancel can come between two steps of a strand that something can cancel: a look whether
 * it has come, the beginning of a wait, and the return from one. Tests cancel at each
 * (os/fault.h); nothing but in a cruel build. */
static inline void pl_strand_checkpoint(const struct pl_strand *s)
{
    if (s->cancel)
        pl_fault_checkpoint();
}

/* Lets the others of its worker go first. 0, or why it is cancelled. */
int pl_strand_yield(struct pl_strand *s);

/* Where a plait call may suspend: in a cruel build it always does, so that no code can rely on
 * luck. */
#if PL_CRUEL
static inline void pl_strand_point(void)
{
    struct pl_strand *s = pl_strand_current();
    if (s->worker)
        pl_strand_yield(s);
}
#else
static inline void pl_strand_point(void)
{
}
#endif

/* After PL_WAIT_CANCELLED: the code to return. Never 0. */
int pl_strand_code(struct pl_strand *s);

#endif
