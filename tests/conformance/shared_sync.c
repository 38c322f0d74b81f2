// SPDX-License-Identifier: MIT
// Locks, conditions and channels in the shared heap, between the program and its tasks wherever
// they run.
#include "conformance/conform.h"

#include <string.h>

struct common {
    plait_shared_mutex mutex;
    plait_shared_cond cond;
    plait_shared_channel *channel, *back;
    long a, b, turn, waiting;
};

struct job {
    struct common *common;
    long n;
};

static struct common *common_new(size_t capacity)
{
    struct common *c = plait_shared_new(struct common, 1);
    CHECK(c);
    CHECK_INT(plait_shared_channel_new(&c->channel, sizeof(long), capacity), ==, 0);
    CHECK_INT(plait_shared_channel_new(&c->back, sizeof(long), capacity), ==, 0);
    return c;
}

static void common_free(struct common *c)
{
    plait_shared_channel_free(c->channel);
    plait_shared_channel_free(c->back);
    plait_shared_free(c);
}

static void submit(plait_executor *ex, plait_future **f, const struct plait_task *task,
                   struct common *c, long n)
{
    struct job j = { c, n };
    CHECK_INT(plait_submit_task(ex, f, task, &j, NULL), ==, 0);
}

static void finish(plait_future *f, int code)
{
    CHECK_INT(plait_result(f, NULL), ==, code);
    plait_free(f);
}

// ---- mutex

static int add_under_mutex(const struct job *j, void *out)
{
    (void)out;
    for (long i = 0; i < j->n; i++) {
        int e = plait_shared_mutex_lock(&j->common->mutex);
        if (e < 0)
            return e;
        if (j->common->a != j->common->b)
            e = -EIO;
        j->common->a++;
        if (i % 16 == 0) // others come meanwhile
            plait_yield();
        j->common->b++;
        plait_shared_mutex_unlock(&j->common->mutex);
        if (e < 0)
            return e;
    }
    return 0;
}
PLAIT_TASK(add_under_mutex, struct job, void);

CONFORM(a_mutex_excludes)
{
    enum { TASKS = 6, TIMES = 500 };
    struct common *c = common_new(1);
    plait_future *f[TASKS];
    for (int i = 0; i < TASKS; i++)
        submit(ex, &f[i], &PLAIT_TASK_OF(add_under_mutex), c, TIMES);
    struct job own = { c, TIMES };
    CHECK_INT(add_under_mutex(&own, NULL), ==, 0);
    for (int i = 0; i < TASKS; i++)
        finish(f[i], 0);
    CHECK_INT(c->a, ==, (TASKS + 1) * TIMES);
    CHECK_INT(c->mutex.private_, ==, 0);
    common_free(c);
}

static int lock_it(const struct job *j, void *out)
{
    (void)out;
    __atomic_add_fetch(&j->common->waiting, 1, __ATOMIC_SEQ_CST);
    int e = plait_shared_mutex_lock(&j->common->mutex);
    if (e == 0)
        plait_shared_mutex_unlock(&j->common->mutex);
    return e;
}
PLAIT_TASK(lock_it, struct job, void);

static void await_waiting(struct common *c, long n)
{
    while (__atomic_load_n(&c->waiting, __ATOMIC_SEQ_CST) < n)
        plait_sleep(PLAIT_MILLISECOND);
}

CONFORM(waiting_for_a_mutex_is_cancelled)
{
    struct common *c = common_new(1);
    plait_future *f, *patient;
    CHECK_INT(plait_shared_mutex_trylock(&c->mutex), ==, 0);
    CHECK_INT(plait_shared_mutex_trylock(&c->mutex), ==, -EBUSY);
    CHECK_INT(plait_shared_mutex_consistent(&c->mutex), ==, -EINVAL);
    submit(ex, &f, &PLAIT_TASK_OF(lock_it), c, 0);
    await_waiting(c, 1);
    plait_cancel(f);
    finish(f, -ECANCELED);
    submit(ex, &patient, &PLAIT_TASK_OF(lock_it), c, 0);
    await_waiting(c, 2);
    plait_shared_mutex_unlock(&c->mutex);
    finish(patient, 0);
    common_free(c);
}

CONFORM(waiting_has_the_scopes_deadline)
{
    struct common *c = common_new(1);
    long value = 1;
    CHECK_INT(plait_shared_mutex_lock(&c->mutex), ==, 0);
    plait_scope s;
    CHECK_INT(plait_scope_begin(&s, ex, .deadline = plait_after(20 * PLAIT_MILLISECOND)), ==, 0);
    CHECK_INT(plait_shared_get(c->channel, &value), ==, -ETIMEDOUT);
    CHECK_INT(plait_shared_put(c->channel, &value), ==, 0); // can be had without waiting
    CHECK_INT(plait_shared_put(c->channel, &value), ==, -ETIMEDOUT);
    CHECK_INT(plait_shared_mutex_lock(&c->mutex), ==, -ETIMEDOUT);
    CHECK_INT(plait_scope_end(&s), ==, -ETIMEDOUT);
    CHECK_INT(plait_shared_cond_wait(&c->cond, &c->mutex, plait_after(PLAIT_MILLISECOND)), ==,
              -ETIMEDOUT);
    plait_shared_mutex_unlock(&c->mutex);
    CHECK_INT(plait_shared_channel_count(c->channel), ==, 1);
    common_free(c);
}

