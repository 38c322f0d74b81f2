// SPDX-License-Identifier: MIT
// tasks.h - the tasks that most conformance tests use.
#ifndef PLAIT_TESTS_CONFORM_TASKS_H
#define PLAIT_TESTS_CONFORM_TASKS_H

#include "conformance/conform.h"

struct pair {
    long a, b;
};

static int add(const struct pair *p, long *sum)
{
    *sum = p->a + p->b;
    return 0;
}
PLAIT_TASK(add, struct pair, long);

/* Returns what it is told to. */
static int answer(const int *code, int *out)
{
    *out = *code;
    return *code;
}
PLAIT_TASK(answer, int, int);

/* Counts itself up on counter 0, then waits at a gate. */
static int wait_at(const unsigned *gate, void *out)
{
    (void)out;
    count_up(0);
    return gate_pass(*gate);
}
PLAIT_TASK(wait_at, unsigned, void);

/* The same in a system call that plait knows nothing of, so that the worker is kept. */
static int block_at(const unsigned *gate, void *out)
{
    (void)out;
    count_up(0);
    gate_block(*gate);
    return 0;
}
PLAIT_TASK(block_at, unsigned, void);

static int nap(const int64_t *ns, void *out)
{
    (void)out;
    return plait_sleep(*ns);
}
PLAIT_TASK(nap, int64_t, void);

/* Notices are not what most tests are about. */
__attribute__((unused)) static void ignore_notice(const struct plait_notice *n, void *arg)
{
    (void)n;
    (void)arg;
}

/* An executor all of whose workers are kept busy until gate 0 is opened for each of `plugs`. */
struct plugged {
    plait_executor *ex;
    plait_future *plugs[64];
    unsigned count;
};

__attribute__((unused)) static void plug(struct plugged *p, const struct place *on,
                                         struct plait_options options)
{
    options.no_spare = on->kind == PLAIT_THREADS;
    options.notice = ignore_notice;
    CHECK_INT(place_open(&p->ex, on, options), ==, 0);
    p->count = on->workers;
    for (unsigned i = 0; i < p->count; i++) {
        /* One after the other, so that each worker gets one. */
        CHECK_INT(plait_submit(p->ex, &p->plugs[i], block_at, { 0 }), ==, 0);
        count_wait(0, i + 1);
    }
}

__attribute__((unused)) static void unplug(struct plugged *p)
{
    gate_open(0, p->count);
    for (unsigned i = 0; i < p->count; i++) {
        CHECK_INT(plait_result(p->plugs[i], NULL), ==, 0);
        plait_free(p->plugs[i]);
    }
    CHECK_INT(plait_close(p->ex), ==, 0);
}

#endif
