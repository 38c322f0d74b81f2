// SPDX-License-Identifier: MIT
// fair.c - nobody is starved: of each lock some take it again and again, without a pause between
// giving it back and taking it anew, until a guest has had it a number of times. On tasks of one
// worker, of several, and on plain threads among them.
#include <pthread.h>
#include <stdatomic.h>

#include "conformance/tasks.h"

struct arena {
    plait_mutex mutex;
    plait_recursive_mutex recursive;
    plait_rwlock rwlock;
    plait_semaphore semaphore;
    plait_cond cond;
    plait_event over;
    long inside, turns, readers, writers;
};

enum kind { MUTEX, RECURSIVE, READ, WRITE, SEMAPHORE };

struct visit {
    struct arena *arena;
    enum kind kind;
    long times; // 0: until it is over
};

static int enter(struct arena *a, enum kind kind)
{
    switch (kind) {
    case MUTEX:
        return plait_mutex_lock(&a->mutex);
    case RECURSIVE:
        return plait_recursive_mutex_lock(&a->recursive);
    case READ:
        return plait_rwlock_read(&a->rwlock);
    case WRITE:
        return plait_rwlock_write(&a->rwlock);
    default:
        return plait_semaphore_acquire(&a->semaphore);
    }
}

static void leave(struct arena *a, enum kind kind)
{
    switch (kind) {
    case MUTEX:
        plait_mutex_unlock(&a->mutex);
        break;
    case RECURSIVE:
        plait_recursive_mutex_unlock(&a->recursive);
        break;
    case READ:
        plait_rwlock_read_unlock(&a->rwlock);
        break;
    case WRITE:
        plait_rwlock_write_unlock(&a->rwlock);
        break;
    default:
        plait_semaphore_release(&a->semaphore, 1);
    }
}

/* Whether who is inside may be there. */
static bool is_lawful(struct arena *a, enum kind kind)
{
    bool lawful = true;
    if (kind == READ) {
        __atomic_add_fetch(&a->readers, 1, __ATOMIC_SEQ_CST);
        plait_yield();
        lawful = __atomic_load_n(&a->writers, __ATOMIC_SEQ_CST) == 0;
        __atomic_sub_fetch(&a->readers, 1, __ATOMIC_SEQ_CST);
        return lawful;
    }
    lawful = __atomic_add_fetch(&a->writers, 1, __ATOMIC_SEQ_CST) == 1;
    plait_yield();
    lawful = lawful && __atomic_load_n(&a->readers, __ATOMIC_SEQ_CST) == 0;
    __atomic_sub_fetch(&a->writers, 1, __ATOMIC_SEQ_CST);
    return lawful;
}

static int visit(const struct visit *v, void *out)
{
    (void)out;
    struct arena *a = v->arena;
    for (long i = 0; v->times ? i < v->times : !plait_event_is_set(&a->over); i++) {
        int e = enter(a, v->kind);
        if (e < 0)
            return e;
        bool lawful = is_lawful(a, v->kind);
        leave(a, v->kind);
        if (!lawful)
            return -EILSEQ;
    }
    if (v->times)
        plait_event_set(&a->over);
    return 0;
}
PLAIT_TASK(visit, struct visit, void);

static void *visit_on_thread(void *v)
{
    CHECK_INT(visit(v, NULL), ==, 0);
    return NULL;
}

enum { THREAD_HOGS = 1, THREAD_VISITS = 2 };

