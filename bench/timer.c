// SPDX-License-Identifier: MIT
/*
 * timer.c - sleeping: how punctual one sleeper is, and what a sleep costs when many sleep.
 *
 *   late      a lone task sleeps 1 ms at a time: the median of how much too long, us
 *   cpu       a thousand fibers sleep 2 ms at a time: CPU time a sleep, us
 *
 * The floor of the first is clock_nanosleep() on a thread. The second has none.
 *
 * usage: bench_timer [--rounds N] [--size SLEEPS] [--only WORD]
 */
#include <stdlib.h>
#include <time.h>

#include "lib/bench.h"
#include "lib/executors.h"

enum { FIBERS = 1000 };

static int by_kernel(int64_t until)
{
    struct timespec t = { until / PLAIT_SECOND, until % PLAIT_SECOND };
    return -clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

static int how_late(long count, int (*sleep_until)(int64_t), double *us)
{
    double *late = malloc((size_t)count * sizeof *late);
    int err = late ? 0 : -ENOMEM;
    for (long i = 0; i < count && !err; i++) {
        int64_t until = plait_after(PLAIT_MILLISECOND);
        err = sleep_until(until);
        late[i] = (double)(plait_now() - until) * 1e-3;
    }
    if (!err)
        *us = bench_median(late, (int)count);
    free(late);
    return err;
}

static int lone_sleeper(const long *count, double *us)
{
    return how_late(*count, plait_sleep_until, us);
}
PLAIT_TASK(lone_sleeper, long, double);

static int lone(const struct bench_case *c, long count, double *us)
{
    count /= 100;
    return c->arg ? bench_run(bench_executor((enum plait_kind)c->arg, c->workers), lone_sleeper,
                              &count, us)
                  : how_late(count, by_kernel, us);
}

static int sleeper(const long *count, void *out)
{
    int err = 0;
    (void)out;
    for (long i = 0; i < *count && !err; i++)
        err = plait_sleep(2 * PLAIT_MILLISECOND);
    return err;
}
PLAIT_TASK(sleeper, long, void);

static int many(const struct bench_case *c, long count, double *us)
{
    plait_scope s;
    double cpu = bench_cpu();
    int err = plait_scope_begin(&s, bench_executor((enum plait_kind)c->arg, c->workers));
    for (int i = 0; i < FIBERS && !err; i++)
        err = plait_go(&s, NULL, sleeper, { count / FIBERS });
    int failed = plait_scope_end(&s);
    *us = (bench_cpu() - cpu) * 1e-3 / (double)(count / FIBERS * FIBERS);
    return err ? err : failed;
}

int main(int argc, char **argv)
{
    static const struct bench_case cases[] = {
        { "late", "plait fibers", "us", 1, lone, PLAIT_FIBERS },
        { "late", "floor", "us", 1, lone, 0 },
        { "cpu", "plait fibers", "us", 1, many, PLAIT_FIBERS },
    };
    struct bench_options o = bench_arguments(argc, argv, 20000, 5);
    if (o.size < FIBERS)
        o.size = FIBERS;
    int failed = bench_compare("timer", cases, sizeof cases / sizeof *cases, &o);
    bench_close_executors();
    return failed;
}
