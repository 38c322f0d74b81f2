// SPDX-License-Identifier: MIT
/*
 * select.c - waiting for one of several things: channels, futures, descriptors, a point in time.
 *
 * DESIGN
 *   First every case is tried, from a place chosen by chance on, so that none is favoured. If none
 *   can go on the waiter joins the list of each, and the word of its choice (channel.c) is decided
 *   once, by whoever finds that a case can go on.
 *
 *   A future decides through its waiter, a point in time is the deadline of the wait. A descriptor
 *   decides on a fiber through a poll operation in the worker's loop, which lives in the waiter's
 *   frame: when another case has won the operation is cancelled, and its completion is waited for
 *   before the frame goes. What such a completion says is lost without harm: readiness is a level,
 *   and the next look finds it. A plain thread that waits for descriptors sleeps in poll(2) instead
 *   of a futex, and is woken through an eventfd; all who can decide do so under a lock that the
 *   waiter takes once more while it leaves, so nobody rings a bell that is closed.
 */
#include "base/bug.h"
#include "core/worker.h"
#include "os/alloc.h"
#include "os/clock.h"
#include "os/ipc.h"
#include "os/random.h"
#include "sync/choice.h"
#include <poll.h>

#define CASES_MAX 64

/* So many poll operations lie in the frame; more come from the heap. */
#define POLLS_INLINE 4

struct poll_operation {
    struct pl_op op;
    struct pl_polls *polls;
    uint32_t index;
};

struct pl_polls {
    struct pl_select *select;
    struct pl_choice *choice;
    struct pollfd fds[1 + CASES_MAX]; /* [0]: a plain thread's bell */
    uint32_t index[1 + CASES_MAX];    /* of the case */
    unsigned n;                       /* of fds */

    /* A plain thread's. */
    struct pl_watch watch;

    /* A fiber's; all on the worker's thread. */
    struct poll_operation *operations, few[POLLS_INLINE];
    unsigned started, left; /* left: those that were not reaped yet */
    struct pl_wait *reaping;
};

/* Where the search for a case that can go on begins. */
static uint32_t start_of(size_t n)
{
    static _Thread_local uint64_t state;
    if (!state)
        state = pl_random_seed() | 1;
    state ^= state << 13; /* xorshift64, George Marsaglia 2003 */
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)((state >> 33) % n);
}

/* ---- futures */

static void future_ended(struct pl_waiter *w, plait_future *f)
{
    (void)f;
    struct pl_pending *p = PL_CONTAINER(w, struct pl_pending, waiter);
    if (pl_choose(p->choice, p->index)) {
        p->what->code = 0;
        pl_wait_fire(&p->choice->wait, PL_WAIT_WOKEN);
    }
}

static bool enlist_future(struct pl_pending *p)
{
    p->waiter.fire = future_ended;
    if (pl_future_watch(p->what->future, &p->waiter))
        return false;
    if (pl_choose(p->choice, p->index))
        p->what->code = 0;
    return true;
}

/* ---- descriptors */

static void collect(struct pl_polls *polls, const struct pl_select *s)
{
    polls->fds[0] = (struct pollfd){ .fd = -1 };
    polls->n = 1;
    for (uint32_t i = 0; i < s->n; i++) {
        const struct plait_case *k = &s->cases[i];
        if (k->what != PLAIT_CASE_POLL)
            continue;
        polls->fds[polls->n] = (struct pollfd){ .fd = k->fd, .events = (short)k->events };
        polls->index[polls->n++] = i;
    }
}

static int poll_code(const struct pollfd *p)
{
    return p->fd < 0 || p->revents & POLLNVAL ? -EBADF : (unsigned short)p->revents;
}

/* The code of case i as poll(2) has found it; 0: it cannot go on. */
static int polled(const struct pl_polls *polls, uint32_t i)
{
    unsigned at = 1;
    while (polls->index[at] != i)
        at++;
    return poll_code(&polls->fds[at]);
}

/* poll(2) of a plain thread has found something: its bell, or one of the cases, by chance. */
static void thread_polled(struct pl_watch *watch)
{
    struct pl_polls *polls = PL_CONTAINER(watch, struct pl_polls, watch);
    unsigned cases = polls->n - 1, first = start_of(cases);
    for (unsigned k = 0; k < cases; k++) {
        unsigned at = 1 + (first + k) % cases;
        int code = poll_code(&polls->fds[at]);
        if (code == 0)
            continue;
        if (pl_choose(polls->choice, polls->index[at])) {
            polls->select->cases[polls->index[at]].code = code;
            pl_wait_fire(&polls->choice->wait, PL_WAIT_WOKEN);
        }
        return;
    }
}

