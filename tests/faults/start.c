// SPDX-License-Identifier: MIT
// Executors that cannot start, or whose workers cannot: a clear end, and nothing left behind.
#include "faults/lib/faults.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static int add(const struct add *in, int64_t *out)
{
    *out = in->a + in->b;
    return 0;
}
PLAIT_TASK(add, struct add, int64_t);

static void hush(const struct plait_notice *n, void *arg)
{
    (void)arg;
    check_say("%s", n->message);
}

TEST(workers_that_die_at_start)
{
    enum { N = 50 };
    plait_executor *ex;
    plait_future *f[N];
    CHECK_INT(setenv("FAULTS_AT_START", "worker", 1), ==, 0);
    int e = plait_open(&ex, PLAIT_PROCESSES, .workers = 2, .notice = hush);
    if (e < 0)
        FAIL("%d, %s", e, plait_last_error());
    for (int i = 0; i < N; i++)
        CHECK_INT(plait_submit(ex, &f[i], add, { i, i }), ==, 0);
    for (int i = 0; i < N; i++) {
        CHECK_INT(plait_result(f[i], NULL), ==, -EOWNERDEAD);
        const struct plait_error *why = plait_error(f[i]);
        if (i == 0)
            check_say("%s", why->message);
        CHECK(strstr(why->message, "die at start"));
        CHECK_INT(why->reason, ==, PLAIT_REASON_DIED);
        plait_free(f[i]);
    }
    // It stays so: nothing hangs later either.
    CHECK_INT(plait_submit(ex, &f[0], add, { 1, 2 }), ==, 0);
    CHECK_INT(plait_result(f[0], NULL), ==, -EOWNERDEAD);
    plait_free(f[0]);
    close_processes(ex);
}

TEST(zygote_that_dies_at_start)
{
    plait_executor *ex = NULL;
    CHECK_INT(setenv("FAULTS_AT_START", "zygote", 1), ==, 0);
    int fds = count_fds();
    CHECK_INT(plait_open(&ex, PLAIT_PROCESSES, .workers = 2), ==, -EAGAIN);
    CHECK_STR(plait_last_error(), "the process that forks workers ended at its start");
    CHECK(!ex);
    CHECK_INT(count_fds(), ==, fds);
    CHECK_INT(count_children(), ==, 0);
}

// As many descriptors as open needs, less one, less two...
TEST(too_few_descriptors, .limit_s = 60)
{
    struct rlimit before, limit;
    plait_executor *ex = NULL;
    CHECK(getrlimit(RLIMIT_NOFILE, &before) == 0);
    int fds = count_fds(), opened = 0, failed = 0;
    for (int room = 0; room < 40 && !opened; room++) {
        limit = before;
        limit.rlim_cur = (rlim_t)(fds + room);
        CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
        int e = plait_open(&ex, PLAIT_PROCESSES, .workers = 4);
        CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0);
        if (e == 0) {
            opened = 1;
            close_processes(ex);
        } else {
            failed++;
            CHECK(e == -EMFILE || e == -EAGAIN); // here, or in the process that forks
            CHECK(plait_last_error()[0]);
        }
        CHECK_INT(count_fds(), ==, fds);
        CHECK_INT(count_children(), ==, 0);
    }
    CHECK(opened);
    CHECK_INT(failed, >, 5);
}

// What is short for a while costs what waits meanwhile, and no place of the executor.
TEST(short_of_descriptors_for_a_while, .limit_s = 60)
{
    enum { WORKERS = 2 };
    plait_executor *ex;
    plait_future *f;
    struct rlimit before, none;
    CHECK_INT(plait_open(&ex, PLAIT_PROCESSES, .workers = WORKERS, .notice = hush), ==, 0);
    int zygote = only_child(), pids[WORKERS];
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", zygote, zygote);
    FILE *children = fopen(path, "r");
    CHECK(children && fscanf(children, "%d %d", &pids[0], &pids[1]) == WORKERS);
    fclose(children);
    CHECK_INT(getrlimit(RLIMIT_NOFILE, &before), ==, 0);
    none = before;
    none.rlim_cur = 3;
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &none), ==, 0);
    for (int i = 0; i < WORKERS; i++)
        CHECK_INT(kill(pids[i], SIGKILL), ==, 0);
    // One may have reached a worker that was still alive.
    for (int e = 0; e == 0;) {
        CHECK_INT(plait_submit(ex, &f, add, { 1, 2 }), ==, 0);
        e = plait_result(f, NULL);
        CHECK(e == 0 || e == -EOWNERDEAD);
        if (e == 0 || !strstr(plait_error(f)->message, "cannot be")) {
            plait_free(f);
            e = 0;
        }
    }
    check_say("%s", plait_error(f)->message);
    plait_free(f);
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &before), ==, 0);
    while (count_children_of(zygote) < WORKERS)
        sleep_ms(10);
    CHECK_INT(plait_submit(ex, &f, add, { 1, 2 }), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, 0);
    plait_free(f);
    close_processes(ex);
}

