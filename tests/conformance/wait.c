// SPDX-License-Identifier: MIT
// Waiting for several futures: any, all, the first error; and in the order in which they end.
#include "conformance/tasks.h"

enum { N = 8 };

// Waits at the gate given, then returns the code.
struct order {
    unsigned gate;
    int code;
};

static int obey(const struct order *o, int *out)
{
    count_up(0);
    int e = gate_pass(o->gate);
    *out = o->code;
    return e < 0 ? e : o->code;
}
PLAIT_TASK(obey, struct order, int);

static void start(plait_executor *ex, plait_future **f, unsigned n, int code)
{
    for (unsigned i = 0; i < n; i++)
        CHECK_INT(plait_submit(ex, &f[i], obey, { i, code }), ==, 0);
    count_wait(0, n);
}

static void stop(plait_future **f, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        plait_cancel(f[i]);
        plait_result(f[i], NULL);
        plait_free(f[i]);
    }
}

CONFORM(any)
{
    plait_future *f[4];
    size_t index = 99;
    start(ex, f, 4, 0);
    CHECK_INT(plait_wait(f, 4, PLAIT_ANY, plait_after(PLAIT_MILLISECOND), &index), ==, -ETIMEDOUT);
    CHECK_INT(index, ==, 99); // untouched
    gate_open(2, 1);
    CHECK_INT(plait_wait(f, 4, PLAIT_ANY, 0, &index), ==, 0);
    CHECK_INT(index, ==, 2);
    gate_open(1, 1);
    CHECK_INT(plait_result(f[1], NULL), ==, 0);
    CHECK_INT(plait_wait(f, 4, PLAIT_ANY, PLAIT_NEVER, &index), ==, 0);
    CHECK_INT(index, ==, 1); // the lowest
    CHECK_INT(plait_wait(f, 4, PLAIT_ANY, PLAIT_NEVER, NULL), ==, 0);
    stop(f, 4);
}

CONFORM(all)
{
    plait_future *f[4];
    size_t index = 99;
    start(ex, f, 4, 0);
    gate_open(0, 1);
    gate_open(1, 1);
    gate_open(2, 1);
    int64_t deadline = plait_after(30 * PLAIT_MILLISECOND);
    CHECK_INT(plait_wait(f, 4, PLAIT_ALL, deadline, &index), ==, -ETIMEDOUT);
    CHECK_INT(plait_now(), >=, deadline);
    CHECK_INT(index, ==, 99);
    gate_open(3, 1);
    CHECK_INT(plait_wait(f, 4, PLAIT_ALL, PLAIT_NEVER, &index), ==, 0);
    CHECK_INT(index, ==, 4);
    for (int i = 0; i < 4; i++)
        CHECK(plait_done(f[i]));
    CHECK_INT(plait_wait(f, 4, PLAIT_ALL, plait_now() - 1, NULL), ==, 0);
    stop(f, 4);
}

CONFORM(first_error)
{
    plait_future *f[4];
    size_t index = 99;
    start(ex, f, 3, 0);
    CHECK_INT(plait_submit(ex, &f[3], obey, { 3, -EIO }), ==, 0);
    gate_open(0, 1);
    CHECK_INT(plait_wait(f, 4, PLAIT_FIRST_ERROR, plait_after(PLAIT_MILLISECOND), &index), ==,
              -ETIMEDOUT);
    gate_open(3, 1);
    CHECK_INT(plait_wait(f, 4, PLAIT_FIRST_ERROR, PLAIT_NEVER, &index), ==, 0);
    CHECK_INT(index, ==, 3);
    CHECK(!plait_done(f[1]));
    gate_open(1, 1);
    gate_open(2, 1);
    CHECK_INT(plait_wait(f, 3, PLAIT_FIRST_ERROR, PLAIT_NEVER, &index), ==, 0);
    CHECK_INT(index, ==, 3); // n: there is none
    stop(f, 4);
}

CONFORM(none_at_all)
{
    size_t index = 99;
    (void)ex;
    CHECK_INT(plait_wait(NULL, 0, PLAIT_ANY, PLAIT_NEVER, &index), ==, -EINVAL);
    CHECK_INT(index, ==, 99);
    CHECK_INT(plait_wait(NULL, 0, PLAIT_ALL, PLAIT_NEVER, &index), ==, 0);
    CHECK_INT(index, ==, 0);
    CHECK_INT(plait_wait(NULL, 0, PLAIT_FIRST_ERROR, PLAIT_NEVER, &index), ==, 0);
    CHECK_INT(index, ==, 0);
}

// The same future several times, and futures of two executors.
CONFORM(mixed_futures)
{
    plait_executor *other;
    plait_future *f[3];
    CHECK_INT(plait_open(&other, PLAIT_FIBERS), ==, 0);
    CHECK_INT(plait_submit(ex, &f[0], add, { 1, 1 }), ==, 0);
    CHECK_INT(plait_submit(other, &f[1], add, { 2, 2 }), ==, 0);
    f[2] = f[0];
    CHECK_INT(plait_wait(f, 3, PLAIT_ALL, PLAIT_NEVER, NULL), ==, 0);
    plait_free(f[0]);
    plait_free(f[1]);
    CHECK_INT(plait_close(other), ==, 0);
}

// ---- as completed ------------------------------------------------------------------------------

