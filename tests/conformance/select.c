// SPDX-License-Identifier: MIT
// select.c - select over descriptors and points in time beside channels and futures: each check
// runs in a task of every executor, and on a plain thread.
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conformance/tasks.h"

static void make_pair(int pair[2])
{
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), ==, 0);
}

static void close_both(int pair[2])
{
    CHECK_INT(plait_io_close(pair[0]), ==, 0);
    CHECK_INT(plait_io_close(pair[1]), ==, 0);
}

static struct plait_case readable(int fd)
{
    return (struct plait_case){ .what = PLAIT_CASE_POLL, .fd = fd, .events = POLLIN };
}

static struct plait_case get_from(plait_channel *c, long *value)
{
    return (struct plait_case){ .what = PLAIT_CASE_GET, .channel = c, .value = value };
}

static struct plait_case due_in(int64_t ns)
{
    return (struct plait_case){ .what = PLAIT_CASE_TIME, .when = plait_after(ns) };
}

// ---- checks ------------------------------------------------------------------------------------

static void ready_at_once(void)
{
    int pair[2];
    long v = 7, got = 0;
    plait_channel *c;
    make_pair(pair);
    CHECK_INT(plait_channel_new(&c, sizeof v, .capacity = 1), ==, 0);
    struct plait_case k[] = { get_from(c, &got), readable(pair[0]), due_in(PLAIT_SECOND * 100) };
    CHECK_INT(plait_select(k, 3, 1), ==, -ETIMEDOUT); // a deadline that has passed only looks
    CHECK_INT(write(pair[1], "x", 1), ==, 1);
    CHECK_INT(plait_select(k, 3, PLAIT_NEVER), ==, 1);
    CHECK_INT(k[1].code, ==, POLLIN);
    CHECK_INT(plait_select(k, 3, 1), ==, 1); // what the descriptor has stays there
    char byte;
    CHECK_INT(plait_io_read(pair[0], &byte, 1), ==, 1);
    CHECK_INT(plait_put(c, &v), ==, 0);
    CHECK_INT(plait_select(k, 3, PLAIT_NEVER), ==, 0);
    CHECK_INT(got, ==, 7);
    k[2] = due_in(0);
    CHECK_INT(plait_select(k, 3, PLAIT_NEVER), ==, 2);
    CHECK_INT(k[2].code, ==, 0);
    k[2].when = 0; // never
    CHECK_INT(plait_select(k, 3, plait_after(PLAIT_MILLISECOND)), ==, -ETIMEDOUT);
    plait_channel_free(c);
    close_both(pair);
}

static void points_in_time(void)
{
    int pair[2];
    make_pair(pair);
    int64_t begin = plait_now();
    struct plait_case k[] = { due_in(30 * PLAIT_SECOND), due_in(5 * PLAIT_MILLISECOND),
                              readable(pair[0]), due_in(20 * PLAIT_SECOND) };
    CHECK_INT(plait_select(k, 4, PLAIT_NEVER), ==, 1); // the earliest
    CHECK_INT(plait_now() - begin, >=, 5 * PLAIT_MILLISECOND);
    k[1] = due_in(30 * PLAIT_SECOND);
    CHECK_INT(plait_select(k, 4, plait_after(2 * PLAIT_MILLISECOND)), ==, -ETIMEDOUT);
    k[3].what = 77;
    CHECK_INT(plait_select(k, 4, PLAIT_NEVER), ==, -EINVAL);
    close_both(pair);
}

static void bad_descriptors(void)
{
    int pair[2];
    make_pair(pair);
    struct plait_case k[] = { due_in(30 * PLAIT_SECOND), readable(-1) };
    CHECK_INT(plait_select(k, 2, PLAIT_NEVER), ==, 1);
    CHECK_INT(k[1].code, ==, -EBADF);
    k[1] = readable(pair[0]);
    CHECK_INT(plait_io_close(pair[1]), ==, 0);
    CHECK_INT(plait_select(k, 2, PLAIT_NEVER), ==, 1);
    CHECK_INT(k[1].code & POLLHUP, ==, POLLHUP);
    CHECK_INT(plait_io_close(pair[0]), ==, 0);
    k[1].fd = 99999; // above what the test may have open
    CHECK_INT(plait_select(k, 2, PLAIT_NEVER), ==, 1);
    CHECK_INT(k[1].code, ==, -EBADF);
}

struct writer {
    int fd;
    plait_channel *c;
    long rounds;
};

