// SPDX-License-Identifier: MIT
// echo PLACE [CONNECTIONS]: sends everything back, to so many clients at a time (default 1024; more
// wait). A client that does not read is not read from. SIGTERM and SIGINT end it: connections that
// are open have five seconds to finish.
#include <plait.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

static int echo(const struct plait_net_connection *c, void *nothing)
{
    char data[4096];
    ssize_t n;
    (void)nothing;
    while ((n = plait_io_recv(c->fd, data, sizeof data, 0)) > 0)
        if ((n = plait_io_write_all(c->fd, data, (size_t)n, NULL)) < 0)
            break;
    return (int)n;
}
PLAIT_TASK(echo, struct plait_net_connection, void);

static int listener;

static void stop(int signal)
{
    (void)signal;
    plait_net_stop(listener);
}

/* A connection takes a descriptor. */
static void raise_limit(void)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static int fail(const char *what, int error)
{
    const char *why = plait_last_error();
    fprintf(stderr, "echo: %s: %s\n", what, why[0] ? why : plait_strerror(error));
    return 1;
}

int main(int count, char **words)
{
    plait_executor *ex;
    struct plait_net_address address;
    char text[PLAIT_NET_TEXT_BYTES];
    long limit = count > 2 ? strtol(words[2], NULL, 10) : 1024;
    if (count < 2 || limit < 1)
        return fail("PLACE [CONNECTIONS]", -EINVAL);
    raise_limit();
    int e = plait_open(&ex, PLAIT_FIBERS);
    if (e < 0)
        return fail("start", e);
    listener = plait_net_listen(words[1]);
    if (listener < 0)
        return fail(words[1], listener);
    signal(SIGTERM, stop);
    signal(SIGINT, stop);
    plait_net_local(listener, &address);
    plait_net_format(&address, text, sizeof text);
    dprintf(1, "listening on %s\n", text);
    e = plait_net_serve(listener, echo, .ex = ex, .limit = (unsigned)limit,
                        .grace_ns = 5 * PLAIT_SECOND);
    plait_io_close(listener);
    plait_close(ex);
    return e < 0 ? fail("serve", e) : 0;
}
