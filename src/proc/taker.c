// SPDX-License-Identifier: MIT
/*
 * taker.c - how a worker gets its tasks and gives them back: dozing, sleeping, ringing.
 *
 * DESIGN
 *   A taker that finds nothing dozes: it looks at the ring for some microseconds, while other
 *   fibers have their turns, and then sleeps in the event loop until the doorbell rings. How long
 *   it dozes follows from whether dozing helped of late. A taker that was woken on the CPU of who
 *   woke it has pushed him off, and he will have nothing more for it before it leaves: when dozing
 *   has not helped, it does not begin.
 *
 *   When the host's supervisor must be woken for what was finished, that is put off for a moment:
 *   most often the thread that submitted is just about to wait, and will look for itself. It is
 *   never put off beyond the start of the next task, nor beyond the turn of another.
 */
#include "proc/mate.h"

#include <poll.h>
#include <stdio.h>

#include "base/relax.h"
#include "core/sched.h"
#include "os/clock.h"
#include "os/cpu.h"
#include "os/futex.h"
#include "os/ipc.h"
#include "os/thread.h"
#include <plait/fiber.h>

// The longest doze: about what it costs to wake this worker and who waits for it, at worst; and
// what is not worth beginning.
#define DOZE_MOST_NS  100000
#define DOZE_LEAST_NS 4000

// Pauses between two looks while many tasks come: let a few gather, each look at the ring takes its
// cache line from the host.
#define GATHER 32
// Between two looks at the clock while dozing.
#define LOOKS_A_CLOCK 32
// For how long waking the supervisor is put off.
#define PUT_OFF_NS 2000

// ---- telling the host

static void wake_host(struct pl_mate *m)
{
    enum pl_listener l = pl_channel_take_listener(m->channel);
    m->owed = false;
    m->host_slept = l == PL_LISTENER_LEADER || l == PL_LISTENER_LEADER_ALONE;
    if (l == PL_LISTENER_LEADER_ALONE)
        pl_futex_wake_shared(&m->channel->listener, 1);
    else if (l == PL_LISTENER_LEADER)
        pl_gong_strike(m->gong);
    else if (l == PL_LISTENER_SUPERVISOR && !pl_bell_ring(m->bell))
        atomic_store(&m->stopping, true); // a task has closed our descriptors: others go on
}

void pl_mate_settle(struct pl_mate *m)
{
    if (!m->owed)
        return;
    if (atomic_load_explicit(&m->channel->taken, memory_order_relaxed) == m->done_at)
        m->owed = false;
    else
        wake_host(m);
}

void pl_mate_announce(struct pl_mate *m, uint32_t slot)
{
    pl_ring_push(&m->channel->done, &m->done_at, slot);
    enum pl_listener l = pl_channel_listener(m->channel);
    m->owed = l != PL_LISTENER_AWAKE;
    if (l >= PL_LISTENER_LEADER || (m->owed && m->taker_sleeps))
        wake_host(m);
}

// What a task took of late, for the host to decide how many to hand out in advance.
static void measure(struct pl_mate *m)
{
    m->now = pl_now();
    if (m->ran == 0)
        return;
    int64_t ns = (m->now - m->busy_since) / m->ran;
    if (m->run_ns > 0 && ns < 1000000)
        ns = (3 * m->run_ns + ns) / 4;
    m->run_ns = ns > UINT32_MAX ? UINT32_MAX : ns;
    pl_mate_read_cpu(m, m->now);
    atomic_store_explicit(&m->channel->run_ns, (uint32_t)m->run_ns, memory_order_relaxed);
    m->busy_since = m->now;
    m->ran = 0;
}

// ---- taking a task

