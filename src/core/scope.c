// SPDX-License-Identifier: MIT
// scope.c - fork, join and cancel. See scope.h.
#include "core/scope.h"
#include "base/bug.h"
#include "base/relax.h"
#include "core/given.h"
#include "core/local.h"
#include "core/sched.h"
#include "core/trace.h"
#include "os/alloc.h"
#include "os/clock.h"
#include <plait/fiber.h>
#include <string.h>

static struct pl_scope *scope_of(plait_scope *s)
{
    return (struct pl_scope *)s;
}

/* Makes `scope` the innermost of its owner, or takes it off. */
static inline void enter(struct pl_strand *s, struct pl_scope *scope, struct pl_cancel *cancel)
{
    bool plain = PL_UNLIKELY(!s->worker);
    if (plain)
        pl_strand_lock(s);
    s->scope = scope;
    s->cancel = cancel;
    if (plain)
        pl_strand_unlock(s);
}

static inline void begin(struct pl_scope *s, struct pl_strand *owner, struct pl_worker *w,
                         struct plait_executor *ex, const struct plait_scope_options *options)
{
    s->notify.strand = owner;
    atomic_init(&s->notify.phase, PL_PHASE_RUNNING);
    pl_cancel_init(&s->cancel, owner->cancel, options ? options->deadline : 0);
    s->ex = ex;
    s->owner = owner;
    s->worker = w && &w->sched->ex == ex ? w : NULL;
    s->outer = owner->scope;
    memset(&s->spawned, 0, offsetof(struct pl_scope, wait) - offsetof(struct pl_scope, spawned));
    if (options) {
        s->keep_going = options->keep_going;
        s->failures = options->failures;
    }
}

static PL_NOINLINE int begin_on_thread(struct pl_scope *s, struct plait_executor *ex,
                                       const struct plait_scope_options *options)
{
    struct pl_strand *owner = pl_strand_current();
    if (!ex)
        return -EINVAL;
    begin(s, owner, NULL, ex, options);
    enter(owner, s, &s->cancel);
    return 0;
}

int plait_scope_begin_with(plait_scope *ps, plait_executor *ex,
                           const struct plait_scope_options *options)
{
    struct pl_scope *s = scope_of(ps);
    struct pl_worker *w = pl_this_worker;
    if (PL_UNLIKELY(!w || !w->current))
        return begin_on_thread(s, ex, options);
    struct pl_strand *owner = &w->current->strand;
    begin(s, owner, w, ex ? ex : &w->sched->ex, options);
    owner->scope = s;
    owner->cancel = &s->cancel;
    return 0;
}

/* Puts a new record among the scope's. */
static inline struct pl_child *add_child(struct pl_scope *s, struct pl_child *c)
{
    c->scope = s;
    c->in_heap = NULL;
    c->future = NULL;
    pl_notify_init(&c->notify); /* before a canceller can see it */
    c->next_all = atomic_load_explicit(&s->all, memory_order_relaxed);
    /* Release: pairs with the acquire in tell_children(). */
    atomic_store_explicit(&s->all, c, memory_order_release);
    return c;
}

/* A record for a child; NULL when memory is short. */
static struct pl_child *take_child(struct pl_scope *s)
{
    struct pl_child *c = s->free;
    if (!c) /* Acquire: pairs with the push in child_ended(). */
        c = atomic_exchange_explicit(&s->remote_free, NULL, memory_order_acquire);
    if (c) {
        s->free = c->next_free;
        return c;
    }
    if (s->inline_used < PL_SCOPE_INLINE)
        c = &s->inline_children[s->inline_used++];
    else if (s->worker)
        c = pl_slab_alloc(&s->worker->slab, &s->worker->sched->ex.slabs, pl_slab_class(sizeof *c));
    else
        c = pl_alloc(sizeof *c);
    return c ? add_child(s, c) : NULL;
}