/* An operation of a fiber has ended: the descriptor is ready, or it was cancelled. */
static void fiber_polled(struct pl_op *op)
{
    struct poll_operation *o = PL_CONTAINER(op, struct poll_operation, op);
    struct pl_polls *polls = o->polls;
    if (atomic_load(&polls->choice->chosen) == PL_CHOICE_OPEN && !pl_op_polled(op)) {
        pl_loop_start(&polls->choice->wait.strand->worker->loop, op);
        return;
    }
    polls->left--;
    if (pl_choose(polls->choice, o->index)) {
        polls->select->cases[o->index].code = (int)op->result;
        pl_wait_fire(&polls->choice->wait, PL_WAIT_WOKEN);
    }
    if (polls->left == 0 && polls->reaping)
        pl_wait_fire(polls->reaping, PL_WAIT_WOKEN);
}

static void start_poll(struct pl_polls *polls, struct pl_strand *strand, uint32_t index)
{
    PL_ASSERT(polls != NULL); /* it is a case with a descriptor */
    const struct plait_case *k = &polls->select->cases[index];
    struct poll_operation *o = &polls->operations[polls->started++];
    *o = (struct poll_operation){
        .op = { .code = PL_OP_POLL, .fd = k->fd, .flags = k->events, .done = fiber_polled },
        .polls = polls,
        .index = index,
    };
    polls->left++;
    pl_loop_start(&strand->worker->loop, &o->op);
}

/* Ends the operations that have not completed, and waits until the loop has let go of them. */
static void reap(struct pl_polls *polls, struct pl_strand *strand)
{
    struct pl_wait wait;
    if (polls->left == 0)
        return;
    pl_wait_init(&wait, strand);
    pl_wait_for(&wait, PL_FOR_CHOICE, (const void *)(uintptr_t)polls->select->n);
    polls->reaping = &wait;
    for (unsigned i = 0; i < polls->started; i++)
        pl_loop_cancel(&strand->worker->loop, &polls->operations[i].op);
    pl_wait_uninterrupted(&wait);
}

/* ---- waiting */

/* True: the select is decided. */
static bool enlist(struct pl_select *s, struct pl_pending *p)
{
    switch (p->what->what) {
    case PLAIT_CASE_GET:
    case PLAIT_CASE_PUT:
        return pl_channel_enlist(p);
    case PLAIT_CASE_DONE:
        return enlist_future(p);
    case PLAIT_CASE_POLL:
        if (p->choice->wait.strand->worker)
            start_poll(s->polls, p->choice->wait.strand, p->index);
        break;
    case PLAIT_CASE_TIME:
        break;
    }
    return false;
}

static void withdraw(struct pl_pending *p)
{
    if (p->what->what == PLAIT_CASE_GET || p->what->what == PLAIT_CASE_PUT)
        pl_channel_withdraw(p);
    else if (p->what->what == PLAIT_CASE_DONE)
        pl_future_unwatch(p->what->future, &p->waiter);
}

/* 0, or why a select with descriptors cannot wait. */
static int prepare_polls(struct pl_polls *polls, struct pl_select *s, struct pl_choice *c)
{
    polls->select = s;
    polls->choice = c;
    polls->started = polls->left = 0;
    polls->reaping = NULL;
    polls->operations = polls->few;
    if (!c->wait.strand->worker) {
        c->wait.bell = polls->fds[0].fd = pl_bell_new();
        polls->fds[0].events = POLLIN;
        polls->watch = (struct pl_watch){ polls->fds, polls->n, thread_polled };
        return c->wait.bell < 0 ? c->wait.bell : 0;
    }
    if (polls->n - 1 > POLLS_INLINE)
        polls->operations = pl_zalloc_array(polls->n - 1, sizeof polls->operations[0]);
    return polls->operations ? 0 : -ENOMEM;
}

/* After withdrawing: nobody refers to the bell any more. */
static void finish_polls(struct pl_polls *polls)
{
    struct pl_strand *strand = polls->choice->wait.strand;
    if (!strand->worker) {
        pl_fd_close(polls->fds[0].fd);
        return;
    }
    reap(polls, strand);
    if (polls->operations != polls->few)
        pl_free_mem(polls->operations);
}

