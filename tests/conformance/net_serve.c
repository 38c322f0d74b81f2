// SPDX-License-Identifier: MIT
// Serving: back-pressure, stopping, cancelling, peers that misbehave, and a process that is full.
// Clients are the test's own thread.
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "conformance/tasks.h"

enum { NOW, MOST, SERVED, FAILED, NOTICES }; // counters

/* Sends back what comes, until the peer has no more. */
static int echo(const struct plait_net_connection *c, void *out)
{
    char data[64];
    ssize_t n;
    (void)out;
    CHECK_STR(plait_task_name(), "echo");
    CHECK_STR(c->arg, "an argument");
    count_raise(MOST, count_up(NOW));
    while ((n = plait_io_recv(c->fd, data, sizeof data, 0)) > 0)
        if ((n = plait_io_write_all(c->fd, data, (size_t)n, NULL)) < 0)
            break;
    count_down(NOW);
    count_up(n < 0 ? FAILED : SERVED);
    return (int)n; // an error concerns this connection alone
}
PLAIT_TASK(echo, struct plait_net_connection, void);

struct serving {
    plait_executor *ex;
    int listener;
    unsigned limit;
    int64_t grace_ns;
    int64_t deadline;
};

static int serve(const struct serving *s, void *out)
{
    plait_scope scope;
    (void)out;
    int e = plait_scope_begin(&scope, s->ex, .deadline = s->deadline);
    if (e < 0)
        return e;
    e = plait_net_serve(s->listener, echo, .ex = s->ex, .limit = s->limit, .grace_ns = s->grace_ns,
                        .arg = (void *)"an argument");
    plait_scope_end(&scope);
    return e;
}
PLAIT_TASK(serve, struct serving, void);

static int listen_here(char place[PLAIT_NET_TEXT_BYTES])
{
    struct plait_net_address a;
    int listener = plait_net_listen("127.0.0.1:0");
    CHECK_INT(listener, >=, 0);
    CHECK_INT(plait_net_local(listener, &a), ==, 0);
    CHECK_INT(plait_net_format(&a, place, PLAIT_NET_TEXT_BYTES), >, 0);
    return listener;
}

static int call(const char *place)
{
    int fd = plait_net_connect(place);
    CHECK_INT(fd, >=, 0);
    CHECK_INT(plait_io_send(fd, "x", 1, 0), ==, 1);
    return fd;
}

static void hear(int fd)
{
    char byte = 0;
    CHECK_INT(plait_io_recv(fd, &byte, 1, 0), ==, 1);
    CHECK_INT(byte, ==, 'x');
}

static void hang_up(int fd)
{
    char byte;
    CHECK_INT(plait_io_shutdown(fd, SHUT_WR), ==, 0);
    CHECK_INT(plait_io_recv(fd, &byte, 1, 0), ==, 0);
    CHECK_INT(close(fd), ==, 0);
}

static plait_future *start(plait_executor *ex, struct serving s)
{
    plait_future *f;
    CHECK_INT(plait_submit_at(ex, &f, serve, &s), ==, 0);
    return f;
}

static void finish(plait_future *f, int code)
{
    CHECK_INT(plait_result(f, NULL), ==, code);
    plait_free(f);
    CHECK_INT(count_of(NOW), ==, 0);
}

CONFORM_LOCAL(no_more_than_the_limit)
{
    enum { N = 7, LIMIT = 2 };
    char place[PLAIT_NET_TEXT_BYTES];
    int listener = listen_here(place), fds[N];
    plait_future *f = start(ex, (struct serving){ .listener = listener, .limit = LIMIT });
    for (int i = 0; i < N; i++)
        fds[i] = call(place); // all are connected: the kernel keeps those who wait
    for (int i = 0; i < N; i++) {
        hear(fds[i]);
        hang_up(fds[i]);
    }
    CHECK_INT(plait_net_stop(listener), ==, 0);
    finish(f, 0);
    CHECK_INT(count_of(SERVED), ==, N);
    CHECK_INT(count_of(MOST), ==, LIMIT);
    CHECK_INT(close(listener), ==, 0);
}

CONFORM_LOCAL(many_connections, .limit_s = 60)
{
    enum { N = 200, ROUNDS = 5 };
    char place[PLAIT_NET_TEXT_BYTES];
    int listener = listen_here(place), fds[N];
    plait_future *f = start(ex, (struct serving){ .listener = listener });
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < N; i++)
            fds[i] = call(place);
        for (int i = 0; i < N; i++)
            hear(fds[i]);
        for (int i = 0; i < N; i++)
            hang_up(fds[i]);
    }
    CHECK_INT(plait_net_stop(listener), ==, 0);
    finish(f, 0);
    CHECK_INT(count_of(SERVED), ==, N * ROUNDS);
    CHECK_INT(close(listener), ==, 0);
}

