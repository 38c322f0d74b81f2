// SPDX-License-Identifier: MIT
// echo.c - measures a TCP echo server: how much CPU it spends on one request.
#include "echo.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double seconds_of(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int listen_anywhere(struct sockaddr_in *at)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    *at = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof *at;
    if (fd < 0 || bind(fd, (struct sockaddr *)at, len) < 0 || listen(fd, 4096) < 0 ||
        getsockname(fd, (struct sockaddr *)at, &len) < 0)
        return -errno;
    return fd;
}

// Server and load each on a CPU of its own: where they wander, the figures do too.
static void pin(int nth)
{
    static cpu_set_t allowed; // before the first pinning
    cpu_set_t one;
    if (CPU_COUNT(&allowed) == 0 && sched_getaffinity(0, sizeof allowed, &allowed) < 0)
        return;
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; cpu++)
        if (CPU_ISSET(cpu, &allowed) && nth-- == 0)
            CPU_SET(cpu, &one);
    if (CPU_COUNT(&allowed) > 1)
        sched_setaffinity(0, sizeof one, &one);
}

static pid_t start_server(echo_server *serve, int listener, int connections)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        pin(0);
        _exit(-serve(listener, connections));
    }
    return pid;
}

// One message back to its sender; false when the connection has ended.
static int turn(int fd, char *buf, int bytes)
{
    ssize_t n = recv(fd, buf, (size_t)bytes, MSG_DONTWAIT);
    if (n < 0)
        return errno == EAGAIN ? 0 : -errno;
    if (n != bytes)
        return -EPROTO; // messages of this size are not split on the loopback
    return send(fd, buf, (size_t)bytes, MSG_NOSIGNAL) == bytes ? 1 : -EPROTO;
}

static long run_until(int ep, double end, char *buf, int bytes)
{
    struct epoll_event events[256];
    long requests = 0;
    while (seconds_of(CLOCK_MONOTONIC) < end) {
        int n = epoll_wait(ep, events, 256, 100);
        for (int i = 0; i < n; i++) {
            int r = turn(events[i].data.fd, buf, bytes);
            if (r < 0)
                return r;
            requests += r;
        }
    }
    return requests;
}

static int generate(const struct sockaddr_in *at, clockid_t server, const struct echo_load *load,
                    struct echo_result *result)
{
    char *buf = calloc(1, (size_t)load->message_bytes);
    int *fds = calloc((size_t)load->connections, sizeof *fds);
    int ep = epoll_create1(EPOLL_CLOEXEC), err = 0, opened = 0;
    for (; opened < load->connections && !err; opened++) {
        int fd = fds[opened] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
        struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };
        if (connect(fd, (const struct sockaddr *)at, sizeof *at) < 0 ||
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0 ||
            epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event) < 0 ||
            send(fd, buf, (size_t)load->message_bytes, MSG_NOSIGNAL) != load->message_bytes)
            err = -errno;
    }
    double now = seconds_of(CLOCK_MONOTONIC);
    long n = err ? err : run_until(ep, now + load->warm_up_s, buf, load->message_bytes);
    double wall = seconds_of(CLOCK_MONOTONIC), cpu = seconds_of(server);
    if (n >= 0)
        n = run_until(ep, wall + load->measure_s, buf, load->message_bytes);
    cpu = seconds_of(server) - cpu;
    wall = seconds_of(CLOCK_MONOTONIC) - wall;
    if (n > 0)
        *result = (struct echo_result){ cpu * 1e6 / (double)n, (double)n / wall };
    else
        err = n < 0 ? (int)n : -ETIMEDOUT;
    while (opened > 0)
        close(fds[--opened]);
    close(ep);
    free(fds);
    free(buf);
    return err;
}

int echo_measure(echo_server *serve, const struct echo_load *load, struct echo_result *result)
{
    struct sockaddr_in at;
    int listener = listen_anywhere(&at);
    if (listener < 0)
        return listener;
    pin(1);
    pid_t pid = start_server(serve, listener, load->connections);
    close(listener);
    if (pid < 0)
        return -errno;
    clockid_t clock;
    int err = -clock_getcpuclockid(pid, &clock);
    if (!err)
        err = generate(&at, clock, load, result);
    int status = 0;
    if (err)
        kill(pid, SIGTERM); // it may wait for connections that never come
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) && WEXITSTATUS(status) ? -WEXITSTATUS(status) : err;
}
