// SPDX-License-Identifier: MIT
/*
 * hands.c - births and deaths of workers.
 *
 * DESIGN
 *   When a worker is dead its shared memory tells what became of each of its tasks (ring.h): what
 *   it had finished counts, what it had not started waits again at the head of the queue, in order,
 *   and what it was running fails with the record of the death, or is tried again where its submit
 *   allows that (retry.c): exactly that, and nothing else.
 *
 *   The memory is looked at only once the process is certainly dead (the zygote has reaped it, or
 *   its pidfd says so): nobody writes any more. A child that a task forked does not have the
 *   mapping.
 *
 *   A hand whose workers die at start, again and again, without having run anything, is given up;
 *   when the last is given up the pool is broken, and everything pending fails with the cause.
 *   Where there is no descriptor, no memory or no process to be had for a worker its hand is never
 *   given up, since that passes. But nothing waits for it without end: when no worker is left and
 *   each hand has found it so again and again, what waits fails with the cause.
 */
#include "proc/pool.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/bug.h"
#include "os/alloc.h"
#include "os/clock.h"
#include "os/memory.h"
#include "os/process.h"
#include "shared/arena.h"

// After a failed start; doubles.
#define PAUSE_NS (10 * PL_MILLISECOND)
// A worker that has closed its socket and is still there after that long will not end by itself.
#define CLOSED_NS (50 * PL_MILLISECOND)
// What a worker may have to say without having been given or having finished anything: of each task
// its result, and that it has taken each of its descriptors; that it cannot start; that it retires;
// and the answers to as many calls to the roll as there were.
#define HEARD_MOST (PL_SLOTS * (1u + PLAIT_TASK_FDS_MAX) + 2u)

int pl_hands_init(struct pl_pool *p)
{
    p->hands = pl_zalloc_array(p->hand_count, sizeof *p->hands);
    if (!p->hands)
        return -ENOMEM;
    for (unsigned i = 0; i < p->hand_count; i++) {
        struct pl_hand *h = &p->hands[i];
        h->pool = p;
        h->index = i;
        h->socket = h->doorbell = h->bell = h->pidfd = -1;
        h->spare = i >= p->workers;
        h->parked = !h->spare && i >= p->worker.workers_min;
        h->start_at = h->parked || h->spare ? PL_FOREVER : 0;
        p->parked += h->parked;
        for (unsigned slot = 0; slot < PL_SLOTS; slot++) {
            h->flights[slot].hand = h;
            h->flights[slot].slot = (uint8_t)slot;
            h->flights[slot].cargo = PL_CARGO_NONE;
        }
    }
    return 0;
}

// Its socket has nothing more to say.
static void unwatch(struct pl_hand *h)
{
    if (h->watched)
        pl_poller_remove(&h->pool->poller, h->socket);
    h->watched = false;
}

// Gives back all that belongs to one process.
static void clean(struct pl_hand *h)
{
    pl_ear_close(h); // before the channel goes
    if (h->channel) {
        void *at = h->channel;
        h->channel = NULL;
        h->free_count = PL_SLOTS;
        pl_hand_refresh(h->pool, h);
        pl_pool_release_channel(h->pool, at);
    }
    if (h->pool->warm == h)
        h->pool->warm = NULL;
    unwatch(h);
    pl_fd_close(h->socket);
    pl_fd_close(h->doorbell);
    pl_fd_close(h->bell);
    pl_fd_close(h->pidfd);
    h->socket = h->doorbell = h->bell = h->pidfd = -1;
    h->pid = 0;
    pl_owner_died(h->owner);
    h->owner = 0;
}

void pl_hands_done(struct pl_pool *p)
{
    for (unsigned i = 0; p->hands && i < p->hand_count; i++)
        clean(&p->hands[i]);
    pl_free_mem(p->hands);
    p->hands = NULL;
}

// ---- birth

static void describe(const struct pl_pool *p, struct pl_channel *c)
{
    const struct plait_options *o = &p->ex.options;
    c->tasks_per_worker = o->tasks_per_worker;
    c->io = o->io; // epoll where it is confined
    c->doze = p->doze;
    c->stack_bytes = o->stack_bytes;
    // A worker with one task may compute as long as it likes: nobody else waits for its loop.
    c->stall_ns = o->tasks_per_worker > 1 ? o->stall_ns : PL_FOREVER;
    snprintf(c->name, sizeof c->name, "%s", p->ex.name);
}

