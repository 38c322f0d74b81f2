// SPDX-License-Identifier: MIT
/*
 * strand.h - a flow of control, and how it waits: the same for a fiber and for a plain thread.
 *
 * DESIGN
 *   Everything that waits in plait waits through struct pl_wait: a word that goes from ARMED to the reason
 *   why the wait ended, exactly once, by compare-and-swap. Whoever wins the swap makes the strand run
 *   again; all others do nothing. A fiber is made ready on its own worker (directly, or through the
 *   worker's inbox from another thread); a plain thread sleeps in a futex on the word itself.
 *
 *   The record lives in the waiting frame. Whoever may fire it finds it through some list; the waiter
 *   takes itself off that list under the list's lock before its frame goes, and lists fire under their
 *   lock: so nobody fires a dead record.
 *
 *   Cancellation. A canceller marks the node (cancel.h) and calls pl_strand_notify(): for a fiber that
 *   posts a message to its worker, which, on its own thread, looks whether the strand is cancelled and
 *   waits interruptibly, and fires the wait; for a plain thread it fires the wait under the strand's lock.
 *   A stale or superfluous notification finds nothing and does nothing. Fibers' memory is never unmapped
 *   while their executor is open, so a notification may come late.
 */
#ifndef PL_CORE_STRAND_H
#define PL_CORE_STRAND_H

#include "core/cancel.h"
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
};

struct pl_strand {
    struct pl_worker *worker;   /* NULL: a plain thread */
    struct pl_cancel *cancel;   /* innermost node, or NULL */
    struct pl_scope *scope;     /* innermost open scope of this strand's task, or NULL */
    struct pl_wait *waiting;    /* while it waits interruptibly; a plain thread's under `lock` */
    const char *task;           /* name of the running task, or NULL */
    _Atomic uint32_t lock;      /* plain threads only: waiting and scope against cancellers */
};

struct pl_wait {
    _Atomic uint32_t state; /* enum pl_wait_state; a plain thread's futex */
    struct pl_strand *strand;
    void (*interrupt)(struct pl_wait *w); /* I/O: instead of being fired, asks the operation to end;
                                             on the worker's thread. NULL: fire */
};

/* The calling strand. Never NULL. Not to be cached across a wait by callers on plain threads only. */
struct pl_strand *pl_strand_current(void);

static inline void pl_wait_init(struct pl_wait *w, struct pl_strand *s)
{
    atomic_init(&w->state, PL_WAIT_ARMED);
    w->strand = s;
    w->interrupt = 0;
}

/* Ends the wait; true when this call did. Any thread. */
bool pl_wait_fire(struct pl_wait *w, enum pl_wait_state why);

/* Waits until w is fired, at most until the deadline (0 or PLAIT_NEVER: none), and not when the strand is
 * cancelled: then it returns PL_WAIT_CANCELLED, at once if it is already so and w has not been fired.
 * Call on the strand that w names. */
enum pl_wait_state pl_wait(struct pl_wait *w, int64_t deadline);

/* The same, but neither cancellation nor a deadline ends it: for joins, and for operations that must be
 * reaped. */
void pl_wait_uninterrupted(struct pl_wait *w);

/* Looks again whether the strand is cancelled; see above. Any thread. */
void pl_strand_notify(struct pl_strand *s);

/* 0, -ECANCELED or -ETIMEDOUT: marks an expired deadline. */
int pl_strand_cancelled(struct pl_strand *s);

/* After PL_WAIT_CANCELLED: the code to return. Never 0. */
int pl_strand_code(struct pl_strand *s);

#endif
