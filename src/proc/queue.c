// SPDX-License-Identifier: MIT
/*
 * queue.c - submitting, and what waits to start.
 *
 * DESIGN
 *   The submitting thread itself puts the task into a worker's ring when one has room: no thread in
 *   between. What finds no room waits here, and is handed out by whoever reaps.
 *
 *   The queue has a level for each priority, and a word with a bit for each level that holds
 *   something, so that the first task is two instructions away. A level is a list of jobs: a
 *   future's own, or, where it has a deadline, that of a ticket, which also holds the timer. A
 *   future that is cancelled here is completed at once, and its room is another's. Its entry stays,
 *   an empty husk with a reference of its own, until it comes to the head, or more husks lie there
 *   than tasks.
 *
 *   What a worker was given in advance is part of the order: a task that finds no worker idle has
 *   tasks of lower priority, which no worker has started, taken back before it is handed out.
 */
#include "proc/batch.h"
#include "proc/pool.h"

#include "base/bug.h"
#include "core/strand.h"
#include "os/alloc.h"
#include "os/clock.h"

// Futures for which `alive` grows at once.
#define CREDIT 256u

struct pl_room {
    struct pl_room *next, **link;
    struct pl_wait wait;
};

// ---- tickets

// More of them are worth a look at all that waits.
#define HUSKS_LEAST 64

// None is ever run: they mark what a queued job is.
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

void pl_pool_pauses(struct pl_job *job, int refused)
{
    (void)job, (void)refused;
    PL_ASSERT(!"a future that pauses is not a job");
}

static struct pl_ticket *ticket_of(struct pl_job *job)
{
    return job->run == is_ticket ? PL_CONTAINER(job, struct pl_ticket, job) : NULL;
}

