// SPDX-License-Identifier: MIT
// processes.c - opening and closing an executor of processes, and its table of calls.
#include "proc/processes.h"

#include <errno.h>
#include <string.h>

#include "base/bug.h"
#include "os/alloc.h"
#include "os/clock.h"
#include "os/confine.h"
#include "os/cpu.h"
#include "os/loop.h"
#include "os/memory.h"
#include "os/thread.h"
#include "proc/pool.h"

// A zygote that has not answered by then never will: its program does not come to plait_main().
#define START_NS (30 * PL_SECOND)

static void shutdown_pool(struct plait_executor *ex)
{
    struct pl_pool *p = pl_pool_of(ex);
    struct pl_after after;
    pl_after_init(&after);
    pl_lock(&p->lock);
    pl_pool_admit_all(p);
    atomic_fetch_sub(&p->alive, p->credit); // nothing more is accepted
    p->credit = 0;
    if (atomic_load(&ex->state) == PL_EXECUTOR_STOPPING)
        pl_pool_stop_all(p, &after);
    pl_pool_check_end(p);
    pl_pool_unlock(p, &after);
}

static void release(struct pl_pool *p)
{
    struct pl_after none; // nothing is alive; only cancelled entries are in the queue
    pl_after_init(&none);
    pl_pool_drop_queue(p, -ECANCELED, PLAIT_REASON_SHUTDOWN, &none);
    PL_ASSERT(!none.first);
    pl_zygote_drop(p);
    pl_hands_done(p);
    pl_ears_stop(p);
    pl_poller_done(&p->poller);
    pl_fd_close(p->bell);
    pl_fd_close(p->gong_fd);
    if (p->gong)
        pl_memory_release(p->gong, sizeof *p->gong);
    pl_table_done(&p->table);
    pl_fd_close(p->setup_fd);
}

static void close_pool(struct plait_executor *ex)
{
    struct pl_pool *p = pl_pool_of(ex);
    pl_thread_join(p->supervisor);
    release(p);
    pl_executor_close_slabs(ex, 0);
}

static void free_pool(struct plait_executor *ex)
{
    pl_slab_shared_done(&ex->slabs);
    pl_free_mem(pl_pool_of(ex));
}

static enum pl_backend wanted_backend(const struct plait_options *o)
{
    return o->io == PLAIT_IO_URING   ? PL_BACKEND_URING
           : o->io == PLAIT_IO_EPOLL ? PL_BACKEND_EPOLL
                                     : PL_BACKEND_AUTO;
}

// Tries here what the workers will do: 0 and *ret, or a negative errno.
static int probe_backend(const struct plait_options *o, uint32_t *ret)
{
    struct pl_loop loop;
    int e = pl_loop_init(&loop, wanted_backend(o), 0);
    if (e < 0)
        return e;
    *ret = loop.backend;
    pl_loop_done(&loop);
    return 0;
}

static void caps(const struct plait_executor *ex, struct plait_caps *ret)
{
    struct pl_pool *p = pl_pool_of((struct plait_executor *)ex);
    uint32_t backend = atomic_load_explicit(&p->backend, memory_order_relaxed);
    if (backend == PL_BACKEND_AUTO && probe_backend(&ex->options, &backend) == 0)
        atomic_store_explicit(&p->backend, backend, memory_order_relaxed);
    *ret = (struct plait_caps){
        .kind = PLAIT_PROCESSES,
        .workers = p->workers,
        .parallel = p->workers > 1 || ex->options.tasks_per_worker > 1,
        .isolated = true,
        .kills = true,
        .suspends = ex->options.tasks_per_worker > 1,
        .priorities = true,
        .max_bytes = PL_MAX_BYTES,
        .io = backend == PL_BACKEND_URING ? "io_uring" : "epoll",
    };
}

static const struct pl_executor_ops pool_ops = {
    .submit = pl_pool_submit,
    .cancel = pl_pool_cancel,
    .shutdown = shutdown_pool,
    .close = close_pool,
    .free = free_pool,
    .caps = caps,
    .help = pl_pool_help,
    .show = pl_pool_show,
    .priorities = true,
};

// How many forks may be under way while the executor opens: both sides write to the control socket,
// and neither may fill it while the other does not read.
#define FORKS_AT_ONCE 16

// Waits until `wanted` workers have been forked; the supervisor does not run yet.
static int receive_forked(struct pl_pool *p, unsigned wanted, struct pl_after *after)
{
    int64_t deadline = pl_clock_after(START_NS);
    for (unsigned forked = 0; forked < wanted;) {
        int e = pl_zygote_receive(p, after);
        if (e == -EAGAIN)
            e = pl_fd_wait_readable(p->zygote.control, deadline);
        if (e < 0)
            return e;
        forked = 0;
        for (unsigned i = 0; i < p->hand_count; i++) {
            const struct pl_hand *h = &p->hands[i];
            if (h->state == PL_HAND_EMPTY && h->shortages > 0)
                return -EAGAIN;
            forked += h->state == PL_HAND_LIVE;
        }
    }
    return 0;
}

static int await_forked(struct pl_pool *p, unsigned wanted)
{
    struct pl_after after;
    pl_after_init(&after);
    int e = receive_forked(p, wanted, &after);
    pl_free_mem(after.notice); // who opens is told by the error
    return e;
}

