// SPDX-License-Identifier: MIT
// choice.h - what a channel and a select over several cases know of each other. See channel.c.
#ifndef PL_SYNC_CHOICE_H
#define PL_SYNC_CHOICE_H

#include "base/relax.h"
#include "core/future.h"
#include "core/lock.h"
#include "core/strand.h"
#include "sync/store.h"
#include <plait/sync.h>

#define PL_CHOICE_OPEN      UINT32_MAX
#define PL_CHOICE_WITHDRAWN (UINT32_MAX - 1)
#define PL_CHOICE_BUSY      (UINT32_MAX - 2)

struct pl_choice {
    _Atomic uint32_t chosen; /* OPEN, BUSY, WITHDRAWN or the index of a case */
    struct pl_wait wait;
};

struct pl_pending {
    struct pl_pending *next, **link; /* in a channel's list; link: NULL when it is in none */
    struct pl_waiter waiter;         /* on a future */
    struct pl_choice *choice;
    struct plait_case *what;
    uint32_t index;
    bool alone;           /* the only case of its select */
    struct pl_worker *by; /* whose thread has fired the wait; NULL: a plain thread, or nobody */
};

struct pl_waiting_list {
    struct pl_pending *first, **end;
};

struct plait_channel {
    struct pl_lock lock;
    bool closed;
    struct pl_store store;
    struct pl_waiting_list getters, putters;
    uint64_t unfinished; /* values that were put, and for which nobody called task_done */
    uint32_t finished;   /* how often there were none: who joins parks on it */

    /* A subscription (broadcast.c); else zero. */
    struct plait_broadcast *broadcast;
    struct plait_channel *next, **link; /* in the broadcast's list, under its lock */
    bool drops;                         /* makes room by dropping the oldest value */
    uint64_t missed;                    /* values dropped so far */
};

static inline bool pl_choice_swap(struct pl_choice *c, uint32_t from, uint32_t to)
{
    return atomic_compare_exchange_strong(&c->chosen, &from, to);
}

/* OPEN -> index. False when it is decided or withdrawn. What the swap has met says so, not another
 * look: a choice that was BUSY may be OPEN by then. */
static inline bool pl_choose(struct pl_choice *c, uint32_t index)
{
    uint32_t met = PL_CHOICE_OPEN;
    while (!atomic_compare_exchange_strong(&c->chosen, &met, index)) {
        if (met != PL_CHOICE_BUSY)
            return false;
        met = PL_CHOICE_OPEN;
        pl_relax();
    }
    return true;
}

/* A GET or a PUT, without waiting: 0, -EPIPE, -ENOMEM, or -EAGAIN when it would have to wait. */
int pl_channel_try(struct plait_case *k);

/* Tries a GET or a PUT once more, or joins the list of its channel. True: the select is decided, by
 * this case or by another. */
bool pl_channel_enlist(struct pl_pending *p);

/* Off the list. Afterwards nobody refers to *p; the hand-over, if it was chosen, is complete. */
void pl_channel_withdraw(struct pl_pending *p);

/* A subscription: whether a publish would have to wait for it; and a put that does not wait: 0, or
 * -EPIPE when its subscriber has closed it. Under the broadcast's lock. */
bool pl_channel_is_full(plait_channel *c);
int pl_channel_publish(plait_channel *c, const void *value);

/* A subscription that was full has got room, or was closed. */
void pl_broadcast_has_room(struct plait_broadcast *b);

/* What a select waits for. */
struct pl_select {
    struct plait_case *cases;   /* they have been tried already */
    struct pl_pending *pending; /* room for n of them */
    uint32_t n;
    uint32_t first; /* the first to be enlisted */
    uint32_t timer; /* the case whose time `deadline` is; n: none */
    int64_t deadline;
    struct pl_polls *polls; /* the descriptors among the cases; NULL: none */
};

/* Waits until one of the cases was done: its index; -ETIMEDOUT, or why the caller is cancelled. */
int pl_select_wait(struct pl_select *s);

#endif