// Alternates between the two sources that the other side selects over.
static void *write_and_put(void *arg)
{
    struct writer *w = arg;
    for (long i = 0; i < w->rounds; i++) {
        if (i % 2)
            CHECK_INT(write(w->fd, "x", 1), ==, 1);
        else
            CHECK_INT(plait_put(w->c, &i), ==, 0);
    }
    CHECK_INT(plait_io_close(w->fd), ==, 0);
    plait_channel_close(w->c);
    return NULL;
}

// Each of the two sources in turn ends the wait; nothing is lost, whichever wins.
static void both_at_once(void)
{
    int pair[2];
    long bytes = 0, values = 0, v = 0, sum = 0;
    make_pair(pair);
    struct writer w = { .fd = pair[1], .rounds = 2000 };
    CHECK_INT(plait_channel_new(&w.c, sizeof v), ==, 0);
    pthread_t thread;
    CHECK_INT(pthread_create(&thread, NULL, write_and_put, &w), ==, 0);
    bool file_open = true, channel_open = true;
    while (file_open || channel_open) {
        struct plait_case k[] = { readable(file_open ? pair[0] : -1), get_from(w.c, &v) };
        size_t from = file_open ? 0 : 1, n = (file_open && channel_open) ? 2 : 1;
        int i = plait_select(k + from, n, PLAIT_NEVER);
        CHECK(i >= 0);
        i += (int)from;
        if (i == 0) {
            char got[16];
            CHECK_INT(k[0].code & ~(POLLHUP | POLLRDHUP), ==, POLLIN);
            CHECK_INT(recv(pair[0], got, 1, MSG_PEEK | MSG_DONTWAIT), >=, 0); // it is true
            ssize_t r = plait_io_read(pair[0], got, sizeof got);
            CHECK(r >= 0);
            bytes += r;
            file_open = r > 0;
        } else {
            channel_open = k[1].code == 0;
            values += channel_open;
            sum += channel_open ? v : 0;
        }
    }
    CHECK_INT(bytes, ==, 1000);
    CHECK_INT(values, ==, 1000);
    CHECK_INT(sum, ==, 999000);
    CHECK_INT(pthread_join(thread, NULL), ==, 0);
    plait_channel_free(w.c);
    CHECK_INT(plait_io_close(pair[0]), ==, 0);
}

// More descriptors than have room in the frame; the one that is ready is found, and all others are
// let go of: they can be closed and used at once.
static void many_descriptors(void)
{
    enum { N = 30 };
    int pairs[N][2];
    for (int i = 0; i < N; i++)
        make_pair(pairs[i]);
    for (int round = 0; round < 3 * N; round++) {
        struct plait_case k[N];
        for (int i = 0; i < N; i++)
            k[i] = readable(pairs[i][0]);
        CHECK_INT(plait_select(k, N, plait_after(PLAIT_MILLISECOND / 10)), ==, -ETIMEDOUT);
        int one = round * 7 % N;
        CHECK_INT(write(pairs[one][1], "x", 1), ==, 1);
        CHECK_INT(plait_select(k, N, PLAIT_NEVER), ==, one);
        char byte;
        CHECK_INT(plait_io_read(pairs[one][0], &byte, 1), ==, 1);
    }
    for (int i = 0; i < N; i++)
        close_both(pairs[i]);
}

// Of several descriptors that stay readable none is starved, nor a channel beside them.
static void fairness(void)
{
    int pairs[3][2], chosen[4] = { 0 };
    long v = 1;
    plait_channel *c;
    CHECK_INT(plait_channel_new(&c, sizeof v, .capacity = 1), ==, 0);
    CHECK_INT(plait_put(c, &v), ==, 0);
    for (int i = 0; i < 3; i++) {
        make_pair(pairs[i]);
        CHECK_INT(write(pairs[i][1], "x", 1), ==, 1);
    }
    for (int round = 0; round < 1000; round++) {
        struct plait_case k[] = { readable(pairs[0][0]), readable(pairs[1][0]),
                                  readable(pairs[2][0]), get_from(c, &v) };
        int i = plait_select(k, 4, PLAIT_NEVER);
        CHECK(i >= 0 && i < 4);
        chosen[i]++;
        if (i == 3)
            CHECK_INT(plait_put(c, &v), ==, 0);
    }
    for (int i = 0; i < 4; i++)
        CHECK_INT(chosen[i], >, 120);
    for (int i = 0; i < 3; i++)
        close_both(pairs[i]);
    plait_channel_free(c);
}

static void *cancel_soon(void *scope)
{
    plait_scope_cancel(scope);
    return NULL;
}

