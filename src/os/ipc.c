// SPDX-License-Identifier: MIT
// ipc.c - sockets that carry descriptors, memory without a name, bells, a poller.
#include "os/ipc.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/bug.h"
#include "os/clock.h"
#include "os/fault.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8u // Linux 6.3
#endif

#define SIZE_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

void pl_fd_close(int fd)
{
    if (fd >= 0)
        close(fd);
}

int pl_fd_duplicate(int fd)
{
    int err = pl_fault(PL_FAULT_SYSCALL);
    if (err < 0)
        return err;
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    return copy < 0 ? -errno : copy;
}

bool pl_fd_is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

void pl_fds_close(const int *fds, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        pl_fd_close(fds[i]);
}

bool pl_fd_is_message_socket(int fd)
{
    int type = 0;
    socklen_t len = sizeof type;
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_SEQPACKET;
}

int pl_socket_end_writes(int fd)
{
    int err = pl_fault(PL_FAULT_SYSCALL);
    if (err < 0)
        return err;
    return shutdown(fd, SHUT_WR) < 0 ? -errno : 0;
}

// ---- messages

int pl_socket_pair(int fds[2])
{
    return pl_socket_pair_of(fds, SOCK_SEQPACKET | SOCK_NONBLOCK);
}

int pl_socket_pair_of(int fds[2], int type)
{
    int err = pl_fault(PL_FAULT_SYSCALL);
    if (err < 0)
        return err;
    int pair[2];
    if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    fds[0] = pair[0];
    fds[1] = pair[1];
    return 0;
}

union control {
    struct cmsghdr header;
    char room[CMSG_SPACE(PL_SOCKET_FDS * sizeof(int))];
};

int pl_socket_send(int fd, const void *message, size_t bytes, const int *fds, unsigned fd_count)
{
    PL_ASSERT(fd_count <= PL_SOCKET_FDS);
    int err = pl_fault(PL_FAULT_SYSCALL);
    if (err < 0)
        return err;
    union control control;
    struct iovec iov = { (void *)message, bytes };
    struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
    if (fd_count > 0) {
        memset(&control, 0, sizeof control);
        m.msg_control = &control;
        m.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
        memcpy(CMSG_DATA(c), fds, fd_count * sizeof(int));
    }
    ssize_t n;
    do
        n = sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n >= 0)
        return 0;
    return errno == ECONNRESET ? -EPIPE : -errno; // gone, with messages of ours unread
}

ssize_t pl_socket_receive(int fd, void *message, size_t bytes, int *fds, unsigned *fd_count)
{
    unsigned room = fd_count ? *fd_count : 0, came = 0;
    if (fd_count)
        *fd_count = 0;
    int err = pl_fault(PL_FAULT_SYSCALL);
    if (err < 0)
        return err;
    union control control;
    struct iovec iov = { message, bytes };
    struct msghdr m = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control
    };
    ssize_t n;
    do // ECONNRESET, once: the peer died with messages of ours unread; what it had sent follows
        n = recvmsg(fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC | MSG_TRUNC);
    while (n < 0 && (errno == EINTR || errno == ECONNRESET));
    if (n < 0)
        return -errno;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        unsigned count = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        for (unsigned i = 0; i < count; i++) {
            int received;
            memcpy(&received, CMSG_DATA(c) + i * sizeof(int), sizeof received);
            if (came < room)
                fds[came++] = received;
            else
                close(received);
        }
    }
    if (fd_count)
        *fd_count = came;
    return n;
}

int pl_fds_wait(struct pollfd *fds, unsigned n, int64_t deadline)
{
    for (;;) {
        int64_t left = pl_clock_left(deadline);
        struct timespec ts = pl_timespec(left);
        int ready = ppoll(fds, n, left == PL_FOREVER ? NULL : &ts, NULL);
        if (ready >= 0)
            return ready;
        if (errno != EINTR)
            return -errno;
    }
}

