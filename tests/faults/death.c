// SPDX-License-Identifier: MIT
// A worker's death, in every way, fails exactly the future that it was running, with its record.
#include "faults/lib/faults.h"
#include "lib/start.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static int add(const struct add *in, int64_t *out)
{
    *out = in->a + in->b;
    return 0;
}
PLAIT_TASK(add, struct add, int64_t);

static int where(const void *in, struct whereabouts *out)
{
    (void)in;
    *out = (struct whereabouts){ getpid(), getpgrp(), getppid() };
    return 0;
}
PLAIT_TASK(where, void, struct whereabouts);

enum end { RAISE, EXIT, OVERFLOW, MEMORY, RETURN };

struct ending {
    enum end how;
    int number;
};

static int deeper(volatile char *above, int n)
{
    volatile char here[4096];
    here[0] = above[0];
    here[4095] = (char)n;
    return n == 0 ? here[0] : deeper(here, n - 1) + here[4095];
}

// As the kernel ends a process when memory is short: it may touch no more, and is killed.
static void use_all_memory(void)
{
    struct rlimit limit = { 64 << 20, 64 << 20 };
    setrlimit(RLIMIT_AS, &limit);
    for (;;) {
        char *p = malloc(1 << 20);
        if (!p)
            raise(SIGKILL);
        memset(p, 1, 1 << 20);
    }
}

static int end_badly(const struct ending *in, void *out)
{
    (void)out;
    // No core dumps of deaths that are meant.
    setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
    switch (in->how) {
    case RAISE:
        signal(in->number, SIG_DFL);
        raise(in->number);
        break;
    case EXIT:
        exit(in->number);
    case OVERFLOW:
        return deeper((volatile char *)"", 1 << 20);
    case MEMORY:
        use_all_memory();
        break;
    case RETURN:
        return in->number;
    }
    return 0;
}
PLAIT_TASK(end_badly, struct ending, void);

// One bad end among many good tasks, on two workers.
static void among_others(struct ending bad, int sig, int status, const char *says)
{
    enum { N = 200 };
    plait_executor *ex = open_processes(2);
    plait_future *good[N], *f = NULL;
    for (int i = 0; i < N; i++) {
        if (i == N / 2)
            CHECK_INT(plait_submit_at(ex, &f, end_badly, &bad), ==, 0);
        CHECK_INT(plait_submit(ex, &good[i], add, { i, 1000 }), ==, 0);
    }
    CHECK_INT(plait_result(f, NULL), ==, -EOWNERDEAD);
    const struct plait_error *e = plait_error(f);
    CHECK(e);
    check_say("%s", e->message);
    CHECK_INT(e->code, ==, -EOWNERDEAD);
    CHECK_INT(e->reason, ==, PLAIT_REASON_DIED);
    CHECK_INT(e->signal, ==, sig);
    CHECK_INT(e->exit_status, ==, status);
    CHECK_INT(e->pid, >, 1);
    CHECK_INT(e->max_rss, >, 0);
    CHECK_INT(e->attempts, ==, 1);
    CHECK(e->digest == plait_digest(&bad, sizeof bad));
    CHECK_STR(e->task, "end_badly");
    CHECK_STR(e->executor, "processes");
    CHECK(strstr(e->message, says));
    CHECK(strstr(e->message, "`end_badly`"));
    plait_free(f);
    for (int i = 0; i < N; i++) {
        int64_t sum = 0;
        CHECK_INT(plait_result(good[i], &sum), ==, 0);
        CHECK_INT(sum, ==, i + 1000);
        plait_free(good[i]);
    }
    close_processes(ex);
}

TEST(killed)
{
    among_others((struct ending){ RAISE, SIGKILL }, SIGKILL, -1, "was killed by SIGKILL");
}

TEST(aborts)
{
    among_others((struct ending){ RAISE, SIGABRT }, SIGABRT, -1, "was killed by SIGABRT");
}

TEST(exits_with_a_status)
{
    among_others((struct ending){ EXIT, 3 }, 0, 3, "exited with status 3");
}

TEST(exits_with_success)
{
    among_others((struct ending){ EXIT, 0 }, 0, 0, "exited with status 0");
}

