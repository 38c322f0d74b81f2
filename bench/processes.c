// SPDX-License-Identifier: MIT
/*
 * processes.c - an executor of processes as its user meets it: the questions that
 * bench/peers/python/pools.py puts to the pools of Python.
 *
 *   open            from plait_open() to the first result
 *   round trip      submit a no-op and wait for its result, one after the other
 *   each submitted  many no-ops, each with a future of its own, then all results
 *   map             many no-ops by one call
 *   1 MiB, 64 MiB   an argument, written anew each time, of which the task reads the ends: copied,
 *                   and in the shared heap
 *   killed          forty tasks, and a worker that dies in the middle of one
 *   late            a task that never ends, and forty others
 *
 * The last two are answered by a sentence, counted from what happened. Floors are in process.c.
 *
 * usage: bench_processes [--rounds N] [--size TASKS] [--only WORD]
 */
#include "lib/bench.h"

#include <errno.h>
#include <plait.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WORKERS 2u
#define MIB     ((size_t)1 << 20)
#define TASKS   40
#define TASK_NS (50 * PLAIT_MILLISECOND)

static int nothing(const void *in, void *out)
{
    (void)in, (void)out;
    return 0;
}
PLAIT_TASK(nothing, void, void);

static int nothing_of(const int *in, void *out)
{
    (void)in, (void)out;
    return 0;
}
PLAIT_TASK(nothing_of, int, void);

// Its ends' sum is the code.
static int ends(const struct plait_span *in, struct plait_buffer *out)
{
    const unsigned char *data = in->data;
    (void)out;
    return data[0] + data[in->bytes - 1];
}
PLAIT_TASK_BYTES(ends);

static int shared_ends(const struct plait_span *in, void *out)
{
    (void)out;
    return ends(in, NULL);
}
PLAIT_TASK(shared_ends, struct plait_span, void);

static int where(const void *in, int *pid)
{
    (void)in;
    *pid = getpid();
    return plait_sleep(TASK_NS);
}
PLAIT_TASK(where, void, int);

static int for_ever(const void *in, void *out)
{
    (void)in, (void)out;
    for (;;)
        ; // it does not even look whether it was cancelled
    return 0;
}
PLAIT_TASK(for_ever, void, void);

// ---- how fast

static int finish(plait_future *f)
{
    int e = plait_result(f, NULL);
    plait_free(f);
    return e;
}

static int one(plait_executor *ex)
{
    plait_future *f;
    int e = plait_submit(ex, &f, nothing, { 0 });
    return e < 0 ? e : finish(f);
}

static plait_executor *open_workers(void)
{
    plait_executor *ex;
    bench_must(plait_open(&ex, PLAIT_PROCESSES, .workers = WORKERS), "plait_open");
    return ex;
}

static int open_to_result(const struct bench_case *c, long size, double *ms)
{
    (void)c, (void)size;
    double from = bench_now();
    plait_executor *ex = open_workers();
    int e = one(ex);
    *ms = (bench_now() - from) / 1e6;
    plait_close(ex);
    return e;
}

static int round_trip(const struct bench_case *c, long size, double *us)
{
    plait_executor *ex = open_workers();
    int e = one(ex);
    double from = bench_now();
    (void)c;
    for (long i = 0; i < size && !e; i++)
        e = one(ex);
    *us = (bench_now() - from) / 1e3 / (double)size;
    plait_close(ex);
    return e;
}

static int each_submitted(const struct bench_case *c, long size, double *us)
{
    plait_executor *ex = open_workers();
    plait_future **f = calloc((size_t)size, sizeof *f);
    int e = f ? one(ex) : -ENOMEM;
    double from = bench_now();
    (void)c;
    for (long i = 0; i < size && !e; i++)
        e = plait_submit(ex, &f[i], nothing, { 0 });
    for (long i = 0; i < size && !e; i++) {
        e = plait_result(f[i], NULL);
        plait_free(f[i]);
    }
    *us = (bench_now() - from) / 1e3 / (double)size;
    free(f);
    plait_close(ex);
    return e;
}

static int map(const struct bench_case *c, long size, double *us)
{
    plait_executor *ex = open_workers();
    int *in = calloc((size_t)size, sizeof *in);
    int e = in ? one(ex) : -ENOMEM;
    double from = bench_now();
    (void)c;
    if (!e)
        e = plait_map(ex, nothing_of, in, NULL, (size_t)size);
    *us = (bench_now() - from) / 1e3 / (double)size;
    free(in);
    plait_close(ex);
    return e;
}

static int send_copied(plait_executor *ex, unsigned char *data, size_t bytes)
{
    plait_future *f;
    int e = plait_submit_bytes(ex, &f, ends, data, bytes);
    return e < 0 ? e : finish(f);
}

static int send_shared(plait_executor *ex, unsigned char *data, size_t bytes)
{
    plait_future *f;
    int e = plait_submit(ex, &f, shared_ends, { data, bytes });
    return e < 0 ? e : finish(f);
}

