// SPDX-License-Identifier: MIT
/*
 * reap.c - taking what workers have finished, and completing futures.
 *
 * DESIGN
 *   Whatever is read from the shared memory is hostile: a task may have written anywhere. A slot
 *   number comes out of the ring only where the hand's books say that a task is in it; lengths and
 *   places follow from the task's declaration, or are copied once and checked. What does not fit is
 *   the end of that worker, and of nothing else.
 *
 *   Small results are copied under the lock. Large ones, and the completion of futures with all
 *   their callbacks, wait until it is given back.
 */
#include "proc/pool.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/bug.h"
#include "base/relax.h"
#include "core/given.h"
#include "core/strand.h"
#include "os/alloc.h"
#include "os/clock.h"
#include "os/futex.h"
#include "os/memory.h"

// How long a waiting thread looks at the rings before it sleeps: about what it costs to wake the
// worker and this thread, at worst.
#define DOZE_MOST_NS 100000

// How far ahead slots are fetched: together they take as long to come as one.
#define EXPECTED 8u
// So many finished tasks are worth a submitter's time.
#define WORTHWHILE 32u

void pl_after_init(struct pl_after *after)
{
    *after = (struct pl_after){ .first = NULL };
    after->end = &after->first;
}

void pl_after_tell(struct pl_after *after, const char *format, ...)
{
    enum { BYTES = 280 };
    va_list values;
    if (!after->notice)
        after->notice = pl_alloc(BYTES);
    if (!after->notice)
        return; // the worker is replaced all the same
    va_start(values, format);
    vsnprintf(after->notice, BYTES, format, values);
    va_end(values);
}

// ---- out of the books

void pl_pool_end(struct pl_pool *p, plait_future *f, int code, enum plait_reason reason,
                 struct pl_after *after)
{
    (void)p;
    atomic_store_explicit(&f->notify.phase, PL_PHASE_ENDED, memory_order_relaxed); // under the lock
    f->code = code;
    f->reason = (uint16_t)reason;
    f->notify.job.next = NULL;
    *after->end = &f->notify.job;
    after->end = &f->notify.job.next;
}

plait_future *pl_flight_clear(struct pl_pool *p, struct pl_flight *fl)
{
    plait_future *f = fl->future;
    PL_ASSERT(f && fl->hand->inflight > 0);
    if (pl_heap_is_linked(&fl->timer))
        pl_heap_remove(&p->timers, &fl->timer);
    pl_free_mem(fl->ticket);
    pl_fd_close(fl->cargo);
    pl_parcel_free(fl->parcel);
    fl->ticket = NULL;
    fl->cargo = PL_CARGO_NONE;
    fl->parcel = NULL;
    fl->future = NULL;
    fl->hand->inflight--;
    p->inflight--;
    return f;
}

void pl_flight_free(struct pl_hand *h, struct pl_flight *fl)
{
    PL_ASSERT(!fl->future && h->free_count < PL_SLOTS);
    fl->state = PL_FLIGHT_FREE;
    h->free[h->free_count++] = fl->slot;
}

// ---- a result

static bool land_later(plait_future *f, struct pl_parcel *parcel, int fd, uint32_t bytes,
                       struct pl_after *after)
{
    struct pl_landing *l = pl_alloc(sizeof *l);
    if (!l)
        return false;
    *l = (struct pl_landing){ after->landings, f, parcel, fd, bytes };
    after->landings = l;
    return true;
}

static int keep_bytes(plait_future *f, const void *data, uint32_t bytes)
{
    struct plait_buffer *out = pl_future_bytes_out(f);
    if (bytes == 0)
        return 0;
    void *copy = pl_alloc(bytes);
    if (!copy)
        return -ENOMEM;
    memcpy(copy, data, bytes);
    *out = (struct plait_buffer){ copy, bytes, bytes };
    return 0;
}

