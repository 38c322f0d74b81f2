// SPDX-License-Identifier: MIT
/*
 * supervise.c - the one thread of a pool: births, deaths, deadlines, and reaping when nobody waits.
 *
 * DESIGN
 *   It sleeps in the poller until the zygote, a worker's socket, the bell, or the next timer wants
 *   something. Its turn: what came, what is due, who is to be started, what was finished; then it
 *   says that it listens, looks at the rings once more, and sleeps. While a thread of the program
 *   leads (reap.c) it leaves the rings alone, and is not woken for results. While submitters reap
 *   it stands aside: it has nobody ring it, and looks now and then whether they still do.
 *
 *   The end. When nothing is alive and nothing more may come, workers are told to stop; after the
 *   grace those that still run are killed. Then the zygote is sent away and reaped, and the thread
 *   ends.
 */
#include "proc/pool.h"

#include <errno.h>
#include <signal.h>

#include "base/bug.h"
#include "base/relax.h"
#include "os/clock.h"
#include "os/process.h"
#include "os/thread.h"

// How long it looks at the rings after it was rung, while short tasks keep ending.
#define DOZE_MOST_NS  20000
#define DOZE_LEAST_NS 1000
// While submitters reap it looks only now and then whether they still do.
#define ASIDE_NS (PL_MILLISECOND / 10)
// Forks under way: neither side may fill the control socket while the other does not read.
#define FORKS_AT_ONCE 16u
// Of one worker, while all others wait.
#define MESSAGES_A_TURN 128u
// How soon it looks whether a task waits behind a long one while a worker is idle.
#define TICK_NS PL_MILLISECOND

void pl_pool_rouse(struct pl_pool *p, int64_t when)
{
    if (when >= p->sleeps_until)
        return;
    p->sleeps_until = 0; // once is enough
    (void)pl_bell_ring(p->bell);
}

// ---- a turn

static void look_after_hands(struct pl_pool *p, int64_t now, struct pl_after *after)
{
    struct pl_zygote *z = &p->zygote;
    for (unsigned i = 0; i < p->hand_count; i++)
        pl_hand_kill_due(&p->hands[i], now);
    if (p->phase != PL_POOL_RUNS)
        return;
    if (z->control < 0 && z->start_at <= now && pl_zygote_start(p) < 0)
        pl_zygote_lost(p, after);
    p->forking = 0;
    for (unsigned i = 0; i < p->hand_count; i++)
        p->forking += p->hands[i].state == PL_HAND_FORKING;
    for (unsigned i = 0; z->ready && i < p->hand_count && p->forking < FORKS_AT_ONCE; i++) {
        struct pl_hand *h = &p->hands[i];
        if (h->state != PL_HAND_EMPTY || h->start_at > now)
            continue;
        if (pl_hand_fork(p, h) == 0)
            p->forking++;
        else
            pl_pool_check_hope(p, after); // it has noted when to try again
    }
}

// What submitters have reaped and left.
static void take_over(struct pl_pool *p, struct pl_after *after)
{
    after->first = p->left;
    while (*after->end)
        after->end = &(*after->end)->next;
    after->landings = p->left_landings;
    p->left = NULL;
    p->left_landings = NULL;
}

static void tick(struct pl_pool *p, struct pl_after *after)
{
    if (!p->ticking)
        return;
    if (p->clogged)
        pl_pool_unclog(p);
    pl_pool_balance(p);
    pl_pool_dispatch(p, after);
    p->ticking = p->clogged || pl_pool_is_lopsided(p);
}

static bool any_hand_left(struct pl_pool *p)
{
    for (unsigned i = 0; i < p->hand_count; i++)
        if (p->hands[i].state != PL_HAND_EMPTY)
            return true;
    return false;
}

static void tell_to_stop(struct pl_pool *p)
{
    for (unsigned i = 0; i < p->hand_count; i++) {
        struct pl_hand *h = &p->hands[i];
        struct pl_message m = { .kind = PL_MESSAGE_STOP };
        if (h->state != PL_HAND_LIVE || h->stop_sent)
            continue;
        h->stop_sent = true;
        if (pl_socket_send(h->socket, &m, sizeof m, NULL, 0) < 0)
            pl_hand_kill(h, NULL);
    }
}

static void kill_all(struct pl_pool *p)
{
    for (unsigned i = 0; i < p->hand_count; i++)
        pl_hand_kill(&p->hands[i], NULL);
}

