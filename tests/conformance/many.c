// SPDX-License-Identifier: MIT
// Many sleepers, and timers: never early, not late, cheap by the hundred thousand.
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "conformance/tasks.h"

static bool is_slow_build(void)
{
    return CONFORM_SANITIZED || getenv("PLAIT_TEST_TIMEOUT_SCALE") != NULL;
}

static int sleep_until(const int64_t *when, int64_t *woke)
{
    int e = plait_sleep_until(*when);
    *woke = plait_now();
    return e;
}
PLAIT_TASK(sleep_until, int64_t, int64_t);

CONFORM(never_early)
{
    enum { N = 200 };
    static int64_t when[N], woke[N];
    size_t n = place_together(on) < N ? place_together(on) : N;
    int64_t begin = plait_now();
    // Not in order, some in the past, some equal.
    for (size_t i = 0; i < n; i++)
        when[i] = begin + (int64_t)((i * 7919) % 50 - 5) * PLAIT_MILLISECOND;
    CHECK_INT(plait_map(ex, sleep_until, when, woke, n), ==, 0);
    int64_t latest = 0;
    for (size_t i = 0; i < n; i++) {
        CHECK_INT(woke[i], >=, when[i]);
        if (woke[i] - when[i] > latest)
            latest = woke[i] - when[i];
    }
    check_say("at most %.2f ms late", (double)latest / 1e6);
    CHECK_INT(plait_now() - begin, <, 2 * PLAIT_SECOND);
}

CONFORM(short_sleeps_are_short)
{
    plait_future *f;
    int64_t begin = plait_now(), woke;
    for (int i = 0; i < 100; i++) {
        CHECK_INT(plait_submit(ex, &f, sleep_until, { plait_after(100 * PLAIT_MICROSECOND) }), ==,
                  0);
        CHECK_INT(plait_result(f, &woke), ==, 0);
        plait_free(f);
    }
    CHECK_INT(plait_now() - begin, >=, 10 * PLAIT_MILLISECOND);
    CHECK_INT(plait_now() - begin, <, 2 * PLAIT_SECOND); // a tick of 10 ms would take one
}

CONFORM(odd_durations)
{
    static const int64_t none[] = { 0, -1, INT64_MIN };
    for (size_t i = 0; i < 3; i++) {
        plait_future *f;
        CHECK_INT(plait_submit(ex, &f, nap, { none[i] }), ==, 0);
        CHECK_INT(plait_result(f, NULL), ==, 0);
        plait_free(f);
        CHECK_INT(plait_sleep(none[i]), ==, 0);
        CHECK_INT(plait_sleep_until(none[i]), ==, 0);
    }
    CHECK_INT(plait_after(INT64_MAX), ==, PLAIT_NEVER); // saturates
    plait_future *f;
    CHECK_INT(plait_submit(ex, &f, nap, { INT64_MAX }), ==, 0);
    CHECK_INT(plait_cancel(f), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, -ECANCELED);
    plait_free(f);
}

static int compute(const int64_t *ns, void *out)
{
    (void)out;
    for (int64_t until = plait_now() + *ns; plait_now() < until;)
        ;
    count_up(2);
    return 0;
}
PLAIT_TASK(compute, int64_t, void);

/* How many had computed when it woke. */
static int sleep_and_look(const int64_t *when, long *computed)
{
    int e = plait_sleep_until(*when);
    *computed = (long)count_of(2);
    return e;
}
PLAIT_TASK(sleep_and_look, int64_t, long);

// Tasks that are ready do not keep timers from firing.
CONFORM_LOCAL(timers_among_computing_tasks)
{
    plait_future *f;
    long computed, all = 60 * (long)on->workers;
    CHECK_INT(plait_submit(ex, &f, sleep_and_look, { plait_after(20 * PLAIT_MILLISECOND) }), ==, 0);
    for (int i = 0; i < all; i++)
        CHECK_INT(plait_submit(ex, NULL, compute, { 4 * PLAIT_MILLISECOND }), ==, 0);
    CHECK_INT(plait_result(f, &computed), ==, 0);
    CHECK_INT(computed, <, all / 2);
    plait_free(f);
    CHECK_INT(plait_shutdown(ex, PLAIT_STOP), ==, 0);
}

