// SPDX-License-Identifier: MIT
// Actors: their messages, and what others see of them; the same on every executor. Deaths of
// processes are in tests/faults/actor.c.
#include "conformance/actors.h"
#include "conformance/tasks.h"

#include <stdio.h>
#include <string.h>

CONFORM(answers_in_order)
{
    enum { N = 1000, WINDOW = 50 };
    plait_supervisor *s = supervise(ex);
    plait_actor *a;
    long sum = 5;
    CHECK_INT(plait_actor_start(&a, s, tally, &sum), ==, 0);
    for (int i = 0; i < N + WINDOW; i++) {
        if (i < N)
            tell(a, ADD, i);
        if (i >= WINDOW)
            expect(a, sum += i - WINDOW, 1);
    }
    struct plait_actor_info i = info(a);
    CHECK_STR(i.name, "tally");
    CHECK_INT(i.state, ==, PLAIT_ACTOR_RUNNING);
    CHECK_INT(i.pid, >, 0);
    CHECK_INT(i.lives, ==, 1);
    CHECK_INT(plait_actor_stop(a), ==, 0);
    CHECK_INT(plait_actor_stop(a), ==, -EALREADY);
    CHECK_INT(plait_actor_wait(a), ==, 0);
    i = info(a);
    CHECK_INT(i.state, ==, PLAIT_ACTOR_OVER);
    CHECK_INT(i.handled, ==, N);
    CHECK_INT(i.lost + i.waiting + i.redelivered, ==, 0);
    plait_supervisor_free(s);
}

CONFORM(a_stop_drains)
{
    enum { N = 40 };
    plait_supervisor *s = supervise(ex);
    plait_actor *a;
    CHECK_INT(plait_actor_start(&a, s, tally, &(long){ 0 }), ==, 0);
    for (int i = 0; i < N; i++)
        tell(a, ADD, 1);
    CHECK_INT(plait_actor_stop(a), ==, 0);
    CHECK_INT(plait_actor_tell(a, tally, { ADD, 1 }), ==, -EPIPE);
    CHECK_INT(plait_actor_wait(a), ==, 0);
    for (int i = 0; i < N; i++)
        expect(a, i + 1, 1);
    struct answer rest;
    CHECK_INT(plait_actor_hear(a, tally, &rest), ==, -EPIPE);
    CHECK_INT(plait_actor_try_get(a, &rest), ==, -EPIPE);
    CHECK_INT(info(a).handled, ==, N);
    CHECK_INT(plait_actor_free(a), ==, 0);
    plait_supervisor_free(s);
}

CONFORM(a_failure_costs_one_message)
{
    plait_supervisor *s = supervise(ex);
    plait_actor *a;
    CHECK_INT(plait_actor_start(&a, s, tally, &(long){ 0 }), ==, 0);
    tell(a, ADD, 1);
    tell(a, FAIL_IT, -EBADMSG);
    tell(a, ADD, 2);
    tell(a, ADD, 3);
    expect(a, 1, 1);
    expect(a, 2, 2); // what waited is there, what the first life knew is not
    expect(a, 5, 2);
    struct plait_actor_info i = info(a);
    CHECK_INT(i.code, ==, -EBADMSG);
    CHECK_INT(i.lost, ==, 1);
    CHECK_INT(i.lives, ==, 2);
    CHECK(strstr(i.message, "tally"));
    CHECK_INT(plait_actor_stop(a), ==, 0);
    CHECK_INT(plait_actor_wait(a), ==, 0);
    CHECK_INT(info(a).handled, ==, 3);
    plait_supervisor_free(s);
}

