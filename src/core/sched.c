// SPDX-License-Identifier: MIT
// sched.c - what the workers of one executor share: the injector, stealing, waking, the end.
#include "core/sched.h"
#include "base/bug.h"
#include "core/look.h"
#include "core/trace.h"
#include "os/alloc.h"
#include "os/clock.h"
#include "os/thread.h"
#include <string.h>

/* Who waits for the queue to have room: in the frame of the waiter, under the injector's lock. */
struct pl_waiting_room {
    struct pl_waiting_room *next, **link;
    struct pl_wait wait;
};

pl_trace_fn *pl_trace_hook;

/* A sleeper that may start jobs; NULL when there is none. */
static struct pl_worker *find_sleeper(struct pl_sched *s)
{
    /* Acquire: pairs with the release in pl_sched_add_worker(). */
    uint32_t used = atomic_load_explicit(&s->used, memory_order_acquire);
    for (uint32_t i = 0; i < used; i++) {
        struct pl_worker *w = &s->workers[i];
        if (atomic_load(&w->state) == PL_WORKER_SLEEPING && pl_sched_may_take(s, w))
            return w;
    }
    return NULL;
}

void pl_sched_wake_sleeper(struct pl_sched *s)
{
    struct pl_worker *w;
    while (atomic_load_explicit(&s->searchers, memory_order_relaxed) == 0 &&
           (w = find_sleeper(s)) != NULL) {
        uint32_t none = 0, sleeping = PL_WORKER_SLEEPING;
        if (!atomic_compare_exchange_strong(&s->searchers, &none, 1))
            return;
        if (atomic_compare_exchange_strong(&w->state, &sleeping, PL_WORKER_NOTIFIED)) {
            atomic_fetch_sub(&s->sleepers, 1);
            pl_loop_wake(&w->loop); /* it takes over the searcher that was counted above */
            return;
        }
        /* Somebody else woke it. Looks once more: who saw the searcher that was counted here left
         * its job to it, and a worker may have gone to sleep before that job came. [pair SLEEP] */
        atomic_fetch_sub(&s->searchers, 1);
    }
}

void pl_sched_wake_all(struct pl_sched *s)
{
    atomic_thread_fence(memory_order_seq_cst); /* [pair SLEEP] */
    uint32_t used = atomic_load_explicit(&s->used, memory_order_acquire);
    for (uint32_t i = 0; i < used; i++) {
        struct pl_worker *w = &s->workers[i];
        uint32_t sleeping = PL_WORKER_SLEEPING;
        if (atomic_compare_exchange_strong(&w->state, &sleeping, PL_WORKER_RUNNING)) {
            atomic_fetch_sub(&s->sleepers, 1);
            pl_loop_wake(&w->loop);
        }
    }
}

/* Lets as many of those who wait go on as there is room for. Under the injector's lock. */
static void admit(struct pl_sched *s)
{
    size_t room =
        s->ex.options.queue_limit - atomic_load_explicit(&s->inject_count, memory_order_relaxed);
    while (s->room && room > 0) {
        struct pl_waiting_room *r = s->room;
        s->room = r->next;
        if (r->next)
            r->next->link = &s->room;
        r->link = NULL;
        if (pl_wait_fire(&r->wait, PL_WAIT_WOKEN))
            room--; /* else it is on its way out, and the room is the next one's */
    }
}

/* Waits until the injector may have room. Enters with its lock held and returns without. */
static int wait_for_room(struct pl_sched *s)
{
    struct pl_waiting_room r, **end = &s->room;
    pl_wait_init(&r.wait, pl_strand_current());
    pl_wait_for(&r.wait, PL_FOR_QUEUE, s);
    while (*end)
        end = &(*end)->next;
    r.next = NULL;
    r.link = end;
    *end = &r;
    pl_unlock(&s->inject_lock);
    enum pl_wait_state why = pl_wait(&r.wait, PLAIT_NEVER);
    pl_lock(&s->inject_lock);
    if (r.link) {
        *r.link = r.next;
        if (r.next)
            r.next->link = r.link;
    }
    pl_unlock(&s->inject_lock);
    return why == PL_WAIT_WOKEN ? 0 : pl_strand_code(r.wait.strand);
}

static int inject_or_wait(struct pl_sched *s, struct pl_job *job)
{
    for (;;) {
        pl_lock(&s->inject_lock);
        if (atomic_load(&s->ex.state) != PL_EXECUTOR_OPEN) {
            pl_unlock(&s->inject_lock);
            return -ESHUTDOWN;
        }
        uint32_t count = atomic_load_explicit(&s->inject_count, memory_order_relaxed);
        if (count < s->ex.options.queue_limit) {
            job->next = NULL;
            *s->inject_end = job;
            s->inject_end = &job->next;
            pl_worker_count(&s->injected);
            atomic_store(&s->inject_count, count + 1); /* [pair SLEEP] */
            pl_unlock(&s->inject_lock);
            pl_sched_wake_one(s);
            return 0;
        }
        if (s->ex.options.when_full == PLAIT_FULL_FAIL) {
            pl_unlock(&s->inject_lock);
            return -EAGAIN;
        }
        int e = wait_for_room(s);
        if (e < 0)
            return e;
    }
}

