// SPDX-License-Identifier: MIT
// future.c - the life of a future: made, run or refused, completed, waited for, freed. See
// future.h.
#include "core/future.h"
#include "base/bug.h"
#include "base/relax.h"
#include "core/given.h"
#include "core/local.h"
#include "core/sched.h"
#include "core/trace.h"
#include "os/alloc.h"
#include "os/clock.h"
#include <plait/scope.h>
#include <string.h>

/* The alignment that an object of this size can need: sizes are multiples of their alignment. */
static size_t place_after(size_t at, size_t bytes)
{
    size_t align = bytes ? bytes & -bytes : 1;
    align = align > 16 ? 16 : align;
    return (at + align - 1) & ~(align - 1);
}

static size_t future_bytes(const struct plait_task *task, size_t *out_at)
{
    size_t in = task->flags & PLAIT_TASK_IS_BYTES ? 0 : task->in_bytes;
    size_t out = task->flags & PLAIT_TASK_IS_BYTES ? 0 : task->out_bytes;
    *out_at = place_after(in, out);
    return sizeof(struct plait_future) + *out_at + out;
}

/* Tools that watch the heap should see each future. */
static const bool use_slabs = !PL_ASAN;

static plait_future *allocate(struct plait_executor *ex, size_t bytes)
{
    struct pl_worker *w = pl_worker_current();
    int class = use_slabs ? pl_slab_class(bytes) : -1;
    plait_future *f;
    if (class >= 0) {
        bool ours = w && &w->sched->ex == ex;
        f = ours ? pl_slab_alloc(&w->slab, &ex->slabs, class)
                 : pl_slab_alloc_shared(&ex->slabs, class);
        if (!f)
            return NULL;
        if (ours)
            w->futures_made++;
        f->pooled = 1;
        return f;
    }
    f = pl_alloc_aligned(16, (bytes + 15) & ~(size_t)15);
    if (!f)
        return NULL;
    f->pooled = 0;
    pl_executor_ref(ex);
    return f;
}

static void deallocate(plait_future *f)
{
    struct plait_executor *ex = f->ex;
    if (!f->pooled) {
        pl_free_mem(f);
        pl_executor_unref(ex);
        return;
    }
    struct pl_worker *w = pl_worker_current();
    size_t out_at;
    int class = pl_slab_class(future_bytes(f->task, &out_at));
    if (w && &w->sched->ex == ex) {
        w->futures_freed++;
        pl_slab_free(&w->slab, &ex->slabs, class, f);
    } else if (pl_slab_free_shared(&ex->slabs, class, f)) {
        pl_executor_unref(ex);
    }
}

struct pl_future_extra *pl_future_extra(plait_future *f)
{
    if (!f->extra)
        f->extra = pl_zalloc(sizeof *f->extra);
    return f->extra;
}

void pl_future_ref(plait_future *f)
{
    atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
}