static plait_future *future_of(struct pl_job *job)
{
    struct pl_ticket *t = ticket_of(job);
    return t ? t->future : PL_CONTAINER(job, struct plait_future, notify.job);
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

void pl_queue_init(struct pl_pool *p)
{
    for (unsigned i = 0; i < PL_LEVELS; i++)
        p->levels[i].end = &p->levels[i].first;
}

static inline unsigned level_of(const plait_future *f)
{
    return (unsigned)(PLAIT_PRIORITY_HIGHEST - pl_future_priority(f));
}
_Static_assert(PLAIT_PRIORITY_HIGHEST - PLAIT_PRIORITY_LOWEST + 1 == PL_LEVELS, "a bit a level");

static void enqueue(struct pl_pool *p, plait_future *f, struct pl_ticket *t, bool at_head)
{
    struct pl_job *job = t ? &t->job : &f->notify.job;
    unsigned i = level_of(f);
    struct pl_level *level = &p->levels[i];
    if (at_head) {
        job->next = level->first;
        level->first = job;
        if (!job->next)
            level->end = &job->next;
    } else {
        job->next = NULL;
        *level->end = job;
        level->end = &job->next;
    }
    p->waiting |= UINT64_C(1) << i;
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

// There is room: for the next, too, who waits for it. Whoever was let in before may have been
// handed out at once, or have given up meanwhile: then nothing leaves the queue for his sake.
static void admit_next(struct pl_pool *p)
{
    if (PL_UNLIKELY(p->room != NULL) && p->queued < p->ex.options.queue_limit)
        admit(p);
}

void pl_pool_admit_all(struct pl_pool *p)
{
    while (p->room)
        admit(p);
}

// The entry of a future that was cancelled is out of the queue.
static void drop_husk(struct pl_pool *p, struct pl_job *job)
{
    plait_future *f = future_of(job);
    struct pl_ticket *t = ticket_of(job);
    if (t && pl_heap_is_linked(&t->timer))
        pl_heap_remove(&p->tickets, &t->timer);
    pl_free_mem(t);
    pl_future_unref(f); // its canceller has completed it, and left us a reference
    p->husks--;
}

static void drop_husks(struct pl_pool *p)
{
    for (unsigned i = 0; i < PL_LEVELS; i++) {
        struct pl_level *level = &p->levels[i];
        struct pl_job **link = &level->first;
        for (struct pl_job *job = *link; job; job = *link) {
            uint32_t phase = atomic_load_explicit(&future_of(job)->notify.phase,
                                                  memory_order_relaxed); // under the lock
            if (phase == PL_PHASE_QUEUED) {
                link = &job->next;
            } else {
                *link = job->next;
                drop_husk(p, job);
            }
        }
        level->end = link;
        if (!level->first)
            p->waiting &= ~(UINT64_C(1) << i);
    }
    PL_ASSERT(p->husks == 0);
}

void pl_pool_left_queue(struct pl_pool *p)
{
    p->queued--;
    p->husks++;
    if (p->husks > HUSKS_LEAST && p->husks > p->queued)
        drop_husks(p);
    admit_next(p);
}

// The first that has not been cancelled, claimed; NULL when the queue is empty.
static plait_future *dequeue(struct pl_pool *p, struct pl_ticket **ticket)
{
    while (p->waiting) {
        unsigned i = (unsigned)__builtin_ctzll(p->waiting);
        struct pl_level *level = &p->levels[i];
        struct pl_job *job = level->first;
        level->first = job->next;
        if (!level->first) {
            level->end = &level->first;
            p->waiting &= ~(UINT64_C(1) << i);
        }
        plait_future *f = future_of(job);
        if (PL_UNLIKELY(!pl_pool_claim(f))) {
            drop_husk(p, job);
            continue;
        }
        struct pl_ticket *t = ticket_of(job);
        if (t)
            pl_heap_remove(&p->tickets, &t->timer);
        p->queued--;
        admit_next(p);
        *ticket = t;
        return f;
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
    pl_pool_drop_pauses(p, code, reason, after);
}

void pl_ticket_due(struct pl_pool *p, struct pl_ticket *t, struct pl_after *after)
{
    plait_future *f = t->future;
    if (!pl_pool_claim(f))
        return;
    pl_cancel_mark(&f->cancel, PLAIT_REASON_DEADLINE);
    pl_future_ref(f); // the queue's, until it finds the ticket
    pl_pool_end(p, f, -ETIMEDOUT, PLAIT_REASON_DEADLINE, after);
    pl_pool_left_queue(p);
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

void pl_pool_put_first(struct pl_pool *p, plait_future *f, struct pl_ticket *t)
{
    enqueue(p, f, t, true);
}

// ---- handing out

void pl_pool_dispatch(struct pl_pool *p, struct pl_after *after)
{
    struct pl_hand *h;
    while (p->waiting && (h = pl_pool_pick(p))) {
        struct pl_ticket *t;
        plait_future *f = dequeue(p, &t);
        if (f)
            pl_hand_send(p, h, f, t, after);
    }
}

// ---- submitting

// Enters and returns with the lock held. `again`: somebody who had not to wait was faster.
static int wait_for_room(struct pl_pool *p, bool again)
{
    struct pl_room r, **end = &p->room;
    pl_wait_init(&r.wait, pl_strand_current());
    pl_wait_for(&r.wait, PL_FOR_QUEUE, NULL);
    while (*end && !again)
        end = &(*end)->next;
    r.next = *end;
    if (r.next)
        r.next->link = &r.next;
    r.link = end;
    *end = &r;
    // This thread reaps no more, and the supervisor may stand aside for it.
    p->helped = false;
    if (p->listener == PL_LISTENER_AWAKE && !p->leader)
        pl_pool_rouse(p, 1);
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

// Takes what workers have finished, if that is much and nobody waits for the room that it makes.
// Enters and returns with the lock held.
static bool make_room(struct pl_pool *p)
{
    struct pl_after after;
    pl_after_init(&after);
    if (p->room || !pl_pool_reap_some(p, &after))
        return false;
    pl_pool_dispatch(p, &after);
    pl_pool_unlock(p, &after);
    pl_lock(&p->lock);
    return true;
}

// 0 when there is room. With the lock held.
static int may_enter(struct pl_pool *p)
{
    for (bool again = false;; again = true) {
        if (atomic_load_explicit(&p->ex.state, memory_order_relaxed) != PL_EXECUTOR_OPEN)
            return -ESHUTDOWN;
        if (PL_LIKELY(p->queued < p->ex.options.queue_limit))
            return 0;
        if (make_room(p))
            continue;
        if (p->ex.options.when_full == PLAIT_FULL_FAIL)
            return -EAGAIN;
        int e = wait_for_room(p, again);
        if (e < 0)
            return e;
    }
}

// No worker is idle: the task goes before what workers have in advance and is less urgent.
static void overtake(struct pl_pool *p, int priority)
{
    if (p->roomy_first && p->roomy_first->inflight == 0)
        return;
    for (struct pl_hand *h = p->busy, *next; h; h = next) {
        next = h->busy_next;
        if (h->state == PL_HAND_LIVE)
            pl_hand_take_back(p, h, PL_SLOTS, priority);
    }
}

int pl_pool_number(const struct pl_pool *p, const plait_future *f)
{
    return f->task == &pl_batch_task ? 0 : pl_table_find(&p->table, f->task);
}

int pl_pool_submit(struct plait_executor *ex, plait_future *f)
{
    struct pl_pool *p = pl_pool_of(ex);
    int e = pl_pool_number(p, f);
    if (e < 0)
        return e;
    if (pl_future_argument(f).bytes > PL_MAX_BYTES || f->task->out_bytes > PL_MAX_BYTES)
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
        admit_next(p);
        pl_unlock(&p->lock);
        pl_free_mem(t);
        return e;
    }
    if (PL_UNLIKELY(atomic_load(&f->notify.phase) != PL_PHASE_QUEUED)) {
        admit_next(p);
        pl_unlock(&p->lock); // cancelled before it came; see pl_pool_cancel()
        pl_free_mem(t);
        pl_future_unref(f);
        return 0;
    }
    f->notify.job.run = pl_pool_submitted;
    if (PL_UNLIKELY(p->credit == 0)) {
        atomic_fetch_add_explicit(&p->alive, CREDIT, memory_order_relaxed);
        p->credit = CREDIT;
    }
    p->credit--;
    p->submits++;
    if (PL_UNLIKELY(p->audit_at == PL_FOREVER))
        pl_audit_wake(p);
    int priority = pl_future_priority(f);
    p->ranked |= priority != 0;
    if (PL_UNLIKELY(p->ranked))
        overtake(p, priority);
    struct pl_hand *h;
    if (PL_UNLIKELY(p->broken)) {
        enqueue(p, f, t, false);
        pl_pool_break(p, NULL, &after);
    } else if (PL_LIKELY(!p->waiting && (h = pl_pool_pick(p)) && pl_pool_claim(f))) {
        pl_hand_send(p, h, f, t, &after);
    } else {
        enqueue(p, f, t, false);
        pl_pool_reap_some(p, &after);
        pl_pool_dispatch(p, &after);
    }
    admit_next(p);
    if (PL_UNLIKELY(p->parked > 0))
        pl_elastic_wish(p);
    pl_pool_unlock(p, &after);
    return 0;
}
