// SPDX-License-Identifier: MIT
/*
 * elastic.c - how many workers there are, and how long each lives.
 *
 * DESIGN
 *   An executor with workers_min starts with so many; the places of the others are parked: empty,
 *   and not to be filled. Who submits more than the workers can run at once rouses the supervisor,
 *   which unparks as many places as there are tasks too many. Idle workers are found by sampling:
 *   a quarter of idle_ns apart, and who was idle at five looks in a row, with no task between them,
 *   is surplus. So nothing is added to what a task costs.
 *
 *   A worker is replaced, or ended, by retiring it: what it has not started is taken back, nothing
 *   more is given to it, and when what it runs has ended it is told to stop. From then on it has
 *   the executor's grace for its finalizer. A worker whose memory has grown too large retires by
 *   itself, and says so first.
 *
 *   Where workers run several tasks each, one that is to be replaced may have to wait for a task
 *   that never ends. So there are as many spare hands as workers; one of them takes over as soon as
 *   nothing more is given to the worker, whose own hand is a spare one then.
 */
#include "proc/pool.h"

#include "base/bug.h"
#include "os/clock.h"

#define IDLE_LOOKS 4

static void stop_if_done(struct pl_hand *h)
{
    if (!h->retiring || h->inflight > 0 || h->stop_sent || h->state != PL_HAND_LIVE)
        return;
    struct pl_message m = { .kind = PL_MESSAGE_STOP };
    h->stop_sent = true;
    if (pl_socket_send(h->socket, &m, sizeof m, NULL, 0) < 0)
        pl_hand_kill(h, "it could not be told to stop");
    else
        pl_hand_condemn(h, "it did not end within the grace after its last task",
                        h->pool->ex.options.grace_ns);
}

// Nothing more is given to it, and what it runs may run for ever.
static bool wants_replacement(const struct pl_hand *h)
{
    return h->state == PL_HAND_LIVE && !h->spare && !h->surplus && h->inflight > 0 &&
           (h->retiring || pl_hand_is_spent(h->pool, h));
}

static struct pl_hand *spare_hand(struct pl_pool *p)
{
    for (unsigned i = 0; i < p->hand_count; i++)
        if (p->hands[i].spare && p->hands[i].state == PL_HAND_EMPTY)
            return &p->hands[i];
    return NULL;
}

void pl_elastic_replace(struct pl_pool *p)
{
    struct pl_hand *spare;
    for (unsigned i = 0; i < p->hand_count; i++)
        if (wants_replacement(&p->hands[i]) && (spare = spare_hand(p))) {
            p->hands[i].spare = true;
            spare->spare = false;
            spare->start_at = 0;
            pl_pool_rouse(p, 1);
        }
}

void pl_hand_retire(struct pl_hand *h, bool surplus)
{
    if (h->state != PL_HAND_LIVE || h->retiring)
        return;
    h->retiring = true;
    h->surplus = surplus;
    pl_hand_take_back(h->pool, h, PL_SLOTS, PL_ANY_PRIORITY);
    if (h->pool->hand_count > h->pool->workers)
        pl_elastic_replace(h->pool);
    stop_if_done(h);
}

void pl_hand_check_age(struct pl_hand *h)
{
    uint64_t max = h->pool->worker.tasks_max;
    bool replaced = h->spare && h->inflight == 0; // and what it had not started was taken back
    if (PL_UNLIKELY((max > 0 && h->served >= max) || replaced))
        pl_hand_retire(h, false);
    if (PL_UNLIKELY(h->retiring))
        stop_if_done(h);
}

// ---- growing

static size_t too_many(const struct pl_pool *p)
{
    size_t tasks = p->inflight + p->queued;
    size_t places = (size_t)(p->workers - p->parked) * p->ex.options.tasks_per_worker;
    return tasks > places ? tasks - places : 0;
}

void pl_elastic_wish(struct pl_pool *p)
{
    if (too_many(p) > 0)
        pl_pool_rouse(p, 1);
}

static void grow(struct pl_pool *p, int64_t now)
{
    size_t each = p->ex.options.tasks_per_worker;
    size_t want = (too_many(p) + each - 1) / each;
    for (unsigned i = 0; want > 0 && p->parked > 0 && i < p->hand_count; i++) {
        struct pl_hand *h = &p->hands[i];
        if (!h->parked)
            continue;
        h->parked = false;
        h->start_at = 0;
        p->parked--;
        want--;
        p->idle_at = now + p->worker.idle_ns / IDLE_LOOKS;
    }
}

// ---- shrinking

static bool is_idle(struct pl_hand *h)
{
    bool idle = h->inflight == 0 && h->served == h->idle_served;
    h->idle_served = h->served;
    h->idle_looks = idle ? h->idle_looks + 1 : 0;
    return h->idle_looks > IDLE_LOOKS;
}

static void shrink(struct pl_pool *p, int64_t now)
{
    if (now < p->idle_at)
        return;
    unsigned stay = 0;
    for (unsigned i = 0; i < p->hand_count; i++)
        stay += !p->hands[i].parked && !p->hands[i].surplus && !p->hands[i].spare;
    for (unsigned i = p->hand_count; i-- > 0;) {
        struct pl_hand *h = &p->hands[i];
        if (h->state == PL_HAND_LIVE && !h->retiring && is_idle(h) &&
            stay > p->worker.workers_min) {
            pl_hand_retire(h, true);
            stay--;
        }
    }
    bool more = stay > p->worker.workers_min;
    p->idle_at = more ? now + p->worker.idle_ns / IDLE_LOOKS : PL_FOREVER;
}

void pl_elastic_run(struct pl_pool *p, int64_t now)
{
    if (p->phase != PL_POOL_RUNS || p->broken)
        return;
    if (p->parked > 0)
        grow(p, now);
    shrink(p, now);
}