static bool is_inline(const struct pl_scope *s, const struct pl_child *c)
{
    return c >= s->inline_children && c < s->inline_children + PL_SCOPE_INLINE;
}

/* The first one counts. */
static void note_error(struct pl_scope *s, int code)
{
    int32_t none = 0;
    atomic_compare_exchange_strong(&s->error, &none, code);
}

static bool make_room(struct plait_failures *f)
{
    if (f->count < f->private_)
        return true;
    size_t room = f->private_ ? 2 * f->private_ : 8;
    struct plait_failure *at = pl_realloc(f->at, room * sizeof *at);
    if (!at)
        return false;
    f->at = at;
    f->private_ = room;
    return true;
}

static PL_NOINLINE void list(struct pl_scope *s, struct plait_failure failure)
{
    struct plait_failures *f = s->failures;
    pl_lock(&s->lock);
    if (make_room(f))
        f->at[f->count++] = failure;
    else
        f->unlisted++;
    pl_unlock(&s->lock);
}

/* Why a task on this executor, not a future's, has failed with that code. */
static enum plait_reason reason_of(const struct pl_scope *s, int code)
{
    enum plait_reason reason = pl_strand_reason(s->owner, &s->cancel);
    if (reason == PLAIT_REASON_NONE)
        reason = pl_cancel_reason(&s->ex->root); /* the owner may be of another one */
    return pl_reason_code(reason) == code ? reason : PLAIT_REASON_NONE;
}

/* Notes a failure of a task, and cancels the others. The reason: NONE where it is not known. */
static PL_NOINLINE void fail(struct pl_scope *s, const struct plait_task *task, void *out, int code,
                             enum plait_reason reason)
{
    note_error(s, code);
    if (s->failures) {
        reason = reason == PLAIT_REASON_NONE ? reason_of(s, code) : reason;
        list(s, (struct plait_failure){ task->name, out, code, reason });
    }
    if (!s->keep_going)
        pl_scope_cancel(s, PLAIT_REASON_SIBLING);
}

/* One of the children that the owner waits for, or will, has ended. */
static void count_ended(struct pl_scope *s)
{
    if (atomic_fetch_add_explicit(&s->balance, 1, memory_order_acq_rel) == -1)
        pl_wait_fire(&s->wait, PL_WAIT_WOKEN);
}

/* The record is free, and the child counts as ended. The last touch of the scope. */
static inline void child_ended(struct pl_child *c, bool by_owner)
{
    struct pl_scope *s = c->scope;
    if (by_owner) {
        c->next_free = s->free;
        s->free = c;
        if (s->joining)
            count_ended(s);
        else
            s->joined++;
        return;
    }
    struct pl_child *first = atomic_load_explicit(&s->remote_free, memory_order_relaxed);
    do
        c->next_free = first;
    while (!atomic_compare_exchange_weak_explicit(&s->remote_free, &first, c, memory_order_release,
                                                  memory_order_relaxed));
    count_ended(s);
}

static inline void *child_in(struct pl_child *c)
{
    return PL_UNLIKELY(c->in_heap != NULL) ? c->in_heap : c->in;
}

/* Where the result of a task goes that nobody wants: behind the copy of its argument. */
static inline void *unwanted(struct pl_child *c)
{
    return (char *)child_in(c) + ((c->task->in_bytes + 15) & ~(size_t)15);
}

static inline void finish(struct pl_child *c, int code, bool by_owner)
{
    if (PL_UNLIKELY(code < 0))
        fail(c->scope, c->task, c->out == unwanted(c) ? NULL : c->out, code, PLAIT_REASON_NONE);
    if (PL_UNLIKELY(c->in_heap != NULL)) {
        pl_free_mem(c->in_heap);
        c->in_heap = NULL;
    }
    child_ended(c, by_owner);
}

