// SPDX-License-Identifier: MIT
// clock.c - the monotonic clock, and deadlines on it.
#include "os/clock.h"

#include "base/bug.h"

static int64_t read_clock(clockid_t id)
{
    struct timespec t;
    PL_ASSERT(clock_gettime(id, &t) == 0);
    return t.tv_sec * PL_SECOND + t.tv_nsec;
}

int64_t pl_now(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

int64_t pl_now_wall(void)
{
    return read_clock(CLOCK_REALTIME);
}

int64_t pl_clock_after(int64_t ns)
{
    int64_t now = pl_now();
    if (ns <= 0)
        return now;
    return ns > PL_FOREVER - now ? PL_FOREVER : now + ns;
}

int64_t pl_clock_left(int64_t deadline)
{
    if (deadline == PL_FOREVER)
        return PL_FOREVER;
    if (deadline <= 0)
        return 0;
    int64_t now = pl_now();
    return deadline > now ? deadline - now : 0;
}
