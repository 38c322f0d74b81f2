// SPDX-License-Identifier: MIT
/*
 * sleepers.c - very many fibers sleep for one second at the same time.
 *
 *   wall      from the first start to the last end, s
 *   cpu       CPU time of the whole process for it, s
 *   memory    what was resident for it at most, page tables included, MiB
 *   late      by how much the average (and, late_most, the worst) sleeper woke too late, in ms
 *
 * The floor reserves as much address space for each, touches a page of it, sleeps once for all, and
 * touches each page again: what any scheme with a stack per sleeper must pay. Each measurement has
 * a process of its own. Rounds of this one are few: they take seconds.
 *
 * usage: bench_sleepers [--rounds N] [--size FIBERS] [--only WORD]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/bench.h"
#include "lib/executors.h"

#define SLEEP_NS    PLAIT_SECOND
#define STACK_BYTES ((size_t)64 * 1024)

enum { WALL, CPU, MEMORY, LATE, LATE_MOST, VALUES };

/* At most so far, or now. */
static double resident_mib(bool most)
{
    FILE *f = fopen("/proc/self/status", "r");
    char line[256];
    double kib, sum = 0;
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, most ? "VmHWM: %lf" : "VmRSS: %lf", &kib) == 1 ||
            sscanf(line, "VmPTE: %lf", &kib) == 1)
            sum += kib;
    if (f)
        fclose(f);
    return sum / 1024;
}

static int sleeper(const void *in, int64_t *late)
{
    (void)in;
    int64_t from = plait_now();
    int err = plait_sleep(SLEEP_NS);
    *late = plait_now() - from - SLEEP_NS;
    return err;
}
PLAIT_TASK(sleeper, void, int64_t);

struct plan {
    const struct bench_case *c;
    long count;
};

struct crowd {
    int64_t *late;
    long count;
};

static int sleep_all(const struct crowd *crowd, void *out)
{
    plait_scope s;
    int err = plait_scope_begin(&s, NULL);
    (void)out;
    for (long i = 0; i < crowd->count && !err; i++)
        err = plait_go(&s, &crowd->late[i], sleeper, { 0 });
    int failed = plait_scope_end(&s);
    return err ? err : failed;
}
PLAIT_TASK(sleep_all, struct crowd, void);

static int fibers(void *arg, double *values)
{
    const struct plan *p = arg;
    int64_t *late = calloc((size_t)p->count, sizeof *late);
    if (!late)
        return -ENOMEM;
    memset(late, 1, (size_t)p->count * sizeof *late); // the results' pages are not the fibers'
    plait_executor *ex = bench_executor((enum plait_kind)p->c->arg, p->c->workers);
    double before = resident_mib(false), cpu = bench_cpu(), from = bench_now();
    struct crowd crowd = { late, p->count };
    int err = bench_run(ex, sleep_all, &crowd, NULL);
    values[WALL] = (bench_now() - from) * 1e-9;
    values[CPU] = (bench_cpu() - cpu) * 1e-9;
    values[MEMORY] = resident_mib(true) - before;
    values[LATE] = values[LATE_MOST] = 0;
    for (long i = 0; i < p->count; i++) {
        double ms = (double)late[i] * 1e-6;
        values[LATE] += ms / (double)p->count;
        values[LATE_MOST] = ms > values[LATE_MOST] ? ms : values[LATE_MOST];
    }
    free(late);
    bench_close_executors();
    return err;
}

static int pages(void *arg, double *values)
{
    const struct plan *p = arg;
    size_t bytes = (size_t)p->count * STACK_BYTES;
    char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return -errno;
    madvise(memory, bytes, MADV_NOHUGEPAGE);
    double before = resident_mib(false), cpu = bench_cpu(), from = bench_now();
    for (size_t at = 0; at < bytes; at += STACK_BYTES)
        memory[at] = 1;
    values[MEMORY] = resident_mib(true) - before;
    plait_sleep(SLEEP_NS);
    for (size_t at = 0; at < bytes; at += STACK_BYTES)
        memory[at]++;
    values[WALL] = (bench_now() - from) * 1e-9;
    values[CPU] = (bench_cpu() - cpu) * 1e-9;
    values[LATE] = values[LATE_MOST] = 0;
    munmap(memory, bytes);
    return 0;
}

/* All values of a round come from one process: the first metric runs it, the others look. */
static int part(const struct bench_case *c, long count, double *value)
{
    static double seen[2][VALUES];
    bool floor = c->arg == 0;
    int which = strcmp(c->metric, "wall") == 0     ? WALL
                : strcmp(c->metric, "cpu") == 0    ? CPU
                : strcmp(c->metric, "memory") == 0 ? MEMORY
                : strcmp(c->metric, "late") == 0   ? LATE
                                                   : LATE_MOST;
    struct plan plan = { c, count };
    int err = 0;
    if (which == WALL)
        err = bench_in_child(floor ? pages : fibers, &plan, seen[floor], VALUES);
    *value = seen[floor][which];
    return err;
}

int main(int argc, char **argv)
{
    static const struct bench_case cases[] = {
        { "wall", "plait fibers", "s", 1, part, PLAIT_FIBERS },
        { "cpu", "plait fibers", "s", 1, part, PLAIT_FIBERS },
        { "memory", "plait fibers", "MiB", 1, part, PLAIT_FIBERS },
        { "late", "plait fibers", "ms", 1, part, PLAIT_FIBERS },
        { "late_most", "plait fibers", "ms", 1, part, PLAIT_FIBERS },
        { "wall", "floor", "s", 1, part, 0 },
        { "cpu", "floor", "s", 1, part, 0 },
        { "memory", "floor", "MiB", 1, part, 0 },
    };
    struct bench_options o = bench_arguments(argc, argv, 100000, 5);
    return bench_compare("sleepers", cases, sizeof cases / sizeof *cases, &o);
}
