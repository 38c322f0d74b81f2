// SPDX-License-Identifier: MIT
// beyond.c - loads that reach beyond the program: connections, child processes, tasks in worker
// processes, workers that die, executors that come and go, signals.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "soak/lib/soak.h"

// ---- connections

static int echo(const struct plait_net_connection *c, void *out)
{
    (void)out;
    char data[2048];
    ssize_t n;
    while ((n = plait_io_read(c->fd, data, sizeof data)) > 0) {
        int e = plait_io_write_all(c->fd, data, (size_t)n, NULL);
        if (e < 0)
            return e;
    }
    return (int)n;
}
PLAIT_TASK(echo, struct plait_net_connection, void);

int echo_listen(char place[PLAIT_NET_TEXT_BYTES])
{
    struct plait_net_address address;
    int fd = plait_net_listen("127.0.0.1:0");
    CHECK_INT(fd, >=, 0);
    CHECK_INT(plait_net_local(fd, &address), ==, 0);
    CHECK_INT(plait_net_format(&address, place, PLAIT_NET_TEXT_BYTES), >, 0);
    return fd;
}

int echo_serve(int listener, plait_executor *ex)
{
    return plait_net_serve(listener, echo, .ex = ex, .limit = 200);
}

static int send_and_compare(struct driver *d, int fd)
{
    char sent[1500], back[1500];
    size_t bytes = 1 + random_below(d, sizeof sent - 1);
    memset(sent, (int)(1 + random_below(d, 100)), bytes);
    int e = plait_io_write_all(fd, sent, bytes, NULL);
    for (size_t got = 0; e == 0 && got < bytes;) {
        ssize_t n = plait_io_read(fd, back + got, bytes - got);
        e = n < 0 ? (int)n : n == 0 ? -ECONNRESET : 0;
        got += n > 0 ? (size_t)n : 0;
    }
    CHECK(e < 0 || memcmp(sent, back, bytes) == 0);
    return e;
}

// Nothing comes unless something was sent.
static int wait_in_vain(struct driver *d, int fd)
{
    plait_scope s;
    char byte;
    CHECK_INT(plait_scope_begin(&s, d->here, .deadline = plait_after(PLAIT_MILLISECOND)), ==, 0);
    CHECK_INT(plait_io_read(fd, &byte, 1), ==, -ETIMEDOUT);
    CHECK_INT(plait_scope_end(&s), ==, -ETIMEDOUT);
    return 0;
}

// Closed with bytes unread: the server sees a reset.
static int leave_in_the_middle(int fd)
{
    char data[1500] = { 0 };
    int e = plait_io_write_all(fd, data, sizeof data, NULL);
    return e < 0 ? e : plait_io_poll(fd, 1 /* POLLIN */, PLAIT_NEVER) < 0;
}

static int send_half_closed(int fd)
{
    char data[1500] = { 0 };
    size_t back = 0;
    int e = plait_io_write_all(fd, data, sizeof data, NULL);
    if (e == 0)
        e = plait_io_shutdown(fd, SHUT_WR);
    ssize_t n = e;
    while (e == 0 && (n = plait_io_read(fd, data, sizeof data)) > 0)
        back += (size_t)n;
    CHECK(n < 0 || back == sizeof data);
    return (int)n;
}

int load_echo(struct driver *d)
{
    int fd = plait_net_connect(d->soak->place[random_below(d, LOCALS)], .nodelay = true);
    if (fd < 0)
        return fd;
    int e = 0;
    for (unsigned i = random_below(d, 8); e == 0 && i > 0; i--)
        e = send_and_compare(d, fd);
    unsigned end = random_below(d, 6);
    if (e == 0 && end == 0)
        e = wait_in_vain(d, fd);
    if (e == 0 && end == 1)
        e = leave_in_the_middle(fd);
    if (e == 0 && end == 2)
        e = send_half_closed(fd);
    int closed = plait_io_close(fd);
    return e < 0 ? e : closed;
}

// ---- child processes

int load_children(struct driver *d)
{
    struct plait_child_output o;
    char *cat[] = { "cat", NULL }, *sleep[] = { "sleep", "1000", NULL };
    static const char text[20000];
    if (random_below(d, 3) == 0) {
        int e = plait_child_run(&o, sleep, .deadline = plait_after(3 * PLAIT_MILLISECOND));
        plait_child_output_done(&o);
        return e == -ETIMEDOUT ? 0 : e < 0 ? e : -EPROTO;
    }
    int e = plait_child_run(&o, cat, .input = { text, 1 + random_below(d, sizeof text) });
    CHECK(e < 0 || (o.exit.status == 0 && o.out.bytes > 0));
    plait_child_output_done(&o);
    return e;
}

// ---- tasks in worker processes, with buffers in the shared heap

