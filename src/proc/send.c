// SPDX-License-Identifier: MIT
/*
 * send.c - which worker gets a task, putting it into its memory, and taking it back.
 *
 * DESIGN
 *   How many tasks a worker is given in advance follows from what they take: while they are short,
 *   waking another worker costs more than waiting for this one, and an empty ring costs a round
 *   trip a task; when they are long, one in advance hides the hand-over. Nothing is lost by
 *   guessing wrong: what has not started can be taken back, and is, as soon as a worker has nothing
 *   to do (pl_pool_balance()).
 */
#include "proc/batch.h"
#include "proc/pool.h"

#include <string.h>

#include "base/bug.h"
#include "core/given.h"
#include "os/alloc.h"
#include "os/cpu.h"
#include "os/futex.h"

// Tasks up to this are short: many are given in advance.
#define SHORT_NS    20000
#define SHORT_AHEAD 128u
// Rather wait that long for a worker that is awake than wake another.
#define WAKE_NS 40000

// ---- which hand

static unsigned ahead(const struct pl_pool *p, struct pl_hand *h)
{
    uint32_t ns = atomic_load_explicit(&h->channel->run_ns, memory_order_relaxed);
    return ns > 0 && ns < SHORT_NS ? SHORT_AHEAD : p->ex.options.tasks_per_worker + 1;
}

// A task that it is given starts at once, beside those that run.
static bool has_place(const struct pl_pool *p, const struct pl_hand *h)
{
    return h->inflight < p->ex.options.tasks_per_worker;
}

static void leave_roomy(struct pl_pool *p, struct pl_hand *h)
{
    if (p->roomy_full == h)
        p->roomy_full = h->younger;
    *(h->older ? &h->older->younger : &p->roomy_first) = h->younger;
    *(h->younger ? &h->younger->older : &p->roomy_last) = h->older;
    h->older = h->younger = NULL;
    h->has_room = false;
}

// Those with nothing to do first, the one that became idle last at the very front: it is still
// awake. Then those with a free place, then those that would only be given something in advance;
// both in turn.
static void enter_roomy(struct pl_pool *p, struct pl_hand *h)
{
    struct pl_hand *after = h->inflight == 0  ? p->roomy_first
                            : has_place(p, h) ? p->roomy_full
                                              : NULL;
    h->younger = after;
    h->older = after ? after->older : p->roomy_last;
    *(h->older ? &h->older->younger : &p->roomy_first) = h;
    *(after ? &after->older : &p->roomy_last) = h;
    if (!p->roomy_full && !has_place(p, h))
        p->roomy_full = h;
    h->has_room = true;
}

static void enter_busy(struct pl_pool *p, struct pl_hand *h)
{
    h->busy_prev = NULL;
    h->busy_next = p->busy;
    if (p->busy)
        p->busy->busy_prev = h;
    p->busy = h;
    p->busy_count++;
    h->is_busy = true;
    if (p->listener == PL_LISTENER_LEADER_ALONE)
        pl_pool_wake_leader(p); // it is to listen to both
    pl_channel_listen(h->channel, p->listener);
}

static void leave_busy(struct pl_pool *p, struct pl_hand *h)
{
    *(h->busy_prev ? &h->busy_prev->busy_next : &p->busy) = h->busy_next;
    if (h->busy_next)
        h->busy_next->busy_prev = h->busy_prev;
    p->busy_count--;
    h->is_busy = false;
}

void pl_hand_refresh(struct pl_pool *p, struct pl_hand *h)
{
    bool busy = h->channel && h->free_count < PL_SLOTS;
    if (busy != h->is_busy)
        (busy ? enter_busy : leave_busy)(p, h);
    bool room = h->channel && h->state == PL_HAND_LIVE && h->free_count > 0 &&
                h->inflight < ahead(p, h) && !h->retiring && !h->spare && !h->clogged &&
                !pl_hand_is_spent(p, h);
    if (h->has_room)
        leave_roomy(p, h);
    if (room)
        enter_roomy(p, h);
}

struct pl_hand *pl_pool_pick(struct pl_pool *p)
{
    struct pl_hand *h = p->warm;
    bool one = p->ex.options.tasks_per_worker == 1; // else what runs may suspend for long
    if (h && h->has_room && h->inflight > 0 && (one || has_place(p, h))) {
        uint64_t ns = atomic_load_explicit(&h->channel->run_ns, memory_order_relaxed);
        if (ns > 0 && ns * h->inflight < WAKE_NS)
            return h;
    }
    return p->roomy_first;
}

// ---- into the slot

