// SPDX-License-Identifier: MIT
// Scopes: what they own, how they end, who cancels whom.
#include <pthread.h>

#include "conformance/tasks.h"

CONFORM(results_arrive)
{
    enum { N = 100 };
    long out[N];
    plait_scope s;
    CHECK_INT(plait_scope_begin(&s, ex), ==, 0);
    for (long i = 0; i < N; i++)
        CHECK_INT(plait_go(&s, &out[i], add, { i, 1 }), ==, 0);
    CHECK_INT(plait_go(&s, NULL, add, { 0, 0 }), ==, 0);
    CHECK_INT(plait_scope_end(&s), ==, 0);
    for (long i = 0; i < N; i++)
        CHECK_INT(out[i], ==, i + 1);
}

CONFORM(empty)
{
    plait_scope s;
    CHECK_INT(plait_scope_begin(&s, ex), ==, 0);
    CHECK_INT(plait_scope_end(&s), ==, 0);
    CHECK_INT(plait_scope_begin(&s, NULL), ==, -EINVAL); // a plain thread has no executor
}

CONFORM(a_failure_cancels_the_siblings)
{
    plait_scope s;
    unsigned n = place_together(on) > 3 ? 3 : 1;
    CHECK_INT(plait_scope_begin(&s, ex), ==, 0);
    for (unsigned i = 0; i < n; i++)
        CHECK_INT(plait_go(&s, NULL, wait_at, { 1 }), ==, 0);
    count_wait(0, n);
    CHECK_INT(plait_go(&s, NULL, answer, { -EDOM }), ==, 0);
    CHECK_INT(plait_scope_end(&s), ==, -EDOM);
}

CONFORM(keep_going_does_not)
{
    plait_scope s;
    long sum = 0;
    CHECK_INT(plait_scope_begin(&s, ex, .keep_going = true), ==, 0);
    CHECK_INT(plait_go(&s, NULL, answer, { -EDOM }), ==, 0);
    CHECK_INT(plait_go(&s, NULL, wait_at, { 1 }), ==, 0);
    CHECK_INT(plait_go(&s, &sum, add, { 1, 2 }), ==, 0);
    count_wait(0, 1);
    gate_open(1, 1);
    CHECK_INT(plait_scope_end(&s), ==, -EDOM);
    CHECK_INT(sum, ==, 3);
}

CONFORM(deadline)
{
    plait_scope s;
    int64_t deadline = plait_after(50 * PLAIT_MILLISECOND);
    CHECK_INT(plait_scope_begin(&s, ex, .deadline = deadline), ==, 0);
    CHECK_INT(plait_deadline(), ==, deadline);
    CHECK_INT(plait_go(&s, NULL, wait_at, { 1 }), ==, 0);
    CHECK_INT(plait_scope_end(&s), ==, -ETIMEDOUT);
    CHECK_INT(plait_now(), >=, deadline);
    CHECK_INT(plait_deadline(), ==, PLAIT_NEVER);
}

CONFORM(cancelled_by_its_own_thread)
{
    plait_scope s;
    CHECK_INT(plait_scope_begin(&s, ex), ==, 0);
    CHECK_INT(plait_go(&s, NULL, wait_at, { 1 }), ==, 0);
    CHECK_INT(plait_cancelled(), ==, 0);
    plait_scope_cancel(&s);
    plait_scope_cancel(&s);
    CHECK_INT(plait_cancelled(), ==, -ECANCELED);
    CHECK_INT(plait_go(&s, NULL, add, { 1, 1 }), ==, -ECANCELED);
    CHECK_INT(plait_sleep(PLAIT_SECOND), ==, -ECANCELED);
    CHECK_INT(plait_scope_end(&s), ==, -ECANCELED);
    CHECK_INT(plait_cancelled(), ==, 0);
    CHECK_INT(plait_sleep(1), ==, 0);
}

static void *cancel_it(void *scope)
{
    count_wait(0, 2);
    plait_scope_cancel(scope);
    return NULL;
}

