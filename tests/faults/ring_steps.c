// SPDX-License-Identifier: MIT
// A worker that dies before any instruction between waking for tasks and sleeping again, half-way
// through a slot or a ring entry too: each task counts once.
#include "faults/lib/faults.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TASKS = 3, STEPS_MOST = 100000, ALARM_US = 20000, ALARMS_ASLEEP = 4 };

typedef _Atomic int *counter; // in the shared heap

static int count(const counter *c, int *out)
{
    *out = atomic_fetch_add(*c, 1) + 1;
    return 0;
}
PLAIT_TASK(count, counter, int);

static int where(const void *in, int *out)
{
    (void)in;
    *out = getpid();
    return 0;
}
PLAIT_TASK(where, void, int);

static int worker_of(plait_executor *ex)
{
    plait_future *f;
    int pid = 0;
    CHECK_INT(plait_submit(ex, &f, where, { 0 }), ==, 0);
    CHECK_INT(plait_result(f, &pid), ==, 0);
    plait_free(f);
    return pid;
}

static int await(int pid, int *status)
{
    int n;
    do
        n = waitpid(pid, status, __WALL);
    while (n < 0 && errno == EINTR);
    return n;
}

static void stop_it(int pid)
{
    int status;
    if (ptrace(PTRACE_SEIZE, pid, NULL, NULL) < 0)
        SKIP("no process can be traced here");
    CHECK_INT(ptrace(PTRACE_INTERRUPT, pid, NULL, NULL), ==, 0);
    CHECK_INT(await(pid, &status), ==, pid);
    CHECK(WIFSTOPPED(status));
}

static void on_alarm(int sig)
{
    (void)sig; // ends a waitpid()
}

static void alarm_regularly(void)
{
    struct sigaction a = { .sa_handler = on_alarm };
    struct itimerval often = { { 0, ALARM_US }, { 0, ALARM_US } };
    sigaction(SIGALRM, &a, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
}

// One instruction of its first thread. False: it has gone to sleep.
static bool step(int pid)
{
    int status, alarms = 0;
    CHECK_INT(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), ==, 0);
    while (waitpid(pid, &status, __WALL) < 0) {
        CHECK_INT(errno, ==, EINTR);
        if (++alarms == ALARMS_ASLEEP)
            return false;
    }
    CHECK(WIFSTOPPED(status));
    return true;
}

static void kill_it(int pid)
{
    int status;
    CHECK_INT(kill(pid, SIGKILL), ==, 0);
    CHECK_INT(await(pid, &status), ==, pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void hush(const struct plait_notice *n, void *arg)
{
    (void)n, (void)arg;
}

// It dies before its instruction `at` after it was given tasks. False: it slept before.
static bool die_at(plait_executor *ex, counter counters, long at, int *lost)
{
    plait_future *f[TASKS];
    int pid = worker_of(ex), died = 0;
    bool awake = true;
    stop_it(pid);
    for (int i = 0; i < TASKS; i++) {
        atomic_store(&counters[i], 0);
        CHECK_INT(plait_submit(ex, &f[i], count, { &counters[i] }), ==, 0);
    }
    for (long n = 0; n < at && awake; n++)
        awake = step(pid);
    kill_it(pid);
    for (int i = 0; i < TASKS; i++) {
        int got = 0, e = plait_result(f[i], &got);
        int ran = atomic_load(&counters[i]);
        if (!(e == 0 && got == 1 && ran == 1) && !(e == -EOWNERDEAD && ran <= 1))
            FAIL("dead before instruction %ld: task %d ended with %d and %d, and ran %d times", at,
                 i, e, got, ran);
        died += e != 0;
        plait_free(f[i]);
    }
    CHECK_INT(died, <=, 1);
    *lost += died;
    return awake;
}

TEST(a_worker_dies_at_every_instruction, .limit_s = 1200)
{
    if (getenv("PLAIT_SANITIZER"))
        SKIP("a sanitizer's own instructions are too many");
    plait_executor *ex;
    counter counters = plait_shared_alloc(TASKS * sizeof *counters);
    long at = 0, deaths = 0, apart = getenv("PLAIT_FAULTS_LONG") ? 5 : 197;
    int lost = 0;
    CHECK(counters);
    alarm_regularly();
    CHECK_INT(plait_open(&ex, PLAIT_PROCESSES, .workers = 1, .notice = hush), ==, 0);
    for (; at < STEPS_MOST && die_at(ex, counters, at, &lost); deaths++)
        at += 1 + rand() % (2 * apart - 1);
    check_say("%ld instructions, %ld deaths, %d tasks lost", at, deaths, lost);
    CHECK_INT(at, <, STEPS_MOST);
    CHECK_INT(deaths, >, 10);
    CHECK_INT(lost, >, 0);
    CHECK_INT(lost, <, deaths);
    close_processes(ex);
    plait_shared_free((void *)counters);
}
