// SPDX-License-Identifier: MIT
// Wakes that come late: from a round, a set or a zero that is over already.
#include <pthread.h>
#include <stdatomic.h>

#include "conformance/tasks.h"

enum { ROUNDS = CONFORM_SANITIZED ? 2000 : 20000 };

static plait_barrier barrier;
static _Atomic int round_of[2];

static void *meet(void *arg)
{
    int me = *(int *)arg;
    for (int i = 1; i <= ROUNDS; i++) {
        atomic_store(&round_of[me], i);
        CHECK_INT(plait_barrier_wait(&barrier), >=, 0);
        CHECK_INT(atomic_load(&round_of[!me]), >=, i);
    }
    return NULL;
}

TEST(a_barrier_lets_nobody_pass_before_the_last)
{
    int who[] = { 0, 1 };
    pthread_t t;
    plait_barrier_init(&barrier, 2);
    CHECK_INT(pthread_create(&t, NULL, meet, &who[1]), ==, 0);
    meet(&who[0]);
    pthread_join(t, NULL);
}

static plait_event ask, answer_;
static _Atomic int asked, answered;

static void *reply(void *arg)
{
    (void)arg;
    for (int i = 1; i <= ROUNDS; i++) {
        CHECK_INT(plait_event_wait(&ask, PLAIT_NEVER), ==, 0);
        CHECK_INT(atomic_load(&asked), ==, i);
        plait_event_reset(&ask);
        atomic_store(&answered, i);
        plait_event_set(&answer_);
    }
    return NULL;
}

TEST(an_event_that_was_reset_is_not_seen_set)
{
    pthread_t t;
    CHECK_INT(pthread_create(&t, NULL, reply, NULL), ==, 0);
    for (int i = 1; i <= ROUNDS; i++) {
        plait_event_reset(&answer_);
        atomic_store(&asked, i);
        plait_event_set(&ask);
        CHECK_INT(plait_event_wait(&answer_, PLAIT_NEVER), ==, 0);
        CHECK_INT(atomic_load(&answered), ==, i);
    }
    pthread_join(t, NULL);
}

static plait_latch start, end;

static void *count_it_down(void *arg)
{
    (void)arg;
    for (int i = 1; i <= ROUNDS; i++) {
        CHECK_INT(plait_latch_wait(&start, PLAIT_NEVER), ==, 0);
        plait_latch_add(&start, 1);
        atomic_store(&answered, i);
        plait_latch_done(&end, 1);
    }
    return NULL;
}

TEST(a_latch_that_was_counted_up_again_is_not_zero)
{
    pthread_t t;
    plait_latch_init(&start, 1);
    CHECK_INT(pthread_create(&t, NULL, count_it_down, NULL), ==, 0);
    for (int i = 1; i <= ROUNDS; i++) {
        plait_latch_add(&end, 1);
        plait_latch_done(&start, 1);
        CHECK_INT(plait_latch_wait(&end, PLAIT_NEVER), ==, 0);
        CHECK_INT(atomic_load(&answered), ==, i);
    }
    pthread_join(t, NULL);
}

enum { CROWD = 65540 };
static plait_rwlock door;
static _Atomic int at_the_door, inside;

static int enter_alone(const void *in, void *out)
{
    (void)in, (void)out;
    atomic_fetch_add(&at_the_door, 1);
    int e = plait_rwlock_write(&door);
    if (e < 0)
        return e;
    CHECK_INT(atomic_fetch_add(&inside, 1), ==, 0);
    atomic_fetch_sub(&inside, 1);
    plait_rwlock_write_unlock(&door);
    return 0;
}
PLAIT_TASK(enter_alone, void, void);

TEST(more_writers_wait_than_sixteen_bits_count, .limit_s = 120)
{
    plait_executor *ex;
    if (CONFORM_SANITIZED)
        SKIP("shadow memory for 65,540 stacks");
    CHECK_INT(plait_open(&ex, PLAIT_FIBERS, .stack_bytes = 16384), ==, 0);
    CHECK_INT(plait_rwlock_write(&door), ==, 0);
    for (int i = 0; i < CROWD; i++)
        CHECK_INT(plait_submit(ex, NULL, enter_alone, { 0 }), ==, 0);
    while (atomic_load(&at_the_door) < CROWD)
        plait_yield();
    plait_rwlock_write_unlock(&door);
    CHECK_INT(plait_close(ex), ==, 0);
}
