// SPDX-License-Identifier: MIT
// Pointers into the shared heap mean the same to a program and to its tasks, on every executor.
#include "conformance/conform.h"

#include <stdlib.h>
#include <string.h>

struct piece {
    uint32_t *at;
    size_t count;
};

static int sum_up(const struct piece *in, uint64_t *sum)
{
    *sum = 0;
    for (size_t i = 0; i < in->count; i++)
        *sum += in->at[i];
    return 0;
}
PLAIT_TASK(sum_up, struct piece, uint64_t);

static int make(const uint32_t *count, struct piece *out)
{
    uint32_t *at = plait_shared_new(uint32_t, *count);
    if (!at)
        return -ENOMEM;
    for (uint32_t i = 0; i < *count; i++)
        at[i] = i;
    *out = (struct piece){ at, *count };
    return 0;
}
PLAIT_TASK(make, uint32_t, struct piece);

static int take_away(const struct piece *in, void *out)
{
    (void)out;
    plait_shared_free(in->at);
    return 0;
}
PLAIT_TASK(take_away, struct piece, void);

static size_t blocks(void)
{
    struct plait_shared_stats s;
    CHECK_INT(plait_shared_stats(&s), ==, 0);
    CHECK_INT(s.orphans, ==, 0);
    return s.blocks;
}

CONFORM(pointers_into_the_heap_are_arguments)
{
    enum { N = 20000, TASKS = 20 };
    size_t before = blocks();
    uint32_t *at = plait_shared_new(uint32_t, N);
    plait_future *f[TASKS];
    CHECK(at);
    for (uint32_t i = 0; i < N; i++)
        at[i] = i;
    for (int i = 0; i < TASKS; i++)
        CHECK_INT(plait_submit(ex, &f[i], sum_up, { at + i * (N / TASKS), N / TASKS }), ==, 0);
    uint64_t all = 0;
    for (int i = 0; i < TASKS; i++) {
        uint64_t sum;
        CHECK_INT(plait_result(f[i], &sum), ==, 0);
        plait_free(f[i]);
        all += sum;
    }
    CHECK_INT(all, ==, (uint64_t)N * (N - 1) / 2);
    plait_shared_free(at);
    CHECK_INT(blocks(), ==, before);
}

// Allocated by one task, looked at by the test, freed by another task.
CONFORM(pointers_into_the_heap_are_results)
{
    static const uint32_t counts[] = { 1, 10, 1000, 10000, 300000 };
    enum { N = sizeof counts / sizeof *counts };
    size_t before = blocks();
    struct piece pieces[N];
    CHECK_INT(plait_map(ex, make, counts, pieces, N), ==, 0);
    for (int i = 0; i < N; i++) {
        CHECK_INT(pieces[i].count, ==, counts[i]);
        CHECK(plait_shared_has(pieces[i].at));
        for (uint32_t k = 0; k < counts[i]; k++)
            CHECK_INT(pieces[i].at[k], ==, k);
    }
    // All of them belong to the living.
    CHECK_INT(blocks(), ==, before + N);
    for (int i = 0; i < N; i++) {
        plait_future *f;
        CHECK_INT(plait_submit_at(ex, &f, take_away, &pieces[i]), ==, 0);
        CHECK_INT(plait_result(f, NULL), ==, 0);
        plait_free(f);
    }
    CHECK_INT(blocks(), ==, before);
}

static int churn(const uint32_t *seed, void *out)
{
    unsigned s = *seed;
    void *held[16] = { NULL };
    (void)out;
    for (int i = 0; i < 2000; i++) {
        unsigned k = (unsigned)rand_r(&s) % 16;
        if (held[k]) {
            if (*(uint32_t *)held[k] != (*seed ^ k))
                return -EIO;
            plait_shared_free(held[k]);
            held[k] = NULL;
        } else {
            held[k] = plait_shared_alloc((size_t)8 << rand_r(&s) % 15);
            if (!held[k])
                return -ENOMEM;
            *(uint32_t *)held[k] = *seed ^ k;
        }
    }
    for (unsigned k = 0; k < 16; k++)
        plait_shared_free(held[k]);
    return 0;
}
PLAIT_TASK(churn, uint32_t, void);

CONFORM(tasks_at_once_allocate_and_free)
{
    enum { N = 40 };
    uint32_t seeds[N];
    size_t before = blocks();
    for (uint32_t i = 0; i < N; i++)
        seeds[i] = 1000 * i + 1;
    CHECK_INT(plait_map(ex, churn, seeds, NULL, N), ==, 0);
    CHECK_INT(blocks(), ==, before);
}
