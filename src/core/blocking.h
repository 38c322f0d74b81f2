// SPDX-License-Identifier: MIT
// blocking.h - calls that block, on pools of plain threads: plait_blocking()'s, which are waited
// for, and calls that may be left behind.
#ifndef PL_CORE_BLOCKING_H
#define PL_CORE_BLOCKING_H

#include <stdbool.h>
#include <stdint.h>

struct pl_sched;
struct pl_wait;

/* One call. Of plait_blocking() it lives in the caller's frame; one that may be left behind is on
 * the heap, embedded in what it works on. */
struct pl_call {
    struct pl_call *next, **link; /* link: NULL once a thread took it */
    int (*fn)(void *arg);
    void *arg;
    void (*release)(void *arg); /* frees what may be left behind, the call itself included */
    int result;
    bool done, left;
    struct pl_wait *waiting;
};

/* Runs call->fn(call->arg) where it may block for ever, and waits at most until the scope of the
 * caller ends. 0: it has ended, and everything is the caller's. -ETIMEDOUT, -ECANCELED by the
 * scope, -EAGAIN when no thread can be made: everything has been released, or will be by the thread
 * when fn returns; the caller must not touch it. fn, arg and release are set, the rest is zero.
 * Suspends a fiber, blocks a thread. */
int pl_call_leavable(struct pl_call *call);

/* Ends and joins the pool's threads; nothing is in it any more. */
void pl_blocking_stop(struct pl_sched *s);

/* How many threads the pool has, if all are idle and nothing is queued; -1 if not. Never waits. */
int pl_blocking_idle(struct pl_sched *s);

#endif
