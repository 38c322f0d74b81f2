// SPDX-License-Identifier: MIT
/*
 * spawn.c - a task starts a million empty tasks and waits for all of them: ns a task.
 *
 *   future   submit each, then take each result, then free it
 *   scope    all in one scope, without results
 *
 * The floor pushes to a bare deque, pops and calls. OpenMP's tasks are the peer of the scope.
 *
 * usage: bench_spawn [--rounds N] [--size TASKS] [--only WORD]
 */
#include <stdlib.h>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "lib/bench.h"
#include "lib/executors.h"
#include "lib/floor.h"

static int nothing(const void *in, void *out)
{
    (void)in;
    (void)out;
    return 0;
}
PLAIT_TASK(nothing, void, void);

static int by_future(const long *count, double *ns)
{
    plait_future **f = malloc((size_t)*count * sizeof *f);
    if (!f)
        return -ENOMEM;
    double from = bench_now();
    for (long i = 0; i < *count; i++)
        bench_must(plait_submit(plait_self(), &f[i], nothing, { 0 }), "submit");
    for (long i = 0; i < *count; i++) {
        bench_must(plait_result(f[i], NULL), "result");
        plait_free(f[i]);
    }
    *ns = (bench_now() - from) / (double)*count;
    free(f);
    return 0;
}
PLAIT_TASK(by_future, long, double);

static int by_scope(const long *count, double *ns)
{
    plait_scope s;
    double from = bench_now();
    int err = plait_scope_begin(&s, NULL);
    if (err < 0)
        return err;
    for (long i = 0; i < *count; i++)
        bench_must(plait_go(&s, NULL, nothing, { 0 }), "go");
    err = plait_scope_end(&s);
    *ns = (bench_now() - from) / (double)*count;
    return err;
}
PLAIT_TASK(by_scope, long, double);

static int future(const struct bench_case *c, long count, double *ns)
{
    return bench_run(bench_executor((enum plait_kind)c->arg, c->workers), by_future, &count, ns);
}

static int scope(const struct bench_case *c, long count, double *ns)
{
    return bench_run(bench_executor((enum plait_kind)c->arg, c->workers), by_scope, &count, ns);
}

static int bare_deque(const struct bench_case *c, long count, double *ns)
{
    (void)c;
    return floor_deque(count, ns);
}

#ifdef _OPENMP
static int openmp(const struct bench_case *c, long count, double *ns)
{
    double from = 0;
#pragma omp parallel num_threads(c->workers)
#pragma omp single
    {
        from = bench_now();
        for (long i = 0; i < count; i++) {
#pragma omp task
            nothing(NULL, NULL);
        }
#pragma omp taskwait
        *ns = (bench_now() - from) / (double)count;
    }
    return 0;
}
#endif

int main(int argc, char **argv)
{
    static const struct bench_case cases[] = {
        { "future", "plait", "ns", 1, future, PLAIT_THREADS },
        { "future", "plait fibers", "ns", 1, future, PLAIT_FIBERS },
        { "future", "floor", "ns", 1, bare_deque, 0 },
        { "future", "plait", "ns", 2, future, PLAIT_THREADS },
        { "scope", "plait", "ns", 1, scope, PLAIT_THREADS },
        { "scope", "plait fibers", "ns", 1, scope, PLAIT_FIBERS },
        { "scope", "floor", "ns", 1, bare_deque, 0 },
#ifdef _OPENMP
        { "scope", "openmp", "ns", 1, openmp, 0 },
#endif
        { "scope", "plait", "ns", 2, scope, PLAIT_THREADS },
#ifdef _OPENMP
        { "scope", "openmp", "ns", 2, openmp, 0 },
#endif
    };
    struct bench_options o = bench_arguments(argc, argv, 1000000, 7);
    int failed = bench_compare("spawn", cases, sizeof cases / sizeof *cases, &o);
    bench_close_executors();
    return failed;
}