// Where the worker says that its result is, and how large; false when that cannot be.
static bool result_at(struct pl_flight *fl, struct pl_slot *s, enum pl_place *place,
                      uint32_t *bytes)
{
    plait_future *f = fl->future;
    *place = (enum pl_place)s->out_place; // one copy each, before they are checked
    *bytes = s->out_bytes;
    if (!pl_future_is_bytes(f)) {
        *place = pl_layout_of(f).out;
        *bytes = (uint32_t)f->task->out_bytes;
    }
    if (*place == PL_PLACE_INLINE)
        return *bytes <= PL_INLINE_BYTES;
    if (*place == PL_PLACE_SPILL)
        return *bytes <= PL_SPILL_BYTES;
    return *place == PL_PLACE_CARGO && fl->cargo >= 0 && fl->cargo_bytes == *bytes;
}

// The future has the rest of its result. Gives the parcel (or NULL) back.
static void land_parcel(plait_future *f, struct pl_parcel *parcel)
{
    if (pl_task_has_fds(f->task))
        pl_future_fds_land(f, parcel ? parcel->fds : NULL);
    pl_free_mem(parcel);
}

static enum plait_reason reason_of(const struct pl_flight *fl, int code)
{
    if (code != -ECANCELED && code != -ETIMEDOUT)
        return PLAIT_REASON_NONE;
    if (fl->reason != PLAIT_REASON_NONE)
        return (enum plait_reason)fl->reason;
    // The worker looks at the clock too, and may be the first to notice.
    bool timed = fl->future->cancel.deadline != PLAIT_NEVER || fl->timeout_ns > 0;
    return code == -ETIMEDOUT && timed ? PLAIT_REASON_DEADLINE : PLAIT_REASON_NONE;
}

bool pl_hand_land(struct pl_hand *h, struct pl_flight *fl, struct pl_after *after)
{
    struct pl_pool *p = h->pool;
    struct pl_slot *s = &h->channel->slots[fl->slot];
    enum pl_place place = PL_PLACE_INLINE;
    uint32_t bytes = 0;
    int code = *(volatile int32_t *)&s->code;
    uint32_t told = *(volatile uint32_t *)&s->out_place;
    if (code >= 0 && fl->cargo == PL_CARGO_NONE && !fl->parcel &&
        (told == PL_PLACE_CARGO || told & PL_PLACE_AWAITS))
        pl_hand_receive(h, PL_ALL_MESSAGES);
    bool failed = code < 0; // as the worker says: else the slot holds what the task has made
    if (code >= 0 && fl->cargo == PL_CARGO_LOST)
        code = -EMFILE;
    if (code >= 0 && told & PL_PLACE_AWAITS && !fl->parcel)
        return false;
    if (code >= 0 && !result_at(fl, s, &place, &bytes))
        return false;
    enum plait_reason reason = reason_of(fl, code);
    bool cargo = code >= 0 && place == PL_PLACE_CARGO;
    struct pl_parcel *parcel = NULL;
    int fd = -1;
    if (cargo) {
        fd = fl->cargo;
        fl->cargo = PL_CARGO_NONE;
    }
    if (code >= 0) {
        parcel = fl->parcel;
        fl->parcel = NULL;
    }
    plait_future *f = pl_flight_clear(p, fl);
    f->pid = h->pid;
    f->started = 1;
    if (PL_UNLIKELY(failed)) {
        struct pl_parting said;
        memcpy(&said, s->data, sizeof said);
        f->cpu_ns = said.cpu_ns > 0 ? said.cpu_ns : 0;
        f->peak_kib = said.peak_kib;
        f->started = said.began != 0;
        f->pid = f->started ? h->pid : 0;
        pl_ear_keep(h, fl->slot, &said.spoken, f);
    }
    if (cargo) {
        f->code = code;
        atomic_store_explicit(&f->notify.phase, PL_PHASE_ENDED,
                              memory_order_relaxed); // under the lock
        if (!land_later(f, parcel, fd, bytes, after)) {
            pl_fd_close(fd);
            pl_parcel_free(parcel);
            pl_pool_end(p, f, -ENOMEM, PLAIT_REASON_NONE, after);
        }
    } else {
        const char *from = place == PL_PLACE_INLINE ? s->data : h->channel->spill[fl->slot];
        if (code >= 0 && pl_future_is_bytes(f)) {
            int e = keep_bytes(f, from, bytes);
            code = e < 0 ? e : code;
        } else if (code >= 0 && bytes > 0) {
            memcpy(pl_future_out(f), from + pl_layout_of(f).out_at, bytes);
            land_parcel(f, parcel);
        }
        pl_pool_end(p, f, code, reason, after);
    }
    pl_flight_free(h, fl);
    h->served++;
    return true;
}

