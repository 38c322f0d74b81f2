// SPDX-License-Identifier: MIT
/*
 * blocking.c - calls that block, on threads of their own.
 *
 * DESIGN
 *   A call is queued, then taken by a thread, then done; all three under the pool's lock. A
 *   cancelled strand takes a queued call back. What happens with one that a thread has taken is the
 *   difference between two kinds of pools:
 *
 *   - An executor's, for plait_blocking(). The call lives in the frame of the suspended fiber, so
 *     the fiber waits on, for the frame must not go. Threads are started while calls wait and none
 *     is idle, up to the executor's bound, and stay until the executor closes.
 *   - One of the process, for calls that may never return: a resolver whose server is dead. The
 *     call lives on the heap, and the strand leaves it to the thread, which releases it if fn ever
 *     returns. No executor can own such a thread, or its close would wait for it. The threads are
 *     detached and end when the queue is empty, so that none is left where no name is looked up;
 *     to start one costs little beside a question to a server.
 */
#include "core/blocking.h"
#include "base/bug.h"
#include "core/local.h"
#include "core/sched.h"
#include "os/alloc.h"
#include "os/clock.h"
#include "os/thread.h"
#include <plait/fiber.h>
#include <stdio.h>

/* Threads in calls that may be left behind, in the whole process. */
enum { LEAVABLE_THREADS = 32 };

struct pl_blocking_pool {
    struct pl_lock lock;
    struct pl_call *first, **end;
    unsigned queued, idle, count, limit;
    bool stop;
    bool detached;           /* threads end when the queue is empty, and nobody joins them */
    _Atomic uint32_t signal; /* futex: changes when there is something to do */
    pthread_t threads[];     /* of `limit`, but of a detached pool */
};

static struct pl_blocking_pool leavable = { .end = &leavable.first,
                                            .limit = LEAVABLE_THREADS,
                                            .detached = true };

static void enqueue(struct pl_blocking_pool *p, struct pl_call *c)
{
    c->link = p->end;
    *p->end = c;
    p->end = &c->next;
    p->queued++;
}

static void unlink_call(struct pl_blocking_pool *p, struct pl_call *c)
{
    *c->link = c->next;
    if (c->next)
        c->next->link = c->link;
    else
        p->end = c->link;
    c->link = NULL;
    p->queued--;
}

/* Under the lock, which is given up while it runs. */
static void run(struct pl_blocking_pool *p, struct pl_call *c)
{
    unlink_call(p, c);
    pl_unlock(&p->lock);
    int result = c->fn(c->arg);
    pl_locals_end(pl_strand_current());
    pl_lock(&p->lock);
    if (c->left) {
        pl_unlock(&p->lock);
        c->release(c->arg);
        pl_lock(&p->lock);
        return;
    }
    c->result = result;
    c->done = true;
    pl_wait_fire(c->waiting, PL_WAIT_WOKEN);
}

static void *serve(void *arg)
{
    struct pl_blocking_pool *p = arg;
    pl_lock(&p->lock);
    for (;;) {
        if (p->first) {
            run(p, p->first);
            continue;
        }
        if (p->stop || p->detached)
            break;
        p->idle++;
        uint32_t signal = atomic_load(&p->signal);
        pl_unlock(&p->lock);
        pl_futex_wait(&p->signal, signal, PL_FOREVER);
        pl_lock(&p->lock);
        p->idle--;
    }
    if (p->detached)
        p->count--;
    pl_unlock(&p->lock);
    return NULL;
}

static struct pl_blocking_pool *pool_of(struct pl_sched *s)
{
    pl_lock(&s->inject_lock);
    struct pl_blocking_pool *p = s->blocking;
    if (!p) {
        unsigned limit = s->ex.options.spare_workers;
        p = pl_zalloc(sizeof *p + limit * sizeof p->threads[0]);
        if (p) {
            p->limit = limit;
            p->end = &p->first;
        }
        s->blocking = p;
    }
    pl_unlock(&s->inject_lock);
    return p;
}

static int start_thread(struct pl_blocking_pool *p, const char *name)
{
    char thread_name[16];
    pthread_t thread;
    snprintf(thread_name, sizeof thread_name, "%.8s/block", name);
    int e = pl_thread_start(&thread, thread_name, 0, serve, p);
    if (e < 0)
        return e;
    if (p->detached)
        pl_thread_detach(thread);
    else
        p->threads[p->count] = thread;
    p->count++;
    return 0;
}