CONFORM(a_message_is_handed_again)
{
    plait_supervisor *s = supervise(ex);
    plait_actor *a;
    CHECK_INT(plait_actor_start(&a, s, tally, &(long){ 0 }, .redeliver = 2, .pause_ns = 1), ==, 0);
    tell(a, FAIL_IN_FIRST_LIFE, -EBADMSG);
    tell(a, ADD, 1);
    expect(a, -EBADMSG, 2);
    expect(a, -EBADMSG + 1, 2);
    struct plait_actor_info i = info(a);
    CHECK_INT(i.redelivered, ==, 1);
    CHECK_INT(i.lost, ==, 0);
    CHECK_INT(plait_actor_free(a), ==, 0);
    // One that no life survives is given up after so many; what a life said was done is not lost.
    plait_supervisor_free(s);
    CHECK_INT(plait_supervisor_new(&s, ex, .restarts_max = 4), ==, 0);
    CHECK_INT(plait_actor_start(&a, s, tally, &(long){ 0 }, .redeliver = 2, .pause_ns = 1), ==, 0);
    tell(a, FAIL_IT, -EBADMSG);
    tell(a, DONE_AND_FAIL, -EBADMSG);
    tell(a, ADD, 1);
    expect(a, 1, 5);
    i = info(a);
    CHECK_INT(i.redelivered, ==, 2);
    CHECK_INT(i.lost, ==, 1);
    CHECK_INT(plait_actor_stop(a), ==, 0);
    CHECK_INT(plait_actor_wait(a), ==, 0);
    CHECK_INT(info(a).handled, ==, 2);
    plait_supervisor_free(s);
}

// ---- who waits is told

struct user {
    plait_actor *actor;
    long n;
    bool gets;
};

// Puts or gets until that fails; *out: how often it did not.
static int use(const struct user *u, long *out)
{
    struct answer a;
    struct order o = { ADD, 1 };
    int e = 0;
    long done = 0;
    count_up(4);
    for (; e == 0 && done < u->n; done += e == 0)
        e = u->gets ? plait_actor_get(u->actor, &a) : plait_actor_put(u->actor, &o);
    *out = done;
    return e == -EPIPE || e == -EOWNERDEAD ? -e : e;
}
PLAIT_TASK(use, struct user, long);

CONFORM_BARE(waiters_are_told_of_the_end)
{
    // The actor, and two others that use it, each with a place.
    plait_executor *ex;
    CHECK_INT(OPEN_ON(&ex, on, .workers = on->kind == PLAIT_PROCESSES ? 3 : 0), ==, 0);
    plait_supervisor *s;
    plait_actor *a;
    plait_future *getter, *putter;
    long got, put;
    CHECK_INT(plait_supervisor_new(&s, ex, .restarts_max = 1), ==, 0);
    CHECK_INT(plait_actor_start(&a, s, tally, &(long){ 0 }, .pause_ns = 1, .in_capacity = 2), ==,
              0);
    tell(a, HANG, 0);
    count_wait(2, 1);
    CHECK_INT(plait_submit(ex, &getter, use, { a, 1000, true }), ==, 0);
    CHECK_INT(plait_submit(ex, &putter, use, { a, 1000, false }), ==, 0);
    count_wait(4, 2);
    while (plait_actor_try_put(a, &(struct order){ ADD, 1 }) != -EAGAIN)
        ;
    CHECK_INT(plait_actor_kill(a), ==, 0);
    CHECK_INT(plait_actor_wait(a), ==, -ECANCELED);
    CHECK_INT(plait_result(getter, &got), ==, EPIPE);
    CHECK_INT(plait_result(putter, &put), ==, EPIPE);
    CHECK_INT(got, ==, 0);
    struct plait_actor_info i = info(a);
    CHECK_INT(i.waiting, ==, 2);
    CHECK_INT(i.lost, ==, 1);
    plait_free(getter);
    plait_free(putter);
    plait_supervisor_free(s);
    CHECK_INT(plait_close(ex), ==, 0);
}

CONFORM(tasks_use_an_actor)
{
    if (place_together(on) < 2)
        SKIP("one place");
    enum { N = 500 };
    plait_supervisor *s = supervise(ex);
    plait_actor *a;
    plait_future *putter;
    long put;
    CHECK_INT(plait_actor_start(&a, s, tally, &(long){ 0 }), ==, 0);
    CHECK_INT(plait_submit(ex, &putter, use, { a, N, false }), ==, 0);
    for (int i = 0; i < N; i++)
        expect(a, i + 1, 1);
    CHECK_INT(plait_result(putter, &put), ==, 0);
    CHECK_INT(put, ==, N);
    plait_free(putter);
    plait_supervisor_free(s);
}

