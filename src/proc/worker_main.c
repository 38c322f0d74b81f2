// SPDX-License-Identifier: MIT
/*
 * worker_main.c - the life of a worker process.
 *
 * DESIGN
 *   The main thread is an executor of fibers, on which `tasks_per_worker` dispatchers run. One of
 *   them at a time is the taker: it takes a task from the ring, hands the taking to another
 *   dispatcher if there is an idle one, and runs the task inline, on its own fiber. So a task may
 *   use every plait call, and what it starts (plait_self(), scopes) runs here beside it. With the
 *   default of one, a task that suspends keeps its worker to itself.
 *
 *   A taker that finds nothing dozes: it looks at the ring for some microseconds, while other
 *   fibers have their turns, and then sleeps in the event loop until the doorbell rings. How long
 *   it dozes follows from whether dozing helped of late.
 *
 *   When the host's supervisor must be woken for what was finished, that is put off for a moment:
 *   most often the thread that submitted is just about to wait, and will look for itself. It is
 *   never put off beyond the start of the next task.
 *
 *   A second thread listens to the socket: it marks and interrupts cancelled tasks, also those that
 *   compute without ever suspending, and receives what is too large for the shared memory.
 */
#include "proc/zygote.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/bug.h"
#include "base/relax.h"
#include "core/future.h"
#include "core/sched.h"
#include "os/alloc.h"
#include "os/clock.h"
#include "os/ipc.h"
#include "os/memory.h"
#include "os/process.h"
#include "os/thread.h"
#include "proc/ring.h"
#include "proc/wire.h"
#include <plait/fiber.h>

// The longest doze: about what waking a core costs; and what is not worth beginning.
#define DOZE_MOST_NS  50000
#define DOZE_LEAST_NS 4000

// Between two looks at the clock while dozing.
#define LOOKS_A_CLOCK 32
// For how long waking the supervisor is put off.
#define PUT_OFF_NS 2000

#define NOBODY UINT32_MAX
#define BUSY   0x80000000u // the listener is at it: the dispatcher waits a moment before it goes on

// What a dispatcher runs.
struct serving {
    _Atomic uint32_t slot; // or NOBODY; | BUSY
    struct pl_cancel cancel;
    struct pl_notify notify;
};

struct idler {
    struct idler *next;
    struct pl_wait wait;
};

struct mate {
    struct pl_channel *channel;
    const struct plait_task *const *tasks;
    unsigned task_count;
    int socket, doorbell, bells[3]; // by enum pl_listener
    plait_executor *ex;
    _Atomic bool stopping;

    // The taker's.
    uint32_t work_at, done_at;
    bool taking; // somebody is the taker
    bool owed;   // the supervisor may have to be woken: the taker will, unless it sleeps
    bool taker_sleeps;
    bool host_slept; // whoever waits for the last result had to be woken
    struct idler *idle;
    int64_t now, doze_ns; // the clock as last read
    int64_t busy_since, run_ns;
    uint32_t ran; // tasks since then

    // The argument of a slot that came by socket: 0 not yet, a pl_wait that waits for it, or fd <<
    // 1 | 1.
    _Atomic uintptr_t cargo[PL_SLOTS];

    unsigned dispatchers, gone;
    struct serving servings[];
};

// ---- telling the host

static void wake_host(struct mate *m)
{
    enum pl_listener l = pl_channel_take_listener(m->channel);
    m->owed = false;
    m->host_slept = l == PL_LISTENER_LEADER;
    if (l == PL_LISTENER_SUPERVISOR || l == PL_LISTENER_LEADER)
        pl_bell_ring(m->bells[l]);
}

// Pays what is owed, unless the host has looked meanwhile.
static void settle(struct mate *m)
{
    if (atomic_load_explicit(&m->channel->taken, memory_order_relaxed) == m->done_at)
        m->owed = false;
    else
        wake_host(m);
}