CONFORM(cancelled_by_another_thread)
{
    plait_scope s;
    pthread_t thread;
    CHECK_INT(plait_scope_begin(&s, ex), ==, 0);
    CHECK_INT(pthread_create(&thread, NULL, cancel_it, &s), ==, 0);
    CHECK_INT(plait_go(&s, NULL, wait_at, { 1 }), ==, 0);
    CHECK_INT(plait_go(&s, NULL, wait_at, { 1 }), ==, 0);
    CHECK_INT(pthread_join(thread, NULL), ==, 0);
    CHECK_INT(plait_scope_end(&s), ==, -ECANCELED);
}

CONFORM(queued_children_of_a_cancelled_scope_never_start)
{
    plait_scope s;
    CHECK_INT(plait_scope_begin(&s, ex), ==, 0);
    for (int i = 0; i < 500; i++)
        CHECK_INT(plait_go(&s, NULL, wait_at, { 1 }), ==, 0);
    plait_scope_cancel(&s);
    CHECK_INT(plait_scope_end(&s), ==, -ECANCELED);
    unsigned started = count_of(0);
    CHECK_INT(plait_sleep(PLAIT_MILLISECOND), ==, 0);
    CHECK_INT(count_of(0), ==, started);
}

// Everything that a scope owns has ended when it returns: counter 2 counts those that live.
static int live_a_while(const void *nothing, void *out)
{
    (void)nothing, (void)out;
    count_up(2);
    int e = plait_yield();
    if (e == 0)
        e = plait_sleep(PLAIT_MILLISECOND / 10);
    count_down(2);
    return e;
}
PLAIT_TASK(live_a_while, void, void);

CONFORM(the_end_waits_for_all, .limit_s = 60)
{
    for (int round = 0; round < 50; round++) {
        plait_scope s;
        CHECK_INT(plait_scope_begin(&s, ex), ==, 0);
        for (int i = 0; i < 40; i++)
            CHECK_INT(plait_go(&s, NULL, live_a_while, { 0 }), ==, 0);
        if (round % 3 == 1)
            plait_scope_cancel(&s);
        if (round % 3 == 2)
            CHECK_INT(plait_go(&s, NULL, answer, { -EDOM }), ==, 0);
        CHECK_INT(plait_scope_end(&s), ==,
                  round % 3 == 0   ? 0
                  : round % 3 == 1 ? -ECANCELED
                                   : -EDOM);
        CHECK_INT(count_of(2), ==, 0);
    }
}

// ---- nesting -----------------------------------------------------------------------------------

CONFORM(the_outer_deadline_is_inherited)
{
    plait_scope outer, inner;
    int64_t deadline = plait_after(50 * PLAIT_MILLISECOND);
    CHECK_INT(plait_scope_begin(&outer, ex, .deadline = deadline), ==, 0);
    CHECK_INT(plait_scope_begin(&inner, ex, .deadline = plait_after(PLAIT_SECOND * 60)), ==, 0);
    CHECK_INT(plait_deadline(), ==, deadline);
    CHECK_INT(plait_go(&inner, NULL, wait_at, { 1 }), ==, 0);
    CHECK_INT(plait_scope_end(&inner), ==, -ETIMEDOUT);
    CHECK_INT(plait_cancelled(), ==, -ETIMEDOUT);
    CHECK_INT(plait_scope_end(&outer), ==, -ETIMEDOUT);
}

CONFORM(an_inner_deadline_leaves_the_outer_alone)
{
    plait_scope outer, inner;
    long sum;
    CHECK_INT(plait_scope_begin(&outer, ex), ==, 0);
    CHECK_INT(plait_scope_begin(&inner, ex, .deadline = plait_after(PLAIT_MILLISECOND)), ==, 0);
    CHECK_INT(plait_go(&inner, NULL, wait_at, { 1 }), ==, 0);
    CHECK_INT(plait_scope_end(&inner), ==, -ETIMEDOUT);
    CHECK_INT(plait_cancelled(), ==, 0);
    CHECK_INT(plait_go(&outer, &sum, add, { 1, 2 }), ==, 0);
    CHECK_INT(plait_scope_end(&outer), ==, 0);
    CHECK_INT(sum, ==, 3);
}