static int take(struct pl_mate *m)
{
    for (;;) {
        if (PL_UNLIKELY(atomic_load_explicit(&m->stopping, memory_order_relaxed)))
            return -1; // what is in the ring is somebody else's
        int slot = pl_ring_pop(&m->channel->work, &m->work_at);
        pl_channel_expect(m->channel, &m->channel->work, m->work_at + 1);
        if (slot < 0)
            return slot;
        m->stood_at[slot] = m->work_at - 1;
        if (pl_slot_take(&m->channel->slots[slot], PL_SLOT_STARTED))
            return slot;
        // Taken back: the host gets its slot. What was sent for it must not be found by the next.
        if (m->channel->slots[slot].in_place & PL_PLACE_AWAITS) {
            struct pl_delivery d;
            pl_mate_await_cargo(m, (uint32_t)slot, &d);
            pl_delivery_close(&d);
        }
        pl_mate_announce(m, (uint32_t)slot);
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

void pl_mate_rouse(struct pl_mate *m)
{
    atomic_store(&m->channel->asleep, PL_ASLEEP_NOT);
    pl_futex_wake_shared(&m->channel->asleep, 1);
    pl_doorbell_jam(m->doorbell);
}

// Beside fibers that wait for I/O, in their event loop.
static void sleep_in_loop(struct pl_mate *m, struct pl_strand *s)
{
    if (!pl_channel_worker_sleeps(m->channel, m->work_at, PL_ASLEEP_IN_LOOP))
        return;
    struct doorbell d = { .op = { .code = PL_OP_POLL, .fd = m->doorbell, .flags = POLLIN } };
    d.op.done = rung;
    pl_wait_init(&d.wait, s);
    pl_wait_for(&d.wait, PL_FOR_TASKS, NULL);
    pl_loop_start(&s->worker->loop, &d.op);
    // A worker that is never idle, because a task yields for ever, would submit it too late.
    if (s->worker->ready || pl_deque_size_hint(&s->worker->deque) > 0)
        pl_loop_poll(&s->worker->loop, 0);
    m->taker_sleeps = true;
    pl_wait_uninterrupted(&d.wait);
    m->taker_sleeps = false;
    pl_doorbell_clear(m->doorbell);
    if (d.op.result < 0)
        atomic_store(&m->stopping, true); // a task has closed our descriptors
}

// Where nothing is in flight: one system call to sleep, and one of the host's to wake us.
static void sleep_on_word(struct pl_mate *m, struct pl_worker *w)
{
    _Atomic uint32_t *asleep = &m->channel->asleep;
    // Stopping is looked at after the promise; pl_mate_rouse() changes the word after stopping.
    if (pl_channel_worker_sleeps(m->channel, m->work_at, PL_ASLEEP_ON_WORD) &&
        !atomic_load(&m->stopping))
        pl_worker_sleep_on(w, asleep, PL_ASLEEP_ON_WORD);
}

static void sleep_until_rung(struct pl_mate *m)
{
    struct pl_strand *s = pl_strand_current();
    // What others have finished when they had their turn.
    pl_mate_settle(m);
    // What the tasks printed is seen now rather than at the end.
    fflush(stdout);
    if (pl_worker_is_free(s->worker))
        sleep_on_word(m, s->worker);
    else
        sleep_in_loop(m, s);
    atomic_store_explicit(&m->channel->asleep, PL_ASLEEP_NOT, memory_order_relaxed);
    int rung_on = atomic_load_explicit(&m->channel->rung_on, memory_order_relaxed);
    m->host_ousted = rung_on == pl_cpu_current();
    int64_t asleep_at = m->now;
    m->now = pl_now();
    m->cpu_at += m->now - asleep_at; // while we slept the CPU clock stood still
}

// Looks at the ring for a while: a slot, or -1. `pause`: between two looks.
static int doze(struct pl_mate *m, unsigned pause)
{
    int64_t started = m->now;
    for (;;) {
        for (unsigned look = 0; look < LOOKS_A_CLOCK; look++) {
            for (unsigned i = 0; i < pause; i++)
                pl_relax();
            int slot = take(m);
            if (slot >= 0)
                return slot;
        }
        m->now = pl_now();
        bool over = !m->channel->doze || m->now - started >= m->doze_ns;
        bool alone = m->dispatchers == 1; // else whoever has his turn below may compute for long
        if (over || !alone || m->now - started > PUT_OFF_NS)
            pl_mate_settle(m);
        (void)plait_yield(); // never cancelled: nobody has this task's future
        if (over)
            return -1;
    }
}

// The next task's slot, or -1: no more will come.
int pl_mate_next(struct pl_mate *m)
{
    int slot = take(m);
    if (slot >= 0) {
        if (m->ran > 15 || m->run_ns > 10000) // a look at the clock costs as much as a small task
            measure(m);
    } else {
        unsigned pause = m->ran > 1 ? GATHER : 1;
        measure(m);
        // Who must be woken first, or go on where we run, will not have anything for us before a
        // short doze is over.
        bool at_once = (m->host_slept || m->host_ousted) && m->doze_ns < DOZE_LEAST_NS;
        if (at_once && m->owed) { // it is put off here as the doze would have
            if (m->host_ousted)
                pl_thread_yield(); // the host goes on, and most often looks for itself
            pl_mate_settle(m);
        }
        m->host_slept = m->host_ousted = false;
        int64_t idle_since = m->now;
        while ((slot = at_once ? -1 : doze(m, pause)) < 0 && !atomic_load(&m->stopping)) {
            // Only the taker adds to it.
            atomic_store_explicit(&m->searches, m->searches + 1, memory_order_relaxed);
            at_once = false;
            sleep_until_rung(m);
            // Had it dozed for longer, it would have been awake in time; or for nothing.
            m->doze_ns = m->now - idle_since < DOZE_MOST_NS ? DOZE_MOST_NS : m->doze_ns / 2;
        }
        m->busy_since = m->now;
    }
    pl_mate_settle(m);
    return slot;
}
