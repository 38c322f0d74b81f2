// SPDX-License-Identifier: MIT
// bench.c - rounds, medians, and the JSON lines. See bench.h.
#include "bench.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS_MAX = 1000 };

static double clock_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

double bench_now(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

double bench_cpu(void)
{
    return clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

void bench_must(int err, const char *what)
{
    if (err >= 0)
        return;
    fprintf(stderr, "bench: %s: %s\n", what, strerror(-err));
    exit(1);
}

static _Noreturn void usage(const char *program)
{
    fprintf(stderr, "usage: %s [--rounds N] [--size N] [--only WORD]\n", program);
    exit(2);
}

static long number(const char *program, const char *text, long most)
{
    char *end;
    errno = 0;
    long n = strtol(text, &end, 10);
    if (errno || *end || end == text || n < 1 || n > most)
        usage(program);
    return n;
}

struct bench_options bench_arguments(int argc, char **argv, long size, int rounds)
{
    struct bench_options o = { .rounds = rounds, .size = size };
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc)
            usage(argv[0]);
        if (strcmp(argv[i], "--rounds") == 0)
            o.rounds = (int)number(argv[0], argv[i + 1], ROUNDS_MAX);
        else if (strcmp(argv[i], "--size") == 0)
            o.size = number(argv[0], argv[i + 1], 1000000000);
        else if (strcmp(argv[i], "--only") == 0)
            o.only = argv[i + 1];
        else
            usage(argv[0]);
    }
    return o;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_median(double *values, int count)
{
    qsort(values, (size_t)count, sizeof *values, by_value);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static bool wanted(const struct bench_case *c, const char *word)
{
    char name[256];
    snprintf(name, sizeof name, "%s/%s/%u", c->metric, c->impl, c->workers);
    return !word || strstr(name, word);
}

static int measure(const struct bench_case *c, long size, double *value)
{
    /* Threads of the case before, which may still spin for work, come to rest. */
    nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
    return c->measure(c, size, value);
}

static void print(const char *bench, const struct bench_case *c, double *values, int rounds)
{
    double median = bench_median(values, rounds);
    printf("{\"bench\":\"%s\",\"metric\":\"%s\",\"impl\":\"%s\",\"workers\":%u,\"value\":%.3f,"
           "\"unit\":\"%s\",\"best\":%.3f,\"worst\":%.3f,\"rounds\":%d}\n",
           bench, c->metric, c->impl, c->workers, median, c->unit, values[0], values[rounds - 1],
           rounds);
    fflush(stdout);
}

int bench_compare(const char *bench, const struct bench_case *cases, int count,
                  const struct bench_options *o)
{
    double *values = calloc((size_t)count * (size_t)o->rounds, sizeof *values), ignored;
    int *errors = calloc((size_t)count, sizeof *errors), failed = 0;
    if (!values || !errors)
        bench_must(-ENOMEM, bench);
    for (int round = -1; round < o->rounds; round++)
        for (int i = 0; i < count; i++)
            if (!errors[i] && wanted(&cases[i], o->only))
                errors[i] = measure(&cases[i], o->size,
                                    round < 0 ? &ignored : &values[i * o->rounds + round]);
    for (int i = 0; i < count; i++) {
        if (!wanted(&cases[i], o->only))
            continue;
        if (errors[i] == 0) {
            print(bench, &cases[i], values + i * o->rounds, o->rounds);
            continue;
        }
        fprintf(stderr, "%s: %s, %s: %s\n", bench, cases[i].metric, cases[i].impl,
                strerror(-errors[i]));
        failed |= errors[i] != -ENOTSUP;
    }
    free(values);
    free(errors);
    return failed;
}

int bench_in_child(int (*fn)(void *arg, double *values), void *arg, double *values, int count)
{
    int pipe_fd[2], status = 0;
    if (pipe(pipe_fd) < 0)
        return -errno;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        int err = fn(arg, values);
        ssize_t bytes = (ssize_t)sizeof *values * count;
        if (!err && write(pipe_fd[1], values, (size_t)bytes) != bytes)
            err = -EIO;
        _exit(-err);
    }
    close(pipe_fd[1]);
    int err = pid < 0 ? -EAGAIN : 0;
    size_t bytes = sizeof *values * (size_t)count, got = 0;
    while (pid > 0 && got < bytes) {
        ssize_t n = read(pipe_fd[0], (char *)values + got, bytes - got);
        if (n <= 0)
            break;
        got += (size_t)n;
    }
    close(pipe_fd[0]);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFEXITED(status) && WEXITSTATUS(status))
        return -WEXITSTATUS(status);
    return err ? err : got == bytes ? 0 : -EOWNERDEAD;
}