/* On a fiber of its own. */
static void run(struct pl_job *job, int refused)
{
    struct pl_child *c = PL_CONTAINER(job, struct pl_child, notify.job);
    struct pl_scope *s = c->scope;
    struct pl_worker *w = pl_worker_current();
    int code = refused;
    if (s->worker)
        pl_worker_count(&w->created); /* see sched.h */
    if (!refused) {
        struct pl_strand *me = &w->current->strand;
        c->notify.strand = me;
        me->cancel = &s->cancel;
        me->task = c->task->name;
        me->clean = 0;
        pl_notify_claim(&c->notify);
        code = pl_strand_cancelled(me);
        if (code == 0) {
            atomic_store_explicit(&w->running, me->task, memory_order_relaxed);
            PL_TRACE(PL_TRACE_START, c, me->task);
            code = c->task->run(child_in(c), c->out);
            PL_TRACE(PL_TRACE_END, c, me->task);
            atomic_store_explicit(&w->running, NULL, memory_order_relaxed);
        }
        if (PL_UNLIKELY(me->scope != NULL))
            PL_BUG("the task `%s` returned without plait_scope_end()", me->task);
        pl_locals_end(me);
        pl_notify_end(&c->notify);
        me->cancel = NULL;
        me->task = NULL;
    }
    finish(c, code, w == s->worker);
}

/* On the stack of its owner, which is inside the scope. */
static inline void run_here(struct pl_scope *s, struct pl_child *c)
{
    struct pl_strand *me = s->owner;
    const char *task = me->task;
    int code = pl_strand_marked(me);
    if (PL_LIKELY(code == 0)) {
        struct pl_locals *locals = me->locals;
        me->locals = NULL;
        me->task = c->task->name;
        PL_TRACE(PL_TRACE_START, c, me->task);
        code = c->task->run(child_in(c), c->out);
        PL_TRACE(PL_TRACE_END, c, me->task);
        if (PL_UNLIKELY(me->scope != s))
            PL_BUG("the task `%s` returned without plait_scope_end()", me->task);
        pl_locals_end(me);
        me->locals = locals;
        me->task = task;
    }
    finish(c, code, true);
}

static void future_ended(struct pl_waiter *waiter, plait_future *f)
{
    struct pl_child *c = PL_CONTAINER(waiter, struct pl_child, waiter);
    struct pl_scope *s = c->scope;
    if (f->code >= 0 && c->out && pl_future_is_bytes(f)) {
        *(struct plait_buffer *)c->out = f->extra->bytes_out;
        f->extra->bytes_out = (struct plait_buffer){ 0 };
    } else if (f->code >= 0 && c->out) {
        memcpy(c->out, pl_future_out(f), f->task->out_bytes);
        if (PL_UNLIKELY(pl_task_has_fds(f->task)))
            pl_future_fds_hand(f, c->out);
    }
    int code = f->code;
    enum plait_reason reason = (enum plait_reason)f->reason;
    pl_lock(&s->lock);
    c->future = NULL;
    pl_unlock(&s->lock);
    /* It may be this scope's deadline that the other executor enforced, and one further out. */
    if (code == -ETIMEDOUT && s->cancel.deadline != PLAIT_NEVER && pl_now() >= s->cancel.deadline)
        pl_cancel_expire(&s->cancel);
    pl_future_unref(f);
    if (code < 0)
        fail(s, c->task, c->out, code, reason);
    child_ended(c, false);
}

/* On an executor of another kind, for bytes, and for descriptors: through a future. */
static int go_by_future(struct pl_scope *s, struct pl_child *c, const void *in)
{
    struct plait_submit_options o = { .size = sizeof o, .deadline = s->cancel.deadline };
    plait_future *f;
    int e = pl_future_make(&f, s->ex, c->task, in, &o);
    if (e < 0)
        return e;
    c->waiter.fire = future_ended;
    pl_future_watch(f, &c->waiter);
    pl_future_ref(f);
    e = pl_future_submit(f); /* may wait for room; on failure the future is gone, unfired */
    if (e < 0)
        return e;
    /* A canceller finds it from now on, and not before: what it completed while it was still being
     * submitted would count as a child that has ended, and then fail to start. */
    pl_lock(&s->lock);
    if (!pl_future_is_done(f))
        c->future = f;
    pl_unlock(&s->lock);
    enum plait_reason reason = pl_cancel_reason(&s->cancel);
    if (PL_UNLIKELY(reason != PLAIT_REASON_NONE))
        pl_future_cancel(f, reason); /* its canceller may have looked too early */
    pl_future_unref(f);
    return 0;
}

