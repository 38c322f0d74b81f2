// SPDX-License-Identifier: MIT
/*
 * system.c - every allocation and every system call of child processes, signals, walks and timers
 * fails once.
 *
 * DESIGN. As in faults.c: each part runs with the first failure, then with the second, and so on
 * until none was hit any more; on a plain thread, and in a task. Each run must give what it should,
 * or a clean error, and leave no descriptor, thread or process behind, not even a zombie.
 *
 * Needs a build with -Dcruel=true, where src/os/fault.h has its door.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conformance/tasks.h"
#include "os/fault.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/lsan_interface.h>
#define CHECK_LEAKS() CHECK_INT(__lsan_do_recoverable_leak_check(), ==, 0)
#else
#define CHECK_LEAKS() (void)0
#endif

#if !PL_CRUEL

TEST(faults)
{
    SKIP("needs a build with -Dcruel=true");
}

#else

static int part_run(void)
{
    struct plait_child_output o;
    char *argv[] = { "sh", "-c", "cat; echo more; echo e >&2", NULL };
    int e = plait_child_run(&o, argv, .input = { "input\n", 6 });
    if (e == 0) {
        CHECK_INT(o.out.bytes, ==, 11);
        CHECK_INT(o.err.bytes, ==, 2);
        CHECK_INT(o.exit.status, ==, 0);
    }
    plait_child_output_done(&o);
    return e;
}

static int part_end(void)
{
    plait_child *c = NULL;
    struct plait_exit end = { .status = 5 };
    int e = plait_child_spawn(&c, (char *[]){ "sleep", "60", NULL }, .out = PLAIT_CHILD_NULL,
                              .in = PLAIT_CHILD_PIPE);
    if (e < 0) {
        CHECK(c == NULL);
        return e;
    }
    e = plait_child_end(c, &end);
    CHECK_INT(end.signal, ==, e == 0 ? SIGTERM : 0);
    plait_child_free(c);
    return e;
}

static int part_signals(void)
{
    plait_signals *s = NULL;
    struct plait_signal got;
    int e = plait_signals_new(&s, SIGUSR1, SIGUSR2);
    if (e < 0) {
        CHECK(s == NULL);
        return e;
    }
    kill(getpid(), SIGUSR1);
    e = plait_get(plait_signals_channel(s), &got);
    CHECK(e < 0 || got.number == SIGUSR1);
    plait_signals_free(s);
    return e;
}

static void set(void *arg)
{
    plait_event_set(arg);
}

static int part_timers(void)
{
    plait_timers *ts = NULL;
    plait_timer timer = { { 0 } };
    plait_event fired = PLAIT_EVENT_INIT;
    int e = plait_timers_new(&ts);
    if (e < 0) {
        CHECK(ts == NULL);
        return e;
    }
    plait_timer_start(ts, &timer, plait_after(PLAIT_MILLISECOND), set, &fired);
    e = plait_event_wait(&fired, PLAIT_NEVER);
    plait_timers_free(ts);
    return e;
}

static int part_walk(void)
{
    plait_walk *w = NULL;
    struct plait_entry entry;
    struct stat st;
    const char *source = getenv("PLAIT_SOURCE");
    char start[300];
    snprintf(start, sizeof start, "%s/src/arch", source ? source : "/etc");
    int e = plait_file_stat(start, &st), files = 0, errors = 0, r;
    if (e < 0)
        return e;
    e = plait_walk_new(&w, start, .leave = true);
    if (e < 0) {
        CHECK(w == NULL);
        return e;
    }
    while ((r = plait_walk_next(w, &entry)) != 0) {
        files += r == 1;
        errors += r < 0 || entry.error < 0;
        CHECK_INT(errors, <, 10); // the call that failed can be made again
    }
    plait_walk_free(w);
    CHECK(errors > 0 || files > 5);
    return errors > 0 ? -EIO : 0;
}

static int (*const parts[])(void) = { part_run, part_end, part_signals, part_timers, part_walk };
enum { PARTS = sizeof parts / sizeof *parts };

static int do_part(const int *which, void *out)
{
    (void)out;
    return parts[*which]();
}
PLAIT_TASK(do_part, int, void);

static void fail_each(int (*run)(int which), int which, enum pl_fault_kind kind, int error)
{
    CHECK_INT(run(which), ==, 0);
    struct holdings before = holdings_now();
    unsigned n = 1, failed = 0;
    for (bool fired = true; fired; n++) {
        check_say("part %d: failure %u of kind %d with %s", which, n, kind, strerrorname_np(error));
        pl_fault_arm(kind, n, error);
        int e = run(which);
        fired = pl_fault_fired(kind);
        pl_fault_arm(kind, 0, 0);
        failed += e < 0;
        if (!fired)
            CHECK_INT(e, ==, 0);
        holdings_check(&before);
        CHECK_LEAKS();
    }
    CHECK_INT(failed, >, 0);
}

static void fail_all(int (*run)(int which))
{
    for (int i = 0; i < PARTS; i++) {
        fail_each(run, i, PL_FAULT_ALLOC, ENOMEM);
        fail_each(run, i, PL_FAULT_SYSCALL, EAGAIN);
        fail_each(run, i, PL_FAULT_SYSCALL, EMFILE);
    }
}

static int on_this_thread(int which)
{
    return parts[which]();
}

TEST(on_a_plain_thread, .limit_s = 240)
{
    fail_all(on_this_thread);
}

static int in_a_task(int which)
{
    plait_executor *ex;
    int e = plait_open(&ex, PLAIT_FIBERS, .notice = ignore_notice);
    if (e < 0)
        return e;
    plait_future *f;
    e = plait_submit(ex, &f, do_part, { which });
    if (e == 0) {
        e = plait_result(f, NULL);
        plait_free(f);
    }
    CHECK_INT(plait_close(ex), ==, 0);
    return e;
}

TEST(in_a_task_of_fibers, .limit_s = 240)
{
    fail_all(in_a_task);
}

#endif
