// SPDX-License-Identifier: MIT
/*
 * queue.c - what waits to start, and which worker gets it.
 *
 * DESIGN
 *   The submitting thread itself puts the task into a worker's ring when one has room: no thread in
 *   between. What finds no room waits here, and is handed out by whoever reaps.
 *
 *   How many tasks a worker is given in advance follows from what they take: while they are short,
 *   waking another worker costs more than waiting for this one, and an empty ring costs a round
 *   trip a task; when they are long, one in advance hides the hand-over. Nothing is lost by
 *   guessing wrong: what has not started can be taken back, and is, as soon as a worker has nothing
 *   to do (pl_pool_balance()).
 */
#include "proc/pool.h"

#include <string.h>

#include "base/bug.h"
#include "core/strand.h"
#include "os/alloc.h"
#include "os/clock.h"

// Tasks up to this are short: many are given in advance.
#define SHORT_NS    20000
#define SHORT_AHEAD 128u
// Rather wait that long for a worker that is awake than wake another.
#define WAKE_NS 40000

struct pl_room {
    struct pl_room *next, **link;
    struct pl_wait wait;
};

// ---- tickets

// Neither is ever run: they mark what a queued job is.
static void is_ticket(struct pl_job *job, int refused)
{
    (void)job, (void)refused;
    PL_ASSERT(!"a ticket is not a job");
}

void pl_pool_submitted(struct pl_job *job, int refused)
{
    (void)job, (void)refused;
    PL_ASSERT(!"a future of another process is not a job");
}

static int make_ticket(plait_future *f, struct pl_ticket **ret)
{
    *ret = NULL;
    if (PL_LIKELY(f->cancel.deadline == PLAIT_NEVER))
        return 0;
    struct pl_ticket *t = pl_zalloc(sizeof *t);
    if (!t)
        return -ENOMEM;
    t->job.run = is_ticket;
    t->timer.key = f->cancel.deadline;
    t->future = f;
    *ret = t;
    return 0;
}

static void enqueue(struct pl_pool *p, plait_future *f, struct pl_ticket *t, bool at_head)
{
    struct pl_job *job = t ? &t->job : &f->notify.job;
    if (at_head) {
        job->next = p->first;
        p->first = job;
        if (!job->next)
            p->end = &job->next;
    } else {
        job->next = NULL;
        *p->end = job;
        p->end = &job->next;
    }
    p->queued++;
    if (t) {
        pl_heap_push(&p->tickets, &t->timer);
        pl_pool_rouse(p, t->timer.key);
    }
}

static void admit(struct pl_pool *p)
{
    struct pl_room *r = p->room;
    p->room = r->next;
    if (r->next)
        r->next->link = &p->room;
    r->link = NULL;
    pl_wait_fire(&r->wait, PL_WAIT_WOKEN);
}

void pl_pool_admit_all(struct pl_pool *p)
{
    while (p->room)
        admit(p);
}

// The first that has not been cancelled, claimed; NULL when the queue is empty.
static plait_future *dequeue(struct pl_pool *p, struct pl_ticket **ticket)
{
    while (p->first) {
        struct pl_job *job = p->first;
        p->first = job->next;
        if (!p->first)
            p->end = &p->first;
        p->queued--;
        if (PL_UNLIKELY(p->room != NULL))
            admit(p);
        bool ticketed = job->run == is_ticket;
        struct pl_ticket *t = ticketed ? PL_CONTAINER(job, struct pl_ticket, job) : NULL;
        plait_future *f = t ? t->future : PL_CONTAINER(job, struct plait_future, notify.job);
        if (t && pl_heap_is_linked(&t->timer))
            pl_heap_remove(&p->tickets, &t->timer);
        if (PL_LIKELY(pl_future_claim(f))) {
            *ticket = t;
            return f;
        }
        pl_free_mem(t);
        pl_future_unref(f); // its canceller has completed it, and left us a reference
    }
    return NULL;
}

void pl_pool_drop_queue(struct pl_pool *p, int code, enum plait_reason reason,
                        struct pl_after *after)
{
    struct pl_ticket *t;
    plait_future *f;
    while ((f = dequeue(p, &t))) {
        pl_free_mem(t);
        pl_cancel_mark(&f->cancel, reason);
        pl_pool_end(p, f, code, reason, after);
    }
}