static int start(struct pl_pool *p)
{
    int e = pl_zygote_start(p);
    if (e < 0 && e != -EPIPE)
        return pl_fail(e, "the process that forks workers cannot be started: %s",
                       plait_strerror(e));
    if (e == 0) // after the zygote, which may be a fork of this process
        e = pl_ears_start(p);
    for (unsigned i = 0; e == 0 && i < p->worker.workers_min; i++) {
        e = pl_hand_fork(p, &p->hands[i]);
        if (e == 0 && i % FORKS_AT_ONCE == 0)
            e = await_forked(p, i);
    }
    if (e == 0)
        e = await_forked(p, p->worker.workers_min);
    if (e == -EPIPE)
        return pl_fail(-EAGAIN, "the process that forks workers ended at its start");
    if (e == -ETIMEDOUT)
        return pl_fail(-EAGAIN,
                       "the process that forks workers did not reach plait_main() "
                       "within %d s",
                       (int)(START_NS / PL_SECOND));
    if (e < 0)
        return pl_fail(e, "%u workers cannot be started: %s", p->worker.workers_min,
                       p->broken_why[0] ? p->broken_why : plait_strerror(e));
    e = pl_thread_start(&p->supervisor, "plait-procs", 0, pl_pool_supervise, p);
    return e < 0 ? pl_fail(e, "no thread for its supervisor: %s", plait_strerror(e)) : 0;
}

static int make_gong(struct pl_pool *p)
{
    void *at;
    int e = p->gong_fd = pl_memfd_new("plait-gong", sizeof *p->gong);
    if (e >= 0)
        e = pl_memfd_map(p->gong_fd, sizeof *p->gong, &at);
    if (e == 0)
        p->gong = at;
    return e;
}

// `o`: the worker options as they were given, or NULL.
static int prepare(struct pl_pool *p, const struct plait_worker_options *o)
{
    int e = pl_table_init(&p->table);
    if (e == 0 && o) {
        e = p->setup_fd = pl_setup_write(&p->worker, &p->table, &p->setup_bytes);
        if (e < 0)
            return e; // it has said why
        e = pl_setup_try(p->setup_fd, p->setup_bytes);
        if (e < 0)
            return e;
    }
    if (e == 0)
        e = pl_poller_init(&p->poller);
    if (e == 0)
        e = p->bell = pl_bell_new();
    if (e >= 0)
        e = make_gong(p);
    if (e >= 0)
        e = pl_poller_add(&p->poller, p->bell, PL_TAG_BELL);
    if (e >= 0)
        e = pl_hands_init(p);
    return e < 0 ? pl_fail(e, "cannot prepare %u workers: %s", p->workers, plait_strerror(e)) : 0;
}

static int may_start(enum plait_start_method how)
{
    if (how != PLAIT_START_FORK)
        return pl_main_program() ? 0
                                 : pl_fail(-ENOTSUP, "worker processes need plait_main(argc, argv) "
                                                     "at the start of main()");
    if (plait_self())
        return pl_fail(-EINVAL,
                       "PLAIT_START_FORK in a task: the fork would be in the middle of it");
    unsigned threads = pl_process_threads();
    return threads == 1
               ? 0
               : pl_fail(
                     -EINVAL,
                     "PLAIT_START_FORK in a program with %u threads: in the copy the locks that "
                     "the others hold would stay locked for ever",
                     threads);
}

int pl_processes_open(struct plait_executor **ret, const struct plait_options *o)
{
    struct plait_worker_options worker;
    uint32_t backend = PL_BACKEND_AUTO;
    if (o->tasks_per_worker > PL_SLOTS)
        return pl_fail(-EINVAL, "tasks_per_worker is at most %u", PL_SLOTS);
    int e = pl_worker_options(&worker, o->worker, o);
    if (e == 0)
        e = may_start(worker.start);
    if (e < 0)
        return e;
    e = o->io == PLAIT_IO_AUTO ? 0 : probe_backend(o, &backend);
    if (e < 0)
        return pl_fail(e, "the event loop that was asked for cannot be had: %s", plait_strerror(e));
    struct pl_pool *p = pl_alloc_aligned(64, sizeof *p);
    if (!p)
        return pl_fail(-ENOMEM, "no memory for the executor");
    memset(p, 0, sizeof *p);
    pl_executor_init(&p->ex, &pool_ops, o);
    p->ex.options.worker = NULL;
    if (worker.confinement) {
        p->ex.options.io = PLAIT_IO_EPOLL;
        backend = PL_BACKEND_EPOLL;
        p->call_name = pl_confinement(worker.confinement).call_name;
    }
    p->confined = worker.confinement != NULL;
    p->worker = worker;
    p->setup_fd = -1;
    p->idle_at = PL_FOREVER;
    p->workers = p->hand_count = o->workers;
    if (o->tasks_per_worker > 1 && (worker.tasks_max || worker.resident_max_bytes))
        p->hand_count = 2 * p->workers < PL_HANDS ? 2 * p->workers : PL_HANDS;
    pl_queue_init(p);
    p->backend = backend;
    p->doze = pl_cpu_count() > 1;
    p->audit_at = PL_FOREVER;
    p->bell = p->gong_fd = p->poller.fd = p->table.fd = -1;
    p->zygote = (struct pl_zygote){ .control = -1, .pidfd = -1 };
    e = prepare(p, o->worker);
    p->worker.initializer = p->worker.finalizer = NULL;
    p->worker.initializer_in = p->worker.cpus = NULL;
    p->worker.directory = NULL;
    p->worker.confinement = NULL;
    p->worker.environment = NULL;
    if (e == 0)
        e = start(p);
    if (e < 0) {
        release(p); // the zygote kills what it has forked
        pl_free_mem(p);
        return e;
    }
    *ret = &p->ex;
    return 0;
}