/* Pushes a child to the owner's own worker. It is not counted as created: see sched.h. */
static inline int push_own(struct pl_worker *w, struct pl_child *c)
{
    int e = pl_deque_push(&w->deque, &c->notify.job);
    if (e == 0 && w->sched->slots > 1)
        pl_sched_wake_one(w->sched);
    return e;
}

/* Copies the argument; a result that nobody wants goes behind the copy. */
static int set_argument(struct pl_child *c, const void *in)
{
    size_t bytes = c->task->in_bytes, spare = c->out ? 0 : c->task->out_bytes;
    if (PL_LIKELY(bytes == 8 && spare == 0)) {
        memcpy(c->in, in, 8);
        return 0;
    }
    size_t all = ((bytes + 15) & ~(size_t)15) + spare;
    if (all > PL_CHILD_INLINE_BYTES) {
        c->in_heap = pl_alloc_aligned(16, (all + 15) & ~(size_t)15);
        if (!c->in_heap)
            return -ENOMEM;
    }
    if (bytes)
        memcpy(child_in(c), in, bytes);
    if (spare)
        c->out = unwanted(c);
    return 0;
}

static int start(struct pl_scope *s, struct pl_child *c, const void *in)
{
    if (PL_UNLIKELY(!pl_is_sched(s->ex) || c->task->flags != 0))
        return go_by_future(s, c, in);
    int e = set_argument(c, in);
    if (e < 0)
        return e;
    c->notify.job.run = run;
    atomic_store_explicit(&c->notify.phase, PL_PHASE_QUEUED, memory_order_relaxed);
    PL_TRACE(PL_TRACE_SUBMIT, c, c->task->name);
    e = s->worker ? push_own(s->worker, c) : pl_sched_submit(pl_sched_of(s->ex), &c->notify.job);
    if (e < 0) {
        pl_free_mem(c->in_heap);
        c->in_heap = NULL;
    }
    return e;
}

static PL_NOINLINE int go(struct pl_scope *s, const struct plait_task *task, const void *in,
                          void *out)
{
    int e = pl_strand_marked(s->owner);
    if (e < 0) {
        note_error(s, e);
        return e;
    }
    struct pl_child *c = take_child(s);
    if (!c) {
        fail(s, task, out, -ENOMEM, PLAIT_REASON_NONE);
        return -ENOMEM;
    }
    c->task = task;
    c->out = out;
    e = start(s, c, in);
    s->spawned++;
    if (e < 0) {
        s->joined++; /* counted all the same: the record may be one that the end must free */
        c->next_free = s->free;
        s->free = c;
        fail(s, task, out, e, PLAIT_REASON_NONE);
        return e;
    }
    return 0;
}

/* Whether a task takes so little, and gives only what is wanted, that go_small() will do. */
static inline bool is_small(const struct plait_task *task, const void *out)
{
    return (task->in_bytes == 8 || task->in_bytes == 4 || task->in_bytes == 0) &&
           (out || task->out_bytes == 0) && task->flags == 0;
}

/* go() for the common case, in as few instructions as possible: a record of the scope's own, room
 * in the worker's deque, an argument of a word, and nobody cancelled. Where it is not so: false,
 * and nothing has been done. */
