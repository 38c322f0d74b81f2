// SPDX-License-Identifier: MIT
// Scopes: a block that owns the tasks started in it.
//
//     plait_scope s;
//     plait_scope_begin(&s, ex, .deadline = plait_after(2 * PLAIT_SECOND));
//     plait_go(&s, &page_a, fetch, { url_a });
//     plait_go(&s, &page_b, fetch, { url_b });
//     int e = plait_scope_end(&s);          // both have ended
//
// Scopes nest like braces on the task or thread that began them. A task that fails cancels its
// siblings. Once a scope is cancelled every plait call in it that could wait returns the scope's
// code (-ETIMEDOUT if a deadline did it, else -ECANCELED) until the scope is left; an operation
// that completed returns its result all the same.
//
// Calls that do not say that they suspend never suspend. Everything here works in tasks of every
// executor and on plain threads.
#ifndef PLAIT_SCOPE_H
#define PLAIT_SCOPE_H

#include <plait/future.h>

/* The caller's storage; its members are private. Must not move between begin and end. */
typedef struct plait_scope {
    PLAIT_ALIGNED_(16) uint64_t private_[88];
} plait_scope;

/* A task of a scope that failed. */
struct plait_failure {
    const char *task;         /* its name */
    void *out;                /* as plait_go() was given it: tells which one */
    int code;                 /* what it returned, or why it did not */
    enum plait_reason reason; /* NONE: the code is its own; else who ended it, or kept it from
                                 starting */
};

/* All failures of a scope, in the order in which its tasks ended. The caller's; begins as zeros. */
struct plait_failures {
    struct plait_failure *at;
    size_t count;
    size_t unlisted; /* more of them, for which there was no memory */
    size_t private_;
};

/* How plait_scope_begin() begins a scope. Zero means default. */
struct plait_scope_options {
    size_t size;                     /* sizeof(struct plait_scope_options) */
    int64_t deadline;                /* absolute; the outer scope's when that is earlier */
    bool keep_going;                 /* a failure does not cancel the siblings */
    struct plait_failures *failures; /* where to list what fails; read it once the scope has ended,
                                        then plait_failures_free() */
};

PLAIT_BEGIN

/* ex: where plait_go() starts tasks; NULL for the executor of the calling task.
 * 0, or -EINVAL: NULL on a plain thread, where there is none. */
PLAIT_API int plait_scope_begin_with(plait_scope *s, plait_executor *ex,
                                     const struct plait_scope_options *options);

/* Starts a task owned by the scope; its result goes to *out (may be NULL), which must live until
 * the scope ends. Called by the task or thread that began the scope.
 * A task that cannot be started fails the scope with the same code.
 * -EAGAIN, -ENOMEM, -ESHUTDOWN, -ENOENT, -EMSGSIZE as plait_submit(); -ECANCELED, -ETIMEDOUT: the
 * scope is cancelled. Suspends a fiber, blocks a thread, only while the queue is full. */
PLAIT_API int plait_go_task(plait_scope *s, const struct plait_task *task, const void *in,
                            void *out);

/* Cancels everything in the scope, from any thread, as long as the scope has not ended. */
PLAIT_API void plait_scope_cancel(plait_scope *s);

/* The same, and says why: a sentence that stays valid until the scope has ended, for
 * plait_cancel_reason(). The first cancel of a scope counts. */
PLAIT_API void plait_scope_cancel_because(plait_scope *s, const char *why);

/* Waits until every task of the scope has ended, and leaves it. Returns 0, or the first error, or
 * -ETIMEDOUT, -ECANCELED where the scope was cancelled from outside. Always waits: with a cancelled
 * scope too. Suspends a fiber, blocks a thread. */
PLAIT_API int plait_scope_end(plait_scope *s);

/* Gives back what a scope has listed; what it held is zeros again. NULL is allowed. */
PLAIT_API void plait_failures_free(struct plait_failures *f);

/* 0, or why the calling task should stop: -ECANCELED, -ETIMEDOUT. For long computations; a few
 * nanoseconds. Never suspends. */
PLAIT_API int plait_cancelled(void);

/* Who cancelled the calling task; PLAIT_REASON_NONE: nobody. *why (may be NULL) becomes the nearest
 * sentence of a plait_scope_cancel_because() that it is in, or NULL. A task in a worker process
 * learns the reason, and no sentence from outside the process. */
PLAIT_API enum plait_reason plait_cancel_reason(const char **why);

/* The deadline in force for the calling task: the nearest of its scopes', or PLAIT_NEVER. */
PLAIT_API int64_t plait_deadline(void);

/* Runs fn(arg) with cancellation held off until `deadline`, so that clean-up can wait and do I/O
 * in a cancelled scope. Returns what fn returns, and suspends where fn does. -EINVAL without a
 * finite deadline. */
PLAIT_API int plait_shield(int64_t deadline, int (*fn)(void *arg), void *arg);

PLAIT_END

/* plait_scope_begin(&s, ex), or with options: plait_scope_begin(&s, ex, .deadline = d) */
#define plait_scope_begin(s, ...) PLAIT_SCOPE_BEGIN_(s, __VA_ARGS__, )
#define PLAIT_SCOPE_BEGIN_(s, ex, ...)                                                             \
    plait_scope_begin_with((s), (ex),                                                              \
                           (const struct plait_scope_options *)PLAIT_LITERAL_(                     \
                               struct plait_scope_options,                                         \
                               { .size = sizeof(struct plait_scope_options), __VA_ARGS__ }))

/* plait_go(&s, &primes, count_primes, { 2, 100000 }): where the result goes, the task, and braces
 * that initialise the declared argument type. */
#define plait_go(s, out, fn, ...)                                                                  \
    plait_go_task((s), &PLAIT_TASK_OF(fn), PLAIT_LITERAL_(fn##_plait_in, __VA_ARGS__),             \
                  PLAIT_OUT_PTR_(fn##_plait_out, out))

/* The same from an existing object. */
#define plait_go_at(s, out, fn, in)                                                                \
    plait_go_task((s), &PLAIT_TASK_OF(fn), PLAIT_IN_PTR_(fn##_plait_in, in),                       \
                  PLAIT_OUT_PTR_(fn##_plait_out, out))

#endif
