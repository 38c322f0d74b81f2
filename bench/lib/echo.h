// SPDX-License-Identifier: MIT
/*
 * echo.h - measures a TCP echo server: how much CPU it spends on one request.
 *
 * A server is a function that is given a listening socket and the number of connections that will come; it
 * returns when all of them have been closed by the other side. It runs in a process of its own, so its CPU
 * time is that of the process, helper threads included. The load comes from the calling process: on each
 * connection one message at a time, sent again as soon as it has come back. The clock of the server is read
 * after a warm-up and again at the end of the measured time, so that neither start nor end counts.
 */
#ifndef PLAIT_BENCH_ECHO_H
#define PLAIT_BENCH_ECHO_H

struct echo_server {
    const char *impl; // how the result is labelled
    int (*serve)(int listener,
                 int connections); // 0, or a negative errno (-ENOSYS: not possible here)
};

struct echo_load {
    int connections, message_bytes;
    double warm_up_s, measure_s;
};

struct echo_result {
    double cpu_us_per_request;
    double requests_per_s;
};

// One round. 0, or a negative errno: the server's own, or that of the load.
int echo_measure(const struct echo_server *server, const struct echo_load *load,
                 struct echo_result *result);

// `rounds` rounds of all servers in turn, so that a drift of the machine meets all alike; prints one JSON
// line a server with the medians. Returns 0, or the first negative errno that is not -ENOSYS.
int echo_compare(const struct echo_server *servers, int count, const struct echo_load *load,
                 int rounds);

#endif
