// SPDX-License-Identifier: MIT
// Holders of locks in the shared heap die: the next one is told, can repair, and nobody waits for
// ever.
#include "faults/lib/faults.h"
#include "faults/lib/steps.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

// `a` and `b` are equal whenever the mutex is free; who repairs sets b to a.
struct pair {
    plait_shared_mutex mutex;
    plait_shared_cond cond;
    plait_shared_channel *channel;
    uint32_t waiting;
    long a, b, deaths;
};

static struct pair *pair_new(void)
{
    struct pair *p = plait_shared_new(struct pair, 1);
    CHECK(p);
    CHECK_INT(plait_shared_channel_new(&p->channel, sizeof(long), 8), ==, 0);
    return p;
}

static void pair_free(struct pair *p)
{
    plait_shared_channel_free(p->channel);
    plait_shared_free(p);
}

// Locks, and repairs if need be. 0 or an error.
static int enter(struct pair *p)
{
    int e = plait_shared_mutex_lock(&p->mutex);
    if (e != -EOWNERDEAD)
        return e;
    p->b = p->a;
    p->deaths++;
    return plait_shared_mutex_consistent(&p->mutex);
}

enum deed { LOCK_AND_DIE, LOCK_AND_WAIT, ENTER, LOCK_AND_GIVE_UP, WAIT_AND_ENTER };

struct act {
    struct pair *pair;
    enum deed deed;
};

static int act(const struct act *in, void *out)
{
    struct pair *p = in->pair;
    int e = 0;
    (void)out;
    __atomic_add_fetch(&p->waiting, 1, __ATOMIC_SEQ_CST);
    switch (in->deed) {
    case LOCK_AND_DIE:
        e = plait_shared_mutex_lock(&p->mutex);
        p->a++;
        raise(SIGKILL);
        break;
    case LOCK_AND_WAIT:
        e = plait_shared_mutex_lock(&p->mutex);
        p->a++;
        pause();
        break;
    case ENTER:
        e = enter(p);
        if (e == 0 && p->a != p->b)
            e = -EIO;
        if (e == 0)
            plait_shared_mutex_unlock(&p->mutex);
        break;
    case LOCK_AND_GIVE_UP:
        e = plait_shared_mutex_lock(&p->mutex);
        plait_shared_mutex_unlock(&p->mutex);
        break;
    case WAIT_AND_ENTER:
        e = enter(p);
        while (e == 0 && p->deaths == 0) {
            e = plait_shared_cond_wait(&p->cond, &p->mutex, PLAIT_NEVER);
            if (e == -EOWNERDEAD) {
                p->b = p->a;
                p->deaths++;
                e = plait_shared_mutex_consistent(&p->mutex);
            }
        }
        plait_shared_mutex_unlock(&p->mutex);
        break;
    }
    return e;
}
PLAIT_TASK(act, struct act, void);

static plait_future *start(plait_executor *ex, struct pair *p, enum deed deed)
{
    plait_future *f;
    CHECK_INT(plait_submit(ex, &f, act, { p, deed }), ==, 0);
    return f;
}

static void finish(plait_future *f, int code)
{
    CHECK_INT(plait_result(f, NULL), ==, code);
    plait_free(f);
}

static void await_waiting(struct pair *p, uint32_t n)
{
    while (__atomic_load_n(&p->waiting, __ATOMIC_SEQ_CST) < n)
        plait_sleep(PLAIT_MILLISECOND);
}

TEST(the_next_is_told_and_repairs)
{
    plait_executor *ex = open_processes(2);
    struct pair *p = pair_new();
    finish(start(ex, p, LOCK_AND_DIE), -EOWNERDEAD);
    CHECK_INT(p->a, ==, p->b + 1);
    CHECK_INT(plait_shared_mutex_trylock(&p->mutex), ==, -EOWNERDEAD);
    CHECK_INT(plait_shared_mutex_trylock(&p->mutex), ==, -EBUSY);
    p->b = p->a;
    CHECK_INT(plait_shared_mutex_consistent(&p->mutex), ==, 0);
    CHECK_INT(plait_shared_mutex_consistent(&p->mutex), ==, -EINVAL);
    plait_shared_mutex_unlock(&p->mutex);
    finish(start(ex, p, ENTER), 0);
    // Each dead one in turn, also one that was to repair.
    finish(start(ex, p, LOCK_AND_DIE), -EOWNERDEAD);
    finish(start(ex, p, LOCK_AND_DIE), -EOWNERDEAD);
    finish(start(ex, p, ENTER), 0);
    CHECK_INT(p->deaths, ==, 1);
    CHECK_INT(p->a, ==, 3);
    pair_free(p);
    close_processes(ex);
}

