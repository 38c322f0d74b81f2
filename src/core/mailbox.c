// SPDX-License-Identifier: MIT
// mailbox.c - see mailbox.h.
#include "core/mailbox.h"
#include "base/bug.h"

void pl_mailbox_init(struct pl_mailbox *b)
{
    *b = (struct pl_mailbox){ 0 };
    b->end = &b->first;
}

static void deliver(struct pl_mail *m)
{
    struct pl_mailbox *b = m->box;
    pl_lock(&b->lock);
    m->next = NULL;
    *b->end = m;
    b->end = &m->next;
    if (b->waiting)
        pl_wait_fire(b->waiting, PL_WAIT_WOKEN);
    pl_unlock(&b->lock);
}

static void ended(struct pl_waiter *w, plait_future *f)
{
    (void)f;
    deliver(PL_CONTAINER(w, struct pl_mail, waiter));
}

void pl_mailbox_watch(struct pl_mailbox *b, struct pl_mail *m, plait_future *f)
{
    *m = (struct pl_mail){ .waiter.fire = ended, .box = b, .future = f };
    if (!pl_future_watch(f, &m->waiter))
        deliver(m);
}

/* The oldest mail; or NULL, and `wait` is noted as who waits for one (NULL: nobody). */
static struct pl_mail *take(struct pl_mailbox *b, struct pl_wait *wait)
{
    pl_lock(&b->lock);
    struct pl_mail *m = b->first;
    if (m) {
        b->first = m->next;
        if (!b->first)
            b->end = &b->first;
    }
    b->waiting = m ? NULL : wait;
    pl_unlock(&b->lock);
    return m;
}

int pl_mailbox_take(struct pl_mailbox *b, struct pl_mail **ret, int64_t deadline)
{
    struct pl_strand *s = pl_strand_current();
    struct pl_wait wait;
    pl_wait_init(&wait, s);
    pl_wait_for(&wait, PL_FOR_FUTURES, NULL);
    struct pl_mail *m = take(b, &wait);
    if (!m) {
        enum pl_wait_state why = pl_wait(&wait, deadline);
        m = take(b, NULL); /* what has arrived counts, whatever ended the wait */
        if (!m)
            return why == PL_WAIT_TIMEOUT ? -ETIMEDOUT : pl_strand_code(s);
    }
    *ret = m;
    return 0;
}
