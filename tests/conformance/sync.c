// SPDX-License-Identifier: MIT
// sync.c - locks and meeting points between the tasks of one process and its plain threads.
#include "conformance/tasks.h"

struct shared {
    plait_mutex mutex;
    plait_recursive_mutex recursive;
    plait_rwlock rwlock;
    plait_cond cond;
    plait_semaphore semaphore;
    plait_event event;
    plait_latch latch;
    plait_barrier barrier;
    plait_once once;
    long a, b, inside, most, turns;
};

struct job {
    struct shared *shared;
    long n;
};

_Static_assert(sizeof(plait_mutex) == 4, "a mutex has four bytes");

/* Runs `count` tasks at once and expects each to return 0. */
static void run_all(plait_executor *ex, const struct plait_task *task, struct shared *s, long n,
                    int count)
{
    plait_future *f[16];
    struct job j = { s, n };
    CHECK_INT(count, <=, 16);
    for (int i = 0; i < count; i++)
        CHECK_INT(plait_submit_task(ex, &f[i], task, &j, NULL), ==, 0);
    for (int i = 0; i < count; i++) {
        CHECK_INT(plait_result(f[i], NULL), ==, 0);
        plait_free(f[i]);
    }
}

static int under_mutex(const struct job *j, void *unused)
{
    (void)unused;
    struct shared *s = j->shared;
    for (long i = 0; i < j->n; i++) {
        int e = plait_mutex_lock(&s->mutex);
        if (e < 0)
            return e;
        s->a++;
        if (i % 16 == 0)
            plait_yield(); /* the lock is held across a suspension */
        s->b++;
        plait_mutex_unlock(&s->mutex);
    }
    return 0;
}
PLAIT_TASK(under_mutex, struct job, void);

CONFORM_LOCAL(a_mutex_excludes)
{
    struct shared s = { 0 };
    run_all(ex, &PLAIT_TASK_OF(under_mutex), &s, 2000, 8);
    CHECK_INT(s.a, ==, 16000);
    CHECK_INT(s.b, ==, 16000);
    CHECK_INT(plait_mutex_trylock(&s.mutex), ==, 0);
    CHECK_INT(plait_mutex_trylock(&s.mutex), ==, -EBUSY);
    plait_mutex_unlock(&s.mutex);
}

static int twice(const struct job *j, void *unused)
{
    (void)unused;
    struct shared *s = j->shared;
    for (long i = 0; i < j->n; i++) {
        if (plait_recursive_mutex_lock(&s->recursive) || plait_recursive_mutex_lock(&s->recursive))
            return -EIO;
        s->a++;
        plait_recursive_mutex_unlock(&s->recursive);
        if (i % 16 == 0)
            plait_yield();
        s->b++;
        plait_recursive_mutex_unlock(&s->recursive);
    }
    return 0;
}
PLAIT_TASK(twice, struct job, void);

CONFORM_LOCAL(a_recursive_mutex_counts)
{
    struct shared s = { 0 };
    run_all(ex, &PLAIT_TASK_OF(twice), &s, 500, 6);
    CHECK_INT(s.a, ==, 3000);
    CHECK_INT(s.b, ==, 3000);
}

/* Cancelled while it waits: it holds nothing, and the others go on. */
CONFORM_LOCAL(a_cancelled_lock_is_not_held)
{
    struct shared s = { 0 };
    for (int i = 0; i < 50; i++) {
        plait_future *f;
        CHECK_INT(plait_mutex_lock(&s.mutex), ==, 0);
        CHECK_INT(plait_submit(ex, &f, under_mutex, { &s, 1 }), ==, 0);
        CHECK_INT(plait_cancel(f), ==, 0);
        CHECK_INT(plait_result(f, NULL), ==, -ECANCELED);
        plait_mutex_unlock(&s.mutex);
        plait_free(f);
    }
    CHECK_INT(plait_mutex_trylock(&s.mutex), ==, 0);
    CHECK_INT(s.a, ==, 0);
}

