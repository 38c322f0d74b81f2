// SPDX-License-Identifier: MIT
// A connect to a Unix socket whose backlog is full: it waits for room, and every end finds it.
#include <sys/un.h>
#include <unistd.h>

#include "conformance/tasks.h"

struct server {
    struct sockaddr_un address;
    socklen_t length;
    int fd, crowd[8], waiting; // what fills the backlog
};

static int client(int flags)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    CHECK(fd >= 0);
    return fd;
}

static void listen_to_a_crowd(struct server *s)
{
    *s = (struct server){ .fd = client(0), .length = sizeof s->address };
    s->address.sun_family = AF_UNIX;
    // An abstract address that the kernel chooses.
    CHECK_INT(bind(s->fd, (struct sockaddr *)&s->address, sizeof(sa_family_t)), ==, 0);
    CHECK_INT(listen(s->fd, 1), ==, 0);
    CHECK_INT(getsockname(s->fd, (struct sockaddr *)&s->address, &s->length), ==, 0);
    for (;;) {
        int fd = client(SOCK_NONBLOCK);
        if (connect(fd, (struct sockaddr *)&s->address, s->length) < 0) {
            CHECK_INT(errno, ==, EAGAIN);
            close(fd);
            return;
        }
        CHECK_INT(s->waiting, <, 8);
        s->crowd[s->waiting++] = fd;
    }
}

static void send_home(struct server *s)
{
    for (int i = 0; i < s->waiting; i++)
        close(s->crowd[i]);
    close(s->fd);
}

static int connect_to(struct server *const *s, void *out)
{
    (void)out;
    int fd = client(0);
    count_up(0);
    int e = plait_io_connect(fd, (struct sockaddr *)&(*s)->address, (*s)->length);
    CHECK_INT(plait_io_close(fd), ==, 0);
    return e;
}
PLAIT_TASK(connect_to, struct server *, void);

CONFORM_LOCAL(a_full_backlog_is_waited_for)
{
    struct server s;
    plait_future *f;
    listen_to_a_crowd(&s);
    CHECK_INT(plait_submit(ex, &f, connect_to, { &s }), ==, 0);
    count_wait(0, 1);
    CHECK(!plait_done(f));
    for (int i = 0; i < s.waiting + 1; i++) {
        int fd = plait_io_accept(s.fd, NULL, NULL, 0);
        CHECK(fd >= 0);
        close(fd);
    }
    CHECK_INT(plait_result(f, NULL), ==, 0);
    plait_free(f);
    send_home(&s);
}

/* Many at a time, so that some are cancelled while the kernel has them in its hands. */
CONFORM_LOCAL(waiting_for_room_can_be_cancelled)
{
    enum { CLIENTS = 20, ROUNDS = 10 };
    struct server s;
    plait_scope scope;
    listen_to_a_crowd(&s);
    for (int round = 1; round <= ROUNDS; round++) {
        CHECK_INT(plait_scope_begin(&scope, ex), ==, 0);
        for (int i = 0; i < CLIENTS; i++)
            CHECK_INT(plait_go(&scope, NULL, connect_to, { &s }), ==, 0);
        count_wait(0, (unsigned)(round * CLIENTS));
        plait_scope_cancel(&scope);
        CHECK_INT(plait_scope_end(&scope), ==, -ECANCELED);
    }
    send_home(&s);
}

CONFORM_LOCAL(waiting_for_room_ends_at_the_deadline)
{
    struct server s;
    struct server *its = &s;
    plait_scope scope;
    listen_to_a_crowd(&s);
    CHECK_INT(plait_scope_begin(&scope, ex, .deadline = plait_after(5 * PLAIT_MILLISECOND)), ==, 0);
    CHECK_INT(connect_to(&its, NULL), ==, -ETIMEDOUT);
    CHECK_INT(plait_scope_end(&scope), ==, -ETIMEDOUT);
    plait_future *f;
    CHECK_INT(plait_submit_with(ex, &f, connect_to, &its, .timeout_ns = 5 * PLAIT_MILLISECOND), ==,
              0);
    CHECK_INT(plait_result(f, NULL), ==, -ETIMEDOUT);
    plait_free(f);
    send_home(&s);
}
