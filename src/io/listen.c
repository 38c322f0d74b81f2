// SPDX-License-Identifier: MIT
// listen.c - sockets that are bound to a place.
#include "io/place.h"

#include "os/ipc.h"
#include "os/socket.h"
#include <limits.h>
#include <netinet/tcp.h>

static int set_options(int fd, int type, const struct plait_net_address *a,
                       const struct plait_net_listen_options *o)
{
    int family = a->any.sa_family, e = 0;
    if (family == AF_UNIX)
        return 0;
    if (family == AF_INET6)
        e = pl_socket_set(fd, IPPROTO_IPV6, IPV6_V6ONLY, o->v6_only);
    if (e == 0 && type == SOCK_STREAM && !o->no_reuse_address)
        e = pl_socket_set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (e == 0 && o->reuse_port)
        e = pl_socket_set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (e == 0 && type == SOCK_STREAM && o->nodelay)
        e = pl_socket_set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    return e;
}

/* Whether a Unix socket's path is there, but nobody behind it. Asked by a socket of the wrong type,
 * which gets no further than that: a live listener is not troubled. */
static bool is_abandoned(int type, const struct plait_net_address *a)
{
    int fd = pl_socket_new(AF_UNIX, type == SOCK_STREAM ? SOCK_DGRAM : SOCK_STREAM);
    if (fd < 0)
        return false;
    int e = pl_socket_connect(fd, a);
    pl_fd_close(fd);
    return e == -ECONNREFUSED;
}

static int bind_socket(int fd, int type, const struct plait_net_address *a,
                       const struct plait_net_listen_options *o)
{
    int e = pl_socket_bind(fd, a);
    if (e != -EADDRINUSE || !o->replace || !pl_is_local(a) || !is_abandoned(type, a))
        return e;
    int gone = pl_socket_unlink(a->local.sun_path);
    return gone < 0 && gone != -ENOENT ? e : pl_socket_bind(fd, a);
}

static int open_at(int type, const struct plait_net_address *a,
                   const struct plait_net_listen_options *o)
{
    int fd = pl_socket_new(a->any.sa_family, type);
    if (fd < 0)
        return fd;
    int e = set_options(fd, type, a, o);
    if (e == 0)
        e = bind_socket(fd, type, a, o);
    if (e == 0 && type == SOCK_STREAM)
        e = pl_socket_listen(fd, o->backlog > 0 ? o->backlog : INT_MAX); /* the system cuts it */
    if (e == 0)
        return fd;
    pl_fd_close(fd);
    return e;
}

/* The first that can be bound; the error of the first. */
static int open_first(int type, const struct plait_net_address *addresses, int count,
                      const struct plait_net_listen_options *o)
{
    int first = 0;
    for (int i = 0; i < count; i++) {
        int fd = open_at(type, &addresses[i], o);
        if (fd >= 0)
            return fd;
        if (first == 0)
            first = fd;
    }
    return first;
}

static int open_place(int type, const char *place, const struct plait_net_listen_options *o)
{
    struct plait_net_address addresses[PLAIT_NET_ADDRESSES_MAX];
    struct plait_net_resolve_options how = { .family = o->family,
                                             .lookup = o->lookup,
                                             .lookup_arg = o->lookup_arg };
    bool any;
    if (o->backlog < 0)
        return -EINVAL;
    int n = pl_resolve(place, addresses, PLAIT_NET_ADDRESSES_MAX, &any, &how);
    if (n < 0)
        return n;
    int fd = open_first(type, addresses, n, o);
    if ((fd != -EAFNOSUPPORT && fd != -EADDRNOTAVAIL) || !any || o->family != AF_UNSPEC)
        return fd;
    how.family = AF_INET; /* a machine without IPv6 */
    n = pl_resolve(place, addresses, PLAIT_NET_ADDRESSES_MAX, &any, &how);
    return n < 0 ? n : open_first(type, addresses, n, o);
}

static int open_with(int type, const char *what, const char *place,
                     const struct plait_net_listen_options *options)
{
    struct plait_net_listen_options o;
    pl_options_copy(&o, sizeof o, options);
    int fd = open_place(type, place, &o);
    return fd < 0 ? pl_place_fail(fd, what, place) : fd;
}

int plait_net_listen_with(const char *place, const struct plait_net_listen_options *options)
{
    return open_with(SOCK_STREAM, "listen on", place, options);
}

int plait_net_bind_with(const char *place, const struct plait_net_listen_options *options)
{
    return open_with(SOCK_DGRAM, "bind to", place, options);
}
