// SPDX-License-Identifier: MIT
// socket.c - sockets and names, behind the fault door.
#include "os/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netdb.h>
#include <poll.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/fault.h"
#include "os/loop_backend.h"

/* What a system call returned, as a code. */
static int outcome(int r)
{
    return r < 0 ? -errno : r;
}

int pl_socket_new(int family, int type)
{
    int err = pl_fault(PL_FAULT_SYSCALL);
    return err ? err : outcome(socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

int pl_socket_bind(int fd, const struct plait_net_address *address)
{
    int err = pl_fault(PL_FAULT_SYSCALL);
    return err ? err : outcome(bind(fd, &address->any, address->length));
}

int pl_socket_listen(int fd, int backlog)
{
    int err = pl_fault(PL_FAULT_SYSCALL);
    return err ? err : outcome(listen(fd, backlog));
}

int pl_socket_shutdown(int fd, int how)
{
    return outcome(shutdown(fd, how));
}

int pl_socket_set(int fd, int level, int option, int value)
{
    int err = pl_fault(PL_FAULT_SYSCALL);
    return err ? err : outcome(setsockopt(fd, level, option, &value, sizeof value));
}

int pl_socket_connect(int fd, const struct plait_net_address *address)
{
    int err = pl_fault(PL_FAULT_SYSCALL);
    if (!err)
        err = outcome(connect(fd, &address->any, address->length));
    return err == -EINTR ? -EINPROGRESS : err; // interrupted, it goes on by itself
}

int pl_socket_error(int fd)
{
    int error = 0;
    socklen_t length = sizeof error;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0 ? -errno : -error;
}

bool pl_socket_listens(int fd)
{
    int listens = 0;
    socklen_t length = sizeof listens;
    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) == 0 && listens;
}

bool pl_socket_is_shut(int fd)
{
    struct pollfd p = { .fd = fd };
    return poll(&p, 1, 0) > 0 && (p.revents & POLLHUP);
}

static int name_of(int fd, struct plait_net_address *ret,
                   int (*call)(int fd, struct sockaddr *address, socklen_t *length))
{
    struct plait_net_address name = { 0 };
    const socklen_t room = sizeof name.local; // the longest of the union
    name.length = room;
    int err = outcome(call(fd, &name.any, &name.length));
    if (err == 0 && name.length > room)
        err = -EAFNOSUPPORT; // of a family that plait knows nothing of
    if (err == 0)
        *ret = name;
    return err;
}

int pl_socket_name(int fd, struct plait_net_address *ret)
{
    return name_of(fd, ret, getsockname);
}

int pl_socket_peer(int fd, struct plait_net_address *ret)
{
    return name_of(fd, ret, getpeername);
}

bool pl_fd_is_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && (flags & O_NONBLOCK);
}

int pl_fd_set_blocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    return flags < 0 ? -errno : outcome(fcntl(fd, F_SETFL, flags & ~O_NONBLOCK));
}

int pl_socket_unlink(const char *path)
{
    struct stat st;
    if (lstat(path, &st) < 0)
        return -errno;
    return S_ISSOCK(st.st_mode) ? outcome(unlink(path)) : -ENOTSOCK;
}

unsigned pl_interface_index(const char *name)
{
    return if_nametoindex(name);
}

// The resolver's own codes, in the terms of plait/net.h.
static int lookup_error(int code)
{
    switch (code) {
    case EAI_NONAME:
    case EAI_NODATA:
    case EAI_ADDRFAMILY:
        return -ENOENT;
    case EAI_AGAIN:
        return -EAGAIN;
    case EAI_MEMORY:
        return -ENOMEM;
    case EAI_SYSTEM:
        return errno ? -errno : -EIO;
    default:
        return -EIO;
    }
}

int pl_name_lookup(const char *name, uint16_t port, int family, struct plait_net_address *ret,
                   size_t room)
{
    struct addrinfo hints = { .ai_family = family, .ai_socktype = SOCK_STREAM }, *list;
    int code = getaddrinfo(name, NULL, &hints, &list);
    if (code)
        return lookup_error(code);
    size_t n = 0;
    for (struct addrinfo *a = list; a && n < room; a = a->ai_next) {
        if (a->ai_family != AF_INET && a->ai_family != AF_INET6)
            continue;
        struct plait_net_address *to = &ret[n++];
        memset(to, 0, sizeof *to);
        to->length = a->ai_addrlen;
        memcpy(&to->any, a->ai_addr, a->ai_addrlen);
        if (a->ai_family == AF_INET)
            to->v4.sin_port = htons(port);
        else
            to->v6.sin6_port = htons(port);
    }
    freeaddrinfo(list);
    return n > 0 ? (int)n : -ENOENT;
}

ssize_t pl_sendfile(int out, int in, int64_t offset, size_t bytes)
{
    ssize_t n = pl_fault(PL_FAULT_SYSCALL);
    if (n)
        return n;
    struct pl_sigpipe guard = pl_sigpipe_enter();
    off_t at = offset;
    do
        n = sendfile(out, in, &at, bytes);
    while (n < 0 && errno == EINTR);
    int err = errno;
    pl_sigpipe_leave(guard);
    return n < 0 ? -err : n;
}