static void reset_books(struct pl_hand *h)
{
    h->cause = NULL;
    h->clogged = h->stop_sent = h->retiring = h->surplus = false;
    h->unfit[0] = 0;
    h->idle_looks = 0;
    h->idle_served = 0;
    h->kill_at = PL_FOREVER;
    h->work_at = h->done_at = PL_RING_START;
    h->served = h->audit_served = 0;
    h->stopped_looks = 0;
    h->heard = h->rolls_due = 0;
    h->roll_called = h->roll_answered = false;
    h->roll_calls = h->roll_answers = 0;
    h->free_count = 0;
    for (unsigned slot = 0; slot < PL_SLOTS; slot++)
        pl_flight_free(h, &h->flights[PL_SLOTS - 1 - slot]);
}

static void try_later(struct pl_hand *h, unsigned failures)
{
    h->state = PL_HAND_EMPTY;
    h->start_at = pl_clock_after(PAUSE_NS << (failures < 6 ? failures - 1 : 5));
}

// Its worker died at start: another one later, or none any more.
static void failed_start(struct pl_hand *h)
{
    try_later(h, ++h->failed_starts);
    if (h->failed_starts >= h->pool->worker.starts_max)
        h->start_at = PL_FOREVER;
}

// There was none: something is short.
static void found_short(struct pl_hand *h, const char *what, int e)
{
    try_later(h, ++h->shortages);
    snprintf(h->pool->broken_why, sizeof h->pool->broken_why, "%s: %s", what, plait_strerror(e));
}

// Everything that waits fails with the cause.
static void fail_waiting(struct pl_pool *p, struct pl_after *after)
{
    struct pl_job **from = after->end;
    pl_pool_drop_queue(p, -EOWNERDEAD, PLAIT_REASON_DIED, after);
    for (struct pl_job *job = *from; job; job = job->next) {
        struct pl_future_extra *x =
            pl_future_extra(PL_CONTAINER(job, struct plait_future, notify.job));
        if (x) // else the code alone tells
            snprintf(x->message, sizeof x->message, "%s", p->broken_why);
    }
}

void pl_pool_check_hope(struct pl_pool *p, struct pl_after *after)
{
    bool short_of = false;
    for (unsigned i = 0; i < p->hand_count; i++) {
        const struct pl_hand *h = &p->hands[i];
        bool given_up = h->start_at == PL_FOREVER; // what is parked is no hope: it would be started
                                                   // by what goes well
        if (h->state != PL_HAND_EMPTY || (!given_up && h->shortages < p->worker.starts_max))
            return;
        short_of |= !given_up;
    }
    if (p->phase != PL_POOL_RUNS)
        return;
    if (short_of)
        fail_waiting(p, after);
    else
        pl_pool_break(p, NULL, after);
}

static int make_channel(struct pl_hand *h, int *ret)
{
    void *at;
    int e = *ret = pl_memfd_new("plait-worker", sizeof(struct pl_channel));
    if (e >= 0)
        e = pl_memfd_map(*ret, sizeof(struct pl_channel), &at);
    if (e == 0)
        h->channel = at;
    return e;
}

// What the two share: a descriptor, or its other end, is in fds for the worker, or -1.
static int equip(struct pl_hand *h, int fds[PL_FORK_FDS_CAPTURING])
{
    int pair[2];
    int e = pl_socket_pair(pair);
    if (e < 0)
        return e;
    h->socket = pair[0];
    fds[PL_FORK_SOCKET] = pair[1];
    e = pl_doorbell_new(pair);
    if (e < 0)
        return e;
    h->doorbell = pair[PL_DOORBELL_BUTTON];
    fds[PL_FORK_DOORBELL] = pair[PL_DOORBELL_BELL];
    e = h->bell = pl_bell_new();
    if (e >= 0)
        e = make_channel(h, &fds[PL_FORK_CHANNEL]);
    if (e == 0 && h->pool->ears)
        e = pl_ear_open(h, &fds[PL_FORK_STDERR]);
    if (e == 0)
        e = pl_poller_add(&h->pool->poller, h->bell, h->index | PL_TAG_RUNG);
    if (e == 0)
        e = pl_poller_watch(&h->pool->poller, h->socket, false, h->index);
    h->watched = e == 0;
    return e;
}

