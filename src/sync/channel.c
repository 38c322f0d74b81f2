// SPDX-License-Identifier: MIT
/*
 * channel.c - channels.
 *
 * DESIGN
 *   A channel is a store of values and two lists of waiters, under one lock. At most one of the
 *   lists has waiters that could go on, and then only for an instant: a put that finds a waiting
 *   getter hands its value over directly, a get that finds waiting putters refills the store from
 *   the first of them.
 *
 *   Every wait is a select, of one case or of several (select.c). Its struct pl_choice has a word:
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
 *
 *   Most waits are a put or a get, of one case, and between fibers of one worker. Such a wait joins
 *   the list under the lock under which it was tried, and is never BUSY. Who decides it holds that
 *   lock, or is the waiter itself; where both are on one thread the words need no swap. And a fiber
 *   that was woken by its own worker's thread runs when that has left the lock, so it need not take
 *   it once more.
 */
#include "base/bug.h"
#include "core/park.h"
#include "core/worker.h"
#include "os/alloc.h"
#include "sync/choice.h"
#include <string.h>

#define AGAIN (-EINTR) /* inside this file: let the lock go and try again */

static void list_add(struct pl_waiting_list *l, struct pl_pending *p)
{
    p->next = NULL;
    p->link = l->end;
    *l->end = p;
    l->end = &p->next;
}

static void list_remove(struct pl_waiting_list *l, struct pl_pending *p)
{
    PL_ASSERT(p->link != NULL); /* it is on the list */
    *p->link = p->next;
    if (p->next)
        p->next->link = p->link;
    else
        l->end = p->link;
    p->link = NULL;
}

/* Whether the waiter is a lone one of this thread: nobody else can decide it meanwhile. */
static bool is_here(const struct pl_pending *p)
{
    return p->alone && pl_this_worker && p->choice->wait.strand->worker == pl_this_worker;
}

static bool decide(struct pl_pending *p)
{
    if (!is_here(p))
        return pl_choose(p->choice, p->index);
    if (atomic_load_explicit(&p->choice->chosen, memory_order_relaxed) != PL_CHOICE_OPEN)
        return false;
    atomic_store_explicit(&p->choice->chosen, p->index, memory_order_relaxed);
    return true;
}

/* Its value has been moved, or will never be. Under the lock. */
static void go_on(struct pl_pending *p)
{
    p->by = pl_this_worker;
    if (is_here(p))
        pl_wait_fire_here(&p->choice->wait, PL_WAIT_WOKEN);
    else
        pl_wait_fire(&p->choice->wait, PL_WAIT_WOKEN);
}

/* The first waiter whose select is still open; it is decided now, and off the list. NULL: none, and
 * *again says that `self`, which is PL_CHOICE_BUSY (or NULL), must back off first. */
