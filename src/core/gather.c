// SPDX-License-Identifier: MIT
/*
 * gather.c - waiting for several futures at once, and taking them in the order in which they end.
 *
 * DESIGN
 *   plait_wait puts one waiter on each future; the last that is needed fires the wait. Leaving early it
 *   takes the rest off again, after which none of them is referred to.
 *   plait_completed puts its waiters on once; each that ends is appended to a queue under a lock, so
 *   every step is O(1), however many are still running.
 */
#include "base/bug.h"
#include "core/future.h"
#include "core/lock.h"
#include "os/alloc.h"

struct group {
    struct pl_wait wait;
    _Atomic size_t left; /* futures to end before the wait does */
    enum plait_when when;
};

struct member {
    struct pl_waiter waiter;
    struct group *group;
};

static void member_ended(struct pl_waiter *w, plait_future *f)
{
    struct group *g = PL_CONTAINER(w, struct member, waiter)->group;
    bool enough = g->when == PLAIT_ANY || (g->when == PLAIT_FIRST_ERROR && f->code < 0);
    /* Acquire-release: the last one sees what all the others did. */
    if (atomic_fetch_sub_explicit(&g->left, 1, memory_order_acq_rel) == 1 || enough)
        pl_wait_fire(&g->wait, PL_WAIT_WOKEN);
}

/* Whether the wait is over, and which future says so. */
static bool settled(plait_future *const *futures, size_t n, enum plait_when when, size_t *index)
{
    size_t done = 0;
    for (size_t i = 0; i < n; i++) {
        if (!pl_future_is_done(futures[i]))
            continue;
        done++;
        if (when == PLAIT_ANY || (when == PLAIT_FIRST_ERROR && futures[i]->code < 0)) {
            *index = i;
            return true;
        }
    }
    *index = n;
    return done == n;
}

int plait_wait(plait_future *const *futures, size_t n, enum plait_when when, int64_t deadline,
               size_t *index)
{
    size_t found;
    if (when < PLAIT_ANY || when > PLAIT_FIRST_ERROR || (n == 0 && when == PLAIT_ANY))
        return -EINVAL;
    if (settled(futures, n, when, &found)) {
        if (index)
            *index = found;
        return 0;
    }
    struct pl_strand *s = pl_strand_current();
    int e = pl_strand_cancelled(s);
    if (e < 0)
        return e;
    struct member *members = pl_zalloc_array(n, sizeof *members);
    if (!members)
        return -ENOMEM;

    /* One more than there are, so that it cannot fire before all are on. */
    struct group g = {.when = when};
    pl_wait_init(&g.wait, s);
    atomic_init(&g.left, n + 1);
    size_t watched = 0;
    bool over = false;
    for (; watched < n; watched++) {
        members[watched] = (struct member){{NULL, member_ended}, &g};
        if (!pl_future_watch(futures[watched], &members[watched].waiter)) {
            members[watched].group = NULL;
            atomic_fetch_sub(&g.left, 1);
            over |= when == PLAIT_ANY || (when == PLAIT_FIRST_ERROR && futures[watched]->code < 0);
        }
    }
    if (atomic_fetch_sub(&g.left, 1) == 1 || over)
        pl_wait_fire(&g.wait, PL_WAIT_WOKEN);
    enum pl_wait_state why = pl_wait(&g.wait, deadline);
    for (size_t i = 0; i < n; i++)
        if (members[i].group)
            pl_future_unwatch(futures[i], &members[i].waiter);
    pl_free_mem(members);

    /* What ended meanwhile counts, whatever ended the wait. */
    if (settled(futures, n, when, &found)) {
        if (index)
            *index = found;
        return 0;
    }
    return why == PL_WAIT_TIMEOUT ? -ETIMEDOUT : pl_strand_code(s);
}

struct arrival {
    struct pl_waiter waiter;
    struct plait_completed *it;
    plait_future *future;
    struct arrival *next;
    bool handed_out;
};

struct plait_completed {
    struct pl_lock lock;
    struct arrival *first, **end;
    struct pl_wait *waiting;
    size_t n, given;
    struct arrival arrivals[];
};

static void arrive(struct plait_completed *it, struct arrival *a)
{
    pl_lock(&it->lock);
    a->next = NULL;
    *it->end = a;
    it->end = &a->next;
    if (it->waiting)
        pl_wait_fire(it->waiting, PL_WAIT_WOKEN);
    pl_unlock(&it->lock);
}

static void arrived(struct pl_waiter *w, plait_future *f)
{
    (void)f;
    struct arrival *a = PL_CONTAINER(w, struct arrival, waiter);
    arrive(a->it, a);
}

int plait_completed_new(plait_completed **ret, plait_future *const *futures, size_t n)
{
    if (n > (SIZE_MAX - sizeof(struct plait_completed)) / sizeof(struct arrival))
        return -ENOMEM;
    struct plait_completed *it = pl_zalloc(sizeof *it + n * sizeof it->arrivals[0]);
    if (!it)
        return -ENOMEM;
    it->end = &it->first;
    it->n = n;
    for (size_t i = 0; i < n; i++) {
        struct arrival *a = &it->arrivals[i];
        *a = (struct arrival){.waiter.fire = arrived, .it = it, .future = futures[i]};
        if (!pl_future_watch(futures[i], &a->waiter))
            arrive(it, a);
    }
    *ret = it;
    return 0;
}

/* The next arrival, or NULL after noting who waits for one. */
static struct arrival *next_arrival(struct plait_completed *it, struct pl_wait *wait)
{
    pl_lock(&it->lock);
    struct arrival *a = it->first;
    if (a) {
        it->first = a->next;
        if (!it->first)
            it->end = &it->first;
        a->handed_out = true;
        it->given++;
    }
    it->waiting = a ? NULL : wait;
    pl_unlock(&it->lock);
    return a;
}

int plait_completed_next(plait_completed *it, plait_future **ret, int64_t deadline)
{
    if (it->given == it->n)
        return 0;
    struct pl_strand *s = pl_strand_current();
    for (;;) {
        struct pl_wait wait;
        pl_wait_init(&wait, s);
        struct arrival *a = next_arrival(it, &wait);
        if (a) {
            *ret = a->future;
            return 1;
        }
        enum pl_wait_state why = pl_wait(&wait, deadline);
        pl_lock(&it->lock);
        it->waiting = NULL;
        bool empty = !it->first;
        pl_unlock(&it->lock);
        if (why != PL_WAIT_WOKEN && empty)
            return why == PL_WAIT_TIMEOUT ? -ETIMEDOUT : pl_strand_code(s);
    }
}

void plait_completed_free(plait_completed *it)
{
    if (!it)
        return;
    /* Those handed out may have been freed by the caller; those that arrived are not watched. */
    for (size_t i = 0; i < it->n; i++)
        if (!it->arrivals[i].handed_out)
            pl_future_unwatch(it->arrivals[i].future, &it->arrivals[i].waiter);
    pl_free_mem(it);
}