// Tasks beside an actor, which keeps one place for itself: none of them waits behind it.
CONFORM(beside_other_tasks)
{
    if (place_together(on) < 2)
        SKIP("one place");
    enum { N = 2000 };
    static struct pair in[N];
    static long out[N];
    plait_supervisor *s = supervise(ex);
    plait_actor *a;
    CHECK_INT(plait_actor_start(&a, s, tally, &(long){ 0 }), ==, 0);
    for (long i = 0; i < N; i++)
        in[i] = (struct pair){ i, 1 };
    for (long round = 1; round <= 3; round++) {
        CHECK_INT(plait_map(ex, add, in, out, N), ==, 0);
        for (long i = 0; i < N; i++)
            CHECK_INT(out[i], ==, i + 1);
        tell(a, ADD, 1);
        expect(a, round, 1);
    }
    plait_supervisor_free(s);
}

CONFORM(deadlines_of_those_who_wait)
{
    plait_supervisor *s = supervise(ex);
    plait_actor *a;
    plait_scope scope;
    struct answer answer;
    CHECK_INT(plait_actor_start(&a, s, tally, &(long){ 0 }, .in_capacity = 1), ==, 0);
    CHECK_INT(plait_scope_begin(&scope, ex, .deadline = plait_after(PLAIT_MILLISECOND)), ==, 0);
    CHECK_INT(plait_actor_hear(a, tally, &answer), ==, -ETIMEDOUT);
    CHECK_INT(plait_actor_wait(a), ==, -ETIMEDOUT);
    CHECK_INT(plait_scope_end(&scope), ==, -ETIMEDOUT);
    tell(a, HANG, 0);
    count_wait(2, 1);
    tell(a, ADD, 1);
    CHECK_INT(plait_actor_try_put(a, &(struct order){ ADD, 1 }), ==, -EAGAIN);
    CHECK_INT(plait_scope_begin(&scope, ex, .deadline = plait_after(PLAIT_MILLISECOND)), ==, 0);
    CHECK_INT(plait_actor_tell(a, tally, { ADD, 1 }), ==, -ETIMEDOUT);
    CHECK_INT(plait_scope_end(&scope), ==, -ETIMEDOUT);
    CHECK_INT(plait_actor_kill(a), ==, 0);
    plait_supervisor_free(s);
}

// An actor, its supervisor and who uses it within one task: in a worker, where the program's
// executor may be one of processes, and on a fiber.
static int supervise_within(const long *n, long *out)
{
    plait_executor *ex;
    plait_supervisor *s;
    plait_actor *a;
    struct answer answer = { 0 };
    int e = plait_open(&ex, PLAIT_FIBERS);
    if (e < 0)
        return e;
    if ((e = plait_supervisor_new(&s, ex)) == 0) {
        e = plait_actor_start(&a, s, tally, n);
        if (e == 0)
            e = plait_actor_tell(a, tally, { FAIL_IT, -EIO });
        if (e == 0)
            e = plait_actor_tell(a, tally, { ADD, 2 });
        if (e == 0)
            e = plait_actor_hear(a, tally, &answer);
        plait_supervisor_free(s);
    }
    plait_close(ex);
    *out = answer.sum;
    return e;
}
PLAIT_TASK(supervise_within, long, long);

CONFORM(within_a_task)
{
    plait_future *f;
    long sum = 0;
    CHECK_INT(plait_submit(ex, &f, supervise_within, { 40 }), ==, 0);
    CHECK_INT(plait_result(f, &sum), ==, 0);
    CHECK_INT(sum, ==, 42);
    plait_free(f);
}

