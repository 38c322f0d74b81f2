// SPDX-License-Identifier: MIT
// Deciding a select from outside while its waiter is busy with a case.
#include "check.h"
#include "sync/choice.h"

#include <pthread.h>

enum { ROUNDS = 20000 };

static struct pl_choice choice;
static pthread_barrier_t both;

/* As a waiter does that joins the lists of many channels, one after the other. */
static void *join_lists(void *unused)
{
    for (int round = 0; round < ROUNDS; round++) {
        pthread_barrier_wait(&both);
        while (pl_choice_swap(&choice, PL_CHOICE_OPEN, PL_CHOICE_BUSY))
            atomic_store(&choice.chosen, PL_CHOICE_OPEN);
        pthread_barrier_wait(&both);
    }
    return unused;
}

TEST(what_is_open_or_busy_can_be_decided, .limit_s = 60)
{
    pthread_t waiter;
    int lost = 0;
    CHECK_INT(pthread_barrier_init(&both, NULL, 2), ==, 0);
    CHECK_INT(pthread_create(&waiter, NULL, join_lists, NULL), ==, 0);
    for (int round = 0; round < ROUNDS; round++) {
        atomic_store(&choice.chosen, PL_CHOICE_OPEN);
        pthread_barrier_wait(&both);
        while (!pl_choose(&choice, 7))
            lost++;
        pthread_barrier_wait(&both);
    }
    pthread_join(waiter, NULL);
    pthread_barrier_destroy(&both);
    CHECK_INT(lost, ==, 0);
}

TEST(what_is_decided_stays_so)
{
    atomic_store(&choice.chosen, 3);
    CHECK(!pl_choose(&choice, 7));
    CHECK_INT(atomic_load(&choice.chosen), ==, 3);
    atomic_store(&choice.chosen, PL_CHOICE_WITHDRAWN);
    CHECK(!pl_choose(&choice, 7));
    CHECK_INT(atomic_load(&choice.chosen), ==, PL_CHOICE_WITHDRAWN);
}
