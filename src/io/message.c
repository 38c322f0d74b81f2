// SPDX-License-Identifier: MIT
/*
 * message.c - datagrams, and descriptors that travel over Unix sockets.
 *
 * DESIGN
 *   The header of a message lives in the frame of the call, as the operation does: the loop writes
 *   into it until the completion was reaped.
 *   Received descriptors are in the process before anybody has looked at them. So there is always
 *   room for as many as the kernel lets one message carry, and whatever the caller has no room for
 *   is closed here; MSG_CTRUNC then means that the process itself can hold no more.
 */
#include <plait/io.h>

#include "io/perform.h"
#include "os/ipc.h"
#include "os/socket.h"
#include <string.h>

enum { MAX_FDS = 253 }; /* SCM_MAX_FD of the kernel */

union fd_room {
    char bytes[CMSG_SPACE(MAX_FDS * sizeof(int))];
    struct cmsghdr align;
};

static ssize_t message(enum pl_op_code code, int fd, struct msghdr *m, int flags)
{
    struct pl_op op = { .code = code, .fd = fd, .msg = m, .flags = (unsigned)flags };
    return pl_io_perform(&op);
}

ssize_t plait_io_recvfrom(int fd, void *data, size_t bytes, int flags, struct sockaddr *address,
                          socklen_t *length)
{
    struct iovec one = { .iov_base = data, .iov_len = bytes };
    struct msghdr m = { .msg_iov = &one, .msg_iovlen = 1 };
    if (address && length) {
        m.msg_name = address;
        m.msg_namelen = *length;
    }
    ssize_t n = message(PL_OP_RECVMSG, fd, &m, flags);
    if (n >= 0 && length)
        *length = m.msg_namelen;
    return n;
}

ssize_t plait_io_sendto(int fd, const void *data, size_t bytes, int flags,
                        const struct sockaddr *address, socklen_t length)
{
    struct iovec one = { .iov_base = (void *)data, .iov_len = bytes };
    struct msghdr m = { .msg_name = (void *)address,
                        .msg_namelen = address ? length : 0,
                        .msg_iov = &one,
                        .msg_iovlen = 1 };
    return message(PL_OP_SENDMSG, fd, &m, flags);
}

ssize_t plait_io_send_fds(int fd, const void *data, size_t bytes, const int *fds, unsigned count)
{
    union fd_room room = { .bytes = "" };
    struct iovec one = { .iov_base = (void *)data, .iov_len = bytes };
    struct msghdr m = { .msg_iov = &one, .msg_iovlen = 1 };
    if (bytes == 0 || count > MAX_FDS)
        return -EINVAL;
    if (count > 0) {
        m.msg_control = room.bytes;
        m.msg_controllen = CMSG_SPACE(count * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(c), fds, count * sizeof(int));
    }
    return message(PL_OP_SENDMSG, fd, &m, 0);
}

/* The descriptors of the message, into `fds` of MAX_FDS. */
static unsigned received(struct msghdr *m, int *fds)
{
    unsigned n = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        // The kernel has written it.
        // NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult)
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t some = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(fds + n, CMSG_DATA(c), some * sizeof(int));
        n += (unsigned)some;
    }
    return n;
}

ssize_t plait_io_recv_fds(int fd, void *data, size_t bytes, int *fds, unsigned *count)
{
    union fd_room room;
    int all[MAX_FDS];
    struct iovec one = { .iov_base = data, .iov_len = bytes };
    struct msghdr m = { .msg_iov = &one,
                        .msg_iovlen = 1,
                        .msg_control = room.bytes,
                        .msg_controllen = sizeof room.bytes };
    ssize_t n = message(PL_OP_RECVMSG, fd, &m, MSG_CMSG_CLOEXEC);
    if (n < 0)
        return n;
    unsigned came = received(&m, all);
    int cut = came > *count              ? -ENOBUFS
              : m.msg_flags & MSG_CTRUNC ? -EMFILE
              : m.msg_flags & MSG_TRUNC  ? -EMSGSIZE
                                         : 0;
    if (cut < 0) {
        pl_fds_close(all, came);
        return cut;
    }
    if (came > 0)
        memcpy(fds, all, came * sizeof(int));
    *count = came;
    return n;
}

int plait_io_pair(int ends[2], int type)
{
    if (type != SOCK_STREAM && type != SOCK_SEQPACKET)
        return -EINVAL;
    return pl_socket_pair_of(ends, type);
}

int plait_io_shutdown(int fd, int how)
{
    return pl_socket_shutdown(fd, how);
}
