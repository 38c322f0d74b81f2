// SPDX-License-Identifier: MIT
// A process that dies before any single instruction that it executes in the shared heap leaves it
// whole, and loses nothing.
#include "faults/lib/steps.h"

#include "shared/arena.h"

#define UNIT 65536

static void small_once(void)
{
    plait_shared_free(plait_shared_alloc(40));
}

TEST(small_blocks, .limit_s = 60)
{
    steps_run(&(struct script){ .run = small_once, .most = 1 });
}

// The first slab is full after two, so another one is claimed; sweeping makes both free again.
static void two_slabs(void)
{
    void *at[3];
    for (int i = 0; i < 3; i++)
        at[i] = plait_shared_alloc(UNIT / 2);
    for (int i = 0; i < 3; i++)
        plait_shared_free(at[i]);
    pl_arena_slab_sweep();
}

TEST(slabs_claimed_filled_and_swept, .limit_s = 60)
{
    steps_run(&(struct script){ .run = two_slabs, .most = 3 });
}

static void two_large(void)
{
    void *p = plait_shared_alloc(3 * UNIT);
    void *q = plait_shared_alloc(2 * UNIT);
    plait_shared_free(p);
    plait_shared_free(q);
}

TEST(large_blocks, .limit_s = 60)
{
    steps_run(&(struct script){ .run = two_large, .most = 2 });
}

// Blocks that others have allocated.
static void *lent[2];

static void lend(void)
{
    lent[0] = plait_shared_alloc(4 * UNIT);
    lent[1] = plait_shared_alloc(UNIT / 2);
    steps_disown(lent[0]);
    steps_disown(lent[1]);
}

static void free_the_lent(void)
{
    plait_shared_free(lent[0]);
    plait_shared_free(lent[1]);
}

TEST(blocks_of_others_freed, .limit_s = 60)
{
    steps_run(&(struct script){ .prepare = lend, .run = free_the_lent, .most = 2 });
}

static void trim(void)
{
    plait_shared_free(plait_shared_alloc(2 * UNIT));
    plait_shared_trim();
}

TEST(trimming, .limit_s = 60)
{
    steps_run(&(struct script){ .run = trim, .most = 1 });
}