CONFORM(cancelling_the_outer_cancels_the_inner)
{
    plait_scope outer, inner;
    CHECK_INT(plait_scope_begin(&outer, ex), ==, 0);
    CHECK_INT(plait_scope_begin(&inner, ex), ==, 0);
    CHECK_INT(plait_go(&inner, NULL, wait_at, { 1 }), ==, 0);
    count_wait(0, 1);
    plait_scope_cancel(&outer);
    CHECK_INT(plait_cancelled(), ==, -ECANCELED);
    CHECK_INT(plait_scope_end(&inner), ==, -ECANCELED);
    CHECK_INT(plait_scope_end(&outer), ==, -ECANCELED);
    CHECK_INT(plait_cancelled(), ==, 0);
}

static int family(const unsigned *gate, void *out)
{
    (void)out;
    plait_scope outer, inner;
    int e = plait_scope_begin(&outer, NULL);
    if (e < 0)
        return e;
    plait_go(&outer, NULL, wait_at, { *gate });
    e = plait_scope_begin(&inner, NULL);
    if (e == 0) {
        plait_go(&inner, NULL, wait_at, { *gate });
        plait_go(&inner, NULL, wait_at, { *gate });
        e = plait_scope_end(&inner);
    }
    int all = plait_scope_end(&outer);
    return e < 0 ? e : all;
}
PLAIT_TASK(family, unsigned, void);

CONFORM(scopes_in_tasks)
{
    plait_future *f;
    CHECK_INT(plait_submit(ex, &f, family, { 1 }), ==, 0);
    count_wait(0, 3);
    gate_open(1, 3);
    CHECK_INT(plait_result(f, NULL), ==, 0);
    plait_free(f);
}

CONFORM(a_cancel_reaches_the_grandchildren)
{
    plait_scope s;
    CHECK_INT(plait_scope_begin(&s, ex), ==, 0);
    CHECK_INT(plait_go(&s, NULL, family, { 1 }), ==, 0);
    count_wait(0, 3);
    plait_scope_cancel(&s);
    CHECK_INT(plait_scope_end(&s), ==, -ECANCELED);
}

CONFORM(a_deadline_reaches_the_grandchildren)
{
    plait_scope s;
    CHECK_INT(plait_scope_begin(&s, ex, .deadline = plait_after(200 * PLAIT_MILLISECOND)), ==, 0);
    CHECK_INT(plait_go(&s, NULL, family, { 1 }), ==, 0);
    CHECK_INT(plait_scope_end(&s), ==, -ETIMEDOUT);
}

static int deadline_seen(const void *nothing, int64_t *out)
{
    (void)nothing;
    *out = plait_deadline();
    return 0;
}
PLAIT_TASK(deadline_seen, void, int64_t);

CONFORM(children_see_the_deadline)
{
    plait_scope s;
    int64_t seen = 0, deadline = plait_after(60 * PLAIT_SECOND);
    CHECK_INT(plait_scope_begin(&s, ex, .deadline = deadline), ==, 0);
    CHECK_INT(plait_go(&s, &seen, deadline_seen, { 0 }), ==, 0);
    CHECK_INT(plait_scope_end(&s), ==, 0);
    CHECK_INT(seen, ==, deadline);
}

// ---- many --------------------------------------------------------------------------------------

CONFORM(ten_thousand_children, .limit_s = 60)
{
    plait_scope s;
    static long out[10000];
    CHECK_INT(plait_scope_begin(&s, ex), ==, 0);
    for (long i = 0; i < 10000; i++)
        CHECK_INT(plait_go(&s, &out[i], add, { i, i }), ==, 0);
    CHECK_INT(plait_scope_end(&s), ==, 0);
    for (long i = 0; i < 10000; i++)
        CHECK_INT(out[i], ==, 2 * i);
}

CONFORM(after_shutdown)
{
    plait_scope s;
    CHECK_INT(plait_scope_begin(&s, ex), ==, 0);
    CHECK_INT(plait_shutdown(ex, PLAIT_DRAIN), ==, 0);
    CHECK_INT(plait_go(&s, NULL, add, { 1, 1 }), ==, -ESHUTDOWN);
    CHECK_INT(plait_scope_end(&s), ==, -ESHUTDOWN);
}