CONFORM_LOCAL(stopping_finishes_what_was_accepted)
{
    char place[PLAIT_NET_TEXT_BYTES];
    int listener = listen_here(place), fds[3];
    plait_future *f = start(ex, (struct serving){ .listener = listener });
    for (int i = 0; i < 3; i++) {
        fds[i] = call(place);
        hear(fds[i]);
    }
    CHECK_INT(plait_net_stop(listener), ==, 0);
    CHECK_INT(plait_net_connect(place), ==, -ECONNREFUSED);
    for (int i = 0; i < 3; i++) {
        CHECK_INT(plait_done(f), ==, false);
        CHECK_INT(plait_io_send(fds[i], "x", 1, 0), ==, 1);
        hear(fds[i]);
        hang_up(fds[i]);
    }
    finish(f, 0);
    CHECK_INT(count_of(SERVED), ==, 3);
    CHECK_INT(close(listener), ==, 0);
}

CONFORM_LOCAL(unix_listeners_stop_too)
{
    char place[64];
    snprintf(place, sizeof place, "unix:@plait-serve-%d", getpid());
    int listener = plait_net_listen(place);
    plait_future *f = start(ex, (struct serving){ .listener = listener });
    int fd = call(place);
    hear(fd);
    CHECK_INT(plait_net_stop(listener), ==, 0);
    hang_up(fd);
    finish(f, 0);
    CHECK_INT(close(listener), ==, 0);
}

CONFORM_LOCAL(a_grace_that_is_over)
{
    char place[PLAIT_NET_TEXT_BYTES], byte;
    int listener = listen_here(place);
    plait_future *f =
        start(ex, (struct serving){ .listener = listener, .grace_ns = 10 * PLAIT_MILLISECOND });
    int fd = call(place);
    hear(fd);
    CHECK_INT(plait_net_stop(listener), ==, 0);
    CHECK_INT(plait_io_recv(fd, &byte, 1, 0), ==, 0); // closed on us
    finish(f, -ETIMEDOUT);
    CHECK_INT(count_of(FAILED), ==, 1);
    CHECK_INT(close(fd), ==, 0);
    CHECK_INT(close(listener), ==, 0);
}

CONFORM_LOCAL(cancelling_a_server)
{
    char place[PLAIT_NET_TEXT_BYTES], byte;
    int listener = listen_here(place), fds[3];
    plait_future *f = start(ex, (struct serving){ .listener = listener, .limit = 2 });
    for (int i = 0; i < 3; i++) // the third waits for room
        fds[i] = call(place);
    hear(fds[0]);
    hear(fds[1]);
    CHECK_INT(plait_cancel(f), ==, 0);
    finish(f, -ECANCELED);
    CHECK_INT(count_of(FAILED), ==, 2);
    for (int i = 0; i < 2; i++) {
        CHECK_INT(plait_io_recv(fds[i], &byte, 1, 0), ==, 0);
        CHECK_INT(close(fds[i]), ==, 0);
    }
    // The listener is untouched: the third is served by the next server.
    f = start(ex, (struct serving){ .listener = listener });
    hear(fds[2]);
    hang_up(fds[2]);
    CHECK_INT(plait_net_stop(listener), ==, 0);
    finish(f, 0);
    CHECK_INT(close(listener), ==, 0);
}

CONFORM_LOCAL(a_server_with_a_deadline)
{
    char place[PLAIT_NET_TEXT_BYTES];
    int listener = listen_here(place);
    plait_future *f = start(
        ex, (struct serving){ .listener = listener, .deadline = plait_after(PLAIT_MILLISECOND) });
    finish(f, -ETIMEDOUT);
    CHECK_INT(close(listener), ==, 0);
}

// Cancelled at every moment of a short life: no descriptor is lost, whatever had been accepted.
CONFORM_LOCAL(cancel_races_with_accepting, .limit_s = 60)
{
    char place[PLAIT_NET_TEXT_BYTES];
    int listener = listen_here(place);
    for (int round = 0; round < 50; round++) {
        int fds[8];
        plait_future *f = start(ex, (struct serving){ .listener = listener, .limit = 4 });
        for (int i = 0; i < 8; i++)
            fds[i] = call(place);
        for (volatile int spin = 0; spin < round * 200; spin++)
            ;
        plait_cancel(f);
        finish(f, -ECANCELED);
        for (int i = 0; i < 8; i++)
            CHECK_INT(close(fds[i]), ==, 0);
    }
    CHECK_INT(close(listener), ==, 0); // and conform.h counts descriptors
}