static int wait_for(int fd, short events, int64_t deadline)
{
    struct pollfd p = { .fd = fd, .events = events };
    int n = pl_fds_wait(&p, 1, deadline);
    return n > 0 ? 0 : n == 0 ? -ETIMEDOUT : n;
}

int pl_fd_wait_readable(int fd, int64_t deadline)
{
    return wait_for(fd, POLLIN, deadline);
}

int pl_fd_wait_writable(int fd, int64_t deadline)
{
    return wait_for(fd, POLLOUT, deadline);
}

// ---- streams

int pl_fd_never_block(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

ssize_t pl_fd_read(int fd, void *to, size_t bytes)
{
    ssize_t n;
    do
        n = read(fd, to, bytes);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

int pl_fd_write_all(int fd, const void *from, size_t bytes)
{
    for (size_t done = 0; done < bytes;) {
        ssize_t n = write(fd, (const char *)from + done, bytes - done);
        if (n > 0) {
            done += (size_t)n;
        } else if (n < 0 && errno == EAGAIN) {
            int e = pl_fd_wait_writable(fd, PL_FOREVER);
            if (e < 0)
                return e;
        } else if (n == 0 || errno != EINTR) {
            return n == 0 ? -EIO : -errno;
        }
    }
    return 0;
}

int pl_fd_replace(int fd, int number)
{
    return dup2(fd, number) < 0 ? -errno : 0;
}

// ---- memory

/* Where the program was started without standard descriptors the next ones would take their place,
 * and what it prints would go there. */
static int above_standard(int fd)
{
    if (fd > STDERR_FILENO)
        return fd;
    int above = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1), err = errno;
    close(fd);
    return above < 0 ? -err : above;
}

static int memfd(const char *name)
{
    int err = pl_fault(PL_FAULT_SYSCALL);
    if (err < 0)
        return err;
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL) // before Linux 6.3
        fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return fd < 0 ? -errno : above_standard(fd);
}

int pl_memfd_new(const char *name, size_t bytes)
{
    int fd = memfd(name);
    if (fd < 0)
        return fd;
    if (ftruncate(fd, (off_t)bytes) < 0 || fcntl(fd, F_ADD_SEALS, SIZE_SEALS) < 0) {
        int err = errno;
        close(fd);
        return -err;
    }
    return fd;
}

static int map(int fd, size_t bytes, int flags, void **ret)
{
    int err = pl_fault(PL_FAULT_SYSCALL);
    if (err < 0)
        return err;
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags | MAP_NORESERVE, fd, 0);
    if (at == MAP_FAILED)
        return -errno;
    *ret = at;
    return 0;
}

int pl_memfd_map(int fd, size_t bytes, void **ret)
{
    return map(fd, bytes, MAP_SHARED, ret);
}

int pl_memfd_map_private(int fd, size_t bytes, void **ret)
{
    return map(fd, bytes, MAP_PRIVATE, ret);
}

int pl_memory_not_inherited(void *at, size_t bytes)
{
    return madvise(at, bytes, MADV_DONTFORK) < 0 ? -errno : 0;
}

int pl_memfd_of(const char *name, const void *data, size_t bytes)
{
    int fd = memfd(name);
    if (fd < 0)
        return fd;
    int err = 0;
    for (size_t done = 0; done < bytes && !err;) {
        ssize_t n = write(fd, (const char *)data + done, bytes - done);
        if (n > 0)
            done += (size_t)n;
        else if (n == 0 || errno != EINTR)
            err = n == 0 ? ENOSPC : errno;
    }
    if (!err && fcntl(fd, F_ADD_SEALS, SIZE_SEALS) < 0)
        err = errno;
    if (!err)
        return fd;
    close(fd);
    return -err;
}

bool pl_memfd_is_sealed(int fd, size_t bytes)
{
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS);
    return seals >= 0 && (seals & F_SEAL_SHRINK) && fstat(fd, &st) == 0 &&
           (size_t)st.st_size == bytes;
}

