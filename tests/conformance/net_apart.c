// SPDX-License-Identifier: MIT
// Serving with handlers wherever they can run, also in other processes, from a plain thread.
#include "conformance/conform.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { NOW, MOST, SERVED, NOTICES }; // counters

// Answers each byte with its process, until there are no more; ends with the process at an 'x'.
static int answer(const struct plait_net_connection *c, void *out)
{
    char byte;
    ssize_t n;
    (void)out;
    count_raise(MOST, count_up(NOW));
    while ((n = plait_io_recv(c->fd, &byte, 1, 0)) > 0) {
        if (byte == 'x')
            raise(SIGKILL);
        int pid = getpid();
        if ((n = plait_io_write_all(c->fd, &pid, sizeof pid, NULL)) < 0)
            break;
    }
    count_down(NOW);
    count_up(SERVED);
    return (int)n;
}
PLAIT_TASK_FDS(answer, struct plait_net_connection, void, PLAIT_FD_IN(fd));

static int undeclared(const struct plait_net_connection *c, void *out)
{
    return answer(c, out);
}
PLAIT_TASK(undeclared, struct plait_net_connection, void);

struct server {
    plait_executor *ex;
    int listener, code;
    unsigned limit;
    int64_t grace_ns, deadline_ns;
    char place[PLAIT_NET_TEXT_BYTES];
    pthread_t thread;
};

static void *serve(void *arg)
{
    struct server *s = arg;
    plait_scope scope;
    int64_t deadline = s->deadline_ns ? plait_after(s->deadline_ns) : 0;
    CHECK_INT(plait_scope_begin(&scope, s->ex, .deadline = deadline), ==, 0);
    s->code = plait_net_serve(s->listener, answer, .ex = s->ex, .limit = s->limit,
                              .grace_ns = s->grace_ns);
    plait_scope_end(&scope);
    return NULL;
}

static void start(struct server *s)
{
    struct plait_net_address a;
    s->listener = plait_net_listen("127.0.0.1:0");
    CHECK_INT(s->listener, >=, 0);
    CHECK_INT(plait_net_local(s->listener, &a), ==, 0);
    CHECK_INT(plait_net_format(&a, s->place, sizeof s->place), >, 0);
    CHECK_INT(pthread_create(&s->thread, NULL, serve, s), ==, 0);
}

static void join(struct server *s, int code)
{
    CHECK_INT(pthread_join(s->thread, NULL), ==, 0);
    CHECK_INT(s->code, ==, code);
    CHECK_INT(close(s->listener), ==, 0);
}

static int call(const struct server *s, char byte)
{
    int fd = plait_net_connect(s->place);
    CHECK_INT(fd, >=, 0);
    CHECK_INT(plait_io_send(fd, &byte, 1, 0), ==, 1);
    return fd;
}

static int hear(int fd)
{
    int pid = 0;
    CHECK_INT(plait_io_recv(fd, &pid, sizeof pid, MSG_WAITALL), ==, sizeof pid);
    return pid;
}

// The peer has gone, in whatever way.
static void hear_end(int fd)
{
    char byte;
    ssize_t n = plait_io_recv(fd, &byte, 1, 0);
    CHECK(n == 0 || n == -ECONNRESET);
    CHECK_INT(close(fd), ==, 0);
}

static void hang_up(int fd)
{
    CHECK_INT(plait_io_shutdown(fd, SHUT_WR), ==, 0);
    hear_end(fd);
}

CONFORM(connections_are_served_where_the_executor_is)
{
    enum { ROUNDS = 20, N = 4 };
    struct server s = { .ex = ex };
    start(&s);
    for (int round = 0; round < ROUNDS; round++) {
        int fds[N];
        for (int i = 0; i < N; i++)
            fds[i] = call(&s, 'a');
        for (int i = 0; i < N; i++)
            CHECK_INT(hear(fds[i]) == getpid(), ==, place_shares(on));
        for (int i = 0; i < N; i++)
            hang_up(fds[i]);
    }
    CHECK_INT(plait_net_stop(s.listener), ==, 0);
    join(&s, 0);
    CHECK_INT(count_of(SERVED), ==, ROUNDS * N);
    CHECK_INT(count_of(NOW), ==, 0);
}

