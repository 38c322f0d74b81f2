// SPDX-License-Identifier: MIT
/*
 * channel.c - channels, and select over them.
 *
 * DESIGN
 *   A channel is a store of values and two lists of waiters, under one lock. At most one of the
 *   lists has waiters that could go on, and then only for an instant: a put that finds a waiting
 *   getter hands its value over directly, a get that finds waiting putters refills the store from
 *   the first of them.
 *
 *   Every wait is a select, of one case or of several. Its struct choice has a word:
 *
 *       OPEN ----> index of a case    decided: who took it there moves the value and fires the wait
 *        |  ^
 *        |  +--- BUSY                 the waiter itself looks for a partner for one of its cases
 *        +-----> WITHDRAWN            the waiter left: deadline or cancel
 *
 *   Deciding happens under the lock of the case's channel, so a select does exactly one of its
 *   cases. A waiter that wants to leave and finds itself decided takes each channel's lock once
 *   while it removes itself from the lists, after which the hand-over is complete.
 *   Two selects may look for each other at once, both BUSY, each under another channel's lock: the
 *   one of the higher address backs off. A pending case leaves its list only when its select is
 *   decided or withdrawn, never because it was BUSY. Locks are taken one at a time, so there is no
 *   order among channels.
 */
#include "base/bug.h"
#include "base/relax.h"
#include "core/future.h"
#include "core/lock.h"
#include "core/worker.h"
#include "os/alloc.h"
#include "os/clock.h"
#include "os/random.h"
#include "sync/store.h"
#include <plait/sync.h>
#include <string.h>

#define OPEN      UINT32_MAX
#define WITHDRAWN (UINT32_MAX - 1)
#define BUSY      (UINT32_MAX - 2)
#define AGAIN     (-EINTR) /* inside this file: let the lock go and try again */
#define CASES_MAX 64

struct choice {
    _Atomic uint32_t chosen; /* OPEN, BUSY, WITHDRAWN or the index of a case */
    struct pl_wait wait;
};

struct pending {
    struct pending *next, **link; /* in a channel's list; link: NULL when it is in none */
    struct pl_waiter waiter;      /* on a future */
    struct choice *choice;
    struct plait_case *what;
    uint32_t index;
};

struct waiting_list {
    struct pending *first, **end;
};

struct plait_channel {
    struct pl_lock lock;
    bool closed;
    struct pl_store store;
    struct waiting_list getters, putters;
    plait_latch unfinished;
};

static void list_add(struct waiting_list *l, struct pending *p)
{
    p->next = NULL;
    p->link = l->end;
    *l->end = p;
    l->end = &p->next;
}

static void list_remove(struct waiting_list *l, struct pending *p)
{
    PL_ASSERT(p->link != NULL); /* it is on the list */
    *p->link = p->next;
    if (p->next)
        p->next->link = p->link;
    else
        l->end = p->link;
    p->link = NULL;
}

static bool swap_choice(struct choice *c, uint32_t from, uint32_t to)
{
    return atomic_compare_exchange_strong(&c->chosen, &from, to);
}

/* OPEN -> index. False when it is decided or withdrawn. */
static bool choose(struct choice *c, uint32_t index)
{
    while (!swap_choice(c, OPEN, index)) {
        if (atomic_load(&c->chosen) != BUSY)
            return false;
        pl_relax();
    }
    return true;
}

/* The first waiter whose select is still open; it is decided now, and off the list. NULL: none, and
 * *again says that `self`, which is BUSY (or NULL), must back off first. */
static struct pending *take_waiter(struct waiting_list *l, const struct choice *self, bool *again)
{
    struct pending *p;
    while ((p = l->first)) {
        if (self && p->choice > self) {
            if (atomic_load(&p->choice->chosen) == BUSY) {
                *again = true;
                return NULL;
            }
            if (swap_choice(p->choice, OPEN, p->index)) {
                list_remove(l, p);
                return p;
            }
            if (atomic_load(&p->choice->chosen) >= BUSY &&
                atomic_load(&p->choice->chosen) != WITHDRAWN)
                continue; /* it changed meanwhile */
        } else if (choose(p->choice, p->index)) {
            list_remove(l, p);
            return p;
        }
        list_remove(l, p);
    }
    return NULL;
}

int plait_channel_new_with(plait_channel **ret, size_t value_bytes,
                           const struct plait_channel_options *options)
{
    struct plait_channel_options o = { 0 };
    memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
    if (value_bytes == 0 || o.order > PLAIT_PRIORITY ||
        (o.order == PLAIT_PRIORITY) != (o.compare != NULL) ||
        (o.capacity == 0 && o.order != PLAIT_FIFO))
        return -EINVAL;
    plait_channel *c = pl_zalloc(sizeof *c);
    if (!c)
        return -ENOMEM;
    c->store = (struct pl_store){
        .bytes = value_bytes, .limit = o.capacity, .order = o.order, .compare = o.compare
    };
    c->getters.end = &c->getters.first;
    c->putters.end = &c->putters.first;
    *ret = c;
    return 0;
}