static inline bool go_small(struct pl_scope *s, const struct plait_task *task, const void *in,
                            void *out)
{
    struct pl_worker *w = s->worker;
    struct pl_child *c = s->free;
    if (PL_UNLIKELY(!w || !is_small(task, out) || !pl_strand_is_clean(s->owner) ||
                    !pl_deque_has_room(&w->deque) || pl_trace_hook))
        return false;
    if (c) {
        s->free = c->next_free;
        atomic_store_explicit(&c->notify.phase, PL_PHASE_QUEUED, memory_order_relaxed);
    } else if (PL_LIKELY(s->inline_used < PL_SCOPE_INLINE)) {
        c = add_child(s, &s->inline_children[s->inline_used++]);
    } else {
        return false;
    }
    c->task = task;
    c->out = out;
    c->notify.job.run = run;
    if (task->in_bytes == 8)
        memcpy(c->in, in, 8);
    else if (task->in_bytes == 4)
        memcpy(c->in, in, 4);
    pl_deque_push(&w->deque, &c->notify.job);
    s->spawned++;
    return true;
}

int plait_go_task(plait_scope *ps, const struct plait_task *task, const void *in, void *out)
{
    struct pl_scope *s = scope_of(ps);
    pl_strand_point();
    if (PL_UNLIKELY(!go_small(s, task, in, out)))
        return go(s, task, in, out);
    if (s->worker->sched->slots > 1)
        pl_sched_wake_one(s->worker->sched);
    return 0;
}

/* Runs the children that nobody has stolen, youngest first, as long as they are at hand. */
static inline void join_here(struct pl_scope *s)
{
    struct pl_worker *w = s->worker;
    while (s->joined != s->spawned) {
        struct pl_job *job =
            w->sched->slots == 1 ? pl_deque_pop_alone(&w->deque) : pl_deque_pop(&w->deque);
        if (!job)
            return;
        struct pl_child *c = PL_CONTAINER(job, struct pl_child, notify.job);
        if (job->run == run && c->scope == s && pl_fiber_has_room(pl_fiber_of(s->owner))) {
            run_here(s, c);
            continue;
        }
        /* Somebody else's, or no room: it was popped just now, so there is a place for it. */
        int e = pl_deque_push(&w->deque, job);
        PL_ASSERT(e == 0);
        return;
    }
}

static void free_children(struct pl_scope *s)
{
    struct pl_child *c = atomic_load_explicit(&s->all, memory_order_relaxed);
    while (c) {
        struct pl_child *next = c->next_all;
        if (is_inline(s, c))
            ;
        else if (s->worker)
            pl_slab_free(&s->worker->slab, &s->worker->sched->ex.slabs, pl_slab_class(sizeof *c),
                         c);
        else
            pl_free_mem(c);
        c = next;
    }
}

int plait_scope_end(plait_scope *ps)
{
    struct pl_scope *s = scope_of(ps);
    struct pl_strand *owner = s->owner;
    if (PL_UNLIKELY(owner->scope != s))
        PL_BUG("scopes end in the reverse order of their beginning, on the task that began them");
    pl_strand_point();
    if (s->worker)
        join_here(s);
    if (s->joined != s->spawned) {
        int32_t left = (int32_t)(s->spawned - s->joined);
        s->joining = true;
        pl_wait_init(&s->wait, owner);
        pl_wait_for(&s->wait, PL_FOR_SCOPE, s);
        /* Acquire: pairs with the release of each child's end, whose result is read next. */
        if (atomic_fetch_sub_explicit(&s->balance, left, memory_order_acq_rel) != left)
            pl_wait_uninterrupted(&s->wait);
    }
    /* What a canceller brought about may have ended before it is through with the scope. */
    while (PL_UNLIKELY(atomic_load_explicit(&s->cancellers, memory_order_acquire) != 0))
        pl_relax();
    enum plait_reason reason = pl_cancel_reason(&s->cancel);
    if (PL_UNLIKELY(reason != PLAIT_REASON_NONE))
        pl_notify_end(&s->notify);
    /* Before the records go: who interrupts a plain thread walks them under its lock. */
    enter(owner, s->outer, s->cancel.parent);
    if (PL_UNLIKELY(s->spawned > PL_SCOPE_INLINE))
        free_children(s);
    int error = atomic_load_explicit(&s->error, memory_order_relaxed);
    return PL_LIKELY(error == 0) ? pl_reason_code(reason) : error;
}

