// SPDX-License-Identifier: MIT
// executors.h - the executors that benchmarks share: opened at first use.
#ifndef PLAIT_BENCH_EXECUTORS_H
#define PLAIT_BENCH_EXECUTORS_H

#include <plait.h>

/* An executor of that kind with that many workers. */
plait_executor *bench_executor(enum plait_kind kind, unsigned workers);

/* Closes all of them. */
void bench_close_executors(void);

/* Runs a task there, waits for it and takes its result: 0 or its code. */
int bench_run_task(plait_executor *ex, const struct plait_task *task, const void *in, void *out);

#define bench_run(ex, fn, in, out) bench_run_task((ex), &PLAIT_TASK_OF(fn), (in), (out))

#endif
