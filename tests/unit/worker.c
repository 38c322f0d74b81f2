// SPDX-License-Identifier: MIT
// worker.c - a worker's decision to sleep, taken apart at the points where others come between. The
// test drives the worker of a foreign executor, so that it stands wherever a worker's own thread
// might be interrupted.
#include "check.h"

#include <plait.h>

#include "core/sched.h"
#include "core/worker.h"

static struct pl_sched *open_foreign(plait_executor **ex)
{
    CHECK_INT(plait_open(ex, PLAIT_FIBERS, .foreign = true), ==, 0);
    struct pl_sched *s = pl_sched_of(*ex);
    pl_worker_awake(&s->workers[0]); // it sleeps until its first turn
    return s;
}

TEST(an_open_executors_worker_sleeps)
{
    plait_executor *ex;
    struct pl_sched *s = open_foreign(&ex);
    CHECK_INT(pl_worker_rest(&s->workers[0]), ==, PL_WORKER_SLEEPS);
    CHECK_INT(atomic_load(&s->sleepers), ==, 1);
    pl_worker_awake(&s->workers[0]);
    CHECK_INT(atomic_load(&s->sleepers), ==, 0);
    CHECK_INT(plait_close(ex), ==, 0);
}

/* It found nothing to do and is about to sleep. Whoever begins to close wakes the sleepers, and it
 * is not one of them yet: nobody would wake it later. */
TEST(a_worker_that_is_about_to_sleep_sees_a_close)
{
    static const enum plait_how hows[] = { PLAIT_DRAIN, PLAIT_STOP };
    for (int i = 0; i < 2; i++) {
        plait_executor *ex;
        struct pl_sched *s = open_foreign(&ex);
        struct pl_worker *w = &s->workers[0];
        CHECK(!pl_sched_check_end(s));
        CHECK_INT(plait_shutdown(ex, hows[i]), ==, 0);
        enum pl_worker_rest rest;
        while ((rest = pl_worker_rest(w)) == PL_WORKER_GOES_ON)
            CHECK(hows[i] == PLAIT_STOP && pl_worker_turn(w, 1) == 0); // its fibers are told
        CHECK_INT(rest, ==, PL_WORKER_ENDS);
        CHECK_INT(atomic_load(&w->state), ==, PL_WORKER_RUNNING);
        CHECK_INT(atomic_load(&s->sleepers), ==, 0);
        CHECK_INT(plait_close(ex), ==, 0);
    }
}

/* It is one of them: it is woken, and must not sleep in its loop. */
TEST(a_worker_that_has_gone_to_sleep_is_woken_by_a_close)
{
    plait_executor *ex;
    struct pl_sched *s = open_foreign(&ex);
    struct pl_worker *w = &s->workers[0];
    CHECK_INT(pl_worker_rest(w), ==, PL_WORKER_SLEEPS);
    CHECK_INT(plait_shutdown(ex, PLAIT_DRAIN), ==, 0);
    CHECK_INT(pl_loop_poll(&w->loop, PLAIT_NEVER), ==, 0);
    pl_worker_awake(w);
    CHECK_INT(pl_worker_rest(w), ==, PL_WORKER_ENDS);
    CHECK_INT(atomic_load(&s->sleepers), ==, 0);
    CHECK_INT(plait_close(ex), ==, 0);
}

static int nothing(const void *in, void *out)
{
    (void)in, (void)out;
    return 0;
}
PLAIT_TASK(nothing, void, void);

TEST(a_worker_does_not_end_before_its_tasks)
{
    plait_executor *ex;
    struct pl_sched *s = open_foreign(&ex);
    struct pl_worker *w = &s->workers[0];
    CHECK_INT(plait_submit(ex, NULL, nothing, { 0 }), ==, 0);
    CHECK_INT(plait_shutdown(ex, PLAIT_DRAIN), ==, 0);
    CHECK_INT(pl_worker_rest(w), ==, PL_WORKER_GOES_ON);
    CHECK_INT(plait_close(ex), ==, 0);
}