TEST(given_up_for_ever)
{
    plait_executor *ex = open_processes(2);
    struct pair *p = pair_new();
    finish(start(ex, p, LOCK_AND_DIE), -EOWNERDEAD);
    finish(start(ex, p, LOCK_AND_GIVE_UP), -EOWNERDEAD);
    finish(start(ex, p, ENTER), -ENOTRECOVERABLE);
    CHECK_INT(plait_shared_mutex_lock(&p->mutex), ==, -ENOTRECOVERABLE);
    CHECK_INT(plait_shared_mutex_trylock(&p->mutex), ==, -ENOTRECOVERABLE);
    pair_free(p);
    close_processes(ex);
}

// Those who wait already, in other workers and in the program, go on: the first of them repairs.
TEST(waiters_go_on)
{
    enum { WAITERS = 3 };
    plait_executor *ex = open_processes(WAITERS + 1);
    struct pair *p = pair_new();
    plait_future *holder = start(ex, p, LOCK_AND_WAIT), *f[WAITERS];
    await_waiting(p, 1);
    while (plait_shared_mutex_trylock(&p->mutex) == 0) { // it has not come to it
        plait_shared_mutex_unlock(&p->mutex);
        plait_sleep(PLAIT_MILLISECOND);
    }
    for (int i = 0; i < WAITERS; i++)
        f[i] = start(ex, p, ENTER);
    await_waiting(p, WAITERS + 1);
    plait_cancel(holder);
    CHECK_INT(enter(p), ==, 0);
    CHECK_INT(p->a, ==, p->b);
    plait_shared_mutex_unlock(&p->mutex);
    for (int i = 0; i < WAITERS; i++)
        finish(f[i], 0);
    finish(holder, -ECANCELED);
    CHECK_INT(p->deaths, ==, 1);
    pair_free(p);
    close_processes(ex);
}

TEST(a_condition_is_left_at_a_death)
{
    plait_executor *ex = open_processes(2);
    struct pair *p = pair_new();
    plait_future *f = start(ex, p, WAIT_AND_ENTER);
    await_waiting(p, 1);
    finish(start(ex, p, LOCK_AND_DIE), -EOWNERDEAD);
    finish(f, 0); // nobody signalled
    CHECK_INT(p->deaths, ==, 1);
    pair_free(p);
    close_processes(ex);
}

TEST(unlocked_by_a_stranger, .signal = SIGABRT, .says = "not locked by this process")
{
    struct pair *p = pair_new();
    plait_shared_mutex_unlock(&p->mutex);
}

// ---- storms: thousands of rounds while workers are killed at random

static int many_rounds(const struct act *in, void *out)
{
    (void)out;
    for (int i = 0; i < 20000; i++) {
        int e = enter(in->pair);
        if (e == 0 && in->pair->a != in->pair->b)
            e = -EIO;
        if (e < 0)
            return e;
        in->pair->a++;
        in->pair->b++;
        plait_shared_mutex_unlock(&in->pair->mutex);
    }
    return 0;
}
PLAIT_TASK(many_rounds, struct act, void);

enum { TASKS = 60, DEATHS = 12 };

// One wave of tasks under kills. How many died; fails on every other error.
static int storm(plait_executor *ex, const struct plait_task *task, struct pair *p, int zygote)
{
    plait_future *f[TASKS];
    struct act in = { p, 0 };
    int died = 0;
    for (int i = 0; i < TASKS; i++)
        CHECK_INT(plait_submit_task(ex, &f[i], task, &in, NULL), ==, 0);
    for (int i = 0; i < TASKS; i++) {
        died += result_under_fire(f[i], zygote) == -EOWNERDEAD;
        plait_free(f[i]);
    }
    return died;
}

TEST(locks_in_a_storm, .limit_s = 120)
{
    plait_executor *ex = open_processes(3);
    struct pair *p = pair_new();
    int zygote = child_of(getpid()), died = 0;
    while (died < DEATHS)
        died += storm(ex, &PLAIT_TASK_OF(many_rounds), p, zygote);
    CHECK_INT(enter(p), ==, 0);
    CHECK_INT(p->a, ==, p->b);
    CHECK_INT(p->a, >=, 20000);
    check_say("%ld rounds, %d deaths, %ld of a holder", p->a, died, p->deaths);
    plait_shared_mutex_unlock(&p->mutex);
    pair_free(p);
    close_processes(ex);
}

// Each task puts its numbers in order; a value is there once or, of a dead one, not at all.
enum { PUTS = 400 };

static int put_many(const struct act *in, void *out)
{
    (void)out;
    long id = __atomic_add_fetch(&in->pair->a, 1, __ATOMIC_SEQ_CST);
    for (long i = 0; i < PUTS; i++) {
        long value = id * PUTS + i;
        int e = plait_shared_put(in->pair->channel, &value);
        if (e < 0)
            return e;
    }
    return 0;
}
PLAIT_TASK(put_many, struct act, void);