static void announce(struct mate *m, uint32_t slot)
{
    pl_ring_push(&m->channel->done, &m->done_at, slot);
    enum pl_listener l = pl_channel_listener(m->channel);
    m->owed = l != PL_LISTENER_AWAKE;
    if (l == PL_LISTENER_LEADER || (m->owed && m->taker_sleeps))
        wake_host(m);
}

// What a task took of late, for the host to decide how many to hand out in advance.
static void measure(struct mate *m)
{
    m->now = pl_now();
    if (m->ran == 0)
        return;
    int64_t ns = (m->now - m->busy_since) / m->ran;
    if (m->run_ns > 0 && ns < 1000000)
        ns = (3 * m->run_ns + ns) / 4;
    m->run_ns = ns > UINT32_MAX ? UINT32_MAX : ns;
    atomic_store_explicit(&m->channel->run_ns, (uint32_t)m->run_ns, memory_order_relaxed);
    m->busy_since = m->now;
    m->ran = 0;
}

// ---- taking a task

static int take(struct mate *m)
{
    for (;;) {
        int slot = pl_ring_pop(&m->channel->work, &m->work_at);
        if (slot < 0 || pl_slot_take(&m->channel->slots[slot], PL_SLOT_STARTED))
            return slot;
        announce(m, (uint32_t)slot); // revoked: the host gets its slot back
    }
}

struct doorbell {
    struct pl_op op;
    struct pl_wait wait;
};

static void rung(struct pl_op *op)
{
    pl_wait_fire(&PL_CONTAINER(op, struct doorbell, op)->wait, PL_WAIT_WOKEN);
}

static void sleep_until_rung(struct mate *m)
{
    // What the tasks printed is seen now rather than at the end.
    fflush(stdout);
    if (!pl_channel_worker_sleeps(m->channel, m->work_at))
        return;
    struct pl_strand *s = pl_strand_current();
    struct doorbell d = { .op = { .code = PL_OP_POLL, .fd = m->doorbell, .flags = POLLIN } };
    d.op.done = rung;
    pl_wait_init(&d.wait, s);
    pl_loop_start(&s->worker->loop, &d.op);
    // A worker that is never idle, because a task yields for ever, would submit it too late.
    if (s->worker->ready || pl_deque_size_hint(&s->worker->deque) > 0)
        pl_loop_poll(&s->worker->loop, 0);
    m->taker_sleeps = true;
    pl_wait_uninterrupted(&d.wait);
    m->taker_sleeps = false;
    pl_bell_clear(m->doorbell);
    atomic_store_explicit(&m->channel->asleep, 0, memory_order_relaxed);
    m->now = pl_now();
    if (d.op.result < 0)
        atomic_store(&m->stopping, true); // a task has closed our descriptors
}

// Looks at the ring for a while: a slot, or -1.
static int doze(struct mate *m)
{
    int64_t started = m->now;
    for (;;) {
        for (unsigned look = 0; look < LOOKS_A_CLOCK; look++) {
            pl_relax();
            int slot = take(m);
            if (slot >= 0)
                return slot;
        }
        m->now = pl_now();
        bool over = !m->channel->doze || m->now - started >= m->doze_ns;
        if (m->owed && (over || m->now - started > PUT_OFF_NS))
            settle(m);
        (void)plait_yield(); // never cancelled: nobody has this task's future
        if (over)
            return -1;
    }
}

// The next task's slot, or -1: no more will come.
static int next(struct mate *m)
{
    int slot = take(m);
    if (slot >= 0) {
        if (m->ran > 15 || m->run_ns > 10000) // a look at the clock costs as much as a small task
            measure(m);
    } else {
        measure(m);
        // Who must be woken first will not have anything for us before a short doze is over, and
        // may be waiting for this core.
        bool at_once = m->host_slept && m->doze_ns < DOZE_LEAST_NS;
        m->host_slept = false;
        while ((slot = at_once ? -1 : doze(m)) < 0 && !atomic_load(&m->stopping)) {
            int64_t asleep_at = m->now;
            at_once = false;
            sleep_until_rung(m);
            // Had it dozed on, it would have been awake in time; or it would have dozed for
            // nothing.
            m->doze_ns = m->now - asleep_at < DOZE_MOST_NS ? DOZE_MOST_NS : m->doze_ns / 2;
        }
        m->busy_since = m->now;
    }
    if (m->owed)
        settle(m);
    return slot;
}