// Tasks that yield to each other do not keep others from starting.
static int yield_until_told(const void *nothing, void *out)
{
    (void)nothing, (void)out;
    count_up(0);
    while (count_of(1) == 0) {
        int e = plait_yield();
        if (e < 0)
            return e;
    }
    return 0;
}
PLAIT_TASK(yield_until_told, void, void);

// Nor do they keep I/O that was started from being submitted.
CONFORM_LOCAL(io_among_tasks_that_yield)
{
    plait_future *yielding, *reading;
    CHECK_INT(plait_submit(ex, &yielding, yield_until_told, { 0 }), ==, 0);
    count_wait(0, 1);
    CHECK_INT(plait_submit(ex, &reading, wait_at, { 0 }), ==, 0);
    count_wait(0, 2);
    gate_open(0, 1);
    CHECK_INT(plait_result(reading, NULL), ==, 0);
    count_up(1);
    CHECK_INT(plait_result(yielding, NULL), ==, 0);
    plait_free(reading);
    plait_free(yielding);
}

static int tell(const void *nothing, void *out)
{
    (void)nothing, (void)out;
    count_up(1);
    return 0;
}
PLAIT_TASK(tell, void, void);

CONFORM(yielding_tasks_starve_nobody)
{
    unsigned n = place_together(on) > 10 ? 10 : place_together(on) - 1;
    plait_future *f;
    for (unsigned i = 0; i < n; i++)
        CHECK_INT(plait_submit(ex, NULL, yield_until_told, { 0 }), ==, 0);
    count_wait(0, n);
    CHECK_INT(plait_submit(ex, &f, tell, { 0 }), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, 0);
    plait_free(f);
}

// ---- sleepers by the hundred thousand ----------------------------------------------------------

static long resident_bytes(void)
{
    long size, resident;
    FILE *f = fopen("/proc/self/statm", "re");
    CHECK(f != NULL);
    CHECK_INT(fscanf(f, "%ld %ld", &size, &resident), ==, 2);
    fclose(f);
    return resident * sysconf(_SC_PAGESIZE);
}

static int sleep_and_count(const int64_t *when, void *out)
{
    (void)out;
    count_raise(3, count_up(2));
    int e = plait_sleep_until(*when);
    count_down(2);
    return e;
}
PLAIT_TASK(sleep_and_count, int64_t, void);

static void sleepers(plait_executor *ex, long n, int64_t ns, long bytes_each)
{
    long before = resident_bytes();
    int64_t when = plait_after(ns);
    plait_scope s;
    CHECK_INT(plait_scope_begin(&s, ex), ==, 0);
    for (long i = 0; i < n; i++)
        CHECK_INT(plait_go(&s, NULL, sleep_and_count, { when }), ==, 0);
    while (count_of(2) < n && plait_now() < when)
        plait_sleep(PLAIT_MILLISECOND);
    long used = resident_bytes() - before;
    CHECK_INT(plait_scope_end(&s), ==, 0);
    CHECK_INT(plait_now(), >=, when);
    check_say("%ld together, %ld bytes each, %.0f ms late", (long)count_of(3), used / n,
              (double)(plait_now() - when) / 1e6);
    CHECK_INT(count_of(3), ==, n); // all of them at one time
    CHECK_INT(used / n, <, bytes_each);
}

CONFORM_LOCAL(a_hundred_thousand_sleepers, .limit_s = 120)
{
    if (is_slow_build())
        sleepers(ex, 1000, 4 * PLAIT_SECOND, 1 << 20);
    else
        sleepers(ex, 100000, 3 * PLAIT_SECOND, 10 * 1024);
}

// PLAIT_TEST_MILLION=1: takes some 5 GiB of memory.
TEST(a_million_sleepers, .limit_s = 300)
{
    plait_executor *ex;
    if (!getenv("PLAIT_TEST_MILLION"))
        SKIP("PLAIT_TEST_MILLION=1 asks for it");
    CHECK_INT(plait_open(&ex, PLAIT_FIBERS), ==, 0);
    int64_t ns = (int64_t)(30 * PLAIT_SECOND * check_scale()); // long enough to start them all
    sleepers(ex, 1000000, ns, 10 * 1024);
    CHECK_INT(plait_close(ex), ==, 0);
}
