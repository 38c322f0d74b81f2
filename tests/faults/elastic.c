// SPDX-License-Identifier: MIT
// How many workers there are: few while there is little to do, more as tasks wait, few again.
#include "faults/lib/faults.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int nap(const int64_t *ns, int *pid)
{
    *pid = getpid();
    return plait_sleep(*ns);
}
PLAIT_TASK(nap, int64_t, int);

static void loud(const struct plait_notice *n, void *arg)
{
    check_say("%s", n->message);
    __atomic_add_fetch((int *)arg, 1, __ATOMIC_SEQ_CST);
}

static int notices;

static plait_executor *open_elastic(unsigned most, unsigned least, int64_t idle_ns)
{
    plait_executor *ex;
    CHECK_INT(plait_open(&ex, PLAIT_PROCESSES, .workers = most, .notice = loud,
                         .notice_arg = &notices,
                         .worker = PLAIT_WORKER(.workers_min = least, .idle_ns = idle_ns)),
              ==, 0);
    return ex;
}

// The workers are children of the one process that forks them, which is our child.
static int count_workers(void)
{
    int zygote = only_child();
    return zygote > 0 ? count_children_of(zygote) : -1;
}

static bool workers_become(int n, int ms)
{
    for (int waited = 0; waited < ms; waited += 5) {
        if (count_workers() == n)
            return true;
        sleep_ms(5);
    }
    return count_workers() == n;
}

// So many tasks at once, until all run.
static void together(plait_executor *ex, int n, int64_t ns)
{
    plait_future *f[64];
    int pid[64];
    for (int i = 0; i < n; i++)
        CHECK_INT(plait_submit(ex, &f[i], nap, { ns }), ==, 0);
    for (int i = 0; i < n; i++) {
        CHECK_INT(plait_result(f[i], &pid[i]), ==, 0);
        plait_free(f[i]);
    }
}

TEST(grows_and_shrinks, .limit_s = 60)
{
    plait_executor *ex = open_elastic(8, 2, 200 * PLAIT_MILLISECOND);
    CHECK_INT(count_workers(), ==, 2);
    for (int round = 0; round < 3; round++) {
        plait_future *f[8];
        for (int i = 0; i < 8; i++)
            CHECK_INT(plait_submit(ex, &f[i], nap, { PLAIT_SECOND }), ==, 0);
        CHECK(workers_become(8, 5000));
        int pid[8];
        for (int i = 0; i < 8; i++) {
            if (plait_result(f[i], &pid[i]) < 0)
                FAIL("%s", plait_error(f[i])->message);
            plait_free(f[i]);
            for (int j = 0; j < i; j++)
                CHECK_INT(pid[j], !=, pid[i]);
        }
        CHECK(workers_become(2, 10000));
    }
    CHECK_INT(notices, ==, 0); // nobody died, they were not needed
    close_processes(ex);
}

TEST(grows_only_as_far_as_tasks_wait)
{
    plait_executor *ex = open_elastic(16, 1, PLAIT_SECOND * 100);
    together(ex, 1, PLAIT_MILLISECOND);
    CHECK_INT(count_workers(), ==, 1);
    together(ex, 3, 300 * PLAIT_MILLISECOND);
    CHECK_INT(count_workers(), ==, 3);
    together(ex, 3, 50 * PLAIT_MILLISECOND);
    CHECK_INT(count_workers(), ==, 3);
    struct plait_caps caps;
    plait_caps(ex, &caps);
    CHECK_INT(caps.workers, ==, 16);
    close_processes(ex);
}

// Work all the time, for one of several: the others go.
TEST(who_works_stays)
{
    plait_executor *ex = open_elastic(4, 1, 100 * PLAIT_MILLISECOND);
    together(ex, 4, 200 * PLAIT_MILLISECOND);
    int64_t end = plait_after(10 * PLAIT_SECOND);
    while (count_workers() > 1 && plait_now() < end)
        together(ex, 1, 5 * PLAIT_MILLISECOND);
    CHECK_INT(count_workers(), ==, 1);
    close_processes(ex);
}

static int crash(const void *in, void *out)
{
    (void)in, (void)out;
    raise(SIGKILL);
    return 0;
}
PLAIT_TASK(crash, void, void);

// Deaths, growth and shrinking at once: every future ends, nothing is left.
TEST(deaths_while_it_breathes, .limit_s = 120)
{
    int fds = count_fds(), mappings = count_mappings();
    plait_executor *ex = open_elastic(6, 1, 20 * PLAIT_MILLISECOND);
    for (int round = 0; round < 40; round++) {
        plait_future *f[20];
        int dead = 0, done = 0;
        for (int i = 0; i < 20; i++)
            CHECK_INT(i % 7 == 3 ? plait_submit(ex, &f[i], crash, { 0 })
                                 : plait_submit(ex, &f[i], nap, { PLAIT_MILLISECOND * (i % 5) }),
                      ==, 0);
        for (int i = 0; i < 20; i++) {
            int e = plait_result(f[i], NULL);
            CHECK_INT(e, ==, i % 7 == 3 ? -EOWNERDEAD : 0);
            dead += e < 0;
            done += e == 0;
            plait_free(f[i]);
        }
        CHECK_INT(dead, ==, 3);
        CHECK_INT(done, ==, 17);
        if (round % 4 == 0)
            sleep_ms(60);
    }
    CHECK(workers_become(1, 10000));
    close_processes(ex);
    CHECK_INT(count_fds(), ==, fds);
    if (!getenv("PLAIT_SANITIZER"))                    // whose own mappings grow
        CHECK_INT(count_mappings(), <=, mappings + 8); // the allocator's arenas may
}
