// SPDX-License-Identifier: MIT
// prepare.c - before a worker's first task and after its last: initializer, finalizer, and the look
// at its size in between.
#include "proc/mate.h"

#include "base/bug.h"
#include "core/strand.h"
#include "os/alloc.h"
#include "os/clock.h"
#include "os/confine.h"
#include "os/futex.h"
#include "os/ipc.h"
#include "os/process.h"
#include "os/spawn.h"
#include "os/thread.h"

// Between two looks at the resident memory: within that time no task makes it grow by much, and a
// look costs as much as some small tasks.
#define WEIGH_NS PL_MILLISECOND

void pl_mate_unfit(int socket, enum pl_step step, int error)
{
    struct pl_message m = { .kind = PL_MESSAGE_UNFIT, .slot = (uint32_t)step, .code = error };
    (void)pl_socket_send(socket, &m, sizeof m, NULL, 0); // then the exit status is all there is
    pl_process_exit(1);
}

// A task of the setup, on the fiber of the caller; its result is dropped.
static int run_hook(struct pl_mate *m, int32_t number, const void *in)
{
    const struct plait_task *task = (unsigned)number < m->task_count ? m->tasks[number] : NULL;
    if (!task)
        return -ENOENT;
    void *out = pl_zalloc(task->out_bytes + 1);
    if (!out)
        return -ENOMEM;
    struct pl_strand *strand = pl_strand_current();
    const char *outer = strand->task;
    strand->task = task->name;
    int code = task->run(in, out);
    if (strand->scope != NULL)
        PL_BUG("the task `%s` returned without ending its scope by plait_scope_end()", task->name);
    strand->task = outer;
    pl_free_mem(out);
    return code;
}

void pl_mate_prepare(struct pl_mate *m)
{
    const struct pl_setup *s = m->setup;
    int e = s ? pl_setup_limit_memory(s, m->memory) : 0;
    if (e < 0)
        pl_mate_unfit(m->socket, PL_STEP_MEMORY_LIMIT, e);
    if (s && s->initializer >= 0)
        e = run_hook(m, s->initializer, (const char *)s + s->initializer_in);
    if (e != 0)
        pl_mate_unfit(m->socket, PL_STEP_INITIALIZER, e);
    enum pl_step step = PL_STEP_NONE;
    if (s && s->filter_bytes > 0)
        e = pl_setup_filter(s, &m->channel->refused_call, &step);
    if (e < 0)
        pl_mate_unfit(m->socket, step, e);
    atomic_store(&m->prepared, true);
}

void pl_mate_finalize(struct pl_mate *m)
{
    if (m->setup && m->setup->finalizer >= 0)
        (void)run_hook(m, m->setup->finalizer, NULL); // nobody is left who would hear of a failure
}

uint64_t pl_mate_spoken(struct pl_mate *m)
{
    struct pl_channel *c = m->channel;
    for (;;) {
        // Sequentially consistent, as the host's: the two numbers belong together if it did not
        // read in between.
        uint32_t hearing = atomic_load(&c->hearing);
        uint64_t spoken = atomic_load(&c->heard) + pl_pipe_holds(m->stderr_pipe);
        if (hearing % 2 == 0 && atomic_load(&c->hearing) == hearing)
            return spoken;
        pl_thread_yield();
    }
}

uint64_t pl_mate_last_words(struct pl_mate *m)
{
    struct pl_channel *c = m->channel;
    uint64_t spoken = pl_mate_spoken(m);
    for (;;) {
        // Before the look at `failed`: when the host clears that, it changes this word after.
        uint32_t heard = atomic_load(&c->failures_heard);
        uint64_t none = 0;
        if (atomic_compare_exchange_strong(&c->failed, &none, spoken + 1))
            return spoken;
        // Another failure's words come first: the host must have heard of it. Whatever ends this,
        // we look again.
        pl_mate_settle(m);
        (void)pl_futex_wait_shared(&c->failures_heard, heard, PL_FOREVER);
    }
}

void pl_mate_weigh(struct pl_mate *m)
{
    int64_t now = pl_now();
    if (now - m->weighed_at < WEIGH_NS)
        return;
    m->weighed_at = now;
    if (pl_process_resident(m->memory) <= m->setup->resident_max_bytes || atomic_load(&m->stopping))
        return;
    struct pl_message message = { .kind = PL_MESSAGE_RETIRE };
    (void)pl_socket_send(m->socket, &message, sizeof message, NULL, 0); // our end tells as well
    atomic_store(&m->stopping, true);
    pl_mate_rouse(m);
}
