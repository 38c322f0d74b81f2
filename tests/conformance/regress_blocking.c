// SPDX-License-Identifier: MIT
// plait_blocking(): two calls at once, of which one waits for the other.
#include <unistd.h>

#include "conformance/tasks.h"

static int link_[2];

static int at_once(void *arg)
{
    (void)arg;
    return 0;
}

static int read_one(void *arg)
{
    char c;
    (void)arg;
    return (int)read(link_[0], &c, 1);
}

static int write_one(void *arg)
{
    (void)arg;
    return (int)write(link_[1], "x", 1);
}

static int reads(const void *in, void *out)
{
    (void)in, (void)out;
    int n = plait_blocking(read_one, NULL);
    return n == 1 ? 0 : -EIO;
}
PLAIT_TASK(reads, void, void);

static int writes(const void *in, void *out)
{
    (void)in, (void)out;
    int n = plait_blocking(write_one, NULL);
    return n == 1 ? 0 : -EIO;
}
PLAIT_TASK(writes, void, void);

/* Leaves one idle thread in the pool, then asks for two: it must not be counted on twice. */
static int both(const void *in, void *out)
{
    (void)in, (void)out;
    plait_blocking(at_once, NULL);
    plait_sleep(20 * PLAIT_MILLISECOND); // if the thread is not idle by then, nothing is shown
    plait_scope s;
    plait_scope_begin(&s, NULL);
    plait_go(&s, NULL, writes, { 0 });
    plait_go(&s, NULL, reads, { 0 });
    return plait_scope_end(&s);
}
PLAIT_TASK(both, void, void);

CONFORM_LOCAL(one_idle_thread_is_not_enough_for_two)
{
    plait_future *f;
    CHECK_INT(pipe(link_), ==, 0);
    for (int i = 0; i < 5; i++) {
        CHECK_INT(plait_submit(ex, &f, both, { 0 }), ==, 0);
        CHECK_INT(plait_result(f, NULL), ==, 0);
        plait_free(f);
    }
    close(link_[0]);
    close(link_[1]);
}

static void also(plait_future *f, void *arg)
{
    (void)f, (void)arg;
    count_up(1);
}

static void adds_another(plait_future *f, void *arg)
{
    CHECK_INT(plait_on_done(f, also, arg), ==, 0);
}

CONFORM(a_callback_may_add_a_callback)
{
    plait_future *f;
    CHECK_INT(plait_submit(ex, &f, wait_at, { 1 }), ==, 0);
    CHECK_INT(plait_on_done(f, adds_another, NULL), ==, 0);
    gate_open(1, 1);
    count_wait(1, 1);
    CHECK_INT(plait_result(f, NULL), ==, 0);
    plait_free(f);
}