// ---- arguments and results

static size_t align(size_t bytes)
{
    return (bytes + 15) & ~(size_t)15;
}

// Waits until the listener has received the slot's argument; its descriptor.
static int await_cargo(struct mate *m, uint32_t index)
{
    struct pl_wait wait;
    uintptr_t none = 0;
    pl_wait_init(&wait, pl_strand_current());
    // Both orders are the default: the winner of the swap publishes the wait, or finds the
    // descriptor.
    if (atomic_compare_exchange_strong(&m->cargo[index], &none, (uintptr_t)&wait))
        pl_wait_uninterrupted(&wait);
    return (int)(atomic_exchange(&m->cargo[index], 0) >> 1);
}

static int open_argument(struct mate *m, uint32_t index, const void **in)
{
    struct pl_slot *s = &m->channel->slots[index];
    if (s->in_place == PL_PLACE_INLINE)
        *in = s->data;
    else if (s->in_place == PL_PLACE_SPILL)
        *in = m->channel->spill[index];
    else {
        int fd = await_cargo(m, index);
        void *at;
        int e = pl_memfd_map_private(fd, s->in_bytes, &at);
        pl_fd_close(fd);
        if (e < 0)
            return e;
        *in = at;
    }
    return 0;
}

static int send_cargo(struct mate *m, uint32_t index, const void *data, size_t bytes)
{
    struct pl_message message = { .kind = PL_MESSAGE_CARGO, .slot = index, .bytes = bytes };
    int fd = pl_memfd_of("plait-result", data, bytes), e = fd;
    while (fd >= 0) {
        e = pl_socket_send(m->socket, &message, sizeof message, &fd, 1);
        if (e != -EAGAIN)
            break;
        e = pl_fd_wait_writable(m->socket, PL_FOREVER);
        if (e < 0)
            break;
    }
    pl_fd_close(fd);
    return e < 0 ? e : 0;
}

// Puts the result where there is room for it.
static int place_bytes(struct mate *m, uint32_t index, const void *data, size_t bytes)
{
    struct pl_slot *s = &m->channel->slots[index];
    s->out_bytes = (uint32_t)bytes;
    s->out_place = bytes <= PL_INLINE_BYTES  ? PL_PLACE_INLINE
                   : bytes <= PL_SPILL_BYTES ? PL_PLACE_SPILL
                                             : PL_PLACE_CARGO;
    if (bytes > UINT32_MAX / 4)
        return -EMSGSIZE;
    if (s->out_place == PL_PLACE_CARGO)
        return send_cargo(m, index, data, bytes);
    if (bytes > 0)
        memcpy(s->out_place == PL_PLACE_INLINE ? s->data : m->channel->spill[index], data, bytes);
    return 0;
}

static int run_bytes(struct mate *m, uint32_t index, const struct plait_task *task, const void *in)
{
    struct plait_span span = { in, m->channel->slots[index].in_bytes };
    struct plait_buffer out = { 0 };
    int code = task->run(&span, &out);
    if (code >= 0) {
        int e = place_bytes(m, index, out.data, out.bytes);
        code = e < 0 ? e : code;
    }
    pl_free_mem(out.data);
    return code;
}

static int run_fixed(struct mate *m, uint32_t index, const struct plait_task *task, const void *in)
{
    struct pl_slot *s = &m->channel->slots[index];
    size_t after = s->in_place == s->out_place ? align(s->in_bytes) : 0;
    if (s->out_place == PL_PLACE_INLINE)
        return task->run(in, s->data + after);
    if (s->out_place == PL_PLACE_SPILL)
        return task->run(in, m->channel->spill[index] + after);
    void *out = pl_zalloc(task->out_bytes);
    if (!out)
        return -ENOMEM;
    int code = task->run(in, out);
    if (code >= 0) {
        int e = send_cargo(m, index, out, task->out_bytes);
        code = e < 0 ? e : code;
    }
    pl_free_mem(out);
    return code;
}

