// SPDX-License-Identifier: MIT
/*
 * yield.c - two fibers on one worker give way to each other: ns there and back, two yields.
 *
 *   same        both run the same function
 *   different   each runs a function of its own: the processor, which predicts where a call returns
 *               from the calls that it saw last, is wrong at each yield
 *
 * The floor is a bare switch to another stack and back.
 *
 * usage: bench_yield [--rounds N] [--size TURNS] [--only WORD]
 */
#include "lib/bench.h"
#include "lib/executors.h"
#include "lib/floor.h"

static __attribute__((noinline)) int give_way(const long *turns, void *out)
{
    int err = 0;
    (void)out;
    for (long i = 0; i < *turns && !err; i++)
        err = plait_yield();
    return err;
}
PLAIT_TASK(give_way, long, void);

static __attribute__((noinline)) int give_way_too(const long *turns, void *out)
{
    int err = 0;
    (void)out;
    for (long i = *turns; i > 0 && !err; i--)
        err = plait_yield();
    return err;
}

struct turns {
    long count;
    bool different;
};

static int pair(const struct turns *turns, double *ns)
{
    plait_scope s;
    int err = plait_scope_begin(&s, NULL);
    if (err < 0)
        return err;
    plait_go(&s, NULL, give_way, { turns->count });
    plait_yield(); // it starts now, on a fiber of its own
    double from = bench_now();
    err = (turns->different ? give_way_too : give_way)(&turns->count, NULL);
    *ns = (bench_now() - from) / (double)turns->count;
    int failed = plait_scope_end(&s);
    return err ? err : failed;
}
PLAIT_TASK(pair, struct turns, double);

static int yield(const struct bench_case *c, long count, double *ns)
{
    struct turns turns = { count, c->metric[0] == 'd' };
    return bench_run(bench_executor((enum plait_kind)c->arg, c->workers), pair, &turns, ns);
}

static int bare_switch(const struct bench_case *c, long turns, double *ns)
{
    (void)c;
    return floor_switch(turns, ns);
}

int main(int argc, char **argv)
{
    static const struct bench_case cases[] = {
        { "same", "plait", "ns", 1, yield, PLAIT_THREADS },
        { "same", "plait fibers", "ns", 1, yield, PLAIT_FIBERS },
        { "same", "floor", "ns", 1, bare_switch, 0 },
        { "different", "plait", "ns", 1, yield, PLAIT_THREADS },
        { "different", "plait fibers", "ns", 1, yield, PLAIT_FIBERS },
        { "different", "floor", "ns", 1, bare_switch, 0 },
    };
    struct bench_options o = bench_arguments(argc, argv, 200000, 21);
    int failed = bench_compare("yield", cases, sizeof cases / sizeof *cases, &o);
    bench_close_executors();
    return failed;
}
