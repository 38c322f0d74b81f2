// SPDX-License-Identifier: MIT
// batch.c - the host's side of a map through the shared heap. See batch.h.
#include "proc/batch.h"

#include <errno.h>
#include <string.h>

#include "base/bug.h"
#include "core/given.h"
#include "core/mailbox.h"
#include "os/alloc.h"
#include "proc/pool.h"
#include <plait/shared.h>

// Fewer inputs, or larger ones, gain nothing.
#define INPUTS_LEAST 64
#define BYTES_MOST   1024
// Of a block; a larger map is done in parts.
#define BLOCK_BYTES ((size_t)16 << 20)

struct runner {
    struct pl_mail mail;
    plait_future *future; // NULL: it does not run
};

struct host {
    struct plait_executor *ex;
    struct pl_batch *b;
    struct pl_mailbox box;
    struct runner *runners;
    unsigned places, running;
    bool deaths;    // a worker died
    bool cancelled; // what ran was cancelled
    int error;      // of the map, not of an input
};

// ---- runners

static void start(struct host *h, struct runner *r)
{
    plait_future *f;
    int e = plait_submit_task(h->ex, &f, &pl_batch_task, &h->b, NULL);
    if (e == -EAGAIN && h->running > 0)
        return; // the queue is full; those that run do it all
    if (e < 0) {
        h->error = h->error ? h->error : e;
        return;
    }
    r->future = f;
    h->running++;
    pl_mailbox_watch(&h->box, &r->mail, f);
}

static void cancel_all(struct host *h, enum plait_reason reason)
{
    h->cancelled = true;
    for (unsigned i = 0; i < h->places; i++)
        if (h->runners[i].future)
            pl_future_cancel(h->runners[i].future, reason);
}

static int settle(struct host *h, struct runner *r)
{
    int code = r->future->code;
    pl_future_unref(r->future);
    r->future = NULL;
    h->running--;
    h->deaths |= code == -EOWNERDEAD;
    if (code < 0 && code != -EOWNERDEAD && !h->cancelled && !h->error)
        h->error = code; // the executor was stopped, or is broken
    return code;
}

// The caller is cancelled: so is the map.
static void give_up(struct host *h, int e)
{
    h->error = h->error ? h->error : e;
    cancel_all(h, e == -ETIMEDOUT ? PLAIT_REASON_DEADLINE : PLAIT_REASON_PARENT);
    for (unsigned i = 0; i < h->places; i++) {
        struct runner *r = &h->runners[i];
        if (!r->future)
            continue;
        pl_future_join(r->future);
        // Who ended it may still be on its way to the mail.
        pl_future_unwatch(r->future, &r->mail.waiter);
        settle(h, r);
    }
}

static int32_t code_of(struct pl_batch *b, uint64_t i)
{
    // Acquire: pairs with the release in run_one().
    return atomic_load_explicit(&b->codes[i], memory_order_acquire);
}

static bool has_ended(int32_t code)
{
    return code != PL_UNTOUCHED && code != PL_RUNNING;
}

// An input has failed, and all that count before it have ended: the rest is not wanted.
static bool is_decided(const struct host *h)
{
    struct pl_batch *b = h->b;
    uint64_t end = pl_batch_end(b);
    if (!b->first_error_ends || atomic_load(&b->limit) >= b->count)
        return false;
    for (uint64_t i = 0; i < end; i++)
        if (!has_ended(code_of(b, i)))
            return false;
    return true;
}

// A runner has ended.
static void follow(struct host *h, struct runner *r)
{
    int code = settle(h, r);
    if (h->error || h->cancelled)
        return;
    if ((code == -EOWNERDEAD && h->b->first_error_ends) || is_decided(h))
        cancel_all(h, PLAIT_REASON_SIBLING);
    else if (code == -EOWNERDEAD || atomic_load(&h->b->next) < pl_batch_end(h->b))
        start(h, r);
    if (h->error)
        cancel_all(h, PLAIT_REASON_SIBLING);
}

// Until no runner is left.
static void run_runners(struct host *h)
{
    // One for each place: inputs may wait for each other.
    for (unsigned i = 0; i < h->places && i < h->b->count && !h->error; i++)
        start(h, &h->runners[i]);
    if (h->error && h->running)
        cancel_all(h, PLAIT_REASON_SIBLING);
    while (h->running) {
        struct pl_mail *mail;
        int e = pl_mailbox_take(&h->box, &mail, PLAIT_NEVER);
        if (e < 0)
            give_up(h, e);
        else
            follow(h, PL_CONTAINER(mail, struct runner, mail));
    }
}

static uint64_t untouched(struct pl_batch *b)
{
    uint64_t count = 0, end = pl_batch_end(b);
    for (uint64_t i = 0; i < end; i++)
        count += code_of(b, i) == PL_UNTOUCHED;
    return count;
}

// Runs all; what a dead worker had claimed and not begun is run in another go.
static void run_all(struct host *h)
{
    uint64_t left = h->b->count, before;
    do {
        before = left;
        atomic_store(&h->b->next, 0);
        run_runners(h);
        left = untouched(h->b);
    } while (left > 0 && left < before && !h->error && !h->cancelled);
    if (left > 0 && !h->error && !h->cancelled)
        h->error = -EIO; // the block was overwritten
}

// ---- one block