static int read_or_write(const struct job *j, void *unused)
{
    (void)unused;
    struct shared *s = j->shared;
    for (long i = 0; i < j->n; i++) {
        if (i % 4 == 0) {
            if (plait_rwlock_write(&s->rwlock))
                return -EIO;
            s->a++;
            plait_yield();
            s->b++;
            plait_rwlock_write_unlock(&s->rwlock);
        } else {
            if (plait_rwlock_read(&s->rwlock))
                return -EIO;
            bool same = s->a == s->b;
            plait_yield();
            same = same && s->a == s->b;
            plait_rwlock_read_unlock(&s->rwlock);
            if (!same)
                return -EILSEQ;
        }
    }
    return 0;
}
PLAIT_TASK(read_or_write, struct job, void);

CONFORM_LOCAL(readers_never_see_half_a_write)
{
    struct shared s = { 0 };
    run_all(ex, &PLAIT_TASK_OF(read_or_write), &s, 1000, 8);
    CHECK_INT(s.a, ==, 2000);
}

static int take_turns(const struct job *j, void *unused)
{
    (void)unused;
    struct shared *s = j->shared;
    int e = plait_mutex_lock(&s->mutex);
    long me = s->a++;
    for (long i = 0; e == 0 && i < j->n; i++) {
        while (e == 0 && s->turns % 4 != me)
            e = plait_cond_wait(&s->cond, &s->mutex, PLAIT_NEVER);
        s->turns++;
        plait_cond_broadcast(&s->cond);
    }
    plait_mutex_unlock(&s->mutex);
    return e;
}
PLAIT_TASK(take_turns, struct job, void);

CONFORM_LOCAL(a_condition_passes_the_turn)
{
    struct shared s = { 0 };
    run_all(ex, &PLAIT_TASK_OF(take_turns), &s, 300, 4);
    CHECK_INT(s.turns, ==, 1200);
    CHECK_INT(plait_mutex_lock(&s.mutex), ==, 0);
    CHECK_INT(plait_cond_wait(&s.cond, &s.mutex, plait_after(PLAIT_MILLISECOND)), ==, -ETIMEDOUT);
    CHECK_INT(plait_mutex_trylock(&s.mutex), ==, -EBUSY);
}

static int with_a_unit(const struct job *j, void *unused)
{
    (void)unused;
    struct shared *s = j->shared;
    for (long i = 0; i < j->n; i++) {
        if (plait_semaphore_acquire(&s->semaphore))
            return -EIO;
        long inside = __atomic_add_fetch(&s->inside, 1, __ATOMIC_SEQ_CST);
        if (inside > 3)
            return -EILSEQ;
        plait_yield();
        __atomic_sub_fetch(&s->inside, 1, __ATOMIC_SEQ_CST);
        plait_semaphore_release(&s->semaphore, 1);
    }
    return 0;
}
PLAIT_TASK(with_a_unit, struct job, void);

CONFORM_LOCAL(a_semaphore_limits)
{
    struct shared s = { 0 };
    plait_semaphore_init(&s.semaphore, 3);
    run_all(ex, &PLAIT_TASK_OF(with_a_unit), &s, 500, 8);
    for (int i = 0; i < 3; i++)
        CHECK_INT(plait_semaphore_try(&s.semaphore), ==, 0);
    CHECK_INT(plait_semaphore_try(&s.semaphore), ==, -EBUSY);
}

static int await_event(const struct job *j, void *unused)
{
    (void)unused;
    plait_latch_done(&j->shared->latch, 1);
    return plait_event_wait(&j->shared->event, PLAIT_NEVER);
}
PLAIT_TASK(await_event, struct job, void);

