// SPDX-License-Identifier: MIT
// More short tasks than workers have room for: who submits them reaps too, and what he may not.
#include "faults/lib/faults.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define MIB (1u << 20)

static int next_of(const int *in, int *out)
{
    *out = *in + 1;
    return 0;
}
PLAIT_TASK(next_of, int, int);

struct block {
    unsigned char bytes[MIB];
};
static int fill(const unsigned char *with, struct block *out)
{
    memset(out->bytes, *with, sizeof out->bytes);
    return 0;
}
PLAIT_TASK(fill, unsigned char, struct block);

static _Thread_local bool submitting;
static atomic_int called, called_while_submitting;

static void note(plait_future *f, void *arg)
{
    (void)f, (void)arg;
    atomic_fetch_add(&called, 1);
    if (submitting)
        atomic_fetch_add(&called_while_submitting, 1);
}

static void submit_next_of(plait_executor *ex, plait_future **f, int i)
{
    submitting = true;
    CHECK_INT(plait_submit(ex, f, next_of, { i }), ==, 0);
    submitting = false;
}

// The caller may hold what a callback needs.
static void flood_with_callbacks(unsigned workers)
{
    enum { N = 50000 };
    plait_executor *ex = open_processes(workers);
    plait_future **f = calloc(N, sizeof *f);
    CHECK(f);
    atomic_store(&called, 0);
    for (int i = 0; i < N; i++) {
        submit_next_of(ex, &f[i], i);
        if (i % 3 == 0) // the others' ends are nobody's business
            CHECK_INT(plait_on_done(f[i], note, NULL), ==, 0);
    }
    for (int i = 0; i < N; i++) {
        int next;
        CHECK_INT(plait_result(f[i], &next), ==, 0);
        CHECK_INT(next, ==, i + 1);
        plait_free(f[i]);
    }
    free(f);
    close_processes(ex);
    CHECK_INT(atomic_load(&called), ==, (N + 2) / 3);
    CHECK_INT(atomic_load(&called_while_submitting), ==, 0);
}

TEST(no_callback_is_called_within_a_submit, .limit_s = 60)
{
    flood_with_callbacks(1);
    flood_with_callbacks(3);
}

TEST(it_ends_though_nobody_waits, .limit_s = 60)
{
    enum { N = 20000 };
    static plait_future *f[N];
    plait_executor *ex = open_processes(2);
    for (int i = 0; i < N; i++)
        submit_next_of(ex, &f[i], i);
    int64_t until = plait_after(20 * PLAIT_SECOND);
    for (int i = 0; i < N; i++) {
        while (!plait_done(f[i]) && plait_now() < until)
            sleep_ms(1);
        CHECK(plait_done(f[i]));
        plait_free(f[i]);
    }
    close_processes(ex);
}

TEST(large_results_come_between_small_ones, .limit_s = 60)
{
    enum { N = 20000, EACH = 400 };
    static plait_future *small[N], *large[N / EACH];
    plait_executor *ex = open_processes(2);
    int fds = count_fds();
    for (int i = 0; i < N; i++) {
        submit_next_of(ex, &small[i], i);
        if (i % EACH == 0)
            CHECK_INT(plait_submit(ex, &large[i / EACH], fill, { (unsigned char)(i / EACH) }), ==,
                      0);
    }
    struct block *b = malloc(sizeof *b);
    CHECK(b);
    for (int i = 0; i < N / EACH; i++) {
        CHECK_INT(plait_result(large[i], b), ==, 0);
        CHECK_INT(b->bytes[0], ==, i);
        CHECK_INT(b->bytes[MIB - 1], ==, i);
        plait_free(large[i]);
    }
    free(b);
    for (int i = 0; i < N; i++) {
        int next;
        CHECK_INT(plait_result(small[i], &next), ==, 0);
        CHECK_INT(next, ==, i + 1);
        plait_free(small[i]);
    }
    CHECK_INT(count_fds(), ==, fds);
    close_processes(ex);
}

struct asker {
    plait_executor *ex;
    atomic_bool *over;
};

// A fiber: it cannot look at the rings itself.
static int ask(const struct asker *in, int64_t *longest)
{
    *longest = 0;
    for (int i = 0; !atomic_load(in->over); i++) {
        plait_future *f;
        int next, e = plait_submit(in->ex, &f, next_of, { i });
        int64_t from = plait_now();
        e = e < 0 ? e : plait_result(f, &next);
        if (e < 0 || next != i + 1)
            return e < 0 ? e : -EIO;
        plait_free(f);
        int64_t took = plait_now() - from;
        *longest = took > *longest ? took : *longest;
    }
    return 0;
}
PLAIT_TASK(ask, struct asker, int64_t);

TEST(others_get_their_results_meanwhile, .limit_s = 60)
{
    enum { N = 200000, AT_ONCE = 1000 };
    static plait_future *f[AT_ONCE];
    atomic_bool over = false;
    plait_executor *ex = open_processes(2), *fibers;
    CHECK_INT(plait_open(&fibers, PLAIT_FIBERS), ==, 0);
    plait_future *asks;
    CHECK_INT(plait_submit(fibers, &asks, ask, { ex, &over }), ==, 0);
    for (int i = 0; i < N; i++) {
        if (i >= AT_ONCE) {
            CHECK_INT(plait_result(f[i % AT_ONCE], NULL), ==, 0);
            plait_free(f[i % AT_ONCE]);
        }
        submit_next_of(ex, &f[i % AT_ONCE], i);
    }
    atomic_store(&over, true);
    int64_t longest;
    CHECK_INT(plait_result(asks, &longest), ==, 0);
    plait_free(asks);
    check_say("the longest took %.1f ms", (double)longest / 1e6);
    CHECK_INT(longest, <, 5 * PLAIT_SECOND);
    for (int i = 0; i < AT_ONCE; i++) {
        CHECK_INT(plait_result(f[i], NULL), ==, 0);
        plait_free(f[i]);
    }
    CHECK_INT(plait_close(fibers), ==, 0);
    close_processes(ex);
}