void plait_channel_free(plait_channel *c)
{
    if (!c)
        return;
    if (c->getters.first || c->putters.first)
        PL_BUG("the channel is freed while somebody waits in it");
    pl_free_mem(c->store.values);
    pl_free_mem(c);
}

/* Under the lock: 0, -EPIPE, -ENOMEM, -EAGAIN when it would have to wait, or AGAIN. */
static int put_now(plait_channel *c, const void *value, const struct choice *self)
{
    bool again = false;
    if (c->closed)
        return -EPIPE;
    struct pending *getter = take_waiter(&c->getters, self, &again);
    if (again)
        return AGAIN;
    if (getter) {
        memcpy(getter->what->value, value, c->store.bytes);
        getter->what->code = 0;
        plait_latch_add(&c->unfinished, 1);
        pl_wait_fire(&getter->choice->wait, PL_WAIT_WOKEN);
        return 0;
    }
    if (c->store.count == c->store.limit)
        return -EAGAIN;
    int e = pl_store_put(&c->store, value);
    if (e == 0)
        plait_latch_add(&c->unfinished, 1);
    return e;
}

/* Under the lock: 0, -EPIPE, -EAGAIN when it would have to wait, or AGAIN. */
static int get_now(plait_channel *c, void *value, const struct choice *self)
{
    bool again = false, stored = c->store.count > 0;
    struct pending *putter = c->closed ? NULL : take_waiter(&c->putters, self, &again);
    if (again)
        return AGAIN;
    if (stored)
        pl_store_get(&c->store, value);
    if (putter) {
        /* Into the place that has just become free, or where there is none straight to the
         * getter. */
        if (stored)
            putter->what->code = pl_store_put(&c->store, putter->what->value);
        else
            memcpy(value, putter->what->value, c->store.bytes), putter->what->code = 0;
        if (putter->what->code == 0)
            plait_latch_add(&c->unfinished, 1);
        pl_wait_fire(&putter->choice->wait, PL_WAIT_WOKEN);
        return 0;
    }
    return stored ? 0 : c->closed ? -EPIPE : -EAGAIN;
}

static int try_case(struct plait_case *k)
{
    plait_channel *c = k->channel;
    pl_lock(&c->lock);
    int e = k->what == PLAIT_CASE_GET ? get_now(c, k->value, NULL) : put_now(c, k->value, NULL);
    pl_unlock(&c->lock);
    return e;
}

static void future_ended(struct pl_waiter *w, plait_future *f)
{
    (void)f;
    struct pending *p = PL_CONTAINER(w, struct pending, waiter);
    if (choose(p->choice, p->index)) {
        p->what->code = 0;
        pl_wait_fire(&p->choice->wait, PL_WAIT_WOKEN);
    }
}

static bool enlist_future(struct pending *p)
{
    p->waiter.fire = future_ended;
    if (pl_future_watch(p->what->future, &p->waiter))
        return false;
    if (choose(p->choice, p->index))
        p->what->code = 0;
    return true;
}

/* Tries the case once more, or joins its list, under the lock. 0: the select is decided, by this
 * case or by another; -EAGAIN: it is in the list; AGAIN. */
static int enlist_locked(struct pending *p)
{
    struct plait_case *k = p->what;
    plait_channel *c = k->channel;
    bool get = k->what == PLAIT_CASE_GET;
    if (!swap_choice(p->choice, OPEN, BUSY))
        return 0; /* another case was decided */
    int e = get ? get_now(c, k->value, p->choice) : put_now(c, k->value, p->choice);
    if (e == -EAGAIN)
        list_add(get ? &c->getters : &c->putters, p);
    else if (e != AGAIN)
        k->code = e;
    atomic_store(&p->choice->chosen, e == -EAGAIN || e == AGAIN ? OPEN : p->index);
    return e == -EAGAIN || e == AGAIN ? e : 0;
}

/* True: the select is decided. */
static bool enlist(struct pending *p)
{
    if (p->what->what == PLAIT_CASE_DONE)
        return enlist_future(p);
    for (;;) {
        pl_lock(&p->what->channel->lock);
        int e = enlist_locked(p);
        pl_unlock(&p->what->channel->lock);
        if (e != AGAIN)
            return e == 0;
        pl_relax();
    }
}

static void withdraw(struct pending *p)
{
    struct plait_case *k = p->what;
    if (k->what == PLAIT_CASE_DONE) {
        pl_future_unwatch(k->future, &p->waiter);
        return;
    }
    pl_lock(&k->channel->lock);
    if (p->link)
        list_remove(k->what == PLAIT_CASE_GET ? &k->channel->getters : &k->channel->putters, p);
    pl_unlock(&k->channel->lock);
}

