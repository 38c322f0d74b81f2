// SPDX-License-Identifier: MIT
/*
 * audit.c - finding tasks that a worker has lost, so that no future hangs.
 *
 * DESIGN
 *   A task may write anywhere in its worker, also over the memory that the worker shares with the
 *   host. Most of that is noticed at once (reap.c). What is not: a promise to be woken that was
 *   overwritten, a ring entry that vanished, a state that says "running" of a task that nobody
 *   runs. The worker lives then, and waits.
 *
 *   So, a few times a second while tasks are in flight, the supervisor looks at each worker that
 *   has made no progress since it last looked: it rings and reaps as if it had been told to, and
 *   calls the roll. The worker's listener answers with the slots that its dispatchers are at, from
 *   memory that is not shared, and with how often its taker has searched the ring and found
 *   nothing. A worker that has room to run more than it does, and has searched from beginning to
 *   end since it was rung, has lost what it was given, and is killed; its death then settles
 *   everything (hands.c). Time alone proves little: on a busy machine a healthy worker may not have
 *   run since. But a dispatcher that waits for an argument which was lost does not search, so after
 *   many looks without any progress the roll alone counts.
 *
 *   A worker that does not answer because the machine is very busy is left alone. One that a
 *   signal has stopped, as the kernel says, is waited for as long as the options allow
 *   (`stopped_ns`), and then killed: what it ran is lost, what it had not started runs elsewhere.
 *   Looks are counted, not time: when the program itself was stopped beside it, both get their time
 *   anew. A stopped zygote for which something waits, a birth or a death, is killed after the same
 *   time, and its workers with it.
 *
 *   While nothing is submitted the audit is off, and the supervisor sleeps for as long as it likes.
 */
#include "proc/pool.h"

#include <errno.h>
#include <signal.h>

#include "os/clock.h"
#include "os/futex.h"
#include "os/ipc.h"
#include "os/process.h"

#define AUDIT_NS (250 * PL_MILLISECOND)

// Searches of which one has begun after the first answer, and looks after which none is needed.
#define SEARCHES 2
#define LOOKS    20

void pl_audit_wake(struct pl_pool *p)
{
    p->audit_at = pl_clock_after(AUDIT_NS);
    pl_pool_rouse(p, p->audit_at);
}

static unsigned count_slots(const uint64_t *slots)
{
    unsigned count = 0;
    for (unsigned i = 0; i < PL_SLOTS / 64; i++)
        count += (unsigned)__builtin_popcountll(slots[i]);
    return count;
}

static bool on_the_roll(const struct pl_hand *h, unsigned slot)
{
    return h->roll[slot / 64] >> slot % 64 & 1;
}

// Whether its taker has had the time to find what there is.
static bool has_searched(const struct pl_hand *h)
{
    return h->roll_calls >= LOOKS || h->roll_searches - h->roll_searches_before >= SEARCHES;
}

// Whether a task in flight is neither being run nor legitimately waiting behind one that is.
static bool has_lost_one(struct pl_hand *h)
{
    bool full = count_slots(h->roll) >= h->pool->ex.options.tasks_per_worker;
    for (unsigned slot = 0; slot < PL_SLOTS; slot++) {
        if (h->flights[slot].state != PL_FLIGHT_SENT || on_the_roll(h, slot))
            continue;
        if (!full || pl_slot_state(&h->channel->slots[slot]) != PL_SLOT_QUEUED)
            return true;
    }
    return false;
}

// Looks at a process that owes an answer. True: it has been stopped for too long.
static bool is_stopped_too_long(const struct pl_pool *p, int pid, unsigned *looks)
{
    *looks = pl_process_is_stopped(pid) ? *looks + 1 : 0;
    return *looks > 0 && (*looks - 1) * AUDIT_NS >= p->worker.stopped_ns;
}

static bool needs_zygote(const struct pl_pool *p)
{
    bool needs = p->phase == PL_POOL_STOPS_WORKERS;
    for (unsigned i = 0; i < p->hand_count && !needs; i++)
        needs = p->hands[i].state == PL_HAND_FORKING || p->hands[i].state == PL_HAND_DYING;
    return needs && p->zygote.pid > 0;
}

static void audit_zygote(struct pl_pool *p)
{
    struct pl_zygote *z = &p->zygote;
    if (is_stopped_too_long(p, z->pid, &z->stopped_looks) && z->pidfd >= 0)
        (void)pl_pidfd_kill(z->pidfd, SIGKILL); // the close of its socket tells the rest
}

static void audit_hand(struct pl_hand *h)
{
    bool still = h->audit_served == h->served && h->audit_work_at == h->work_at;
    h->audit_served = h->served;
    h->audit_work_at = h->work_at;
    if (!still || h->inflight == 0) {
        h->roll_called = h->roll_answered = false;
        h->roll_calls = h->roll_answers = 0;
        h->stopped_looks = 0;
        return;
    }
    if (h->roll_called && !h->roll_answered &&
        is_stopped_too_long(h->pool, h->pid, &h->stopped_looks)) {
        pl_hand_kill(h, "it was stopped by a signal, and nobody let it go on");
        return;
    }
    if (h->roll_answered && has_searched(h) && has_lost_one(h)) {
        pl_hand_kill(
            h, "it lost a task that it was given: it has overwritten the memory that it shares "
               "with the program");
        return;
    }
    h->roll_answered = false;
    h->roll_called = true;
    h->roll_calls++;
    struct pl_message m = { .kind = PL_MESSAGE_ROLL };
    if (pl_socket_send(h->socket, &m, sizeof m, NULL, 0) == 0) // no answer, no verdict
        h->rolls_due++;
    if (h->channel == h->pool->leader_on)
        pl_pool_wake_leader(h->pool); // it sets the word anew
    else
        pl_channel_listen(h->channel, h->pool->listener);
    (void)pl_channel_take_asleep(h->channel);
    pl_futex_wake_shared(&h->channel->asleep, 1);
    if (pl_doorbell_ring(h->doorbell) == -EPIPE) {
        pl_hand_receive(h, PL_ALL_MESSAGES); // one that retires shuts its door, and says so first
        if (!h->retiring)
            pl_hand_closed(h);
    }
}

bool pl_audit_answer(struct pl_hand *h, const struct pl_message *m)
{
    if (h->rolls_due == 0)
        return false;
    h->rolls_due--;
    for (unsigned i = 0; i < PL_SLOTS / 64; i++)
        h->roll[i] = m->slots[i];
    if (!h->roll_answers++)
        h->roll_searches_before = m->count;
    h->roll_searches = m->count;
    h->roll_answered = h->roll_called;
    return true;
}

void pl_audit_run(struct pl_pool *p, int64_t now, struct pl_after *after)
{
    if (now < p->audit_at)
        return;
    pl_pool_reap(p, after);
    for (struct pl_hand *h = p->busy, *next; h; h = next) {
        next = h->busy_next;
        if (h->state == PL_HAND_LIVE)
            audit_hand(h);
    }
    bool waits = needs_zygote(p);
    if (waits)
        audit_zygote(p);
    bool quiet = p->inflight == 0 && p->audit_submits == p->submits && !waits;
    p->audit_submits = p->submits;
    p->audit_at = quiet ? PL_FOREVER : now + AUDIT_NS;
}