static void tell_children(struct pl_scope *s)
{
    /* Acquire: pairs with the release of who put the child on the list. */
    for (struct pl_child *c = atomic_load_explicit(&s->all, memory_order_acquire); c;
         c = c->next_all) {
        pl_lock(&s->lock);
        plait_future *f = c->future;
        if (f)
            pl_future_ref(f);
        pl_unlock(&s->lock);
        if (f) {
            pl_future_cancel(f, pl_cancel_reason(&s->cancel));
            pl_future_unref(f);
        } else {
            pl_notify_post(&c->notify);
        }
    }
}

void pl_scope_cancel(struct pl_scope *s, enum plait_reason reason)
{
    if (!pl_cancel_mark(&s->cancel, reason))
        return;
    tell_children(s);
    pl_notify_post(&s->notify);
}

void pl_scope_pass_on(struct pl_scope *s)
{
    for (; s; s = s->outer) {
        enum plait_reason reason = pl_strand_reason(s->owner, &s->cancel);
        if (reason == PLAIT_REASON_NONE)
            continue;
        /* A deadline is inherited, and stays one. */
        pl_cancel_mark(&s->cancel, reason == PLAIT_REASON_DEADLINE ? reason : PLAIT_REASON_PARENT);
        tell_children(s);
    }
}

void plait_scope_cancel_because(plait_scope *ps, const char *why)
{
    struct pl_scope *s = scope_of(ps);
    const char *none = NULL;
    atomic_fetch_add(&s->cancellers, 1);
    /* Release: pairs with the acquire in pl_cancel_why(). Before the mark that makes it count. */
    if (why && pl_cancel_reason(&s->cancel) == PLAIT_REASON_NONE)
        atomic_compare_exchange_strong_explicit(&s->cancel.why, &none, why, memory_order_release,
                                                memory_order_relaxed);
    pl_scope_cancel(s, PLAIT_REASON_USER);
    /* Release, and the last touch of the scope: pairs with the acquire in plait_scope_end(). */
    atomic_fetch_sub_explicit(&s->cancellers, 1, memory_order_release);
}

void plait_scope_cancel(plait_scope *ps)
{
    plait_scope_cancel_because(ps, NULL);
}

void plait_failures_free(struct plait_failures *f)
{
    if (!f)
        return;
    pl_free_mem(f->at);
    *f = (struct plait_failures){ 0 };
}

int plait_cancelled(void)
{
    return pl_strand_cancelled(pl_strand_current());
}

enum plait_reason plait_cancel_reason(const char **why)
{
    struct pl_strand *s = pl_strand_current();
    (void)pl_strand_cancelled(s); /* a deadline that has passed counts */
    if (why)
        *why = pl_cancel_why(s->cancel);
    return pl_strand_reason(s, s->cancel);
}

int64_t plait_deadline(void)
{
    struct pl_strand *s = pl_strand_current();
    return s->cancel ? s->cancel->deadline : PLAIT_NEVER;
}

int plait_shield(int64_t deadline, int (*fn)(void *arg), void *arg)
{
    if (deadline <= 0 || deadline == PLAIT_NEVER)
        return -EINVAL;
    struct pl_strand *s = pl_strand_current();
    struct pl_cancel *outside = s->cancel, shield;
    struct pl_scope *scope = s->scope;
    pl_cancel_init(&shield, &pl_cancel_shielded, deadline);
    enter(s, scope, &shield);
    s->clean = 0;
    int result = fn(arg);
    if (s->scope != scope || s->cancel != &shield)
        PL_BUG("what plait_shield() runs must end the scopes that it begins, and no other");
    enter(s, scope, outside);
    s->clean = 0;
    return result;
}
