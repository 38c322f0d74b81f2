// SPDX-License-Identifier: MIT
// Cancels, deadlines, timeouts and stops of tasks in workers: asked first, then terminated, then
// killed.
#include "faults/lib/faults.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static volatile int forever = 1;

// How a task spins: it says that it has begun where it is told to, in the shared heap.
struct spin {
    _Atomic int *begun;
    int64_t code;
};

static int spin(const struct spin *in, void *out)
{
    (void)out;
    if (in->begun)
        atomic_store(in->begun, 1);
    while (forever)
        ;
    return 0;
}
PLAIT_TASK(spin, struct spin, void);

static int spin_politely(const struct spin *in, int64_t *out)
{
    int e;
    if (in->begun)
        atomic_store(in->begun, 1);
    while ((e = plait_cancelled()) == 0)
        ;
    *out = e;
    return in->code ? (int)in->code : e;
}
PLAIT_TASK(spin_politely, struct spin, int64_t);

static int sleeper(const int64_t *ns, void *out)
{
    (void)out;
    return plait_sleep(*ns);
}
PLAIT_TASK(sleeper, int64_t, void);

static void refuse(int sig)
{
    (void)sig;
}

static int spin_stubbornly(const struct spin *in, void *out)
{
    signal(SIGTERM, refuse);
    return spin(in, out);
}
PLAIT_TASK(spin_stubbornly, struct spin, void);

static _Atomic int *new_begun(void)
{
    _Atomic int *begun = plait_shared_new(_Atomic int, 1);
    CHECK(begun);
    return begun;
}

static void await_begun(_Atomic int *begun)
{
    while (!atomic_load(begun))
        sleep_ms(1);
    atomic_store(begun, 0);
}

static int add(const struct add *in, int64_t *out)
{
    *out = in->a + in->b;
    return 0;
}
PLAIT_TASK(add, struct add, int64_t);

static void check_works(plait_executor *ex)
{
    plait_future *f;
    int64_t sum = 0;
    CHECK_INT(plait_submit(ex, &f, add, { 20, 22 }), ==, 0);
    CHECK_INT(plait_result(f, &sum), ==, 0);
    CHECK_INT(sum, ==, 42);
    plait_free(f);
}

static void check_ended(plait_future *f, int code, enum plait_reason reason, int sig)
{
    CHECK_INT(plait_result(f, NULL), ==, code);
    const struct plait_error *e = plait_error(f);
    check_say("%s", e->message);
    CHECK_INT(e->code, ==, code);
    CHECK_INT(e->reason, ==, reason);
    CHECK_INT(e->signal, ==, sig);
    CHECK(e->pid > 0 || sig == 0);
    CHECK_INT(e->attempts > 0, ==, e->pid > 0);
    plait_free(f);
}

TEST(cancel_of_a_computing_task_kills_its_worker)
{
    _Atomic int *begun = new_begun();
    plait_executor *ex = open_processes(1);
    plait_future *f;
    CHECK_INT(plait_submit(ex, &f, spin, { begun }), ==, 0);
    await_begun(begun);
    CHECK(!plait_done(f));
    CHECK_INT(plait_cancel(f), ==, 0);
    CHECK_INT(plait_cancel(f), ==, -EALREADY);
    check_ended(f, -ECANCELED, PLAIT_REASON_USER, SIGTERM);
    check_works(ex);
    close_processes(ex);
    plait_shared_free((void *)begun);
}

TEST(cancel_of_one_that_ignores_sigterm)
{
    _Atomic int *begun = new_begun();
    plait_executor *ex = open_processes(1);
    plait_future *f;
    CHECK_INT(plait_submit(ex, &f, spin_stubbornly, { begun }), ==, 0);
    await_begun(begun);
    CHECK_INT(plait_cancel(f), ==, 0);
    check_ended(f, -ECANCELED, PLAIT_REASON_USER, SIGKILL);
    check_works(ex);
    close_processes(ex);
    plait_shared_free((void *)begun);
}

