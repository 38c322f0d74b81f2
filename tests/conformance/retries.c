// SPDX-License-Identifier: MIT
// Tasks that may be run again when their worker dies; where no worker can die they just run.
#include "conformance/tasks.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

// Its worker dies in the first so many attempts; *out: the attempt that did not.
struct fate {
    unsigned deaths;
    int counter;
};

static int die_some_times(const struct fate *in, unsigned *out)
{
    unsigned n = count_up((unsigned)in->counter);
    if (n <= in->deaths)
        raise(SIGKILL);
    *out = n;
    return 0;
}
PLAIT_TASK(die_some_times, struct fate, unsigned);

static bool isolated(plait_executor *ex)
{
    struct plait_caps caps;
    plait_caps(ex, &caps);
    return caps.isolated;
}

static void quiet(const struct plait_notice *n, void *arg)
{
    (void)n, (void)arg;
}

CONFORM(a_lost_task_is_run_again)
{
    struct fate fate = { isolated(ex) ? 3 : 0, 1 };
    plait_future *f;
    unsigned attempt = 0;
    CHECK_INT(plait_submit_with(ex, &f, die_some_times, &fate, .retries = 3, .retry_ns = 1), ==, 0);
    CHECK_INT(plait_result(f, &attempt), ==, 0);
    CHECK_INT(attempt, ==, fate.deaths + 1);
    CHECK(!plait_error(f));
    plait_free(f);
}

CONFORM(but_only_as_often_as_allowed)
{
    if (!isolated(ex))
        SKIP("nothing is lost here");
    struct fate fate = { 3, 1 };
    plait_future *f;
    CHECK_INT(plait_submit_with(ex, &f, die_some_times, &fate, .retries = 2, .retry_ns = 1), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, -EOWNERDEAD);
    CHECK_INT(plait_error(f)->attempts, ==, 3);
    CHECK_INT(plait_error(f)->signal, ==, SIGKILL);
    CHECK_INT(plait_error(f)->reason, ==, PLAIT_REASON_DIED);
    CHECK(plait_error(f)->digest == plait_digest(&fate, sizeof fate));
    CHECK_INT(count_of(1), ==, 3);
    plait_free(f);
    // One that may not be is not.
    CHECK_INT(plait_submit(ex, &f, die_some_times, { 1, 2 }), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, -EOWNERDEAD);
    CHECK_INT(count_of(2), ==, 1);
    plait_free(f);
}

// An error of the task's own, after a death: the record speaks of the error.
static int die_then_fail(const int *counter, void *out)
{
    (void)out;
    if (count_up((unsigned)*counter) == 1)
        raise(SIGKILL);
    return -EBADMSG;
}
PLAIT_TASK(die_then_fail, int, void);

CONFORM(own_errors_are_not_tried_again)
{
    if (!isolated(ex))
        SKIP("nothing is lost here");
    int counter = 1;
    plait_future *f;
    CHECK_INT(plait_submit_with(ex, &f, die_then_fail, &counter, .retries = 9, .retry_ns = 1), ==,
              0);
    CHECK_INT(plait_result(f, NULL), ==, -EBADMSG);
    CHECK_INT(plait_error(f)->attempts, ==, 2);
    CHECK_INT(plait_error(f)->signal, ==, 0);
    CHECK_INT(plait_error(f)->exit_status, ==, -1);
    CHECK_INT(plait_error(f)->reason, ==, PLAIT_REASON_NONE);
    CHECK_INT(count_of(1), ==, 2);
    plait_free(f);
}

static volatile int forever = 1;

static int spin(const int *counter, void *out)
{
    (void)out;
    count_up((unsigned)*counter);
    while (forever)
        ;
    return 0;
}
PLAIT_TASK(spin, int, void);

CONFORM_BARE(what_was_killed_on_purpose_stays_dead)
{
    plait_executor *ex;
    if (on->kind != PLAIT_PROCESSES)
        SKIP("nothing is lost here");
    CHECK_INT(OPEN_ON(&ex, on, .grace_ns = 20 * PLAIT_MILLISECOND), ==, 0);
    int counter = 1;
    plait_future *f;
    CHECK_INT(plait_submit_with(ex, &f, spin, &counter, .retries = 9, .retry_ns = 1,
                                .timeout_ns = PLAIT_MILLISECOND),
              ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, -ETIMEDOUT);
    CHECK_INT(plait_error(f)->attempts, ==, 1);
    CHECK_INT(count_of(1), ==, 1);
    plait_free(f);
    counter = 2;
    CHECK_INT(plait_submit_with(ex, &f, spin, &counter, .retries = 9, .retry_ns = 1), ==, 0);
    count_wait(2, 1);
    CHECK_INT(plait_cancel(f), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, -ECANCELED);
    CHECK_INT(count_of(2), ==, 1);
    plait_free(f);
    CHECK_INT(plait_close(ex), ==, 0);
}