// ---- the rings

bool pl_pool_has_done(struct pl_pool *p)
{
    for (struct pl_hand *h = p->busy; h; h = h->busy_next)
        if (h->state == PL_HAND_LIVE && pl_ring_peek(&h->channel->done, h->done_at) >= 0)
            return true;
    return false;
}

static void reap_hand(struct pl_hand *h, struct pl_after *after)
{
    uint32_t before = h->done_at;
    struct pl_ring *done = &h->channel->done;
    for (uint32_t i = 1; i < EXPECTED; i++)
        pl_channel_expect(h->channel, done, before + i);
    for (int slot; (slot = pl_ring_peek(done, h->done_at)) >= 0; h->done_at++) {
        pl_channel_expect(h->channel, done, h->done_at + EXPECTED);
        struct pl_flight *fl = &h->flights[slot];
        bool sane = false;
        if (fl->state == PL_FLIGHT_REVOKED) {
            pl_flight_free(h, fl);
            sane = true;
        } else if (fl->state == PL_FLIGHT_SENT &&
                   pl_slot_state(&h->channel->slots[slot]) == PL_SLOT_DONE) {
            sane = pl_hand_land(h, fl, after);
        }
        if (!sane) {
            pl_hand_kill(h, "it wrote rubbish into the memory that it shares with the program");
            break;
        }
    }
    if (h->done_at != before) {
        // Relaxed: a hint, by which the worker spares us a wake-up.
        atomic_store_explicit(&h->channel->taken, h->done_at, memory_order_relaxed);
        pl_hand_refresh(h->pool, h);
        pl_hand_check_age(h);
    }
}

void pl_pool_reap(struct pl_pool *p, struct pl_after *after)
{
    for (struct pl_hand *h = p->busy, *next; h; h = next) {
        next = h->busy_next;
        if (h->state == PL_HAND_LIVE)
            reap_hand(h, after);
    }
    if (!p->waiting && p->inflight > 0)
        pl_pool_balance(p);
    if (p->waiting)
        pl_pool_dispatch(p, after);
}

bool pl_pool_reap_some(struct pl_pool *p, struct pl_after *after)
{
    struct pl_hand *h = &p->hands[p->submits % p->hand_count];
    if (h->state != PL_HAND_LIVE || !h->is_busy ||
        pl_ring_peek(&h->channel->done, h->done_at + WORTHWHILE - 1) < 0)
        return false;
    p->helped = !p->leader;
    after->submitters = true;
    reap_hand(h, after);
    return true;
}

bool pl_pool_listen(struct pl_pool *p, enum pl_listener listener)
{
    p->listener = listener;
    for (struct pl_hand *h = p->busy; h; h = h->busy_next)
        pl_channel_listen(h->channel, listener);
    if (listener == PL_LISTENER_AWAKE)
        return true;
    for (struct pl_hand *h = p->busy; h; h = h->busy_next)
        if (h->state == PL_HAND_LIVE && !pl_channel_host_sleeps(h->channel, h->done_at))
            return false;
    return true;
}

// ---- after the lock

