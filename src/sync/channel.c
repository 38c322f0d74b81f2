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
 */
#include "base/bug.h"
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

/* The first waiter whose select is still open; it is decided now, and off the list. NULL: none, and
 * *again says that `self`, which is PL_CHOICE_BUSY (or NULL), must back off first. */
static struct pl_pending *take_waiter(struct pl_waiting_list *l, const struct pl_choice *self,
                                      bool *again)
{
    struct pl_pending *p;
    while ((p = l->first)) {
        if (self && p->choice > self) {
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
        } else if (pl_choose(p->choice, p->index)) {
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
        plait_latch_add(&c->unfinished, 1);
        pl_wait_fire(&getter->choice->wait, PL_WAIT_WOKEN);
        return 0;
    }
    if (c->store.count == c->store.limit && !c->drops)
        return -EAGAIN;
    if (c->store.count == c->store.limit) {
        pl_store_drop(&c->store);
        plait_latch_done(&c->unfinished, 1);
        c->missed++;
    }
    int e = pl_store_put(&c->store, value);
    if (e == 0)
        plait_latch_add(&c->unfinished, 1);
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
            plait_latch_add(&c->unfinished, 1);
        pl_wait_fire(&putter->choice->wait, PL_WAIT_WOKEN);
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

static int put_or_get(plait_channel *c, void *value, int what)
{
    struct plait_case k = { .channel = c, .value = value };
    k.what = what;
    pl_strand_point();
    int e = pl_channel_try(&k);
    if (e != -EAGAIN)
        return e;
    struct pl_pending pending;
    struct pl_select wait = {
        .cases = &k, .pending = &pending, .n = 1, .timer = 1, .deadline = PLAIT_NEVER
    };
    e = pl_select_wait(&wait);
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
        pl_wait_fire(&p->choice->wait, PL_WAIT_WOKEN);
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
    plait_latch_done(&c->unfinished, 1);
}

int plait_channel_join(plait_channel *c, int64_t deadline)
{
    return plait_latch_wait(&c->unfinished, deadline);
}
