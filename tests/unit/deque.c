// SPDX-License-Identifier: MIT
// The work-stealing deque with real threads: limits, growth, and every item taken exactly once.
// deque_model.c checks the interleavings that real threads rarely meet.
#include "base/deque.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "check.h"

static int allocations, refuse_after = -1;

static void *counting_alloc(size_t bytes)
{
    if (refuse_after == 0)
        return NULL;
    if (refuse_after > 0)
        refuse_after--;
    allocations++;
    return malloc(bytes);
}

static void counting_free(void *block)
{
    allocations--;
    free(block);
}

static void *item(uintptr_t i)
{
    return (void *)(i + 1);
}

TEST(youngest_and_oldest)
{
    struct pl_deque d;
    bool lost = true;

    CHECK_INT(pl_deque_init(&d, 4, 100, counting_alloc, counting_free), ==, 0);
    CHECK(pl_deque_pop(&d) == NULL);
    CHECK(pl_deque_steal_once(&d, &lost) == NULL && !lost);
    for (uintptr_t i = 0; i < 10; i++)
        CHECK_INT(pl_deque_push(&d, item(i)), ==, 0);
    CHECK_INT(pl_deque_size_hint(&d), ==, 10);
    CHECK(pl_deque_pop(&d) == item(9));
    CHECK(pl_deque_steal(&d) == item(0));
    CHECK(pl_deque_pop_alone(&d) == item(8));
    CHECK(pl_deque_shift_alone(&d) == item(1));
    for (uintptr_t i = 2; i < 8; i++)
        CHECK(pl_deque_steal(&d) == item(i));
    CHECK(pl_deque_steal(&d) == NULL);
    CHECK(pl_deque_pop(&d) == NULL && pl_deque_pop_alone(&d) == NULL);
    CHECK(pl_deque_shift_alone(&d) == NULL);
    CHECK_INT(pl_deque_size_hint(&d), ==, 0);
    pl_deque_done(&d);
    CHECK_INT(allocations, ==, 0);
}

TEST(limits_are_exact)
{
    for (size_t limit = 0; limit < 70; limit++) {
        struct pl_deque d;
        CHECK_INT(pl_deque_init(&d, 8, limit, counting_alloc, counting_free), ==, 0);
        for (int round = 0; round < 3; round++) {
            for (uintptr_t i = 0; i < limit; i++)
                CHECK_INT(pl_deque_push(&d, item(i)), ==, 0);
            CHECK_INT(pl_deque_push(&d, item(limit)), ==, -ENOBUFS);
            CHECK_INT(pl_deque_size_hint(&d), ==, limit);
            if (limit > 0) {
                CHECK(pl_deque_steal(&d) == item(0));
                CHECK_INT(pl_deque_push(&d, item(limit)), ==, 0);
                CHECK_INT(pl_deque_push(&d, item(limit)), ==, -ENOBUFS);
            }
            while (pl_deque_pop(&d))
                ;
        }
        pl_deque_done(&d);
    }
    CHECK_INT(allocations, ==, 0);
}

TEST(without_memory)
{
    struct pl_deque d;

    refuse_after = 0;
    CHECK_INT(pl_deque_init(&d, 2, 100, counting_alloc, counting_free), ==, -ENOMEM);
    pl_deque_done(&d);
    refuse_after = 1;
    CHECK_INT(pl_deque_init(&d, 2, 100, counting_alloc, counting_free), ==, 0);
    CHECK_INT(pl_deque_push(&d, item(0)), ==, 0);
    CHECK_INT(pl_deque_push(&d, item(1)), ==, 0);
    CHECK_INT(pl_deque_push(&d, item(2)), ==, -ENOMEM);
    refuse_after = -1;
    CHECK_INT(pl_deque_push(&d, item(2)), ==, 0);
    CHECK(pl_deque_steal(&d) == item(0));
    CHECK(pl_deque_pop(&d) == item(2));
    CHECK(pl_deque_pop(&d) == item(1));
    pl_deque_done(&d);
    CHECK_INT(allocations, ==, 0);
}

enum { THIEVES = 3, ITEMS = 300000 };

static struct {
    struct pl_deque deque;
    _Atomic int stop;
    struct {
        int payload; // written without synchronisation but the deque's
        _Atomic int taken;
    } items[ITEMS];
} shared;

static void take(void *p)
{
    uintptr_t i = (uintptr_t)p - 1;
    CHECK_INT(shared.items[i].payload, ==, (int)(i * 3));
    CHECK_INT(atomic_fetch_add(&shared.items[i].taken, 1), ==, 0);
}

static void *thief(void *arg)
{
    long stolen = 0;
    while (!atomic_load(&shared.stop)) {
        void *p = pl_deque_steal(&shared.deque);
        if (p) {
            take(p);
            stolen++;
        } else {
            sched_yield();
        }
    }
    *(long *)arg = stolen;
    return NULL;
}

// Bursts of pushes, then pops down to the last item, where owner and thieves meet.
static void contend(size_t capacity, size_t limit, int burst)
{
    pthread_t threads[THIEVES];
    long stolen[THIEVES];

    CHECK_INT(pl_deque_init(&shared.deque, capacity, limit, malloc, free), ==, 0);
    atomic_store(&shared.stop, 0);
    for (int i = 0; i < THIEVES; i++)
        CHECK_INT(pthread_create(&threads[i], NULL, thief, &stolen[i]), ==, 0);
    for (uintptr_t i = 0; i < ITEMS;) {
        for (int k = 0; k < burst && i < ITEMS; k++, i++) {
            shared.items[i].payload = (int)(i * 3);
            atomic_store_explicit(&shared.items[i].taken, 0, memory_order_relaxed);
            while (pl_deque_push(&shared.deque, item(i)) == -ENOBUFS) {
                void *p = pl_deque_pop(&shared.deque);
                if (p)
                    take(p);
            }
        }
        for (void *p; (p = pl_deque_pop(&shared.deque));)
            take(p);
    }
    atomic_store(&shared.stop, 1);
    long sum = 0;
    for (int i = 0; i < THIEVES; i++) {
        pthread_join(threads[i], NULL);
        sum += stolen[i];
    }
    for (int i = 0; i < ITEMS; i++)
        CHECK_INT(shared.items[i].taken, ==, 1);
    check_say("burst %d: %ld of %d stolen", burst, sum, ITEMS);
    pl_deque_done(&shared.deque);
}

TEST(each_item_is_taken_once, .limit_s = 120)
{
    contend(2, 1 << 20, 1);
    contend(2, 1 << 20, 3);
    contend(2, 1 << 20, 1000);
    contend(2, 5, 64);
}
