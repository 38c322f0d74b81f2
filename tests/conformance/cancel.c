// SPDX-License-Identifier: MIT
// Cancelling a task that is queued, runs, or has ended; callbacks at the end.
#include <pthread.h>
#include <stdatomic.h>

#include "conformance/tasks.h"

static void check_cancelled(plait_future *f, enum plait_reason reason)
{
    CHECK_INT(plait_result(f, NULL), ==, -ECANCELED);
    const struct plait_error *e = plait_error(f);
    CHECK(e != NULL);
    CHECK_INT(e->code, ==, -ECANCELED);
    CHECK_INT(e->reason, ==, reason);
}

CONFORM_BARE(queued_tasks_never_start)
{
    struct plugged p;
    plait_future *f[20];
    plug(&p, on, (struct plait_options){ 0 });
    for (int i = 0; i < 20; i++)
        CHECK_INT(plait_submit(p.ex, &f[i], wait_at, { 1 }), ==, 0);
    for (int i = 0; i < 20; i++) {
        CHECK_INT(plait_cancel(f[i]), ==, 0);
        CHECK_INT(plait_cancel(f[i]), ==, -EALREADY);
    }
    if (on->kind != PLAIT_PROCESSES || on->tasks_per_worker == 1)
        for (int i = 0; i < 20; i++) // while the workers are still kept
            check_cancelled(f[i], PLAIT_REASON_USER);
    unplug(&p);
    for (int i = 0; i < 20; i++) {
        check_cancelled(f[i], PLAIT_REASON_USER);
        plait_free(f[i]);
    }
    CHECK_INT(count_of(0), ==, p.count);
}

CONFORM(running_tasks_are_told)
{
    plait_future *f[4];
    unsigned n = place_together(on) < 4 ? place_together(on) : 4;
    for (unsigned i = 0; i < n; i++)
        CHECK_INT(plait_submit(ex, &f[i], wait_at, { 1 }), ==, 0);
    count_wait(0, n);
    for (unsigned i = 0; i < n; i++) {
        CHECK_INT(plait_cancel(f[i]), ==, 0);
        CHECK_INT(plait_cancel(f[i]), ==, -EALREADY);
        check_cancelled(f[i], PLAIT_REASON_USER);
        plait_free(f[i]);
    }
}

CONFORM(ended_tasks_keep_their_result)
{
    plait_future *f;
    long sum;
    CHECK_INT(plait_submit(ex, &f, add, { 2, 3 }), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, 0);
    CHECK_INT(plait_cancel(f), ==, -EALREADY);
    CHECK_INT(plait_result(f, &sum), ==, 0);
    CHECK_INT(sum, ==, 5);
    plait_free(f);
}

// Computes until it is told to stop.
static int poll_for_cancel(const void *nothing, long *turns)
{
    (void)nothing;
    int e;
    count_up(0);
    for (*turns = 0; (e = plait_cancelled()) == 0; ++*turns)
        ;
    return e;
}
PLAIT_TASK(poll_for_cancel, void, long);

CONFORM(a_computing_task_can_ask)
{
    plait_future *f;
    CHECK_INT(plait_submit(ex, &f, poll_for_cancel, { 0 }), ==, 0);
    count_wait(0, 1);
    CHECK_INT(plait_cancel(f), ==, 0);
    check_cancelled(f, PLAIT_REASON_USER);
    plait_free(f);
}

// Cancelled, and returns a result of its own all the same.
static int finish_anyway(const void *nothing, int *out)
{
    (void)nothing;
    count_up(0);
    int e = gate_pass(1);
    *out = 7;
    return e == -ECANCELED ? 0 : -EPROTO;
}
PLAIT_TASK(finish_anyway, void, int);

CONFORM(a_task_may_finish_all_the_same)
{
    plait_future *f;
    int out = 0;
    CHECK_INT(plait_submit(ex, &f, finish_anyway, { 0 }), ==, 0);
    count_wait(0, 1);
    CHECK_INT(plait_cancel(f), ==, 0);
    CHECK_INT(plait_result(f, &out), ==, 0);
    CHECK_INT(out, ==, 7);
    CHECK(plait_error(f) == NULL);
    plait_free(f);
}