static void *serve_plainly(void *arg)
{
    static int code;
    code = serve(arg, NULL);
    return &code;
}

CONFORM_LOCAL(from_a_plain_thread)
{
    char place[PLAIT_NET_TEXT_BYTES];
    pthread_t thread;
    void *code;
    int listener = listen_here(place);
    struct serving s = { .ex = ex, .listener = listener, .limit = 2 };
    CHECK_INT(pthread_create(&thread, NULL, serve_plainly, &s), ==, 0);
    for (int i = 0; i < 5; i++) {
        int fd = call(place);
        hear(fd);
        hang_up(fd);
    }
    CHECK_INT(plait_net_stop(listener), ==, 0);
    CHECK_INT(pthread_join(thread, &code), ==, 0);
    CHECK_INT(*(int *)code, ==, 0);
    CHECK_INT(count_of(SERVED), ==, 5);
    CHECK_INT(close(listener), ==, 0);
}

// ---- peers that misbehave ----------------------------------------------------------------------

static void reset(int fd)
{
    struct linger none = { .l_onoff = 1 };
    CHECK_INT(setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none), ==, 0);
    CHECK_INT(close(fd), ==, 0);
}

CONFORM_LOCAL(resets)
{
    char place[PLAIT_NET_TEXT_BYTES];
    int listener = listen_here(place);
    for (int i = 0; i < 20; i++) // reset before anybody accepts them
        reset(call(place));
    plait_future *f = start(ex, (struct serving){ .listener = listener, .limit = 3 });
    for (int i = 0; i < 20; i++) { // and while they are served
        int fd = call(place);
        hear(fd);
        reset(fd);
    }
    int fd = call(place);
    hear(fd);
    hang_up(fd);
    CHECK_INT(plait_net_stop(listener), ==, 0);
    finish(f, 0);
    CHECK_INT(count_of(FAILED), >=, 20);
    CHECK_INT(close(listener), ==, 0);
}

/* Gives a peer some time to say something. */
static int impatient(const struct plait_net_connection *c, void *out)
{
    char byte;
    plait_scope s;
    (void)out;
    int e = plait_scope_begin(&s, NULL, .deadline = plait_after(10 * PLAIT_MILLISECOND));
    if (e < 0)
        return e;
    e = (int)plait_io_recv(c->fd, &byte, 1, 0);
    plait_scope_end(&s);
    count_up(e == -ETIMEDOUT ? FAILED : SERVED);
    return e;
}
PLAIT_TASK(impatient, struct plait_net_connection, void);

static int serve_impatiently(const int *listener, void *out)
{
    (void)out;
    return plait_net_serve(*listener, impatient, .limit = 1);
}
PLAIT_TASK(serve_impatiently, int, void);

// A peer that connects and says nothing takes its place only for so long.
CONFORM_LOCAL(half_open_peers)
{
    char place[PLAIT_NET_TEXT_BYTES], byte;
    int listener = listen_here(place), fds[4];
    plait_future *f;
    CHECK_INT(plait_submit(ex, &f, serve_impatiently, { listener }), ==, 0);
    for (int i = 0; i < 4; i++)
        fds[i] = plait_net_connect(place);
    for (int i = 0; i < 4; i++) {
        CHECK_INT(plait_io_recv(fds[i], &byte, 1, 0), ==, 0);
        CHECK_INT(close(fds[i]), ==, 0);
    }
    CHECK_INT(plait_net_stop(listener), ==, 0);
    finish(f, 0);
    CHECK_INT(count_of(FAILED), ==, 4);
    CHECK_INT(close(listener), ==, 0);
}

// ---- a full process ----------------------------------------------------------------------------

static void note(const struct plait_notice *n, void *arg)
{
    (void)arg;
    if (n->kind != PLAIT_NOTICE_ACCEPT)
        return;
    CHECK(strstr(n->message, "open files") != NULL);
    count_up(NOTICES);
}

/* Lets this process have `more` descriptors beyond those that it has. */
static void allow(int more, struct rlimit *before)
{
    int fds[8], most = 0;
    for (int i = 0; i < more; i++) {
        fds[i] = dup(STDERR_FILENO);
        most = fds[i] > most ? fds[i] : most;
    }
    for (int i = 0; i < more; i++)
        CHECK_INT(close(fds[i]), ==, 0);
    CHECK_INT(getrlimit(RLIMIT_NOFILE, before), ==, 0);
    struct rlimit now = { .rlim_cur = (rlim_t)most + 1, .rlim_max = before->rlim_max };
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &now), ==, 0);
}

static int64_t cpu_ns(void)
{
    struct timespec t;
    CHECK_INT(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t), ==, 0);
    return t.tv_sec * PLAIT_SECOND + t.tv_nsec;
}

