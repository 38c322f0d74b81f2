// SPDX-License-Identifier: MIT
// Futures: the outcome of one submitted task.
//
//     plait_future *f;
//     plait_submit(ex, &f, count_primes, { 2, 100000 });
//     long primes;
//     int e = plait_result(f, &primes);     // what the task returned, or why it did not
//     plait_free(f);
//
// Every future completes: by the task's return, a cancel, a worker's death or the executor's end.
//
// Calls that do not say that they suspend never suspend. Everything here works in tasks of every
// executor and on plain threads.
#ifndef PLAIT_FUTURE_H
#define PLAIT_FUTURE_H

#include <plait/executor.h>
#include <plait/task.h>

/* Held by who submitted the task, until plait_free(). */
typedef struct plait_future plait_future;

/* Why a task has no result of its own. */
enum plait_reason {
    PLAIT_REASON_NONE = 0, /* it returned; the code is its own */
    PLAIT_REASON_USER,     /* plait_cancel() or plait_scope_cancel() */
    PLAIT_REASON_DEADLINE, /* its deadline or a scope's passed */
    PLAIT_REASON_SIBLING,  /* another task of its scope failed */
    PLAIT_REASON_PARENT,   /* the scope that owns its scope was cancelled */
    PLAIT_REASON_SHUTDOWN, /* the executor was stopped */
    PLAIT_REASON_DIED,     /* the worker process died */
};

/* What is known of a failure. Valid until plait_free(). */
struct plait_error {
    int code; /* as plait_result() returns it */
    enum plait_reason reason;
    const char *task;     /* the task's name */
    const char *executor; /* the executor's name */
    int pid;              /* the worker process that ran it, or 0 */
    int signal;           /* that killed the worker, or 0 */
    int exit_status;      /* with which the worker exited, or -1 */
    int64_t cpu_ns;       /* PLAIT_PROCESSES, else 0: CPU time that the dead worker had used in all;
                             of a task that returned, what its worker's thread used meanwhile, give
                             or take a millisecond */
    int64_t max_rss;      /* peak resident bytes of its worker process until then, or 0 */
    const char *message;  /* a sentence */
    bool core_dumped;     /* the dead worker left a core dump */
    unsigned attempts;    /* how often it was started; 0: it never was */
    uint64_t digest;      /* plait_digest() of its argument's bytes */
    /* With plait_worker_options.capture_stderr: the end, at most 4 KiB, of what its worker wrote to
     * stderr since it began, other tasks of that worker included; "" otherwise. NUL bytes are
     * replaced by '?'. */
    const char *stderr_tail;
};

/* Of plait_submit_options.priority. */
enum { PLAIT_PRIORITY_LOWEST = -32, PLAIT_PRIORITY_HIGHEST = 31 };

/* Limits of one task; zero means none. */
struct plait_submit_options {
    size_t size;        /* sizeof(struct plait_submit_options) */
    int64_t deadline;   /* absolute; covers the wait in the queue, and all attempts */
    int64_t timeout_ns; /* from its start; anew for each attempt */
    int priority;       /* PLAIT_PROCESSES: of the tasks that wait, the highest starts first, equal
                           ones in the order of their submits; default 0 */
    unsigned retries;   /* the task may be run more than once (it is idempotent): so often it is
                           started again when its worker dies. A death that a cancel, a deadline or
                           a timeout has brought about is none, nor is an error of the task's own.
                           Accepted everywhere: where no task can be lost it changes nothing */
    int64_t retry_ns;   /* the pause before the first of them, doubled for each that follows, up to
                           a minute; default 10 ms */
};

PLAIT_BEGIN

/* Starts a task; the argument's bytes are copied. `options` may be NULL. On success *ret is the
 * caller's to plait_free(). ret may be NULL: nobody wants the outcome.
 * -EAGAIN     the queue is full and the executor was opened with PLAIT_FULL_FAIL
 * -ESHUTDOWN  the executor is closing
 * -ENOMEM
 * -ENOENT     PLAIT_PROCESSES: the workers do not know the task (its module was loaded later)
 * -EMSGSIZE   larger than plait_caps().max_bytes
 * -EINVAL     an option out of its range
 * -ENOTSUP    a priority, where plait_caps().priorities is false
 * -ECANCELED, -ETIMEDOUT  the calling task's scope ended while it waited for room
 * Suspends a fiber, blocks a thread, only while the queue is full. */
PLAIT_API int plait_submit_task(plait_executor *ex, plait_future **ret,
                                const struct plait_task *task, const void *in,
                                const struct plait_submit_options *options);

/* Waits until the task has ended; copies its result to *out (NULL: not wanted; untouched unless the
 * code is 0 or more) and returns its code. Repeatable, from several threads and fibers.
 * -ECANCELED  the task was cancelled, or the caller's own scope was (plait_done() tells)
 * -ETIMEDOUT  the same for a deadline
 * -EOWNERDEAD the worker process died; plait_error() says how
 * -EDEADLK    a task waits for itself
 * -ENOMEM     there was no memory to start the task
 * Suspends a fiber, blocks a thread. */
