// SPDX-License-Identifier: MIT
/*
 * range.c - a map on fibers and threads: ranges that split themselves.
 *
 * DESIGN
 *   A range is one job that runs its items one after the other, at the cost of a call each. It
 *   gives half of what is left away whenever its worker's deque is empty, so that there is always
 *   something to steal and never more pieces than thieves (lazy binary splitting: Tzannes, Caragea,
 *   Barua, Vishkin 2010). And it gives all of the rest away when an item suspends, so that a
 *   waiting item holds up no other. `left` counts items; whoever brings it to 0 fires the map's
 *   wait, and touches the map no more. `active` lists the ranges that run, under the lock, so that
 *   a cancel reaches each of them; a range leaves the list after the end of its notification.
 */
#include "base/bug.h"
#include "core/local.h"
#include "core/sched.h"
#include "core/trace.h"
#include "exec/map.h"
#include "os/alloc.h"
#include <string.h>

struct map {
    const struct pl_map_job *job;
    struct pl_cancel cancel;
    _Atomic size_t left;
    struct pl_lock lock;
    struct range *active;
    size_t error_at;
    int error;
    struct pl_wait wait, last_wait;
    struct pl_wait *waiting; /* this and `over` under the lock */
    bool over;
};

struct range {
    struct pl_notify notify; /* first */
    struct map *map;
    size_t from, to;
    struct range *older, *younger;
};

static void run(struct pl_job *job, int refused);

static struct range *range_new(struct map *m, size_t from, size_t to)
{
    struct range *r = pl_alloc(sizeof *r);
    if (!r)
        return NULL;
    pl_notify_init(&r->notify);
    r->notify.job.run = run;
    r->map = m;
    r->from = from;
    r->to = to;
    return r;
}

static void tell_active(struct map *m, enum plait_reason reason)
{
    if (!pl_cancel_mark(&m->cancel, reason))
        return;
    pl_lock(&m->lock);
    for (struct range *r = m->active; r; r = r->older)
        pl_notify_post(&r->notify);
    pl_unlock(&m->lock);
}

static void item_ended(struct map *m, size_t i, int code)
{
    const struct pl_map_job *j = m->job;
    if (j->codes)
        j->codes[i] = code;
    if (PL_LIKELY(code >= 0))
        return;
    /* What ended because another failed is no failure of its own. */
    enum plait_reason why = pl_cancel_reason(&m->cancel);
    bool echo = !j->codes && why != PLAIT_REASON_NONE && code == pl_reason_code(why);
    pl_lock(&m->lock);
    if (m->error == 0 || (i < m->error_at && !echo)) {
        m->error = code;
        m->error_at = i;
    }
    pl_unlock(&m->lock);
    if (!j->codes)
        tell_active(m, PLAIT_REASON_SIBLING);
}

static void items_ended(struct map *m, size_t count)
{
    /* Acquire-release: the last one sees all results. The wait is fired under the lock, so that a
     * cancelled caller can exchange it; the lock's memory is the caller's, who takes it once
     * more. */
    if (atomic_fetch_sub_explicit(&m->left, count, memory_order_acq_rel) != count)
        return;
    pl_lock(&m->lock);
    m->over = true;
    pl_wait_fire(m->waiting, PL_WAIT_WOKEN);
    pl_unlock(&m->lock);
}

/* Hands [from, to) to whoever comes. False when memory is short: then the caller keeps it. */
static bool give(struct range *r, size_t from, size_t to)
{
    struct range *half = range_new(r->map, from, to);
    if (!half)
        return false;
    if (pl_worker_push(pl_worker_current(), &half->notify.job) == 0)
        return true;
    pl_free_mem(half);
    return false;
}

/* The item that runs is about to suspend. It is r->from. */
static void give_rest(void *arg)
{
    struct range *r = arg;
    if (r->from + 1 < r->to && give(r, r->from + 1, r->to))
        r->to = r->from + 1;
}

