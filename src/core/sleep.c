// SPDX-License-Identifier: MIT
// sleep.c - time and giving way.
#include "core/sched.h"
#include "os/clock.h"
#include <plait/fiber.h>
#include <stdio.h>

#define TEXT_(x) #x
#define TEXT(x)  TEXT_(x)

const char *plait_version(void)
{
    return TEXT(PLAIT_VERSION_MAJOR) "." TEXT(PLAIT_VERSION_MINOR) "." TEXT(PLAIT_VERSION_PATCH);
}

int64_t plait_now(void)
{
    return pl_now();
}

int64_t plait_after(int64_t ns)
{
    return pl_clock_after(ns);
}

int plait_sleep_until(int64_t when)
{
    struct pl_strand *s = pl_strand_current();
    int e = pl_strand_cancelled(s);
    if (e < 0)
        return e;
    if (when <= pl_now())
        return pl_strand_yield(s);
    struct pl_wait w;
    pl_wait_init(&w, s);
    pl_wait_for(&w, PL_FOR_TIME, NULL);
    return pl_wait(&w, when) == PL_WAIT_CANCELLED ? pl_strand_code(s) : 0;
}

int plait_sleep(int64_t ns)
{
    return ns <= 0 ? plait_yield() : plait_sleep_until(pl_clock_after(ns));
}

int plait_yield(void)
{
    return pl_strand_yield(pl_strand_current());
}

const char *plait_task_name(void)
{
    return pl_strand_current()->task;
}

plait_executor *plait_self(void)
{
    struct pl_strand *s = pl_strand_current();
    return s->worker ? &s->worker->sched->ex : NULL;
}
