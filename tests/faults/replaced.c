// SPDX-License-Identifier: MIT
// The program's file is replaced by another one while it runs: workers and zygotes that are started
// later are of the program that runs.
#include "faults/lib/faults.h"
#include "lib/place.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TASKS = 2000, WORKERS = 2 };

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

static void copy_file(const char *from, const char *to)
{
    static char chunk[1 << 16];
    int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0700);
    CHECK(in >= 0 && out >= 0);
    for (ssize_t n; (n = read(in, chunk, sizeof chunk)) != 0;)
        CHECK(n > 0 && write(out, chunk, (size_t)n) == n);
    close(in);
    CHECK_INT(close(out), ==, 0);
}

static void hush(const struct plait_notice *n, void *arg)
{
    (void)arg;
    check_say("%s", n->message);
}

// Thousands in flight; `strike` is killed among them. How many were lost.
static int add_many(plait_executor *ex, int strike)
{
    static plait_future *f[TASKS];
    int lost = 0;
    CHECK_INT(strike, >, 1);
    for (int i = 0; i < TASKS; i++) {
        CHECK_INT(plait_submit(ex, &f[i], add, { i, 1 }), ==, 0);
        // A worker whose zygote was killed may still have answered, and be dead by now.
        if (i == TASKS / 2 && kill(strike, SIGKILL) < 0)
            CHECK_INT(errno, ==, ESRCH);
    }
    for (int i = 0; i < TASKS; i++) {
        int64_t sum = 0;
        int e = plait_result(f[i], &sum);
        CHECK(e == -EOWNERDEAD || (e == 0 && sum == i + 1));
        lost += e != 0;
        plait_free(f[i]);
    }
    return lost;
}

static struct whereabouts look(plait_executor *ex)
{
    plait_future *f;
    struct whereabouts w;
    CHECK_INT(plait_submit(ex, &f, where, { 0 }), ==, 0);
    CHECK_INT(plait_result(f, &w), ==, 0);
    plait_free(f);
    return w;
}

// In the copy, whose path the environment has.
TEST(in_a_copy)
{
    const char *path = getenv("FAULTS_COPY"), *how = getenv("FAULTS_HOW");
    if (!path || !how)
        SKIP("is run by the test that follows");
    plait_executor *ex;
    enum plait_start_method start = (enum plait_start_method)atoi(how);
    int e = plait_open(&ex, PLAIT_PROCESSES, .workers = WORKERS, .notice = hush,
                       .worker = PLAIT_WORKER(.start = start));
    if (e == -EINVAL && start == PLAIT_START_FORK)
        SKIP("%s", plait_last_error());
    CHECK_INT(e, ==, 0);
    look(ex);
    CHECK_INT(unlink(path), ==, 0);
    copy_file("/bin/true", path);
    for (int round = 0; round < 3; round++)
        CHECK_INT(add_many(ex, look(ex).pid), <=, 1);
    if (start != PLAIT_START_FORK)
        CHECK_INT(add_many(ex, look(ex).parent), <=, WORKERS);
    CHECK_INT(add_many(ex, look(ex).pid), <=, 1);
    CHECK_INT(plait_close(ex), ==, 0);
    // A test that runs in its runner inherits the workers of a dead zygote: they are dead too.
    while (waitpid(-1, NULL, 0) > 0)
        ;
    CHECK_INT(count_children(), ==, 0);
}

static void replaced(enum plait_start_method how)
{
    char path[96], number[8];
    int status;
    snprintf(path, sizeof path, "%s/copy", check_place());
    copy_file("/proc/self/exe", path);
    CHECK_INT(chmod(path, 0700), ==, 0);
    snprintf(number, sizeof number, "%d", (int)how);
    pid_t pid = fork();
    if (pid == 0) {
        setenv("FAULTS_COPY", path, 1);
        setenv("FAULTS_HOW", number, 1);
        execl(path, path, "--no-fork", "in_a_copy", (char *)NULL);
        _exit(1);
    }
    CHECK_INT(waitpid(pid, &status, 0), ==, pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        SKIP("it cannot be forked");
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        FAIL("the copy ended with status %#x", status);
}

TEST(zygotes_program_replaced, .limit_s = 60)
{
    replaced(PLAIT_START_ZYGOTE);
}

TEST(spawned_program_replaced, .limit_s = 60)
{
    replaced(PLAIT_START_SPAWN);
}

TEST(forked_program_replaced, .limit_s = 60)
{
    replaced(PLAIT_START_FORK);
}