TEST(overflows_its_stack)
{
    if (getenv("PLAIT_SANITIZER"))
        SKIP("a sanitizer reports it in its own way");
    among_others((struct ending){ OVERFLOW, 0 }, SIGSEGV, -1, "was killed by SIGSEGV");
}

TEST(runs_out_of_memory)
{
    if (getenv("PLAIT_SANITIZER"))
        SKIP("a sanitizer needs more address space");
    among_others((struct ending){ MEMORY, 0 }, SIGKILL, -1, "was killed by SIGKILL");
}

TEST(every_fatal_signal)
{
    static const int fatal[] = { SIGHUP,  SIGINT,  SIGQUIT, SIGILL,  SIGTRAP, SIGBUS,  SIGFPE,
                                 SIGUSR1, SIGSEGV, SIGUSR2, SIGPIPE, SIGALRM, SIGTERM, SIGSYS };
    plait_executor *ex = open_processes(2);
    for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++) {
        plait_future *f;
        struct ending bad = { RAISE, fatal[i] };
        CHECK_INT(plait_submit_at(ex, &f, end_badly, &bad), ==, 0);
        CHECK_INT(plait_result(f, NULL), ==, -EOWNERDEAD);
        CHECK_INT(plait_error(f)->signal, ==, fatal[i]);
        plait_free(f);
    }
    close_processes(ex);
}

// A death of one that runs nothing loses nothing.
static void no_notice(const struct plait_notice *n, void *arg)
{
    CHECK_INT(n->kind, ==, PLAIT_NOTICE_WORKER_DIED);
    check_say("%s", n->message);
    __atomic_add_fetch((int *)arg, 1, __ATOMIC_SEQ_CST);
}

TEST(killed_while_idle)
{
    int notices = 0;
    plait_executor *ex;
    CHECK_INT(
        plait_open(&ex, PLAIT_PROCESSES, .workers = 1, .notice = no_notice, .notice_arg = &notices),
        ==, 0);
    for (int i = 0; i < 5; i++) {
        plait_future *f;
        struct whereabouts w;
        CHECK_INT(plait_submit(ex, &f, where, { 0 }), ==, 0);
        CHECK_INT(plait_result(f, &w), ==, 0);
        plait_free(f);
        CHECK_INT(w.group, ==, w.pid);
        CHECK_INT(kill(w.pid, SIGKILL), ==, 0);
        CHECK(gone_within(w.pid, 5000));
    }
    plait_future *f;
    CHECK_INT(plait_submit(ex, &f, where, { 0 }), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, 0);
    plait_free(f);
    close_processes(ex);
    CHECK_INT(notices, ==, 5);
}

// The one future of a death carries it; a task's own error is something else.
TEST(own_errors_are_not_deaths)
{
    plait_executor *ex = open_processes(1);
    plait_future *f;
    struct ending own = { RETURN, -EIO };
    CHECK_INT(plait_submit_at(ex, &f, end_badly, &own), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, -EIO);
    CHECK_INT(plait_error(f)->reason, ==, PLAIT_REASON_NONE);
    CHECK_INT(plait_error(f)->pid, >, 1);
    CHECK_INT(plait_error(f)->signal, ==, 0);
    CHECK_INT(plait_error(f)->exit_status, ==, -1);
    CHECK_INT(plait_error(f)->attempts, ==, 1);
    CHECK(plait_error(f)->digest == plait_digest(&own, sizeof own));
    plait_free(f);
    own.number = 7;
    CHECK_INT(plait_submit_at(ex, &f, end_badly, &own), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, 7);
    CHECK(!plait_error(f));
    plait_free(f);
    close_processes(ex);
}

// ---- what a task that returned an error has used

enum { BURNT_MS = 40, TOUCHED_MIB = 48 };

static int64_t thread_cpu(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * PLAIT_SECOND + t.tv_nsec;
}

// Uses much CPU time, or much memory, or nothing, and fails.
struct use {
    bool cpu, memory;
};
static int use_and_fail(const struct use *in, void *out)
{
    (void)out;
    int64_t end = thread_cpu() + BURNT_MS * PLAIT_MILLISECOND;
    while (in->cpu && thread_cpu() < end)
        ;
    if (in->memory) {
        size_t bytes = (size_t)TOUCHED_MIB << 20;
        char *at = malloc(bytes);
        if (!at)
            return -ENOMEM;
        memset(at, 1, bytes);
        __asm__ volatile("" : : "r"(at) : "memory"); // it is wanted
        free(at);
        return -EDOM;
    }
    return -ERANGE;
}
PLAIT_TASK(use_and_fail, struct use, void);