// What another process may not do with it.
static int meddle(plait_actor *const *a, void *out)
{
    struct plait_actor_info i;
    (void)out;
    bool refused = plait_actor_stop(*a) == -ENOTSUP && plait_actor_kill(*a) == -ENOTSUP &&
                   plait_actor_wait(*a) == -ENOTSUP && plait_actor_info(*a, &i) == -ENOTSUP &&
                   plait_actor_free(*a) == -ENOTSUP;
    return refused ? 1 : 0;
}
PLAIT_TASK(meddle, plait_actor *, void);

CONFORM(only_its_own_program_ends_it)
{
    if (on->kind != PLAIT_PROCESSES || place_together(on) < 2)
        SKIP("everybody is its own program here");
    plait_supervisor *s = supervise(ex);
    plait_actor *a;
    plait_future *f;
    CHECK_INT(plait_actor_start(&a, s, tally, &(long){ 0 }), ==, 0);
    CHECK_INT(plait_submit(ex, &f, meddle, { a }), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, 1);
    plait_free(f);
    tell(a, ADD, 1);
    expect(a, 1, 1);
    plait_supervisor_free(s);
}

// ---- events, names, many of them

struct diary {
    struct plait_actor_event events[64];
    char names[64][32];
    _Atomic int n;
};

static void write_down(const struct plait_actor_event *e, void *arg)
{
    struct diary *d = arg;
    int n = d->n;
    CHECK_INT(n, <, 64);
    d->events[n] = *e;
    snprintf(d->names[n], sizeof d->names[n], "%s", e->name);
    if (e->what == PLAIT_ACTOR_FAILED) {
        CHECK(e->error);
        CHECK_INT(e->error->code, ==, e->code);
    }
    d->n = n + 1;
}

CONFORM_BARE(events_and_the_order_of_the_end)
{
    enum { ACTORS = 3 };
    static const char *const names[ACTORS] = { "one", "two", "three" };
    struct diary *d = &(struct diary){ 0 };
    plait_executor *ex;
    plait_supervisor *s;
    plait_actor *a[ACTORS];
    CHECK_INT(OPEN_ON(&ex, on, .workers = on->kind == PLAIT_PROCESSES ? ACTORS : 0), ==, 0);
    CHECK_INT(plait_supervisor_new(&s, ex, .event = write_down, .event_arg = d), ==, 0);
    for (int i = 0; i < ACTORS; i++)
        CHECK_INT(plait_actor_start(&a[i], s, tally, &(long){ i }, .name = names[i]), ==, 0);
    CHECK(plait_supervisor_find(s, "two") == a[1]);
    CHECK(!plait_supervisor_find(s, "four"));
    tell(a[1], FAIL_IT, -EBADMSG);
    tell(a[1], ADD, 1);
    expect(a[1], 2, 2);
    // One for one: the others have not noticed.
    for (int i = 0; i < ACTORS; i += 2) {
        tell(a[i], ADD, 1);
        expect(a[i], i + 1, 1);
        CHECK_INT(info(a[i]).lives, ==, 1);
    }
    plait_supervisor_free(s);
    static const struct {
        enum plait_actor_happening what;
        int who, code;
        unsigned lives;
    } expected[] = {
        { PLAIT_ACTOR_FAILED, 1, -EBADMSG, 1 }, { PLAIT_ACTOR_RESTARTED, 1, 0, 2 },
        { PLAIT_ACTOR_RETURNED, 2, -EPIPE, 1 }, { PLAIT_ACTOR_ENDED, 2, 0, 1 },
        { PLAIT_ACTOR_RETURNED, 1, -EPIPE, 2 }, { PLAIT_ACTOR_ENDED, 1, 0, 2 },
        { PLAIT_ACTOR_RETURNED, 0, -EPIPE, 1 }, { PLAIT_ACTOR_ENDED, 0, 0, 1 },
    };
    CHECK_INT(d->n, ==, 8);
    for (int i = 0; i < 8; i++) {
        CHECK_INT(d->events[i].what, ==, expected[i].what);
        CHECK_STR(d->names[i], names[expected[i].who]);
        CHECK_INT(d->events[i].code, ==, expected[i].code);
        CHECK_INT(d->events[i].lives, ==, expected[i].lives);
    }
    CHECK_INT(plait_close(ex), ==, 0);
}