// Asked first: a task that listens, or waits in plait, ends by itself and its worker lives.
TEST(cancel_is_asked_first)
{
    _Atomic int *begun = new_begun();
    plait_executor *ex = open_processes(1);
    plait_future *f;
    CHECK_INT(plait_submit(ex, &f, spin_politely, { begun, 0 }), ==, 0);
    await_begun(begun);
    CHECK_INT(plait_cancel(f), ==, 0);
    check_ended(f, -ECANCELED, PLAIT_REASON_USER, 0);
    CHECK_INT(plait_submit(ex, &f, sleeper, { PLAIT_NEVER / 2 }), ==, 0);
    sleep_ms(50); // cancelled before it starts or after, it ends alike
    CHECK_INT(plait_cancel(f), ==, 0);
    check_ended(f, -ECANCELED, PLAIT_REASON_USER, 0);
    // A task that has a result all the same returns it.
    CHECK_INT(plait_submit(ex, &f, spin_politely, { begun, 5 }), ==, 0);
    await_begun(begun);
    CHECK_INT(plait_cancel(f), ==, 0);
    int64_t seen = 0;
    CHECK_INT(plait_result(f, &seen), ==, 5);
    CHECK_INT(seen, ==, -ECANCELED);
    plait_free(f);
    check_works(ex);
    close_processes(ex);
    plait_shared_free((void *)begun);
}

TEST(timeout_of_a_computing_task)
{
    plait_executor *ex = open_processes(2);
    plait_future *late, *f[20];
    int64_t start = plait_now();
    CHECK_INT(plait_submit_with(ex, &late, spin, &(struct spin){ 0 },
                                .timeout_ns = 100 * PLAIT_MILLISECOND),
              ==, 0);
    for (int i = 0; i < 20; i++)
        CHECK_INT(plait_submit(ex, &f[i], add, { i, i }), ==, 0);
    for (int i = 0; i < 20; i++) {
        CHECK_INT(plait_result(f[i], NULL), ==, 0);
        plait_free(f[i]);
    }
    check_ended(late, -ETIMEDOUT, PLAIT_REASON_DEADLINE, SIGTERM);
    int64_t took = plait_now() - start;
    CHECK_INT(took, >=, 100 * PLAIT_MILLISECOND);
    CHECK_INT(took, <, 2 * PLAIT_SECOND);
    close_processes(ex);
}

TEST(timeout_of_a_waiting_task)
{
    plait_executor *ex = open_processes(1);
    plait_future *f;
    int64_t ages = PLAIT_NEVER / 2;
    CHECK_INT(plait_submit_with(ex, &f, sleeper, &ages, .timeout_ns = 50 * PLAIT_MILLISECOND), ==,
              0);
    check_ended(f, -ETIMEDOUT, PLAIT_REASON_DEADLINE, 0);
    check_works(ex);
    close_processes(ex);
}

// A timeout counts from the start, a deadline from the submit: it covers the queue.
TEST(deadline_in_the_queue)
{
    plait_executor *ex = open_processes(1);
    plait_future *busy, *queued[10], *timed;
    int64_t nap = 300 * PLAIT_MILLISECOND, none = 0;
    CHECK_INT(plait_submit(ex, &busy, sleeper, { nap }), ==, 0);
    for (int i = 0; i < 10; i++)
        CHECK_INT(plait_submit_with(ex, &queued[i], sleeper, &none,
                                    .deadline = plait_after(50 * PLAIT_MILLISECOND)),
                  ==, 0);
    CHECK_INT(plait_submit_with(ex, &timed, sleeper, &none, .timeout_ns = 100 * PLAIT_MILLISECOND),
              ==, 0);
    for (int i = 0; i < 10; i++)
        check_ended(queued[i], -ETIMEDOUT, PLAIT_REASON_DEADLINE, 0);
    CHECK(!plait_done(busy));
    CHECK_INT(plait_result(busy, NULL), ==, 0);
    CHECK_INT(plait_result(timed, NULL), ==, 0);
    plait_free(busy);
    plait_free(timed);
    close_processes(ex);
}