CONFORM(in_the_order_of_their_ends)
{
    static const unsigned ends[4] = { 2, 0, 3, 1 };
    plait_future *f[4], *next = NULL;
    plait_completed *it;
    start(ex, f, 4, 0);
    CHECK_INT(plait_completed_new(&it, f, 4), ==, 0);
    CHECK_INT(plait_completed_next(it, &next, plait_after(PLAIT_MILLISECOND)), ==, -ETIMEDOUT);
    CHECK(next == NULL);
    for (int i = 0; i < 4; i++) {
        gate_open(ends[i], 1);
        CHECK_INT(plait_completed_next(it, &next, PLAIT_NEVER), ==, 1);
        CHECK(next == f[ends[i]]);
        plait_free(next); // the caller's again once it was handed out
    }
    CHECK_INT(plait_completed_next(it, &next, PLAIT_NEVER), ==, 0);
    CHECK_INT(plait_completed_next(it, &next, PLAIT_NEVER), ==, 0);
    plait_completed_free(it);
}

CONFORM(completed_that_had_ended_before)
{
    plait_future *f[N], *next;
    plait_completed *it;
    bool seen[N] = { false };
    for (int i = 0; i < N; i++) {
        CHECK_INT(plait_submit(ex, &f[i], add, { i, 0 }), ==, 0);
        CHECK_INT(plait_result(f[i], NULL), ==, 0);
    }
    CHECK_INT(plait_completed_new(&it, f, N), ==, 0);
    for (int n = 0; n < N; n++) {
        long i;
        CHECK_INT(plait_completed_next(it, &next, PLAIT_NEVER), ==, 1);
        CHECK_INT(plait_result(next, &i), ==, 0);
        CHECK(i >= 0 && i < N && !seen[i]);
        seen[i] = true;
        plait_free(next);
    }
    CHECK_INT(plait_completed_next(it, &next, PLAIT_NEVER), ==, 0);
    plait_completed_free(it);
}

CONFORM(completed_left_in_the_middle)
{
    plait_future *f[4], *next;
    plait_completed *it;
    start(ex, f, 4, 0);
    CHECK_INT(plait_completed_new(&it, f, 4), ==, 0);
    gate_open(1, 1);
    CHECK_INT(plait_completed_next(it, &next, PLAIT_NEVER), ==, 1);
    plait_completed_free(it); // three of them have not ended
    stop(f, 4);
}

CONFORM(completed_of_none)
{
    plait_completed *it;
    plait_future *next;
    (void)ex;
    CHECK_INT(plait_completed_new(&it, NULL, 0), ==, 0);
    CHECK_INT(plait_completed_next(it, &next, PLAIT_NEVER), ==, 0);
    plait_completed_free(it);
    plait_completed_free(NULL);
}

// O(1) a step: twenty thousand would take minutes if each step looked at all.
CONFORM(completed_of_many, .limit_s = 60)
{
    enum { MANY = 20000 };
    static plait_future *f[MANY];
    plait_future *next;
    plait_completed *it;
    long total = 0;
    for (long i = 0; i < MANY; i++)
        CHECK_INT(plait_submit(ex, &f[i], add, { i, 0 }), ==, 0);
    CHECK_INT(plait_completed_new(&it, f, MANY), ==, 0);
    while (plait_completed_next(it, &next, PLAIT_NEVER) == 1) {
        long i;
        CHECK_INT(plait_result(next, &i), ==, 0);
        total += i;
        plait_free(next);
    }
    CHECK_INT(total, ==, (long)MANY * (MANY - 1) / 2);
    plait_completed_free(it);
}

// ---- in tasks ----------------------------------------------------------------------------------

static int wait_inside(const int *rounds, long *out)
{
    *out = 0;
    for (int round = 0; round < *rounds; round++) {
        plait_future *f[N];
        for (int i = 0; i < N; i++) {
            int e = plait_submit(plait_self(), &f[i], add, { round, i });
            if (e < 0)
                return e;
        }
        size_t index;
        if (plait_wait(f, N, PLAIT_ANY, PLAIT_NEVER, &index) != 0 || index >= N)
            return -EPROTO;
        if (plait_wait(f, N, PLAIT_ALL, PLAIT_NEVER, &index) != 0 || index != N)
            return -EPROTO;
        if (plait_wait(f, N, PLAIT_FIRST_ERROR, PLAIT_NEVER, &index) != 0 || index != N)
            return -EPROTO;
        for (int i = 0; i < N; i++) {
            long sum;
            if (plait_result(f[i], &sum) != 0)
                return -EPROTO;
            *out += sum;
            plait_free(f[i]);
        }
    }
    return 0;
}
PLAIT_TASK(wait_inside, int, long);

CONFORM(waiting_in_a_task)
{
    plait_future *f;
    long out;
    CHECK_INT(plait_submit(ex, &f, wait_inside, { 50 }), ==, 0);
    CHECK_INT(plait_result(f, &out), ==, 0);
    CHECK_INT(out, ==, 50 * 28 + 8 * (49 * 50 / 2));
    plait_free(f);
}

static void note_end(plait_future *f, void *arg)
{
    (void)f, (void)arg;
    count_up(3);
}

// Nobody waits in a call of the library: what has ended is told all the same, and soon.
CONFORM(ends_are_told_without_a_waiter, .limit_s = 60)
{
    enum { ROUNDS = 30, N = 4 };
    int late = 0;
    for (int round = 0; round < ROUNDS; round++) {
        plait_future *f[N];
        for (int i = 0; i < N; i++) {
            CHECK_INT(plait_submit(ex, &f[i], nap, { PLAIT_MILLISECOND * (1 + (i + round) % 3) }),
                      ==, 0);
            CHECK_INT(plait_on_done(f[i], note_end, NULL), ==, 0);
        }
        int64_t began = plait_now();
        count_wait(3, (unsigned)(round + 1) * N);
        late += plait_now() - began > 200 * PLAIT_MILLISECOND;
        for (int i = 0; i < N; i++)
            plait_free(f[i]);
    }
    CHECK_INT(late, <, ROUNDS / 5); // of a machine that is busy with something else
}
