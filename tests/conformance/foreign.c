// SPDX-License-Identifier: MIT
// An executor without a thread of its own, driven from a loop around poll(2).
#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include "conformance/tasks.h"

static const struct place *const places[] = { &place_fibers_uring, &place_fibers_epoll };

#define ON_BOTH(name, ...)                                                                         \
    static void foreign_##name(const struct place *on);                                            \
    TEST(name##_uring, ##__VA_ARGS__)                                                              \
    {                                                                                              \
        conform_run_bare(places[0], foreign_##name);                                               \
    }                                                                                              \
    TEST(name##_epoll, ##__VA_ARGS__)                                                              \
    {                                                                                              \
        conform_run_bare(places[1], foreign_##name);                                               \
    }                                                                                              \
    static void foreign_##name(const struct place *on)

// The foreign loop: turns until the counter has reached n. Returns how often poll(2) woke up.
static int drive(plait_executor *ex, unsigned counter, unsigned n)
{
    struct pollfd fd = { .fd = plait_fd(ex), .events = POLLIN };
    int wakes = 0;
    CHECK_INT(fd.fd, >=, 0);
    for (;;) {
        int ran;
        while ((ran = plait_turn(ex)) > 0)
            ;
        CHECK_INT(ran, ==, 0);
        if (count_of(counter) >= n)
            return wakes;
        CHECK_INT(poll(&fd, 1, 20000), ==, 1);
        wakes++;
    }
}

static int count_task(const void *nothing, void *out)
{
    (void)nothing, (void)out;
    count_up(1);
    return 0;
}
PLAIT_TASK(count_task, void, void);

ON_BOTH(runs_what_is_submitted)
{
    plait_executor *ex;
    plait_future *f;
    long sum;
    CHECK_INT(OPEN_ON(&ex, on, .foreign = true), ==, 0);
    for (int i = 0; i < 100; i++)
        CHECK_INT(plait_submit(ex, NULL, count_task, { 0 }), ==, 0);
    CHECK_INT(count_of(1), ==, 0); // nobody else runs it
    drive(ex, 1, 100);
    CHECK_INT(plait_submit(ex, &f, add, { 1, 2 }), ==, 0);
    while (!plait_done(f))
        CHECK_INT(plait_turn(ex), >=, 0);
    CHECK_INT(plait_result(f, &sum), ==, 0);
    CHECK_INT(sum, ==, 3);
    plait_free(f);
    CHECK_INT(plait_close(ex), ==, 0);
}

static int nap_and_count(const int64_t *ns, void *out)
{
    (void)out;
    int e = plait_sleep(*ns);
    count_up(1);
    return e;
}
PLAIT_TASK(nap_and_count, int64_t, void);

ON_BOTH(timers_make_it_readable)
{
    plait_executor *ex;
    CHECK_INT(OPEN_ON(&ex, on, .foreign = true), ==, 0);
    int64_t begin = plait_now();
    for (int i = 1; i <= 5; i++)
        CHECK_INT(plait_submit(ex, NULL, nap_and_count, { i * 10 * PLAIT_MILLISECOND }), ==, 0);
    int wakes = drive(ex, 1, 5);
    CHECK_INT(plait_now() - begin, >=, 50 * PLAIT_MILLISECOND);
    CHECK_INT(wakes, <, 200); // not a busy loop
    CHECK_INT(plait_close(ex), ==, 0);
}

static int pass_and_count(const unsigned *gate, void *out)
{
    (void)out;
    int e = gate_pass(*gate);
    count_up(1);
    return e;
}
PLAIT_TASK(pass_and_count, unsigned, void);

static void *open_gates(void *arg)
{
    (void)arg;
    for (int i = 0; i < 10; i++) {
        gate_open(1, 1);
        count_wait(1, (unsigned)i + 1);
    }
    return NULL;
}

ON_BOTH(descriptors_make_it_readable)
{
    plait_executor *ex;
    pthread_t thread;
    CHECK_INT(OPEN_ON(&ex, on, .foreign = true), ==, 0);
    for (int i = 0; i < 10; i++)
        CHECK_INT(plait_submit(ex, NULL, pass_and_count, { 1 }), ==, 0);
    CHECK_INT(pthread_create(&thread, NULL, open_gates, NULL), ==, 0);
    drive(ex, 1, 10);
    CHECK_INT(pthread_join(thread, NULL), ==, 0);
    CHECK_INT(plait_close(ex), ==, 0);
}

static plait_executor *driven;

static void *submit_from_outside(void *arg)
{
    (void)arg;
    for (int i = 0; i < 50; i++) {
        CHECK_INT(plait_submit(driven, NULL, count_task, { 0 }), ==, 0);
        count_wait(1, (unsigned)i + 1);
    }
    CHECK_INT(plait_turn(driven), ==, -EINVAL); // not the thread that opened it
    return NULL;
}

ON_BOTH(other_threads_submits_make_it_readable)
{
    pthread_t thread;
    CHECK_INT(OPEN_ON(&driven, on, .foreign = true), ==, 0);
    CHECK_INT(pthread_create(&thread, NULL, submit_from_outside, NULL), ==, 0);
    drive(driven, 1, 50);
    CHECK_INT(pthread_join(thread, NULL), ==, 0);
    CHECK_INT(plait_close(driven), ==, 0);
}

ON_BOTH(close_drives_it_to_its_end)
{
    plait_executor *ex;
    CHECK_INT(OPEN_ON(&ex, on, .foreign = true), ==, 0);
    for (int i = 0; i < 20; i++)
        CHECK_INT(plait_submit(ex, NULL, nap_and_count, { i * PLAIT_MILLISECOND }), ==, 0);
    CHECK_INT(plait_close(ex), ==, 0);
    CHECK_INT(count_of(1), ==, 20);
}

// Two of them in one loop.
ON_BOTH(two_in_one_loop)
{
    plait_executor *ex[2];
    for (int i = 0; i < 2; i++) {
        CHECK_INT(OPEN_ON(&ex[i], on, .foreign = true), ==, 0);
        for (int k = 1; k <= 5; k++)
            CHECK_INT(plait_submit(ex[i], NULL, nap_and_count, { k * PLAIT_MILLISECOND }), ==, 0);
    }
    struct pollfd fds[2] = { { .fd = plait_fd(ex[0]), .events = POLLIN },
                             { .fd = plait_fd(ex[1]), .events = POLLIN } };
    for (;;) {
        for (int i = 0; i < 2; i++)
            while (plait_turn(ex[i]) > 0)
                ;
        if (count_of(1) == 10)
            break;
        CHECK_INT(poll(fds, 2, 20000), >=, 1);
    }
    CHECK_INT(plait_close(ex[0]), ==, 0);
    CHECK_INT(plait_close(ex[1]), ==, 0);
}

CONFORM(not_foreign)
{
    CHECK_INT(plait_turn(ex), ==, -EINVAL);
}
