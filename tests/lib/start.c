// SPDX-License-Identifier: MIT
// start.c - how the workers of a test's executors start.
#include "start.h"

#include "check.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

const struct plait_worker_options *check_start(void)
{
    static struct plait_worker_options options = { .size = sizeof options };
    const char *how = getenv("PLAIT_TEST_START");
    if (!how)
        return NULL;
    if (strcmp(how, "spawn") == 0)
        options.start = PLAIT_START_SPAWN;
    else if (strcmp(how, "fork") == 0)
        options.start = PLAIT_START_FORK;
    else if (strcmp(how, "zygote") != 0)
        FAIL("PLAIT_TEST_START=%s", how);
    return &options;
}

void check_start_refused(int error)
{
    const struct plait_worker_options *o = check_start();
    if (error == -EINVAL && o && o->start == PLAIT_START_FORK)
        SKIP("%s", plait_last_error());
}
