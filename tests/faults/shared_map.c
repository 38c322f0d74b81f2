// SPDX-License-Identifier: MIT
// Workers die while they change a map in the shared heap: it stays whole, and no entry is lost.
#include "faults/lib/faults.h"
#include "faults/lib/steps.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

static plait_shared_map *stepped;

static int count_one(const void *key, const void *value, void *sum)
{
    // Whole: the value belongs to the key.
    CHECK_INT(*(const long *)value / 1000, ==, *(const long *)key);
    *(long *)sum += 1;
    return 0;
}

static void set(plait_shared_map *m, long key, long version)
{
    long value = 1000 * key + version;
    if (plait_shared_map_set(m, &key, &value) != 0)
        abort();
}

enum { ROOM = 64 }; // entries in the map's first block

static void prepare(void)
{
    if (!stepped)
        CHECK_INT(plait_shared_map_new(&stepped, sizeof(long), sizeof(long)), ==, 0);
    for (long k = 0; k < 200; k++)
        plait_shared_map_remove(stepped, &k);
    for (long k = 0; k < 10; k++)
        set(stepped, k, 0);
}

static void change(void)
{
    long key = 4, value;
    set(stepped, 4, 1);   // again
    set(stepped, 100, 0); // another one
    if (plait_shared_map_remove(stepped, &key) != 0 ||
        plait_shared_map_get(stepped, &key, &value) != -ENOENT)
        _exit(1);
}

static void check_map(long step)
{
    long found = 0, key = 4, value;
    CHECK_INT(plait_shared_map_each(stepped, count_one, &found), ==, 0);
    CHECK_INT(plait_shared_map_count(stepped), ==, found);
    int e = plait_shared_map_get(stepped, &key, &value);
    key = 100;
    bool other = plait_shared_map_get(stepped, &key, NULL) == 0;
    // 4 has its first value, then its second, then 100 comes, then 4 goes.
    if (e == 0 && value != 4000 && (value != 4001))
        FAIL("dead before instruction %ld: %ld", step, value);
    if (other && e == 0)
        CHECK_INT(value, ==, 4001);
    if (e == -ENOENT)
        CHECK(other);
    CHECK_INT(found, ==, 9 + (e == 0) + other);
    // Every entry can be had again, and no block is needed for them.
    struct plait_shared_stats before, after;
    CHECK_INT(plait_shared_stats(&before), ==, 0);
    for (long k = 0; k < ROOM - 4; k++)
        set(stepped, k, 5);
    if (other)
        CHECK_INT(plait_shared_map_remove(stepped, &key), ==, 0);
    CHECK_INT(plait_shared_map_count(stepped), ==, ROOM - 4);
    CHECK_INT(plait_shared_stats(&after), ==, 0);
    CHECK_INT(after.blocks, ==, before.blocks);
}

TEST(a_map_at_every_instruction, .limit_s = 120)
{
    prepare();
    steps_run(&(struct script){ .prepare = prepare, .run = change, .check = check_map });
}

// ---- kills at random, with growth, in many tasks

struct part {
    plait_shared_map *map;
    long first;
};

enum { EACH = 500, TASKS = 60, DEATHS = 12 };

static int set_and_remove(const struct part *in, void *out)
{
    (void)out;
    for (long i = 0; i < 10 * EACH; i++) {
        long key = in->first + i % EACH, value = 1000 * key + i / EACH;
        int e = plait_shared_map_set(in->map, &key, &value);
        if (e == 0 && i % 7 == 0)
            e = plait_shared_map_remove(in->map, &key);
        if (e < 0)
            return e;
    }
    for (long key = in->first; key < in->first + EACH; key++) {
        long value = 1000 * key;
        int e = plait_shared_map_set(in->map, &key, &value);
        if (e < 0)
            return e;
    }
    return 0;
}
PLAIT_TASK(set_and_remove, struct part, void);

TEST(a_map_in_a_storm, .limit_s = 120)
{
    plait_executor *ex = open_processes(3);
    plait_shared_map *m;
    plait_future *f[TASKS];
    int died = 0, zygote = child_of(getpid());
    long found = 0;
    CHECK_INT(plait_shared_map_new(&m, sizeof(long), sizeof(long)), ==, 0);
    while (died < DEATHS) {
        for (long i = 0; i < TASKS; i++)
            CHECK_INT(plait_submit(ex, &f[i], set_and_remove, { m, i * EACH }), ==, 0);
        for (int i = 0; i < TASKS; i++) {
            int e = result_under_fire(f[i], zygote);
            died += e == -EOWNERDEAD;
            // What a task that ended has set is there.
            for (long key = (long)i * EACH; e == 0 && key < (i + 1) * EACH; key++)
                CHECK_INT(plait_shared_map_get(m, &key, NULL), ==, 0);
            plait_free(f[i]);
        }
    }
    CHECK_INT(plait_shared_map_each(m, count_one, &found), ==, 0);
    CHECK_INT(plait_shared_map_count(m), ==, found);
    plait_shared_map_free(m);
    close_processes(ex);
}
