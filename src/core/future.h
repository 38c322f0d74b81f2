// SPDX-License-Identifier: MIT
/*
 * future.h - the state of one submitted task, as executors see it.
 *
 * DESIGN
 *   References: the caller of plait_submit() holds one, the executor one from submit to complete.
 *
 *   waiters, the packed word:
 *
 *       63                         2   1     0
 *      +---------------------------+------+------+
 *      | first struct pl_waiter    | LOCK | DONE |
 *      +---------------------------+------+------+
 *
 *   DONE is set once, by pl_future_complete(), with release; it pairs with the acquire load in
 *   plait_done() and in waiting, so that who sees DONE sees code, result and record. LOCK is a spin
 *   bit for the list: waiters are added, removed and fired under it, so a waiter that takes itself
 *   off the list knows that nobody still looks at it.
 *
 *   Who claims the future (notify.h) decides what happens to the task: the worker that starts it,
 *   or the canceller that completes it unstarted.
 */
#ifndef PL_CORE_FUTURE_H
#define PL_CORE_FUTURE_H

#include "core/cancel.h"
#include "core/executor.h"
#include "core/notify.h"

/* Something to be told when a future ends. Lives in the frame of who waits, or on the heap for
 * callbacks. `fire` is called under the list's lock: it must not wait nor touch the future's
 * list. */
struct pl_waiter {
    struct pl_waiter *next;
    void (*fire)(struct pl_waiter *w, plait_future *f);
};

/* What the submit asked for, checked and completed. */
struct pl_asked {
    int64_t deadline, timeout_ns, retry_ns;
    int32_t priority;
    uint32_t retries;
};

/* What only few futures need. */
struct pl_future_extra {
    struct plait_error error;
    char message[256];
    struct pl_asked asked;
    uint32_t lost;                 /* attempts whose worker died */
    struct pl_future_fds *fds;     /* descriptors (given.h), or NULL */
    char *tail;                    /* what its worker wrote to stderr, or NULL; freed with it */
    struct plait_span bytes_in;    /* tasks of bytes: a private copy of the argument */
    struct plait_buffer bytes_out; /* tasks of bytes: the result */
};

struct plait_future {
    struct pl_notify
        notify; /* first: holds the job while it is queued, then its canceller's message */
    const struct plait_task *task;
    struct plait_executor *ex;
    struct pl_cancel cancel;
    _Atomic uintptr_t waiters;
    struct pl_future_extra *extra;
    _Atomic uint32_t refs;
    int32_t code;
    uint32_t out_at;                          /* offset of the result in data */
    uint16_t reason;                          /* enum plait_reason; set with code */
    uint8_t pooled;                           /* allocated from the slab of its executor */
    uint8_t started;                          /* the attempt that ended it had begun */
    int32_t pid;                              /* the worker process that ended it, or 0 */
    uint32_t peak_kib;                        /* of a task that failed there, as in plait_error */
    int64_t cpu_ns;                           /* the same */
    char data[] __attribute__((aligned(16))); /* the argument, then the result */
};

enum { PL_FUTURE_DONE = 1, PL_FUTURE_LOCK = 2 };

static inline void *pl_future_in(plait_future *f)
{
    return f->data;
}

static inline void *pl_future_out(plait_future *f)
{
    return f->data + f->out_at;
}

static inline bool pl_future_is_bytes(const plait_future *f)
{
    return f->task->flags & PLAIT_TASK_IS_BYTES;
}

/* A task of bytes: its argument, and where its result goes (freed with the future). */
static inline struct plait_span *pl_future_bytes_in(plait_future *f)
{
    return &f->extra->bytes_in;
}
static inline struct plait_buffer *pl_future_bytes_out(plait_future *f)
{
    return &f->extra->bytes_out;
}

/* The bytes of its argument. */
static inline struct plait_span pl_future_argument(plait_future *f)
{
    if (pl_future_is_bytes(f))
        return *pl_future_bytes_in(f);
    return (struct plait_span){ pl_future_in(f), f->task->in_bytes };
}

static inline bool pl_future_is_done(const plait_future *f)
{
    /* Acquire: pairs with the release of DONE in pl_future_complete(). */
    return atomic_load_explicit(&((plait_future *)f)->waiters, memory_order_acquire) &
           PL_FUTURE_DONE;
}

/* True for exactly one caller. */
static inline bool pl_future_claim(plait_future *f)
{
    return pl_notify_claim(&f->notify);
}

/* The task's timeout from its start, or 0. */
static inline int64_t pl_future_timeout(const plait_future *f)
{
    return f->extra ? f->extra->asked.timeout_ns : 0;
}

static inline int pl_future_priority(const plait_future *f)
{
    return f->extra ? f->extra->asked.priority : 0;
}

/* The extra part, made at first use; NULL when memory is short. Before completion, by who claimed
 * it. */
struct pl_future_extra *pl_future_extra(plait_future *f);

/* Ends the future: code as the task returned it, or the executor's negative errno. The result must
 * stand in pl_future_out() or pl_future_bytes_out() already, and what only the executor knows of a
 * failure in extra->error and extra->message (error.c fills in the rest). Fires the waiters and
 * gives the executor's reference back. Exactly once, any thread, never waits. */
void pl_future_complete(plait_future *f, int code, enum plait_reason reason);

/* The same if nobody waits for it nor is to be called; else false, and nothing has happened. */
bool pl_future_complete_unwatched(plait_future *f, int code, enum plait_reason reason);

/* Adds a waiter; false when the future is done (the waiter was not added). */
bool pl_future_watch(plait_future *f, struct pl_waiter *w);

/* Takes a waiter off; false when it was fired already. Afterwards nobody refers to it. */
bool pl_future_unwatch(plait_future *f, struct pl_waiter *w);

/* plait_submit_task() in two steps, for who must watch the future before it can end. make: 0 or
 * -ENOMEM; submit: frees the future when it fails. */
int pl_future_make(plait_future **ret, struct plait_executor *ex, const struct plait_task *task,
                   const void *in, const struct plait_submit_options *options);
int pl_future_submit(plait_future *f);

/* Waits until it has ended: 0, -ETIMEDOUT at the deadline, or why the calling strand is
 * cancelled. */
int pl_future_wait(plait_future *f, int64_t deadline);

/* Waits until it has ended, whatever happens to the caller. */
void pl_future_join(plait_future *f);

/* plait_cancel() with a reason. */
int pl_future_cancel(plait_future *f, enum plait_reason reason);

void pl_future_ref(plait_future *f);
void pl_future_unref(plait_future *f);

#endif
