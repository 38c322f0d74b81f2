// SPDX-License-Identifier: MIT
// map.h - the two ways of running a map.
#ifndef PL_EXEC_MAP_H
#define PL_EXEC_MAP_H

#include "core/executor.h"

struct pl_map_job {
    struct plait_executor *ex;
    const struct plait_task *task;
    const char *in;
    char *out; /* NULL: the results are not wanted */
    size_t n;
    int *codes; /* NULL: the first error cancels the others */
};

/* On fibers and threads, over ranges that split themselves. */
int pl_map_ranges(const struct pl_map_job *j);

/* On any executor, through a window of futures. */
int pl_map_futures(const struct pl_map_job *j);

#endif
