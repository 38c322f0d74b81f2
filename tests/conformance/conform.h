// SPDX-License-Identifier: MIT
/*
 * conform.h - tests written once and run on every executor and on both event-loop backends.
 *
 *     CONFORM(adds)                  // ten tests, adds_on_fibers_uring ... with `ex` open, and
 *     `on` {
 *         plait_future *f;
 *         CHECK_INT(plait_submit(ex, &f, add, { 2, 3 }), ==, 0);
 *         ...
 *     }
 *
 *     CONFORM_LOCAL(...)   only where tasks share the test's memory: fibers and threads
 *     CONFORM_BARE(...)    only `on` is given; the test opens with OPEN_ON(&ex, on, .option = ...)
 *
 * DESIGN. After each test the executor is closed, and the process must have exactly the
 * descriptors, threads and children that it had before.
 *
 * Tasks and test talk through a board: counters and gates that exist once, in whatever process a
 * task runs. The board is an anonymous file, the gates are pipes; worker processes find both
 * through /proc/PID/fd, so nothing has a name that could be left behind. Nobody sleeps to wait for
 * somebody: a test waits until a counter has a value, a task waits at a gate until the test lets it
 * pass.
 */
#ifndef PLAIT_TESTS_CONFORM_H
#define PLAIT_TESTS_CONFORM_H

#include <plait.h>

#include "check.h"

/* What sanitizers do to memory and to faults is not what these tests measure. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CONFORM_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define CONFORM_SANITIZED 1
#endif
#endif
#ifndef CONFORM_SANITIZED
#define CONFORM_SANITIZED 0
#endif

enum { BOARD_COUNTERS = 16, BOARD_GATES = 8 };

struct place {
    const char *name;
    enum plait_kind kind;
    enum plait_io_backend io;
    unsigned workers;
    unsigned tasks_per_worker; /* processes */
};

extern const struct place place_fibers_uring, place_fibers_epoll, place_thread_uring,
    place_thread_epoll, place_threads_uring, place_threads_epoll, place_processes_uring,
    place_processes_epoll, place_bundles_uring, place_bundles_epoll;

/* How many tasks can have started and not ended at one time. */
unsigned place_together(const struct place *on);

/* Whether a pointer means the same to the test and to its tasks. */
static inline bool place_shares(const struct place *on)
{
    return on->kind != PLAIT_PROCESSES;
}

/* Opens an executor there; options that are zero are the place's own. Skips the test where this
 * kernel refuses the backend. */
int place_open(plait_executor **ret, const struct place *on, struct plait_options options);
#define OPEN_ON(ret, on, ...) place_open((ret), (on), (struct plait_options){ __VA_ARGS__ })

/* The bodies of the generated tests. */
void conform_run(const struct place *on, void (*body)(plait_executor *ex, const struct place *on));
void conform_run_bare(const struct place *on, void (*body)(const struct place *on));

/* ---- the board
 * --------------------------------------------------------------------------------- */

/* Adds one; anywhere. Returns the new value. */
unsigned count_up(unsigned counter);
void count_down(unsigned counter);
void count_raise(unsigned counter, unsigned value); /* to at least this */
unsigned count_of(unsigned counter);

/* Waits until the counter is at least n. On a plain thread. */
void count_wait(unsigned counter, unsigned n);

/* Lets n tasks pass; never waits. */
void gate_open(unsigned gate, unsigned n);

/* Waits at a gate: by plait_io_read(), returning 0 or its error; or in read(2), where plait cannot
 * know. */
int gate_pass(unsigned gate);
void gate_block(unsigned gate);
int gate_fd(unsigned gate); /* the reading end */

/* ---- what a process holds
 * ---------------------------------------------------------------------- */

struct holdings {
    int fds, threads, children, mappings;
};
struct holdings holdings_now(void);

/* Fails unless descriptors, threads and children are as before; waits a moment for exits that are
 * under way. */
void holdings_check(const struct holdings *before);