// ---- without an argument, without a channel

static int count_to_five(const void *nothing, plait_seat *seat)
{
    struct order o;
    (void)nothing;
    if (plait_seat_get(seat, &o) != -EINVAL)
        return -EPROTO;
    for (long i = 1; i <= 5; i++) {
        int e = plait_seat_put(seat, &i);
        if (e < 0)
            return e;
    }
    return 5;
}
PLAIT_ACTOR(count_to_five, void, void, long);

static int swallow(const void *nothing, plait_seat *seat)
{
    (void)nothing;
    long n, sum = 0;
    if (plait_seat_put(seat, &sum) != -EINVAL)
        return -EPROTO;
    while (plait_seat_get(seat, &n) == 0)
        sum += n;
    return (int)sum;
}
PLAIT_ACTOR(swallow, void, long, void);

CONFORM(channels_that_are_not_there)
{
    plait_supervisor *s = supervise(ex);
    plait_actor *a;
    long n;
    CHECK_INT(plait_actor_start(&a, s, count_to_five, NULL, .restart = PLAIT_TRANSIENT), ==, 0);
    CHECK_INT(plait_actor_wait(a), ==, 5);
    for (long i = 1; i <= 5; i++) {
        CHECK_INT(plait_actor_hear(a, count_to_five, &n), ==, 0);
        CHECK_INT(n, ==, i);
    }
    CHECK_INT(plait_actor_hear(a, count_to_five, &n), ==, -EPIPE);
    CHECK_INT(plait_actor_put(a, &n), ==, -EINVAL);
    CHECK_INT(plait_actor_try_put(a, &n), ==, -EINVAL);
    CHECK_INT(plait_actor_free(a), ==, 0);
    CHECK_INT(plait_actor_start(&a, s, swallow, NULL), ==, 0);
    CHECK_INT(plait_actor_get(a, &n), ==, -EINVAL);
    CHECK_INT(plait_actor_try_get(a, &n), ==, -EINVAL);
    CHECK_INT(plait_actor_tell(a, swallow, { 20 }), ==, 0);
    CHECK_INT(plait_actor_tell(a, swallow, { 22 }), ==, 0);
    CHECK_INT(plait_actor_stop(a), ==, 0);
    CHECK_INT(plait_actor_wait(a), ==, 42);
    plait_supervisor_free(s);
}

CONFORM(what_cannot_be_started)
{
    plait_supervisor *s = supervise(ex);
    plait_actor *a = (plait_actor *)s;
    long zero = 0;
    CHECK_INT(plait_actor_start(&a, s, tally, &zero, .restart = (enum plait_restart)7), ==,
              -EINVAL);
    CHECK_INT(plait_actor_start(&a, s, tally, &zero, .pause_ns = -1), ==, -EINVAL);
    CHECK_INT(plait_actor_start(&a, s, tally, &zero, .stop_ns = -1), ==, -EINVAL);
    CHECK_INT(plait_actor_start(&a, s, tally, &zero, .silent_ns = -1), ==, -EINVAL);
    CHECK_INT(
        plait_actor_start(&a, s, tally, &zero, .name = "a name that is longer than it may be"), ==,
        -EINVAL);
    CHECK_INT(plait_actor_start(&a, s, tally, &zero, .in_capacity = SIZE_MAX / 4), ==, -ENOMEM);
    CHECK(a == (plait_actor *)s);
    plait_supervisor_free(s);
    CHECK_INT(plait_supervisor_new(&s, ex, .period_ns = -1), ==, -EINVAL);
    CHECK_INT(plait_supervisor_new(&s, ex, .restarts_max = 2000000), ==, -EINVAL);
    plait_supervisor_free(NULL);
    CHECK_INT(plait_actor_free(NULL), ==, 0);
}
