// SPDX-License-Identifier: MIT
/*
 * blocking.c - plait_blocking(): a call that blocks, on a thread of its own.
 *
 * DESIGN
 *   A request lives in the frame of the suspended fiber. It is queued, then taken by a thread, then
 *   done; all three under the pool's lock. A cancelled fiber takes a queued request back; for one
 *   that a thread has taken it waits on, for the frame must not go. Threads are started while
 *   requests wait and none is idle, up to the executor's bound, and stay until the executor closes.
 */
#include "core/blocking.h"
#include "base/bug.h"
#include "core/sched.h"
#include "os/alloc.h"
#include "os/clock.h"
#include "os/thread.h"
#include <plait/fiber.h>
#include <stdio.h>

struct request {
    struct request *next, **link; /* link: NULL once it was taken */
    int (*fn)(void *arg);
    void *arg;
    int result;
    bool done;
    struct pl_wait *waiting;
};

struct pl_blocking_pool {
    struct pl_lock lock;
    struct request *first, **end;
    unsigned queued, idle, count, limit;
    bool stop;
    _Atomic uint32_t signal; /* futex: changes when there is something to do */
    pthread_t threads[];
};

static void unlink_request(struct pl_blocking_pool *p, struct request *r)
{
    *r->link = r->next;
    if (r->next)
        r->next->link = r->link;
    else
        p->end = r->link;
    r->link = NULL;
    p->queued--;
}

static void *serve(void *arg)
{
    struct pl_blocking_pool *p = arg;
    pl_lock(&p->lock);
    for (;;) {
        struct request *r = p->first;
        if (r) {
            unlink_request(p, r);
            pl_unlock(&p->lock);
            int result = r->fn(r->arg);
            pl_lock(&p->lock);
            r->result = result;
            r->done = true;
            pl_wait_fire(r->waiting, PL_WAIT_WOKEN);
            continue;
        }
        if (p->stop)
            break;
        p->idle++;
        uint32_t signal = atomic_load(&p->signal);
        pl_unlock(&p->lock);
        pl_futex_wait(&p->signal, signal, PL_FOREVER);
        pl_lock(&p->lock);
        p->idle--;
    }
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

/* Sees that a thread comes for the request just queued. Under the lock. */
static int summon(struct pl_blocking_pool *p, const char *name)
{
    atomic_fetch_add(&p->signal, 1);
    if (p->queued <= p->idle) { /* an idle thread may be on its way to another request already */
        pl_futex_wake(&p->signal, 1);
        return 0;
    }
    if (p->count == p->limit)
        return 0; /* it waits for one that is busy */
    char thread_name[16];
    snprintf(thread_name, sizeof thread_name, "%.8s/block", name);
    int e = pl_thread_start(&p->threads[p->count], thread_name, 0, serve, p);
    if (e == 0)
        p->count++;
    return p->count > 0 ? 0 : e;
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
    struct request r = { .fn = fn, .arg = arg, .waiting = &wait };
    pl_wait_init(&wait, s);
    pl_lock(&p->lock);
    r.link = p->end;
    *p->end = &r;
    p->end = &r.next;
    p->queued++;
    e = summon(p, sched->ex.name);
    if (e < 0)
        unlink_request(p, &r);
    pl_unlock(&p->lock);
    if (e < 0)
        return -EAGAIN;
    if (pl_wait(&wait, PLAIT_NEVER) == PL_WAIT_WOKEN)
        return r.result;

    pl_lock(&p->lock);
    bool taken = r.link == NULL, done = r.done;
    if (!taken)
        unlink_request(p, &r);
    pl_wait_init(&end, s);
    r.waiting = &end;
    pl_unlock(&p->lock);
    if (!taken)
        return pl_strand_code(s);
    if (!done)
        pl_wait_uninterrupted(&end);
    return r.result;
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