/* ---- checks that hold in a task and on a plain thread
 *
 *     static const struct conform_check checks[] = { { "files", files }, { "errors", errors } };
 *     CONFORM_CHECKS(checks)
 *     CONFORM(in_a_task) { CONFORM_IN_A_TASK(ex, checks); }
 *     TEST(on_a_plain_thread) { CONFORM_ON_A_PLAIN_THREAD(checks); }
 */
struct conform_check {
    const char *name;
    void (*fn)(void);
};

/* The executor of the task that a check is in; on a plain thread one that is open meanwhile. */
plait_executor *conform_here(void);

/* After each check there are as many descriptors as before, on a plain thread. */
void checks_in_a_task(plait_executor *ex, const struct plait_task *perform,
                      const struct conform_check *checks, size_t count);
void checks_on_a_plain_thread(const struct conform_check *checks, size_t count);

#define CONFORM_CHECKS(checks)                                                                     \
    static int conform_perform_one(const size_t *which, void *out)                                 \
    {                                                                                              \
        (void)out;                                                                                 \
        checks[*which].fn();                                                                       \
        return 0;                                                                                  \
    }                                                                                              \
    PLAIT_TASK(conform_perform_one, size_t, void)
#define CONFORM_IN_A_TASK(ex, checks)                                                              \
    checks_in_a_task((ex), &PLAIT_TASK_OF(conform_perform_one), (checks),                          \
                     sizeof(checks) / sizeof *(checks))
#define CONFORM_ON_A_PLAIN_THREAD(checks)                                                          \
    checks_on_a_plain_thread((checks), sizeof(checks) / sizeof *(checks))

#define CONFORM_ONE_(run, name, where, ...)                                                        \
    TEST(name##_on_##where, ##__VA_ARGS__)                                                         \
    {                                                                                              \
        run(&place_##where, conform_##name);                                                       \
    }
#define CONFORM_LOCALS_(run, name, ...)                                                            \
    CONFORM_ONE_(run, name, fibers_uring, ##__VA_ARGS__)                                           \
    CONFORM_ONE_(run, name, fibers_epoll, ##__VA_ARGS__)                                           \
    CONFORM_ONE_(run, name, thread_uring, ##__VA_ARGS__)                                           \
    CONFORM_ONE_(run, name, thread_epoll, ##__VA_ARGS__)                                           \
    CONFORM_ONE_(run, name, threads_uring, ##__VA_ARGS__)                                          \
    CONFORM_ONE_(run, name, threads_epoll, ##__VA_ARGS__)
#define CONFORM_ALL_(run, name, ...)                                                               \
    CONFORM_LOCALS_(run, name, ##__VA_ARGS__)                                                      \
    CONFORM_ONE_(run, name, processes_uring, ##__VA_ARGS__)                                        \
    CONFORM_ONE_(run, name, processes_epoll, ##__VA_ARGS__)                                        \
    CONFORM_ONE_(run, name, bundles_uring, ##__VA_ARGS__)                                          \
    CONFORM_ONE_(run, name, bundles_epoll, ##__VA_ARGS__)

#define CONFORM_WITH_(which, run, params, name, ...)                                               \
    static void conform_##name params;                                                             \
    which(run, name, ##__VA_ARGS__) static void conform_##name params

#define CONFORM_EX_ (plait_executor * ex, const struct place *on __attribute__((unused)))
#define CONFORM(name, ...)                                                                         \
    CONFORM_WITH_(CONFORM_ALL_, conform_run, CONFORM_EX_, name, ##__VA_ARGS__)
#define CONFORM_LOCAL(name, ...)                                                                   \
    CONFORM_WITH_(CONFORM_LOCALS_, conform_run, CONFORM_EX_, name, ##__VA_ARGS__)
#define CONFORM_BARE(name, ...)                                                                    \
    CONFORM_WITH_(CONFORM_ALL_, conform_run_bare, (const struct place *on), name, ##__VA_ARGS__)
#define CONFORM_LOCAL_BARE(name, ...)                                                              \
    CONFORM_WITH_(CONFORM_LOCALS_, conform_run_bare, (const struct place *on), name, ##__VA_ARGS__)

#endif
