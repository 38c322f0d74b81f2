// SPDX-License-Identifier: MIT
// serve.c - running one task in a worker: its argument, its result, its cancellation.
#include "proc/batch.h"
#include "proc/mate.h"

#include <errno.h>
#include <string.h>

#include "base/bug.h"
#include "base/relax.h"
#include "core/given.h"
#include "core/local.h"
#include "core/sched.h"
#include "os/alloc.h"
#include "os/clock.h"
#include "os/ipc.h"
#include "os/memory.h"
#include "os/process.h"
#include "os/thread.h"
#include <plait/shared.h>

// ---- arguments and results

static size_t align(size_t bytes)
{
    return (bytes + 15) & ~(size_t)15;
}

void pl_delivery_close(struct pl_delivery *d)
{
    pl_fds_close(d->fds, d->count);
    d->count = d->mask = 0;
}

void pl_mate_await_cargo(struct pl_mate *m, uint32_t index, struct pl_delivery *ret)
{
    struct pl_wait wait;
    uintptr_t none = 0;
    pl_wait_init(&wait, pl_strand_current());
    pl_wait_for(&wait, PL_FOR_ARGUMENT, NULL);
    // Both orders are the default: the winner of the swap publishes the wait, or finds what came.
    if (atomic_compare_exchange_strong(&m->cargo[index], &none, (uintptr_t)&wait))
        pl_wait_uninterrupted(&wait);
    for (uintptr_t came = PL_CARGO_CAME;
         !atomic_compare_exchange_strong(&m->cargo[index], &came, PL_CARGO_BUSY);
         came = PL_CARGO_CAME)
        pl_relax(); // the listener is at it
    *ret = m->delivered[index];
    // Sequentially consistent: pairs with the load in pl_mate_deliver(), whose next message comes
    // when the host has its slot back.
    atomic_store(&m->cargo[index], 0);
}

struct argument {
    struct plait_span span;
    struct pl_batch *batch; // what is run is a part of a map
    bool mapped;
    int fds[PLAIT_TASK_FDS_MAX]; // the task's; -1: not there, or in its hands
};

// Takes from what was delivered.
static int unpack(struct pl_delivery *d, struct argument *in, bool memory)
{
    int *next = d->fds;
    int e = d->error;
    if (e == 0 && memory) {
        void *at;
        e = pl_memfd_map_private(*next, in->span.bytes, &at);
        pl_fd_close(*next);
        *next++ = -1;
        in->mapped = e == 0;
        in->span.data = e == 0 ? at : NULL;
    }
    for (unsigned i = 0; e == 0 && i < PLAIT_TASK_FDS_MAX; i++)
        if (d->mask >> i & 1) {
            in->fds[i] = *next;
            *next++ = -1;
        }
    pl_delivery_close(d); // what is left, of an argument that cannot be had
    return e;
}

static int open_argument(struct pl_mate *m, uint32_t index, struct argument *in)
{
    struct pl_slot *s = &m->channel->slots[index];
    uint32_t place = s->in_place & ~PL_PLACE_AWAITS;
    *in = (struct argument){ .span = { s->data, s->in_bytes } };
    memset(in->fds, -1, sizeof in->fds);
    if (s->in_place & PL_PLACE_AWAITS) {
        struct pl_delivery d;
        pl_mate_await_cargo(m, index, &d);
        int e = unpack(&d, in, place == PL_PLACE_CARGO);
        if (e < 0)
            return e;
    }
    if (place == PL_PLACE_SPILL)
        in->span.data = m->channel->spill[index];
    if (place == PL_PLACE_BATCH) {
        memcpy(&in->batch, s->data, sizeof in->batch);
        return plait_shared_has(in->batch) ? 0 : -EFAULT;
    }
    return 0;
}

static void close_argument(struct argument *in)
{
    if (in->mapped)
        pl_memory_release((void *)in->span.data, in->span.bytes);
    pl_fds_close(in->fds, PLAIT_TASK_FDS_MAX);
}

