// SPDX-License-Identifier: MIT
// chat PLACE: what a client writes, everybody reads; its first line is its name. For each one
// task reads and another writes, from a queue of QUEUED lines: who does not read is turned out, not
// waited for. SIGTERM ends it, with a goodbye.
#include <plait.h>
#include <stdio.h>
#include <string.h>

enum { MEMBERS = 1000, LINE = 500, NAME = 32, TEXT = NAME + LINE + 20, QUEUED = 64 };
struct member {
    int fd;
    char name[NAME];      /* "": it has not said */
    plait_channel *lines; /* for it to read */
};

/* Only touched by fibers of one loop, and not while they wait: no lock is needed. */
static struct member *members[MEMBERS];
static int listener, ends;

static void tell(const char *format, const char *a, const char *b)
{
    char text[TEXT];
    snprintf(text, sizeof text, format, a, b);
    for (int i = 0; i < MEMBERS; i++)
        if (members[i] && *members[i]->name && plait_try_put(members[i]->lines, text) == -EAGAIN)
            shutdown(members[i]->fd, SHUT_RDWR); /* too slow: ends what reads and what writes */
}

static int write_lines(struct member *const *m, void *nothing)
{
    char text[TEXT];
    plait_scope s;
    (void)nothing;
    for (int e = 0; e == 0 && plait_get((*m)->lines, text) == 0;) {
        plait_scope_begin(&s, NULL, .deadline = plait_after(10 * PLAIT_SECOND));
        e = plait_io_write_all((*m)->fd, text, strlen(text), NULL);
        plait_scope_end(&s);
    }
    shutdown((*m)->fd, SHUT_RDWR); /* ends the reading too */
    return 0;
}
PLAIT_TASK(write_lines, struct member *, void);

static void read_lines(struct member *m, plait_bufio *in)
{
    struct plait_span line;
    if (plait_bufio_read_line(in, &line) != 1 || line.bytes >= NAME || line.bytes == 0)
        return;
    memcpy(m->name, line.data, line.bytes);
    tell("* %s is here\n", m->name, NULL);
    while (plait_bufio_read_line(in, &line) == 1)
        tell("%s: %s\n", m->name, line.data);
    tell("* %s has left\n", m->name, NULL);
}

static int serve(const struct plait_net_connection *c, void *nothing)
{
    struct member m = { .fd = c->fd };
    plait_bufio *in = NULL;
    int i = 0, e = plait_channel_new(&m.lines, TEXT, .capacity = QUEUED);
    (void)nothing;
    if (e == 0 && (e = plait_bufio_open(&in, c->fd, .limit = LINE, .keep_open = true)) == 0) {
        plait_scope s;
        while (members[i]) /* the limit of the server is MEMBERS */
            i++;
        members[i] = &m;
        if (ends) /* it was accepted in the last moment */
            shutdown(c->fd, SHUT_RD);
        plait_scope_begin(&s, NULL);
        plait_go(&s, NULL, write_lines, { &m });
        read_lines(&m, in);
        members[i] = NULL;
        plait_channel_close(m.lines); /* what is in it is still written */
        e = plait_scope_end(&s);
    }
    plait_bufio_close(in);
    plait_channel_free(m.lines);
    return e;
}
PLAIT_TASK(serve, struct plait_net_connection, void);

static int stop(plait_channel *const *signals, void *nothing)
{
    struct plait_signal which;
    (void)nothing;
    plait_get(*signals, &which); /* or serving has failed */
    ends = 1;
    tell("* the server ends\n", NULL, NULL);
    for (int i = 0; i < MEMBERS; i++)
        if (members[i])
            shutdown(members[i]->fd, SHUT_RD); /* what has come is still read */
    return plait_net_stop(listener);
}
PLAIT_TASK(stop, plait_channel *, void);

int main(int n, char **words)
{
    plait_executor *ex;
    plait_signals *signals;
    plait_scope s;
    struct plait_net_address address;
    char text[PLAIT_NET_TEXT_BYTES];
    if (n != 2 || plait_open(&ex, PLAIT_FIBERS) < 0 || plait_signals_new(&signals, SIGTERM) < 0 ||
        (listener = plait_net_listen(words[1], .nodelay = true)) < 0 ||
        plait_net_local(listener, &address) < 0 ||
        plait_net_format(&address, text, sizeof text) < 0) {
        fprintf(stderr, "chat PLACE: %s\n", plait_last_error());
        return 1;
    }
    dprintf(1, "listening on %s\n", text);
    plait_scope_begin(&s, ex);
    plait_go(&s, NULL, stop, { plait_signals_channel(signals) });
    int e = plait_net_serve(listener, serve, .ex = ex, .limit = MEMBERS);
    plait_scope_cancel(&s);
    plait_scope_end(&s);
    plait_io_close(listener);
    plait_signals_free(signals);
    plait_close(ex);
    return e < 0;
}
