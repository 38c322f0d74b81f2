// SPDX-License-Identifier: MIT
// What is left when the program ends, in whatever way: no process, no descriptor, no mapping.
#include "faults/lib/faults.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { HANDS = 3 };

static int where(const void *in, struct whereabouts *out)
{
    (void)in;
    *out = (struct whereabouts){ getpid(), getpgrp(), getppid() };
    return plait_sleep(PLAIT_MILLISECOND);
}
PLAIT_TASK(where, void, struct whereabouts);

// Tells the pids of this worker, its zygote and a child of its own, through a pipe, and computes
// on.
static int tell_and_spin(const int *fd, void *out)
{
    (void)out;
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd/%d", fd[1], fd[0]);
    FILE *f = fopen(path, "w");
    if (!f)
        return -errno;
    pid_t child = fork();
    if (child == 0)
        for (;;)
            pause();
    fprintf(f, "%d %d %d\n", getpid(), getppid(), child);
    fclose(f);
    for (;;)
        ;
}
struct two_ints {
    int fd[2];
};
static int tell_task(const struct two_ints *in, void *out)
{
    return tell_and_spin(in->fd, out);
}
PLAIT_TASK(tell_task, struct two_ints, void);

static int add(const struct add *in, int64_t *out)
{
    *out = in->a + in->b;
    return 0;
}
PLAIT_TASK(add, struct add, int64_t);

// A program with busy workers; it never ends by itself.
static void host(int fd, bool forks)
{
    plait_executor *ex = open_processes(HANDS);
    int pid = getpid();
    for (int i = 0; i < HANDS; i++) {
        struct two_ints in = { { fd, pid } };
        CHECK_INT(plait_submit_at(ex, NULL, tell_task, &in), ==, 0);
    }
    for (int i = 0; i < 2000; i++) // wait, or lie in the workers' memory
        CHECK_INT(plait_submit(ex, NULL, add, { i, i }), ==, 0);
    // A forked copy holds every descriptor of the host open, and must not keep the zygote waiting.
    if (forks && fork() == 0) {
        sleep_ms(3000);
        _exit(0);
    }
    for (;;)
        pause();
}

static void die_by(int sig, bool forks)
{
    int fds[2];
    CHECK(pipe(fds) == 0);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        host(fds[1], forks);
    FILE *f = fdopen(fds[0], "r");
    int pids[HANDS][3];
    for (int i = 0; i < HANDS; i++) {
        CHECK_INT(fscanf(f, "%d %d %d", &pids[i][0], &pids[i][1], &pids[i][2]), ==, 3);
        for (int k = 0; k < 3; k++)
            CHECK(is_alive(pids[i][k]));
    }
    CHECK_INT(kill(pid, sig), ==, 0);
    CHECK_INT(waitpid(pid, NULL, 0), ==, pid);
    for (int i = 0; i < HANDS; i++)
        for (int k = 0; k < 3; k++)
            CHECK(gone_within(pids[i][k], 2000));
    fclose(f);
    close(fds[1]);
}

TEST(host_killed)
{
    die_by(SIGKILL, false);
}

TEST(host_terminated)
{
    die_by(SIGTERM, false);
}

TEST(host_killed_while_a_copy_of_it_lives)
{
    die_by(SIGKILL, true);
}

// A child that a task started dies with the worker.
TEST(grandchildren_die_with_the_worker)
{
    int fds[2], pids[3];
    CHECK(pipe(fds) == 0);
    plait_executor *ex = open_processes(1);
    struct two_ints in = { { fds[1], getpid() } };
    plait_future *f;
    CHECK_INT(plait_submit_at(ex, &f, tell_task, &in), ==, 0);
    FILE *from = fdopen(fds[0], "r");
    CHECK_INT(fscanf(from, "%d %d %d", &pids[0], &pids[1], &pids[2]), ==, 3);
    CHECK_INT(kill(pids[0], SIGKILL), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, -EOWNERDEAD);
    CHECK(gone_within(pids[2], 2000));
    plait_free(f);
    close_processes(ex);
    fclose(from);
    close(fds[1]);
}