static void fails_using(plait_executor *ex, struct use use, int code, int64_t *cpu_ns,
                        int64_t *peak)
{
    plait_future *f;
    CHECK_INT(plait_submit_at(ex, &f, use_and_fail, &use), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, code);
    const struct plait_error *e = plait_error(f);
    CHECK(e != NULL);
    *cpu_ns = e->cpu_ns;
    *peak = e->max_rss;
    plait_free(f);
}

// Also after many short tasks, when the clock is not read at every start.
TEST(an_error_tells_what_its_task_has_used)
{
    plait_executor *ex = open_processes(1);
    int64_t cpu, peak, before;
    for (int round = 0; round < 3; round++) {
        fails_using(ex, (struct use){ .cpu = false }, -ERANGE, &cpu, &before);
        CHECK_INT(cpu, >=, 0);
        CHECK_INT(cpu, <, BURNT_MS * PLAIT_MILLISECOND / 2);
        CHECK_INT(before, >, 0);
        fails_using(ex, (struct use){ .cpu = true }, -ERANGE, &cpu, &peak);
        CHECK_INT(cpu, >=, (BURNT_MS - 1) * PLAIT_MILLISECOND);
        CHECK_INT(cpu, <, 2 * BURNT_MS * PLAIT_MILLISECOND);
        CHECK_INT(peak, >=, before);
        for (int i = 0; i < 500; i++) {
            plait_future *f;
            int64_t sum;
            CHECK_INT(plait_submit(ex, &f, add, { i, 1 }), ==, 0);
            CHECK_INT(plait_result(f, &sum), ==, 0);
            plait_free(f);
        }
    }
    fails_using(ex, (struct use){ .memory = true }, -EDOM, &cpu, &peak);
    CHECK_INT(peak, >=, (int64_t)TOUCHED_MIB << 20);
    close_processes(ex);
}

// Registered after the executor opened: the workers cannot know it.
TEST(task_that_workers_do_not_know)
{
    plait_executor *ex = open_processes(1);
    static struct plait_task late;
    late = PLAIT_TASK_OF(add);
    late.name = "late";
    plait_task_register(&late);
    plait_future *f = (plait_future *)&late;
    struct add in = { 1, 2 };
    CHECK_INT(plait_submit_task(ex, &f, &late, &in, NULL), ==, -ENOENT);
    CHECK(f == (plait_future *)&late);
    CHECK_INT(plait_submit_at(ex, &f, add, &in), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, 0);
    plait_free(f);
    close_processes(ex);
    plait_executor *next = open_processes(1); // this one's know it... by its module's own registry
    const struct plait_worker_options *how = check_start();
    bool copied = how && how->start == PLAIT_START_FORK; // with the registry as it is
    CHECK_INT(plait_submit_task(next, NULL, &late, &in, NULL), ==, copied ? 0 : -ENOENT);
    close_processes(next);
    plait_task_unregister(&late);
}

// ---- what its scope lists

static int ends_here(const void *in, void *out)
{
    (void)in;
    (void)out;
    raise(SIGKILL);
    return 0;
}
PLAIT_TASK(ends_here, void, void);

TEST(a_scope_lists_it_as_a_death)
{
    struct plait_failures failures = { 0 };
    plait_scope s;
    plait_executor *ex = open_processes(1);
    CHECK_INT(plait_scope_begin(&s, ex, .failures = &failures), ==, 0);
    CHECK_INT(plait_go_task(&s, &PLAIT_TASK_OF(ends_here), NULL, NULL), ==, 0);
    CHECK_INT(plait_scope_end(&s), ==, -EOWNERDEAD);
    CHECK_INT(failures.count, ==, 1);
    CHECK_INT(failures.at[0].reason, ==, PLAIT_REASON_DIED);
    plait_failures_free(&failures);
    close_processes(ex);
}