CONFORM(no_more_than_the_limit_anywhere)
{
    enum { N = 9, LIMIT = 2 };
    struct server s = { .ex = ex, .limit = LIMIT };
    int fds[N];
    start(&s);
    for (int i = 0; i < N; i++)
        fds[i] = call(&s, 'a');
    for (int i = 0; i < LIMIT; i++)
        hear(fds[i]);
    for (int i = 0; i < N; i++) { // each that goes makes room for the next
        hang_up(fds[i]);
        if (i + LIMIT < N)
            hear(fds[i + LIMIT]);
    }
    CHECK_INT(plait_net_stop(s.listener), ==, 0);
    join(&s, 0);
    CHECK_INT(count_of(SERVED), ==, N);
    CHECK_INT(count_of(MOST), ==, LIMIT);
}

CONFORM(a_stop_waits_for_the_last)
{
    struct server s = { .ex = ex };
    start(&s);
    int fd = call(&s, 'a');
    hear(fd);
    CHECK_INT(plait_net_stop(s.listener), ==, 0);
    CHECK_INT(plait_io_send(fd, "b", 1, 0), ==, 1); // it goes on
    hear(fd);
    hang_up(fd);
    join(&s, 0);
    CHECK_INT(count_of(SERVED), ==, 1);
}

CONFORM(a_grace_and_a_deadline_end_handlers)
{
    for (int how = 0; how < 2; how++) {
        struct server s = { .ex = ex,
                            .grace_ns = how == 0 ? 20 * PLAIT_MILLISECOND : 0,
                            .deadline_ns = how == 1 ? 300 * PLAIT_MILLISECOND : 0 };
        start(&s);
        int fd = call(&s, 'a'), other = call(&s, 'a');
        hear(fd);
        hear(other);
        if (how == 0)
            CHECK_INT(plait_net_stop(s.listener), ==, 0);
        join(&s, -ETIMEDOUT);
        hear_end(fd);
        hear_end(other);
        CHECK_INT(count_of(NOW), ==, 0);
    }
}

static void count_notice(const struct plait_notice *n, void *arg)
{
    (void)arg;
    check_say("%s", n->message);
    if (n->kind == PLAIT_NOTICE_ACCEPT)
        count_up(NOTICES);
}

CONFORM_BARE(a_handlers_death_ends_its_connection)
{
    plait_executor *ex;
    if (on->kind != PLAIT_PROCESSES || on->tasks_per_worker > 1)
        SKIP("no worker dies here that holds one connection alone");
    CHECK_INT(OPEN_ON(&ex, on, .notice = count_notice), ==, 0);
    struct server s = { .ex = ex };
    start(&s);
    int patient = call(&s, 'a');
    hear(patient);
    for (int i = 0; i < 10; i++)
        hear_end(call(&s, 'x'));
    CHECK_INT(plait_io_send(patient, "a", 1, 0), ==, 1);
    hear(patient);
    hang_up(patient);
    CHECK_INT(plait_net_stop(s.listener), ==, 0);
    join(&s, 0);
    CHECK_INT(count_of(SERVED), ==, 1);
    CHECK_INT(plait_close(ex), ==, 0);
}

CONFORM(a_handler_elsewhere_is_declared_for_it)
{
    int listener = plait_net_listen("127.0.0.1:0");
    CHECK_INT(listener, >=, 0);
    CHECK_INT(plait_net_stop(listener), ==, 0);
    CHECK_INT(plait_net_serve(listener, undeclared, .ex = ex), ==, -EINVAL); // it was stopped
    CHECK_INT(close(listener), ==, 0);
    if (place_shares(on))
        return;
    listener = plait_net_listen("127.0.0.1:0");
    CHECK_INT(listener, >=, 0);
    CHECK_INT(plait_net_serve(listener, undeclared, .ex = ex), ==, -ENOTSUP);
    CHECK(strstr(plait_last_error(), "PLAIT_FD_IN(fd)"));
    CHECK_INT(close(listener), ==, 0);
}
