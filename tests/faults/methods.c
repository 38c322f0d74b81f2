// SPDX-License-Identifier: MIT
// Start methods: what a worker has of the program, where a fork is refused, and what happens when
// the process that makes workers dies.
#include "faults/lib/faults.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int number = 1;

struct look {
    struct whereabouts where;
    int number, blocked, ignored, in, pipe;
    char command[256];
};

static int look(const int *fd, struct look *out)
{
    sigset_t set;
    struct sigaction action;
    memset(out, 0, sizeof *out);
    out->where = (struct whereabouts){ getpid(), getpgrp(), getppid() };
    out->number = number;
    pthread_sigmask(SIG_BLOCK, NULL, &set);
    out->blocked = sigismember(&set, SIGUSR1);
    sigaction(SIGUSR2, NULL, &action);
    out->ignored = action.sa_handler == SIG_IGN;
    char c;
    out->in = (int)read(0, &c, 1);
    out->pipe = fcntl(*fd, F_GETFD) >= 0;
    int file = open("/proc/self/cmdline", O_RDONLY);
    ssize_t n = read(file, out->command, sizeof out->command - 1);
    close(file);
    for (ssize_t i = 0; i + 1 < n; i++)
        if (!out->command[i])
            out->command[i] = ' ';
    return 0;
}
PLAIT_TASK(look, int, struct look);

static void hush(const struct plait_notice *n, void *arg)
{
    (void)arg;
    check_say("%s", n->message);
}

static int open_by(plait_executor **ex, enum plait_start_method how)
{
    return plait_open(ex, PLAIT_PROCESSES, .workers = 2, .notice = hush,
                      .worker = PLAIT_WORKER(.start = how));
}

static bool fork_is_possible(void)
{
    plait_executor *ex;
    int e = open_by(&ex, PLAIT_START_FORK);
    if (e < 0 && e != -EINVAL)
        FAIL("%d, %s", e, plait_last_error());
    if (e == 0)
        plait_close(ex);
    return e == 0;
}

static struct look look_at(plait_executor *ex, int fd)
{
    plait_future *f;
    struct look found;
    CHECK_INT(plait_submit(ex, &f, look, { fd }), ==, 0);
    CHECK_INT(plait_result(f, &found), ==, 0);
    plait_free(f);
    return found;
}

static void has_what_it_should(enum plait_start_method how)
{
    plait_executor *ex;
    int fds = count_fds(), ends[2];
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGUSR2, SIG_IGN);
    number = 42;
    CHECK_INT(pipe(ends), ==, 0);
    int high = fcntl(ends[0], F_DUPFD, 100);
    CHECK_INT(open_by(&ex, how), ==, 0);
    number = 43;
    for (int round = 0; round < 3; round++) {
        struct look l = look_at(ex, high);
        bool forked = how == PLAIT_START_FORK;
        CHECK_INT(l.number, ==, forked ? 42 : 1);
        CHECK_INT(l.pipe, ==, forked);
        CHECK_INT(l.where.group, ==, l.where.pid);
        CHECK_INT(l.where.parent, ==, only_child());
        CHECK_INT(l.blocked, ==, 0);
        CHECK_INT(l.ignored, ==, 0);
        CHECK_INT(l.in, ==, 0);
        CHECK_INT(strstr(l.command, "(plait worker)") != NULL, ==, how == PLAIT_START_SPAWN);
        kill(l.where.pid, SIGKILL);
        CHECK(gone_within(l.where.pid, 5000));
    }
    close_processes(ex);
    close(ends[0]);
    close(ends[1]);
    close(high);
    CHECK_INT(count_fds(), ==, fds);
}

TEST(zygote_has_what_it_should)
{
    has_what_it_should(PLAIT_START_ZYGOTE);
}

TEST(spawn_has_what_it_should)
{
    has_what_it_should(PLAIT_START_SPAWN);
}

TEST(fork_has_what_it_should)
{
    if (!fork_is_possible())
        SKIP("%s", plait_last_error());
    has_what_it_should(PLAIT_START_FORK);
}

static void *wait_for_byte(void *fd)
{
    char c;
    CHECK_INT(read(*(int *)fd, &c, 1), ==, 1);
    return NULL;
}

static int opens_by_fork(const void *in, int *out)
{
    plait_executor *ex;
    (void)in;
    *out = open_by(&ex, PLAIT_START_FORK);
    return 0;
}
PLAIT_TASK(opens_by_fork, void, int);

TEST(fork_is_refused_where_it_would_be_wrong)
{
    plait_executor *ex = NULL, *other;
    pthread_t thread;
    int ends[2], e;
    CHECK_INT(pipe(ends), ==, 0);
    CHECK_INT(pthread_create(&thread, NULL, wait_for_byte, &ends[0]), ==, 0);
    CHECK_INT(open_by(&ex, PLAIT_START_FORK), ==, -EINVAL);
    CHECK(strstr(plait_last_error(), "threads"));
    CHECK(!ex);
    CHECK_INT(write(ends[1], "", 1), ==, 1);
    pthread_join(thread, NULL);
    CHECK_INT(plait_open(&other, PLAIT_THREADS, .workers = 1), ==, 0);
    CHECK_INT(open_by(&ex, PLAIT_START_FORK), ==, -EINVAL);
    plait_close(other);
    // In a task of an executor that this very thread drives.
    plait_future *f;
    CHECK_INT(plait_open(&other, PLAIT_FIBERS, .foreign = true), ==, 0);
    CHECK_INT(plait_submit(other, &f, opens_by_fork, { 0 }), ==, 0);
    while (!plait_done(f))
        CHECK_INT(plait_turn(other), >=, 0);
    CHECK_INT(plait_result(f, &e), ==, 0);
    CHECK_INT(e, ==, -EINVAL);
    plait_free(f);
    plait_close(other);
    close(ends[0]);
    close(ends[1]);
}

