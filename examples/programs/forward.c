// SPDX-License-Identifier: MIT
// forward PLACE TARGET [IDLE_MS]: passes each connection to PLACE on to TARGET, in both directions,
// each of which may end by itself. The target has five seconds to answer; a pair between which
// nothing moves for IDLE_MS (default 60000) is cut. An end that is not orderly is passed on as a
// reset, so that nobody takes a part for the whole.
#include <plait.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

static int listener;
static int64_t idle_ns = 60 * PLAIT_SECOND;

struct direction {
    int from, to;
    int64_t *moved; /* when something was last passed on, in either direction */
};

/* Waits until there is something, for as long as something moves between the two. */
static int wait_for(const struct direction *d)
{
    int e = -ETIMEDOUT;
    while (e == -ETIMEDOUT && plait_now() < *d->moved + idle_ns && plait_cancelled() == 0)
        e = plait_io_poll(d->from, POLLIN, *d->moved + idle_ns);
    return e;
}

static int pass(const struct direction *d, void *nothing)
{
    char data[1 << 14];
    ssize_t n;
    int e;
    (void)nothing;
    while ((e = wait_for(d)) >= 0 && (n = plait_io_recv(d->from, data, sizeof data, 0)) != 0) {
        plait_scope s;
        if (n < 0)
            return (int)n;
        plait_scope_begin(&s, NULL, .deadline = plait_after(idle_ns));
        e = plait_io_write_all(d->to, data, (size_t)n, NULL);
        plait_scope_end(&s);
        if (e < 0)
            return e;
        *d->moved = plait_now();
    }
    if (e >= 0)
        shutdown(d->to, SHUT_WR); /* the other direction goes on */
    return e < 0 ? e : 0;
}
PLAIT_TASK(pass, struct direction, void);

static int connect_to(const char *target)
{
    plait_scope s;
    plait_scope_begin(&s, NULL, .deadline = plait_after(5 * PLAIT_SECOND));
    int fd = plait_net_connect(target, .nodelay = true);
    plait_scope_end(&s);
    return fd;
}

static int serve(const struct plait_net_connection *c, void *nothing)
{
    const struct linger none = { .l_onoff = 1 };
    plait_scope s;
    int64_t moved = plait_now();
    int e, to = connect_to(c->arg);
    (void)nothing;
    if ((e = to) >= 0) {
        plait_scope_begin(&s, NULL);
        plait_go(&s, NULL, pass, { c->fd, to, &moved });
        plait_go(&s, NULL, pass, { to, c->fd, &moved });
        e = plait_scope_end(&s); /* one that fails cancels the other */
    }
    if (e < 0) { /* closing resets */
        fprintf(stderr, "forward: %s\n", plait_strerror(e));
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
        setsockopt(to, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    }
    if (to >= 0)
        plait_io_close(to);
    return e;
}
PLAIT_TASK(serve, struct plait_net_connection, void);

static void stop(int signal)
{
    (void)signal;
    plait_net_stop(listener);
}

int main(int count, char **words)
{
    plait_executor *ex;
    struct plait_net_address address;
    char text[PLAIT_NET_TEXT_BYTES];
    idle_ns = count > 3 ? atol(words[3]) * PLAIT_MILLISECOND : idle_ns;
    if (count < 3 || plait_open(&ex, PLAIT_FIBERS) < 0)
        return 2;
    listener = plait_net_listen(words[1], .nodelay = true);
    if (listener < 0 || plait_net_local(listener, &address) < 0 ||
        plait_net_format(&address, text, sizeof text) < 0) {
        fprintf(stderr, "forward: %s\n", plait_last_error());
        return 1;
    }
    signal(SIGTERM, stop);
    dprintf(1, "listening on %s\n", text);
    int e = plait_net_serve(listener, serve, .ex = ex, .arg = words[2]);
    plait_io_close(listener);
    plait_close(ex);
    return e < 0;
}
