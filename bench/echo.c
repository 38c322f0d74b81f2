// SPDX-License-Identifier: MIT
/*
 * echo.c - a TCP echo server, a fiber a connection: CPU us of the server a request of 64 bytes.
 *
 * The floor is a server written to io_uring directly, with multishot receives; the other raw ones
 * show what each of its means is worth. Server and load have a CPU each.
 *
 * usage: bench_echo [--rounds N] [--size MILLISECONDS] [--only WORD]
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "lib/bench.h"
#include "lib/echo.h"
#include "lib/executors.h"

static int converse(const int *in, void *out)
{
    char buf[256];
    int fd = *in, one = 1;
    ssize_t n = setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0 ? -errno : 1;
    (void)out;
    while (n > 0) {
        n = plait_io_recv(fd, buf, sizeof buf, 0);
        if (n > 0)
            n = plait_io_write_all(fd, buf, (size_t)n, NULL) < 0 ? -EPIPE : n;
    }
    plait_io_close(fd);
    return 0;
}
PLAIT_TASK(converse, int, void);

struct job {
    int listener, connections;
};

static int serve(const struct job *job, void *out)
{
    plait_scope s;
    int err = plait_scope_begin(&s, NULL);
    (void)out;
    for (int i = 0; i < job->connections && err >= 0; i++) {
        int fd = plait_io_accept(job->listener, NULL, NULL, 0);
        err = fd < 0 ? fd : plait_go(&s, NULL, converse, { fd });
    }
    int failed = plait_scope_end(&s);
    return err < 0 ? err : failed;
}
PLAIT_TASK(serve, struct job, void);

static int serve_on(enum plait_io_backend io, int listener, int connections)
{
    plait_executor *ex;
    int err = plait_open(&ex, PLAIT_FIBERS, .io = io);
    if (err == -ENOSYS || err == -EPERM)
        return -ENOTSUP;
    if (err < 0)
        return err;
    struct job job = { listener, connections };
    err = bench_run(ex, serve, &job, NULL);
    plait_close(ex);
    return err;
}

static int plait_uring(int listener, int connections)
{
    return serve_on(PLAIT_IO_URING, listener, connections);
}

static int plait_epoll(int listener, int connections)
{
    return serve_on(PLAIT_IO_EPOLL, listener, connections);
}

static echo_server *const servers[] = { plait_uring,        plait_epoll,       echo_serve_multishot,
                                        echo_serve_oneshot, echo_serve_direct, echo_serve_epoll };

static int measure(const struct bench_case *c, long milliseconds, double *us, int connections)
{
    struct echo_load load = { .connections = connections,
                              .message_bytes = 64,
                              .warm_up_s = 0.2,
                              .measure_s = (double)milliseconds / 1000 };
    struct echo_result r;
    int err = echo_measure(servers[c->arg], &load, &r);
    *us = r.cpu_us_per_request;
    return err == -ENOSYS || err == -EPERM ? -ENOTSUP : err;
}

static int few(const struct bench_case *c, long milliseconds, double *us)
{
    return measure(c, milliseconds, us, 64);
}

static int many(const struct bench_case *c, long milliseconds, double *us)
{
    return measure(c, milliseconds, us, 1000);
}

int main(int argc, char **argv)
{
    static const struct bench_case cases[] = {
        { "64 connections", "plait", "us", 1, few, 0 },
        { "64 connections", "plait epoll", "us", 1, few, 1 },
        { "64 connections", "floor", "us", 1, few, 2 },
        { "64 connections", "raw oneshot", "us", 1, few, 3 },
        { "64 connections", "raw direct", "us", 1, few, 4 },
        { "64 connections", "raw epoll", "us", 1, few, 5 },
        { "1000 connections", "plait", "us", 1, many, 0 },
        { "1000 connections", "plait epoll", "us", 1, many, 1 },
        { "1000 connections", "floor", "us", 1, many, 2 },
        { "1000 connections", "raw epoll", "us", 1, many, 5 },
    };
    struct bench_options o = bench_arguments(argc, argv, 1000, 5);
    return bench_compare("echo", cases, sizeof cases / sizeof *cases, &o);
}
