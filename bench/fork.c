// SPDX-License-Identifier: MIT
/*
 * fork.c - recursive fork and join: fib(26), a scope and a started task at each step, ns a fork.
 *
 * The floor is the same recursion by plain calls. OpenMP's tasks are the peer.
 *
 * usage: bench_fork [--rounds N] [--size N of fib] [--only WORD]
 */
#ifdef _OPENMP
#include <omp.h>
#endif

#include "lib/bench.h"
#include "lib/executors.h"

static int fib(const int *in, long *out);
PLAIT_TASK(fib, int, long);

static int fib(const int *in, long *out)
{
    int n = *in, err;
    if (n < 2) {
        *out = n;
        return 0;
    }
    long a = 0, b = 0;
    plait_scope s;
    err = plait_scope_begin(&s, NULL);
    if (err < 0)
        return err;
    plait_go(&s, &a, fib, { n - 1 });
    int rest = n - 2;
    fib(&rest, &b);
    err = plait_scope_end(&s);
    *out = a + b;
    return err;
}

/* fib(n) calls itself twice as often as this says, once by a fork and once directly. */
static double forks_of(long n)
{
    double before = 0, now = 0;
    for (long i = 2; i <= n; i++) {
        double next = now + before + 1;
        before = now;
        now = next;
    }
    return now;
}

static int forked(const struct bench_case *c, long size, double *ns)
{
    plait_executor *ex = bench_executor((enum plait_kind)c->arg, c->workers);
    int n = (int)size;
    long result;
    double from = bench_now();
    int err = bench_run(ex, fib, &n, &result);
    *ns = (bench_now() - from) / forks_of(size);
    return err;
}

/* The asm keeps the compiler from unfolding the recursion. */
static __attribute__((noinline)) long called_fib(long n)
{
    __asm__ volatile("" : "+r"(n));
    return n < 2 ? n : called_fib(n - 1) + called_fib(n - 2);
}

static int called(const struct bench_case *c, long size, double *ns)
{
    (void)c;
    double from = bench_now();
    long result = called_fib(size);
    __asm__ volatile("" ::"r"(result));
    *ns = (bench_now() - from) / forks_of(size);
    return 0;
}

#ifdef _OPENMP
static long openmp_fib(long n)
{
    if (n < 2)
        return n;
    long a, b;
#pragma omp task shared(a)
    a = openmp_fib(n - 1);
    b = openmp_fib(n - 2);
#pragma omp taskwait
    return a + b;
}

static int openmp(const struct bench_case *c, long size, double *ns)
{
    long result = 0;
    double from = bench_now();
#pragma omp parallel num_threads(c->workers)
#pragma omp single
    result = openmp_fib(size);
    __asm__ volatile("" ::"r"(result));
    *ns = (bench_now() - from) / forks_of(size);
    return 0;
}
#endif

int main(int argc, char **argv)
{
    static const struct bench_case cases[] = {
        { "fork", "plait", "ns", 1, forked, PLAIT_THREADS },
        { "fork", "plait fibers", "ns", 1, forked, PLAIT_FIBERS },
        { "fork", "floor", "ns", 1, called, 0 },
#ifdef _OPENMP
        { "fork", "openmp", "ns", 1, openmp, 0 },
#endif
        { "fork", "plait", "ns", 2, forked, PLAIT_THREADS },
#ifdef _OPENMP
        { "fork", "openmp", "ns", 2, openmp, 0 },
#endif
    };
    struct bench_options o = bench_arguments(argc, argv, 26, 21);
    int failed = bench_compare("fork", cases, sizeof cases / sizeof *cases, &o);
    bench_close_executors();
    return failed;
}