/* Three tasks hog, and perhaps a plain thread; a task visits, or a plain thread. */
static void serve_one_guest(plait_executor *ex, enum kind hogs, enum kind guest, int who)
{
    struct arena a = { 0 };
    plait_future *f[3], *g;
    pthread_t hog, visitor;
    plait_semaphore_init(&a.semaphore, 1);
    struct visit h = { &a, hogs, 0 }, v = { &a, guest, 20 };
    for (int i = 0; i < 3; i++)
        CHECK_INT(plait_submit_at(ex, &f[i], visit, &h), ==, 0);
    if (who & THREAD_HOGS)
        CHECK_INT(pthread_create(&hog, NULL, visit_on_thread, &h), ==, 0);
    if (who & THREAD_VISITS) {
        CHECK_INT(pthread_create(&visitor, NULL, visit_on_thread, &v), ==, 0);
        CHECK_INT(pthread_join(visitor, NULL), ==, 0);
    } else {
        CHECK_INT(plait_submit_at(ex, &g, visit, &v), ==, 0);
        CHECK_INT(plait_result(g, NULL), ==, 0);
        plait_free(g);
    }
    for (int i = 0; i < 3; i++) {
        CHECK_INT(plait_result(f[i], NULL), ==, 0);
        plait_free(f[i]);
    }
    if (who & THREAD_HOGS)
        CHECK_INT(pthread_join(hog, NULL), ==, 0);
}

static void serve_a_guest(plait_executor *ex, enum kind hogs, enum kind guest)
{
    for (int who = 0; who <= (THREAD_HOGS | THREAD_VISITS); who++)
        serve_one_guest(ex, hogs, guest, who);
}

CONFORM_LOCAL(a_mutex_serves_a_guest)
{
    serve_a_guest(ex, MUTEX, MUTEX);
}

CONFORM_LOCAL(a_recursive_mutex_serves_a_guest)
{
    serve_a_guest(ex, RECURSIVE, RECURSIVE);
}

CONFORM_LOCAL(readers_let_a_writer_in)
{
    serve_a_guest(ex, READ, WRITE);
}

CONFORM_LOCAL(writers_let_a_reader_in)
{
    serve_a_guest(ex, WRITE, READ);
}

CONFORM_LOCAL(writers_let_a_writer_in)
{
    serve_a_guest(ex, WRITE, WRITE);
}

CONFORM_LOCAL(a_semaphore_serves_a_guest)
{
    serve_a_guest(ex, SEMAPHORE, SEMAPHORE);
}

/* Signals go round: each of those who wait is woken as often as the others. */
struct waiter {
    struct arena *arena;
    long *woken;
};

static int wait_for_signals(const struct waiter *w, void *out)
{
    (void)out;
    struct arena *a = w->arena;
    int e = plait_mutex_lock(&a->mutex);
    if (e < 0)
        return e;
    a->inside++;
    while (e == 0 && !plait_event_is_set(&a->over)) {
        e = plait_cond_wait(&a->cond, &a->mutex, PLAIT_NEVER);
        if (a->turns > 0) {
            a->turns--;
            ++*w->woken;
        }
    }
    plait_mutex_unlock(&a->mutex);
    return e;
}
PLAIT_TASK(wait_for_signals, struct waiter, void);

CONFORM_LOCAL(a_condition_wakes_each_in_turn)
{
    enum { N = 5, ROUNDS = 40 };
    struct arena a = { 0 };
    plait_future *f[N];
    long woken[N] = { 0 };
    for (int i = 0; i < N; i++)
        CHECK_INT(plait_submit(ex, &f[i], wait_for_signals, { &a, &woken[i] }), ==, 0);
    for (long given = 0; given < N * ROUNDS;) {
        CHECK_INT(plait_mutex_lock(&a.mutex), ==, 0);
        if (a.inside == N && a.turns == 0) {
            a.turns = 1;
            plait_cond_signal(&a.cond);
            given++;
        }
        plait_mutex_unlock(&a.mutex);
        plait_yield();
    }
    for (bool last = false; !last;) { // the last one has been woken, too
        CHECK_INT(plait_mutex_lock(&a.mutex), ==, 0);
        last = a.turns == 0;
        plait_mutex_unlock(&a.mutex);
        plait_yield();
    }
    plait_event_set(&a.over);
    for (int i = 0; i < N; i++)
        plait_cond_broadcast(&a.cond);
    for (int i = 0; i < N; i++) {
        while (!plait_done(f[i])) {
            plait_cond_broadcast(&a.cond);
            plait_yield();
        }
        CHECK_INT(plait_result(f[i], NULL), ==, 0);
        plait_free(f[i]);
        CHECK_INT(woken[i], ==, ROUNDS);
    }
}