void pl_ticket_due(struct pl_pool *p, struct pl_ticket *t, struct pl_after *after)
{
    plait_future *f = t->future;
    if (!pl_future_claim(f))
        return;
    pl_cancel_mark(&f->cancel, PLAIT_REASON_DEADLINE);
    pl_future_ref(f); // the queue's, until it finds the ticket
    pl_pool_end(p, f, -ETIMEDOUT, PLAIT_REASON_DEADLINE, after);
}

void pl_pool_requeue(struct pl_pool *p, struct pl_flight *fl)
{
    struct pl_ticket *t = fl->ticket;
    fl->ticket = NULL;
    plait_future *f = pl_flight_clear(p, fl);
    // Under the lock, as every change of a phase here; the default order costs nothing that
    // matters.
    atomic_store(&f->notify.phase, PL_PHASE_QUEUED);
    enqueue(p, f, t, true);
}

// ---- which hand

static unsigned ahead(const struct pl_pool *p, struct pl_hand *h)
{
    uint32_t ns = atomic_load_explicit(&h->channel->run_ns, memory_order_relaxed);
    return ns > 0 && ns < SHORT_NS ? SHORT_AHEAD : p->ex.options.tasks_per_worker + 1;
}

static void leave_roomy(struct pl_pool *p, struct pl_hand *h)
{
    *(h->older ? &h->older->younger : &p->roomy_first) = h->younger;
    *(h->younger ? &h->younger->older : &p->roomy_last) = h->older;
    h->older = h->younger = NULL;
    h->has_room = false;
}

// Those with nothing to do first, the one that became idle last at the very front: it is still
// awake.
static void enter_roomy(struct pl_pool *p, struct pl_hand *h)
{
    if (h->inflight == 0) {
        h->younger = p->roomy_first;
        *(h->younger ? &h->younger->older : &p->roomy_last) = h;
        p->roomy_first = h;
    } else {
        h->older = p->roomy_last;
        *(h->older ? &h->older->younger : &p->roomy_first) = h;
        p->roomy_last = h;
    }
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
    bool room =
        h->channel && h->state == PL_HAND_LIVE && h->free_count > 0 && h->inflight < ahead(p, h);
    if (h->has_room)
        leave_roomy(p, h);
    if (room)
        enter_roomy(p, h);
}

static struct pl_hand *pick(struct pl_pool *p)
{
    struct pl_hand *h = p->warm;
    if (h && h->has_room && h->inflight > 0) {
        uint64_t ns = atomic_load_explicit(&h->channel->run_ns, memory_order_relaxed);
        if (ns > 0 && ns * h->inflight < WAKE_NS)
            return h;
    }
    return p->roomy_first;
}

// ---- into the slot

struct pl_layout pl_layout_of(const plait_future *f)
{
    bool bytes = pl_future_is_bytes(f);
    size_t in = bytes ? f->extra->bytes_in.bytes : f->task->in_bytes;
    size_t out = bytes ? 0 : f->task->out_bytes;
    size_t after = (in + 15) & ~(size_t)15;
    if (after + out <= PL_INLINE_BYTES)
        return (struct pl_layout){ PL_PLACE_INLINE, PL_PLACE_INLINE, (uint32_t)after };
    if (after + out <= PL_SPILL_BYTES)
        return (struct pl_layout){ PL_PLACE_SPILL, PL_PLACE_SPILL, (uint32_t)after };
    return (struct pl_layout){ in <= PL_SPILL_BYTES ? PL_PLACE_SPILL : PL_PLACE_CARGO,
                               out <= PL_INLINE_BYTES ? PL_PLACE_INLINE : PL_PLACE_CARGO, 0 };
}

static struct plait_span argument(plait_future *f)
{
    if (pl_future_is_bytes(f))
        return *pl_future_bytes_in(f);
    return (struct plait_span){ pl_future_in(f), f->task->in_bytes };
}

