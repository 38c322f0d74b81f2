// SPDX-License-Identifier: MIT
/*
 * gather.c - waiting for several futures at once, and taking them in the order in which they end.
 *
 * DESIGN
 *   plait_wait puts one waiter on each future; the last that is needed fires the wait. Leaving
 *   early it takes the rest off again, after which none of them is referred to.
 *   plait_completed watches all of them once, through a mailbox, so every step is O(1), however
 *   many are still running.
 */
#include "base/bug.h"
#include "core/mailbox.h"
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
    struct group g = { .when = when };
    pl_wait_init(&g.wait, s);
    pl_wait_for(&g.wait, PL_FOR_FUTURES, NULL);
    atomic_init(&g.left, n + 1);
    size_t watched = 0;
    bool over = false;
    for (; watched < n; watched++) {
        members[watched] = (struct member){ { NULL, member_ended }, &g };
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

struct plait_completed {
    struct pl_mailbox box;
    size_t n, given;
    struct pl_mail mails[];
};

int plait_completed_new(plait_completed **ret, plait_future *const *futures, size_t n)
{
    if (n > (SIZE_MAX - sizeof(struct plait_completed)) / sizeof(struct pl_mail))
        return -ENOMEM;
    struct plait_completed *it = pl_zalloc(sizeof *it + n * sizeof it->mails[0]);
    if (!it)
        return -ENOMEM;
    pl_mailbox_init(&it->box);
    it->n = n;
    for (size_t i = 0; i < n; i++)
        pl_mailbox_watch(&it->box, &it->mails[i], futures[i]);
    *ret = it;
    return 0;
}

int plait_completed_next(plait_completed *it, plait_future **ret, int64_t deadline)
{
    if (it->given == it->n)
        return 0;
    struct pl_mail *m;
    int e = pl_mailbox_take(&it->box, &m, deadline);
    if (e < 0)
        return e;
    it->given++;
    *ret = m->future;
    m->future = NULL;
    return 1;
}

void plait_completed_free(plait_completed *it)
{
    if (!it)
        return;
    /* Those handed out may have been freed by the caller; the others no longer report to us. */
    for (size_t i = 0; i < it->n; i++)
        if (it->mails[i].future)
            pl_future_unwatch(it->mails[i].future, &it->mails[i].waiter);
    pl_free_mem(it);
}
