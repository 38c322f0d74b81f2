// SPDX-License-Identifier: MIT
// loop_both.h - for tests of the event loop that run on both backends.
#ifndef PLAIT_TESTS_UNIT_LOOP_BOTH_H
#define PLAIT_TESTS_UNIT_LOOP_BOTH_H

#include "check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "os/clock.h"
#include "os/loop.h"

#define MS PL_MILLISECOND

static struct pl_loop loop;

__attribute__((unused)) static void open_loop(enum pl_backend backend, unsigned entries)
{
    const char *preload = getenv("LD_PRELOAD");
    if (backend == PL_BACKEND_URING && preload && strstr(preload, "vgpreload"))
        SKIP("valgrind stops all threads while one waits in a ring");
    int err = pl_loop_init(&loop, backend, entries);
    if (backend == PL_BACKEND_URING && (err == -EPERM || err == -ENOSYS))
        SKIP("io_uring is refused here");
    CHECK_INT(err, ==, 0);
    CHECK_INT(loop.backend, ==, backend);
}

// BOTH(name) { ... } makes uring_name and epoll_name; entries is the size of the submission queue.
#define BOTH_SIZED(name_, entries_, ...)                                                           \
    static void both_##name_(void);                                                                \
    TEST(uring_##name_, ##__VA_ARGS__)                                                             \
    {                                                                                              \
        open_loop(PL_BACKEND_URING, entries_);                                                     \
        both_##name_();                                                                            \
        CHECK_INT(pl_loop_inflight(&loop), ==, 0);                                                 \
        pl_loop_done(&loop);                                                                       \
    }                                                                                              \
    TEST(epoll_##name_, ##__VA_ARGS__)                                                             \
    {                                                                                              \
        open_loop(PL_BACKEND_EPOLL, entries_);                                                     \
        both_##name_();                                                                            \
        CHECK_INT(pl_loop_inflight(&loop), ==, 0);                                                 \
        pl_loop_done(&loop);                                                                       \
    }                                                                                              \
    static void both_##name_(void)
#define BOTH(name_, ...) BOTH_SIZED(name_, 0, ##__VA_ARGS__)

// An operation and how often its done was called.
struct probe {
    struct pl_op op;
    int calls;
};

__attribute__((unused)) static void count_call(struct pl_op *op)
{
    struct probe *p = (struct probe *)op;
    p->calls++;
}

#define PROBE(...)                                                                                 \
    {                                                                                              \
        .op = {.offset = -1, .done = count_call, __VA_ARGS__ }                                     \
    }

__attribute__((unused)) static void start(struct probe *p)
{
    p->calls = 0;
    p->op.done = count_call;
    pl_loop_start(&loop, &p->op);
}

__attribute__((unused)) static int64_t finish(struct probe *p)
{
    while (p->calls == 0)
        CHECK_INT(pl_loop_poll(&loop, pl_clock_after(10 * PL_SECOND)), >=, 0);
    CHECK_INT(p->calls, ==, 1);
    return p->op.result;
}

__attribute__((unused)) static int64_t run(struct probe *p)
{
    start(p);
    CHECK_INT(p->calls, ==, 0); // never from within start
    return finish(p);
}

// Polls for a while and sees that it stays in flight.
__attribute__((unused)) static void stays(struct probe *p)
{
    int64_t until = pl_clock_after(5 * MS);
    while (pl_now() < until)
        CHECK_INT(pl_loop_poll(&loop, until), >=, 0);
    CHECK_INT(p->calls, ==, 0);
}

__attribute__((unused)) static void pair(int type, int ends[2])
{
    CHECK_INT(socketpair(AF_UNIX, type, 0, ends), ==, 0);
}

__attribute__((unused)) static int listen_tcp(struct sockaddr_in *at, int flags)
{
    int fd = socket(AF_INET, SOCK_STREAM | flags, 0);
    *at = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof *at;
    CHECK_INT(bind(fd, (struct sockaddr *)at, len), ==, 0);
    CHECK_INT(listen(fd, 128), ==, 0);
    CHECK_INT(getsockname(fd, (struct sockaddr *)at, &len), ==, 0);
    return fd;
}

// A connected pair of TCP sockets, blocking or not.
__attribute__((unused)) static void tcp_pair(int ends[2], int flags)
{
    struct sockaddr_in at;
    int listener = listen_tcp(&at, 0);
    ends[0] = socket(AF_INET, SOCK_STREAM, 0);
    CHECK_INT(connect(ends[0], (struct sockaddr *)&at, sizeof at), ==, 0);
    ends[1] = accept4(listener, NULL, NULL, flags);
    CHECK_INT(ends[1], >=, 0);
    if (flags)
        CHECK_INT(fcntl(ends[0], F_SETFL, O_NONBLOCK), ==, 0);
    close(listener);
}

__attribute__((unused)) static int temporary_file(void)
{
    char name[] = "/tmp/plait-loop-XXXXXX";
    int fd = mkstemp(name);
    CHECK_INT(fd, >=, 0);
    unlink(name);
    return fd;
}

#endif
