// SPDX-License-Identifier: MIT
// Tickers in tasks of every executor and on a plain thread; timers.
#include <pthread.h>
#include <stdatomic.h>

#include "conformance/tasks.h"

static void on_schedule(void)
{
    plait_ticker t;
    CHECK_INT(plait_ticker_init(&t, 0), ==, -EINVAL);
    CHECK_INT(plait_ticker_init(&t, -5), ==, -EINVAL);
    int64_t begin = plait_now(), skipped = 0;
    CHECK_INT(plait_ticker_init(&t, PLAIT_MILLISECOND), ==, 0);
    int64_t first = t.next;
    CHECK_INT(first, >=, begin + PLAIT_MILLISECOND);
    for (int i = 0; i < 20; i++) {
        int64_t due = t.next;
        int n = plait_ticker_wait(&t);
        CHECK_INT(n, >=, 0);
        skipped += n;
        CHECK_INT(plait_now(), >=, due);
        CHECK_INT(t.next, ==, due + (n + 1) * PLAIT_MILLISECOND); // no drift
    }
    CHECK_INT(t.missed, ==, skipped);
    CHECK_INT((t.next - first) % PLAIT_MILLISECOND, ==, 0);
    // What takes longer than a period costs ticks, each of them counted, and no burst follows.
    uint64_t missed = t.missed;
    int64_t due = t.next;
    CHECK_INT(plait_sleep_until(due + 7 * PLAIT_MILLISECOND), ==, 0);
    int n = plait_ticker_wait(&t);
    CHECK_INT(n, >=, 7);
    CHECK_INT(t.missed - missed, ==, n);
    CHECK_INT(t.next, ==, due + (n + 1) * PLAIT_MILLISECOND);
    CHECK_INT(plait_now(), <, t.next + PLAIT_SECOND);
    plait_ticker_init(&t, PLAIT_NEVER / 2);
    CHECK_INT(t.next, >, plait_now());
}

static int perform(const void *nothing, void *out)
{
    (void)nothing;
    (void)out;
    on_schedule();
    return 0;
}
PLAIT_TASK(perform, void, void);

CONFORM(tickers)
{
    plait_future *f;
    CHECK_INT(plait_submit(ex, &f, perform, { 0 }), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, 0);
    plait_free(f);
}

TEST(tickers_on_a_plain_thread)
{
    on_schedule();
}

static int tick_until_cancelled(const void *nothing, int64_t *out)
{
    (void)nothing;
    plait_ticker t;
    int e = plait_ticker_init(&t, 3600 * PLAIT_SECOND);
    int64_t next = t.next;
    count_up(0);
    if (e == 0)
        e = plait_ticker_wait(&t);
    CHECK_INT(t.next, ==, next);
    *out = 0;
    return e;
}
PLAIT_TASK(tick_until_cancelled, void, int64_t);

CONFORM(a_ticker_is_cancelled)
{
    plait_future *f;
    CHECK_INT(plait_submit(ex, &f, tick_until_cancelled, { 0 }), ==, 0);
    count_wait(0, 1);
    CHECK_INT(plait_cancel(f), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, -ECANCELED);
    plait_free(f);
}

// ---- timers ------------------------------------------------------------------------------------

struct shot {
    plait_timers *timers;
    plait_timer timer;
    int64_t when;
    _Atomic int fired;
    plait_event done;
    int again;
};

static void shoot(void *arg)
{
    struct shot *s = arg;
    CHECK_INT(plait_now(), >=, s->when);
    CHECK(!plait_timer_stop(s->timers, &s->timer)); // by itself: at once
    if (s->again-- > 0) {
        s->when = plait_after(PLAIT_MILLISECOND / 10);
        plait_timer_start(s->timers, &s->timer, s->when, shoot, s);
    }
    atomic_fetch_add(&s->fired, 1);
    plait_event_set(&s->done);
}