CONFORM_LOCAL(an_event_wakes_all_and_a_latch_counts)
{
    struct shared s = { 0 };
    plait_future *f[8];
    plait_latch_init(&s.latch, 8);
    for (int i = 0; i < 8; i++)
        CHECK_INT(plait_submit(ex, &f[i], await_event, { &s, 0 }), ==, 0);
    CHECK_INT(plait_latch_wait(&s.latch, PLAIT_NEVER), ==, 0);
    CHECK_INT(plait_event_wait(&s.event, plait_after(PLAIT_MILLISECOND)), ==, -ETIMEDOUT);
    plait_event_set(&s.event);
    for (int i = 0; i < 8; i++) {
        CHECK_INT(plait_result(f[i], NULL), ==, 0);
        plait_free(f[i]);
    }
    CHECK(plait_event_is_set(&s.event));
    plait_event_reset(&s.event);
    CHECK(!plait_event_is_set(&s.event));
}

static int meet(const struct job *j, void *unused)
{
    (void)unused;
    struct shared *s = j->shared;
    for (long round = 0; round < j->n; round++) {
        __atomic_add_fetch(&s->a, 1, __ATOMIC_SEQ_CST);
        int last = plait_barrier_wait(&s->barrier);
        if (last < 0)
            return last;
        if (__atomic_load_n(&s->a, __ATOMIC_SEQ_CST) < 4 * (round + 1))
            return -EILSEQ; /* somebody had not arrived */
        if (last == 1)
            __atomic_add_fetch(&s->turns, 1, __ATOMIC_SEQ_CST);
        if (plait_barrier_wait(&s->barrier) < 0)
            return -EIO;
    }
    return 0;
}
PLAIT_TASK(meet, struct job, void);

CONFORM_LOCAL(a_barrier_lets_nobody_ahead)
{
    struct shared s = { 0 };
    plait_barrier_init(&s.barrier, 4);
    run_all(ex, &PLAIT_TASK_OF(meet), &s, 200, 4);
    CHECK_INT(s.turns, ==, 200);
}

static int initialise(void *arg)
{
    struct shared *s = arg;
    plait_yield();
    return ++s->a == 1 ? -EAGAIN : 0; /* the first attempt fails */
}

static int run_once(const struct job *j, void *unused)
{
    (void)unused;
    int e;
    do
        e = plait_once_run(&j->shared->once, initialise, j->shared);
    while (e == -EAGAIN);
    return j->shared->a == 2 ? e : -EILSEQ;
}
PLAIT_TASK(run_once, struct job, void);

CONFORM_LOCAL(once_runs_until_it_succeeds)
{
    struct shared s = { 0 };
    run_all(ex, &PLAIT_TASK_OF(run_once), &s, 0, 8);
    CHECK_INT(s.a, ==, 2);
}

/* One that locks again and again does not keep another out. */
static int hog(const struct job *j, void *unused)
{
    (void)unused;
    struct shared *s = j->shared;
    while (!plait_event_is_set(&s->event)) {
        int e = plait_mutex_lock(&s->mutex);
        if (e < 0)
            return e;
        plait_yield();
        plait_mutex_unlock(&s->mutex);
    }
    return 0;
}
PLAIT_TASK(hog, struct job, void);

static int guest(const struct job *j, void *unused)
{
    (void)unused;
    struct shared *s = j->shared;
    int e = 0;
    for (long i = 0; e == 0 && i < j->n; i++) {
        e = plait_mutex_lock(&s->mutex);
        if (e == 0)
            plait_mutex_unlock(&s->mutex);
    }
    plait_event_set(&s->event);
    return e;
}
PLAIT_TASK(guest, struct job, void);

CONFORM_LOCAL(nobody_is_starved_of_a_mutex)
{
    struct shared s = { 0 };
    plait_future *h[3], *g;
    for (int i = 0; i < 3; i++)
        CHECK_INT(plait_submit(ex, &h[i], hog, { &s, 0 }), ==, 0);
    CHECK_INT(plait_submit(ex, &g, guest, { &s, 50 }), ==, 0);
    CHECK_INT(plait_result(g, NULL), ==, 0);
    plait_free(g);
    for (int i = 0; i < 3; i++) {
        CHECK_INT(plait_result(h[i], NULL), ==, 0);
        plait_free(h[i]);
    }
}