// Sends what does not fit the slot: memory with so many bytes, or -1, and those of the descriptors
// that are not -1.
static int send_cargo(struct pl_mate *m, uint32_t index, int memory, size_t bytes, const int *given,
                      unsigned given_count)
{
    struct pl_message message = { .kind = PL_MESSAGE_CARGO, .slot = index, .bytes = bytes };
    int fds[PL_SOCKET_FDS], e;
    if (memory >= 0)
        fds[message.count++] = memory;
    for (unsigned i = 0; i < given_count; i++)
        if (given[i] >= 0) {
            fds[message.count++] = given[i];
            message.slots[0] |= UINT64_C(1) << i;
        }
    if (message.count == 0)
        return 0;
    while ((e = pl_socket_send(m->socket, &message, sizeof message, fds, message.count)) ==
           -EAGAIN) {
        e = pl_fd_wait_writable(m->socket, PL_FOREVER);
        if (e < 0)
            break;
    }
    return e;
}

static int send_large(struct pl_mate *m, uint32_t index, const void *data, size_t bytes,
                      const struct pl_given *g)
{
    int fd = pl_memfd_of("plait-result", data, bytes);
    int e = fd < 0 ? fd : send_cargo(m, index, fd, bytes, g ? g->out : NULL, g ? g->outs : 0);
    pl_fd_close(fd);
    return e;
}

// Puts the result where there is room for it.
static int place_bytes(struct pl_mate *m, uint32_t index, const void *data, size_t bytes)
{
    struct pl_slot *s = &m->channel->slots[index];
    if (bytes > PL_MAX_BYTES)
        return -EMSGSIZE;
    s->out_bytes = (uint32_t)bytes;
    s->out_place = bytes <= PL_INLINE_BYTES  ? PL_PLACE_INLINE
                   : bytes <= PL_SPILL_BYTES ? PL_PLACE_SPILL
                                             : PL_PLACE_CARGO;
    if (s->out_place == PL_PLACE_CARGO)
        return send_large(m, index, data, bytes, NULL);
    if (bytes > 0)
        memcpy(s->out_place == PL_PLACE_INLINE ? s->data : m->channel->spill[index], data, bytes);
    return 0;
}

static int run_bytes(struct pl_mate *m, uint32_t index, const struct plait_task *task,
                     const struct plait_span *in)
{
    struct plait_buffer out = { 0 };
    int code = task->run(in, &out);
    if (code >= 0) {
        int e = place_bytes(m, index, out.data, out.bytes);
        code = e < 0 ? e : code;
    }
    pl_free_mem(out.data);
    return code;
}

struct serving_fds {
    struct pl_given given;
    struct pl_mate *mate;
    uint32_t index;
};

// The host need not hold it for this task any more: who waits for its end should not wait for us.
static void taken(struct pl_given *g, unsigned n)
{
    struct serving_fds *v = PL_CONTAINER(g, struct serving_fds, given);
    struct pl_message m = { .kind = PL_MESSAGE_TAKEN,
                            .slot = v->index,
                            .count = v->mate->stood_at[v->index],
                            .slots = { UINT64_C(1) << n } };
    (void)pl_socket_send(v->mate->socket, &m, sizeof m, NULL, 0); // then it is told by our end
}

// What does not fit the slot is sent: all of a large result, and descriptors.
static PL_NOINLINE int call_with_fds(struct pl_mate *m, uint32_t index,
                                     const struct plait_task *task, struct argument *in, void *out,
                                     bool large)
{
    struct serving_fds v = { .mate = m, .index = index };
    struct pl_given *g = &v.given;
    pl_given_begin(g, pl_strand_current(), task, in->fds, (void *)in->span.data, out);
    g->taken = taken;
    memset(in->fds, -1, sizeof in->fds); // they are the task's
    int code = task->run(in->span.data, out), e = 0;
    code = pl_given_end(g, pl_strand_current(), code, out);
    if (code >= 0 && large)
        e = send_large(m, index, out, task->out_bytes, g);
    else if (code >= 0)
        e = send_cargo(m, index, -1, 0, g->out, g->outs);
    for (unsigned i = 0; i < g->outs; i++)
        if (g->out[i] >= 0) { // given away
            m->channel->slots[index].out_place |= PL_PLACE_AWAITS;
            pl_strand_close(g->out[i]);
        }
    return e < 0 ? e : code;
}

