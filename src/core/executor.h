// SPDX-License-Identifier: MIT
/*
 * executor.h - what every executor is to the rest of plait: a name, options, and a table of calls.
 *
 * A new kind of executor fills in one struct pl_executor_ops and embeds a struct plait_executor as
 * its first member; nothing else in plait, and no caller, changes.
 */
#ifndef PL_CORE_EXECUTOR_H
#define PL_CORE_EXECUTOR_H

#include "core/cancel.h"
#include "core/slab.h"
#include <plait/executor.h>
#include <plait/future.h>

struct pl_child;
struct plait_executor;

struct pl_text;

struct pl_executor_ops {
    /* Takes the task over; the executor then owns one reference to the future and completes it
     * exactly once by pl_future_complete(). When the queue is full: waits or -EAGAIN as `when_full`
     * says. On failure nothing has happened. */
    int (*submit)(struct plait_executor *ex, plait_future *f);

    /* Somebody marked f->cancel (or its deadline passed). Ends a task that has not started, tells
     * one that runs. Any thread, never waits. */
    void (*cancel)(struct plait_executor *ex, plait_future *f);

    /* Stops accepting (ex->state says how) and returns at once. Repeatable, any thread. */
    void (*shutdown)(struct plait_executor *ex);

    /* Waits until everything has ended; joins threads and processes and releases all but the memory
     * of the executor itself. Called once. */
    void (*close)(struct plait_executor *ex);

    /* Frees the memory: the last future has gone. */
    void (*free)(struct plait_executor *ex);

    void (*caps)(const struct plait_executor *ex, struct plait_caps *ret);

    /* A plain thread waits for f: the executor may use that thread to bring the end about (drive,
     * poll, reap). Returns when f is done, or when it has nothing to gain from the thread, or at
     * the deadline. May be NULL. */
    void (*help)(struct plait_executor *ex, plait_future *f, int64_t deadline);

    /* Appends a line about one of its workers; false: it has no such. In a section of looking
     * (look.h), so async-signal-safe. NULL where the workers are a scheduler's. */
    bool (*show)(const struct plait_executor *ex, unsigned worker, struct pl_text *t);

    bool priorities; /* what waits is started in their order */

    /* For .foreign; NULL otherwise. */
    int (*fd)(struct plait_executor *ex);
    int (*turn)(struct plait_executor *ex);
};

enum pl_executor_state {
    PL_EXECUTOR_OPEN = 0,
    PL_EXECUTOR_DRAINING = 1,
    PL_EXECUTOR_STOPPING = 2,
};

struct plait_executor {
    const struct pl_executor_ops *ops;
    struct plait_options options; /* every default filled in; name points to `name` */
    char name[32];
    struct pl_cancel root;       /* marked SHUTDOWN by PLAIT_STOP */
    _Atomic uint32_t state;      /* enum pl_executor_state; only grows */
    _Atomic uint32_t refs;       /* one of the open handle, one a future that is not from the
                                  slabs */
    struct plait_executor *next; /* the registry of executors that have not ended */
    uint64_t serial;             /* there: the younger, the greater */
    bool closing;                /* plait_close() was called; under the registry's lock */
    _Alignas(64) struct pl_slab_shared slabs; /* of its futures */
};

/* Fills in the common part; options are checked and completed already. */
void pl_executor_init(struct plait_executor *ex, const struct pl_executor_ops *ops,
                      const struct plait_options *options);
static inline void pl_executor_ref(struct plait_executor *ex)
{
    atomic_fetch_add_explicit(&ex->refs, 1, memory_order_relaxed);
}
void pl_executor_unref(struct plait_executor *ex);

/* It ends, and its workers took so many records of its slabs more than they freed: futures that are
 * still held keep one reference together from now on, which the last of them gives back. */
void pl_executor_close_slabs(struct plait_executor *ex, uint64_t taken);

/* Hands a notice to the user's callback, or writes its message to stderr. */
void pl_notice(struct plait_executor *ex, enum plait_notice_kind kind, const char *task, int64_t ns,
               const char *message);

/* How many callbacks of the user's are inside a notice. */
extern _Atomic uint32_t pl_noticing;

/* Remembers why a call fails, for plait_last_error(); returns `code`. */
int pl_fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
