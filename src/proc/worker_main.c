// SPDX-License-Identifier: MIT
// worker_main.c - a worker process: its start, its dispatchers, its listener. See mate.h.
#include "proc/zygote.h"

#include <errno.h>
#include <stdio.h>

#include "arch/switch.h"
#include "base/bug.h"
#include "core/sched.h"
#include "os/alloc.h"
#include "os/clock.h"
#include "os/confine.h"
#include "os/ipc.h"
#include "os/lockdown.h"
#include "os/process.h"
#include "os/thread.h"
#include "proc/mate.h"
#include "shared/arena.h"

// How long a new worker dozes; then experience counts.
#define DOZE_FIRST_NS 50000

// ---- dispatchers

// Becomes the taker, or waits until somebody hands the taking over. False: the end.
static bool become_taker(struct pl_mate *m)
{
    if (m->taking) {
        struct pl_idler i = { .next = m->idle };
        pl_wait_init(&i.wait, pl_strand_current());
        m->idle = &i;
        pl_wait_uninterrupted(&i.wait);
    }
    m->taking = true;
    return !atomic_load(&m->stopping);
}

static void hand_taking_over(struct pl_mate *m)
{
    struct pl_idler *i = m->idle;
    if (i) {
        m->idle = i->next;
        pl_wait_fire(&i->wait, PL_WAIT_WOKEN); // m->taking stays true for it
    } else {
        m->taking = false;
    }
}

static int dispatch(const void *in, void *out)
{
    (void)out;
    struct pl_mate *m = *(struct pl_mate *const *)in;
    struct pl_serving *v = &m->servings[m->started++ % m->dispatchers];
    int slot = -1;
    if (m->started == 1) {
        m->taking = true; // nobody takes a task before
        pl_mate_prepare(m);
        hand_taking_over(m);
    }
    while (become_taker(m) && (slot = pl_mate_next(m)) >= 0) {
        hand_taking_over(m);
        pl_mate_serve(m, v, (uint32_t)slot);
    }
    hand_taking_over(m);
    if (--m->dispatching == 0) { // the last of them
        pl_mate_finalize(m);
        (void)plait_shutdown(m->ex, PLAIT_DRAIN);
    }
    return 0;
}

static const struct plait_task dispatch_task = { .size = sizeof(struct plait_task),
                                                 .name = "worker",
                                                 .run = dispatch,
                                                 .in_bytes = sizeof(struct pl_mate *) };

// ---- the listener

static void answer_roll(struct pl_mate *m)
{
    struct pl_message answer = { .kind = PL_MESSAGE_ROLL };
    answer.count = atomic_load_explicit(&m->searches, memory_order_relaxed);
    if (!atomic_load(&m->prepared))
        return; // the initializer runs: what was handed out already waits for it
    for (unsigned i = 0; i < m->dispatchers; i++) {
        uint32_t slot = atomic_load_explicit(&m->servings[i].slot, memory_order_relaxed);
        if (slot != PL_NOBODY && (slot & ~PL_BUSY) < PL_SLOTS)
            answer.slots[(slot & ~PL_BUSY) / 64] |= UINT64_C(1) << slot % 64;
    }
    (void)pl_socket_send(m->socket, &answer, sizeof answer, NULL, 0); // then there is no answer
}

static void *listen_to_host(void *arg)
{
    struct pl_mate *m = arg;
    for (;;) {
        struct pl_message message;
        int fds[PL_SOCKET_FDS];
        unsigned count = PL_SOCKET_FDS;
        ssize_t n = pl_socket_receive(m->socket, &message, sizeof message, fds, &count);
        if (n == -EAGAIN && pl_fd_wait_readable(m->socket, PL_FOREVER) == 0)
            continue;
        if (n != sizeof message) // the host is dead; the zygote will kill us, we do not wait for it
            pl_process_exit(0);
        if (message.kind == PL_MESSAGE_CANCEL)
            pl_mate_cancel(m, message.slot);
        else if (message.kind == PL_MESSAGE_CARGO)
            pl_mate_deliver(m, &message, fds, count);
        else if (message.kind == PL_MESSAGE_DROP)
            pl_mate_drop(m, message.slot);
        else if (message.kind == PL_MESSAGE_ROLL)
            answer_roll(m);
        else if (message.kind == PL_MESSAGE_STOP)
            break;
    }
    atomic_store(&m->stopping, true);
    pl_mate_rouse(m);
    return NULL;
}

// ---- start and end

// What it shares with the host, which a child of a task does not.
static void *map_shared(int fd, size_t bytes)
{
    void *at;
    if (pl_memfd_map(fd, bytes, &at) < 0 || pl_memory_not_inherited(at, bytes) < 0)
        return NULL;
    pl_fd_close(fd);
    return at;
}