static int digest_buffer(plait_shared_buffer *const *b, uint64_t *out)
{
    *out = plait_digest(plait_shared_buffer_data(*b), plait_shared_buffer_bytes(*b));
    return 0;
}
PLAIT_TASK(digest_buffer, plait_shared_buffer *, uint64_t);

struct made {
    plait_shared_buffer *buffer;
    uint64_t digest;
};

static int make_buffer(const size_t *bytes, struct made *out)
{
    int e = plait_shared_buffer_new(&out->buffer, *bytes);
    if (e < 0)
        return e;
    memset(plait_shared_buffer_data(out->buffer), (int)(*bytes % 251), *bytes);
    out->digest = plait_digest(plait_shared_buffer_data(out->buffer), *bytes);
    plait_shared_buffer_give(out->buffer);
    return 0;
}
PLAIT_TASK(make_buffer, size_t, struct made);

static plait_executor *workers(struct driver *d)
{
    return random_below(d, 2) ? d->soak->processes : d->soak->bundles;
}

int load_buffers(struct driver *d)
{
    plait_shared_buffer *b;
    plait_future *there, *back;
    uint64_t digest;
    struct made made;
    size_t bytes = 1 + random_below(d, 300000);
    int e = plait_shared_buffer_new(&b, bytes);
    if (e < 0)
        return e;
    memset(plait_shared_buffer_data(b), (int)(bytes % 253), bytes);
    CHECK_INT(plait_submit(workers(d), &there, digest_buffer, { b }), ==, 0);
    CHECK_INT(plait_submit(workers(d), &back, make_buffer, { bytes }), ==, 0);
    e = plait_result(there, &digest);
    CHECK(e < 0 || digest == plait_digest(plait_shared_buffer_data(b), bytes));
    int other = plait_result(back, &made);
    if (other == 0) {
        CHECK(made.digest == plait_digest(plait_shared_buffer_data(made.buffer), bytes));
        plait_shared_buffer_unref(made.buffer);
    }
    plait_free(there);
    plait_free(back);
    plait_shared_buffer_unref(b);
    return e < 0 ? e : other;
}

// ---- workers that die

struct death {
    plait_shared_buffer *held;
    int how;
};

static int die(const struct death *d, void *out)
{
    (void)out;
    int e = plait_shared_buffer_ref(d->held);
    if (e < 0)
        return e;
    if (d->how == 0)
        kill(getpid(), SIGKILL);
    if (d->how == 1)
        _exit(3);
    for (volatile unsigned long n = 0;; n++) // until it is killed
        ;
}
PLAIT_TASK(die, struct death, void);

int load_kills(struct driver *d)
{
    plait_future *f;
    struct death death = { .how = (int)random_below(d, 3) };
    int e = plait_shared_buffer_new(&death.held, 5000);
    if (e < 0)
        return e;
    CHECK_INT(plait_submit_with(d->soak->processes, &f, die, &death,
                                .timeout_ns = death.how == 2 ? 5 * PLAIT_MILLISECOND : 0),
              ==, 0);
    e = plait_result(f, NULL);
    if (e == (death.how == 2 ? -ETIMEDOUT : -EOWNERDEAD)) {
        const struct plait_error *error = plait_error(f);
        CHECK(error && error->code == e && error->pid > 0);
        e = 0;
    }
    plait_free(f);
    plait_shared_buffer_unref(death.held);
    return e;
}

// ---- executors that come and go

static int answer(const int *n, int *out)
{
    *out = *n + 1;
    return plait_yield();
}
PLAIT_TASK(answer, int, int);

int load_opens(struct driver *d)
{
    static const enum plait_kind kinds[] = { PLAIT_FIBERS, PLAIT_THREADS, PLAIT_PROCESSES };
    plait_executor *ex;
    plait_future *f[5];
    int n = 0, e = plait_open(&ex, kinds[random_below(d, 20) ? random_below(d, 2) : 2],
                              .workers = d->turns % 2 ? 1 : 0, .io = random_below(d, 3));
    if (e < 0)
        return e;
    for (int i = 0; i < 5; i++)
        CHECK_INT(plait_submit(ex, &f[i], answer, { i }), ==, 0);
    for (int i = 0; i < 5; i++) {
        e = e == 0 ? plait_result(f[i], &n) : e;
        CHECK(e < 0 || n == i + 1);
        plait_free(f[i]);
    }
    int closed = plait_close(ex);
    return e < 0 ? e : closed;
}

// ---- signals

int load_signals(struct driver *d)
{
    (void)d;
    plait_signals *s;
    struct plait_signal which;
    int e = plait_signals_new(&s, SIGUSR2);
    if (e < 0)
        return e;
    kill(getpid(), SIGUSR2);
    e = plait_get(plait_signals_channel(s), &which);
    CHECK(e < 0 || which.number == SIGUSR2);
    plait_signals_free(s);
    return e;
}
