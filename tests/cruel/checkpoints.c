// SPDX-License-Identifier: MIT
/*
 * checkpoints.c - tasks that meet, by channels, locks, futures and scopes, are cancelled at every
 * checkpoint in turn.
 *
 * DESIGN. Whatever the moment: a value that was put is either taken or still in its channel; a
 * lock that was taken is given back, and one that was not is free; what a shield runs is run to its
 * end; every child that began has ended. The manner is in lib/checkpoints.h.
 *
 * Needs a build with -Dcruel=true, where src/os/fault.h counts checkpoints.
 */
#include "cruel/lib/checkpoints.h"

#if !PL_CRUEL

TEST(checkpoints)
{
    SKIP("needs a build with -Dcruel=true");
}

#else

#define EACH_PLACE(name)                                                                           \
    CONFORM_LOCALS_(conform_run_bare, name, .limit_s = 240)                                        \
    struct place // takes the semicolon

// ---- channels: every value is somewhere --------------------------------------------------------

enum { VALUES = 4, SUM = 1 + 2 + 3 + 4 };

struct channels {
    struct struck struck;
    plait_channel *narrow, *meeting; /* of one place, and of none */
    _Atomic int put, held, taken;    /* sums; held: by the relay, which could not pass it on */
};

static void channels_before(void *world)
{
    struct channels *w = world;
    CHECK_INT(plait_channel_new(&w->narrow, sizeof(int), .capacity = 1), ==, 0);
    CHECK_INT(plait_channel_new(&w->meeting, sizeof(int), .capacity = 0), ==, 0);
}

CHILD(produce, struct channels)
{
    int e = 0;
    for (int i = 1; e == 0 && i <= VALUES; i++) {
        e = plait_put(w->narrow, &i);
        if (e == 0)
            w->put += i;
    }
    return e;
}

CHILD(relay, struct channels)
{
    int e = 0, value;
    for (int i = 1; e == 0 && i <= VALUES; i++) {
        e = plait_get(w->narrow, &value);
        if (e < 0)
            return e;
        e = plait_put(w->meeting, &value);
        if (e < 0)
            w->held += value;
    }
    return e;
}

/* By select, which waits with a deadline of its own. */
CHILD(consume, struct channels)
{
    int e = 0, value = 0;
    while (e == 0 && w->taken < SUM) {
        struct plait_case k = { .what = PLAIT_CASE_GET, .channel = w->meeting, .value = &value };
        e = plait_select(&k, 1, plait_after(20 * PLAIT_SECOND));
        if (e == 0 && k.code == 0)
            w->taken += value;
    }
    return e;
}

static void channels_inside(void *world, plait_scope *s)
{
    struct channels *w = world;
    plait_go(s, NULL, produce, { w });
    plait_go(s, NULL, relay, { w });
    plait_go(s, NULL, consume, { w });
}

static void channels_after(void *world)
{
    struct channels *w = world;
    int value, left = 0;
    while (plait_try_get(w->narrow, &value) == 0)
        left += value;
    CHECK_INT(plait_try_get(w->meeting, &value), ==, -EAGAIN);
    CHECK_INT(w->put, ==, w->taken + w->held + left);
    if (w->struck.whole)
        CHECK_INT(w->taken, ==, SUM);
    plait_channel_free(w->narrow);
    plait_channel_free(w->meeting);
}

static void conform_channels(const struct place *on)
{
    strike_everywhere(&(struct scenario){ sizeof(struct channels), channels_before, channels_inside,
                                          channels_after },
                      on);
}
EACH_PLACE(channels);

// ---- locks: taken and given back ---------------------------------------------------------------

struct locks {
    struct struck struck;
    plait_mutex mutex;
    plait_rwlock shared;
    plait_cond cond;
    plait_semaphore units;
    plait_event rung;
    plait_latch latch;
    plait_barrier barrier;
    _Atomic int inside, users, readers, writers;
    bool ready; /* under the mutex */
};

enum { UNITS = 2 };

static void locks_before(void *world)
{
    struct locks *w = world;
    plait_semaphore_init(&w->units, UNITS);
    plait_latch_init(&w->latch, 1);
    plait_barrier_init(&w->barrier, 2);
}

CHILD(use_mutex, struct locks)
{
    for (int i = 0; i < 2; i++) {
        int e = plait_mutex_lock(&w->mutex);
        if (e < 0)
            return e;
        CHECK_INT(w->inside++, ==, 0);
        e = plait_yield();
        w->inside--;
        plait_mutex_unlock(&w->mutex);
        if (e < 0)
            return e;
    }
    return 0;
}

