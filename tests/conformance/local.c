// SPDX-License-Identifier: MIT
// local.c - task-local values in tasks of every executor, in their children, and on plain threads.
#include <pthread.h>
#include <stdlib.h>

#include "conformance/tasks.h"

enum { DESTROYED = 3, LATE = 4 }; // counters

static void destroyed(void *value)
{
    (void)value;
    count_up(DESTROYED);
}

static plait_local first = PLAIT_LOCAL(destroyed);
static plait_local second = PLAIT_LOCAL(free);
static plait_local never = PLAIT_LOCAL(NULL);

/* Sets values, lets the others of its worker run, and finds its own again. */
static int keep_own(const long *n, void *out)
{
    (void)out;
    if (plait_local_get(&first) || plait_local_get(&second) || plait_local_get(&never))
        return -EEXIST;
    if (plait_local_set(&first, (void *)*n))
        return -ENOMEM;
    for (int i = 0; i < 10; i++) {
        plait_yield();
        if ((long)plait_local_get(&first) != *n || plait_local_get(&never))
            return -EILSEQ;
    }
    return plait_local_set(&second, malloc(100));
}
PLAIT_TASK(keep_own, long, void);

CONFORM(each_task_has_its_own_values)
{
    plait_future *f[32];
    for (long i = 0; i < 32; i++)
        CHECK_INT(plait_submit(ex, &f[i], keep_own, { i + 1 }), ==, 0);
    for (int i = 0; i < 32; i++) {
        CHECK_INT(plait_result(f[i], NULL), ==, 0);
        plait_free(f[i]);
    }
    CHECK_INT(count_of(DESTROYED), ==, 32); // before the future sees the end
    long in[64];
    for (long i = 0; i < 64; i++)
        in[i] = i + 1;
    CHECK_INT(plait_map(ex, keep_own, in, NULL, 64), ==, 0);
    CHECK_INT(count_of(DESTROYED), ==, 96);
}

/* Children start without values, on their parent's stack too, and leave the parent's alone. */
static int have_children(const int *depth, void *out)
{
    (void)out;
    plait_scope s;
    if (plait_local_get(&first))
        return -EEXIST;
    if (plait_local_set(&first, (void *)depth))
        return -ENOMEM;
    int e = plait_scope_begin(&s, NULL);
    for (int i = 0; e == 0 && *depth > 0 && i < 3; i++)
        plait_go_task(&s, plait_task_find("have_children"), &(int){ *depth - 1 }, NULL);
    e = plait_scope_end(&s);
    return e < 0 ? e : plait_local_get(&first) == depth ? 0 : -EILSEQ;
}
PLAIT_TASK(have_children, int, void);

CONFORM(children_inherit_nothing)
{
    plait_future *f;
    CHECK_INT(plait_submit(ex, &f, have_children, { 4 }), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, 0);
    CHECK_INT(count_of(DESTROYED), ==, 1 + 3 + 9 + 27 + 81);
    plait_free(f);
}

static int sees_none(void *unused)
{
    (void)unused;
    int found = plait_local_get(&first) != NULL;
    return plait_local_set(&first, &first) < 0 ? -ENOMEM : found;
}

static int calls_blocking(const void *nothing, int *found)
{
    (void)nothing;
    if (plait_local_set(&first, &first))
        return -ENOMEM;
    *found = plait_blocking(sees_none, NULL);
    *found |= plait_blocking(sees_none, NULL);
    return plait_local_get(&first) == &first ? 0 : -EILSEQ;
}
PLAIT_TASK(calls_blocking, void, int);

CONFORM(blocking_calls_have_values_of_their_own)
{
    plait_future *f;
    int found = -1;
    CHECK_INT(plait_submit(ex, &f, calls_blocking, { 0 }), ==, 0);
    CHECK_INT(plait_result(f, &found), ==, 0);
    CHECK_INT(found, ==, 0);
    CHECK_INT(count_of(DESTROYED), ==, 3);
    plait_free(f);
}

static void sets_again(void *value);
static plait_local stubborn = PLAIT_LOCAL(sets_again);

static void sets_again(void *value)
{
    count_up(LATE);
    CHECK_INT(plait_local_set(&stubborn, value), ==, 0);
    CHECK_INT(plait_yield(), ==, 0); // it is still the task
}

static int leaves_a_stubborn_value(const void *nothing, void *out)
{
    (void)nothing;
    (void)out;
    return plait_local_set(&stubborn, &stubborn);
}
PLAIT_TASK(leaves_a_stubborn_value, void, void);

CONFORM(a_destructor_that_sets_again_does_not_run_for_ever)
{
    plait_future *f;
    CHECK_INT(plait_submit(ex, &f, leaves_a_stubborn_value, { 0 }), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, 0);
    CHECK_INT(count_of(LATE), ==, 4);
    plait_free(f);
}

static void *on_thread(void *arg)
{
    CHECK(!plait_local_get(&first));
    CHECK_INT(plait_local_set(&first, arg), ==, 0);
    CHECK_INT(plait_local_set(&second, malloc(10)), ==, 0);
    CHECK(plait_local_get(&first) == arg);
    return NULL;
}

CONFORM_LOCAL(a_plain_thread_has_values_until_it_ends)
{
    pthread_t thread;
    (void)ex;
    for (unsigned i = 1; i <= 3; i++) {
        CHECK_INT(pthread_create(&thread, NULL, on_thread, &first), ==, 0);
        CHECK_INT(pthread_join(thread, NULL), ==, 0);
        CHECK_INT(count_of(DESTROYED), ==, i);
    }
    CHECK(!plait_local_get(&first));
}

/* More keys than there may be; an index that is used again does not show another key's value. */
TEST(keys_are_counted_and_come_back)
{
    static plait_local keys[1023], extra;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 1023; i++) {
            keys[i].destroy = NULL;
            CHECK(!plait_local_get(&keys[i]));
            CHECK_INT(plait_local_set(&keys[i], &keys[i]), ==, 0);
        }
        CHECK_INT(plait_local_set(&extra, &extra), ==, -EAGAIN);
        for (int i = 0; i < 1023; i++)
            CHECK(plait_local_get(&keys[i]) == &keys[i]);
        for (int i = 0; i < 1023; i++)
            plait_local_done(&keys[(i * 7 + round) % 1023]);
        CHECK_INT(plait_local_set(&extra, &extra), ==, 0);
        CHECK(plait_local_get(&extra) == &extra);
        plait_local_done(&extra);
    }
}
