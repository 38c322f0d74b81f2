// SPDX-License-Identifier: MIT
// The pairing heap: order, removal from anywhere, equal keys, and a million nodes without
// recursion.
#include "base/heap.h"

#include <stdlib.h>

#include "check.h"

static uint64_t seed = 88172645463325252u;

static uint64_t random_u64(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

TEST(zeroed_is_empty)
{
    struct pl_heap h = { 0 };
    struct pl_heap_node n = { .key = 7 };

    CHECK(pl_heap_min(&h) == NULL);
    CHECK(pl_heap_pop(&h) == NULL);
    CHECK(!pl_heap_is_linked(&n));
    pl_heap_push(&h, &n);
    CHECK(pl_heap_is_linked(&n));
    CHECK(pl_heap_min(&h) == &n);
    CHECK(pl_heap_pop(&h) == &n);
    CHECK(!pl_heap_is_linked(&n));
    CHECK(pl_heap_min(&h) == NULL);
    pl_heap_push(&h, &n);
    pl_heap_remove(&h, &n);
    CHECK(!pl_heap_is_linked(&n) && pl_heap_min(&h) == NULL);
}

TEST(extreme_keys)
{
    struct pl_heap h = { 0 };
    struct pl_heap_node n[4] = {
        { .key = INT64_MAX }, { .key = 0 }, { .key = INT64_MIN }, { .key = -1 }
    };

    for (int i = 0; i < 4; i++)
        pl_heap_push(&h, &n[i]);
    CHECK(pl_heap_pop(&h) == &n[2]);
    CHECK(pl_heap_pop(&h) == &n[3]);
    CHECK(pl_heap_pop(&h) == &n[1]);
    CHECK(pl_heap_pop(&h) == &n[0]);
}

TEST(equal_keys_leave_in_order)
{
    enum { N = 1000 };
    static struct pl_heap_node n[N];
    struct pl_heap h = { 0 };

    for (int i = 0; i < N; i++) {
        n[i].key = i % 3;
        pl_heap_push(&h, &n[i]);
    }
    for (int key = 0; key < 3; key++)
        for (int i = key; i < N; i += 3)
            CHECK(pl_heap_pop(&h) == &n[i]);
}

// Every order of pushing and of removing 6 nodes, keys with repeats.
static void permute_and_check(int *order, int fixed, int n)
{
    if (fixed < n) {
        for (int i = fixed; i < n; i++) {
            int a = order[fixed];
            order[fixed] = order[i];
            order[i] = a;
            permute_and_check(order, fixed + 1, n);
            order[i] = order[fixed];
            order[fixed] = a;
        }
        return;
    }
    for (int removed = 0; removed < n; removed++) {
        struct pl_heap h = { 0 };
        struct pl_heap_node nodes[6] = { 0 };
        for (int i = 0; i < n; i++) {
            nodes[i].key = order[i] / 2;
            pl_heap_push(&h, &nodes[i]);
        }
        struct pl_heap_node *first = pl_heap_pop(&h), *last = first;
        if (pl_heap_is_linked(&nodes[removed]))
            pl_heap_remove(&h, &nodes[removed]);
        int left = first == &nodes[removed] ? n - 1 : n - 2;
        for (; left > 0; left--) {
            struct pl_heap_node *next = pl_heap_pop(&h);
            CHECK(next && next != &nodes[removed]);
            CHECK(last->key < next->key || (last->key == next->key && last < next));
            last = next;
        }
        CHECK(pl_heap_pop(&h) == NULL);
    }
}

TEST(every_permutation)
{
    int order[6] = { 0, 1, 2, 3, 4, 5 };
    permute_and_check(order, 0, 6);
}

// Against the dumbest possible queue.
TEST(random_against_an_array)
{
    enum { N = 300 };
    static struct pl_heap_node n[N];
    struct pl_heap h = { 0 };

    for (int step = 0; step < 100000; step++) {
        struct pl_heap_node *x = &n[random_u64() % N], *least = NULL;
        switch (random_u64() % 4) {
        case 0:
        case 1:
            if (!pl_heap_is_linked(x)) {
                x->key = (int64_t)(random_u64() % 50);
                pl_heap_push(&h, x);
            }
            break;
        case 2:
            if (pl_heap_is_linked(x))
                pl_heap_remove(&h, x);
            break;
        case 3:
            for (int i = 0; i < N; i++)
                if (pl_heap_is_linked(&n[i]) && (!least || pl_heap_before(&n[i], least)))
                    least = &n[i];
            CHECK(pl_heap_min(&h) == least);
            CHECK(pl_heap_pop(&h) == least);
        }
    }
}

static void million(int64_t (*key)(int64_t i), int remove_every)
{
    enum { N = 1000000 };
    struct pl_heap_node *n = calloc(N, sizeof *n);
    struct pl_heap h = { 0 };
    int64_t left = N;

    CHECK(n != NULL);
    for (int64_t i = 0; i < N; i++) {
        n[i].key = key(i);
        pl_heap_push(&h, &n[i]);
    }
    for (int64_t i = 0; remove_every && i < N; i += remove_every, left--)
        pl_heap_remove(&h, &n[i]);
    for (int64_t last = INT64_MIN; left > 0; left--) {
        struct pl_heap_node *x = pl_heap_pop(&h);
        CHECK(x && x->key >= last);
        last = x->key;
    }
    CHECK(pl_heap_pop(&h) == NULL);
    free(n);
}

static int64_t ascending(int64_t i)
{
    return i;
}

static int64_t descending(int64_t i)
{
    return -i;
}

static int64_t scattered(int64_t i)
{
    return i * INT64_C(2654435761) % 1000003;
}

TEST(a_million_in_any_order)
{
    million(ascending, 0);
    million(descending, 0);
    million(scattered, 0);
    million(scattered, 2);
    million(descending, 3);
}
