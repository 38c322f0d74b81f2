// SPDX-License-Identifier: MIT
/*
 * bench.h - measures several ways of doing the same thing side by side.
 *
 * All cases of a benchmark are measured in turn, round after round, so that a drift of the machine
 * meets all alike; what is reported is the median of the rounds. A round before the first, which
 * warms up, does not count. One JSON object a line goes to stdout:
 *
 *   {"bench":"fork","metric":"fork","impl":"plait","workers":2,"value":16.5,"unit":"ns",
 *    "best":16.2,"worst":17.9,"rounds":5}
 *
 * impl is "plait" (with a word of detail where there are several), "floor" (what the machine would
 * need without a library), or a peer's name. bench and metric say what is compared with what.
 */
#ifndef PLAIT_BENCH_BENCH_H
#define PLAIT_BENCH_BENCH_H

#include <stdbool.h>

struct bench_case {
    const char *metric, *impl, *unit;
    unsigned workers; // 0: does not apply
    /* Does the thing `size` times on `workers` workers and stores a value in the unit: 0, or a
     * negative errno. -ENOTSUP: not possible here; the case is left out, and a line on stderr says
     * so. */
    int (*measure)(const struct bench_case *c, long size, double *value);
    long arg; // the case's own
};

/* What the command line asks for: [--rounds N] [--size N] [--only WORD], where WORD is a part of
 * "metric/impl/workers". Without --only all cases are measured. */
struct bench_options {
    int rounds;
    long size;
    const char *only;
};

/* Reads the command line; exits with 2 where it makes no sense. The size and the rounds are those
 * of the program unless it is told others. Many short rounds beat few long ones: on a busy machine
 * some of them run undisturbed. */
struct bench_options bench_arguments(int argc, char **argv, long size, int rounds);

/* Measures and prints. Returns what main() should: 0, or 1 where a case failed. */
int bench_compare(const char *bench, const struct bench_case *cases, int count,
                  const struct bench_options *options);

/* The monotonic clock, and the CPU time of the whole process, in ns. */
double bench_now(void);
double bench_cpu(void);

/* Runs the function in a child process, and reads the doubles that it has filled in: for what
 * should not share a heap, page tables or threads with others. 0, what fn returned, or -EOWNERDEAD.
 */
int bench_in_child(int (*fn)(void *arg, double *values), void *arg, double *values, int count);

/* The median; sorts the values. */
double bench_median(double *values, int count);

/* Ends the program with a message when an errno is negative. */
void bench_must(int err, const char *what);

#endif