static int call(struct pl_mate *m, uint32_t index, const struct plait_task *task,
                struct argument *in, void *out, bool large)
{
    if (PL_UNLIKELY(pl_task_has_fds(task)))
        return call_with_fds(m, index, task, in, out, large);
    int code = task->run(in->span.data, out);
    int e = code >= 0 && large ? send_large(m, index, out, task->out_bytes, NULL) : 0;
    return e < 0 ? e : code;
}

static int run_fixed(struct pl_mate *m, uint32_t index, const struct plait_task *task,
                     struct argument *in)
{
    struct pl_slot *s = &m->channel->slots[index];
    size_t after = (s->in_place & ~PL_PLACE_AWAITS) == s->out_place ? align(s->in_bytes) : 0;
    if (s->out_place == PL_PLACE_INLINE)
        return call(m, index, task, in, s->data + after, false);
    if (s->out_place == PL_PLACE_SPILL)
        return call(m, index, task, in, m->channel->spill[index] + after, false);
    void *out = pl_zalloc(task->out_bytes);
    if (!out)
        return -ENOMEM;
    int code = call(m, index, task, in, out, true);
    pl_free_mem(out);
    return code;
}

// ---- running a task

static void begin(struct pl_serving *v, struct pl_strand *strand, struct pl_slot *s, uint32_t index)
{
    int64_t deadline = s->deadline;
    if (s->timeout_ns > 0) {
        int64_t due = pl_clock_after(s->timeout_ns);
        atomic_store_explicit(&s->due, due, memory_order_relaxed); // for the host's timer, a hint
        deadline = due < deadline ? due : deadline;
    }
    pl_cancel_init(&v->cancel, strand->cancel, deadline);
    pl_notify_init(&v->notify);
    v->notify.strand = strand;
    atomic_store_explicit(&v->notify.phase, PL_PHASE_RUNNING, memory_order_relaxed);
    // Sequentially consistent, as the host's store to s->cancel and its message, which comes after:
    // either the listener finds this task, or the next line finds the host's wish.
    atomic_store(&v->slot, index);
    enum plait_reason wish = (enum plait_reason)atomic_load(&s->cancel);
    if (PL_UNLIKELY(wish != PLAIT_REASON_NONE))
        pl_cancel_mark(&v->cancel, wish);
    strand->cancel = &v->cancel;
    strand->clean = 0;
}

static void end(struct pl_serving *v, struct pl_strand *strand, uint32_t index)
{
    strand->cancel = v->cancel.parent;
    strand->clean = 0;
    for (;;) {
        uint32_t mine = index;
        // Acquire: pairs with the release in pl_mate_cancel(): its message, if any, is posted.
        if (atomic_compare_exchange_weak_explicit(&v->slot, &mine, PL_NOBODY, memory_order_acquire,
                                                  memory_order_relaxed))
            break;
        pl_relax();
    }
    pl_notify_end(&v->notify);
}

static int run(struct pl_mate *m, struct pl_serving *v, uint32_t index,
               const struct plait_task *task, struct argument *in)
{
    struct pl_strand *strand = pl_strand_current();
    struct pl_worker *w = strand->worker;
    const char *outer = strand->task;
    begin(v, strand, &m->channel->slots[index], index);
    strand->task = task->name;
    atomic_store_explicit(&w->running, task->name, memory_order_relaxed);
    int code = pl_strand_cancelled(strand);
    v->began = code == 0;
    if (code == 0 && task->flags & PLAIT_TASK_IS_BYTES)
        code = run_bytes(m, index, task, &in->span);
    else if (code == 0 && in->batch)
        code = pl_batch_run(in->batch, task);
    else if (code == 0)
        code = run_fixed(m, index, task, in);
    if (PL_UNLIKELY(strand->scope != NULL))
        PL_BUG("the task `%s` returned without ending its scope by plait_scope_end()", task->name);
    pl_locals_end(strand);
    atomic_store_explicit(&w->running, NULL, memory_order_relaxed);
    strand->task = outer;
    end(v, strand, index);
    return code;
}

// ---- what it has used

// Before tasks longer than this the CPU clock is read; it is a system call.
#define LONG_NS 50000

void pl_mate_read_cpu(struct pl_mate *m, int64_t now)
{
    if (now - m->cpu_at < PL_MILLISECOND)
        return;
    m->cpu = pl_thread_cpu();
    m->cpu_at = now;
}