// A scope that is cancelled, or whose deadline passes, ends the select; nothing is taken.
static void cancelling(plait_executor *ex)
{
    int pair[2];
    long v = 0;
    plait_channel *c;
    make_pair(pair);
    CHECK_INT(plait_channel_new(&c, sizeof v, .capacity = 1), ==, 0);
    struct plait_case k[] = { readable(pair[0]), get_from(c, &v), due_in(100 * PLAIT_SECOND) };
    for (int round = 0; round < 20; round++) {
        plait_scope s;
        CHECK_INT(plait_scope_begin(&s, ex, .deadline = plait_after(PLAIT_MILLISECOND)), ==, 0);
        CHECK_INT(plait_select(k, 3, PLAIT_NEVER), ==, -ETIMEDOUT);
        CHECK_INT(plait_scope_end(&s), ==, -ETIMEDOUT);
        pthread_t thread;
        CHECK_INT(plait_scope_begin(&s, ex), ==, 0);
        CHECK_INT(pthread_create(&thread, NULL, cancel_soon, &s), ==, 0);
        CHECK_INT(plait_select(k, 3, PLAIT_NEVER), ==, -ECANCELED);
        CHECK_INT(plait_select(k, 3, PLAIT_NEVER), ==, -ECANCELED);
        CHECK_INT(pthread_join(thread, NULL), ==, 0);
        CHECK_INT(plait_scope_end(&s), ==, -ECANCELED);
    }
    CHECK_INT(write(pair[1], "x", 1), ==, 1);
    CHECK_INT(plait_select(k, 3, PLAIT_NEVER), ==, 0);
    plait_channel_free(c);
    close_both(pair);
}

static void (*const checks[])(void) = {
    ready_at_once, points_in_time, bad_descriptors, both_at_once, many_descriptors, fairness,
};
enum { CHECKS = sizeof checks / sizeof checks[0] };

// ---- where they run -----------------------------------------------------------------------------

static int run_check(const int *which, void *out)
{
    (void)out;
    if (*which < CHECKS)
        checks[*which]();
    else
        cancelling(plait_self());
    return 0;
}
PLAIT_TASK(run_check, int, void);

CONFORM(descriptors_and_times_are_selected)
{
    for (int i = 0; i <= CHECKS; i++) {
        plait_future *f;
        CHECK_INT(plait_submit(ex, &f, run_check, { i }), ==, 0);
        CHECK_INT(plait_result(f, NULL), ==, 0);
        plait_free(f);
    }
}

// All at the same time, on the same loops.
CONFORM(selects_do_not_disturb_each_other)
{
    plait_future *f[4 * (CHECKS + 1)];
    int n = 4 * (CHECKS + 1);
    if (on->kind == PLAIT_PROCESSES && on->tasks_per_worker == 1)
        return; // one after the other, as above
    for (int i = 0; i < n; i++)
        CHECK_INT(plait_submit(ex, &f[i], run_check, { i % (CHECKS + 1) }), ==, 0);
    for (int i = 0; i < n; i++) {
        CHECK_INT(plait_result(f[i], NULL), ==, 0);
        plait_free(f[i]);
    }
}

CONFORM_LOCAL(a_plain_thread_selects)
{
    for (int i = 0; i < CHECKS; i++)
        checks[i]();
    cancelling(ex);
}

// A task that closes what another of its worker selects on ends that case.
static int close_later(const int *fd, void *out)
{
    (void)out;
    plait_yield();
    return plait_io_close(*fd);
}
PLAIT_TASK(close_later, int, void);

static int select_closed(const void *nothing, void *out)
{
    (void)nothing;
    (void)out;
    int pair[2];
    plait_scope s;
    make_pair(pair);
    struct plait_case k[] = { readable(pair[0]), due_in(100 * PLAIT_SECOND) };
    CHECK_INT(plait_scope_begin(&s, NULL), ==, 0);
    CHECK_INT(plait_go(&s, NULL, close_later, { pair[0] }), ==, 0);
    CHECK_INT(plait_select(k, 2, PLAIT_NEVER), ==, 0);
    CHECK_INT(k[0].code, ==, -ECANCELED);
    CHECK_INT(plait_scope_end(&s), ==, 0);
    return plait_io_close(pair[1]);
}
PLAIT_TASK(select_closed, void, void);

CONFORM(closing_ends_a_select)
{
    plait_future *f;
    if (on->kind == PLAIT_THREADS && on->workers > 1)
        return; // it ends those of the same worker only
    CHECK_INT(plait_submit(ex, &f, select_closed, { 0 }), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, 0);
    plait_free(f);
}