int pl_hand_fork(struct pl_pool *p, struct pl_hand *h)
{
    int fds[PL_FORK_FDS_CAPTURING];
    memset(fds, -1, sizeof fds);
    int e = equip(h, fds);
    if (e == 0) {
        describe(p, h->channel);
        reset_books(h);
        h->state = PL_HAND_FORKING;
        h->generation++;
        struct pl_message m = { .kind = PL_MESSAGE_FORK,
                                .hand = h->index,
                                .generation = h->generation,
                                .slot = h->owner = pl_owner_new() };
        fds[PL_FORK_BELL] = h->bell;
        fds[PL_FORK_GONG] = p->gong_fd;
        e = pl_zygote_send(p, &m, fds, p->ears ? PL_FORK_FDS_CAPTURING : PL_FORK_FDS);
    }
    pl_fd_close(fds[PL_FORK_SOCKET]);
    pl_fd_close(fds[PL_FORK_CHANNEL]);
    pl_fd_close(fds[PL_FORK_DOORBELL]);
    pl_fd_close(fds[PL_FORK_STDERR]);
    if (e < 0) {
        clean(h);
        found_short(h, "a worker process cannot be started", e);
    }
    return e;
}

void pl_hand_forked(struct pl_pool *p, const struct pl_message *m, int pidfd)
{
    struct pl_hand *h = m->hand < p->hand_count ? &p->hands[m->hand] : NULL;
    if (!h || h->generation != m->generation || h->state != PL_HAND_FORKING) {
        pl_fd_close(pidfd);
        return;
    }
    if (m->code < 0) {
        clean(h);
        found_short(h, "a worker process cannot be forked", m->code);
        return;
    }
    h->shortages = pidfd < 0 ? h->shortages : 0;
    h->pid = m->pid;
    h->pidfd = pidfd;
    h->state = PL_HAND_LIVE;
    pl_hand_refresh(p, h);
    if (pidfd < 0)
        pl_hand_kill(h, "the program had no descriptor left to watch it by");
}

// ---- what comes over its socket

// Where it names a file a missing one is no more than that.
static const char *words_of(const struct pl_message *m)
{
    bool names = m->code == -ENOENT && m->slot != PL_STEP_INITIALIZER;
    return names ? "there is no such file" : plait_strerror(m->code);
}

static void unfit(struct pl_hand *h, const struct pl_message *m)
{
    const char *step = pl_step_text((enum pl_step)m->slot);
    if (m->code > 0) // an initializer's own
        snprintf(h->unfit, sizeof h->unfit, "%s: it returned %d", step, m->code);
    else
        snprintf(h->unfit, sizeof h->unfit, "%s: %s", step, words_of(m));
}

void pl_hand_closed(struct pl_hand *h)
{
    if (h->state == PL_HAND_LIVE && h->pool->phase == PL_POOL_RUNS)
        pl_hand_condemn(h, "it closed its connection to the program", CLOSED_NS);
}

// Takes over what came with it. False: it makes no sense.
static bool obey(struct pl_hand *h, const struct pl_message *m, const int *fds, unsigned count)
{
    if (m->kind == PL_MESSAGE_CARGO)
        return pl_hand_receive_cargo(h, m, fds, count);
    pl_fds_close(fds, count);
    if (count > 0)
        return false;
    switch (m->kind) {
    case PL_MESSAGE_ROLL:
        return pl_audit_answer(h, m);
    case PL_MESSAGE_UNFIT:
        unfit(h, m);
        return true;
    case PL_MESSAGE_RETIRE:
        pl_hand_retire(h, false);
        return true;
    case PL_MESSAGE_TAKEN:
        pl_hand_taken(h, m);
        return true;
    default:
        return false;
    }
}

static bool has_said_too_much(struct pl_hand *h)
{
    uint64_t progress = h->served + h->work_at;
    if (progress != h->heard_progress) {
        h->heard_progress = progress;
        h->heard = 0;
    }
    return ++h->heard > HEARD_MOST;
}

// False: there is no further one.
static bool receive_one(struct pl_hand *h)
{
    struct pl_message m;
    int fds[PL_SOCKET_FDS];
    unsigned count = PL_SOCKET_FDS;
    ssize_t n = pl_socket_receive(h->socket, &m, sizeof m, fds, &count);
    if (n == -EAGAIN)
        return false;
    bool sane = false;
    if (n == sizeof m)
        sane = obey(h, &m, fds, count);
    else
        pl_fds_close(fds, count);
    if (n <= 0) // a message of no bytes looks like the end, too
        pl_hand_closed(h);
    else if (!sane)
        pl_hand_kill(h, "it sent the program something that makes no sense");
    else if (m.kind != PL_MESSAGE_ROLL && has_said_too_much(h))
        pl_hand_kill(h, "it sent the program more messages than make sense");
    else
        return true;
    unwatch(h);
    return false;
}

