// SPDX-License-Identifier: MIT
// Tasks that submit to their own executor and wait: never a deadlock, however few workers there
// are.
#include "conformance/tasks.h"

static int descend(const int *depth, int *reached);
PLAIT_TASK(descend, int, int);

static int descend(const int *depth, int *reached)
{
    *reached = 0;
    if (*depth == 0)
        return 0;
    plait_future *f;
    int e = plait_submit(plait_self(), &f, descend, { *depth - 1 });
    if (e < 0)
        return e;
    e = plait_result(f, reached);
    ++*reached;
    plait_free(f);
    return e;
}

CONFORM(a_thousand_deep, .limit_s = 60)
{
    plait_future *f;
    int reached = 0;
    CHECK_INT(plait_submit(ex, &f, descend, { 1000 }), ==, 0);
    CHECK_INT(plait_result(f, &reached), ==, 0);
    CHECK_INT(reached, ==, 1000);
    plait_free(f);
}

static int descend_in_scopes(const int *depth, int *reached);
PLAIT_TASK(descend_in_scopes, int, int);

static int descend_in_scopes(const int *depth, int *reached)
{
    *reached = 0;
    if (*depth == 0)
        return 0;
    plait_scope s;
    int e = plait_scope_begin(&s, NULL);
    if (e < 0)
        return e;
    plait_go(&s, reached, descend_in_scopes, { *depth - 1 });
    e = plait_scope_end(&s);
    ++*reached;
    return e;
}

CONFORM(a_thousand_scopes_deep, .limit_s = 60)
{
    plait_future *f;
    int reached = 0;
    CHECK_INT(plait_submit(ex, &f, descend_in_scopes, { 1000 }), ==, 0);
    CHECK_INT(plait_result(f, &reached), ==, 0);
    CHECK_INT(reached, ==, 1000);
    plait_free(f);
}

static int fib(const int *n, long *out);
PLAIT_TASK(fib, int, long);

static int fib(const int *n, long *out)
{
    if (*n < 2) {
        *out = *n;
        return 0;
    }
    long a = 0, b = 0;
    plait_scope s;
    int e = plait_scope_begin(&s, NULL);
    if (e < 0)
        return e;
    plait_go(&s, &a, fib, { *n - 1 });
    plait_go(&s, &b, fib, { *n - 2 });
    e = plait_scope_end(&s);
    *out = a + b;
    return e;
}

CONFORM(recursive_fork_join, .limit_s = 120)
{
    plait_future *f;
    long out = 0;
    CHECK_INT(plait_submit(ex, &f, fib, { 18 }), ==, 0);
    CHECK_INT(plait_result(f, &out), ==, 0);
    CHECK_INT(out, ==, 2584);
    plait_free(f);
}

static int fib_by_futures(const int *n, long *out);
PLAIT_TASK(fib_by_futures, int, long);

static int fib_by_futures(const int *n, long *out)
{
    if (*n < 2) {
        *out = *n;
        return 0;
    }
    plait_future *fa, *fb;
    long a = 0, b = 0;
    int e = plait_submit(plait_self(), &fa, fib_by_futures, { *n - 1 });
    if (e < 0)
        return e;
    e = plait_submit(plait_self(), &fb, fib_by_futures, { *n - 2 });
    if (e == 0) {
        e = plait_result(fb, &b);
        plait_free(fb);
    }
    int first = plait_result(fa, &a);
    plait_free(fa);
    *out = a + b;
    return first < 0 ? first : e;
}

CONFORM(recursive_futures, .limit_s = 120)
{
    plait_future *f;
    long out = 0;
    CHECK_INT(plait_submit(ex, &f, fib_by_futures, { 15 }), ==, 0);
    CHECK_INT(plait_result(f, &out), ==, 0);
    CHECK_INT(out, ==, 610);
    plait_free(f);
}