struct drain {
    struct pair *pair;
    long *next; // for each task's id: the number that it puts next
    long room, taken;
};

static int drain(void *arg)
{
    struct drain *d = arg;
    long value;
    int e;
    while ((e = plait_shared_get(d->pair->channel, &value)) == 0) {
        CHECK_INT(value / PUTS, <, d->room);
        CHECK_INT(value % PUTS, ==, d->next[value / PUTS]);
        d->next[value / PUTS]++;
        d->taken++;
    }
    return e;
}

static void *drain_thread(void *arg)
{
    CHECK_INT(drain(arg), ==, -EPIPE);
    return NULL;
}

TEST(channels_in_a_storm, .limit_s = 120)
{
    plait_executor *ex = open_processes(3);
    struct pair *p = pair_new();
    struct drain d = { p, calloc(100000, sizeof(long)), 100000, 0 };
    pthread_t thread;
    int zygote = child_of(getpid()), died = 0, waves = 0;
    CHECK(d.next);
    CHECK_INT(pthread_create(&thread, NULL, drain_thread, &d), ==, 0);
    for (; died < DEATHS; waves++)
        died += storm(ex, &PLAIT_TASK_OF(put_many), p, zygote);
    CHECK_INT(plait_shared_channel_close(p->channel), ==, 0);
    pthread_join(thread, NULL);
    // What has been finished has put everything.
    long whole = 0;
    for (long id = 1; id <= p->a; id++)
        whole += d.next[id] == PUTS;
    CHECK_INT(whole, >=, (long)waves * TASKS - died);
    check_say("%ld values, %d deaths", d.taken, died);
    free(d.next);
    pair_free(p);
    close_processes(ex);
}

// ---- a death before every instruction

static struct pair *stepped;

static void make_pair(void)
{
    if (!stepped)
        stepped = pair_new();
    stepped->a = stepped->b = 0;
    long value;
    while (plait_shared_try_get(stepped->channel, &value) == 0)
        ;
    value = 1;
    CHECK_INT(plait_shared_try_put(stepped->channel, &value), ==, 0);
}

static void lock_and_unlock(void)
{
    if (plait_shared_mutex_lock(&stepped->mutex) != 0)
        _exit(1);
    stepped->a++;
    stepped->b++;
    plait_shared_mutex_unlock(&stepped->mutex);
    if (plait_shared_mutex_trylock(&stepped->mutex) != 0)
        _exit(2);
    plait_shared_mutex_unlock(&stepped->mutex);
}

static void check_lock(long step)
{
    int e = plait_shared_mutex_trylock(&stepped->mutex);
    if (e != 0 && e != -EOWNERDEAD)
        FAIL("dead before instruction %ld: %d", step, e);
    if (e == 0)
        CHECK_INT(stepped->a, ==, stepped->b);
    if (e == -EOWNERDEAD)
        CHECK_INT(plait_shared_mutex_consistent(&stepped->mutex), ==, 0);
    plait_shared_mutex_unlock(&stepped->mutex);
    CHECK_INT(plait_shared_mutex_trylock(&stepped->mutex), ==, 0);
    plait_shared_mutex_unlock(&stepped->mutex);
}

TEST(a_mutex_at_every_instruction, .limit_s = 60)
{
    make_pair();
    steps_run(
        &(struct script){ .prepare = make_pair, .run = lock_and_unlock, .check = check_lock });
}

static void put_and_get(void)
{
    long value = 2;
    if (plait_shared_put(stepped->channel, &value) != 0 ||
        plait_shared_get(stepped->channel, &value) != 0 || value != 1)
        _exit(1);
}

// 1, or 1 and 2, or 2: whole, in order, and usable.
static void check_channel(long step)
{
    long value, sum = 0, last = 0;
    size_t count = plait_shared_channel_count(stepped->channel), n = 0;
    for (; plait_shared_try_get(stepped->channel, &value) == 0; n++) {
        if (value <= last || value > 2)
            FAIL("dead before instruction %ld: %ld after %ld", step, value, last);
        last = value;
        sum += value;
    }
    CHECK_INT(n, ==, count);
    CHECK_INT(sum, >=, 1);
    CHECK_INT(plait_shared_try_put(stepped->channel, &sum), ==, 0);
    CHECK_INT(plait_shared_channel_count(stepped->channel), ==, 1);
}

TEST(a_channel_at_every_instruction, .limit_s = 60)
{
    make_pair();
    steps_run(&(struct script){ .prepare = make_pair, .run = put_and_get, .check = check_channel });
}