TEST(open_and_close_leak_nothing, .limit_s = 1200)
{
    enum { WARM = 5 };
    const int cycles = getenv("PLAIT_FAULTS_LONG") ? 10000 : 200;
    int fds = 0, mappings = 0;
    for (int i = 0; i < WARM + cycles; i++) {
        if (i == WARM) {
            fds = count_fds();
            mappings = count_mappings();
        }
        plait_executor *ex = open_processes(2);
        int64_t sum = 0;
        plait_future *f = NULL;
        if (i % 3) {
            CHECK_INT(plait_submit(ex, &f, add, { i, i }), ==, 0);
            if (i % 3 == 1)
                CHECK_INT(plait_result(f, &sum), ==, 0);
        }
        close_processes(ex);
        if (f) {
            CHECK_INT(plait_result(f, &sum), ==, 0);
            CHECK_INT(sum, ==, 2 * i);
            plait_free(f);
        }
    }
    CHECK_INT(count_fds(), ==, fds);
    if (!getenv("PLAIT_SANITIZER"))                    // whose own mappings grow
        CHECK_INT(count_mappings(), <=, mappings + 4); // the allocator's arenas may
    CHECK_INT(count_children(), ==, 0);
}

// The executor does not take SIGCHLD away from the program, nor its children.
static volatile int chld;
static void on_chld(int sig)
{
    (void)sig;
    chld++;
}

TEST(program_keeps_its_children)
{
    signal(SIGCHLD, on_chld);
    plait_executor *ex = open_processes(2);
    pid_t pid = fork();
    if (pid == 0)
        _exit(42);
    int status = 0;
    plait_future *f;
    CHECK_INT(plait_submit(ex, &f, add, { 1, 2 }), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, 0);
    plait_free(f);
    while (waitpid(pid, &status, 0) < 0)
        CHECK_INT(errno, ==, EINTR);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 42);
    CHECK_INT(chld, >, 0);
    struct sigaction now;
    sigaction(SIGCHLD, NULL, &now);
    CHECK(now.sa_handler == on_chld);
    CHECK_INT(plait_close(ex), ==, 0);
}

// A program that reaps whatever it finds, or ignores SIGCHLD, closes its executors all the same.
TEST(program_that_reaps_everything)
{
    for (int i = 0; i < 10; i++) {
        signal(SIGCHLD, i % 2 ? SIG_IGN : SIG_DFL);
        plait_executor *ex = open_processes(2);
        struct whereabouts w;
        plait_future *f;
        CHECK_INT(plait_submit(ex, &f, where, { 0 }), ==, 0);
        CHECK_INT(plait_result(f, &w), ==, 0);
        plait_free(f);
        if (i % 3 == 0) {
            kill(w.parent, SIGKILL);
            for (int waited = 0; waited < 50; waited++) {
                while (waitpid(-1, NULL, WNOHANG) > 0)
                    ;
                sleep_ms(1);
            }
        }
        CHECK_INT(plait_close(ex), ==, 0);
    }
}

// What a worker inherits: stdin is empty, no signal blocked or ignored, few descriptors.
struct inherited {
    int first_byte, blocked, ignored, fds;
};
static int inspect(const void *in, struct inherited *out)
{
    (void)in;
    char c;
    sigset_t mask;
    out->first_byte = (int)read(0, &c, 1);
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    for (int s = 1; s < 32; s++) {
        struct sigaction a;
        out->blocked += sigismember(&mask, s) == 1;
        out->ignored += sigaction(s, NULL, &a) == 0 && a.sa_handler == SIG_IGN;
    }
    out->fds = count_fds();
    return 0;
}
PLAIT_TASK(inspect, void, struct inherited);

TEST(workers_start_clean)
{
    sigset_t all;
    sigfillset(&all);
    signal(SIGPIPE, SIG_IGN);
    sigprocmask(SIG_BLOCK, &all, NULL);
    int extra[20];
    for (int i = 0; i < 20; i++)
        extra[i] = dup(2); // not close-on-exec
    plait_executor *ex = open_processes(2);
    plait_future *f;
    struct inherited got = { 0 };
    CHECK_INT(plait_submit(ex, &f, inspect, { 0 }), ==, 0);
    CHECK_INT(plait_result(f, &got), ==, 0);
    plait_free(f);
    CHECK_INT(got.first_byte, ==, 0);
    CHECK_INT(got.blocked, ==, 0);
    CHECK_INT(got.ignored, ==, 0);
    CHECK_INT(got.fds, <, 16);
    for (int i = 0; i < 20; i++)
        close(extra[i]);
    close_processes(ex);
}