// As many tasks as workers, and more, each waiting for one of its own.
CONFORM(all_workers_wait_for_tasks_of_their_own)
{
    enum { N = 40 };
    plait_future *f[N];
    for (int i = 0; i < N; i++)
        CHECK_INT(plait_submit(ex, &f[i], descend, { 5 }), ==, 0);
    for (int i = 0; i < N; i++) {
        int reached;
        CHECK_INT(plait_result(f[i], &reached), ==, 0);
        CHECK_INT(reached, ==, 5);
        plait_free(f[i]);
    }
}

// ---- tasks that start others and do not wait ---------------------------------------------------

static int scatter(const int *depth, void *out);
PLAIT_TASK(scatter, int, void);

static int scatter(const int *depth, void *out)
{
    (void)out;
    count_up(1);
    for (int i = 0; i < 2 && *depth > 0; i++) {
        int e = plait_submit(plait_self(), NULL, scatter, { *depth - 1 });
        if (e < 0)
            return e;
    }
    return 0;
}

CONFORM(a_tree_of_tasks_that_nobody_waits_for)
{
    CHECK_INT(plait_submit(ex, NULL, scatter, { 9 }), ==, 0);
    count_wait(1, 1023);
    CHECK_INT(count_of(1), ==, 1023);
}

// ---- another executor ---------------------------------------------------------------------------

static int use_another(const int *kind, long *out)
{
    plait_executor *other;
    plait_future *f;
    int e = plait_open(&other, (enum plait_kind) * kind, .workers = *kind == PLAIT_FIBERS ? 1 : 2);
    if (e < 0)
        return e;
    e = plait_submit(other, &f, add, { 20, 22 });
    if (e == 0) {
        e = plait_result(f, out);
        plait_free(f);
    }
    int closed = plait_close(other);
    return e < 0 ? e : closed;
}
PLAIT_TASK(use_another, int, long);

CONFORM(a_task_opens_an_executor)
{
    static const int kinds[] = { PLAIT_FIBERS, PLAIT_THREADS };
    for (int i = 0; i < 2; i++) {
        plait_future *f;
        long out = 0;
        CHECK_INT(plait_submit(ex, &f, use_another, { kinds[i] }), ==, 0);
        CHECK_INT(plait_result(f, &out), ==, 0);
        CHECK_INT(out, ==, 42);
        plait_free(f);
    }
}

static plait_executor *first, *second;

static int bounce(const int *left, int *bounces);
PLAIT_TASK(bounce, int, int);

static int bounce(const int *left, int *bounces)
{
    *bounces = 0;
    if (*left == 0)
        return 0;
    plait_future *f;
    int e = plait_submit(plait_self() == first ? second : first, &f, bounce, { *left - 1 });
    if (e < 0)
        return e;
    e = plait_result(f, bounces);
    ++*bounces;
    plait_free(f);
    return e;
}

CONFORM_LOCAL(back_and_forth_between_two)
{
    plait_future *f;
    int bounces;
    first = ex;
    CHECK_INT(OPEN_ON(&second, on, 0), ==, 0);
    CHECK_INT(plait_submit(ex, &f, bounce, { 100 }), ==, 0);
    CHECK_INT(plait_result(f, &bounces), ==, 0);
    CHECK_INT(bounces, ==, 100);
    plait_free(f);
    CHECK_INT(plait_close(second), ==, 0);
}

static _Atomic(plait_future *) myself;

static int wait_for_myself(const void *nothing, int *out)
{
    (void)nothing;
    while (!myself)
        plait_yield();
    *out = plait_result(myself, NULL);
    return 0;
}
PLAIT_TASK(wait_for_myself, void, int);

CONFORM_LOCAL(waiting_for_oneself_is_found_out)
{
    plait_future *f;
    int out = 0;
    CHECK_INT(plait_submit(ex, &f, wait_for_myself, { 0 }), ==, 0);
    myself = f;
    CHECK_INT(plait_result(f, &out), ==, 0);
    CHECK_INT(out, ==, -EDEADLK);
    plait_free(f);
}
