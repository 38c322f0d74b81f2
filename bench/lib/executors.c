// SPDX-License-Identifier: MIT
// executors.c - see executors.h.
#include "executors.h"

#include "bench.h"

enum { WORKERS_MAX = 64 };

static plait_executor *opened[PLAIT_PROCESSES + 1][WORKERS_MAX + 1];

void bench_close_executors(void)
{
    for (int kind = 0; kind <= PLAIT_PROCESSES; kind++)
        for (int workers = 0; workers <= WORKERS_MAX; workers++) {
            plait_close(opened[kind][workers]);
            opened[kind][workers] = NULL;
        }
}

plait_executor *bench_executor(enum plait_kind kind, unsigned workers)
{
    if (workers > WORKERS_MAX)
        bench_must(-EINVAL, "too many workers");
    plait_executor **ex = &opened[kind][workers];
    if (*ex)
        return *ex;
    /* A million tasks submitted in a row are no stall that anybody must hear of. */
    bench_must(plait_open(ex, kind, .workers = workers, .stall_ns = 60 * PLAIT_SECOND),
               "opening an executor");
    return *ex;
}

int bench_run_task(plait_executor *ex, const struct plait_task *task, const void *in, void *out)
{
    plait_future *f;
    int err = plait_submit_task(ex, &f, task, in, NULL);
    if (err < 0)
        return err;
    err = plait_result(f, out);
    plait_free(f);
    return err;
}