// What stands in a buffer of stdio at the fork is written once.
TEST(fork_does_not_repeat_what_is_buffered)
{
    if (!fork_is_possible())
        SKIP("%s", plait_last_error());
    char path[] = "/tmp/plait-methods-XXXXXX", text[64] = "";
    int fd = mkstemp(path), old = dup(1);
    CHECK(fd >= 0 && old >= 0);
    unlink(path);
    fflush(stdout);
    CHECK_INT(dup2(fd, 1), ==, 1);
    printf("once\n");
    plait_executor *ex;
    CHECK_INT(open_by(&ex, PLAIT_START_FORK), ==, 0);
    for (int i = 0; i < 8; i++)
        look_at(ex, 0);
    CHECK_INT(plait_close(ex), ==, 0);
    fflush(stdout);
    CHECK_INT(dup2(old, 1), ==, 1);
    close(old);
    CHECK_INT(pread(fd, text, sizeof text - 1, 0), ==, 5);
    CHECK_STR(text, "once\n");
    close(fd);
}

typedef _Atomic int *counter; // in the shared heap

static int stay(const counter *started, void *out)
{
    (void)out;
    atomic_fetch_add(*started, 1);
    return plait_sleep(PLAIT_NEVER / 2);
}
PLAIT_TASK(stay, counter, void);

static void zygote_dies(enum plait_start_method how)
{
    plait_executor *ex;
    plait_future *running[2], *f[10];
    counter started = plait_shared_alloc(sizeof *started);
    CHECK(started);
    atomic_store(started, 0);
    CHECK_INT(open_by(&ex, how), ==, 0);
    struct look l = look_at(ex, 0);
    for (int i = 0; i < 2; i++)
        CHECK_INT(plait_submit(ex, &running[i], stay, { started }), ==, 0);
    while (atomic_load(started) < 2) // both workers are taken
        sleep_ms(1);
    for (int i = 0; i < 10; i++)
        CHECK_INT(plait_submit(ex, &f[i], look, { 0 }), ==, 0);
    CHECK_INT(kill(l.where.parent, SIGKILL), ==, 0);
    for (int i = 0; i < 2; i++) {
        CHECK_INT(plait_result(running[i], NULL), ==, -EOWNERDEAD);
        plait_free(running[i]);
    }
    for (int i = 0; i < 10; i++) {
        int e = plait_result(f[i], NULL);
        CHECK_INT(e, ==, how == PLAIT_START_FORK ? -EOWNERDEAD : 0);
        if (e < 0)
            CHECK(strstr(plait_error(f[i])->message, "cannot be forked again"));
        plait_free(f[i]);
    }
    close_processes(ex);
    plait_shared_free((void *)started);
}

TEST(zygote_that_dies_is_replaced, .limit_s = 60)
{
    zygote_dies(PLAIT_START_ZYGOTE);
    zygote_dies(PLAIT_START_SPAWN);
}

TEST(a_forked_one_cannot_be)
{
    if (!fork_is_possible())
        SKIP("%s", plait_last_error());
    zygote_dies(PLAIT_START_FORK);
}

// All the options in one, for each method, over and over: nothing is left.
static int prepare(const int *set, void *out)
{
    (void)out;
    number = *set;
    return 0;
}
PLAIT_TASK(prepare, int, void);

static int finish(const void *in, void *out)
{
    (void)in, (void)out;
    return 0;
}
PLAIT_TASK(finish, void, void);

static void everything(enum plait_start_method how)
{
    plait_executor *ex;
    int initial = 7;
    const char *const environment[] = { "METHODS=1", NULL };
    CHECK_INT(
        plait_open(&ex, PLAIT_PROCESSES, .workers = 3, .notice = hush,
                   .worker = PLAIT_WORKER(.start = how, .initializer = &PLAIT_TASK_OF(prepare),
                                          .initializer_in = &initial,
                                          .finalizer = &PLAIT_TASK_OF(finish), .tasks_max = 4,
                                          .workers_min = 1, .idle_ns = 10 * PLAIT_MILLISECOND,
                                          .directory = "/", .environment = environment, .pin = true,
                                          .nice = 1, .file_limit = 200, .capture_stderr = true)),
        ==, 0);
    plait_future *f[20];
    for (int i = 0; i < 20; i++)
        CHECK_INT(plait_submit(ex, &f[i], look, { 0 }), ==, 0);
    for (int i = 0; i < 20; i++) {
        struct look l;
        CHECK_INT(plait_result(f[i], &l), ==, 0);
        CHECK_INT(l.number, ==, 7);
        plait_free(f[i]);
    }
    close_processes(ex);
}

TEST(opened_and_closed_with_everything, .limit_s = 120)
{
    everything(PLAIT_START_ZYGOTE);
    int fds = count_fds(), mappings = count_mappings();
    for (int round = 0; round < 10; round++) {
        everything(PLAIT_START_ZYGOTE);
        everything(PLAIT_START_SPAWN);
        if (fork_is_possible())
            everything(PLAIT_START_FORK);
    }
    CHECK_INT(count_fds(), ==, fds);
    if (!getenv("PLAIT_SANITIZER"))                    // whose own mappings grow
        CHECK_INT(count_mappings(), <=, mappings + 8); // the allocator's arenas may
}