// What an input's end was, once nothing runs.
static int outcome(const struct host *h, uint64_t i)
{
    int32_t code = code_of(h->b, i);
    if (has_ended(code))
        return code;
    if (code == PL_RUNNING && !(h->cancelled && h->error))
        return -EOWNERDEAD;
    return h->error ? h->error : -ECANCELED;
}

static void take_results(const struct host *h, char *out, int *codes)
{
    for (uint64_t i = 0; i < h->b->count; i++) {
        int code = outcome(h, i);
        if (codes)
            codes[i] = code;
        if (out && code >= 0)
            memcpy(out + i * h->b->out_bytes, h->b->out + i * h->b->out_bytes, h->b->out_bytes);
    }
}

// The map's code: that of the lowest input that failed by itself.
static int verdict(const struct host *h)
{
    bool lost = false;
    for (uint64_t i = 0; i < h->b->count; i++) {
        int32_t code = code_of(h->b, i);
        if (code == PL_RUNNING && h->deaths && !h->error)
            return -EOWNERDEAD;
        bool swept = !has_ended(code) || (h->cancelled && code == -ECANCELED);
        if (code < 0 && !swept)
            return code;
        lost |= swept;
    }
    if (h->error)
        return h->error;
    return lost ? -EOWNERDEAD : 0; // it died between two inputs, and with it the map
}

static size_t bytes_of(const struct plait_task *task)
{
    return task->in_bytes + task->out_bytes + sizeof(int32_t);
}

static size_t round_up(size_t bytes)
{
    return (bytes + 63) & ~(size_t)63;
}

static struct pl_batch *make_block(const struct plait_task *task, int number, const char *in,
                                   size_t n, bool first_error_ends)
{
    size_t codes = round_up(n * sizeof(int32_t)), ins = round_up(n * task->in_bytes);
    char *at = plait_shared_alloc(round_up(sizeof(struct pl_batch)) + codes + ins +
                                  n * task->out_bytes + 64);
    if (!at)
        return NULL;
    char *parts = at + round_up(sizeof(struct pl_batch));
    struct pl_batch *b = (struct pl_batch *)at;
    b->count = n;
    b->in_bytes = task->in_bytes;
    b->out_bytes = task->out_bytes;
    b->task = (uint32_t)number;
    b->first_error_ends = first_error_ends;
    b->codes = (_Atomic int32_t *)parts;
    b->in = parts + codes;
    b->out = b->in + ins;
    atomic_init(&b->next, 0);
    atomic_init(&b->limit, n);
    for (size_t i = 0; i < n; i++)
        atomic_init(&b->codes[i], PL_UNTOUCHED);
    if (task->in_bytes)
        memcpy(b->in, in, n * task->in_bytes);
    return b;
}

// ---- a map

// Workers that all have the shared heap, and nothing that is counted by tasks.
static bool is_for(struct pl_pool *p)
{
    const struct plait_worker_options *o = &p->worker;
    bool all = !p->confined && !o->tasks_max && !o->resident_max_bytes && !o->capture_stderr;
    unsigned live = 0;
    pl_lock(&p->lock);
    for (unsigned i = 0; all && i < p->hand_count; i++) {
        live += p->hands[i].state == PL_HAND_LIVE;
        all = p->hands[i].state != PL_HAND_LIVE || p->hands[i].owner != 0;
    }
    pl_unlock(&p->lock);
    return all && live > 0;
}

// All of it, in as many blocks as it takes; how many inputs were dealt with.
static size_t map_parts(struct host *h, const struct plait_task *task, int number, const char *in,
                        char *out, size_t n, int *codes, int *ret)
{
    size_t part = BLOCK_BYTES / bytes_of(task), at = 0;
    while (at < n && (codes || !*ret) && !h->error) {
        size_t count = n - at < part ? n - at : part;
        h->b = make_block(task, number, in + at * task->in_bytes, count, !codes);
        if (!h->b)
            break;
        h->cancelled = h->deaths = false;
        pl_mailbox_init(&h->box);
        run_all(h);
        take_results(h, out ? out + at * task->out_bytes : NULL, codes ? codes + at : NULL);
        int e = verdict(h);
        *ret = *ret ? *ret : e;
        plait_shared_free(h->b);
        at += count;
    }
    return at;
}

bool pl_batch_map(struct plait_executor *ex, const struct plait_task *task, const char *in,
                  char *out, size_t n, int *codes, int *ret)
{
    if (ex->options.kind != PLAIT_PROCESSES || n < INPUTS_LEAST || bytes_of(task) > BYTES_MOST ||
        task->flags & (PLAIT_TASK_IS_BYTES | PLAIT_TASK_HAS_FDS))
        return false;
    struct pl_pool *p = pl_pool_of(ex);
    int number = pl_table_find(&p->table, task), code = 0;
    if (number < 0 || !is_for(p))
        return false;
    struct host h = { .ex = ex, .places = p->hand_count * ex->options.tasks_per_worker };
    h.runners = pl_zalloc_array(h.places, sizeof *h.runners);
    if (!h.runners)
        return false;
    size_t done = map_parts(&h, task, number, in, out, n, codes, &code);
    pl_free_mem(h.runners);
    if (done == 0)
        return false;
    int rest = h.error ? h.error : -ENOMEM;
    for (size_t i = done; codes && i < n; i++)
        codes[i] = rest;
    *ret = done < n && !code ? rest : code;
    return true;
}