int pl_memfd_read(int fd, void *to, size_t bytes)
{
    for (size_t done = 0; done < bytes;) {
        ssize_t n = pread(fd, (char *)to + done, bytes - done, (off_t)done);
        if (n > 0)
            done += (size_t)n;
        else if (n == 0)
            return -EIO;
        else if (errno != EINTR)
            return -errno;
    }
    return 0;
}

// ---- bells

int pl_bell_new(void)
{
    int err = pl_fault(PL_FAULT_SYSCALL);
    if (err < 0)
        return err;
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

bool pl_bell_ring(int fd)
{
    // EAGAIN: it has been rung 2^64 - 2 times and nobody listened; still rung.
    return eventfd_write(fd, 1) == 0 || errno != EBADF;
}

void pl_bell_clear(int fd)
{
    eventfd_t count;
    // EAGAIN: nobody rang.
    (void)eventfd_read(fd, &count);
}

// ---- doorbells

int pl_doorbell_new(int ends[PL_DOORBELL_ENDS])
{
    return pl_socket_pair_of(ends, SOCK_STREAM | SOCK_NONBLOCK);
}

int pl_doorbell_ring(int button)
{
    ssize_t n;
    do
        n = send(button, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    // EAGAIN: it is full of rings, and so still rung.
    return n >= 0 || errno == EAGAIN ? 0 : errno == ECONNRESET ? -EPIPE : -errno;
}

void pl_doorbell_clear(int bell)
{
    char rings[64]; // most often one; what is more stays rung
    ssize_t n;
    do
        n = recv(bell, rings, sizeof rings, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
}

void pl_doorbell_jam(int bell)
{
    (void)shutdown(bell, SHUT_RD); // who has closed it hears nothing anyway
}

// ---- waiting for many

int pl_poller_init(struct pl_poller *p)
{
    int err = pl_fault(PL_FAULT_SYSCALL);
    if (err < 0)
        return err;
    int fd = epoll_create1(EPOLL_CLOEXEC);
    if (fd < 0)
        return -errno;
    p->fd = fd;
    return 0;
}

void pl_poller_done(struct pl_poller *p)
{
    pl_fd_close(p->fd);
    p->fd = -1;
}

static int poller_add(struct pl_poller *p, int fd, uint32_t events, uint64_t tag)
{
    int err = pl_fault(PL_FAULT_SYSCALL);
    if (err < 0)
        return err;
    struct epoll_event e = { .events = events, .data.u64 = tag };
    return epoll_ctl(p->fd, EPOLL_CTL_ADD, fd, &e) < 0 ? -errno : 0;
}

int pl_poller_add(struct pl_poller *p, int fd, uint64_t tag)
{
    return poller_add(p, fd, EPOLLIN | EPOLLRDHUP | EPOLLET, tag);
}

int pl_poller_watch(struct pl_poller *p, int fd, bool write, uint64_t tag)
{
    return poller_add(p, fd, write ? EPOLLOUT : EPOLLIN, tag);
}

void pl_poller_remove(struct pl_poller *p, int fd)
{
    PL_ASSERT(epoll_ctl(p->fd, EPOLL_CTL_DEL, fd, NULL) == 0);
}

int pl_poller_wait(struct pl_poller *p, uint64_t *tags, int room, int64_t deadline)
{
    struct epoll_event found[64];
    if (room > 64)
        room = 64;
    int64_t left = pl_clock_left(deadline);
    struct timespec ts = pl_timespec(left);
    // By number: glibc has had epoll_pwait2 since 2.35 only.
    long n = syscall(SYS_epoll_pwait2, p->fd, found, room, left == PL_FOREVER ? NULL : &ts, NULL,
                     (size_t)8);
    if (n < 0 && errno == ENOSYS) { // before Linux 5.11
        int64_t ms = left / PL_MILLISECOND + (left % PL_MILLISECOND != 0);
        n = epoll_wait(p->fd, found, room, left == PL_FOREVER ? -1 : ms > 60000 ? 60000 : (int)ms);
    }
    PL_ASSERT(n >= 0 || errno == EINTR);
    for (long i = 0; i < n; i++)
        tags[i] = found[i].data.u64;
    return n < 0 ? 0 : (int)n;
}
