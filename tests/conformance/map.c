// SPDX-License-Identifier: MIT
// One task over many inputs: order, errors, codes, and tasks that wait.
#include <stdlib.h>
#include <string.h>

#include "conformance/tasks.h"

static int square(const long *x, long *out)
{
    *out = *x * *x;
    return 0;
}
PLAIT_TASK(square, long, long);

CONFORM(in_order)
{
    enum { N = 1000 };
    static long in[N], out[N];
    for (long i = 0; i < N; i++)
        in[i] = i;
    for (size_t n = 0; n <= N; n = n * 2 + 1) {
        memset(out, 0xff, sizeof out);
        CHECK_INT(plait_map(ex, square, in, out, n), ==, 0);
        for (size_t i = 0; i < N; i++)
            CHECK_INT(out[i], ==, i < n ? (long)(i * i) : -1);
    }
}

CONFORM(empty)
{
    CHECK_INT(plait_map(ex, square, (long *)NULL, (long *)NULL, 0), ==, 0);
}

CONFORM(a_hundred_thousand, .limit_s = 60)
{
    enum { N = 100000 };
    static long in[N], out[N];
    for (long i = 0; i < N; i++)
        in[i] = i;
    CHECK_INT(plait_map(ex, square, in, out, N), ==, 0);
    for (long i = 0; i < N; i++)
        CHECK_INT(out[i], ==, i * i);
}

static int count_one(const long *x, long *out)
{
    count_up(1);
    *out = *x;
    return 0;
}
PLAIT_TASK(count_one, long, long);

CONFORM(results_may_be_unwanted)
{
    static long in[100];
    CHECK_INT(plait_map(ex, count_one, in, (long *)NULL, 100), ==, 0);
    CHECK_INT(count_of(1), ==, 100);
}

static int void_both(const void *nothing, void *out)
{
    (void)nothing, (void)out;
    count_up(1);
    return 0;
}
PLAIT_TASK(void_both, void, void);

CONFORM(nothing_in_nothing_out)
{
    CHECK_INT(plait_map_task(ex, &PLAIT_TASK_OF(void_both), NULL, NULL, 57, NULL), ==, 0);
    CHECK_INT(count_of(1), ==, 57);
}

static int negative_fails(const long *x, long *out)
{
    count_up(1);
    *out = *x;
    return *x < 0 ? (int)*x : 0;
}
PLAIT_TASK(negative_fails, long, long);

CONFORM(an_error_stops_what_has_not_started)
{
    enum { N = 50000 };
    static long in[N], out[N];
    in[10] = -EDOM;
    CHECK_INT(plait_map(ex, negative_fails, in, out, N), ==, -EDOM);
    CHECK_INT(count_of(1), <, N);
    CHECK_INT(count_of(1), >=, 1);
}

// However the pieces are cut, the code is that of the failed input with the lowest index.
CONFORM(the_lowest_error_wins)
{
    enum { N = 64 };
    for (int round = 0; round < 20; round++) {
        long in[N] = { 0 }, out[N];
        int codes[N];
        in[0] = -EDOM;
        in[N - 1] = -ERANGE;
        in[N / 2] = -EILSEQ;
        CHECK_INT(plait_map_codes(ex, negative_fails, in, out, N, codes), ==, -EDOM);
        CHECK_INT(codes[0], ==, -EDOM);
        CHECK_INT(codes[N / 2], ==, -EILSEQ);
        CHECK_INT(codes[N - 1], ==, -ERANGE);
    }
}

// The last input fails first; the first one, which runs by then, fails too, later and by itself.
static int ends_fail(const long *x, long *out)
{
    *out = 0;
    if (*x == 0) {
        count_up(2);
        while (count_of(1) == 0)
            if (plait_yield() == -ECANCELED)
                break;
        return -EDOM;
    }
    if (*x == 63) {
        while (count_of(2) == 0)
            if (plait_yield() < 0)
                return -EPROTO;
        count_up(1);
        return -ERANGE;
    }
    return 0;
}
PLAIT_TASK(ends_fail, long, long);

CONFORM(the_lowest_error_wins_though_it_comes_late)
{
    long in[64], out[64];
    for (long i = 0; i < 64; i++)
        in[i] = i;
    CHECK_INT(plait_map(ex, ends_fail, in, out, 64), ==, -EDOM);
}