CHILD(await_ready, struct locks)
{
    int e = plait_mutex_lock(&w->mutex);
    if (e < 0)
        return e;
    while (e == 0 && !w->ready)
        e = plait_cond_wait(&w->cond, &w->mutex, PLAIT_NEVER);
    CHECK_INT(plait_mutex_trylock(&w->mutex), ==, -EBUSY);
    CHECK_INT(w->inside++, ==, 0); // held, whatever ended the wait
    w->inside--;
    plait_mutex_unlock(&w->mutex);
    return e;
}

CHILD(make_ready, struct locks)
{
    int e = plait_sleep(20 * PLAIT_MICROSECOND);
    if (e == 0)
        e = plait_mutex_lock(&w->mutex);
    if (e < 0)
        return e;
    w->ready = true;
    plait_cond_broadcast(&w->cond);
    plait_mutex_unlock(&w->mutex);
    plait_event_set(&w->rung);
    return 0;
}

CHILD(use_unit, struct locks)
{
    int e = plait_semaphore_acquire(&w->units);
    if (e < 0)
        return e;
    CHECK_INT(++w->users, <=, UNITS);
    e = plait_sleep(20 * PLAIT_MICROSECOND);
    w->users--;
    plait_semaphore_release(&w->units, 1);
    return e;
}

CHILD(read_shared, struct locks)
{
    int e = plait_rwlock_read(&w->shared);
    if (e < 0)
        return e;
    w->readers++;
    CHECK_INT(w->writers, ==, 0);
    e = plait_yield();
    w->readers--;
    plait_rwlock_read_unlock(&w->shared);
    return e;
}

CHILD(write_shared, struct locks)
{
    int e = plait_rwlock_write(&w->shared);
    if (e < 0)
        return e;
    CHECK_INT(w->writers++, ==, 0);
    CHECK_INT(w->readers, ==, 0);
    e = plait_yield();
    w->writers--;
    plait_rwlock_write_unlock(&w->shared);
    return e;
}

CHILD(meet, struct locks)
{
    int e = plait_event_wait(&w->rung, PLAIT_NEVER);
    if (e == 0)
        e = plait_barrier_wait(&w->barrier);
    return e < 0 ? e : 0;
}

CHILD(meet_and_tell, struct locks)
{
    int e = plait_barrier_wait(&w->barrier);
    if (e >= 0)
        plait_latch_done(&w->latch, 1);
    return e < 0 ? e : 0;
}

CHILD(await_latch, struct locks)
{
    return plait_latch_wait(&w->latch, PLAIT_NEVER);
}

static void locks_inside(void *world, plait_scope *s)
{
    struct locks *w = world;
    for (int i = 0; i < 2; i++)
        plait_go(s, NULL, use_mutex, { w });
    plait_go(s, NULL, await_ready, { w });
    plait_go(s, NULL, make_ready, { w });
    for (int i = 0; i < UNITS + 1; i++)
        plait_go(s, NULL, use_unit, { w });
    plait_go(s, NULL, read_shared, { w });
    plait_go(s, NULL, write_shared, { w });
    plait_go(s, NULL, read_shared, { w });
    plait_go(s, NULL, await_latch, { w });
    plait_go(s, NULL, meet, { w });
    plait_go(s, NULL, meet_and_tell, { w });
    // The owner waits too; what it does not get must not stay taken.
    if (plait_mutex_lock(&w->mutex) == 0)
        plait_mutex_unlock(&w->mutex);
    if (plait_semaphore_acquire(&w->units) == 0)
        plait_semaphore_release(&w->units, 1);
}

static void locks_after(void *world)
{
    struct locks *w = world;
    CHECK_INT(plait_mutex_trylock(&w->mutex), ==, 0);
    plait_mutex_unlock(&w->mutex);
    for (int i = 0; i < UNITS; i++)
        CHECK_INT(plait_semaphore_try(&w->units), ==, 0);
    CHECK_INT(plait_semaphore_try(&w->units), ==, -EBUSY);
    CHECK_INT(plait_rwlock_write(&w->shared), ==, 0);
    plait_rwlock_write_unlock(&w->shared);
    CHECK_INT(plait_rwlock_read(&w->shared), ==, 0);
    plait_rwlock_read_unlock(&w->shared);
    if (w->struck.whole)
        CHECK(w->ready && plait_latch_wait(&w->latch, plait_now()) == 0);
}