void pl_hand_receive(struct pl_hand *h, unsigned most)
{
    for (unsigned i = 0; i < most && h->socket >= 0 && receive_one(h); i++)
        ;
}

// ---- death

void pl_hand_signal(struct pl_hand *h, int signal)
{
    struct pl_message m = {
        .kind = PL_MESSAGE_SIGNAL, .hand = h->index, .generation = h->generation, .code = signal
    };
    int e = pl_zygote_send(h->pool, &m, NULL, 0);
    if (e < 0 && h->pidfd >= 0)
        (void)pl_pidfd_kill(h->pidfd, signal); // at least the worker itself
}

void pl_hand_kill_due(struct pl_hand *h, int64_t now)
{
    if (h->state != PL_HAND_DYING || h->kill_at > now)
        return;
    h->kill_at = PL_FOREVER;
    h->cause = h->condemned;
    pl_hand_signal(h, SIGKILL);
}

void pl_hand_condemn(struct pl_hand *h, const char *cause, int64_t ns)
{
    h->state = PL_HAND_DYING;
    h->condemned = cause;
    h->kill_at = pl_clock_after(ns);
    pl_hand_refresh(h->pool, h);
    pl_pool_rouse(h->pool, h->kill_at);
}

void pl_hand_kill(struct pl_hand *h, const char *cause)
{
    if (h->state != PL_HAND_LIVE && (h->state != PL_HAND_DYING || h->kill_at == PL_FOREVER))
        return;
    h->state = PL_HAND_DYING;
    h->kill_at = PL_FOREVER;
    h->cause = cause;
    pl_hand_signal(h, SIGKILL);
    pl_hand_refresh(h->pool, h);
}

// The system call that its filter ended it for, as the worker says; false: it does not say.
static bool refused_call(const struct pl_hand *h, char *to, size_t room)
{
    uint32_t number = h->channel ? atomic_load(&h->channel->refused_call) : 0;
    if (number == 0)
        return false;
    const char *(*name_of)(int) = h->pool->call_name;
    const char *name = name_of && number <= INT32_MAX ? name_of((int)number - 1) : NULL;
    if (name)
        snprintf(to, room, "`%s`", name);
    else
        snprintf(to, room, "%u", number - 1);
    return true;
}

static void say_how(char *to, size_t room, const struct pl_hand *h, const struct pl_message *m)
{
    const char *name = m->signal ? sigabbrev_np(m->signal) : NULL;
    char call[48];
    if (h->cause && m->signal == SIGKILL)
        snprintf(to, room, "was killed because %s", h->cause);
    else if (m->signal == SIGSYS && refused_call(h, call, sizeof call))
        snprintf(to, room,
                 "was killed by SIGSYS: its confinement does not allow the system call %s", call);
    else if (m->signal && name)
        snprintf(to, room, "was killed by SIG%s%s", name, m->core ? " (core dumped)" : "");
    else if (m->signal)
        snprintf(to, room, "was killed by signal %d", m->signal);
    else if (m->status >= 0)
        snprintf(to, room, "exited with status %d", m->status);
    else
        snprintf(to, room, "ended");
}

static void record(struct pl_hand *h, plait_future *f, const struct pl_flight *fl,
                   const struct pl_message *m)
{
    struct pl_future_extra *x = pl_future_extra(f);
    char how[160];
    if (!x) // the code tells that it died; how is lost
        return;
    x->error.pid = h->pid;
    x->error.signal = m->signal;
    x->error.core_dumped = m->core != 0;
    x->error.exit_status = m->signal ? -1 : m->status;
    x->error.cpu_ns = m->cpu_ns;
    x->error.max_rss = m->max_rss;
    pl_ear_keep(h, fl->slot, NULL, f);
    say_how(how, sizeof how, h, m);
    if (fl->reason == PLAIT_REASON_DEADLINE)
        snprintf(x->message, sizeof x->message,
                 "the task `%s` did not end before its deadline, so its worker process %d %s",
                 f->task->name, h->pid, how);
    else if (fl->reason != PLAIT_REASON_NONE)
        snprintf(x->message, sizeof x->message,
                 "the task `%s` did not end when it was cancelled, so its worker process %d %s",
                 f->task->name, h->pid, how);
    else
        snprintf(x->message, sizeof x->message, "the worker process %d %s while it ran `%s`",
                 h->pid, how, f->task->name);
}