static int use_timers(const void *nothing, void *out)
{
    (void)nothing;
    (void)out;
    plait_timers *ts;
    CHECK_INT(plait_timers_new(&ts), ==, 0);
    struct shot s = { .timers = ts };
    CHECK(!plait_timer_stop(ts, &s.timer)); // never armed
    s.when = plait_after(PLAIT_MILLISECOND);
    plait_timer_start(ts, &s.timer, s.when, shoot, &s);
    CHECK_INT(plait_event_wait(&s.done, PLAIT_NEVER), ==, 0);
    CHECK(!plait_timer_stop(ts, &s.timer));
    CHECK_INT(atomic_load(&s.fired), ==, 1);
    // Stopped, moved to later, moved to sooner.
    s.when = PLAIT_NEVER;
    plait_timer_start(ts, &s.timer, plait_after(PLAIT_SECOND / 5), shoot, &s);
    CHECK(plait_timer_stop(ts, &s.timer));
    CHECK(!plait_timer_stop(ts, &s.timer));
    plait_timer_start(ts, &s.timer, plait_after(PLAIT_SECOND / 5), shoot, &s);
    plait_timer_start(ts, &s.timer, plait_after(3600 * PLAIT_SECOND), shoot, &s);
    plait_event_reset(&s.done);
    s.when = plait_now();
    plait_timer_start(ts, &s.timer, s.when, shoot, &s);
    CHECK_INT(plait_event_wait(&s.done, PLAIT_NEVER), ==, 0);
    CHECK(!plait_timer_stop(ts, &s.timer));
    CHECK_INT(atomic_load(&s.fired), ==, 2);
    // One that starts itself again, and one that is forgotten at the end.
    struct shot many = { .timers = ts, .again = 5, .when = plait_now() }, never = { .timers = ts };
    plait_timer_start(ts, &many.timer, many.when, shoot, &many);
    plait_timer_start(ts, &never.timer, plait_after(3600 * PLAIT_SECOND), shoot, &never);
    while (atomic_load(&many.fired) < 6)
        CHECK_INT(plait_yield(), ==, 0);
    plait_timers_free(ts);
    CHECK_INT(atomic_load(&many.fired), ==, 6);
    CHECK_INT(atomic_load(&never.fired), ==, 0);
    plait_timers_free(NULL);
    return 0;
}
PLAIT_TASK(use_timers, void, void);

CONFORM(timers)
{
    plait_future *f;
    CHECK_INT(plait_submit(ex, &f, use_timers, { 0 }), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, 0);
    plait_free(f);
}

TEST(timers_on_a_plain_thread)
{
    struct holdings before = holdings_now();
    CHECK_INT(use_timers(NULL, NULL), ==, 0);
    holdings_check(&before);
}

static void count_in_order(void *arg)
{
    static int expected;
    CHECK_INT((int)(intptr_t)arg, ==, expected);
    expected++;
    count_up(0);
}

TEST(in_the_order_of_their_times)
{
    enum { N = 1000 };
    static plait_timer timers[N];
    plait_timers *ts;
    CHECK_INT(plait_timers_new(&ts), ==, 0);
    int64_t base = plait_after(100 * PLAIT_MILLISECOND);
    for (int i = 0; i < N; i++) {
        int k = i * 7 % N; // 7 and 1000 have no common divisor
        plait_timer_start(ts, &timers[k], base + k / 2, count_in_order, (void *)(intptr_t)k);
    }
    for (int i = 0; i < N; i += 2) // equal times: in the order of their starts
        plait_timer_start(ts, &timers[i], base + i / 2, count_in_order, (void *)(intptr_t)(i));
    for (int i = 1; i < N; i += 2)
        plait_timer_start(ts, &timers[i], base + i / 2, count_in_order, (void *)(intptr_t)(i));
    count_wait(0, N);
    plait_timers_free(ts);
}

// ---- against each other ------------------------------------------------------------------------

struct race {
    plait_timers *timers;
    plait_timer timer;
    _Atomic int running, calls;
};

static void run_long(void *arg)
{
    struct race *r = arg;
    atomic_store(&r->running, 1);
    for (int i = 0; i < 200; i++)
        plait_now();
    atomic_fetch_add(&r->calls, 1);
    atomic_store(&r->running, 0);
}

static void *start_and_stop(void *arg)
{
    plait_timers *ts = arg;
    int count = 0;
    for (int i = 0; i < 3000; i++) {
        struct race r = { .timers = ts };
        plait_timer_start(ts, &r.timer, plait_after(i % 50 * 100), run_long, &r);
        for (int k = 0; k < i % 40; k++)
            plait_now();
        bool stopped = plait_timer_stop(ts, &r.timer);
        count += stopped;
        // From here on nothing of it runs: the frame goes.
        CHECK_INT(atomic_load(&r.running), ==, 0);
        CHECK_INT(atomic_load(&r.calls), ==, stopped ? 0 : 1);
    }
    check_say("%d of 3000 were stopped in time", count);
    return NULL;
}

TEST(stop_waits_for_what_runs)
{
    pthread_t thread[3];
    plait_timers *ts;
    CHECK_INT(plait_timers_new(&ts), ==, 0);
    for (int i = 0; i < 3; i++)
        CHECK_INT(pthread_create(&thread[i], NULL, start_and_stop, ts), ==, 0);
    for (int i = 0; i < 3; i++)
        CHECK_INT(pthread_join(thread[i], NULL), ==, 0);
    plait_timers_free(ts);
}

static void free_from_within(void *arg)
{
    plait_timers_free(arg);
}

TEST(freed_from_within, .signal = SIGABRT, .says = "called from one of its timers")
{
    static plait_timer timer;
    plait_timers *ts;
    CHECK_INT(plait_timers_new(&ts), ==, 0);
    plait_timer_start(ts, &timer, plait_now(), free_from_within, ts);
    plait_sleep(10 * PLAIT_SECOND);
}