static void conform_locks(const struct place *on)
{
    strike_everywhere(
        &(struct scenario){ sizeof(struct locks), locks_before, locks_inside, locks_after }, on);
}
EACH_PLACE(locks);

// ---- scopes, futures, shields: nothing goes on -------------------------------------------------

struct family {
    struct struck struck;
    _Atomic int cleaned, shields, blocked, done;
    plait_mutex mutex;
};

static void family_before(void *world)
{
    (void)world;
}

CHILD(short_nap, struct family)
{
    int e = plait_sleep(20 * PLAIT_MICROSECOND);
    w->done += e == 0;
    return e;
}

CHILD(nest, struct family)
{
    plait_scope s;
    int e = plait_scope_begin(&s, NULL, .deadline = plait_after(60 * PLAIT_SECOND));
    if (e < 0)
        return e;
    for (int i = 0; i < 6; i++) // more than a scope holds in itself
        plait_go(&s, NULL, short_nap, { w });
    e = plait_yield();
    int end = plait_scope_end(&s);
    CHECK_INT(atomic_load(&w->struck.started), >=, atomic_load(&w->struck.ended));
    return end < 0 ? end : e;
}

static int clean_up(void *arg)
{
    struct family *w = arg;
    CHECK_INT(plait_cancelled(), ==, 0);
    CHECK_INT(plait_deadline(), !=, PLAIT_NEVER);
    CHECK_INT(plait_sleep(10 * PLAIT_MICROSECOND), ==, 0);
    CHECK_INT(plait_mutex_lock(&w->mutex), ==, 0);
    plait_scope s;
    CHECK_INT(plait_scope_begin(&s, NULL), ==, 0);
    CHECK_INT(plait_go(&s, NULL, short_nap, { w }), ==, 0);
    CHECK_INT(plait_scope_end(&s), ==, 0);
    w->cleaned++;
    plait_mutex_unlock(&w->mutex);
    return 7;
}

CHILD(shielded, struct family)
{
    int e = plait_sleep(20 * PLAIT_MICROSECOND);
    w->shields++;
    CHECK_INT(plait_shield(plait_after(60 * PLAIT_SECOND), clean_up, w), ==, 7);
    return e;
}

static int result_of(void *f)
{
    int e = plait_result(f, NULL);
    CHECK(e == 0 || e == -ECANCELED || e == -ETIMEDOUT);
    return e;
}

// Tasks that no scope owns: who started them cancels them, and waits until they have ended.
CHILD(submit_two, struct family)
{
    plait_future *f[2] = { NULL };
    int e = 0;
    for (int i = 0; e == 0 && i < 2; i++)
        e = plait_submit(plait_self(), &f[i], short_nap, { w });
    if (e == 0)
        e = plait_wait(f, 2, PLAIT_ALL, PLAIT_NEVER, NULL);
    for (int i = 0; i < 2 && f[i]; i++) {
        if (e < 0)
            plait_cancel(f[i]);
        int code = plait_shield(plait_after(60 * PLAIT_SECOND), result_of, f[i]);
        e = e < 0 ? e : code;
        plait_free(f[i]);
    }
    return e;
}

static int count_call(void *arg)
{
    struct family *w = arg;
    w->blocked++;
    return 0;
}

CHILD(block, struct family)
{
    int e = plait_blocking(count_call, w);
    CHECK_INT(w->blocked, ==, e == 0);
    return e;
}

static void family_inside(void *world, plait_scope *s)
{
    struct family *w = world;
    plait_go(s, NULL, nest, { w });
    plait_go(s, NULL, shielded, { w });
    plait_go(s, NULL, submit_two, { w });
    plait_go(s, NULL, block, { w });
    plait_sleep(20 * PLAIT_MICROSECOND);
}

static void family_after(void *world)
{
    struct family *w = world;
    CHECK_INT(w->cleaned, ==, w->shields);
    CHECK_INT(plait_mutex_trylock(&w->mutex), ==, 0);
    plait_mutex_unlock(&w->mutex);
    if (w->struck.whole) {
        CHECK_INT(w->done, ==, 6 + 1 + 2);
        CHECK_INT(w->cleaned, ==, 1);
        CHECK_INT(w->blocked, ==, 1);
    }
}

static void conform_family(const struct place *on)
{
    strike_everywhere(
        &(struct scenario){ sizeof(struct family), family_before, family_inside, family_after },
        on);
}
EACH_PLACE(family);

#endif
