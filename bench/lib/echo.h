// SPDX-License-Identifier: MIT
/*
 * echo.h - measures a TCP echo server: how much CPU it spends on one request.
 *
 * A server is a function that is given a listening socket and the number of connections that will
 * come; it returns when all of them have been closed by the other side. It runs in a process of its
 * own, so its CPU time is that of the process, helper threads included. The load comes from the
 * calling process: on each connection one message at a time, sent again as soon as it has come
 * back. The clock of the server is read after a warm-up and again at the end of the measured time,
 * so that neither start nor end counts.
 */
#ifndef PLAIT_BENCH_ECHO_H
#define PLAIT_BENCH_ECHO_H

/* 0, or a negative errno (-ENOTSUP: not possible here). */
typedef int echo_server(int listener, int connections);

struct echo_load {
    int connections, message_bytes;
    double warm_up_s, measure_s;
};

struct echo_result {
    double cpu_us_per_request;
    double requests_per_s;
};

/* Measures once. 0, or a negative errno: the server's own, or that of the load. */
int echo_measure(echo_server *serve, const struct echo_load *load, struct echo_result *result);

/* Servers without plait; echo_raw.c says how they differ. */
echo_server echo_serve_multishot, echo_serve_oneshot, echo_serve_direct, echo_serve_epoll;

#endif