TEST(cancel_in_the_queue)
{
    plait_executor *ex = open_processes(1);
    plait_future *busy, *queued[100];
    CHECK_INT(plait_submit(ex, &busy, sleeper, { 200 * PLAIT_MILLISECOND }), ==, 0);
    for (int i = 0; i < 100; i++)
        CHECK_INT(plait_submit(ex, &queued[i], add, { i, i }), ==, 0);
    for (int i = 0; i < 100; i += 2)
        CHECK_INT(plait_cancel(queued[i]), ==, 0);
    for (int i = 0; i < 100; i += 2)
        CHECK(plait_done(queued[i]));
    for (int i = 0; i < 100; i++) {
        CHECK_INT(plait_result(queued[i], NULL), ==, i % 2 ? 0 : -ECANCELED);
        plait_free(queued[i]);
    }
    CHECK_INT(plait_result(busy, NULL), ==, 0);
    plait_free(busy);
    close_processes(ex);
}

// A long task behind which others were put in advance holds up none of them while a worker is idle.
TEST(nothing_waits_behind_a_long_task)
{
    enum { N = 400 };
    plait_executor *ex = open_processes(2);
    plait_future *f[N], *slow;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < N; i++)
            CHECK_INT(plait_submit(ex, &f[i], add, { i, i }), ==, 0);
        CHECK_INT(plait_submit(ex, &slow, spin, { 0 }), ==, 0);
        for (int i = 0; i < N; i++) {
            CHECK_INT(plait_result(f[i], NULL), ==, 0);
            plait_free(f[i]);
        }
        int64_t start = plait_now();
        for (int i = 0; i < N; i++)
            CHECK_INT(plait_submit(ex, &f[i], add, { i, i }), ==, 0);
        for (int i = 0; i < N; i++) {
            CHECK_INT(plait_result(f[i], NULL), ==, 0);
            plait_free(f[i]);
        }
        CHECK_INT(plait_now() - start, <, PLAIT_SECOND);
        CHECK_INT(plait_cancel(slow), ==, 0);
        CHECK_INT(plait_result(slow, NULL), ==, -ECANCELED);
        plait_free(slow);
    }
    close_processes(ex);
}

TEST(stop_with_work_in_flight)
{
    enum { N = 50 };
    for (int round = 0; round < 4; round++) {
        plait_executor *ex = open_processes(2);
        plait_future *f[N];
        for (int i = 0; i < N; i++) {
            if (i % 2)
                CHECK_INT(plait_submit(ex, &f[i], spin, { 0 }), ==, 0);
            else
                CHECK_INT(plait_submit(ex, &f[i], sleeper, { PLAIT_NEVER / 2 }), ==, 0);
        }
        if (round % 2)
            sleep_ms(20);
        CHECK_INT(plait_shutdown(ex, PLAIT_STOP), ==, 0);
        CHECK_INT(plait_submit(ex, NULL, add, { 1, 1 }), ==, -ESHUTDOWN);
        int64_t start = plait_now();
        close_processes(ex);
        CHECK_INT(plait_now() - start, <, 3 * PLAIT_SECOND);
        for (int i = 0; i < N; i++) {
            CHECK(plait_done(f[i]));
            CHECK_INT(plait_result(f[i], NULL), ==, -ECANCELED);
            CHECK_INT(plait_error(f[i])->reason, ==, PLAIT_REASON_SHUTDOWN);
            plait_free(f[i]);
        }
    }
}