// Every call that could wait says so, again and again: levels, not edges.
static int insist(const void *nothing, int *out)
{
    (void)nothing;
    *out = 0;
    count_up(0);
    if (gate_pass(1) != -ECANCELED)
        return -EPROTO;
    for (int i = 0; i < 5; i++) {
        *out += plait_sleep(1) == -ECANCELED;
        *out += plait_yield() == -ECANCELED;
        *out += plait_cancelled() == -ECANCELED;
        *out += gate_pass(1) == -ECANCELED;
    }
    return 0;
}
PLAIT_TASK(insist, void, int);

CONFORM(cancellation_is_not_consumed)
{
    plait_future *f;
    int out = 0;
    CHECK_INT(plait_submit(ex, &f, insist, { 0 }), ==, 0);
    count_wait(0, 1);
    CHECK_INT(plait_cancel(f), ==, 0);
    CHECK_INT(plait_result(f, &out), ==, 0);
    CHECK_INT(out, ==, 20);
    plait_free(f);
}

CONFORM(cancel_and_free)
{
    for (int i = 0; i < 50; i++) {
        plait_future *f;
        CHECK_INT(plait_submit(ex, &f, wait_at, { 1 }), ==, 0);
        CHECK_INT(plait_cancel(f), ==, 0);
        plait_free(f);
    }
}

// Cancel at every moment of a short life.
CONFORM(cancel_races_with_the_end, .limit_s = 60)
{
    int cancelled = 0, finished = 0;
    for (int i = 0; i < 500; i++) {
        plait_future *f;
        long sum = 0;
        CHECK_INT(plait_submit(ex, &f, add, { i, 1 }), ==, 0);
        for (volatile int spin = 0; spin < i * 20; spin++)
            ;
        int e = plait_cancel(f);
        CHECK(e == 0 || e == -EALREADY);
        int code = plait_result(f, &sum);
        if (code == 0) {
            CHECK_INT(sum, ==, i + 1);
            finished++;
        } else {
            CHECK_INT(code, ==, -ECANCELED);
            CHECK_INT(e, ==, 0);
            cancelled++;
        }
        plait_free(f);
    }
    check_say("%d cancelled, %d finished", cancelled, finished);
}

// ---- callbacks ---------------------------------------------------------------------------------

static void note_end(plait_future *f, void *arg)
{
    CHECK(plait_done(f));
    long sum = 0;
    if (plait_result(f, &sum) == 0)
        atomic_fetch_add((_Atomic long *)arg, sum);
    count_up(2);
}

CONFORM(on_done_before_and_after_the_end)
{
    plait_future *f;
    static _Atomic long total;
    CHECK_INT(plait_submit(ex, &f, add, { 20, 3 }), ==, 0);
    CHECK_INT(plait_on_done(f, note_end, &total), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, 0);
    count_wait(2, 1);
    CHECK_INT(plait_on_done(f, note_end, &total), ==, 0); // at once
    CHECK_INT(count_of(2), ==, 2);
    CHECK_INT(total, ==, 46);
    plait_free(f);
}

CONFORM(on_done_of_a_future_that_was_freed)
{
    static _Atomic long total;
    plait_future *f;
    CHECK_INT(plait_submit(ex, &f, add, { 1, 1 }), ==, 0);
    for (int i = 0; i < 10; i++)
        CHECK_INT(plait_on_done(f, note_end, &total), ==, 0);
    plait_free(f);
    count_wait(2, 10);
    CHECK_INT(total, ==, 20);
}

static void note_cancel(plait_future *f, void *arg)
{
    *(int *)arg = plait_result(f, NULL);
    count_up(2);
}

CONFORM(on_done_of_a_cancelled_task)
{
    plait_future *f;
    static int code;
    CHECK_INT(plait_submit(ex, &f, wait_at, { 1 }), ==, 0);
    CHECK_INT(plait_on_done(f, note_cancel, &code), ==, 0);
    count_wait(0, 1);
    CHECK_INT(count_of(2), ==, 0);
    CHECK_INT(plait_cancel(f), ==, 0);
    count_wait(2, 1);
    CHECK_INT(code, ==, -ECANCELED);
    plait_free(f);
}

static void free_it(plait_future *f, void *arg)
{
    (void)arg;
    plait_free(f);
    count_up(2);
}

CONFORM(a_callback_may_free_its_future)
{
    for (int i = 0; i < 100; i++) {
        plait_future *f;
        CHECK_INT(plait_submit(ex, &f, add, { 1, 1 }), ==, 0);
        CHECK_INT(plait_on_done(f, free_it, NULL), ==, 0);
    }
    count_wait(2, 100);
}