// Goes on with the end of the pool; true when it has come.
static bool advance(struct pl_pool *p, int64_t now)
{
    if (p->phase == PL_POOL_RUNS && p->ended && !p->leader) {
        p->phase = PL_POOL_STOPS_WORKERS;
        p->phase_ends = pl_clock_after(p->ex.options.grace_ns);
        pl_audit_wake(p);
    }
    if (p->phase == PL_POOL_STOPS_WORKERS) {
        tell_to_stop(p);
        if (p->phase_ends <= now) {
            p->phase_ends = PL_FOREVER;
            kill_all(p);
        }
        if (!any_hand_left(p)) {
            struct pl_message bye = { .kind = PL_MESSAGE_BYE };
            p->phase = PL_POOL_STOPS_ZYGOTE;
            (void)pl_zygote_send(p, &bye, NULL, 0); // it ends at the close of the socket, too
            pl_zygote_drop(p);
        }
    }
    return p->phase == PL_POOL_STOPS_ZYGOTE;
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t next_time(struct pl_pool *p, int64_t now)
{
    struct pl_heap_node *n = pl_heap_min(&p->tickets);
    int64_t when = n ? n->key : PL_FOREVER;
    n = pl_heap_min(&p->timers);
    when = n ? earlier(when, n->key) : when;
    n = pl_heap_min(&p->pauses);
    when = n ? earlier(when, n->key) : when;
    if (p->ticking)
        when = earlier(when, now + TICK_NS);
    bool runs = p->phase == PL_POOL_RUNS;
    when = earlier(when, p->audit_at);
    if (runs)
        when = earlier(when, p->idle_at);
    if (p->phase == PL_POOL_STOPS_WORKERS)
        when = earlier(when, p->phase_ends);
    else if (p->zygote.control < 0)
        when = earlier(when, p->zygote.start_at);
    for (unsigned i = 0; i < p->hand_count; i++) {
        const struct pl_hand *h = &p->hands[i];
        if (h->state == PL_HAND_DYING)
            when = earlier(when, h->kill_at);
        else if (h->state == PL_HAND_EMPTY && runs && p->zygote.ready && p->forking < FORKS_AT_ONCE)
            when = earlier(when, h->start_at);
    }
    return when;
}

// Looks after everything. False: the end has come. *sleep: when to wake, or 0: not to sleep.
static bool turn(struct pl_pool *p, int64_t *sleep)
{
    struct pl_after after;
    pl_after_init(&after);
    pl_lock(&p->lock);
    take_over(p, &after);
    int64_t now = pl_now();
    pl_pool_run_timers(p, now, &after);
    pl_elastic_run(p, now);
    look_after_hands(p, now, &after);
    if (!p->leader && !p->helped)
        pl_pool_reap(p, &after);
    else
        pl_pool_dispatch(p, &after);
    tick(p, &after);
    pl_audit_run(p, now, &after);
    bool over = advance(p, now);
    *sleep = next_time(p, now);
    if (p->helped && !p->leader) {
        p->helped = false;
        *sleep = earlier(*sleep, now + ASIDE_NS);
    } else if (!p->leader && !pl_pool_listen(p, PL_LISTENER_SUPERVISOR)) {
        pl_pool_listen(p, PL_LISTENER_AWAKE);
        *sleep = 0;
    }
    p->sleeps_until = *sleep;
    pl_pool_unlock(p, &after);
    return !over;
}

static void zygote_speaks(struct pl_pool *p, struct pl_after *after)
{
    int e;
    do
        e = pl_zygote_receive(p, after);
    while (e == 0);
    if (e == -EPIPE && p->zygote.control >= 0)
        pl_zygote_lost(p, after);
}

static void handle(struct pl_pool *p, const uint64_t *tags, int count)
{
    struct pl_after after;
    pl_after_init(&after);
    pl_lock(&p->lock);
    p->sleeps_until = 0;
    if (!p->leader)
        pl_pool_listen(p, PL_LISTENER_AWAKE);
    for (int i = 0; i < count; i++) {
        if (tags[i] == PL_TAG_ZYGOTE)
            zygote_speaks(p, &after);
        else if (tags[i] & PL_TAG_ORPHAN)
            pl_orphan_ended(p, &p->hands[tags[i] & ~(uint64_t)PL_TAG_ORPHAN], &after);
        else if (tags[i] < p->hand_count)
            pl_hand_receive(&p->hands[tags[i]], MESSAGES_A_TURN);
        // else it was rung: there is something in the rings, or to do, at which our turn looks
    }
    pl_pool_unlock(p, &after);
}

// Short tasks end one after the other: looks for a while before it asks to be rung again; for how
// long follows from whether that helped of late.
static void doze(struct pl_pool *p, int64_t *ns)
{
    struct pl_after after;
    int64_t until = 0;
    bool helped = false;
    for (bool busy = p->doze; busy;) {
        pl_after_init(&after);
        pl_lock(&p->lock);
        bool others = p->leader || p->helped;
        bool done = !others && pl_pool_has_done(p);
        busy = !others && p->inflight > 0;
        if (done)
            pl_pool_reap(p, &after);
        pl_pool_unlock(p, &after);
        int64_t now = pl_now();
        helped |= done && until > 0;
        if (done || until == 0)
            until = now + *ns;
        else if (now >= until)
            break;
        for (int i = 0; i < 64; i++) // lets a few gather
            pl_relax();
    }
    *ns = helped ? DOZE_MOST_NS : *ns / 2 > DOZE_LEAST_NS ? *ns / 2 : DOZE_LEAST_NS;
}

// Nothing but results, or something to do, has come.
static bool only_rung(const uint64_t *tags, int count)
{
    for (int i = 0; i < count; i++)
        if (tags[i] != PL_TAG_BELL && !(tags[i] & PL_TAG_RUNG))
            return false;
    return count > 0;
}

void *pl_pool_supervise(void *arg)
{
    struct pl_pool *p = arg;
    int64_t sleep, doze_ns = DOZE_MOST_NS;
    while (turn(p, &sleep)) {
        uint64_t tags[64];
        int n = pl_poller_wait(&p->poller, tags, 64, sleep);
        handle(p, tags, n);
        if (only_rung(tags, n))
            doze(p, &doze_ns);
    }
    return NULL;
}