PLAIT_API int plait_result(plait_future *f, void *out);

/* As plait_result(), for a task of bytes: a view that stays valid until plait_free(). */
PLAIT_API int plait_result_bytes(plait_future *f, struct plait_span *out);

/* Whether the task has ended. */
PLAIT_API bool plait_done(const plait_future *f);

/* Asks the task to end. Not started: it never starts. Running: its plait calls return -ECANCELED,
 * and a worker process is killed after the grace. Returns 0, or -EALREADY when it had ended or was
 * cancelled before. Does not wait for the end. */
PLAIT_API int plait_cancel(plait_future *f);

/* Calls fn(f, arg) once when the task has ended: at once if it has, else on the thread that ends
 * it. fn must be short and must not wait. f is valid in it. 0 or -ENOMEM. */
PLAIT_API int plait_on_done(plait_future *f, void (*fn)(plait_future *f, void *arg), void *arg);

/* The record of a task that has ended with an error; NULL while it runs and when it succeeded. The
 * first call for a future reads its whole argument, for the digest. */
PLAIT_API const struct plait_error *plait_error(plait_future *f);

/* The number by which an argument is found again: XXH64 (seed 0) of the bytes, the same on every
 * machine; of a file it is what `xxhsum -H64` prints. Padding of a structure counts. */
PLAIT_API uint64_t plait_digest(const void *data, size_t bytes);

/* Gives the future back. A task that has not ended goes on; nobody will see its outcome.
 * NULL is allowed. */
PLAIT_API void plait_free(plait_future *f);

/* What plait_wait() waits for. */
enum plait_when {
    PLAIT_ANY = 1,         /* one has ended */
    PLAIT_ALL = 2,         /* all have ended */
    PLAIT_FIRST_ERROR = 3, /* one has ended with an error, or all have ended */
};

/* Waits for several; *index (may be NULL) is the one that ended the wait: the lowest that has ended
 * (ANY), the first found with an error (FIRST_ERROR; n when there is none), n (ALL).
 * 0, -ETIMEDOUT at the deadline, -ECANCELED by the caller's scope, -EINVAL when n is 0 with
 * PLAIT_ANY, -ENOMEM. Suspends a fiber, blocks a thread. */
PLAIT_API int plait_wait(plait_future *const *futures, size_t n, enum plait_when when,
                         int64_t deadline, size_t *index);

/* Iterates over futures in the order in which they end, O(1) a step.
 *
 *     plait_completed *it;
 *     plait_completed_new(&it, futures, n);
 *     while (plait_completed_next(it, &f, PLAIT_NEVER) == 1) ...
 *     plait_completed_free(it);
 *
 * new: 0 or -ENOMEM. next: 1 and *ret; 0 when all were handed out; -ETIMEDOUT at the deadline,
 * -ECANCELED by the caller's scope; suspends a fiber, blocks a thread. The futures stay the
 * caller's and may be freed once handed out. */
typedef struct plait_completed plait_completed;
PLAIT_API int plait_completed_new(plait_completed **ret, plait_future *const *futures, size_t n);
PLAIT_API int plait_completed_next(plait_completed *it, plait_future **ret, int64_t deadline);
PLAIT_API void plait_completed_free(plait_completed *it);

PLAIT_END

/* plait_submit(ex, &f, fn, { 2, 100000 }): the braces initialise the declared argument type. */
#define plait_submit(ex, ret, fn, ...)                                                             \
    plait_submit_task((ex), (ret), &PLAIT_TASK_OF(fn), PLAIT_LITERAL_(fn##_plait_in, __VA_ARGS__), \
                      NULL)

/* The same from an existing object. */
#define plait_submit_at(ex, ret, fn, in)                                                           \
    plait_submit_task((ex), (ret), &PLAIT_TASK_OF(fn), PLAIT_IN_PTR_(fn##_plait_in, in), NULL)

/* plait_submit_with(ex, &f, fn, &in, .timeout_ns = PLAIT_SECOND) */
#define plait_submit_with(ex, ret, fn, in, ...)                                                    \
    plait_submit_task((ex), (ret), &PLAIT_TASK_OF(fn), PLAIT_IN_PTR_(fn##_plait_in, in),           \
                      (const struct plait_submit_options *)PLAIT_LITERAL_(                         \
                          struct plait_submit_options,                                             \
                          { .size = sizeof(struct plait_submit_options), __VA_ARGS__ }))

/* A task of bytes. */
#define plait_submit_bytes(ex, ret, fn, bytes_data, bytes_count)                                   \
    plait_submit_task((ex), (ret), &PLAIT_TASK_OF(fn),                                             \
                      PLAIT_LITERAL_(fn##_plait_in, { (bytes_data), (bytes_count) }), NULL)

#endif
