// SPDX-License-Identifier: MIT
/*
 * broadcast.c - every subscriber gets each value.
 *
 * DESIGN
 *   A subscription is a channel, so that it can be selected over; the broadcast is a list of them
 *   under one lock. A publish puts a copy into each while it holds that lock, so all see the same
 *   order. Their queues are allocated when they begin, so a put into one that has room cannot fail,
 *   and only a publish fills them: room that was seen under the lock stays.
 *
 *   With PLAIT_SLOW_WAIT a publish gives the value to all or to none: it first sees that there is
 *   room everywhere, and otherwise parks on the word `room`, which changes whenever a full queue
 *   has got room or a subscription ends. Publishers take turns by a mutex meanwhile; subscribing
 *   and leaving take only the lock, so a slow subscriber can leave while it is waited for.
 *
 *   One ring with a cursor for each subscriber would store a value once, but its readers would need
 *   a kind of case of their own in every select, and the slowest would decide what is kept.
 */
#include "base/bug.h"
#include "core/park.h"
#include "os/alloc.h"
#include "sync/choice.h"
#include <plait/broadcast.h>
#include <string.h>

struct plait_broadcast {
    struct pl_lock lock; /* the list, `closed` */
    plait_mutex turn;    /* PLAIT_SLOW_WAIT: the publisher whose turn it is */
    uint32_t room;       /* changes when a publisher that waits should look again */
    bool closed;
    enum plait_slow slow;
    size_t bytes, capacity;
    struct plait_channel *subscriptions;
};

int plait_broadcast_new_with(plait_broadcast **ret, size_t value_bytes,
                             const struct plait_broadcast_options *options)
{
    struct plait_broadcast_options o = { 0 };
    memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
    if (value_bytes == 0 || (o.slow != PLAIT_SLOW_WAIT && o.slow != PLAIT_SLOW_DROP))
        return -EINVAL;
    plait_broadcast *b = pl_zalloc(sizeof *b);
    if (!b)
        return -ENOMEM;
    b->bytes = value_bytes;
    b->capacity = o.capacity ? o.capacity : 64;
    b->slow = o.slow;
    *ret = b;
    return 0;
}

void plait_broadcast_free(plait_broadcast *b)
{
    if (b && b->subscriptions)
        PL_BUG("the broadcast is freed while it has subscribers");
    pl_free_mem(b);
}

/* Lets the publisher that waits, if any, look again. */
static void look_again(plait_broadcast *b)
{
    __atomic_fetch_add(&b->room, 1, __ATOMIC_SEQ_CST);
    pl_unpark(&b->room, UINT32_MAX);
}

void pl_broadcast_has_room(struct plait_broadcast *b)
{
    if (b->slow == PLAIT_SLOW_WAIT)
        look_again(b);
}

int plait_subscribe(plait_broadcast *b, plait_channel **ret)
{
    plait_channel *c;
    struct plait_channel_options o = { .size = sizeof o, .capacity = b->capacity };
    int e = plait_channel_new_with(&c, b->bytes, &o);
    if (e < 0)
        return e;
    e = pl_store_reserve(&c->store);
    if (e < 0) {
        plait_channel_free(c);
        return e;
    }
    c->drops = b->slow == PLAIT_SLOW_DROP;
    pl_lock(&b->lock);
    bool closed = b->closed;
    if (!closed) {
        c->broadcast = b;
        c->next = b->subscriptions;
        c->link = &b->subscriptions;
        if (c->next)
            c->next->link = &c->next;
        b->subscriptions = c;
    }
    pl_unlock(&b->lock);
    if (closed) {
        plait_channel_free(c);
        return -EPIPE;
    }
    *ret = c;
    return 0;
}

void plait_unsubscribe(plait_channel *c)
{
    if (!c)
        return;
    plait_broadcast *b = c->broadcast;
    if (!b)
        PL_BUG("the channel is no subscription");
    pl_lock(&b->lock);
    *c->link = c->next;
    if (c->next)
        c->next->link = c->link;
    pl_unlock(&b->lock);
    look_again(b);
    c->broadcast = NULL;
    plait_channel_free(c);
}

/* To all, if there is room in all: how many; -EPIPE, -EAGAIN. */
static int publish_now(plait_broadcast *b, const void *value)
{
    int n = 0;
    pl_lock(&b->lock);
    if (b->closed)
        n = -EPIPE;
    for (plait_channel *c = b->subscriptions; c && n == 0 && b->slow == PLAIT_SLOW_WAIT;
         c = c->next)
        n = pl_channel_is_full(c) ? -EAGAIN : 0;
    if (n == 0)
        for (plait_channel *c = b->subscriptions; c; c = c->next)
            n += pl_channel_publish(c, value) == 0; /* else its subscriber has closed it */
    pl_unlock(&b->lock);
    return n;
}

/* 0 when it is the caller's turn, else why not. */
static int take_turn(plait_broadcast *b, bool wait)
{
    if (wait)
        return plait_mutex_lock(&b->turn);
    return plait_mutex_trylock(&b->turn) == 0 ? 0 : -EAGAIN;
}

static int publish(plait_broadcast *b, const void *value, bool wait)
{
    pl_strand_point();
    if (b->slow == PLAIT_SLOW_DROP)
        return publish_now(b, value);
    int e = take_turn(b, wait);
    if (e < 0)
        return e;
    for (;;) {
        uint32_t room = __atomic_load_n(&b->room, __ATOMIC_SEQ_CST);
        e = publish_now(b, value);
        if (e != -EAGAIN || !wait)
            break;
        e = pl_park(&b->room, room, PLAIT_NEVER, NULL, PL_FOR_BROADCAST);
        if (e < 0 && e != -EAGAIN)
            break;
    }
    plait_mutex_unlock(&b->turn);
    return e;
}

int plait_publish(plait_broadcast *b, const void *value)
{
    return publish(b, value, true);
}

int plait_try_publish(plait_broadcast *b, const void *value)
{
    return publish(b, value, false);
}

void plait_broadcast_close(plait_broadcast *b)
{
    pl_lock(&b->lock);
    b->closed = true;
    for (plait_channel *c = b->subscriptions; c; c = c->next)
        plait_channel_close(c);
    pl_unlock(&b->lock);
    look_again(b);
}

uint64_t plait_missed(plait_channel *c)
{
    pl_lock(&c->lock);
    uint64_t missed = c->missed;
    pl_unlock(&c->lock);
    return missed;
}
