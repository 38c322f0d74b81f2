// SPDX-License-Identifier: MIT
// local.c - the executors of this process: one event-loop thread of fibers, or a worker a core.
#include "core/blocking.h"
#include "core/monitor.h"
#include "core/overflow.h"
#include "core/registry.h"
#include "core/sched.h"
#include "exec/open.h"
#include "os/alloc.h"
#include <string.h>

/* How many jobs and fibers plait_turn() runs before it returns to the foreign loop. */
#define TURN_BUDGET 1000

static int submit(struct plait_executor *ex, plait_future *f)
{
    return pl_sched_submit(pl_sched_of(ex), &f->notify.job);
}

static void cancel(struct plait_executor *ex, plait_future *f)
{
    (void)ex;
    if (pl_notify_withdraw(&f->notify)) {
        pl_future_ref(f); /* the queue has its own, which it gives back when it finds the job */
        enum plait_reason reason = pl_cancel_reason(&f->cancel);
        pl_future_complete(f, pl_reason_code(reason), reason);
    } else {
        pl_notify_post(&f->notify);
    }
}

static void shut_down(struct plait_executor *ex)
{
    pl_sched_close_queue(pl_sched_of(ex));
}

static void close_local(struct plait_executor *ex)
{
    struct pl_sched *s = pl_sched_of(ex);
    pl_sched_wait_end(s);
    pl_registry_remove(ex);
    pl_monitor_stop(s); /* it adds workers until then */
    uint64_t taken = pl_sched_done(s);
    pl_monitor_free(s);
    pl_blocking_stop(s);
    pl_executor_close_slabs(ex, taken);
}

static void free_local(struct plait_executor *ex)
{
    struct pl_sched *s = pl_sched_of(ex);
    pl_slab_shared_done(&s->ex.slabs);
    pl_free_mem(s);
}

static void caps(const struct plait_executor *ex, struct plait_caps *ret)
{
    struct pl_sched *s = pl_sched_of((struct plait_executor *)ex);
    *ret = (struct plait_caps){
        .kind = ex->options.kind,
        .workers = s->regular,
        .parallel = s->regular > 1,
        .shares_memory = true,
        .suspends = true,
        .max_bytes = SIZE_MAX / 4,
        .io = s->workers[0].loop.backend == PL_BACKEND_URING ? "io_uring" : "epoll",
    };
}

static bool may_drive(struct pl_sched *s)
{
    return s->foreign && pthread_equal(s->owner, pthread_self()) && !pl_worker_current();
}

static int fd(struct plait_executor *ex)
{
    struct pl_sched *s = pl_sched_of(ex);
    return s->foreign ? pl_loop_fd(&s->workers[0].loop) : -EINVAL;
}

static int turn(struct plait_executor *ex)
{
    struct pl_sched *s = pl_sched_of(ex);
    struct pl_worker *w = &s->workers[0];
    if (!may_drive(s))
        return -EINVAL;
    pl_worker_enter(w);
    pl_worker_awake(w);
    /* Always: what made the descriptor readable may be a wake or the timer, of which the worker's
     * own look at the loop knows nothing. Unreaped it would stay readable. */
    int completed = pl_loop_poll(&w->loop, 0);
    unsigned turns = pl_worker_turn(w, TURN_BUDGET);
    /* Something left: readable at once, by a deadline that has passed. */
    int64_t deadline = pl_worker_prepare_sleep(w) ? pl_worker_deadline(w) : 1;
    int e = pl_loop_arm(&w->loop, deadline);
    pl_worker_enter(NULL);
    if (completed < 0)
        return completed;
    return e < 0 ? e : completed + (int)turns;
}

static const struct pl_executor_ops local_ops = {
    .submit = submit,
    .cancel = cancel,
    .shutdown = shut_down,
    .close = close_local,
    .free = free_local,
    .caps = caps,
    .fd = fd,
    .turn = turn,
};

bool pl_is_sched(const struct plait_executor *ex)
{
    return ex->ops == &local_ops;
}

int pl_local_open(struct plait_executor **ret, const struct plait_options *o)
{
    struct pl_sched *s = pl_alloc_aligned(64, sizeof *s);
    if (!s)
        return pl_fail(-ENOMEM, "no memory for the executor");
    memset(s, 0, sizeof *s);
    pl_executor_init(&s->ex, &local_ops, o);
    s->foreign = o->foreign;
    s->owner = pthread_self();
    unsigned spare = o->kind == PLAIT_THREADS && !o->no_spare ? o->spare_workers : 0;
    int e = o->report_overflow ? pl_overflow_watch() : 0;
    if (e == 0)
        e = pl_sched_init(s, o->workers, o->workers + spare);
    if (e < 0) {
        pl_free_mem(s);
        return pl_fail(e, "cannot prepare %u workers: %s", o->workers, plait_strerror(e));
    }
    for (unsigned i = 0; e == 0 && i < o->workers; i++)
        e = pl_sched_add_worker(s);
    if (e == 0)
        e = pl_monitor_start(s);
    if (e < 0) {
        atomic_store(&s->ex.state, PL_EXECUTOR_STOPPING);
        pl_sched_close_queue(s);
        close_local(&s->ex);
        free_local(&s->ex);
        return pl_fail(e, "cannot start its workers: %s", plait_strerror(e));
    }
    if (s->foreign) {
        /* Readable from the first submit on. */
        struct pl_worker *w = &s->workers[0];
        pl_worker_prepare_sleep(w);
        pl_loop_arm(&w->loop, PLAIT_NEVER);
    }
    *ret = &s->ex;
    return 0;
}
