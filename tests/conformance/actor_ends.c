// SPDX-License-Identifier: MIT
// Actors: the ways in which a life ends, and what the supervisor does then.
#include "conformance/actors.h"
#include "conformance/tasks.h"

#include <string.h>

CONFORM(who_is_restarted)
{
    plait_supervisor *s;
    plait_actor *a;
    struct answer rest;
    CHECK_INT(plait_supervisor_new(&s, ex, .restarts_max = 100), ==, 0);
    // Transient: a return is the end, a failure is not.
    CHECK_INT(plait_actor_start(&a, s, tally, &(long){ 0 }, .restart = PLAIT_TRANSIENT), ==, 0);
    tell(a, FAIL_IT, -EIO);
    tell(a, RETURN_IT, 7);
    CHECK_INT(plait_actor_wait(a), ==, 7);
    CHECK_INT(info(a).lives, ==, 2);
    CHECK_INT(plait_actor_tell(a, tally, { ADD, 1 }), ==, -EPIPE);
    CHECK_INT(plait_actor_free(a), ==, 0);
    // Temporary: a failure is the end.
    CHECK_INT(plait_actor_start(&a, s, tally, &(long){ 0 }, .restart = PLAIT_TEMPORARY), ==, 0);
    tell(a, FAIL_IT, -EIO);
    CHECK_INT(plait_actor_wait(a), ==, -EIO);
    CHECK_INT(plait_actor_tell(a, tally, { ADD, 1 }), ==, -EOWNERDEAD);
    CHECK_INT(plait_actor_hear(a, tally, &rest), ==, -EOWNERDEAD);
    CHECK_INT(info(a).lives, ==, 1);
    CHECK_INT(plait_actor_free(a), ==, 0);
    // Permanent: nothing is but a stop.
    CHECK_INT(plait_actor_start(&a, s, tally, &(long){ 0 }), ==, 0);
    tell(a, RETURN_IT, 7);
    tell(a, FAIL_IT, -EIO);
    tell(a, ADD, 1);
    expect(a, 1, 3);
    CHECK_INT(info(a).lost, ==, 1);
    CHECK_INT(plait_supervisor_failed(s, NULL), ==, 0);
    plait_supervisor_free(s);
}

// ---- intensity

static int fail_at_once(const int *code, plait_seat *seat)
{
    (void)seat;
    count_up(3);
    return *code;
}
PLAIT_ACTOR(fail_at_once, int, long, long);

CONFORM(gives_up_after_so_many_restarts)
{
    enum { RESTARTS = 4 };
    plait_supervisor *s;
    plait_actor *a, *other, *late;
    struct plait_actor_info why;
    CHECK_INT(
        plait_supervisor_new(&s, ex, .restarts_max = RESTARTS, .period_ns = 3600 * PLAIT_SECOND),
        ==, 0);
    CHECK_INT(plait_actor_start(&other, s, tally, &(long){ 0 }, .name = "other"), ==, 0);
    tell(other, ADD, 1);
    CHECK_INT(plait_actor_start(&a, s, fail_at_once, &(int){ -EBADMSG }, .pause_ns = 1), ==, 0);
    CHECK_INT(plait_actor_wait(a), ==, -EBADMSG);
    CHECK_INT(count_of(3), ==, RESTARTS + 1);
    CHECK_INT(plait_supervisor_failed(s, &why), ==, -EBADMSG);
    CHECK_STR(why.name, "fail_at_once");
    CHECK_INT(why.lives, ==, RESTARTS + 1);
    CHECK(why.given_up);
    CHECK(strstr(why.message, "fail_at_once"));
    CHECK_INT(plait_actor_tell(a, fail_at_once, { 1 }), ==, -EOWNERDEAD);
    // The other one has handled what it was told, and is over.
    CHECK_INT(plait_actor_wait(other), ==, 0);
    expect(other, 1, 1);
    CHECK_INT(plait_actor_tell(other, tally, { ADD, 1 }), ==, -EPIPE);
    CHECK(!info(other).given_up);
    CHECK_INT(plait_actor_start(&late, s, tally, &(long){ 0 }), ==, -EOWNERDEAD);
    plait_supervisor_free(s);
}

CONFORM(the_period_is_over_sometime)
{
    plait_supervisor *s;
    plait_actor *a;
    CHECK_INT(plait_supervisor_new(&s, ex, .restarts_max = 1, .period_ns = 20 * PLAIT_MILLISECOND),
              ==, 0);
    CHECK_INT(plait_actor_start(&a, s, tally, &(long){ 0 }, .pause_ns = 1), ==, 0);
    for (unsigned life = 2; life < 6; life++) {
        tell(a, FAIL_IT, -EIO);
        tell(a, ADD, 1);
        expect(a, 1, life);
        int64_t start = plait_now();
        while (plait_now() - start < 25 * PLAIT_MILLISECOND)
            plait_sleep(PLAIT_MILLISECOND);
    }
    CHECK_INT(plait_supervisor_failed(s, NULL), ==, 0);
    plait_supervisor_free(s);
}

// ---- the ways to end one

CONFORM(a_stop_has_a_limit)
{
    plait_supervisor *s = supervise(ex);
    plait_actor *a;
    CHECK_INT(plait_actor_start(&a, s, tally, &(long){ 0 }, .stop_ns = PLAIT_MILLISECOND), ==, 0);
    tell(a, HANG, 0);
    tell(a, ADD, 1);
    count_wait(2, 1);
    CHECK_INT(plait_actor_stop(a), ==, 0);
    CHECK_INT(plait_actor_wait(a), ==, -ECANCELED);
    CHECK_INT(info(a).lives, ==, 1);
    CHECK_INT(info(a).waiting, ==, 1);
    CHECK_INT(plait_actor_tell(a, tally, { ADD, 1 }), ==, -EPIPE);
    plait_supervisor_free(s);
}

