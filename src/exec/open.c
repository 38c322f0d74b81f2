// SPDX-License-Identifier: MIT
// open.c - opening and closing: options checked and completed, then the kind's own open.
#include "exec/open.h"
#include "base/bug.h"
#include "core/registry.h"
#include "core/sched.h"
#include "os/cpu.h"
#include "proc/processes.h"
#include <plait/fiber.h>
#include <string.h>

#define MAX_WORKERS 1024

static const char *const kind_names[] = {
    [PLAIT_FIBERS] = "fibers", [PLAIT_THREADS] = "threads", [PLAIT_PROCESSES] = "processes"
};

/* Copies what an older or newer caller knows of the structure, and fills in the defaults. */
static int complete(struct plait_options *o, const struct plait_options *given)
{
    *o = (struct plait_options){ 0 };
    memcpy(o, given, given->size < sizeof *o ? given->size : sizeof *o);
    o->size = sizeof *o;
    if (o->kind < PLAIT_FIBERS || o->kind > PLAIT_PROCESSES)
        return pl_fail(-EINVAL, "there is no executor of kind %d", (int)o->kind);
    if (o->kind == PLAIT_FIBERS && o->workers > 1)
        return pl_fail(-EINVAL, "an executor of fibers has one worker, not %u", o->workers);
    if (o->workers > MAX_WORKERS)
        return pl_fail(-EINVAL, "%u workers are more than %d", o->workers, MAX_WORKERS);
    if (o->foreign && o->kind != PLAIT_FIBERS)
        return pl_fail(-EINVAL, "only an executor of fibers can be driven by a foreign loop");
    if (o->worker && o->kind != PLAIT_PROCESSES)
        return pl_fail(-EINVAL, "only an executor of processes has the option worker");
    if (o->when_full != PLAIT_FULL_WAIT && o->when_full != PLAIT_FULL_FAIL)
        return pl_fail(-EINVAL, "when_full must be PLAIT_FULL_WAIT or PLAIT_FULL_FAIL");
    if (o->io != PLAIT_IO_AUTO && o->io != PLAIT_IO_URING && o->io != PLAIT_IO_EPOLL)
        return pl_fail(-EINVAL, "there is no I/O backend %d", (int)o->io);
    if (o->stack_bytes > PL_STACK_MAX_BYTES)
        return pl_fail(-EINVAL, "stacks are at most %zu MiB", PL_STACK_MAX_BYTES >> 20);
    if (o->stall_ns < 0 || o->deadlock_ns < 0 || o->grace_ns < 0)
        return pl_fail(-EINVAL, "a duration is negative");
    if (o->spare_workers > MAX_WORKERS)
        return pl_fail(-EINVAL, "%u spare workers are more than %d", o->spare_workers, MAX_WORKERS);
    if (o->workers == 0)
        o->workers = o->kind == PLAIT_FIBERS ? 1 : (unsigned)pl_cpu_count();
    if (!o->name)
        o->name = kind_names[o->kind];
    if (o->stack_bytes == 0)
        o->stack_bytes = o->kind == PLAIT_FIBERS ? 64 << 10 : 256 << 10;
    if (o->queue_limit == 0)
        o->queue_limit = 1 << 20;
    if (o->queue_limit > UINT32_MAX)
        o->queue_limit = UINT32_MAX;
    if (o->spare_workers == 0)
        o->spare_workers = 64;
    if (o->stall_ns == 0)
        o->stall_ns = 200 * PLAIT_MILLISECOND;
    if (o->deadlock_ns == 0)
        o->deadlock_ns = 500 * PLAIT_MILLISECOND;
    if (o->grace_ns == 0)
        o->grace_ns = 500 * PLAIT_MILLISECOND;
    if (o->tasks_per_worker == 0)
        o->tasks_per_worker = 1;
    return 0;
}

int plait_open_with(plait_executor **ret, const struct plait_options *options)
{
    struct plait_options o;
    pl_fail(0, "%s", "");
    int e = complete(&o, options);
    if (e < 0)
        return e;
    plait_executor *ex;
    e = o.kind == PLAIT_PROCESSES ? pl_processes_open(&ex, &o) : pl_local_open(&ex, &o);
    if (e < 0)
        return e;
    pl_registry_add(ex);
    *ret = ex;
    return 0;
}

int plait_shutdown(plait_executor *ex, enum plait_how how)
{
    uint32_t want = how == PLAIT_STOP ? PL_EXECUTOR_STOPPING : PL_EXECUTOR_DRAINING;
    if (how == PLAIT_STOP)
        pl_cancel_mark(&ex->root, PLAIT_REASON_SHUTDOWN);
    uint32_t state = atomic_load(&ex->state);
    while (state < want && !atomic_compare_exchange_weak(&ex->state, &state, want))
        ;
    ex->ops->shutdown(ex);
    return 0;
}

static int finish(void *arg)
{
    plait_executor *ex = arg;
    if (!pl_is_sched(ex)) /* the others end it while people can look at what it waits for */
        pl_registry_remove(ex);
    ex->ops->close(ex);
    pl_executor_unref(ex);
    return 0;
}

int plait_close(plait_executor *ex)
{
    if (!ex)
        return 0;
    plait_executor *self = plait_self();
    if (self == ex) {
        plait_shutdown(ex, PLAIT_DRAIN);
        return -EDEADLK;
    }
    if (!pl_registry_close(ex))
        return -EINVAL;
    plait_shutdown(ex, PLAIT_DRAIN);
    if (!self || ex->options.foreign)
        return finish(ex);
    /* From a task of another executor: joining would block its worker. */
    int e = plait_blocking(finish, ex);
    return e == 0 ? 0 : finish(ex);
}

int plait_fd(plait_executor *ex)
{
    return ex->ops->fd ? ex->ops->fd(ex) : -EINVAL;
}

int plait_turn(plait_executor *ex)
{
    return ex->ops->turn ? ex->ops->turn(ex) : -EINVAL;
}