static void complete(plait_future *f)
{
    pl_future_complete(f, f->code, (enum plait_reason)f->reason);
}

static void finish_landing(struct pl_landing *l)
{
    plait_future *f = l->future;
    void *to = pl_future_is_bytes(f) ? pl_alloc(l->bytes) : pl_future_out(f);
    int e = to ? pl_memfd_read(l->fd, to, l->bytes) : -ENOMEM;
    if (pl_future_is_bytes(f) && e == 0)
        *pl_future_bytes_out(f) = (struct plait_buffer){ to, l->bytes, l->bytes };
    else if (pl_future_is_bytes(f))
        pl_free_mem(to);
    if (e == 0) {
        land_parcel(f, l->parcel);
    } else {
        f->code = e;
        pl_parcel_free(l->parcel);
    }
    f->reason = PLAIT_REASON_NONE;
    pl_fd_close(l->fd);
    pl_free_mem(l);
    complete(f);
}

// The supervisor is to go on with what is left.
static void leave(struct pl_pool *p, struct pl_after *after)
{
    pl_lock(&p->lock);
    if (after->first) {
        *after->end = p->left;
        p->left = after->first;
    }
    for (struct pl_landing *l = after->landings, *next; l; l = next) {
        next = l->next;
        l->next = p->left_landings;
        p->left_landings = l;
    }
    pl_pool_rouse(p, 1);
    pl_unlock(&p->lock);
    after->first = NULL;
    after->landings = NULL;
}

// Completes those of the ended futures that nobody waits for; how many. The others stay.
static uint64_t finish_unwatched(struct pl_after *after)
{
    uint64_t count = 0;
    struct pl_job **link = &after->first;
    for (struct pl_job *job = after->first, *next; job; job = next) {
        plait_future *f = PL_CONTAINER(job, struct plait_future, notify.job);
        next = job->next;
        if (pl_future_complete_unwatched(f, f->code, (enum plait_reason)f->reason)) {
            *link = next;
            count++;
        } else {
            link = &job->next;
        }
    }
    after->end = link;
    return count;
}

// Completes what has ended; how many.
static uint64_t finish(struct pl_pool *p, struct pl_after *after)
{
    uint64_t count = 0;
    if (PL_UNLIKELY(after->submitters)) {
        count = finish_unwatched(after);
        if (after->first || after->landings)
            leave(p, after);
    }
    for (struct pl_job *job = after->first, *next; job; job = next, count++) {
        next = job->next;
        complete(PL_CONTAINER(job, struct plait_future, notify.job));
    }
    for (struct pl_landing *l = after->landings, *next; l; l = next, count++) {
        next = l->next;
        finish_landing(l);
    }
    if (after->cancelled) {
        complete(after->cancelled);
        count += after->counted;
    }
    if (PL_UNLIKELY(after->notice != NULL)) {
        pl_notice(&p->ex, PLAIT_NOTICE_WORKER_DIED, NULL, 0, after->notice);
        pl_free_mem(after->notice);
    }
    return count;
}

// Copies the large arguments; true when the lock was taken again to send them.
static bool load(struct pl_pool *p, struct pl_loading *l, struct pl_after *more)
{
    if (!l)
        return false;
    pl_after_init(more);
    for (struct pl_loading *next; l; l = next) {
        plait_future *f = l->future;
        next = l->next;
        int fd = pl_future_is_bytes(f)
                     ? pl_memfd_of("plait-argument", pl_future_bytes_in(f)->data,
                                   pl_future_bytes_in(f)->bytes)
                     : pl_memfd_of("plait-argument", pl_future_in(f), f->task->in_bytes);
        pl_lock(&p->lock);
        pl_pool_loaded(p, l, fd, more);
        if (next)
            pl_unlock(&p->lock);
        pl_fd_close(fd);
        pl_free_mem(l);
        pl_future_unref(f); // not the last: the executor's is given back by completing
    }
    return true;
}

