// SPDX-License-Identifier: MIT
// Workers that use the shared heap all the time are killed at random: what they had is accounted
// for, byte by byte, and the others never notice.
#include "faults/lib/faults.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shared/arena.h"

enum { HELD = 32, UNIT = 65536 };

static int use(const uint32_t *seed, int *rounds)
{
    unsigned s = *seed;
    uint32_t *held[HELD] = { NULL };
    for (*rounds = 0; *rounds < 20000; ++*rounds) {
        unsigned k = (unsigned)rand_r(&s) % HELD;
        if (held[k]) {
            if (held[k][0] != *seed || held[k][1] != k)
                return -EIO;
            plait_shared_free(held[k]);
            held[k] = NULL;
            continue;
        }
        size_t bytes =
            rand_r(&s) % 20 ? (size_t)8 << rand_r(&s) % 13 : (size_t)(1 + rand_r(&s) % 4) * UNIT;
        held[k] = plait_shared_alloc(bytes);
        if (!held[k])
            return -ENOMEM;
        held[k][0] = *seed;
        held[k][1] = k;
    }
    for (unsigned k = 0; k < HELD; k++)
        plait_shared_free(held[k]);
    return 0;
}
PLAIT_TASK(use, uint32_t, int);

static int where(const void *in, struct whereabouts *out)
{
    (void)in;
    *out = (struct whereabouts){ getpid(), getpgrp(), getppid() };
    return 0;
}
PLAIT_TASK(where, void, struct whereabouts);

static bool free_it(void *block, size_t bytes, void *arg)
{
    memset(block, 0, bytes); // it must really be there
    ++*(size_t *)arg;
    return true;
}

static int zygote_of(plait_executor *ex)
{
    plait_future *f;
    struct whereabouts w;
    CHECK_INT(plait_submit(ex, &f, where, { 0 }), ==, 0);
    CHECK_INT(plait_result(f, &w), ==, 0);
    plait_free(f);
    return w.parent;
}

enum { WORKERS = 3, TASKS = 100, DEATHS = 12 };

// One wave of tasks, whose workers are killed. How many of them died; fails on every other error.
static int wave(plait_executor *ex, int zygote)
{
    plait_future *f[TASKS];
    int died = 0;
    for (uint32_t i = 0; i < TASKS; i++)
        CHECK_INT(plait_submit(ex, &f[i], use, { i + 1 }), ==, 0);
    for (int i = 0; i < TASKS; i++) {
        died += result_under_fire(f[i], zygote) == -EOWNERDEAD;
        plait_free(f[i]);
    }
    return died;
}

TEST(killed_while_they_allocate, .limit_s = 120)
{
    plait_executor *ex = open_processes(WORKERS);
    int zygote = zygote_of(ex), died = 0;
    while (died < DEATHS)
        died += wave(ex, zygote);
    close_processes(ex);
    const char *wrong = pl_arena_check();
    if (wrong)
        FAIL("%s", wrong);
    struct plait_shared_stats s;
    CHECK_INT(plait_shared_stats(&s), ==, 0);
    CHECK_INT(s.blocks, ==, s.orphans);
    CHECK_INT(s.blocks, <=, died * (HELD + 1));
    size_t freed = 0;
    CHECK_INT(plait_shared_orphans(free_it, &freed), ==, s.orphans);
    CHECK_INT(freed, ==, s.orphans);
    plait_shared_trim();
    CHECK_INT(plait_shared_stats(&s), ==, 0);
    CHECK_INT(s.bytes, ==, 0);
    for (uint32_t u = 0; u < pl_arena.head->top; u++)
        CHECK_INT(pl_unit_kind(pl_arena.units[u]), ==, PL_UNIT_FREE);
}

// A worker that is started anew, by a zygote that was, has the heap too; executors share it.
static int increment(uint32_t *const *at, uint32_t *out)
{
    *out = ++**at;
    return 0;
}
PLAIT_TASK(increment, uint32_t *, uint32_t);

TEST(survives_workers_zygotes_and_executors)
{
    uint32_t *counter = plait_shared_new(uint32_t, 1), got = 0, n = 0;
    CHECK(counter);
    for (int round = 0; round < 3; round++) {
        plait_executor *ex = open_processes(2), *other = open_processes(1);
        for (int k = 0; k < 3; k++) {
            plait_future *f;
            CHECK_INT(plait_submit(k ? ex : other, &f, increment, { counter }), ==, 0);
            CHECK_INT(plait_result(f, &got), ==, 0);
            plait_free(f);
            CHECK_INT(got, ==, ++n);
            CHECK_INT(*counter, ==, n);
            if (k == 1)
                CHECK_INT(kill(zygote_of(ex), SIGKILL), ==, 0);
        }
        CHECK_INT(plait_close(other), ==, 0);
        close_processes(ex);
    }
    plait_shared_free(counter);
}

TEST(nothing_of_it_is_left_open)
{
    plait_executor *ex = open_processes(1);
    close_processes(ex);
    int fds = count_fds(), mappings = count_mappings();
    for (int i = 0; i < 20; i++) {
        plait_shared_free(plait_shared_alloc(1 << 20));
        close_processes(open_processes(2));
    }
    CHECK_INT(count_fds(), ==, fds);
    if (!getenv("PLAIT_SANITIZER")) // whose own mappings grow
        CHECK_INT(count_mappings(), <=, mappings + 2);
}

// The program has one heap; what a worker opens for itself has none, and says so.
static int try_inside(const void *in, int *out)
{
    (void)in;
    *out = plait_shared_alloc(100) ? 1 : strstr(plait_last_error(), "no shared heap") ? 0 : 2;
    return 0;
}
PLAIT_TASK(try_inside, void, int);

static int open_inside(const void *in, int *out)
{
    plait_executor *ex = NULL;
    plait_future *f = NULL;
    (void)in;
    int e = plait_open(&ex, PLAIT_PROCESSES, .workers = 1);
    if (e == 0)
        e = plait_submit(ex, &f, try_inside, { 0 });
    if (e == 0)
        e = plait_result(f, out);
    plait_free(f);
    plait_close(ex);
    return e;
}
PLAIT_TASK(open_inside, void, int);

TEST(executors_of_tasks_have_none)
{
    plait_executor *ex = open_processes(1);
    plait_future *f;
    int got = -1;
    CHECK_INT(plait_submit(ex, &f, open_inside, { 0 }), ==, 0);
    CHECK_INT(plait_result(f, &got), ==, 0);
    plait_free(f);
    CHECK_INT(got, ==, 0);
    close_processes(ex);
}
