// SPDX-License-Identifier: MIT
// Workers that a signal stops: a deadline ends their task, or the pool does after stopped_ns, and
// what they had not started runs elsewhere; or they are waited for.
#include "faults/lib/faults.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

enum { TASKS = 200 };

typedef _Atomic int *place; // in the shared heap: the pid of who is at it

static int add(const struct add *in, int64_t *out)
{
    *out = in->a + in->b;
    return 0;
}
PLAIT_TASK(add, struct add, int64_t);

// Computes until it is told to end by the place becoming negative.
static int stay(const place *at, int *out)
{
    atomic_store(*at, getpid());
    while (atomic_load(*at) >= 0)
        ;
    *out = 42;
    return 0;
}
PLAIT_TASK(stay, place, int);

static int where(const void *in, int *out)
{
    (void)in;
    *out = getpid();
    return 0;
}
PLAIT_TASK(where, void, int);

static plait_executor *open_stopping(unsigned workers, int64_t stopped_ns)
{
    plait_executor *ex;
    CHECK_INT(plait_open(&ex, PLAIT_PROCESSES, .workers = workers,
                         .grace_ns = 50 * PLAIT_MILLISECOND,
                         .worker = PLAIT_WORKER(.stopped_ns = stopped_ns)),
              ==, 0);
    return ex;
}

static place new_place(void)
{
    place p = plait_shared_alloc(sizeof *p);
    CHECK(p);
    atomic_store(p, 0);
    return p;
}

static int stop_who_stays(place at)
{
    while (atomic_load(at) == 0)
        sleep_ms(1);
    CHECK_INT(kill(atomic_load(at), SIGSTOP), ==, 0);
    return atomic_load(at);
}

static void add_all(plait_executor *ex)
{
    plait_future *f[TASKS];
    for (int i = 0; i < TASKS; i++)
        CHECK_INT(plait_submit(ex, &f[i], add, { i, 1 }), ==, 0);
    for (int i = 0; i < TASKS; i++) {
        int64_t sum = 0;
        CHECK_INT(plait_result(f[i], &sum), ==, 0);
        CHECK_INT(sum, ==, i + 1);
        plait_free(f[i]);
    }
}

TEST(a_deadline_ends_its_task)
{
    plait_executor *ex = open_stopping(2, PLAIT_NEVER);
    place at = new_place();
    plait_future *f;
    CHECK_INT(plait_submit_with(ex, &f, stay, &at, .timeout_ns = 100 * PLAIT_MILLISECOND), ==, 0);
    int pid = stop_who_stays(at);
    add_all(ex);
    CHECK_INT(plait_result(f, NULL), ==, -ETIMEDOUT);
    const struct plait_error *e = plait_error(f);
    check_say("%s", e->message);
    CHECK_INT(e->pid, ==, pid);
    CHECK_INT(e->signal, ==, SIGKILL);
    CHECK(strstr(e->message, "did not end before its deadline"));
    CHECK(gone_within(pid, 2000));
    plait_free(f);
    close_processes(ex);
    plait_shared_free((void *)at);
}

TEST(without_a_deadline_the_pool_does)
{
    plait_executor *ex = open_stopping(2, 1);
    place at = new_place();
    plait_future *f;
    CHECK_INT(plait_submit(ex, &f, stay, { at }), ==, 0);
    int pid = stop_who_stays(at);
    add_all(ex);
    CHECK_INT(plait_result(f, NULL), ==, -EOWNERDEAD);
    const struct plait_error *e = plait_error(f);
    check_say("%s", e->message);
    CHECK_INT(e->pid, ==, pid);
    CHECK(strstr(e->message, "it was stopped by a signal"));
    plait_free(f);
    add_all(ex);
    close_processes(ex);
    plait_shared_free((void *)at);
}

TEST(one_that_goes_on_is_waited_for)
{
    plait_executor *ex = open_stopping(2, PLAIT_NEVER);
    place at = new_place();
    plait_future *f;
    int got = 0;
    CHECK_INT(plait_submit(ex, &f, stay, { at }), ==, 0);
    int pid = stop_who_stays(at);
    add_all(ex);
    CHECK_INT(plait_wait(&f, 1, PLAIT_ALL, plait_after(PLAIT_SECOND), NULL), ==, -ETIMEDOUT);
    atomic_store(at, -1);
    CHECK_INT(kill(pid, SIGCONT), ==, 0);
    CHECK_INT(plait_result(f, &got), ==, 0);
    CHECK_INT(got, ==, 42);
    plait_free(f);
    close_processes(ex);
    plait_shared_free((void *)at);
}

// The only one, which had nothing to do: what it is given runs in the next.
TEST(tasks_given_to_a_stopped_one_lose_nothing)
{
    plait_executor *ex = open_stopping(1, 1);
    plait_future *f;
    int pid = 0;
    CHECK_INT(plait_submit(ex, &f, where, { 0 }), ==, 0);
    CHECK_INT(plait_result(f, &pid), ==, 0);
    plait_free(f);
    CHECK_INT(kill(pid, SIGSTOP), ==, 0);
    add_all(ex);
    CHECK(gone_within(pid, 2000));
    close_processes(ex);
}

TEST(a_negative_time_is_refused)
{
    plait_executor *ex = NULL;
    CHECK_INT(plait_open(&ex, PLAIT_PROCESSES, .worker = PLAIT_WORKER(.stopped_ns = -1)), ==,
              -EINVAL);
    CHECK(!ex);
}