static int run_task(struct mate *m, uint32_t index, const struct plait_task *task)
{
    struct pl_slot *s = &m->channel->slots[index];
    const void *in;
    int code = open_argument(m, index, &in);
    if (code < 0)
        return code;
    code = task->flags & PLAIT_TASK_IS_BYTES ? run_bytes(m, index, task, in)
                                             : run_fixed(m, index, task, in);
    if (s->in_place == PL_PLACE_CARGO)
        pl_memory_release((void *)in, s->in_bytes);
    return code;
}

// ---- running a task

static void begin(struct serving *v, struct pl_strand *strand, struct pl_slot *s, uint32_t index)
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

static void end(struct serving *v, struct pl_strand *strand, uint32_t index)
{
    strand->cancel = v->cancel.parent;
    strand->clean = 0;
    for (;;) {
        uint32_t mine = index;
        // Acquire: pairs with the release in cancel_slot(): its message, if any, is posted.
        if (atomic_compare_exchange_weak_explicit(&v->slot, &mine, NOBODY, memory_order_acquire,
                                                  memory_order_relaxed))
            break;
        pl_relax();
    }
    pl_notify_end(&v->notify);
}

static void serve(struct mate *m, struct serving *v, uint32_t index)
{
    struct pl_slot *s = &m->channel->slots[index];
    struct pl_strand *strand = pl_strand_current();
    struct pl_worker *w = strand->worker;
    const struct plait_task *task = s->task < m->task_count ? m->tasks[s->task] : NULL;
    int code = -ENOENT;
    if (PL_LIKELY(task != NULL)) {
        const char *outer = strand->task;
        begin(v, strand, s, index);
        strand->task = task->name;
        atomic_store_explicit(&w->running, task->name, memory_order_relaxed);
        code = pl_strand_cancelled(strand);
        if (code == 0)
            code = run_task(m, index, task);
        if (PL_UNLIKELY(strand->scope != NULL))
            PL_BUG("the task `%s` returned without ending its scope by plait_scope_end()",
                   task->name);
        atomic_store_explicit(&w->running, NULL, memory_order_relaxed);
        strand->task = outer;
        end(v, strand, index);
    }
    s->code = code;
    pl_slot_finish(s);
    m->ran++;
    announce(m, index);
}

// ---- dispatchers

// Becomes the taker, or waits until somebody hands the taking over. False: the end.
static bool become_taker(struct mate *m)
{
    if (m->taking) {
        struct idler i = { .next = m->idle };
        pl_wait_init(&i.wait, pl_strand_current());
        m->idle = &i;
        pl_wait_uninterrupted(&i.wait);
    }
    m->taking = true;
    return !atomic_load(&m->stopping);
}

static void hand_taking_over(struct mate *m)
{
    struct idler *i = m->idle;
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
    struct mate *m = *(struct mate *const *)in;
    struct serving *v = &m->servings[m->gone++ % m->dispatchers];
    int slot = -1;
    while (become_taker(m) && (slot = next(m)) >= 0) {
        hand_taking_over(m);
        serve(m, v, (uint32_t)slot);
    }
    hand_taking_over(m);
    (void)plait_shutdown(m->ex, PLAIT_DRAIN);
    return 0;
}

static const struct plait_task dispatch_task = { .size = sizeof(struct plait_task),
                                                 .name = "worker",
                                                 .run = dispatch,
                                                 .in_bytes = sizeof(struct mate *) };

// ---- the listener

static void cancel_slot(struct mate *m, uint32_t index)
{
    for (unsigned i = 0; index < PL_SLOTS && i < m->dispatchers; i++) {
        struct serving *v = &m->servings[i];
        uint32_t slot = index;
        if (!atomic_compare_exchange_strong(&v->slot, &slot, index | BUSY))
            continue;
        // Looked at again: the slot may hold the next task by now.
        enum plait_reason wish = (enum plait_reason)atomic_load(&m->channel->slots[index].cancel);
        if (wish != PLAIT_REASON_NONE && pl_cancel_mark(&v->cancel, wish))
            pl_notify_post(&v->notify);
        // Release: pairs with the acquire in end().
        atomic_store_explicit(&v->slot, index, memory_order_release);
    }
}

