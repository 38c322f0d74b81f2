// SPDX-License-Identifier: MIT
// pages.c - a web server that counts. It runs on one event loop: its counters need no lock, except
// that the test reads two of them meanwhile.
#include "faults/lib/pages.h"
#include "check.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct pages {
    plait_executor *ex;
    plait_future *serving;
    int listener;
    uint16_t port;
    int together, now;
    plait_event gathered; // `together` requests have been in flight at once
    _Atomic int most, served;
    struct pages_client clients[PAGES_CLIENTS];
};

static struct pages_client *client_of(struct pages *p, int pid)
{
    for (int i = 0; i < PAGES_CLIENTS; i++) {
        if (p->clients[i].pid == 0)
            p->clients[i].pid = pid;
        if (p->clients[i].pid == pid)
            return &p->clients[i];
    }
    FAIL("more than %d clients", PAGES_CLIENTS);
}

// Reads a request to its empty line.
static int read_request(int fd, int *pid, int64_t *number)
{
    char text[256];
    size_t have = 0;
    do {
        ssize_t n = plait_io_recv(fd, text + have, sizeof text - 1 - have, 0);
        if (n <= 0)
            return n < 0 ? (int)n : -EPIPE;
        have += (size_t)n;
        text[have] = 0;
    } while (!strstr(text, "\r\n\r\n"));
    CHECK_INT(sscanf(text, "GET /%d/%" SCNd64 " HTTP/1.0\r\n", pid, number), ==, 2);
    return 0;
}

static int answer(const struct plait_net_connection *c, void *out)
{
    struct pages *p = c->arg;
    int pid;
    int64_t number;
    (void)out;
    int e = read_request(c->fd, &pid, &number);
    if (e < 0)
        return e;
    struct pages_client *client = client_of(p, pid);
    if (++client->now > client->most)
        client->most = client->now;
    if (++p->now > atomic_load(&p->most))
        atomic_store(&p->most, p->now);
    if (p->now >= p->together)
        plait_event_set(&p->gathered);
    e = plait_event_wait(&p->gathered, PLAIT_NEVER);
    if (e == 0)
        e = plait_sleep(number * 7919 % 2000 * PLAIT_MICROSECOND);
    client->now--;
    p->now--;
    if (e < 0)
        return e;
    char text[128];
    int length =
        snprintf(text, sizeof text,
                 "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n%" PRId64 "\n", number);
    client->served++;
    atomic_fetch_add(&p->served, 1);
    return plait_io_write_all(c->fd, text, (size_t)length, NULL);
}
PLAIT_TASK(answer, struct plait_net_connection, void);

static int serve(struct pages *const *in, void *out)
{
    struct pages *p = *in;
    (void)out;
    return plait_net_serve(p->listener, answer, .arg = p, .limit = 4096);
}
PLAIT_TASK(serve, struct pages *, void);

struct pages *pages_start(int together)
{
    struct pages *p = calloc(1, sizeof *p);
    struct plait_net_address a;
    CHECK(p != NULL);
    p->together = together;
    CHECK_INT(plait_open(&p->ex, PLAIT_FIBERS, .name = "pages"), ==, 0);
    p->listener = plait_net_listen("127.0.0.1:0", .backlog = 4096);
    CHECK_INT(p->listener, >=, 0);
    CHECK_INT(plait_net_local(p->listener, &a), ==, 0);
    p->port = ntohs(a.v4.sin_port);
    CHECK_INT(plait_submit(p->ex, &p->serving, serve, { p }), ==, 0);
    return p;
}

void pages_stop(struct pages *p)
{
    CHECK_INT(plait_net_stop(p->listener), ==, 0);
    CHECK_INT(plait_result(p->serving, NULL), ==, 0);
    plait_free(p->serving);
    CHECK_INT(plait_close(p->ex), ==, 0);
    close(p->listener);
}

void pages_free(struct pages *p)
{
    free(p);
}

uint16_t pages_port(const struct pages *p)
{
    return p->port;
}

int pages_most(const struct pages *p)
{
    return atomic_load(&p->most);
}

int pages_served(const struct pages *p)
{
    return atomic_load(&p->served);
}

const struct pages_client *pages_client(const struct pages *p, int i)
{
    return i < PAGES_CLIENTS && p->clients[i].pid ? &p->clients[i] : NULL;
}

// ---- the client's half

static int64_t converse(int fd, int64_t number)
{
    char text[256];
    int length =
        snprintf(text, sizeof text, "GET /%d/%" PRId64 " HTTP/1.0\r\n\r\n", (int)getpid(), number);
    int e = plait_io_write_all(fd, text, (size_t)length, NULL);
    if (e < 0)
        return e;
    size_t have = 0;
    ssize_t n;
    while ((n = plait_io_recv(fd, text + have, sizeof text - 1 - have, 0)) > 0)
        have += (size_t)n;
    if (n < 0)
        return n;
    text[have] = 0;
    const char *body = strstr(text, "\r\n\r\n");
    if (strncmp(text, "HTTP/1.0 200 ", 13) != 0 || !body || text[have - 1] != '\n')
        return -EBADMSG;
    return strtoll(body + 4, NULL, 10);
}

int64_t pages_fetch(uint16_t port, int64_t number)
{
    char place[PLAIT_NET_TEXT_BYTES];
    snprintf(place, sizeof place, "127.0.0.1:%u", port);
    int fd = plait_net_connect(place);
    if (fd < 0)
        return fd;
    int64_t got = converse(fd, number);
    int e = plait_io_close(fd);
    return got < 0 || e == 0 ? got : e;
}