/* Sees that a thread comes for the call just queued. Under the lock. */
static int summon(struct pl_blocking_pool *p, const char *name)
{
    atomic_fetch_add(&p->signal, 1);
    if (p->queued <= p->idle) { /* an idle thread may be on its way to another call already */
        pl_futex_wake(&p->signal, 1);
        return 0;
    }
    if (p->count == p->limit)
        return 0; /* it waits for one that is busy */
    int e = start_thread(p, name);
    return p->count > 0 ? 0 : e;
}

/* Queues the call. 0; -EAGAIN: there is no thread, and it is not queued. */
static int submit(struct pl_blocking_pool *p, struct pl_call *c, const char *name)
{
    pl_lock(&p->lock);
    enqueue(p, c);
    int e = summon(p, name);
    if (e < 0)
        unlink_call(p, c);
    pl_unlock(&p->lock);
    return e < 0 ? -EAGAIN : 0;
}

int plait_blocking(int (*fn)(void *arg), void *arg)
{
    struct pl_strand *s = pl_strand_current();
    if (!s->worker)
        return fn(arg);
    int e = pl_strand_cancelled(s);
    if (e < 0)
        return e;
    struct pl_sched *sched = s->worker->sched;
    struct pl_blocking_pool *p = pool_of(sched);
    if (!p)
        return -EAGAIN;

    struct pl_wait wait, end;
    struct pl_call c = { .fn = fn, .arg = arg, .waiting = &wait };
    pl_wait_init(&wait, s);
    pl_wait_for(&wait, PL_FOR_THREAD, NULL);
    e = submit(p, &c, sched->ex.name);
    if (e < 0)
        return e;
    if (pl_wait(&wait, PLAIT_NEVER) == PL_WAIT_WOKEN)
        return c.result;

    pl_lock(&p->lock);
    bool taken = c.link == NULL, done = c.done;
    if (!taken)
        unlink_call(p, &c);
    pl_wait_init(&end, s);
    pl_wait_for(&end, PL_FOR_THREAD, NULL);
    c.waiting = &end;
    pl_unlock(&p->lock);
    if (!taken)
        return pl_strand_code(s);
    if (!done)
        pl_wait_uninterrupted(&end);
    return c.result;
}

int pl_call_leavable(struct pl_call *c)
{
    struct pl_strand *s = pl_strand_current();
    if (!s->worker && !s->cancel) { /* nothing could end the wait */
        c->result = c->fn(c->arg);
        return 0;
    }
    struct pl_wait wait;
    pl_wait_init(&wait, s);
    pl_wait_for(&wait, PL_FOR_THREAD, NULL);
    c->waiting = &wait;
    int e = pl_strand_cancelled(s);
    if (e == 0)
        e = submit(&leavable, c, "plait");
    if (e < 0) {
        c->release(c->arg);
        return e;
    }
    if (pl_wait(&wait, PLAIT_NEVER) == PL_WAIT_WOKEN)
        return 0;

    pl_lock(&leavable.lock);
    bool taken = c->link == NULL, done = c->done;
    if (!taken)
        unlink_call(&leavable, c);
    c->left = taken && !done;
    pl_unlock(&leavable.lock);
    if (done)
        return 0;
    if (!taken)
        c->release(c->arg);
    return pl_strand_code(s);
}

void pl_blocking_stop(struct pl_sched *s)
{
    struct pl_blocking_pool *p = s->blocking;
    if (!p)
        return;
    pl_lock(&p->lock);
    PL_ASSERT(!p->first);
    p->stop = true;
    atomic_fetch_add(&p->signal, 1);
    pl_unlock(&p->lock);
    pl_futex_wake(&p->signal, INT_MAX);
    for (unsigned i = 0; i < p->count; i++)
        pl_thread_join(p->threads[i]);
    pl_free_mem(p);
    s->blocking = NULL;
}

int pl_blocking_idle(struct pl_sched *s)
{
    pl_lock(&s->inject_lock);
    struct pl_blocking_pool *p = s->blocking;
    pl_unlock(&s->inject_lock);
    if (!p)
        return 0;
    pl_lock(&p->lock);
    int idle = p->queued == 0 && p->idle == p->count ? (int)p->count : -1;
    pl_unlock(&p->lock);
    return idle;
}