static void push(struct pl_pool *p, struct pl_flight *fl)
{
    struct pl_hand *h = fl->hand;
    fl->state = PL_FLIGHT_SENT;
    // Relaxed: the push that follows releases it.
    atomic_store_explicit(&h->channel->slots[fl->slot].state, PL_SLOT_QUEUED, memory_order_relaxed);
    h->sent[h->work_at % PL_SLOTS] = fl->slot;
    fl->stands_at = h->work_at;
    pl_ring_push(&h->channel->work, &h->work_at, fl->slot);
    enum pl_asleep asleep = pl_channel_take_asleep(h->channel);
    if (asleep != PL_ASLEEP_NOT) {
        atomic_store_explicit(&h->channel->rung_on, pl_cpu_current(), memory_order_relaxed);
        if (asleep == PL_ASLEEP_ON_WORD)
            pl_futex_wake_shared(&h->channel->asleep, 1);
        else
            (void)pl_doorbell_ring(h->doorbell); // who does not hear it is found by the audit
        p->woken = true;
    }
    pl_flight_arm(p, fl);
}

// What goes to the worker over its socket: the memory of a large argument, or -1, and descriptors.
static int send_cargo(struct pl_flight *fl, int memory)
{
    struct pl_hand *h = fl->hand;
    struct pl_message m = { .kind = PL_MESSAGE_CARGO, .slot = fl->slot };
    int fds[PL_SOCKET_FDS];
    if (memory >= 0) {
        m.bytes = h->channel->slots[fl->slot].in_bytes;
        fds[m.count++] = memory;
    }
    m.slots[0] = pl_future_fds_list(fl->future, fds, &m.count);
    return pl_socket_send(h->socket, &m, sizeof m, fds, m.count);
}

// The argument was sent over the socket, or `e` says why not.
static void cargo_sent(struct pl_pool *p, struct pl_flight *fl, int e, struct pl_after *after)
{
    struct pl_hand *h = fl->hand;
    if (e == 0) {
        fl->heavy = true;
        push(p, fl);
        return;
    }
    if (e == -EPIPE)
        return; // the worker's death will requeue it
    if (e == -EAGAIN || e == -ETOOMANYREFS) {
        pl_pool_requeue(p, fl); // too much is under way: a moment will tell
        h->clogged = p->clogged = p->ticking = true;
        pl_pool_rouse(p, 1);
    } else {
        plait_future *f = pl_flight_clear(p, fl);
        pl_pool_end(p, f, e, PLAIT_REASON_NONE, after);
    }
    pl_flight_free(h, fl);
    pl_hand_refresh(p, h);
}

void pl_pool_unclog(struct pl_pool *p)
{
    p->clogged = false;
    for (unsigned i = 0; i < p->hand_count; i++)
        if (p->hands[i].clogged) {
            p->hands[i].clogged = false;
            pl_hand_refresh(p, &p->hands[i]);
        }
}

// The large argument is copied when the lock is given back; pl_loading_done() goes on.
static bool load_later(struct pl_flight *fl, struct pl_after *after)
{
    struct pl_loading *l = pl_alloc(sizeof *l);
    if (!l)
        return false;
    pl_future_ref(fl->future);
    *l = (struct pl_loading){ after->loadings, fl->future, fl->hand, fl->hand->generation,
                              fl->slot };
    after->loadings = l;
    fl->state = PL_FLIGHT_LOADING;
    return true;
}

void pl_hand_send(struct pl_pool *p, struct pl_hand *h, plait_future *f, struct pl_ticket *t,
                  struct pl_after *after)
{
    uint8_t slot = h->free[--h->free_count];
    if (h->free_count > 1)
        pl_prefetch_to_write(&h->channel->slots[h->free[h->free_count - 2]]);
    struct pl_flight *fl = &h->flights[slot];
    struct pl_slot *s = &h->channel->slots[slot];
    struct pl_layout at = pl_layout_of(f);
    struct plait_span in = pl_future_argument(f);
    bool fds = pl_task_has_fds(f->task) && pl_task_fds(f->task, false) > 0;
    int task = pl_pool_number(p, f);
    // The workers of a zygote that was started anew may know less.
    s->task = task < 0 ? UINT32_MAX : (uint32_t)task;
    s->in_bytes = (uint32_t)in.bytes;
    s->out_bytes = 0;
    s->in_place = at.in | (at.in == PL_PLACE_CARGO || fds ? PL_PLACE_AWAITS : 0);
    if (PL_UNLIKELY(f->task == &pl_batch_task))
        s->in_place = PL_PLACE_BATCH;
    s->out_place = at.out;
    s->deadline = f->cancel.deadline;
    s->timeout_ns = pl_future_timeout(f);
    atomic_store_explicit(&s->cancel, PLAIT_REASON_NONE, memory_order_relaxed);
    atomic_store_explicit(&s->due, 0, memory_order_relaxed);
    if (at.in != PL_PLACE_CARGO && in.bytes > 0)
        memcpy(at.in == PL_PLACE_INLINE ? s->data : h->channel->spill[slot], in.data, in.bytes);
    fl->future = f;
    fl->ticket = t;
    fl->timeout_ns = s->timeout_ns;
    fl->ladder = PL_LADDER_NONE;
    fl->heavy = fl->taken = false;
    fl->reason = PLAIT_REASON_NONE;
    f->notify.job.next = &fl->home;
    h->inflight++;
    p->inflight++;
    p->warm = h;
    pl_hand_refresh(p, h);
    if (PL_UNLIKELY(p->hand_count > p->workers && pl_hand_is_spent(p, h)))
        pl_elastic_replace(p);
    if (at.in != PL_PLACE_CARGO && !fds) {
        push(p, fl);
    } else if (at.in != PL_PLACE_CARGO) {
        fl->state = PL_FLIGHT_LOADING;
        cargo_sent(p, fl, send_cargo(fl, -1), after);
    } else if (!load_later(fl, after)) {
        pl_flight_clear(p, fl);
        pl_flight_free(h, fl);
        pl_hand_refresh(p, h);
        pl_pool_end(p, f, -ENOMEM, PLAIT_REASON_NONE, after);
        return;
    }
    // Behind a task that may turn out to be long, while another worker has a place: look again.
    if (PL_UNLIKELY(h->inflight > p->ex.options.tasks_per_worker && !p->ticking && p->roomy_first &&
                    has_place(p, p->roomy_first))) {
        p->ticking = true;
        pl_pool_rouse(p, 1);
    }
}