static struct pl_mate *make(const struct pl_worker_start *start)
{
    struct pl_channel *c = map_shared(start->channel, sizeof *c);
    struct pl_gong *gong = map_shared(start->gong, sizeof *gong);
    if (!c || !gong)
        return NULL;
    unsigned n = c->tasks_per_worker;
    struct pl_mate *m = pl_zalloc(sizeof *m + n * sizeof m->servings[0]);
    if (!m)
        return NULL;
    m->channel = c;
    m->gong = gong;
    m->tasks = start->tasks;
    m->task_count = start->task_count;
    m->socket = start->socket;
    m->doorbell = start->doorbell;
    m->bell = start->bell;
    m->work_at = m->done_at = PL_RING_START;
    m->doze_ns = DOZE_FIRST_NS;
    m->setup = start->setup;
    m->stderr_pipe = m->memory = -1;
    m->dispatchers = m->dispatching = n;
    for (unsigned i = 0; i < n; i++)
        atomic_init(&m->servings[i].slot, PL_NOBODY);
    return m;
}

static int start_dispatchers(struct pl_mate *m)
{
    const struct pl_channel *c = m->channel;
    struct plait_options o = { .size = sizeof o,
                               .kind = PLAIT_FIBERS,
                               .name = c->name,
                               .stack_bytes = c->stack_bytes,
                               .io = (enum plait_io_backend)c->io,
                               .stall_ns = c->stall_ns,
                               .foreign = true };
    int e = plait_open_with(&m->ex, &o);
    for (unsigned i = 0; e == 0 && i < m->dispatchers; i++)
        e = plait_submit_task(m->ex, NULL, &dispatch_task, &m, NULL);
    pthread_t listener;
    if (e == 0)
        e = pl_thread_start(&listener, "plait-listener", 0, listen_to_host, m);
    return e;
}

// What the worker is not to have although the program has it: before it opens anything.
static int give_up(const struct pl_worker_start *start, enum pl_step *step)
{
    const int kept[] = { start->socket, start->channel, start->doorbell,
                         start->bell,   start->gong,    start->stderr_pipe };
    *step = (enum pl_step)(PL_STEP_LOCK + PL_LOCK_DESCRIPTORS);
    if (start->setup->no_shared_heap)
        pl_arena_leave();
    return pl_descriptors_keep(kept, sizeof kept / sizeof *kept);
}

// The last while there is one thread.
static int lock_in(const struct pl_mate *m, enum pl_step *step)
{
    struct pl_context self;
    pl_context_thread(&self); // what a sanitizer must know of this thread stands in a file
    pl_context_done(&self);
    *step = PL_STEP_ENVIRONMENT;
    int e = pl_confine_environment("PLAIT_IO=epoll"); // for executors that its tasks open
    if (e < 0)
        return e;
    int parent = pl_process_parent();
    e = pl_setup_lock_in(m->setup, step);
    // The kernel forgets it when a process changes who it is.
    if (e == 0 && !pl_process_die_with(parent))
        pl_process_exit(0);
    return e;
}

void pl_worker_main(const struct pl_worker_start *start)
{
    const bool confined = start->setup && start->setup->filter_bytes > 0;
    enum pl_step step = PL_STEP_START;
    pl_arena_enter(start->owner);
    int e = confined ? give_up(start, &step) : 0;
    if (e < 0)
        pl_mate_unfit(start->socket, step, e);
    step = PL_STEP_START;
    struct pl_mate *m = make(start);
    e = m ? 0 : -ENOMEM;
    if (e == 0 && m->setup)
        e = pl_setup_apply(m->setup, start->hand, &step);
    if (e == 0 && start->stderr_pipe >= 0) {
        step = PL_STEP_STDERR;
        m->stderr_pipe = start->stderr_pipe; // kept: a task may take descriptor 2 for itself
        e = pl_fd_replace(m->stderr_pipe, 2);
    }
    if (e == 0 && m->setup && (m->setup->memory_limit_bytes || m->setup->resident_max_bytes)) {
        step = PL_STEP_MEMORY_LIMIT;
        e = m->memory = pl_process_memory_open();
    }
    if (e >= 0 && confined)
        e = lock_in(m, &step);
    if (e >= 0) {
        step = PL_STEP_START;
        e = start_dispatchers(m);
    }
    if (e < 0)
        pl_mate_unfit(start->socket, step, e);
    // Drives the fibers until the dispatchers have gone and with them all that tasks left running.
    pl_worker_run(&pl_sched_of(m->ex)->workers[0]);
    plait_close(m->ex);
    fflush(NULL);
    pl_process_exit(0);
}