static int inject(struct pl_sched *s, struct pl_job *job)
{
    /* Relaxed: the lock publishes it, to who runs the job and then sees the end. */
    atomic_fetch_add_explicit(&s->submitters, 1, memory_order_relaxed);
    int e = inject_or_wait(s, job);
    /* Release: pairs with the load in pl_sched_done(). */
    atomic_fetch_sub_explicit(&s->submitters, 1, memory_order_release);
    return e;
}

int pl_sched_submit(struct pl_sched *s, struct pl_job *job)
{
    PL_TRACE(PL_TRACE_SUBMIT, job, NULL);
    struct pl_worker *w = pl_worker_current();
    if (!w || w->sched != s || !w->current)
        return inject(s, job);
    /* A task of this executor: what it starts belongs to what is being drained. */
    if (atomic_load_explicit(&s->ex.state, memory_order_relaxed) == PL_EXECUTOR_STOPPING)
        return -ESHUTDOWN;
    while (PL_UNLIKELY(pl_deque_size_hint(&w->deque) >= s->ex.options.queue_limit)) {
        if (s->ex.options.when_full == PLAIT_FULL_FAIL)
            return -EAGAIN;
        int e = pl_strand_yield(&w->current->strand);
        if (e < 0)
            return e;
    }
    return pl_worker_push(w, job);
}

struct pl_job *pl_sched_take(struct pl_sched *s, struct pl_worker *w)
{
    struct pl_job *batch[32];
    if (atomic_load_explicit(&s->inject_count, memory_order_relaxed) == 0)
        return NULL;
    pl_lock(&s->inject_lock);
    uint32_t count = atomic_load_explicit(&s->inject_count, memory_order_relaxed);
    uint32_t n = count / s->regular + 1; /* a fair share */
    n = n < count ? n : count;
    n = n < 32 ? n : 32;
    for (uint32_t i = 0; i < n; i++) {
        batch[i] = s->inject_first;
        s->inject_first = batch[i]->next;
    }
    if (!s->inject_first)
        s->inject_end = &s->inject_first;
    atomic_store(&s->inject_count, count - n);
    if (PL_UNLIKELY(s->room != NULL))
        admit(s);
    pl_unlock(&s->inject_lock);
    if (n == 0)
        return NULL;

    /* In the order in which own_job() gives them back: the oldest first. Single workers take the
     * oldest of the deque, several take the youngest. */
    bool fifo = s->regular == 1;
    for (uint32_t i = 1; i < n; i++) {
        struct pl_job *job = batch[fifo ? i : n - i];
        if (PL_UNLIKELY(pl_deque_push(&w->deque, job) < 0)) {
            job->run(job, -ENOMEM);
            pl_worker_count(&w->finished);
        }
    }
    return batch[0];
}

struct pl_job *pl_sched_steal(struct pl_sched *s, struct pl_worker *w)
{
    /* Acquire: pairs with the release in pl_sched_add_worker(). */
    uint32_t used = atomic_load_explicit(&s->used, memory_order_acquire);
    w->rng ^= w->rng << 13; /* xorshift64, George Marsaglia 2003 */
    w->rng ^= w->rng >> 7;
    w->rng ^= w->rng << 17;
    uint32_t start = (uint32_t)(w->rng >> 33) % used;
    for (uint32_t i = 0; i < used; i++) {
        struct pl_worker *victim = &s->workers[(start + i) % used];
        if (victim == w || pl_deque_size_hint(&victim->deque) == 0)
            continue;
        struct pl_job *job = pl_deque_steal(&victim->deque);
        if (job)
            return job;
    }
    return NULL;
}

bool pl_sched_has_unstarted(struct pl_sched *s)
{
    if (atomic_load(&s->inject_count) > 0)
        return true;
    /* Acquire: pairs with the release in pl_sched_add_worker(). */
    uint32_t used = atomic_load_explicit(&s->used, memory_order_acquire);
    for (uint32_t i = 0; i < used; i++)
        if (pl_deque_size_hint(&s->workers[i].deque) > 0)
            return true;
    return false;
}

bool pl_sched_has_work(struct pl_sched *s, struct pl_worker *w)
{
    atomic_thread_fence(memory_order_seq_cst); /* [pair SLEEP] */
    if (w->ready || atomic_load(&w->inbox) || atomic_load(&s->ended))
        return true;
    if (!w->stopped && atomic_load(&s->ex.state) == PL_EXECUTOR_STOPPING)
        return true;
    return pl_sched_may_take(s, w) && pl_sched_has_unstarted(s);
}