// ---- condition: the test and a task take turns

static int take_turns(struct common *c, long mine, long rounds)
{
    int e = plait_shared_mutex_lock(&c->mutex);
    for (long i = 0; e == 0 && i < rounds; i++) {
        while (e == 0 && c->turn % 2 != mine)
            e = plait_shared_cond_wait(&c->cond, &c->mutex, PLAIT_NEVER);
        c->turn++;
        plait_shared_cond_signal(&c->cond);
    }
    plait_shared_mutex_unlock(&c->mutex);
    return e;
}

static int take_other_turns(const struct job *j, void *out)
{
    (void)out;
    return take_turns(j->common, 1, j->n);
}
PLAIT_TASK(take_other_turns, struct job, void);

CONFORM(a_condition_wakes_the_other)
{
    enum { ROUNDS = 200 };
    struct common *c = common_new(1);
    plait_future *f;
    submit(ex, &f, &PLAIT_TASK_OF(take_other_turns), c, ROUNDS);
    CHECK_INT(take_turns(c, 0, ROUNDS), ==, 0);
    finish(f, 0);
    CHECK_INT(c->turn, ==, 2 * ROUNDS);
    common_free(c);
}

// ---- channels

static int double_all(const struct job *j, void *out)
{
    long value;
    int e;
    (void)out;
    while ((e = plait_shared_get(j->common->channel, &value)) == 0) {
        value *= 2;
        e = plait_shared_put(j->common->back, &value);
        if (e < 0)
            return e;
    }
    return e == -EPIPE ? 0 : e;
}
PLAIT_TASK(double_all, struct job, void);

CONFORM(channels_carry_values_there_and_back)
{
    enum { TASKS = 3, N = 1000, AHEAD = 5 };
    struct common *c = common_new(4);
    plait_future *f[TASKS];
    for (int i = 0; i < TASKS; i++)
        submit(ex, &f[i], &PLAIT_TASK_OF(double_all), c, 0);
    long sum = 0, got = 0, value;
    for (long i = 0; i < N; i++) {
        CHECK_INT(plait_shared_put(c->channel, &i), ==, 0);
        for (; got < i - AHEAD; got++) {
            CHECK_INT(plait_shared_get(c->back, &value), ==, 0);
            sum += value;
        }
    }
    CHECK_INT(plait_shared_channel_close(c->channel), ==, 0);
    CHECK_INT(plait_shared_put(c->channel, &sum), ==, -EPIPE);
    for (; got < N; got++) {
        CHECK_INT(plait_shared_get(c->back, &value), ==, 0);
        sum += value;
    }
    for (int i = 0; i < TASKS; i++)
        finish(f[i], 0);
    CHECK_INT(sum, ==, (long)N * (N - 1));
    CHECK_INT(plait_shared_try_get(c->back, &value), ==, -EAGAIN);
    CHECK_INT(plait_shared_channel_count(c->back), ==, 0);
    common_free(c);
}

static int get_one(const struct job *j, void *out)
{
    long value;
    (void)out;
    __atomic_add_fetch(&j->common->waiting, 1, __ATOMIC_SEQ_CST);
    return plait_shared_get(j->common->channel, &value);
}
PLAIT_TASK(get_one, struct job, void);

CONFORM(waiting_for_a_channel_is_cancelled_or_closed)
{
    struct common *c = common_new(1);
    plait_future *f;
    submit(ex, &f, &PLAIT_TASK_OF(get_one), c, 0);
    await_waiting(c, 1);
    plait_cancel(f);
    finish(f, -ECANCELED);
    submit(ex, &f, &PLAIT_TASK_OF(get_one), c, 0);
    await_waiting(c, 2);
    CHECK_INT(plait_shared_channel_close(c->channel), ==, 0);
    finish(f, -EPIPE);
    common_free(c);
}

// More words at a time than a process can post, on one of them after the other.
CONFORM(many_words_are_waited_for)
{
    enum { N = 40 };
    unsigned n = place_together(on) < N ? place_together(on) : N;
    struct common *c[N];
    plait_future *f[N];
    for (unsigned i = 0; i < n; i++) {
        c[i] = common_new(1);
        submit(ex, &f[i], &PLAIT_TASK_OF(get_one), c[i], 0);
    }
    for (unsigned i = 0; i < n; i++)
        await_waiting(c[i], 1);
    for (long i = n - 1; i >= 0; i--) {
        CHECK_INT(plait_shared_put(c[i]->channel, &i), ==, 0);
        finish(f[i], 0);
        common_free(c[i]);
    }
}

CONFORM_BARE(channels_that_cannot_be)
{
    plait_shared_channel *c = (plait_shared_channel *)&c;
    (void)on;
    CHECK_INT(plait_shared_channel_new(&c, 0, 1), ==, -EINVAL);
    CHECK_INT(plait_shared_channel_new(&c, 1, 0), ==, -EINVAL);
    CHECK_INT(plait_shared_channel_new(&c, SIZE_MAX / 2, 3), ==, -ENOMEM);
    CHECK_INT(plait_shared_channel_new(&c, 1, SIZE_MAX - 8), ==, -ENOMEM);
    CHECK(c == (plait_shared_channel *)&c);
    plait_shared_channel_free(NULL);
}
