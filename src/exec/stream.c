// SPDX-License-Identifier: MIT
/*
 * stream.c - a map over inputs that come one at a time, with a bounded number in flight.
 *
 * DESIGN
 *   `window` entries, each with room for one future, are all the memory there is. In order, they
 *   are a ring: the oldest is waited for. As completed, a mailbox says which entry is next, and a
 *   list holds the empty ones.
 */
#include "base/bug.h"
#include "core/given.h"
#include "core/mailbox.h"
#include "core/sched.h"
#include "os/alloc.h"
#include <errno.h>
#include <plait/map.h>
#include <string.h>

struct entry {
    struct pl_mail mail;
    plait_future *future; /* NULL: empty */
    size_t index;
    struct entry *next_empty;
};

struct plait_stream {
    struct plait_executor *ex;
    const struct plait_task *task;
    struct plait_stream_options options;
    struct pl_mailbox box;
    struct entry *empty;
    size_t fed, taken;     /* inputs so far, items handed out so far */
    bool ended;            /* no more inputs */
    int error;             /* why, when not by their end */
    plait_future *current; /* of the item that the caller looks at */
    struct plait_span bytes;
    void *in;
    struct entry entries[];
};

static size_t default_window(const struct plait_executor *ex)
{
    struct plait_caps caps;
    plait_caps(ex, &caps);
    if (caps.kind == PLAIT_FIBERS)
        return 256;
    size_t each = caps.kind == PLAIT_PROCESSES ? ex->options.tasks_per_worker : 1;
    return caps.workers * (each > 4 ? each : 4);
}

int plait_stream_open_task(plait_stream **ret, plait_executor *ex, const struct plait_task *task,
                           const struct plait_stream_options *options)
{
    struct plait_stream_options o = { 0 };
    memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
    if (!o.next)
        PL_BUG("plait_stream_open() needs .next, which produces the inputs");
    if (o.retry_ns < 0 || o.timeout_ns < 0)
        return -EINVAL;
    if (o.window == 0)
        o.window = default_window(ex);
    if (o.window > (SIZE_MAX / 2) / sizeof(struct entry))
        return -ENOMEM;
    struct plait_stream *s = pl_zalloc(sizeof *s + o.window * sizeof s->entries[0]);
    if (!s)
        return -ENOMEM;
    s->in = pl_alloc_aligned(16, (task->in_bytes + 16) & ~(size_t)15);
    if (!s->in) {
        pl_free_mem(s);
        return -ENOMEM;
    }
    s->ex = ex;
    s->task = task;
    s->options = o;
    pl_mailbox_init(&s->box);
    for (size_t i = o.window; i-- > 0;) {
        s->entries[i].next_empty = s->empty;
        s->empty = &s->entries[i];
    }
    *ret = s;
    return 0;
}

static struct entry *empty_entry(struct plait_stream *s)
{
    if (!s->options.unordered)
        return &s->entries[s->fed % s->options.window];
    struct entry *e = s->empty;
    s->empty = e->next_empty;
    return e;
}

/* Starts tasks until the window is full or the inputs have ended. */
static void feed(struct plait_stream *s)
{
    struct plait_submit_options o = { .size = sizeof o,
                                      .timeout_ns = s->options.timeout_ns,
                                      .retries = s->options.retries,
                                      .retry_ns = s->options.retry_ns };
    while (!s->ended && s->fed - s->taken < s->options.window) {
        int got = s->options.next(s->options.arg, s->in);
        plait_future *f;
        int e = got > 0 ? plait_submit_task(s->ex, &f, s->task, s->in, &o) : got;
        if (e < 0 || got == 0) {
            s->ended = true;
            s->error = e;
            return;
        }
        struct entry *entry = empty_entry(s);
        entry->future = f;
        entry->index = s->fed++;
        if (s->options.unordered)
            pl_mailbox_watch(&s->box, &entry->mail, f);
    }
}

/* The next entry that has ended. */
static int await(struct plait_stream *s, struct entry **ret)
{
    if (!s->options.unordered) {
        *ret = &s->entries[s->taken % s->options.window];
        return pl_future_is_done((*ret)->future) ? 0 : pl_future_wait((*ret)->future, PLAIT_NEVER);
    }
    struct pl_mail *m;
    int e = pl_mailbox_take(&s->box, &m, PLAIT_NEVER);
    if (e >= 0)
        *ret = PL_CONTAINER(m, struct entry, mail);
    return e;
}

int plait_stream_next(plait_stream *s, struct plait_item *ret)
{
    if (s->current)
        plait_free(s->current);
    s->current = NULL;
    feed(s);
    if (s->fed == s->taken)
        return s->error;
    struct entry *entry = NULL;
    int e = await(s, &entry);
    if (e < 0)
        return e;
    plait_future *f = s->current = entry->future;
    entry->future = NULL;
    entry->next_empty = s->empty;
    s->empty = entry;
    s->taken++;
    *ret = (struct plait_item){ .index = entry->index, .code = f->code, .error = plait_error(f) };
    if (f->code >= 0 && pl_future_is_bytes(f)) {
        s->bytes = (struct plait_span){ f->extra->bytes_out.data, f->extra->bytes_out.bytes };
        ret->out = &s->bytes;
    } else if (f->code >= 0) {
        if (pl_task_has_fds(s->task))
            pl_future_fds_hand(f, pl_future_out(f));
        ret->out = pl_future_out(f);
    }
    return 1;
}

void plait_stream_close(plait_stream *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->options.window; i++)
        if (s->entries[i].future)
            pl_future_cancel(s->entries[i].future, PLAIT_REASON_USER);
    for (size_t i = 0; i < s->options.window; i++)
        if (s->entries[i].future) {
            pl_future_join(s->entries[i].future);
            /* Who ended it may still be on its way through the waiters, to the mail in the
             * entry. */
            pl_future_unwatch(s->entries[i].future, &s->entries[i].mail.waiter);
            pl_future_unref(s->entries[i].future);
        }
    if (s->current)
        plait_free(s->current);
    pl_free_mem(s->in);
    pl_free_mem(s);
}