CONFORM(the_pause_doubles)
{
    if (!isolated(ex))
        SKIP("nothing is lost here");
    struct fate fate = { 3, 1 };
    plait_future *f;
    int64_t start = plait_now();
    CHECK_INT(plait_submit_with(ex, &f, die_some_times, &fate, .retries = 3,
                                .retry_ns = 20 * PLAIT_MILLISECOND),
              ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, 0);
    CHECK_INT(plait_now() - start, >=, (20 + 40 + 80) * PLAIT_MILLISECOND);
    plait_free(f);
}

// A task of which the next attempt is far away, and what ends it before.
static plait_future *pausing(plait_executor *ex, int counter, int64_t deadline)
{
    struct fate fate = { 1000, counter };
    plait_future *f;
    CHECK_INT(plait_submit_with(ex, &f, die_some_times, &fate, .retries = 1000,
                                .retry_ns = 100 * PLAIT_SECOND, .deadline = deadline),
              ==, 0);
    count_wait((unsigned)counter, 1);
    return f;
}

CONFORM(a_pause_ends_by_a_cancel_or_a_deadline)
{
    if (!isolated(ex))
        SKIP("nothing is lost here");
    plait_future *f = pausing(ex, 1, 0), *g = pausing(ex, 2, plait_after(300 * PLAIT_MILLISECOND));
    CHECK_INT(plait_result(g, NULL), ==, -ETIMEDOUT);
    CHECK_INT(plait_error(g)->reason, ==, PLAIT_REASON_DEADLINE);
    CHECK_INT(plait_error(g)->attempts, ==, 1);
    plait_free(g);
    CHECK(!plait_done(f));
    CHECK_INT(plait_cancel(f), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, -ECANCELED);
    CHECK_INT(count_of(1), ==, 1);
    plait_free(f);
    // The executor closes while the cancelled one's ticket still lies there.
}

CONFORM(a_pause_ends_by_a_stop)
{
    if (!isolated(ex))
        SKIP("nothing is lost here");
    plait_future *f = pausing(ex, 1, 0), *g = pausing(ex, 2, plait_after(1000 * PLAIT_SECOND));
    CHECK_INT(plait_shutdown(ex, PLAIT_STOP), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, -ECANCELED);
    CHECK_INT(plait_result(g, NULL), ==, -ECANCELED);
    CHECK(plait_error(g)->reason == PLAIT_REASON_SHUTDOWN);
    plait_free(f);
    plait_free(g);
}

// Draining waits for what pauses.
CONFORM_BARE(a_close_runs_what_pauses)
{
    plait_executor *ex;
    struct fate fate = { on->kind == PLAIT_PROCESSES ? 2 : 0, 1 };
    unsigned attempt;
    CHECK_INT(OPEN_ON(&ex, on, .notice = quiet), ==, 0);
    plait_future *f;
    CHECK_INT(plait_submit_with(ex, &f, die_some_times, &fate, .retries = 2), ==, 0);
    CHECK_INT(plait_close(ex), ==, 0);
    CHECK(plait_done(f));
    CHECK_INT(plait_result(f, &attempt), ==, 0);
    CHECK_INT(attempt, ==, fate.deaths + 1);
    plait_free(f);
}

// Every seventh attempt of many kills its worker, with all that runs beside it.
static int unlucky(const long *in, long *out)
{
    if (count_up(3) % 7 == 0)
        raise(SIGKILL);
    *out = *in + 1;
    return 0;
}
PLAIT_TASK(unlucky, long, long);

CONFORM(many_deaths_lose_nothing, .limit_s = 120)
{
    enum { N = 300 };
    if (!isolated(ex))
        SKIP("nothing is lost here");
    plait_future *f[N];
    for (long i = 0; i < N; i++)
        CHECK_INT(plait_submit_with(ex, &f[i], unlucky, &i, .retries = 1000, .retry_ns = 1000,
                                    .priority = (int)(i % 3)),
                  ==, 0);
    for (long i = 0; i < N; i++) {
        long got;
        CHECK_INT(plait_result(f[i], &got), ==, 0);
        CHECK_INT(got, ==, i + 1);
        plait_free(f[i]);
    }
}
