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
// Deaths in a row of runners that have begun nothing, before the map is given up.
#define VAIN_MOST 40u
// Of a block; a larger map is done in parts.
#define BLOCK_BYTES ((size_t)16 << 20)

struct runner {
    struct pl_mail mail;
    plait_future *future; // NULL: it does not run
};

struct host {
    struct plait_executor *ex;
    struct pl_batch *b;
    // What is in the block too, where others may write.
    uint64_t count;
    size_t out_bytes;
    _Atomic int32_t *codes;
    char *out;
    bool first_error_ends;
    struct pl_mailbox box;
    struct runner *runners;
    unsigned places, running;
    bool deaths;    // a worker died
    uint64_t left;  // what no runner had begun when one died last
    unsigned vain;  // deaths since then, in a row, that began nothing
    bool cancelled; // what ran was cancelled
    bool well;      // every input has ended well
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

static int32_t code_of(const struct host *h, uint64_t i)
{
    // Acquire: pairs with the release in run_one().
    return atomic_load_explicit(&h->codes[i], memory_order_acquire);
}

static uint64_t end_of(const struct host *h)
{
    return pl_batch_end(h->b, h->count);
}

static bool has_ended(int32_t code)
{
    return code != PL_UNTOUCHED && code != PL_RUNNING;
}

// An input has failed, and all that count before it have ended: the rest is not wanted.
static bool is_decided(const struct host *h)
{
    uint64_t end = end_of(h);
    if (!h->first_error_ends || atomic_load(&h->b->limit) >= h->count)
        return false;
    for (uint64_t i = 0; i < end; i++)
        if (!has_ended(code_of(h, i)))
            return false;
    return true;
}

static uint64_t untouched(const struct host *h)
{
    uint64_t count = 0, end = end_of(h);
    for (uint64_t i = 0; i < end; i++)
        count += code_of(h, i) == PL_UNTOUCHED;
    return count;
}

// A worker died. That may have been between two inputs, and again; but where nothing is ever begun
// they die of the block itself, which somebody has overwritten.
static void mourn(struct host *h)
{
    uint64_t left = untouched(h);
    h->vain = left < h->left ? 0 : h->vain + 1;
    h->left = left;
    if (h->vain > VAIN_MOST && !h->error)
        h->error = -EOWNERDEAD;
}

// A runner has ended.
static void follow(struct host *h, struct runner *r)
{
    int code = settle(h, r);
    if (code == -EOWNERDEAD)
        mourn(h);
    if (h->cancelled)
        return;
    if ((code == -EOWNERDEAD && h->first_error_ends) || is_decided(h))
        cancel_all(h, PLAIT_REASON_SIBLING);
    else if (!h->error && (code == -EOWNERDEAD || atomic_load(&h->b->next) < end_of(h)))
        start(h, r);
    if (h->error)
        cancel_all(h, PLAIT_REASON_SIBLING);
}

// Until no runner is left.
static void run_runners(struct host *h)
{
    // One for each place: inputs may wait for each other.
    for (unsigned i = 0; i < h->places && i < h->count && !h->error; i++)
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

// Whether every code is a good one, the ordinary case. The runners have ended: nobody writes but
// who may not, and a copy is looked at.
static bool is_well(const struct host *h)
{
    enum { AT_ONCE = 256 };
    int32_t copy[AT_ONCE], signs = 0;
    for (uint64_t at = 0; at < h->count; at += AT_ONCE) {
        size_t n = h->count - at < AT_ONCE ? h->count - at : AT_ONCE;
        memcpy(copy, (const void *)(h->codes + at), n * sizeof *copy);
        for (size_t i = 0; i < n; i++)
            signs |= copy[i];
    }
    return signs >= 0;
}

// Runs all; what a dead worker had claimed and not begun is run in another go.
static void run_all(struct host *h)
{
    uint64_t left = h->count, before;
    do {
        before = left;
        atomic_store(&h->b->next, 0);
        run_runners(h);
        h->well = is_well(h);
        left = h->well ? 0 : untouched(h);
    } while (left > 0 && left < before && !h->error && !h->cancelled);
    if (left > 0 && !h->error && !h->cancelled)
        h->error = -EIO; // the block was overwritten
}

// ---- one block

// What an input's end was, once nothing runs.
static int outcome(const struct host *h, uint64_t i)
{
    int32_t code = code_of(h, i);
    if (has_ended(code))
        return code;
    if (code == PL_RUNNING && !(h->cancelled && h->error))
        return -EOWNERDEAD;
    return h->error ? h->error : -ECANCELED;
}

static void take_results(const struct host *h, char *out, int *codes)
{
    if (h->well) {
        if (codes)
            memcpy(codes, (const void *)h->codes, h->count * sizeof *codes);
        if (out)
            memcpy(out, h->out, h->count * h->out_bytes);
        return;
    }
    for (uint64_t i = 0; i < h->count; i++) {
        int code = outcome(h, i);
        if (codes)
            codes[i] = code;
        if (out && code >= 0)
            memcpy(out + i * h->out_bytes, h->out + i * h->out_bytes, h->out_bytes);
    }
}

// The map's code: that of the lowest input that failed by itself.
static int verdict(const struct host *h)
{
    bool lost = false;
    for (uint64_t i = 0; !h->well && i < h->count; i++) {
        int32_t code = code_of(h, i);
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

// False when memory is short.
static bool make_block(struct host *h, const struct plait_task *task, int number, const char *in,
                       size_t n, bool first_error_ends)
{
    size_t codes = round_up(n * sizeof(int32_t)), ins = round_up(n * task->in_bytes);
    char *at = plait_shared_alloc(round_up(sizeof(struct pl_batch)) + codes + ins +
                                  n * task->out_bytes + 64);
    if (!at)
        return false;
    char *parts = at + round_up(sizeof(struct pl_batch));
    struct pl_batch *b = h->b = (struct pl_batch *)at;
    b->count = h->count = n;
    b->in_bytes = task->in_bytes;
    b->out_bytes = h->out_bytes = task->out_bytes;
    b->task = (uint32_t)number;
    b->first_error_ends = h->first_error_ends = first_error_ends;
    b->codes = h->codes = (_Atomic int32_t *)parts;
    b->in = parts + codes;
    b->out = h->out = b->in + ins;
    atomic_init(&b->next, 0);
    atomic_init(&b->limit, n);
    for (size_t i = 0; i < n; i++)
        atomic_init(&h->codes[i], PL_UNTOUCHED);
    if (task->in_bytes)
        memcpy(parts + codes, in, n * task->in_bytes);
    return true;
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
        if (!make_block(h, task, number, in + at * task->in_bytes, count, !codes))
            break;
        h->cancelled = h->deaths = h->well = false;
        h->left = count;
        h->vain = 0;
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
    struct host h = { .ex = ex, .places = p->workers * ex->options.tasks_per_worker };
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