CONFORM_BARE(stopped_before_it_could_begin)
{
    struct plugged p;
    plug(&p, on, (struct plait_options){ 0 });
    plait_supervisor *s = supervise(p.ex);
    plait_actor *a;
    CHECK_INT(plait_actor_start(&a, s, tally, &(long){ 0 }, .stop_ns = 3600 * PLAIT_SECOND), ==, 0);
    CHECK_INT(info(a).state, ==, PLAIT_ACTOR_STARTING);
    CHECK_INT(plait_actor_stop(a), ==, 0);
    CHECK_INT(plait_actor_wait(a), ==, 0);
    CHECK_INT(count_of(1), ==, 0);
    CHECK_INT(info(a).lives, ==, 1);
    // With something to do it begins when it can.
    CHECK_INT(plait_actor_start(&a, s, tally, &(long){ 0 }, .stop_ns = 3600 * PLAIT_SECOND), ==, 0);
    tell(a, ADD, 1);
    CHECK_INT(plait_actor_stop(a), ==, 0);
    gate_open(0, p.count);
    CHECK_INT(plait_actor_wait(a), ==, 0);
    expect(a, 1, 1);
    plait_supervisor_free(s);
    unplug(&p);
}

CONFORM(a_failure_does_not_stop_the_draining)
{
    plait_supervisor *s = supervise(ex);
    plait_actor *a;
    CHECK_INT(plait_actor_start(&a, s, tally, &(long){ 0 }, .redeliver = 1), ==, 0);
    tell(a, FAIL_IN_FIRST_LIFE, -EIO);
    tell(a, ADD, 1);
    CHECK_INT(plait_actor_stop(a), ==, 0);
    CHECK_INT(plait_actor_wait(a), ==, 0);
    expect(a, -EIO, 2);
    expect(a, -EIO + 1, 2);
    CHECK_INT(info(a).handled, ==, 2);
    plait_supervisor_free(s);
}

CONFORM(stopped_while_it_pauses)
{
    plait_supervisor *s = supervise(ex);
    plait_actor *a;
    CHECK_INT(plait_actor_start(&a, s, tally, &(long){ 0 }, .pause_ns = 3600 * PLAIT_SECOND), ==,
              0);
    tell(a, FAIL_IT, -EIO);
    while (info(a).state != PLAIT_ACTOR_PAUSED)
        plait_sleep(PLAIT_MILLISECOND);
    // Something is left: another life handles it, at once.
    tell(a, ADD, 1);
    CHECK_INT(plait_actor_stop(a), ==, 0);
    CHECK_INT(plait_actor_wait(a), ==, 0);
    expect(a, 1, 2);
    CHECK_INT(plait_actor_free(a), ==, 0);
    // Nothing is left, or it is to be killed: there is none.
    for (int kill = 0; kill < 2; kill++) {
        CHECK_INT(plait_actor_start(&a, s, tally, &(long){ 0 }, .pause_ns = 3600 * PLAIT_SECOND),
                  ==, 0);
        tell(a, FAIL_IT, -EIO);
        while (info(a).state != PLAIT_ACTOR_PAUSED)
            plait_sleep(PLAIT_MILLISECOND);
        if (kill)
            tell(a, ADD, 1);
        CHECK_INT(kill ? plait_actor_kill(a) : plait_actor_stop(a), ==, 0);
        CHECK_INT(plait_actor_wait(a), ==, -EIO);
        CHECK_INT(info(a).lives, ==, 1);
        CHECK_INT(info(a).waiting, ==, kill);
        CHECK_INT(plait_actor_free(a), ==, 0);
    }
    plait_supervisor_free(s);
}

CONFORM(a_silent_one_is_ended)
{
    // Longer than a busy machine keeps one from its CPU.
    int64_t silent_ns = (int64_t)(60 * check_scale()) * PLAIT_MILLISECOND;
    plait_supervisor *s = supervise(ex);
    plait_actor *a;
    CHECK_INT(plait_actor_start(&a, s, tally, &(long){ 0 }, .silent_ns = silent_ns, .pause_ns = 1),
              ==, 0);
    plait_sleep(2 * silent_ns); // who has nothing to do may be silent
    tell(a, ADD, 1);
    expect(a, 1, 1);
    tell(a, HANG, 0);
    tell(a, ADD, 2);
    expect(a, 2, 2);
    struct plait_actor_info i = info(a);
    CHECK_INT(i.code, ==, -ETIMEDOUT);
    CHECK_INT(i.lost, ==, 1);
    CHECK(strstr(i.message, "silent"));
    plait_supervisor_free(s);
}

CONFORM_BARE(the_executor_is_stopped)
{
    plait_executor *ex;
    CHECK_INT(OPEN_ON(&ex, on), ==, 0);
    plait_supervisor *s = supervise(ex);
    plait_actor *a;
    CHECK_INT(plait_actor_start(&a, s, tally, &(long){ 0 }), ==, 0);
    tell(a, HANG, 0);
    count_wait(2, 1);
    CHECK_INT(plait_shutdown(ex, PLAIT_STOP), ==, 0);
    CHECK_INT(plait_actor_wait(a), ==, -ECANCELED);
    CHECK_INT(info(a).reason, ==, PLAIT_REASON_SHUTDOWN);
    CHECK_INT(info(a).lives, ==, 1);
    CHECK_INT(plait_supervisor_failed(s, NULL), ==, 0);
    CHECK_INT(plait_actor_start(&a, s, tally, &(long){ 0 }), ==, -ESHUTDOWN);
    plait_supervisor_free(s);
    CHECK_INT(plait_close(ex), ==, 0);
}
