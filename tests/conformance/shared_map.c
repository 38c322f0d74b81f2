// SPDX-License-Identifier: MIT
// A hash map in the shared heap, used by the program and its tasks at the same time.
#include "conformance/conform.h"

#include <stdlib.h>
#include <string.h>

struct value {
    uint64_t number, square;
};

struct part {
    plait_shared_map *map;
    uint64_t first, count;
};

static int fill(const struct part *in, void *out)
{
    int e = 0;
    (void)out;
    for (uint64_t k = in->first; e == 0 && k < in->first + in->count; k++) {
        struct value v = { k, k * k };
        e = plait_shared_map_set(in->map, &k, &v);
    }
    return e;
}
PLAIT_TASK(fill, struct part, void);

static int remove_even(const struct part *in, uint64_t *removed)
{
    *removed = 0;
    for (uint64_t k = in->first; k < in->first + in->count; k++) {
        struct value v;
        int e = plait_shared_map_get(in->map, &k, &v);
        if (e < 0)
            return e;
        if (v.number != k || v.square != k * k)
            return -EIO;
        if (k % 2 == 0 && plait_shared_map_remove(in->map, &k) == 0)
            ++*removed;
    }
    return 0;
}
PLAIT_TASK(remove_even, struct part, uint64_t);

static int add_number(const void *key, const void *value, void *sum)
{
    uint64_t k;
    struct value v;
    memcpy(&k, key, sizeof k);
    memcpy(&v, value, sizeof v);
    CHECK_INT(v.number, ==, k);
    *(uint64_t *)sum += k;
    return 0;
}

CONFORM(a_map_is_filled_and_emptied_by_all)
{
    enum { TASKS = 8, EACH = 400, N = TASKS * EACH };
    struct part parts[TASKS];
    uint64_t removed[TASKS], all = 0, sum = 0;
    plait_shared_map *m;
    CHECK_INT(plait_shared_map_new(&m, sizeof(uint64_t), sizeof(struct value)), ==, 0);
    for (uint64_t i = 0; i < TASKS; i++)
        parts[i] = (struct part){ m, i * EACH, EACH };
    CHECK_INT(plait_map(ex, fill, parts, NULL, TASKS), ==, 0);
    CHECK_INT(plait_shared_map_count(m), ==, N);
    CHECK_INT(plait_map(ex, remove_even, parts, removed, TASKS), ==, 0);
    for (int i = 0; i < TASKS; i++)
        all += removed[i];
    CHECK_INT(all, ==, N / 2);
    CHECK_INT(plait_shared_map_count(m), ==, N / 2);
    CHECK_INT(plait_shared_map_each(m, add_number, &sum), ==, 0);
    CHECK_INT(sum, ==, (uint64_t)N / 2 * (N / 2));
    plait_shared_map_free(m);
}

static size_t blocks(void)
{
    struct plait_shared_stats s;
    CHECK_INT(plait_shared_stats(&s), ==, 0);
    return s.blocks;
}

static int stop_at_third(const void *key, const void *value, void *n)
{
    (void)key, (void)value;
    return ++*(int *)n == 3 ? 33 : 0;
}

// Against an array that says what must be in it.
CONFORM_BARE(random_calls_agree_with_an_array)
{
    enum { KEYS = 700 };
    size_t before = blocks();
    int there[KEYS] = { 0 }, count = 0, n = 0;
    unsigned seed = 7;
    plait_shared_map *m;
    (void)on;
    CHECK_INT(plait_shared_map_new(&m, sizeof(int), sizeof(int)), ==, 0);
    for (int i = 1; i < 40000; i++) {
        int k = rand_r(&seed) % KEYS, got = -1;
        switch (rand_r(&seed) % 3) {
        case 0:
            CHECK_INT(plait_shared_map_set(m, &k, &i), ==, 0);
            count += there[k] == 0;
            there[k] = i;
            break;
        case 1:
            CHECK_INT(plait_shared_map_get(m, &k, &got), ==, there[k] ? 0 : -ENOENT);
            CHECK_INT(got, ==, there[k] ? there[k] : -1);
            CHECK_INT(plait_shared_map_get(m, &k, NULL), ==, there[k] ? 0 : -ENOENT);
            break;
        default:
            CHECK_INT(plait_shared_map_remove(m, &k), ==, there[k] ? 0 : -ENOENT);
            count -= there[k] != 0;
            there[k] = 0;
        }
        CHECK_INT(plait_shared_map_count(m), ==, count);
    }
    CHECK_INT(plait_shared_map_each(m, stop_at_third, &n), ==, 33);
    CHECK_INT(n, ==, 3);
    plait_shared_map_free(m);
    CHECK_INT(blocks(), ==, before);
    plait_shared_map_free(NULL);
    CHECK_INT(plait_shared_map_new(&m, 0, 8), ==, -EINVAL);
    CHECK_INT(plait_shared_map_new(&m, SIZE_MAX, 8), ==, -EINVAL);
    CHECK_INT(plait_shared_map_new(&m, 8, 0), ==, 0); // a set
    CHECK_INT(plait_shared_map_set(m, "12345678", ""), ==, 0);
    CHECK_INT(plait_shared_map_get(m, "12345678", NULL), ==, 0);
    plait_shared_map_free(m);
}