void pl_pool_unlock(struct pl_pool *p, struct pl_after *after)
{
    struct pl_after more = *after;
    if (!after->first)
        more.end = &more.first;
    uint64_t count = 0;
    do {
        struct pl_after now = more;
        pl_unlock(&p->lock);
        count += finish(p, &now);
        if (!load(p, now.loadings, &more))
            break;
    } while (true);
    // Nothing of ours is touched after the last one went, unless this thread sees the end of the
    // pool.
    if (count == 0 || atomic_fetch_sub(&p->alive, count) != count ||
        atomic_load(&p->ex.state) == PL_EXECUTOR_OPEN)
        return;
    pl_lock(&p->lock);
    pl_pool_check_end(p);
    pl_unlock(&p->lock);
}

void pl_pool_check_end(struct pl_pool *p)
{
    if (!p->ended && atomic_load(&p->ex.state) != PL_EXECUTOR_OPEN && atomic_load(&p->alive) == 0) {
        p->ended = true;
        pl_pool_rouse(p, 1);
    }
}

// ---- the leader

struct led {
    struct pl_waiter waiter;
    struct pl_pool *pool;
    bool beside;         // the task ran, and on another CPU, when this thread gave dozing up
    int64_t dozes_since; // when it began
    _Atomic bool asleep; // or about to be
};

static void wake_leader(struct pl_waiter *w, plait_future *f)
{
    struct led *led = PL_CONTAINER(w, struct led, waiter);
    (void)f;
    // The future is done already. Pairs with the store in sleep_as_leader(), which then looks at
    // it.
    if (atomic_exchange(&led->asleep, false)) {
        pl_lock(&led->pool->lock);
        pl_pool_wake_leader(led->pool);
        pl_unlock(&led->pool->lock);
    }
}

void pl_pool_wake_leader(struct pl_pool *p)
{
    if (p->listener == PL_LISTENER_LEADER_ALONE) {
        p->listener = PL_LISTENER_AWAKE;
        (void)pl_channel_take_listener(p->leader_on);
        pl_futex_wake_shared(&p->leader_on->listener, 1);
    } else if (p->listener == PL_LISTENER_LEADER) {
        pl_gong_strike(p->gong);
    }
}

void pl_pool_release_channel(struct pl_pool *p, struct pl_channel *c)
{
    if (c == p->leader_on) {
        p->leader_keeps = c;
        pl_pool_wake_leader(p);
    } else {
        pl_memory_release(c, sizeof *c);
    }
}

// Whether a worker had to be woken: that is best done on this very core, by leaving it. Under the
// lock.
static bool take_woken(struct pl_pool *p)
{
    bool woken = p->woken;
    p->woken = false;
    return woken;
}

// A worker is at it. Under the lock.
static bool is_started(plait_future *f)
{
    if (atomic_load_explicit(&f->notify.phase, memory_order_relaxed) != PL_PHASE_RUNNING)
        return false;
    struct pl_flight *fl = PL_CONTAINER(f->notify.job.next, struct pl_flight, home);
    return fl->state == PL_FLIGHT_SENT &&
           pl_slot_state(&fl->hand->channel->slots[fl->slot]) == PL_SLOT_STARTED;
}

// Looks at the rings until f is done (true), or nothing has come for a while; for how long follows
// from whether that helped of late: on a crowded machine the worker waits for our core.
static bool doze(struct led *led, plait_future *f, int64_t deadline)
{
    struct pl_pool *p = led->pool;
    struct pl_after after;
    int64_t until = 0;
    led->beside = false;
    for (unsigned round = 1; !pl_future_is_done(f); round++) {
        pl_lock(&p->lock);
        if (pl_pool_has_done(p)) {
            pl_after_init(&after);
            pl_pool_reap(p, &after);
            pl_pool_unlock(p, &after);
            p->leader_doze_ns = DOZE_MOST_NS;
            until = 0;
            continue;
        }
        bool woken = take_woken(p);
        pl_unlock(&p->lock);
        if (!p->doze || woken)
            return false;
        if (round % 16 == 0) {
            int64_t now = pl_now();
            if (until == 0) {
                until = now + p->leader_doze_ns < deadline ? now + p->leader_doze_ns : deadline;
                led->dozes_since = now;
            } else if (now >= until) {
                pl_lock(&p->lock);
                led->beside = is_started(f);
                p->leader_doze_ns /= 2;
                pl_unlock(&p->lock);
                return false;
            }
        }
        for (int i = 0; i < 4; i++)
            pl_relax();
    }
    return true;
}