static struct pl_pending *take_waiter(struct pl_waiting_list *l, const struct pl_choice *self,
                                      bool *again)
{
    struct pl_pending *p;
    while ((p = l->first)) {
        if (self && p->choice > self && !p->alone) {
            if (atomic_load(&p->choice->chosen) == PL_CHOICE_BUSY) {
                *again = true;
                return NULL;
            }
            if (pl_choice_swap(p->choice, PL_CHOICE_OPEN, p->index)) {
                list_remove(l, p);
                return p;
            }
            if (atomic_load(&p->choice->chosen) >= PL_CHOICE_BUSY &&
                atomic_load(&p->choice->chosen) != PL_CHOICE_WITHDRAWN)
                continue; /* it changed meanwhile */
        } else if (decide(p)) {
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
    if (c->broadcast)
        PL_BUG("the channel is a subscription: plait_unsubscribe() frees it");
    if (c->getters.first || c->putters.first)
        PL_BUG("the channel is freed while somebody waits in it");
    pl_free_mem(c->store.values);
    pl_free_mem(c);
}

/* Under the lock. */
static void finish_one(plait_channel *c)
{
    if (c->unfinished == 0)
        PL_BUG("plait_channel_task_done() is called more often than values were put");
    if (--c->unfinished > 0)
        return;
    __atomic_fetch_add(&c->finished, 1, __ATOMIC_SEQ_CST);
    pl_unpark(&c->finished, UINT32_MAX);
}

/* Under the lock: 0, -EPIPE, -ENOMEM, -EAGAIN when it would have to wait, or AGAIN. */
static int put_now(plait_channel *c, const void *value, const struct pl_choice *self)
{
    bool again = false;
    if (c->closed)
        return -EPIPE;
    struct pl_pending *getter = take_waiter(&c->getters, self, &again);
    if (again)
        return AGAIN;
    if (getter) {
        memcpy(getter->what->value, value, c->store.bytes);
        getter->what->code = 0;
        c->unfinished++;
        go_on(getter);
        return 0;
    }
    if (c->store.count == c->store.limit && !c->drops)
        return -EAGAIN;
    if (c->store.count == c->store.limit) {
        pl_store_drop(&c->store);
        finish_one(c);
        c->missed++;
    }
    int e = pl_store_put(&c->store, value);
    if (e == 0)
        c->unfinished++;
    return e;
}

/* Under the lock: 0, -EPIPE, -EAGAIN when it would have to wait, or AGAIN. */
static int get_now(plait_channel *c, void *value, const struct pl_choice *self)
{
    bool again = false, stored = c->store.count > 0;
    bool makes_room = stored && c->broadcast && c->store.count == c->store.limit;
    struct pl_pending *putter = c->closed ? NULL : take_waiter(&c->putters, self, &again);
    if (again)
        return AGAIN;
    if (stored)
        pl_store_get(&c->store, value);
    if (PL_UNLIKELY(makes_room))
        pl_broadcast_has_room(c->broadcast);
    if (putter) {
        /* Into the place that has just become free, or where there is none straight to the
         * getter. */
        if (stored)
            putter->what->code = pl_store_put(&c->store, putter->what->value);
        else
            memcpy(value, putter->what->value, c->store.bytes), putter->what->code = 0;
        if (putter->what->code == 0)
            c->unfinished++;
        go_on(putter);
        return 0;
    }
    return stored ? 0 : c->closed ? -EPIPE : -EAGAIN;
}

int pl_channel_try(struct plait_case *k)
{
    plait_channel *c = k->channel;
    if (PL_UNLIKELY(c->broadcast != NULL) && k->what == PLAIT_CASE_PUT)
        return -EPERM;
    pl_lock(&c->lock);
    int e = k->what == PLAIT_CASE_GET ? get_now(c, k->value, NULL) : put_now(c, k->value, NULL);
    pl_unlock(&c->lock);
    return e;
}

/* Tries the case once more, or joins its list, under the lock. 0: the select is decided, by this
 * case or by another; -EAGAIN: it is in the list; AGAIN. */
static int enlist_locked(struct pl_pending *p)
{
    struct plait_case *k = p->what;
    plait_channel *c = k->channel;
    bool get = k->what == PLAIT_CASE_GET;
    if (!pl_choice_swap(p->choice, PL_CHOICE_OPEN, PL_CHOICE_BUSY))
        return 0; /* another case was decided */
    int e = get ? get_now(c, k->value, p->choice) : put_now(c, k->value, p->choice);
    if (e == -EAGAIN)
        list_add(get ? &c->getters : &c->putters, p);
    else if (e != AGAIN)
        k->code = e;
    atomic_store(&p->choice->chosen, e == -EAGAIN || e == AGAIN ? PL_CHOICE_OPEN : p->index);
    return e == -EAGAIN || e == AGAIN ? e : 0;
}

bool pl_channel_enlist(struct pl_pending *p)
{
    for (;;) {
        pl_lock(&p->what->channel->lock);
        int e = enlist_locked(p);
        pl_unlock(&p->what->channel->lock);
        if (e != AGAIN)
            return e == 0;
        pl_relax();
    }
}

void pl_channel_withdraw(struct pl_pending *p)
{
    struct plait_case *k = p->what;
    pl_lock(&k->channel->lock);
    if (p->link)
        list_remove(k->what == PLAIT_CASE_GET ? &k->channel->getters : &k->channel->putters, p);
    pl_unlock(&k->channel->lock);
}

/* Joins the list, and waits. Enters with the lock held, and returns without. */
static PL_NOINLINE int wait_alone(plait_channel *c, void *value, int what)
{
    bool get = what == PLAIT_CASE_GET;
    struct pl_strand *s = pl_strand_current();
    struct plait_case k = { .channel = c, .value = value };
    struct pl_choice choice;
    struct pl_pending p = { .choice = &choice, .what = &k, .alone = true };
    k.what = what;
    atomic_init(&choice.chosen, PL_CHOICE_OPEN);
    pl_wait_init(&choice.wait, s);
    pl_wait_for(&choice.wait, get ? PL_FOR_GET : PL_FOR_PUT, c);
    list_add(get ? &c->getters : &c->putters, &p);
    pl_unlock(&c->lock);
    enum pl_wait_state why = pl_wait(&choice.wait, PLAIT_NEVER);
    if (why == PL_WAIT_WOKEN && p.by && p.by == s->worker)
        return k.code;
    bool mine = why != PL_WAIT_WOKEN && pl_choose(&choice, PL_CHOICE_WITHDRAWN);
    pl_channel_withdraw(&p);
    return mine ? pl_strand_code(s) : k.code;
}

static int put_or_get(plait_channel *c, void *value, int what)
{
    pl_strand_point();
    if (PL_UNLIKELY(c->broadcast != NULL) && what == PLAIT_CASE_PUT)
        return -EPERM;
    pl_lock(&c->lock);
    int e = what == PLAIT_CASE_GET ? get_now(c, value, NULL) : put_now(c, value, NULL);
    if (e == -EAGAIN)
        return wait_alone(c, value, what);
    pl_unlock(&c->lock);
    return e;
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
    return pl_channel_try(&k);
}

int plait_try_get(plait_channel *c, void *value)
{
    struct plait_case k = { .what = PLAIT_CASE_GET, .channel = c, .value = value };
    return pl_channel_try(&k);
}

static void refuse(struct pl_waiting_list *l)
{
    struct pl_pending *p;
    bool again;
    while ((p = take_waiter(l, NULL, &again))) {
        p->what->code = -EPIPE;
        go_on(p);
    }
}

void plait_channel_close(plait_channel *c)
{
    pl_lock(&c->lock);
    c->closed = true;
    refuse(&c->putters);
    refuse(&c->getters); /* they wait, so there is nothing to drain */
    if (c->broadcast)
        pl_broadcast_has_room(c->broadcast);
    pl_unlock(&c->lock);
}

bool pl_channel_is_full(plait_channel *c)
{
    pl_lock(&c->lock);
    bool full = !c->closed && c->store.count == c->store.limit;
    pl_unlock(&c->lock);
    return full;
}

int pl_channel_publish(plait_channel *c, const void *value)
{
    pl_lock(&c->lock);
    int e = put_now(c, value, NULL);
    PL_ASSERT(e == 0 || e == -EPIPE); /* there is room, and its memory */
    pl_unlock(&c->lock);
    return e;
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
    pl_lock(&c->lock);
    finish_one(c);
    pl_unlock(&c->lock);
}

int plait_channel_join(plait_channel *c, int64_t deadline)
{
    pl_lock(&c->lock);
    uint32_t finished = c->finished;
    bool none = c->unfinished == 0;
    pl_unlock(&c->lock);
    int e = none ? 0 : pl_park(&c->finished, finished, deadline, NULL, PL_FOR_WORK);
    return e == -EAGAIN ? 0 : e;
}