bool pl_sched_check_end(struct pl_sched *s)
{
    if (atomic_load(&s->ended))
        return true;
    if (atomic_load(&s->ex.state) == PL_EXECUTOR_OPEN)
        return false;
    /* Of two workers that finish their last jobs at the same time one must see the other's: the
     * store to `finished` before this fence, the loads after it, in both. */
    atomic_thread_fence(memory_order_seq_cst);
    uint32_t used = atomic_load_explicit(&s->used, memory_order_acquire);
    uint64_t finished = 0, created = 0;
    for (uint32_t i = 0; i < used; i++)
        finished += atomic_load_explicit(&s->workers[i].finished, memory_order_acquire);
    for (uint32_t i = 0; i < used; i++)
        created += atomic_load_explicit(&s->workers[i].created, memory_order_acquire);
    /* Under the lock: a submitter that found the queue still open has left its section by now. */
    pl_lock(&s->inject_lock);
    created += atomic_load_explicit(&s->injected, memory_order_relaxed);
    pl_unlock(&s->inject_lock);
    if (finished != created)
        return false;
    atomic_store(&s->ended, 1);
    pl_futex_wake(&s->ended, INT_MAX);
    pl_sched_wake_all(s);
    return true;
}

void pl_sched_close_queue(struct pl_sched *s)
{
    pl_lock(&s->inject_lock);
    while (s->room) {
        struct pl_waiting_room *r = s->room;
        s->room = r->next;
        if (r->next)
            r->next->link = &s->room;
        r->link = NULL;
        pl_wait_fire(&r->wait, PL_WAIT_WOKEN);
    }
    pl_unlock(&s->inject_lock);
    pl_sched_wake_all(s);
}

int pl_sched_init(struct pl_sched *s, unsigned regular, unsigned slots)
{
    s->regular = regular;
    s->slots = slots;
    s->inject_end = &s->inject_first;
    s->workers = pl_alloc_aligned(64, slots * sizeof *s->workers);
    if (!s->workers)
        return -ENOMEM;
    memset(s->workers, 0, slots * sizeof *s->workers);
    return 0;
}

static void *worker_thread(void *arg)
{
    pl_worker_run(arg);
    return NULL;
}

int pl_sched_add_worker(struct pl_sched *s)
{
    uint32_t index = atomic_load_explicit(&s->used, memory_order_relaxed);
    if (index == s->slots)
        return -EAGAIN;
    struct pl_worker *w = &s->workers[index];
    int e = pl_worker_init(w, s, index);
    if (e < 0)
        return e;
    /* Release: pairs with the acquire loads of `used`; before the thread, which may be looked
     * for. */
    atomic_store_explicit(&s->used, index + 1, memory_order_release);
    if (s->foreign)
        return 0;
    char name[16];
    snprintf(name, sizeof name, "%.10s/%u", s->ex.name, index);
    e = pl_thread_start(&w->thread, name, 0, worker_thread, w);
    if (e == 0)
        return 0;
    atomic_store_explicit(&s->used, index, memory_order_release);
    pl_look_wait();
    pl_worker_done(w);
    return e;
}

void pl_sched_wait_end(struct pl_sched *s)
{
    /* Acquire: pairs with the release in pl_sched_add_worker(). */
    if (atomic_load_explicit(&s->used, memory_order_acquire) == 0)
        return;
    if (s->foreign) {
        pl_worker_awake(&s->workers[0]); /* it slept since the last turn */
        pl_worker_run(&s->workers[0]);
    }
    struct pl_strand *me = pl_strand_current();
    struct pl_wait shown;
    pl_wait_init(&shown, me);
    pl_wait_for(&shown, PL_FOR_CLOSE, s);
    struct pl_plain *plain = pl_plain_show(me, PLAIT_NEVER, pl_now());
    atomic_store(&s->closer, 1);
    while (!atomic_load(&s->ended))
        pl_futex_wait(&s->ended, 0, PL_FOREVER);
    pl_plain_hide(plain);
}

uint64_t pl_sched_done(struct pl_sched *s)
{
    /* Acquire: pairs with the release in pl_sched_add_worker(). */
    uint32_t used = atomic_load_explicit(&s->used, memory_order_acquire);
    uint64_t made = 0, freed = 0;
    /* What a thread submitted may have run, and been the last, before the thread was out of its
     * call; or it waited for room and is on its way to be refused. Acquire: pairs with the release
     * in inject(). */
    while (atomic_load_explicit(&s->submitters, memory_order_acquire) > 0)
        pl_thread_yield();
    for (uint32_t i = 0; i < used; i++) {
        struct pl_worker *w = &s->workers[i];
        if (!s->foreign)
            pl_thread_join(w->thread);
        made += w->futures_made;
        freed += w->futures_freed;
    }
    for (uint32_t i = 0; i < used; i++)
        pl_worker_done(&s->workers[i]);
    pl_free_mem(s->workers);
    s->workers = NULL;
    return made - freed;
}
