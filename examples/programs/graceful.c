// SPDX-License-Identifier: MIT
// graceful PLACE: counts lines. A client sends names of files, a line each, and gets an answer for
// each: LINES BYTES NAME. SIGTERM ends it gracefully: no more connections, and of those that are
// there no more requests; what has come until then is answered, however long it takes.
#include <fcntl.h>
#include <plait.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

enum { CONNECTIONS = 100 };

struct server {
    plait_channel *signals;
    int listener;
    bool ends;
    int open[CONNECTIONS]; /* 0: free */
};

/* What is there of a file, or of a pipe: its lines and bytes. */
static int count(const char *name, long *lines, long *bytes)
{
    char data[1 << 14];
    int fd = plait_io_open(name, O_RDONLY, 0);
    ssize_t n = fd;
    for (*lines = *bytes = 0; n >= 0 && (n = plait_io_read(fd, data, sizeof data)) > 0;) {
        *bytes += n;
        for (ssize_t i = 0; i < n; i++)
            *lines += data[i] == '\n';
    }
    if (fd >= 0)
        plait_io_close(fd);
    return (int)n;
}

static int answer(plait_bufio *b)
{
    struct plait_span name;
    int e;
    while ((e = plait_bufio_read_line(b, &name)) == 1) {
        long lines, bytes;
        int wrong = count(name.data, &lines, &bytes);
        if (wrong < 0)
            e = plait_bufio_printf(b, "%s: %s\n", (const char *)name.data, plait_strerror(wrong));
        else
            e = plait_bufio_printf(b, "%ld %ld %s\n", lines, bytes, (const char *)name.data);
        if (e < 0 || (e = plait_bufio_flush(b)) < 0)
            break;
    }
    return e;
}

/* All handlers and stop() are fibers of one loop, so they need no lock for the server. */
static int serve(const struct plait_net_connection *c, void *nothing)
{
    struct server *server = c->arg;
    plait_bufio *b;
    int i = 0, e = plait_bufio_open(&b, c->fd, .keep_open = true);
    (void)nothing;
    if (e < 0)
        return e;
    while (server->open[i] > 0)
        i++; /* there are at most CONNECTIONS */
    server->open[i] = c->fd;
    if (server->ends)
        shutdown(c->fd, SHUT_RD); /* accepted in the last moment */
    e = answer(b);
    server->open[i] = 0;
    plait_bufio_close(b);
    return e;
}
PLAIT_TASK(serve, struct plait_net_connection, void);

/* A connection that is shut down for reading gives out what has come, and then ends. */
static int stop(struct server *const *in, void *nothing)
{
    struct server *server = *in;
    struct plait_signal which;
    (void)nothing;
    plait_get(server->signals, &which); /* or serving has failed */
    server->ends = true;
    for (int i = 0; i < CONNECTIONS; i++)
        if (server->open[i] > 0)
            shutdown(server->open[i], SHUT_RD);
    return plait_net_stop(server->listener);
}
PLAIT_TASK(stop, struct server *, void);

int main(int words, char **word)
{
    plait_executor *ex;
    plait_signals *signals;
    plait_scope s;
    struct server server = { 0 };
    struct plait_net_address address;
    char text[PLAIT_NET_TEXT_BYTES];
    if (words != 2 || plait_open(&ex, PLAIT_FIBERS) < 0 || plait_signals_new(&signals, SIGTERM) < 0)
        return 2;
    server.signals = plait_signals_channel(signals);
    server.listener = plait_net_listen(word[1]);
    if (server.listener < 0 || plait_net_local(server.listener, &address) < 0 ||
        plait_net_format(&address, text, sizeof text) < 0) {
        fprintf(stderr, "graceful: %s\n", plait_last_error());
        return 1;
    }
    dprintf(1, "listening on %s\n", text);
    plait_scope_begin(&s, ex);
    plait_go(&s, NULL, stop, { &server });
    int e = plait_net_serve(server.listener, serve, .ex = ex, .arg = &server, .limit = CONNECTIONS);
    plait_scope_cancel(&s); /* unless stop() has ended */
    plait_scope_end(&s);
    plait_io_close(server.listener);
    plait_signals_free(signals);
    plait_close(ex);
    return e < 0;
}