// arg: bytes of an argument; in units of `scale` ns.
static int arguments(const struct bench_case *c, bool shared, int trips, double scale,
                     double *value)
{
    size_t bytes = (size_t)c->arg;
    plait_executor *ex = open_workers();
    unsigned char *data = shared ? plait_shared_alloc(bytes) : malloc(bytes);
    int e = data ? one(ex) : -ENOMEM;
    double from = bench_now();
    for (int i = 0; i < trips && e >= 0; i++) {
        memset(data, i % 100, bytes);
        e = shared ? send_shared(ex, data, bytes) : send_copied(ex, data, bytes);
        if (e >= 0 && e != 2 * (i % 100))
            e = -EBADMSG;
    }
    *value = (bench_now() - from) / scale / trips;
    shared ? plait_shared_free(data) : free(data);
    plait_close(ex);
    return e < 0 ? e : 0;
}

static int megabyte(const struct bench_case *c, long size, double *us)
{
    (void)size;
    return arguments(c, false, 20, 1e3, us);
}

static int megabyte_shared(const struct bench_case *c, long size, double *us)
{
    (void)size;
    return arguments(c, true, 20, 1e3, us);
}

static int large(const struct bench_case *c, long size, double *ms)
{
    (void)size;
    return arguments(c, false, 2, 1e6, ms);
}

static int large_shared(const struct bench_case *c, long size, double *ms)
{
    (void)size;
    return arguments(c, true, 2, 1e6, ms);
}

// ---- what happens when something goes wrong

static void tell(const char *metric, const char *outcome)
{
    printf("{\"bench\":\"processes\",\"metric\":\"%s\",\"impl\":\"plait\",\"workers\":%u,"
           "\"outcome\":\"%s\"}\n",
           metric, WORKERS, outcome);
}

// How many of the tasks gave a result; the record of one that did not, if any, into `why`.
static int settle(plait_future **f, char *why, size_t bytes)
{
    int fine = 0;
    why[0] = 0;
    for (int i = 0; i < TASKS; i++) {
        int pid, e = plait_result(f[i], &pid);
        fine += e == 0;
        if (e < 0)
            snprintf(why, bytes, "%s", plait_error(f[i])->message);
        plait_free(f[i]);
    }
    return fine;
}

static void start_tasks(plait_executor *ex, plait_future **f)
{
    for (int i = 0; i < TASKS; i++)
        bench_must(plait_submit(ex, &f[i], where, { 0 }), "plait_submit");
}

static void tell_killed(void)
{
    plait_executor *ex = open_workers();
    plait_future *f[TASKS], *first;
    char why[160], outcome[320];
    int pid;
    bench_must(plait_submit(ex, &first, where, { 0 }), "plait_submit");
    bench_must(plait_result(first, &pid), "plait_result");
    plait_free(first);
    start_tasks(ex, f);
    plait_sleep(TASK_NS / 2); // each worker is in the middle of a task
    kill(pid, SIGKILL);
    int fine = settle(f, why, sizeof why);
    snprintf(outcome, sizeof outcome, "%d of %d results, %d failed (%s), the pool %s", fine, TASKS,
             TASKS - fine, why, one(ex) == 0 ? "goes on" : "is unusable");
    tell("killed", outcome);
    plait_close(ex);
}

static void tell_late(void)
{
    plait_executor *ex = open_workers();
    plait_future *f[TASKS], *late;
    char why[160], outcome[320];
    bench_must(plait_submit(ex, &late, for_ever, { 0 }), "plait_submit");
    start_tasks(ex, f);
    plait_sleep(TASK_NS / 2);
    plait_cancel(late);
    int e = plait_result(late, NULL);
    int pid = plait_error(late)->pid;
    bool gone = pid > 0 && kill(pid, 0) < 0 && errno == ESRCH;
    int fine = settle(f, why, sizeof why);
    snprintf(outcome, sizeof outcome, "cancel() taken, it %s, %d of %d others fine",
             e == -ECANCELED && gone ? "ended" : "runs on", fine, TASKS);
    tell("late", outcome);
    plait_free(late);
    plait_close(ex);
}

int main(int argc, char **argv)
{
    plait_main(argc, argv);
    static const struct bench_case cases[] = {
        { "open", "plait", "ms", WORKERS, open_to_result, 0 },
        { "round trip", "plait", "us", WORKERS, round_trip, 0 },
        { "each submitted", "plait", "us", WORKERS, each_submitted, 0 },
        { "map", "plait", "us", WORKERS, map, 0 },
        { "1 MiB", "plait", "us", WORKERS, megabyte, MIB },
        { "1 MiB", "plait shared heap", "us", WORKERS, megabyte_shared, MIB },
        { "64 MiB", "plait", "ms", WORKERS, large, 64 * MIB },
        { "64 MiB", "plait shared heap", "ms", WORKERS, large_shared, 64 * MIB },
    };
    struct bench_options o = bench_arguments(argc, argv, 20000, 5);
    int failed = bench_compare("processes", cases, sizeof cases / sizeof *cases, &o);
    if (!o.only) {
        tell_killed();
        tell_late();
    }
    return failed;
}