// Sleeps until a worker has finished something, or f was completed by somebody else.
static void sleep_as_leader(struct led *led, plait_future *f, int64_t deadline)
{
    struct pl_pool *p = led->pool;
    struct pl_after after;
    pl_after_init(&after);
    pl_lock(&p->lock);
    struct pl_channel *alone = p->busy && !p->busy->busy_next ? p->busy->channel : NULL;
    uint32_t strikes = atomic_load(&p->gong->strikes); // before it promises to sleep
    bool sleep = pl_pool_listen(p, alone ? PL_LISTENER_LEADER_ALONE : PL_LISTENER_LEADER);
    p->leader_on = alone;
    pl_unlock(&p->lock);
    atomic_store(&led->asleep, true);
    // Whatever ends it, we look again.
    if (sleep && !pl_future_is_done(f)) {
        if (alone)
            (void)pl_futex_wait_shared(&alone->listener, PL_LISTENER_LEADER_ALONE,
                                       pl_gong_nap(deadline));
        else
            pl_gong_await(p->gong, strikes, deadline);
    }
    atomic_store(&led->asleep, false);
    // Had it dozed for longer, it would have been there in time.
    bool too_soon = led->beside && pl_now() - led->dozes_since < DOZE_MOST_NS;
    pl_lock(&p->lock);
    if (too_soon)
        p->leader_doze_ns = DOZE_MOST_NS;
    p->leader_on = NULL;
    if (p->leader_keeps)
        pl_memory_release(p->leader_keeps, sizeof *p->leader_keeps);
    p->leader_keeps = NULL;
    pl_pool_listen(p, PL_LISTENER_AWAKE);
    pl_pool_reap(p, &after);
    pl_pool_unlock(p, &after);
}

void pl_pool_help(struct plait_executor *ex, plait_future *f, int64_t deadline)
{
    struct pl_pool *p = pl_pool_of(ex);
    struct pl_after after;
    pl_after_init(&after);
    pl_lock(&p->lock);
    if (p->leader || p->ended) {
        pl_unlock(&p->lock);
        return;
    }
    p->leader = true;
    pl_pool_listen(p, PL_LISTENER_AWAKE);
    pl_pool_reap(p, &after);
    bool woken = take_woken(p);
    pl_pool_unlock(p, &after);

    struct led led = { .waiter.fire = wake_leader, .pool = p };
    bool watching = false;
    for (; woken ? !pl_future_is_done(f) : !doze(&led, f, deadline); woken = false) {
        // A thread in a scope may be cancelled; the ordinary wait knows how to end then, this one
        // not.
        if (pl_strand_current()->cancel || pl_clock_left(deadline) == 0)
            break;
        if (!watching && !pl_future_watch(f, &led.waiter))
            break;
        watching = true;
        sleep_as_leader(&led, f, deadline);
    }
    if (watching)
        pl_future_unwatch(f, &led.waiter);

    pl_after_init(&after);
    pl_lock(&p->lock);
    while (!pl_pool_listen(p, PL_LISTENER_SUPERVISOR))
        pl_pool_reap(p, &after);
    p->leader = false;
    if (p->ended)
        pl_pool_rouse(p, 1);
    pl_pool_unlock(p, &after);
}