TEST(full_queue_fails_or_waits)
{
    plait_executor *ex;
    plait_future *busy, *f[8];
    CHECK_INT(plait_open(&ex, PLAIT_PROCESSES, .workers = 1, .queue_limit = 4,
                         .when_full = PLAIT_FULL_FAIL),
              ==, 0);
    CHECK_INT(plait_submit(ex, &busy, sleeper, { 200 * PLAIT_MILLISECOND }), ==, 0);
    int accepted = 0, e = 0;
    while (accepted < 8 && (e = plait_submit(ex, &f[accepted], add, { 1, 1 })) == 0)
        accepted++;
    CHECK_INT(e, ==, -EAGAIN);
    CHECK_INT(accepted, >=, 4);
    CHECK_INT(accepted, <=, 6); // one more is given to the worker in advance
    for (int i = 0; i < accepted; i++) {
        CHECK_INT(plait_result(f[i], NULL), ==, 0);
        plait_free(f[i]);
    }
    plait_free(busy);
    close_processes(ex);

    CHECK_INT(plait_open(&ex, PLAIT_PROCESSES, .workers = 2, .queue_limit = 1), ==, 0);
    for (int i = 0; i < 5000; i++)
        CHECK_INT(plait_submit(ex, NULL, add, { i, i }), ==, 0);
    close_processes(ex);
}

typedef _Atomic int *flag; // in the shared heap

static int begin_and_sleep(const flag *begun, void *out)
{
    (void)out;
    atomic_store(*begun, 1);
    return plait_sleep(PLAIT_NEVER / 2);
}
PLAIT_TASK(begin_and_sleep, flag, void);

static long resident_kib(void)
{
    long all = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    CHECK(f && fscanf(f, "%ld %ld", &all, &resident) == 2);
    fclose(f);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

// What waits no more takes no room, and no memory for as long as the worker is busy.
TEST(who_has_left_the_queue_leaves_room, .limit_s = 60)
{
    enum { WAITING = 8, TURNS = 100000 };
    plait_executor *ex;
    plait_future *busy, *waiting[WAITING], *f;
    const struct add ones = { 1, 1 };
    CHECK_INT(plait_open(&ex, PLAIT_PROCESSES, .workers = 1, .queue_limit = 2 * WAITING,
                         .when_full = PLAIT_FULL_FAIL),
              ==, 0);
    flag begun = plait_shared_new(_Atomic int, 1);
    CHECK(begun);
    CHECK_INT(plait_submit(ex, &busy, begin_and_sleep, { begun }), ==, 0);
    while (!atomic_load(begun))
        sleep_ms(1);
    for (int i = 0; i < WAITING; i++)
        CHECK_INT(plait_submit_with(ex, &waiting[i], add, &ones, .priority = i % 3 - 1), ==, 0);
    long before = 0;
    for (int i = 0; i < TURNS; i++) {
        int64_t deadline =
            i % 3 ? PLAIT_NEVER : plait_after(i % 2 ? PLAIT_SECOND : 60 * PLAIT_SECOND);
        CHECK_INT(
            plait_submit_with(ex, &f, add, &ones, .priority = i % 5 - 2, .deadline = deadline), ==,
            0);
        CHECK_INT(plait_cancel(f), ==, 0);
        CHECK_INT(plait_result(f, NULL), ==, -ECANCELED);
        plait_free(f);
        if (i == TURNS / 10)
            before = resident_kib();
    }
    long more = resident_kib() - before;
    check_say("%ld KiB more", more);
    if (!getenv("PLAIT_SANITIZER")) // which keeps what is freed
        CHECK_INT(more, <, 4096);
    for (int i = 0; i < 10 * WAITING; i++) { // those whose deadline passes
        CHECK_INT(plait_submit_with(ex, &f, add, &ones, .deadline = plait_after(PLAIT_MILLISECOND)),
                  ==, 0);
        CHECK_INT(plait_result(f, NULL), ==, -ETIMEDOUT);
        plait_free(f);
    }
    CHECK_INT(plait_cancel(busy), ==, 0);
    CHECK_INT(plait_result(busy, NULL), ==, -ECANCELED);
    plait_free(busy);
    for (int i = 0; i < WAITING; i++) {
        CHECK_INT(plait_result(waiting[i], NULL), ==, 0);
        plait_free(waiting[i]);
    }
    plait_shared_free((void *)begun);
    close_processes(ex);
}