static void push(struct pl_pool *p, struct pl_flight *fl)
{
    struct pl_hand *h = fl->hand;
    fl->state = PL_FLIGHT_SENT;
    // Relaxed: the push that follows releases it.
    atomic_store_explicit(&h->channel->slots[fl->slot].state, PL_SLOT_QUEUED, memory_order_relaxed);
    h->sent[h->work_at % PL_SLOTS] = fl->slot;
    pl_ring_push(&h->channel->work, &h->work_at, fl->slot);
    if (pl_channel_must_ring_worker(h->channel)) {
        pl_bell_ring(h->doorbell);
        p->woken = true;
    }
    pl_flight_arm(p, fl);
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

static void send(struct pl_pool *p, struct pl_hand *h, plait_future *f, struct pl_ticket *t,
                 struct pl_after *after)
{
    uint8_t slot = h->free[--h->free_count];
    struct pl_flight *fl = &h->flights[slot];
    struct pl_slot *s = &h->channel->slots[slot];
    struct pl_layout at = pl_layout_of(f);
    struct plait_span in = argument(f);
    int task = pl_table_find(&p->table, f->task);
    // The workers of a zygote that was started anew may know less.
    s->task = task < 0 ? UINT32_MAX : (uint32_t)task;
    s->in_bytes = (uint32_t)in.bytes;
    s->out_bytes = 0;
    s->in_place = at.in;
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
    fl->reason = PLAIT_REASON_NONE;
    f->notify.job.next = &fl->home;
    h->inflight++;
    p->inflight++;
    p->warm = h;
    pl_hand_refresh(p, h);
    if (at.in != PL_PLACE_CARGO) {
        push(p, fl);
    } else if (!load_later(fl, after)) {
        pl_flight_clear(p, fl);
        pl_flight_free(h, fl);
        pl_hand_refresh(p, h);
        pl_pool_end(p, f, -ENOMEM, PLAIT_REASON_NONE, after);
        return;
    }
    // Behind a task that may turn out to be long, while another worker has nothing to do: look
    // again.
    if (PL_UNLIKELY(h->inflight > p->ex.options.tasks_per_worker && !p->ticking && p->roomy_first &&
                    p->roomy_first->inflight == 0)) {
        p->ticking = true;
        pl_pool_rouse(p, 1);
    }
}

void pl_pool_loaded(struct pl_pool *p, struct pl_loading *l, int fd, struct pl_after *after)
{
    struct pl_hand *h = l->hand;
    struct pl_flight *fl = &h->flights[l->slot];
    if (h->generation != l->generation || fl->state != PL_FLIGHT_LOADING || fl->future != l->future)
        return; // cancelled, or the worker died and the task waits again
    struct pl_message m = { .kind = PL_MESSAGE_CARGO,
                            .slot = l->slot,
                            .bytes = h->channel->slots[l->slot].in_bytes };
    int e = fd < 0 ? fd : pl_socket_send(h->socket, &m, sizeof m, &fd, 1);
    if (e == 0) {
        push(p, fl);
    } else if (e != -EPIPE) { // then the worker's death will requeue it
        plait_future *f = pl_flight_clear(p, fl);
        pl_flight_free(h, fl);
        pl_hand_refresh(p, h);
        pl_pool_end(p, f, e, PLAIT_REASON_NONE, after);
    }
}

void pl_pool_dispatch(struct pl_pool *p, struct pl_after *after)
{
    struct pl_hand *h;
    while (p->first && (h = pick(p))) {
        struct pl_ticket *t;
        plait_future *f = dequeue(p, &t);
        if (f)
            send(p, h, f, t, after);
    }
}

// ---- taking back

void pl_hand_take_back(struct pl_pool *p, struct pl_hand *h, unsigned want)
{
    for (uint32_t i = 1; want > 0 && i <= PL_SLOTS; i++) {
        uint8_t slot = h->sent[(h->work_at - i) % PL_SLOTS];
        struct pl_flight *fl = &h->flights[slot];
        if (fl->state == PL_FLIGHT_REVOKED)
            continue;
        if (fl->state != PL_FLIGHT_SENT || fl->ladder != PL_LADDER_NONE ||
            !pl_slot_take(&h->channel->slots[slot], PL_SLOT_REVOKED))
            break;
        pl_pool_requeue(p, fl);
        fl->state = PL_FLIGHT_REVOKED;
        want--;
    }
    pl_hand_refresh(p, h);
}

void pl_pool_balance(struct pl_pool *p)
{
    unsigned each = p->ex.options.tasks_per_worker;
    // Nothing to gain: no more in flight than may run, nobody idle, or enough in the queue.
    if (p->inflight <= each || p->first || !p->roomy_first || p->roomy_first->inflight > 0)
        return;
    struct pl_hand *most = NULL;
    for (struct pl_hand *h = p->busy; h; h = h->busy_next)
        if (h->state == PL_HAND_LIVE && (!most || h->inflight > most->inflight))
            most = h;
    if (most && most->inflight > each) {
        unsigned surplus = (most->inflight - each + 1) / 2;
        unsigned room = ahead(p, p->roomy_first);
        pl_hand_take_back(p, most, surplus < room ? surplus : room);
        // What was taken back is for the idle one, not for the one it came from.
        p->warm = p->roomy_first;
    }
}

// ---- submitting

// Enters and returns with the lock held.
static int wait_for_room(struct pl_pool *p)
{
    struct pl_room r, **end = &p->room;
    pl_wait_init(&r.wait, pl_strand_current());
    while (*end)
        end = &(*end)->next;
    r.next = NULL;
    r.link = end;
    *end = &r;
    pl_unlock(&p->lock);
    enum pl_wait_state why = pl_wait(&r.wait, PLAIT_NEVER);
    pl_lock(&p->lock);
    if (r.link) {
        *r.link = r.next;
        if (r.next)
            r.next->link = r.link;
    }
    return why == PL_WAIT_WOKEN ? 0 : pl_strand_code(r.wait.strand);
}

// 0 when there is room. With the lock held.
static int may_enter(struct pl_pool *p)
{
    for (;;) {
        if (atomic_load_explicit(&p->ex.state, memory_order_relaxed) != PL_EXECUTOR_OPEN)
            return -ESHUTDOWN;
        if (PL_LIKELY(p->queued < p->ex.options.queue_limit))
            return 0;
        if (p->ex.options.when_full == PLAIT_FULL_FAIL)
            return -EAGAIN;
        int e = wait_for_room(p);
        if (e < 0)
            return e;
    }
}

int pl_pool_submit(struct plait_executor *ex, plait_future *f)
{
    struct pl_pool *p = pl_pool_of(ex);
    int e = pl_table_find(&p->table, f->task);
    if (e < 0)
        return e;
    if (argument(f).bytes > PL_MAX_BYTES || f->task->out_bytes > PL_MAX_BYTES)
        return -EMSGSIZE;
    struct pl_ticket *t;
    e = make_ticket(f, &t);
    if (e < 0)
        return e;
    struct pl_after after;
    pl_after_init(&after);
    pl_lock(&p->lock);
    e = may_enter(p);
    if (e < 0) {
        pl_unlock(&p->lock);
        pl_free_mem(t);
        return e;
    }
    if (PL_UNLIKELY(atomic_load(&f->notify.phase) != PL_PHASE_QUEUED)) {
        pl_unlock(&p->lock); // cancelled before it came; see pl_pool_cancel()
        pl_free_mem(t);
        pl_future_unref(f);
        return 0;
    }
    f->notify.job.run = pl_pool_submitted;
    atomic_fetch_add_explicit(&p->alive, 1, memory_order_relaxed);
    p->submits++;
    if (PL_UNLIKELY(p->audit_at == PL_FOREVER))
        pl_audit_wake(p);
    struct pl_hand *h;
    if (PL_UNLIKELY(p->broken)) {
        enqueue(p, f, t, false);
        pl_pool_break(p, NULL, &after);
    } else if (PL_LIKELY(!p->first && (h = pick(p)) && pl_future_claim(f))) {
        send(p, h, f, t, &after);
    } else {
        enqueue(p, f, t, false);
        pl_pool_dispatch(p, &after);
    }
    pl_pool_unlock(p, &after);
    return 0;
}