CONFORM(codes_of_all)
{
    enum { N = 500 };
    static long in[N], out[N];
    static int codes[N];
    for (long i = 0; i < N; i++) {
        in[i] = i % 7 == 3 ? -i : i;
        codes[i] = 99;
    }
    CHECK_INT(plait_map_codes(ex, negative_fails, in, out, N, codes), ==, -3);
    CHECK_INT(count_of(1), ==, N);
    for (long i = 0; i < N; i++) {
        CHECK_INT(codes[i], ==, i % 7 == 3 ? -i : 0);
        if (codes[i] == 0)
            CHECK_INT(out[i], ==, i);
    }
}

// A task that suspends holds up nobody: the whole takes about as long as one.
CONFORM(sleepers_sleep_together)
{
    enum { MANY = 1000 };
    static int64_t in[MANY];
    size_t n = place_together(on) < MANY ? place_together(on) : MANY;
    for (size_t i = 0; i < n; i++)
        in[i] = 100 * PLAIT_MILLISECOND;
    int64_t begin = plait_now();
    CHECK_INT(plait_map(ex, nap, in, NULL, n), ==, 0);
    int64_t took = plait_now() - begin;
    CHECK_INT(took, >=, 100 * PLAIT_MILLISECOND);
    CHECK_INT(took, <, (n > 16 ? 16 : 3) * 100 * PLAIT_MILLISECOND);
}

// One slow input among quick ones of the same piece.
static int slow_at(const long *x, long *out)
{
    *out = *x;
    if (*x == 5) {
        int e = gate_pass(1);
        if (e < 0)
            return e;
    }
    if (count_up(1) == 99)
        gate_open(1, 1);
    return 0;
}
PLAIT_TASK(slow_at, long, long);

CONFORM(a_waiting_input_holds_up_nobody)
{
    long in[100], out[100];
    for (long i = 0; i < 100; i++)
        in[i] = i;
    CHECK_INT(plait_map(ex, slow_at, in, out, 100), ==, 0);
    for (long i = 0; i < 100; i++)
        CHECK_INT(out[i], ==, i);
}

struct block {
    char c[5000];
};

static int sum_block(const struct block *b, long *out)
{
    *out = 0;
    for (size_t i = 0; i < sizeof b->c; i++)
        *out += b->c[i];
    return 0;
}
PLAIT_TASK(sum_block, struct block, long);

CONFORM(large_inputs)
{
    enum { N = 100 };
    struct block *in = calloc(N, sizeof *in);
    long out[N];
    CHECK(in != NULL);
    for (int i = 0; i < N; i++)
        memset(in[i].c, i, sizeof in[i].c);
    CHECK_INT(plait_map(ex, sum_block, in, out, N), ==, 0);
    for (long i = 0; i < N; i++)
        CHECK_INT(out[i], ==, i * (long)sizeof in->c);
    free(in);
}

// ---- cancelled from outside --------------------------------------------------------------------

static int map_of_waiters(const void *nothing, void *out)
{
    (void)nothing, (void)out;
    unsigned gates[4] = { 1, 1, 1, 1 };
    return plait_map(plait_self(), wait_at, gates, NULL, 4);
}
PLAIT_TASK(map_of_waiters, void, void);

CONFORM(cancelled_in_a_task)
{
    plait_future *f;
    CHECK_INT(plait_submit(ex, &f, map_of_waiters, { 0 }), ==, 0);
    count_wait(0, 1);
    CHECK_INT(plait_cancel(f), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, -ECANCELED);
    plait_free(f);
}

CONFORM(ends_with_the_callers_deadline)
{
    plait_scope s;
    unsigned gates[2] = { 1, 1 };
    CHECK_INT(plait_scope_begin(&s, ex, .deadline = plait_after(50 * PLAIT_MILLISECOND)), ==, 0);
    CHECK_INT(plait_map(ex, wait_at, gates, NULL, 2), ==, -ETIMEDOUT);
    CHECK_INT(plait_scope_end(&s), ==, -ETIMEDOUT);
}

// ---- maps in maps ------------------------------------------------------------------------------

static int row(const long *x, long *out)
{
    long in[20], got[20];
    for (long i = 0; i < 20; i++)
        in[i] = *x + i;
    int e = plait_map(plait_self(), square, in, got, 20);
    *out = 0;
    for (int i = 0; i < 20; i++)
        *out += got[i];
    return e;
}
PLAIT_TASK(row, long, long);

CONFORM(maps_nest)
{
    long in[20], out[20];
    for (long i = 0; i < 20; i++)
        in[i] = i;
    CHECK_INT(plait_map(ex, row, in, out, 20), ==, 0);
    for (long i = 0; i < 20; i++) {
        long sum = 0;
        for (long k = i; k < i + 20; k++)
            sum += k * k;
        CHECK_INT(out[i], ==, sum);
    }
}