CONFORM_LOCAL_BARE(descriptors_run_out)
{
    enum { N = 4, ROOM = 2 };
    char place[PLAIT_NET_TEXT_BYTES];
    plait_executor *ex;
    struct rlimit before;
    int fds[N];
    count_of(0); // opens the board
    CHECK_INT(OPEN_ON(&ex, on, .notice = note), ==, 0);
    int listener = listen_here(place);
    for (int i = 0; i < N; i++)
        fds[i] = call(place);
    allow(ROOM, &before);
    plait_future *f = start(ex, (struct serving){ .listener = listener });
    hear(fds[0]);
    hear(fds[1]);
    count_wait(NOTICES, 1);
    // It waits, and does not spin.
    int64_t used = cpu_ns();
    CHECK_INT(plait_sleep(250 * PLAIT_MILLISECOND), ==, 0);
    CHECK_INT(cpu_ns() - used, <, 125 * PLAIT_MILLISECOND);
    CHECK_INT(count_of(NOTICES), ==, 1);
    CHECK_INT(count_of(NOW), ==, ROOM);
    // Another goes, and the third comes in its place; the limit is lifted, and the fourth comes.
    CHECK_INT(plait_io_shutdown(fds[0], SHUT_WR), ==, 0);
    hear(fds[2]);
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &before), ==, 0);
    hear(fds[3]);
    for (int i = 1; i < N; i++)
        hang_up(fds[i]);
    CHECK_INT(close(fds[0]), ==, 0);
    CHECK_INT(plait_net_stop(listener), ==, 0);
    finish(f, 0);
    CHECK_INT(count_of(SERVED), ==, N);
    CHECK_INT(close(listener), ==, 0);
    CHECK_INT(plait_close(ex), ==, 0);
}

// A server without descriptors can be stopped and cancelled.
CONFORM_LOCAL_BARE(stopped_without_descriptors)
{
    for (int cancel = 0; cancel < 2; cancel++) {
        char place[PLAIT_NET_TEXT_BYTES];
        plait_executor *ex;
        struct rlimit before;
        unsigned notices = count_of(NOTICES);
        CHECK_INT(OPEN_ON(&ex, on, .notice = note), ==, 0);
        int listener = listen_here(place), fd = call(place);
        allow(0, &before);
        plait_future *f = start(ex, (struct serving){ .listener = listener });
        count_wait(NOTICES, notices + 1);
        if (cancel)
            CHECK_INT(plait_cancel(f), ==, 0);
        else
            CHECK_INT(plait_net_stop(listener), ==, 0);
        finish(f, cancel ? -ECANCELED : 0);
        CHECK_INT(setrlimit(RLIMIT_NOFILE, &before), ==, 0);
        CHECK_INT(close(fd), ==, 0);
        CHECK_INT(close(listener), ==, 0);
        CHECK_INT(plait_close(ex), ==, 0);
    }
}

// ---- misuse ------------------------------------------------------------------------------------

static int serve_badly(const int *which, void *out)
{
    int pair[2], e;
    (void)out;
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), ==, 0);
    int listener = plait_net_listen("127.0.0.1:0");
    CHECK_INT(listener, >=, 0);
    switch (*which) {
    case 0:
        e = plait_net_serve(pair[0], echo);
        break;
    case 1:
        e = plait_net_serve(-1, echo);
        break;
    case 2:
        e = plait_net_serve(listener, echo, .accept_flags = SOCK_CLOEXEC);
        break;
    case 3:
        e = plait_net_serve(listener, echo, .grace_ns = -1);
        break;
    default:
        CHECK_INT(plait_net_stop(listener), ==, 0);
        e = plait_net_serve(listener, echo); // stopped for good
    }
    close(pair[0]);
    close(pair[1]);
    close(listener);
    return e;
}
PLAIT_TASK(serve_badly, int, void);

CONFORM(what_cannot_be_served)
{
    for (int which = 0; which < 5; which++) {
        plait_future *f;
        CHECK_INT(plait_submit(ex, &f, serve_badly, { which }), ==, 0);
        CHECK_INT(plait_result(f, NULL), ==, -EINVAL);
        plait_free(f);
    }
    char place[PLAIT_NET_TEXT_BYTES];
    int listener = listen_here(place);
    CHECK_INT(plait_net_serve(listener, echo), ==, -EINVAL); // a plain thread, and no executor
    if (!place_shares(on))
        CHECK_INT(plait_net_serve(listener, echo, .ex = ex), ==, -ENOTSUP);
    CHECK_INT(plait_net_stop(-1), ==, -EBADF);
    CHECK_INT(plait_net_stop(STDIN_FILENO), <, 0);
    CHECK_INT(close(listener), ==, 0);
}
