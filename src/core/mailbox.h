// SPDX-License-Identifier: MIT
/*
 * mailbox.h - futures in the order in which they end.
 *
 * Each future that is watched carries one struct pl_mail of its owner's; when it ends the mail is
 * appended to the box under a lock, and whoever waits for one is woken. O(1) a future.
 */
#ifndef PL_CORE_MAILBOX_H
#define PL_CORE_MAILBOX_H

#include "core/future.h"
#include "core/lock.h"

struct pl_mail {
    struct pl_waiter waiter;
    struct pl_mailbox *box;
    plait_future *future;
    struct pl_mail *next;
};

struct pl_mailbox {
    struct pl_lock lock;
    struct pl_mail *first, **end;
    struct pl_wait *waiting;
};

void pl_mailbox_init(struct pl_mailbox *b);

/* The future's end will be in the box; at once if it has ended. */
void pl_mailbox_watch(struct pl_mailbox *b, struct pl_mail *m, plait_future *f);

/* Takes the oldest mail: 0; -ETIMEDOUT at the deadline; or why the calling strand is cancelled. One
 * taker at a time. */
int pl_mailbox_take(struct pl_mailbox *b, struct pl_mail **ret, int64_t deadline);

#endif