TEST(many_workers, .limit_s = 120)
{
    plait_executor *ex = open_processes(64);
    plait_future *f[640];
    for (int i = 0; i < 640; i++)
        CHECK_INT(plait_submit(ex, &f[i], add, { i, 1 }), ==, 0);
    for (int i = 0; i < 640; i++) {
        int64_t sum;
        CHECK_INT(plait_result(f[i], &sum), ==, 0);
        CHECK_INT(sum, ==, i + 1);
        plait_free(f[i]);
    }
    close_processes(ex);
}

static void *use(void *arg)
{
    plait_executor *ex = arg;
    for (int i = 0; i < 2000; i++) {
        plait_future *f;
        int64_t sum;
        CHECK_INT(plait_submit(ex, &f, add, { i, i }), ==, 0);
        CHECK_INT(plait_result(f, &sum), ==, 0);
        CHECK_INT(sum, ==, 2 * i);
        plait_free(f);
    }
    return NULL;
}

TEST(several_threads_and_executors, .limit_s = 120)
{
    plait_executor *ex[3];
    pthread_t threads[9];
    for (int i = 0; i < 3; i++)
        ex[i] = open_processes(2);
    for (int i = 0; i < 9; i++)
        CHECK_INT(pthread_create(&threads[i], NULL, use, ex[i % 3]), ==, 0);
    for (int i = 0; i < 9; i++)
        CHECK_INT(pthread_join(threads[i], NULL), ==, 0);
    for (int i = 0; i < 3; i++)
        CHECK_INT(plait_close(ex[i]), ==, 0);
}

// A task opens an executor of processes of its own.
static int nested(const int64_t *n, int64_t *out)
{
    plait_executor *ex;
    int e = plait_open(&ex, PLAIT_PROCESSES, .workers = 1);
    if (e < 0)
        return e;
    plait_future *f;
    e = plait_submit(ex, &f, add, { *n, *n });
    if (e == 0) {
        e = plait_result(f, out);
        plait_free(f);
    }
    plait_close(ex);
    return e;
}
PLAIT_TASK(nested, int64_t, int64_t);

TEST(executors_within_workers, .limit_s = 60)
{
    plait_executor *ex = open_processes(2);
    plait_future *f[4];
    for (int i = 0; i < 4; i++)
        CHECK_INT(plait_submit(ex, &f[i], nested, { i }), ==, 0);
    for (int i = 0; i < 4; i++) {
        int64_t sum;
        CHECK_INT(plait_result(f[i], &sum), ==, 0);
        CHECK_INT(sum, ==, 2 * i);
        plait_free(f[i]);
    }
    close_processes(ex);
}

// Started as a part of an executor by a program that has died before it got here: 0, and not a word
// of what this program would say.
static void ends_without_a_word(const char *variable, const char *title)
{
    int words[2], channel[2], status;
    char byte, gone[16];
    int dead = fork();
    if (dead == 0)
        _exit(0);
    CHECK_INT(waitpid(dead, &status, 0), ==, dead);
    snprintf(gone, sizeof gone, "%d", dead);
    CHECK_INT(pipe(words), ==, 0);
    CHECK_INT(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, channel), ==, 0);
    int orphan = fork();
    if (orphan == 0) {
        dup2(words[1], 1);
        dup2(words[1], 2);
        dup2(channel[0], 3);
        closefrom(4);
        setenv(variable, gone, 1);
        execl("/proc/self/exe", "program", title, NULL);
        _exit(127);
    }
    close(words[1]);
    close(channel[0]);
    close(channel[1]);
    CHECK_INT(read(words[0], &byte, 1), ==, 0);
    close(words[0]);
    CHECK_INT(waitpid(orphan, &status, 0), ==, orphan);
    CHECK_INT(status, ==, 0);
}

TEST(the_program_dies_while_it_starts)
{
    ends_without_a_word("PLAIT_ZYGOTE", "(plait zygote of processes)");
    ends_without_a_word("PLAIT_WORKER", "(plait worker)");
}