void pl_pool_loaded(struct pl_pool *p, struct pl_loading *l, int fd, struct pl_after *after)
{
    struct pl_hand *h = l->hand;
    struct pl_flight *fl = &h->flights[l->slot];
    if (h->generation != l->generation || fl->state != PL_FLIGHT_LOADING || fl->future != l->future)
        return;                     // cancelled, or the worker died and the task waits again
    if (h->state != PL_HAND_LIVE) { // it is to be killed, whatever it runs by then
        pl_pool_requeue(p, fl);
        pl_flight_free(h, fl);
        pl_hand_refresh(p, h);
        pl_pool_rouse(p, 1);
        return;
    }
    cargo_sent(p, fl, fd < 0 ? fd : send_cargo(fl, fd), after);
}

// ---- taking back

void pl_flight_revoked(struct pl_flight *fl)
{
    struct pl_message m = { .kind = PL_MESSAGE_DROP, .slot = fl->slot };
    fl->state = PL_FLIGHT_REVOKED;
    // What was sent with it does not lie there until the worker comes to it: somebody may wait for
    // the end of a file.
    if (PL_UNLIKELY(fl->heavy))
        (void)pl_socket_send(fl->hand->socket, &m, sizeof m, NULL, 0); // then it does
}

void pl_hand_take_back(struct pl_pool *p, struct pl_hand *h, unsigned want, int below)
{
    for (uint32_t i = 1; want > 0 && i <= PL_SLOTS; i++) {
        uint8_t slot = h->sent[(h->work_at - i) % PL_SLOTS];
        struct pl_flight *fl = &h->flights[slot];
        if (fl->state == PL_FLIGHT_REVOKED)
            continue;
        if (fl->state != PL_FLIGHT_SENT || fl->ladder != PL_LADDER_NONE || fl->taken ||
            (below != PL_ANY_PRIORITY && pl_future_priority(fl->future) >= below) ||
            !pl_slot_take(&h->channel->slots[slot], PL_SLOT_REVOKED))
            break;
        pl_pool_requeue(p, fl);
        pl_flight_revoked(fl);
        want--;
    }
    pl_hand_refresh(p, h);
}

// The hand with the most in flight, when it has something in advance and another has a place.
static struct pl_hand *overloaded(const struct pl_pool *p)
{
    unsigned each = p->ex.options.tasks_per_worker;
    if (p->inflight <= each || !p->roomy_first || !has_place(p, p->roomy_first))
        return NULL;
    struct pl_hand *most = NULL;
    for (struct pl_hand *h = p->busy; h; h = h->busy_next)
        if (h->state == PL_HAND_LIVE && (!most || h->inflight > most->inflight))
            most = h;
    return most && most->inflight > each ? most : NULL;
}

bool pl_pool_is_lopsided(const struct pl_pool *p)
{
    return overloaded(p) != NULL;
}

void pl_pool_balance(struct pl_pool *p)
{
    struct pl_hand *most = p->waiting ? NULL : overloaded(p), *to = p->roomy_first;
    if (!most)
        return; // nothing to gain
    unsigned each = p->ex.options.tasks_per_worker;
    unsigned surplus = most->inflight - each, places = each - to->inflight;
    unsigned half = (surplus + 1) / 2, room = ahead(p, to) - to->inflight;
    unsigned want = surplus < places ? surplus : places > half ? places : half;
    pl_hand_take_back(p, most, want < room ? want : room, PL_ANY_PRIORITY);
    // What was taken back is for that one, not for the one it came from.
    p->warm = to;
}
