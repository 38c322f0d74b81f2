// SPDX-License-Identifier: MIT
/*
 * waits.c - what it costs to wait for each other: ns.
 *
 *   channel   a value through an unbuffered channel to another fiber of the worker, and one back
 *   mutex     a lock and an unlock that nobody else wants
 *   timers    a timer armed and stopped, all of them armed before the first is stopped
 *
 * The floors are a switch there and back, two atomic exchanges, and an insertion into a list and a
 * removal from it, with the same memory touched.
 *
 * usage: bench_waits [--rounds N] [--size TURNS] [--only WORD]
 */
#include "lib/bench.h"
#include "lib/executors.h"
#include "lib/floor.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

// ---- channel

struct ball {
    plait_channel *there, *back;
    long turns;
};

static int return_it(const struct ball *b, void *out)
{
    long value = 0;
    int err = 0;
    (void)out;
    for (long i = 0; i < b->turns && !err; i++) {
        err = plait_get(b->there, &value);
        if (!err)
            err = plait_put(b->back, &value);
    }
    return err;
}
PLAIT_TASK(return_it, struct ball, void);

static int play(const struct ball *b, double *ns)
{
    plait_scope s;
    int err = plait_scope_begin(&s, NULL);
    if (err < 0)
        return err;
    plait_go_at(&s, NULL, return_it, b);
    double from = bench_now();
    for (long i = 0; i < b->turns && !err; i++) {
        long value = i, same = -1;
        err = plait_put(b->there, &value);
        if (!err)
            err = plait_get(b->back, &same);
        if (!err && same != i)
            err = -EILSEQ;
    }
    *ns = (bench_now() - from) / (double)b->turns;
    int failed = plait_scope_end(&s);
    return err ? err : failed;
}
PLAIT_TASK(play, struct ball, double);

static int channel(const struct bench_case *c, long turns, double *ns)
{
    struct ball b = { .turns = turns };
    bench_must(plait_channel_new(&b.there, sizeof(long), 0), "plait_channel_new");
    bench_must(plait_channel_new(&b.back, sizeof(long), 0), "plait_channel_new");
    int err = bench_run(bench_executor((enum plait_kind)c->arg, c->workers), play, &b, ns);
    plait_channel_free(b.there);
    plait_channel_free(b.back);
    return err;
}

static int bare_switch(const struct bench_case *c, long turns, double *ns)
{
    (void)c;
    return floor_switch(turns, ns);
}

// ---- mutex

static int lock_and_unlock(const long *turns, double *ns)
{
    static plait_mutex m;
    double from = bench_now();
    for (long i = 0; i < *turns; i++) {
        int err = plait_mutex_lock(&m);
        if (err < 0)
            return err;
        plait_mutex_unlock(&m);
    }
    *ns = (bench_now() - from) / (double)*turns;
    return 0;
}
PLAIT_TASK(lock_and_unlock, long, double);

static int mutex(const struct bench_case *c, long turns, double *ns)
{
    return bench_run(bench_executor((enum plait_kind)c->arg, c->workers), lock_and_unlock, &turns,
                     ns);
}

static int exchanges(const struct bench_case *c, long turns, double *ns)
{
    static _Atomic uint32_t word;
    double from = bench_now();
    (void)c;
    for (long i = 0; i < turns; i++) {
        atomic_exchange(&word, 1);
        atomic_exchange(&word, 0);
    }
    *ns = (bench_now() - from) / (double)turns;
    return 0;
}

// ---- timers

static void never(void *arg)
{
    (void)arg;
    abort();
}

// A million each time: how much memory they touch is what they cost.
enum { TIMERS = 1000000 };

static int timers(const struct bench_case *c, long turns, double *ns)
{
    static plait_timer all[TIMERS];
    plait_timers *ts;
    int err = plait_timers_new(&ts);
    (void)c, (void)turns;
    if (err < 0)
        return err;
    double from = bench_now();
    int64_t when = plait_after(3600 * PLAIT_SECOND);
    for (long i = 0; i < TIMERS; i++)
        plait_timer_start(ts, &all[i], when + i % 1000 * PLAIT_MILLISECOND, never, NULL);
    for (long i = 0; i < TIMERS; i++)
        if (!plait_timer_stop(ts, &all[i]))
            err = -EILSEQ;
    *ns = (bench_now() - from) / TIMERS;
    plait_timers_free(ts);
    return err;
}

struct node {
    struct node *next, **link;
    uint64_t fill[6];
};

static int list(const struct bench_case *c, long turns, double *ns)
{
    static struct node all[TIMERS], *volatile first;
    (void)c, (void)turns;
    double from = bench_now();
    for (long i = 0; i < TIMERS; i++) {
        struct node *n = &all[i];
        n->next = first;
        n->fill[0] = (uint64_t)i;
        if (n->next)
            n->next->link = &n->next;
        first = n;
    }
    for (long i = TIMERS - 1; i >= 0; i--)
        first = all[i].next;
    *ns = (bench_now() - from) / TIMERS;
    return 0;
}

int main(int argc, char **argv)
{
    static const struct bench_case cases[] = {
        { "channel", "plait", "ns", 1, channel, PLAIT_THREADS },
        { "channel", "plait fibers", "ns", 1, channel, PLAIT_FIBERS },
        { "channel", "floor", "ns", 1, bare_switch, 0 },
        { "mutex", "plait", "ns", 1, mutex, PLAIT_THREADS },
        { "mutex", "floor", "ns", 1, exchanges, 0 },
        { "timers", "plait", "ns", 0, timers, 0 },
        { "timers", "floor", "ns", 0, list, 0 },
    };
    struct bench_options o = bench_arguments(argc, argv, 200000, 11);
    int failed = bench_compare("waits", cases, sizeof cases / sizeof *cases, &o);
    bench_close_executors();
    return failed;
}