void pl_future_unref(plait_future *f)
{
    /* Alone: nobody else can come by a reference any more. Acquire pairs with the release below. */
    if (atomic_load_explicit(&f->refs, memory_order_acquire) != 1 &&
        atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (PL_UNLIKELY(f->extra != NULL)) {
        pl_free_mem((void *)f->extra->bytes_in.data);
        pl_free_mem(f->extra->bytes_out.data);
        pl_free_mem(f->extra->tail);
        pl_future_fds_free(f);
        pl_free_mem(f->extra);
    }
    deallocate(f);
}

static int run_function(plait_future *f, struct pl_strand *s)
{
    if (PL_UNLIKELY(pl_task_has_fds(f->task)))
        return pl_future_fds_run(f, s);
    if (pl_future_is_bytes(f))
        return f->task->run(&f->extra->bytes_in, &f->extra->bytes_out);
    return f->task->run(pl_future_in(f), pl_future_out(f));
}

/* Makes the strand that of the task, around its run. */
static int run_task(plait_future *f, struct pl_strand *s)
{
    const struct plait_task *task = f->task;
    // Who is not refused runs on a fiber. NOLINTNEXTLINE(clang-analyzer-core.NullDereference)
    struct pl_worker *w = s->worker;
    int64_t timeout = pl_future_timeout(f);
    if (PL_UNLIKELY(timeout > 0)) {
        int64_t end = pl_clock_after(timeout);
        if (end < f->cancel.deadline)
            f->cancel.deadline = end;
    }
    s->cancel = &f->cancel;
    s->task = task->name;
    s->clean = 0;
    int code = pl_strand_cancelled(s);
    if (code == 0) {
        f->started = 1;
        atomic_store_explicit(&w->running, task->name, memory_order_relaxed);
        PL_TRACE(PL_TRACE_START, f, task->name);
        code = run_function(f, s);
        PL_TRACE(PL_TRACE_END, f, task->name);
        atomic_store_explicit(&w->running, NULL, memory_order_relaxed);
    }
    if (PL_UNLIKELY(s->scope != NULL))
        PL_BUG("the task `%s` returned without ending its scope by plait_scope_end()", task->name);
    pl_locals_end(s);
    s->cancel = NULL;
    s->task = NULL;
    return code;
}

static void run(struct pl_job *job, int refused)
{
    plait_future *f = PL_CONTAINER(job, struct plait_future, notify.job);
    struct pl_fiber *fiber = refused ? NULL : pl_fiber_current();
    f->notify.strand = fiber ? &fiber->strand : NULL;
    if (!pl_notify_claim(&f->notify)) {
        pl_future_unref(f); /* its canceller has completed it */
        return;
    }
    if (refused) {
        pl_future_complete(f, refused, PLAIT_REASON_NONE);
        return;
    }
    int code = run_task(f, &fiber->strand);
    pl_notify_end(&f->notify);
    enum plait_reason reason = PLAIT_REASON_NONE;
    if (PL_UNLIKELY(code == -ECANCELED || code == -ETIMEDOUT))
        reason = pl_cancel_chain(&f->cancel);
    pl_future_complete(f, code, reason);
}

/* Takes the list's lock and returns the word without it. */
static uintptr_t lock_waiters(plait_future *f)
{
    for (;;) {
        /* Acquire: pairs with the release in unlock_waiters(). */
        uintptr_t word =
            atomic_fetch_or_explicit(&f->waiters, PL_FUTURE_LOCK, memory_order_acquire);
        if (!(word & PL_FUTURE_LOCK))
            return word;
        while (atomic_load_explicit(&f->waiters, memory_order_relaxed) & PL_FUTURE_LOCK)
            pl_relax();
    }
}

static void unlock_waiters(plait_future *f, uintptr_t word)
{
    /* Release: pairs with the acquire in lock_waiters(). */
    atomic_store_explicit(&f->waiters, word, memory_order_release);
}

bool pl_future_complete_unwatched(plait_future *f, int code, enum plait_reason reason)
{
    f->code = code;
    f->reason = (uint16_t)reason;
    if (PL_UNLIKELY(f->extra != NULL))
        pl_future_fds_drop(f); /* of a task that did not start here */
    uintptr_t nobody = 0;
    /* Release: pairs with the acquire in pl_future_is_done(). */
    if (!atomic_compare_exchange_strong_explicit(&f->waiters, &nobody, PL_FUTURE_DONE,
                                                 memory_order_release, memory_order_relaxed))
        return false;
    pl_future_unref(f);
    return true;
}

void pl_future_complete(plait_future *f, int code, enum plait_reason reason)
{
    if (!pl_future_complete_unwatched(f, code, reason)) {
        struct pl_waiter *w = (struct pl_waiter *)lock_waiters(f);
        /* Release: pairs with the acquire in pl_future_is_done(); callbacks look already. */
        atomic_store_explicit(&f->waiters, PL_FUTURE_DONE | PL_FUTURE_LOCK, memory_order_release);
        while (w) {
            struct pl_waiter *next = w->next; /* w may go when it is fired */
            w->fire(w, f);
            w = next;
        }
        unlock_waiters(f, PL_FUTURE_DONE);
        pl_future_unref(f);
    }
}

bool pl_future_watch(plait_future *f, struct pl_waiter *w)
{
    if (pl_future_is_done(f))
        return false; /* without the lock, which a callback that adds a callback would wait for */
    uintptr_t word = lock_waiters(f);
    bool done = word & PL_FUTURE_DONE;
    if (!done) {
        w->next = (struct pl_waiter *)word;
        word = (uintptr_t)w;
    }
    unlock_waiters(f, word);
    return !done;
}

bool pl_future_unwatch(plait_future *f, struct pl_waiter *w)
{
    uintptr_t word = lock_waiters(f);
    bool found = false;
    if (!(word & PL_FUTURE_DONE)) {
        struct pl_waiter *first = (struct pl_waiter *)word, **link = &first;
        while (*link && *link != w)
            link = &(*link)->next;
        found = *link != NULL;
        if (found)
            *link = w->next;
        word = (uintptr_t)first;
    }
    unlock_waiters(f, word);
    return found;
}

static int copy_bytes_in(plait_future *f, const struct plait_span *in)
{
    struct pl_future_extra *extra = pl_future_extra(f);
    if (!extra)
        return -ENOMEM;
    void *copy = pl_alloc(in->bytes ? in->bytes : 1);
    if (!copy)
        return -ENOMEM;
    if (in->bytes)
        memcpy(copy, in->data, in->bytes);
    extra->bytes_in = (struct plait_span){ copy, in->bytes };
    return 0;
}

/* Small arguments are the rule; a loop of words beats the call. */
static inline void copy_in(void *to, const void *from, size_t bytes)
{
    if (bytes == 8)
        memcpy(to, from, 8);
    else if (bytes == 16)
        memcpy(to, from, 16);
    else if (bytes)
        memcpy(to, from, bytes);
}

#define RETRY_NS         (10 * PL_MILLISECOND)
#define PRIORITY_FITS(p) ((p) >= PLAIT_PRIORITY_LOWEST && (p) <= PLAIT_PRIORITY_HIGHEST)

/* An old caller knows fewer options: the rest are zero. */
static int read_options(const struct plait_executor *ex, const struct plait_submit_options *given,
                        struct pl_asked *ret)
{
    struct plait_submit_options o = { 0 };
    memcpy(&o, given, given->size < sizeof o ? given->size : sizeof o);
    if (!PRIORITY_FITS(o.priority))
        return pl_fail(-EINVAL, "the priority %d is not between %d and %d", o.priority,
                       PLAIT_PRIORITY_LOWEST, PLAIT_PRIORITY_HIGHEST);
    if (o.deadline < 0 || o.timeout_ns < 0 || o.retry_ns < 0)
        return pl_fail(-EINVAL, "%s is negative",
                       o.deadline < 0     ? "the deadline"
                       : o.timeout_ns < 0 ? "timeout_ns"
                                          : "retry_ns");
    if (o.priority != 0 && !ex->ops->priorities)
        return pl_fail(-ENOTSUP,
                       "the executor `%s` has no priorities: it starts tasks at once, or steals "
                       "them in an order of its own",
                       ex->name);
    ret->deadline = o.deadline;
    ret->timeout_ns = o.timeout_ns;
    ret->priority = o.priority;
    ret->retries = o.retries;
    ret->retry_ns = o.retry_ns > 0 ? o.retry_ns : RETRY_NS;
    return 0;
}

int pl_future_make(plait_future **ret, struct plait_executor *ex, const struct plait_task *task,
                   const void *in, const struct plait_submit_options *o)
{
    size_t out_at;
    struct pl_asked asked = { 0 };
    int e = o ? read_options(ex, o, &asked) : 0;
    if (PL_UNLIKELY(e < 0))
        return e;
    plait_future *f = allocate(ex, future_bytes(task, &out_at));
    if (!f)
        return -ENOMEM;
    pl_notify_init(&f->notify);
    f->notify.job.run = run;
    f->task = task;
    f->ex = ex;
    pl_cancel_init(&f->cancel, &ex->root, asked.deadline);
    atomic_init(&f->waiters, 0);
    f->extra = NULL;
    atomic_init(&f->refs, 2);
    f->out_at = (uint32_t)out_at;
    f->reason = PLAIT_REASON_NONE;
    f->started = 0;
    f->pid = 0;
    f->peak_kib = 0;
    f->cpu_ns = 0;
    if (pl_future_is_bytes(f))
        e = copy_bytes_in(f, in);
    else
        copy_in(pl_future_in(f), in, task->in_bytes);
    if (e == 0 && PL_UNLIKELY(pl_task_has_fds(task)))
        e = pl_future_fds_init(f);
    if (e == 0 && (asked.timeout_ns > 0 || asked.priority != 0 || asked.retries > 0)) {
        if (pl_future_extra(f))
            f->extra->asked = asked;
        else
            e = -ENOMEM;
    }
    if (e < 0) {
        atomic_store_explicit(&f->refs, 1, memory_order_relaxed);
        pl_future_unref(f);
        return e;
    }
    *ret = f;
    return 0;
}

static const char *why_refused(int code)
{
    switch (code) {
    case -EAGAIN:
        return "its queue is full";
    case -ENOENT:
        return "its workers do not know the task; load the module that declares it before the "
               "executor opens";
    case -EMSGSIZE:
        return "its argument is larger than plait_caps().max_bytes";
    default:
        return plait_strerror(code);
    }
}

int pl_future_submit(plait_future *f)
{
    int e = f->ex->ops->submit(f->ex, f);
    if (e < 0) {
        pl_fail(e, "the executor `%s` does not take the task `%s`: %s", f->ex->name, f->task->name,
                why_refused(e));
        /* Nobody else has seen it. */
        atomic_store_explicit(&f->refs, 1, memory_order_relaxed);
        pl_future_unref(f);
    }
    return e;
}

int plait_submit_task(plait_executor *ex, plait_future **ret, const struct plait_task *task,
                      const void *in, const struct plait_submit_options *options)
{
    plait_future *f;
    pl_strand_point();
    int e = pl_future_make(&f, ex, task, in, options);
    if (e == 0)
        e = pl_future_submit(f);
    if (e < 0)
        return e;
    if (ret)
        *ret = f;
    else
        pl_future_unref(f);
    return 0;
}

struct blocked {
    struct pl_waiter waiter;
    struct pl_wait wait;
};

static void unblock(struct pl_waiter *w, plait_future *f)
{
    (void)f;
    pl_wait_fire(&PL_CONTAINER(w, struct blocked, waiter)->wait, PL_WAIT_WOKEN);
}

int pl_future_wait(plait_future *f, int64_t deadline)
{
    struct pl_strand *s = pl_strand_current();
    pl_strand_point();
    int e = pl_strand_cancelled(s);
    if (e < 0)
        return e;
    /* Acquire: pairs with the exchange in pl_notify_claim(), before which the strand was set. */
    if (atomic_load_explicit(&f->notify.phase, memory_order_acquire) == PL_PHASE_RUNNING &&
        s->worker && f->notify.strand == s)
        return -EDEADLK;
    if (!s->worker && f->ex->ops->help) {
        int64_t until = plait_deadline();
        f->ex->ops->help(f->ex, f, deadline > 0 && deadline < until ? deadline : until);
        if (pl_future_is_done(f))
            return 0;
    }
    struct blocked b = { .waiter.fire = unblock };
    pl_wait_init(&b.wait, s);
    pl_wait_for(&b.wait, PL_FOR_FUTURE, f);
    if (!pl_future_watch(f, &b.waiter))
        return 0;
    enum pl_wait_state why = pl_wait(&b.wait, deadline);
    if (why == PL_WAIT_WOKEN || !pl_future_unwatch(f, &b.waiter))
        return 0;
    return why == PL_WAIT_TIMEOUT ? -ETIMEDOUT : pl_strand_code(s);
}

void pl_future_join(plait_future *f)
{
    struct blocked b = { .waiter.fire = unblock };
    pl_wait_init(&b.wait, pl_strand_current());
    pl_wait_for(&b.wait, PL_FOR_FUTURE, f);
    if (pl_future_watch(f, &b.waiter))
        pl_wait_uninterrupted(&b.wait);
}

int plait_result(plait_future *f, void *out)
{
    if (!pl_future_is_done(f)) {
        int e = pl_future_wait(f, PLAIT_NEVER);
        if (e < 0)
            return e;
    }
    if (f->code >= 0 && out && pl_future_is_bytes(f))
        *(struct plait_span *)out =
            (struct plait_span){ f->extra->bytes_out.data, f->extra->bytes_out.bytes };
    else if (f->code >= 0 && out)
        copy_in(out, pl_future_out(f), f->task->out_bytes);
    if (f->code >= 0 && out && PL_UNLIKELY(pl_task_has_fds(f->task)))
        pl_future_fds_hand(f, out);
    return f->code;
}

int plait_result_bytes(plait_future *f, struct plait_span *out)
{
    if (!pl_future_is_bytes(f))
        PL_BUG("the task `%s` was not declared by PLAIT_TASK_BYTES", f->task->name);
    return plait_result(f, out);
}

bool plait_done(const plait_future *f)
{
    return pl_future_is_done(f);
}

int pl_future_cancel(plait_future *f, enum plait_reason reason)
{
    if (pl_future_is_done(f) || !pl_cancel_mark(&f->cancel, reason))
        return -EALREADY;
    f->ex->ops->cancel(f->ex, f);
    return 0;
}

int plait_cancel(plait_future *f)
{
    return pl_future_cancel(f, PLAIT_REASON_USER);
}

struct callback {
    struct pl_waiter waiter;
    void (*fn)(plait_future *f, void *arg);
    void *arg;
};

static void call_back(struct pl_waiter *w, plait_future *f)
{
    struct callback c = *PL_CONTAINER(w, struct callback, waiter);
    pl_free_mem(PL_CONTAINER(w, struct callback, waiter));
    c.fn(f, c.arg);
}

int plait_on_done(plait_future *f, void (*fn)(plait_future *f, void *arg), void *arg)
{
    struct callback *c = pl_alloc(sizeof *c);
    if (!c)
        return -ENOMEM;
    *c = (struct callback){ { NULL, call_back }, fn, arg };
    if (!pl_future_watch(f, &c->waiter))
        call_back(&c->waiter, f);
    return 0;
}

void plait_free(plait_future *f)
{
    if (f)
        pl_future_unref(f);
}
