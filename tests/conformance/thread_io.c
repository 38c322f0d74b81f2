// SPDX-License-Identifier: MIT
// A plain thread that waits in an I/O call inside a scope, while another thread cancels the scope.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "conformance/tasks.h"

enum { PEER, LISTENER, FULL, IDLE_PIPE, FULL_PIPE, THINGS };

struct waiter {
    int fd[THINGS], other[THINGS];
    struct sockaddr_in nowhere; /* a listener with a full backlog */
    _Atomic int calling;
    plait_scope scope;
};

static int do_recv(struct waiter *w)
{
    char c;
    return (int)plait_io_recv(w->fd[PEER], &c, 1, 0);
}

static int do_read(struct waiter *w)
{
    char c;
    return (int)plait_io_read(w->fd[IDLE_PIPE], &c, 1);
}

static int do_write(struct waiter *w)
{
    return (int)plait_io_write(w->fd[FULL_PIPE], "x", 1);
}

static int do_accept(struct waiter *w)
{
    return plait_io_accept(w->fd[LISTENER], NULL, NULL, 0);
}

static int do_poll(struct waiter *w)
{
    return plait_io_poll(w->fd[PEER], POLLIN, PLAIT_NEVER);
}

static int do_connect(struct waiter *w)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    int e = plait_io_connect(fd, (struct sockaddr *)&w->nowhere, sizeof w->nowhere);
    close(fd);
    return e;
}

static int (*const calls[])(struct waiter *w) = { do_recv,   do_read, do_write,
                                                  do_accept, do_poll, do_connect };
enum { CALLS = sizeof calls / sizeof *calls };

static int listen_to(struct sockaddr_in *address, int backlog)
{
    socklen_t length = sizeof *address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    *address = (struct sockaddr_in){ .sin_family = AF_INET };
    address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK_INT(bind(fd, (struct sockaddr *)address, length), ==, 0);
    CHECK_INT(getsockname(fd, (struct sockaddr *)address, &length), ==, 0);
    CHECK_INT(listen(fd, backlog), ==, 0);
    return fd;
}

/* Descriptors on which each call waits for ever. */
static void prepare(struct waiter *w)
{
    int pair[2];
    struct sockaddr_in unused;
    memset(w, 0, sizeof *w);
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), ==, 0);
    w->fd[PEER] = pair[0], w->other[PEER] = pair[1];
    CHECK_INT(pipe(pair), ==, 0);
    w->fd[IDLE_PIPE] = pair[0], w->other[IDLE_PIPE] = pair[1];
    CHECK_INT(pipe(pair), ==, 0);
    w->fd[FULL_PIPE] = pair[1], w->other[FULL_PIPE] = pair[0];
    static char page[4096];
    while (plait_io_poll(pair[1], POLLOUT, plait_now()) > 0)
        CHECK_INT(write(pair[1], page, sizeof page), ==, sizeof page);
    w->fd[LISTENER] = listen_to(&unused, 8);
    w->other[LISTENER] = -1;
    w->fd[FULL] = listen_to(&w->nowhere, 0);
    w->other[FULL] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_INT(connect(w->other[FULL], (struct sockaddr *)&w->nowhere, sizeof w->nowhere), ==, 0);
}

static void clear_up(struct waiter *w)
{
    for (int i = 0; i < THINGS; i++) {
        close(w->fd[i]);
        if (w->other[i] >= 0)
            close(w->other[i]);
    }
}

/* Cancels at a moment that differs from round to round, most of them when the call waits. */
static void *cancel_soon(void *arg)
{
    struct waiter *w = arg;
    while (w->calling == 0)
        sched_yield();
    for (volatile int spin = 0; spin < w->calling * 3000; spin++)
        ;
    plait_scope_cancel(&w->scope);
    return NULL;
}

CONFORM_LOCAL(another_thread_cancels_a_call, .limit_s = 60)
{
    struct waiter w;
    prepare(&w);
    for (int which = 0; which < CALLS; which++)
        for (int round = 1; round <= 30; round++) {
            pthread_t other;
            check_say("call %d, round %d", which, round);
            CHECK_INT(plait_scope_begin(&w.scope, ex), ==, 0);
            w.calling = 0;
            CHECK_INT(pthread_create(&other, NULL, cancel_soon, &w), ==, 0);
            w.calling = round;
            CHECK_INT(calls[which](&w), ==, -ECANCELED);
            CHECK_INT(calls[which](&w), ==, -ECANCELED);
            CHECK_INT(plait_scope_end(&w.scope), ==, -ECANCELED);
            pthread_join(other, NULL);
        }
    clear_up(&w);
}

CONFORM_LOCAL(a_failing_child_cancels_its_threads_call)
{
    struct waiter w;
    prepare(&w);
    CHECK_INT(plait_scope_begin(&w.scope, ex), ==, 0);
    CHECK_INT(plait_go(&w.scope, NULL, answer, { -EDOM }), ==, 0);
    CHECK_INT(do_recv(&w), ==, -ECANCELED);
    CHECK_INT(plait_scope_end(&w.scope), ==, -EDOM);
    clear_up(&w);
}

static void *send_soon(void *arg)
{
    struct waiter *w = arg;
    while (w->calling == 0)
        sched_yield();
    for (volatile int spin = 0; spin < w->calling * 1000; spin++)
        ;
    CHECK_INT(write(w->other[PEER], "x", 1), ==, 1);
    plait_scope_cancel(&w->scope);
    return NULL;
}

/* What came before the cancel is returned or still there. */
CONFORM_LOCAL(a_byte_beside_a_cancel_is_not_lost, .limit_s = 60)
{
    struct waiter w;
    prepare(&w);
    for (int round = 1; round <= 100; round++) {
        pthread_t other;
        char c;
        CHECK_INT(plait_scope_begin(&w.scope, ex), ==, 0);
        w.calling = 0;
        CHECK_INT(pthread_create(&other, NULL, send_soon, &w), ==, 0);
        w.calling = round;
        int got = do_recv(&w);
        CHECK(got == 1 || got == -ECANCELED);
        pthread_join(other, NULL);
        CHECK_INT(plait_scope_end(&w.scope), ==, -ECANCELED);
        CHECK_INT(recv(w.fd[PEER], &c, 1, MSG_DONTWAIT), ==, got == 1 ? -1 : 1);
    }
    clear_up(&w);
}

CONFORM_LOCAL(deadlines_of_scope_and_call_hold)
{
    struct waiter w;
    prepare(&w);
    for (int which = 0; which < CALLS; which++) {
        int64_t deadline = plait_after(5 * PLAIT_MILLISECOND);
        CHECK_INT(plait_scope_begin(&w.scope, ex, .deadline = deadline), ==, 0);
        CHECK_INT(calls[which](&w), ==, -ETIMEDOUT);
        CHECK_INT(plait_now(), >=, deadline);
        CHECK_INT(plait_scope_end(&w.scope), ==, -ETIMEDOUT);
    }
    CHECK_INT(plait_scope_begin(&w.scope, ex), ==, 0);
    CHECK_INT(plait_io_poll(w.fd[PEER], POLLIN, plait_after(PLAIT_MILLISECOND)), ==, -ETIMEDOUT);
    CHECK_INT(plait_cancelled(), ==, 0);
    CHECK_INT(plait_scope_end(&w.scope), ==, 0);
    clear_up(&w);
}
