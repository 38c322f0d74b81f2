// SPDX-License-Identifier: MIT
/*
 * connect.c - connecting to a place, several addresses at once where need be (RFC 8305).
 *
 * DESIGN
 *   The attempts are sockets that connect without blocking, all in one poller, and the poller's
 *   own descriptor is what the calling strand waits for, until the next address is due. So the same
 *   code serves fibers and plain threads, one wait covers all attempts, and what is cancelled or
 *   has lost the race is only closed: nothing in the loop refers to it.
 *
 *   Attempts start in order: the first at once, the next when the one before has failed or when
 *   nothing has come of it for `delay`. The error that is told is that of the first address, but
 *   one that had no route there says less than any other.
 */
#include "io/place.h"

#include "os/clock.h"
#include "os/ipc.h"
#include "os/socket.h"
#include <netinet/tcp.h>
#include <plait/io.h>
#include <plait/scope.h>
#include <poll.h>

struct race {
    const struct plait_net_address *addresses;
    int count, next;
    int fds[PLAIT_NET_ADDRESSES_MAX]; /* -1: ended */
    int under_way;
    int error;
    struct pl_poller poller;
    const struct plait_net_connect_options *options;
};

static bool says_little(int error)
{
    return error == 0 || error == -ENETUNREACH || error == -EHOSTUNREACH ||
           error == -EADDRNOTAVAIL || error == -EAFNOSUPPORT;
}

static void note(struct race *r, int error)
{
    if (r->error == 0 || (says_little(r->error) && !says_little(error)))
        r->error = error;
}

static int open_socket(const struct plait_net_address *a, const struct plait_net_connect_options *o)
{
    int fd = pl_socket_new(a->any.sa_family, o->datagram ? SOCK_DGRAM : SOCK_STREAM);
    if (fd < 0 || !o->nodelay || o->datagram || pl_is_local(a))
        return fd;
    int e = pl_socket_set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (e == 0)
        return fd;
    pl_fd_close(fd);
    return e;
}

/* Starts with the next address. Its index when it is connected already; -1: it is under way, or has
 * failed. */
static int start_next(struct race *r)
{
    int i = r->next++;
    int fd = r->fds[i] = open_socket(&r->addresses[i], r->options);
    if (fd < 0) {
        note(r, fd);
        return -1;
    }
    int e = pl_socket_connect(fd, &r->addresses[i]);
    if (e == 0)
        return i;
    if (e == -EINPROGRESS)
        e = pl_poller_watch(&r->poller, fd, true, (uint64_t)i);
    if (e == 0) {
        r->under_way++;
        return -1;
    }
    note(r, e);
    pl_fd_close(fd);
    r->fds[i] = -1;
    return -1;
}

/* Looks at those that have ended. The index of one that is connected, or -1. */
static int harvest(struct race *r)
{
    uint64_t tags[PLAIT_NET_ADDRESSES_MAX];
    int n = pl_poller_wait(&r->poller, tags, PLAIT_NET_ADDRESSES_MAX, 0);
    for (int i = 0; i < n; i++) {
        int e = pl_socket_error(r->fds[tags[i]]);
        if (e == 0)
            return (int)tags[i];
        note(r, e);
        pl_fd_close(r->fds[tags[i]]);
        r->fds[tags[i]] = -1;
        r->under_way--;
    }
    return -1;
}

/* The index of the first that is connected, or a negative errno. */
static int run_race(struct race *r)
{
    int64_t due = 0;
    for (;;) {
        while (r->next < r->count && (r->under_way == 0 || pl_now() >= due)) {
            int before = r->under_way, won = start_next(r);
            if (won >= 0)
                return won;
            due = r->under_way > before ? pl_clock_after(r->options->delay_ns) : 0;
        }
        if (r->under_way == 0)
            return r->error;
        int before = r->under_way;
        int e = plait_io_poll(r->poller.fd, POLLIN, r->next < r->count ? due : PLAIT_NEVER);
        if (e < 0 && e != -ETIMEDOUT)
            return e;
        if (e == -ETIMEDOUT && (e = plait_cancelled()) < 0)
            return e;
        int won = harvest(r);
        if (won >= 0)
            return won;
        if (r->under_way < before)
            due = 0; /* one has failed: the next at once */
    }
}

static int connect_to_several(const struct plait_net_address *addresses, int count,
                              const struct plait_net_connect_options *o)
{
    struct race r = { .addresses = addresses, .count = count, .options = o };
    int e = pl_poller_init(&r.poller);
    if (e < 0)
        return e;
    int won = run_race(&r);
    for (int i = 0; i < r.next; i++)
        if (i != won)
            pl_fd_close(r.fds[i]);
    pl_poller_done(&r.poller);
    return won < 0 ? won : r.fds[won];
}

static int connect_to_one(const struct plait_net_address *a,
                          const struct plait_net_connect_options *o)
{
    int fd = open_socket(a, o);
    if (fd < 0)
        return fd;
    int e = plait_io_connect(fd, &a->any, a->length);
    if (e == 0)
        return fd;
    pl_fd_close(fd);
    return e;
}

static int connect_to(const char *place, struct plait_net_connect_options *o)
{
    struct plait_net_address addresses[PLAIT_NET_ADDRESSES_MAX];
    struct plait_net_resolve_options how = { .family = o->family,
                                             .lookup = o->lookup,
                                             .lookup_arg = o->lookup_arg };
    bool any;
    if (o->delay_ns < 0)
        return -EINVAL;
    if (o->delay_ns == 0)
        o->delay_ns = 250 * PLAIT_MILLISECOND;
    int n = pl_resolve(place, addresses, PLAIT_NET_ADDRESSES_MAX, &any, &how);
    if (n < 0)
        return n;
    int fd = n == 1 ? connect_to_one(addresses, o) : connect_to_several(addresses, n, o);
    if (fd < 0)
        return fd;
    int e = pl_fd_set_blocking(fd); /* as an accepted one is */
    if (e < 0)
        pl_fd_close(fd);
    return e < 0 ? e : fd;
}

int plait_net_connect_with(const char *place, const struct plait_net_connect_options *options)
{
    struct plait_net_connect_options o;
    pl_options_copy(&o, sizeof o, options);
    int fd = connect_to(place, &o);
    return fd < 0 ? pl_place_fail(fd, "connect to", place) : fd;
}