static void deliver(struct mate *m, uint32_t index, int fd)
{
    if (index >= PL_SLOTS || fd < 0)
        return;
    uintptr_t before = atomic_exchange(&m->cargo[index], (uintptr_t)fd << 1 | 1);
    if (before && !(before & 1))
        pl_wait_fire((struct pl_wait *)before, PL_WAIT_WOKEN);
}

static void answer_roll(struct mate *m)
{
    struct pl_message answer = { .kind = PL_MESSAGE_ROLL };
    for (unsigned i = 0; i < m->dispatchers; i++) {
        uint32_t slot = atomic_load_explicit(&m->servings[i].slot, memory_order_relaxed);
        if (slot != NOBODY && (slot & ~BUSY) < PL_SLOTS)
            answer.slots[(slot & ~BUSY) / 64] |= UINT64_C(1) << slot % 64;
    }
    (void)pl_socket_send(m->socket, &answer, sizeof answer, NULL, 0); // then there is no answer
}

static void *listen_to_host(void *arg)
{
    struct mate *m = arg;
    for (;;) {
        struct pl_message message;
        int fd = -1;
        unsigned fds = 1;
        ssize_t n = pl_socket_receive(m->socket, &message, sizeof message, &fd, &fds);
        if (n == -EAGAIN && pl_fd_wait_readable(m->socket, PL_FOREVER) == 0)
            continue;
        if (n != sizeof message) // the host is dead; the zygote will kill us, we do not wait for it
            pl_process_exit(0);
        if (message.kind == PL_MESSAGE_CANCEL)
            cancel_slot(m, message.slot);
        else if (message.kind == PL_MESSAGE_CARGO)
            deliver(m, message.slot, fds ? fd : -1);
        else if (message.kind == PL_MESSAGE_ROLL)
            answer_roll(m);
        else if (message.kind == PL_MESSAGE_STOP)
            break;
    }
    atomic_store(&m->stopping, true);
    pl_bell_ring(m->doorbell);
    return NULL;
}

// ---- start and end

static struct mate *make(const struct pl_worker_start *start)
{
    void *at;
    if (pl_memfd_map(start->channel, sizeof(struct pl_channel), &at) < 0 ||
        pl_memory_not_inherited(at, sizeof(struct pl_channel)) < 0)
        return NULL;
    pl_fd_close(start->channel);
    struct pl_channel *c = at;
    unsigned n = c->tasks_per_worker;
    struct mate *m = pl_zalloc(sizeof *m + n * sizeof m->servings[0]);
    if (!m)
        return NULL;
    m->channel = c;
    m->tasks = start->tasks;
    m->task_count = start->task_count;
    m->socket = start->socket;
    m->doorbell = start->doorbell;
    m->bells[PL_LISTENER_SUPERVISOR] = start->bell;
    m->bells[PL_LISTENER_LEADER] = start->leader_bell;
    m->work_at = m->done_at = PL_RING_START;
    m->doze_ns = DOZE_MOST_NS;
    m->dispatchers = n;
    for (unsigned i = 0; i < n; i++)
        atomic_init(&m->servings[i].slot, NOBODY);
    return m;
}

static int start_dispatchers(struct mate *m)
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

void pl_worker_main(const struct pl_worker_start *start)
{
    struct mate *m = make(start);
    int e = m ? start_dispatchers(m) : -ENOMEM;
    if (e < 0) {
        fprintf(stderr, "plait: a worker process cannot start: %s\n", plait_strerror(e));
        pl_process_exit(1);
    }
    // Drives the fibers until the dispatchers have gone and with them all that tasks left running.
    pl_worker_run(&pl_sched_of(m->ex)->workers[0]);
    plait_close(m->ex);
    fflush(NULL);
    pl_process_exit(0);
}