/* Waits for one of the n cases, which have been tried already, with room for n pending ones. The
 * first to be enlisted is `first`. */
static int wait_for(struct plait_case *cases, struct pending *pending, uint32_t n, uint32_t first,
                    int64_t deadline)
{
    struct pl_strand *s = pl_strand_current();
    int e = pl_strand_cancelled(s);
    if (e < 0)
        return e;
    struct choice c;
    atomic_init(&c.chosen, OPEN);
    pl_wait_init(&c.wait, s);
    uint32_t enlisted = 0;
    bool decided = false;
    for (; enlisted < n && !decided; enlisted++) {
        uint32_t i = (first + enlisted) % n;
        pending[enlisted] = (struct pending){ .choice = &c, .what = &cases[i], .index = i };
        decided = enlist(&pending[enlisted]);
    }
    /* Decided by itself, nobody fires the wait; by somebody else, he does. */
    bool by_itself = decided && atomic_load(&c.chosen) == pending[enlisted - 1].index;
    enum pl_wait_state why = PL_WAIT_WOKEN;
    if (!by_itself)
        why = pl_wait(&c.wait, deadline);
    bool mine = why != PL_WAIT_WOKEN && choose(&c, WITHDRAWN);
    for (uint32_t i = 0; i < enlisted; i++)
        withdraw(&pending[i]);
    if (mine)
        return why == PL_WAIT_TIMEOUT ? -ETIMEDOUT : pl_strand_code(s);
    return (int)atomic_load(&c.chosen);
}

static int put_or_get(plait_channel *c, void *value, int what)
{
    struct plait_case k = { .channel = c, .value = value };
    k.what = what;
    pl_strand_point();
    int e = try_case(&k);
    if (e != -EAGAIN)
        return e;
    struct pending pending;
    e = wait_for(&k, &pending, 1, 0, PLAIT_NEVER);
    return e < 0 ? e : k.code;
}

int plait_put(plait_channel *c, const void *value)
{
    return put_or_get(c, (void *)value, PLAIT_CASE_PUT);
}

int plait_get(plait_channel *c, void *value)
{
    return put_or_get(c, value, PLAIT_CASE_GET);
}

int plait_try_put(plait_channel *c, const void *value)
{
    struct plait_case k = { .what = PLAIT_CASE_PUT, .channel = c, .value = (void *)value };
    return try_case(&k);
}

int plait_try_get(plait_channel *c, void *value)
{
    struct plait_case k = { .what = PLAIT_CASE_GET, .channel = c, .value = value };
    return try_case(&k);
}

static void refuse(struct waiting_list *l)
{
    struct pending *p;
    bool again;
    while ((p = take_waiter(l, NULL, &again))) {
        p->what->code = -EPIPE;
        pl_wait_fire(&p->choice->wait, PL_WAIT_WOKEN);
    }
}

void plait_channel_close(plait_channel *c)
{
    pl_lock(&c->lock);
    c->closed = true;
    refuse(&c->putters);
    refuse(&c->getters); /* they wait, so there is nothing to drain */
    pl_unlock(&c->lock);
}

size_t plait_channel_count(plait_channel *c)
{
    pl_lock(&c->lock);
    size_t count = c->store.count;
    pl_unlock(&c->lock);
    return count;
}

void plait_channel_task_done(plait_channel *c)
{
    plait_latch_done(&c->unfinished, 1);
}

int plait_channel_join(plait_channel *c, int64_t deadline)
{
    return plait_latch_wait(&c->unfinished, deadline);
}

/* Where the search for a case that can go on begins: by chance, so that none is favoured. */
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

int plait_select(struct plait_case *cases, size_t n, int64_t deadline)
{
    if (n == 0 || n > CASES_MAX)
        return -EINVAL;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < i; k++)
            if (cases[i].what != PLAIT_CASE_DONE && cases[k].what != PLAIT_CASE_DONE &&
                cases[i].channel == cases[k].channel)
                return -EINVAL; /* it could only meet itself */
    pl_strand_point();
    uint32_t first = start_of(n);
    for (uint32_t k = 0; k < n; k++) {
        uint32_t i = (first + k) % (uint32_t)n;
        if (cases[i].what == PLAIT_CASE_DONE) {
            cases[i].code = 0;
            if (pl_future_is_done(cases[i].future))
                return (int)i;
            continue;
        }
        cases[i].code = try_case(&cases[i]);
        if (cases[i].code != -EAGAIN)
            return (int)i;
    }
    if (deadline > 0 && deadline != PLAIT_NEVER && deadline <= pl_now())
        return -ETIMEDOUT;
    struct pending pending[CASES_MAX];
    return wait_for(cases, pending, (uint32_t)n, first, deadline);
}