int pl_select_wait(struct pl_select *s)
{
    struct pl_strand *strand = pl_strand_current();
    int e = pl_strand_cancelled(strand);
    if (e < 0)
        return e;
    struct pl_choice c;
    atomic_init(&c.chosen, PL_CHOICE_OPEN);
    pl_wait_init(&c.wait, strand);
    pl_wait_for(&c.wait, PL_FOR_CHOICE, (const void *)(uintptr_t)s->n);
    if (PL_UNLIKELY(s->polls != NULL) && (e = prepare_polls(s->polls, s, &c)) < 0) {
        s->polls->choice = NULL;
        return e;
    }
    uint32_t enlisted = 0;
    bool decided = false;
    for (; enlisted < s->n && !decided; enlisted++) {
        uint32_t i = (s->first + enlisted) % s->n;
        s->pending[enlisted] =
            (struct pl_pending){ .choice = &c, .what = &s->cases[i], .index = i };
        decided = enlist(s, &s->pending[enlisted]);
    }
    /* Decided by itself, nobody fires the wait; by somebody else, he does. */
    bool by_itself = decided && atomic_load(&c.chosen) == s->pending[enlisted - 1].index;
    enum pl_wait_state why = PL_WAIT_WOKEN;
    if (!by_itself)
        why = pl_wait_watching(&c.wait, s->deadline, s->polls ? &s->polls->watch : NULL);
    bool due = why == PL_WAIT_TIMEOUT && s->timer < s->n;
    bool mine = why != PL_WAIT_WOKEN && pl_choose(&c, due ? s->timer : PL_CHOICE_WITHDRAWN);
    for (uint32_t i = 0; i < enlisted; i++)
        withdraw(&s->pending[i]);
    if (PL_UNLIKELY(s->polls != NULL))
        finish_polls(s->polls);
    if (mine && due)
        s->cases[s->timer].code = 0;
    else if (mine)
        return why == PL_WAIT_TIMEOUT ? -ETIMEDOUT : pl_strand_code(strand);
    return (int)atomic_load(&c.chosen);
}

/* ---- the call */

/* Whether the case can go on at once: true, and its code is set; a GET or PUT has been done. */
static bool try_case(const struct pl_select *s, uint32_t i, int64_t now)
{
    struct plait_case *k = &s->cases[i];
    int code = -EAGAIN;
    switch (k->what) {
    case PLAIT_CASE_GET:
    case PLAIT_CASE_PUT:
        code = pl_channel_try(k);
        break;
    case PLAIT_CASE_DONE:
        code = pl_future_is_done(k->future) ? 0 : -EAGAIN;
        break;
    case PLAIT_CASE_POLL:
        code = polled(s->polls, i);
        code = code == 0 ? -EAGAIN : code;
        break;
    case PLAIT_CASE_TIME:
        code = k->when > 0 && k->when <= now ? 0 : -EAGAIN;
        break;
    }
    if (code == -EAGAIN)
        return false;
    k->code = code;
    return true;
}

static int try_then_wait(struct pl_select *s)
{
    int64_t now = s->deadline != PLAIT_NEVER ? pl_now() : 0;
    if (s->polls) {
        int e = pl_fds_wait(s->polls->fds, s->polls->n, 0);
        if (e < 0)
            return e;
    }
    for (uint32_t k = 0; k < s->n; k++) {
        uint32_t i = (s->first + k) % s->n;
        if (try_case(s, i, now))
            return (int)i;
    }
    if (s->deadline <= now)
        return -ETIMEDOUT;
    return pl_select_wait(s);
}

static PL_NOINLINE int select_polling(struct pl_select *s)
{
    struct pl_polls polls;
    collect(&polls, s);
    s->polls = &polls;
    int chosen = try_then_wait(s);
    s->polls = NULL;
    return chosen;
}

static bool is_channel(const struct plait_case *k)
{
    return k->what == PLAIT_CASE_GET || k->what == PLAIT_CASE_PUT;
}

static bool valid(const struct plait_case *cases, size_t n)
{
    if (n == 0 || n > CASES_MAX)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (cases[i].what < PLAIT_CASE_GET || cases[i].what > PLAIT_CASE_TIME)
            return false;
        for (size_t k = 0; k < i && is_channel(&cases[i]); k++)
            if (is_channel(&cases[k]) && cases[i].channel == cases[k].channel)
                return false; /* it could only meet itself */
    }
    return true;
}

int plait_select(struct plait_case *cases, size_t n, int64_t deadline)
{
    if (!valid(cases, n))
        return -EINVAL;
    pl_strand_point();
    struct pl_pending pending[CASES_MAX];
    struct pl_select s = {
        .cases = cases,
        .pending = pending,
        .n = (uint32_t)n,
        .first = start_of(n),
        .timer = (uint32_t)n,
        .deadline = deadline > 0 ? deadline : PLAIT_NEVER,
    };
    bool polls = false;
    for (uint32_t i = 0; i < n; i++) {
        polls |= cases[i].what == PLAIT_CASE_POLL;
        if (cases[i].what == PLAIT_CASE_TIME && cases[i].when > 0 && cases[i].when <= s.deadline &&
            cases[i].when != PLAIT_NEVER) {
            s.timer = i;
            s.deadline = cases[i].when;
        }
    }
    return polls ? select_polling(&s) : try_then_wait(&s);
}