static void lose(struct pl_hand *h, struct pl_flight *fl, const struct pl_message *m,
                 struct pl_after *after)
{
    struct pl_pool *p = h->pool;
    enum plait_reason reason = (enum plait_reason)fl->reason;
    int code = reason ? pl_reason_code(reason) : -EOWNERDEAD;
    struct pl_future_extra *x = pl_future_extra(fl->future);
    if (x)
        x->lost++;
    if (!reason && pl_pool_retry(p, fl))
        return;
    record(h, fl->future, fl, m);
    plait_future *f = pl_flight_clear(p, fl);
    pl_pool_end(p, f, code, reason ? reason : PLAIT_REASON_DIED, after);
}

// What became of one task. True: it had started.
static bool settle(struct pl_hand *h, struct pl_flight *fl, const struct pl_message *m,
                   struct pl_after *after)
{
    if (!fl->future)
        return false;
    uint32_t state = pl_slot_state(&h->channel->slots[fl->slot]);
    bool queued = state == PL_SLOT_QUEUED && fl->ladder == PL_LADDER_NONE && !fl->taken;
    if (fl->state == PL_FLIGHT_LOADING || queued)
        pl_pool_requeue(h->pool, fl);
    else if (state != PL_SLOT_DONE || !pl_hand_land(h, fl, after))
        lose(h, fl, m, after);
    else
        return false;
    return state == PL_SLOT_STARTED;
}

// What became of each. True: it had started one.
static bool settle_all(struct pl_hand *h, const struct pl_message *m, struct pl_after *after)
{
    bool started = false;
    // From the latest to the oldest, each to the head of the queue: the order stays.
    for (uint32_t i = 1; i <= PL_SLOTS; i++)
        started |= settle(h, &h->flights[h->sent[(h->work_at - i) % PL_SLOTS]], m, after);
    // What was being loaded, or was started so long ago that the ring has gone round since.
    for (unsigned slot = 0; slot < PL_SLOTS; slot++)
        started |= settle(h, &h->flights[slot], m, after);
    PL_ASSERT(h->inflight == 0);
    return started;
}

// It died while it ran nothing.
static void tell_of_death(struct pl_hand *h, const struct pl_message *m, bool useful,
                          struct pl_after *after)
{
    struct pl_pool *p = h->pool;
    char how[160];
    say_how(how, sizeof how, h, m);
    if (h->unfit[0])
        pl_after_tell(after, "the worker process %d cannot start: %s", h->pid, h->unfit);
    else
        pl_after_tell(after, "the worker process %d %s %s", h->pid, how,
                      useful ? "while it had nothing to do" : "before it ran anything");
    if (h->unfit[0])
        snprintf(p->broken_why, sizeof p->broken_why,
                 "worker processes cannot start: the last one, %d: %s", h->pid, h->unfit);
    else if (!useful)
        snprintf(p->broken_why, sizeof p->broken_why,
                 "worker processes die at start: the last one, %d, %s", h->pid, how);
}

void pl_hand_died(struct pl_pool *p, struct pl_hand *h, const struct pl_message *m,
                  struct pl_after *after)
{
    if (h->generation != m->generation || h->state == PL_HAND_EMPTY || h->state == PL_HAND_FORKING)
        return;
    pl_hand_receive(h, PL_ALL_MESSAGES); // results that it had sent
    h->state = PL_HAND_DYING;
    pl_ear_close(h);
    bool started = settle_all(h, m, after);
    bool useful = started || h->served > 0 || h->retiring, watched = h->pidfd >= 0;
    if (!started && !h->retiring && p->phase == PL_POOL_RUNS)
        tell_of_death(h, m, useful, after);
    clean(h);
    for (unsigned slot = 0; slot < PL_SLOTS; slot++)
        h->flights[slot].state = PL_FLIGHT_FREE;
    h->state = PL_HAND_EMPTY;
    h->start_at = 0;
    if (!watched) {
        found_short(h, "a worker process cannot be watched", -EMFILE);
    } else if (!useful) {
        failed_start(h);
    } else {
        h->failed_starts = 0;
        h->parked = h->surplus;
        h->start_at = h->parked ? PL_FOREVER : 0;
        p->parked += h->parked;
    }
    h->retiring = h->surplus = false;
    if (h->spare) {
        h->start_at = PL_FOREVER;
        pl_elastic_replace(p);
    }
    pl_pool_check_hope(p, after);
    if (p->broken && p->waiting) // what was taken from it again
        pl_pool_break(p, NULL, after);
    if (p->parked > 0)
        pl_elastic_wish(p);
}

void pl_pool_break(struct pl_pool *p, const char *why, struct pl_after *after)
{
    p->broken = true;
    if (why)
        snprintf(p->broken_why, sizeof p->broken_why, "%s", why);
    fail_waiting(p, after);
}