static void begin_use(struct pl_mate *m, struct pl_serving *v)
{
    if (PL_UNLIKELY(m->run_ns == 0 || m->run_ns > LONG_NS))
        m->cpu = pl_thread_cpu();
    v->cpu = m->cpu;
}

// For a failed task's record; where a result would be.
static void part(struct pl_mate *m, const struct pl_serving *v, struct pl_slot *s)
{
    int64_t now = pl_now();
    pl_mate_read_cpu(m, now);
    if (now - m->peak_at >= PL_MILLISECOND) {
        m->peak = pl_process_peak();
        m->peak_at = now;
    }
    struct pl_parting last = { .cpu_ns = m->cpu - v->cpu,
                               .peak_kib = (uint32_t)(m->peak >> 10),
                               .began = v->began };
    if (PL_UNLIKELY(m->stderr_pipe >= 0))
        last.spoken = pl_mate_last_words(m);
    memcpy(s->data, &last, sizeof last);
}

void pl_mate_serve(struct pl_mate *m, struct pl_serving *v, uint32_t index)
{
    struct pl_slot *s = &m->channel->slots[index];
    const struct plait_task *task = s->task < m->task_count ? m->tasks[s->task] : NULL;
    struct argument in;
    v->began = false;
    // Before it is said to run: should the argument never come, the roll shows it (audit.c).
    int code = open_argument(m, index, &in);
    if (PL_UNLIKELY(in.batch && code == 0))
        task = in.batch->task < m->task_count ? m->tasks[in.batch->task] : NULL;
    if (PL_UNLIKELY(m->stderr_pipe >= 0))
        s->spoken = pl_mate_spoken(m);
    begin_use(m, v);
    if (code == 0)
        code = task ? run(m, v, index, task, &in) : -ENOENT;
    close_argument(&in);
    if (PL_UNLIKELY(code < 0))
        part(m, v, s);
    s->code = code;
    pl_slot_finish(s);
    m->ran++;
    pl_mate_announce(m, index);
    if (PL_UNLIKELY(m->setup && m->setup->resident_max_bytes > 0))
        pl_mate_weigh(m);
}

// ---- what the listener does to a task

void pl_mate_cancel(struct pl_mate *m, uint32_t index)
{
    for (unsigned i = 0; index < PL_SLOTS && i < m->dispatchers; i++) {
        struct pl_serving *v = &m->servings[i];
        uint32_t slot = index;
        if (!atomic_compare_exchange_strong(&v->slot, &slot, index | PL_BUSY))
            continue;
        // Looked at again: the slot may hold the next task by now.
        enum plait_reason wish = (enum plait_reason)atomic_load(&m->channel->slots[index].cancel);
        if (wish != PLAIT_REASON_NONE && pl_cancel_mark(&v->cancel, wish))
            pl_notify_post(&v->notify);
        // Release: pairs with the acquire in end().
        atomic_store_explicit(&v->slot, index, memory_order_release);
    }
}

void pl_mate_deliver(struct pl_mate *m, const struct pl_message *message, const int *fds,
                     unsigned count)
{
    if (message->slot >= PL_SLOTS)
        return;
    struct pl_delivery *d = &m->delivered[message->slot];
    (void)atomic_load(&m->cargo[message->slot]); // what came before was read: see above
    d->count = count;
    d->mask = (uint32_t)message->slots[0];
    memcpy(d->fds, fds, count * sizeof *fds);
    d->error = 0;
    if (count < message->count) { // this process has no room for as many
        pl_delivery_close(d);
        d->error = -EMFILE;
    }
    uintptr_t before = atomic_exchange(&m->cargo[message->slot], PL_CARGO_CAME);
    if (before)
        pl_wait_fire((struct pl_wait *)before, PL_WAIT_WOKEN);
}

void pl_mate_drop(struct pl_mate *m, uint32_t index)
{
    uintptr_t came = PL_CARGO_CAME;
    // It came before this message, and the next for the slot comes after it.
    if (index >= PL_SLOTS ||
        !atomic_compare_exchange_strong(&m->cargo[index], &came, PL_CARGO_BUSY))
        return; // the taker has closed it
    pl_delivery_close(&m->delivered[index]);
    atomic_store(&m->cargo[index], PL_CARGO_CAME);
}