/* Returns how many items it ran. */
static size_t run_items(struct range *r, struct pl_fiber *f, void *unwanted)
{
    struct map *m = r->map;
    const struct pl_map_job *j = m->job;
    struct pl_worker *w = f->strand.worker;
    size_t in_bytes = j->task->in_bytes, out_bytes = j->task->out_bytes, count = 0;
    for (; r->from < r->to; r->from++, count++) {
        size_t i = r->from;
        if (r->to - i > 1 && w->sched->slots > 1 && pl_deque_size_hint(&w->deque) == 0) {
            size_t middle = i + (r->to - i) / 2;
            if (give(r, middle, r->to))
                r->to = middle;
        }
        int code = pl_strand_cancelled(&f->strand);
        if (code == 0) {
            f->giveaway_arg = r;
            f->giveaway = give_rest;
            code = j->task->run(j->in + i * in_bytes, j->out ? j->out + i * out_bytes : unwanted);
            f->giveaway = NULL;
            pl_locals_end(&f->strand);
            if (unwanted && (j->task->flags & PLAIT_TASK_IS_BYTES))
                plait_buffer_free(unwanted);
        }
        item_ended(m, i, code);
    }
    return count;
}

static void run(struct pl_job *job, int refused)
{
    struct range *r = PL_CONTAINER(job, struct range, notify.job);
    struct map *m = r->map;
    const struct pl_map_job *j = m->job;
    bool scratch = !j->out && j->task->out_bytes > 0;
    void *unwanted = scratch ? pl_zalloc(j->task->out_bytes) : NULL;
    if (scratch && !unwanted)
        refused = -ENOMEM;
    size_t count = r->to - r->from;
    if (refused) {
        for (size_t i = r->from; i < r->to; i++)
            item_ended(m, i, refused);
    } else {
        struct pl_fiber *f = pl_fiber_current();
        struct pl_strand *me = &f->strand;
        me->cancel = &m->cancel;
        me->task = j->task->name;
        me->clean = 0;
        r->notify.strand = me;
        pl_lock(&m->lock);
        r->younger = NULL;
        r->older = m->active;
        if (m->active)
            m->active->younger = r;
        m->active = r;
        pl_unlock(&m->lock);
        pl_notify_claim(&r->notify);
        atomic_store_explicit(&me->worker->running, me->task, memory_order_relaxed);
        PL_TRACE(PL_TRACE_START, r, me->task);
        count = run_items(r, f, unwanted);
        PL_TRACE(PL_TRACE_END, r, me->task);
        atomic_store_explicit(&me->worker->running, NULL, memory_order_relaxed);
        pl_notify_end(&r->notify);
        pl_lock(&m->lock);
        if (r->younger)
            r->younger->older = r->older;
        else
            m->active = r->older;
        if (r->older)
            r->older->younger = r->younger;
        pl_unlock(&m->lock);
        me->cancel = NULL;
        me->task = NULL;
    }
    pl_free_mem(unwanted);
    pl_free_mem(r);
    items_ended(m, count);
}

int pl_map_ranges(const struct pl_map_job *j)
{
    struct pl_strand *s = pl_strand_current();
    struct map m = { .job = j, .error_at = j->n };
    struct pl_sched *sched = pl_sched_of(j->ex);
    pl_cancel_init(&m.cancel, s->cancel ? s->cancel : &j->ex->root, 0);
    atomic_init(&m.left, j->n);
    pl_wait_init(&m.wait, s);
    pl_wait_for(&m.wait, PL_FOR_MAP, NULL);
    m.waiting = &m.wait;
    struct range *all = range_new(&m, 0, j->n);
    if (!all)
        return -ENOMEM;
    int e = pl_sched_submit(sched, &all->notify.job);
    if (e < 0) {
        pl_free_mem(all);
        return e;
    }
    if (pl_wait(&m.wait, PLAIT_NEVER) != PL_WAIT_WOKEN) {
        e = pl_strand_code(s);
        tell_active(&m, e == -ETIMEDOUT ? PLAIT_REASON_DEADLINE : PLAIT_REASON_PARENT);
        pl_lock(&m.lock);
        bool over = m.over;
        pl_wait_init(&m.last_wait, s);
        pl_wait_for(&m.last_wait, PL_FOR_MAP, NULL);
        m.waiting = &m.last_wait;
        pl_unlock(&m.lock);
        if (!over)
            pl_wait_uninterrupted(&m.last_wait);
    }
    pl_lock(&m.lock); /* until who fired has let go of it */
    pl_unlock(&m.lock);
    return m.error ? m.error : e;
}
