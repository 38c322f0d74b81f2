// SPDX-License-Identifier: MIT
/*
 * op.c - operations as plain system calls: tried without blocking, or performed by a blocking
 * thread.
 *
 * DESIGN
 *   Whether a descriptor has O_NONBLOCK set is its owner's affair and never changes the outcome
 *   here. Sockets take MSG_DONTWAIT; everything else takes RWF_NOWAIT where its driver knows that.
 *   Where it does not, the descriptor is polled first, and read, or written in part, only when it
 *   is ready. Between the two another user of the same blocking descriptor may take the data or
 *   the room, and the call then blocks: share blocking devices and listening sockets only with
 *   O_NONBLOCK set. Terminals only seem to know RWF_NOWAIT: see write_terminal.
 *
 *   No write may kill the program with SIGPIPE. Sends take MSG_NOSIGNAL, writes RWF_NOSIGNAL; on
 *   kernels without that the signal is blocked around the call and, if the call raised it, taken
 *   off again.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/bug.h"
#include "os/clock.h"
#include "os/fault.h"
#include "os/loop_backend.h"
#include "os/socket.h"

// The result of a system call, as the operations return it.
static int64_t outcome(int64_t r)
{
    return r < 0 ? -errno : r;
}

bool pl_op_waits(const struct pl_op *op)
{
    switch (op->code) {
    case PL_OP_READ:
    case PL_OP_WRITE:
    case PL_OP_READV:
    case PL_OP_WRITEV:
    case PL_OP_RECV:
    case PL_OP_SEND:
    case PL_OP_RECVMSG:
    case PL_OP_SENDMSG:
    case PL_OP_ACCEPT:
    case PL_OP_CONNECT:
    case PL_OP_POLL:
        return true;
    default:
        return false;
    }
}

short pl_op_poll_events(const struct pl_op *op)
{
    switch (op->code) {
    case PL_OP_WRITE:
    case PL_OP_WRITEV:
    case PL_OP_SEND:
    case PL_OP_SENDMSG:
    case PL_OP_CONNECT:
        return POLLOUT;
    case PL_OP_POLL:
        return (short)op->flags;
    default:
        return POLLIN;
    }
}

bool pl_op_wants_eagain(const struct pl_op *op)
{
    switch (op->code) {
    case PL_OP_RECV:
    case PL_OP_SEND:
    case PL_OP_RECVMSG:
    case PL_OP_SENDMSG:
        return op->flags & MSG_DONTWAIT;
    default:
        return false;
    }
}

bool pl_fd_is_file(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 &&
           (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode) || S_ISDIR(st.st_mode));
}

// ---- SIGPIPE

bool pl_rwf_nosignal(void)
{
    static _Atomic int known; // 0: not yet, 1: yes, -1: no
    // Relaxed: every thread that asks finds out the same, and nothing else is published.
    int answer = atomic_load_explicit(&known, memory_order_relaxed);
    if (answer == 0) {
        int ends[2];
        if (pipe2(ends, O_CLOEXEC) < 0)
            return false; // ask again next time
        struct iovec one = { .iov_base = &(char){ 0 }, .iov_len = 1 };
        answer = pwritev2(ends[1], &one, 1, -1, RWF_NOSIGNAL) == 1 ? 1 : -1;
        close(ends[0]);
        close(ends[1]);
        atomic_store_explicit(&known, answer, memory_order_relaxed);
    }
    return answer > 0;
}

bool pl_sigpipe_unblocked(void)
{
    sigset_t now;
    return pthread_sigmask(SIG_SETMASK, NULL, &now) == 0 && !sigismember(&now, SIGPIPE);
}

struct pl_sigpipe pl_sigpipe_enter(void)
{
    struct pl_sigpipe guard = { 0 };
    sigset_t set, before;
    sigpending(&set);
    guard.was_pending = sigismember(&set, SIGPIPE);
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &set, &before);
    guard.blocked_here = !sigismember(&before, SIGPIPE);
    return guard;
}

void pl_sigpipe_leave(struct pl_sigpipe guard)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    // One that was pending before is somebody else's, and stays.
    while (!guard.was_pending && sigtimedwait(&set, NULL, &(struct timespec){ 0 }) < 0 &&
           errno == EINTR)
        ;
    if (guard.blocked_here)
        pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static ssize_t write_quietly(int fd, const struct iovec *iov, int count, int64_t offset, int flags)
{
    if (pl_rwf_nosignal()) {
        ssize_t n = pwritev2(fd, iov, count, offset, flags | RWF_NOSIGNAL);
        // Old drivers, such as /dev/full's, take no flags at all, and so not this one either.
        if (n >= 0 || errno != EOPNOTSUPP || flags != 0)
            return n;
    }
    struct pl_sigpipe guard = pl_sigpipe_enter();
    ssize_t n = pwritev2(fd, iov, count, offset, flags);
    int err = errno;
    pl_sigpipe_leave(guard);
    errno = err;
    return n;
}

// ---- one system call each

static ssize_t transfer(const struct pl_op *op, int flags)
{
    struct iovec one = { .iov_base = op->buf, .iov_len = op->len };
    if (one.iov_len > PL_MAX_TRANSFER)
        one.iov_len = PL_MAX_TRANSFER;
    switch (op->code) {
    case PL_OP_READ:
        return preadv2(op->fd, &one, 1, op->offset, flags);
    case PL_OP_READV:
        return preadv2(op->fd, op->iov, (int)op->len, op->offset, flags);
    case PL_OP_WRITE:
        return write_quietly(op->fd, &one, 1, op->offset, flags);
    default:
        return write_quietly(op->fd, op->iov, (int)op->len, op->offset, flags);
    }
}

static bool is_ready(int fd, short events)
{
    struct pollfd p = { .fd = fd, .events = events };
    return poll(&p, 1, 0) != 0; // an error counts: the call itself will name it
}

// A part of the write, of at most `most` bytes; what is left is the caller's.
static struct pl_op part_of(const struct pl_op *op, size_t most)
{
    struct pl_op part = *op;
    if (op->code == PL_OP_WRITEV) {
        size_t total = 0, first = 0;
        for (size_t i = 0; i < op->len && total <= most; i++)
            total += op->iov[i].iov_len;
        if (total <= most)
            return part;
        while (op->iov[first].iov_len == 0)
            first++;
        part.code = PL_OP_WRITE;
        part.buf = op->iov[first].iov_base;
        part.len = op->iov[first].iov_len;
    }
    if (part.code == PL_OP_WRITE && part.len > most)
        part.len = most;
    return part;
}

// A plain call on a blocking descriptor that is ready. A write must not be larger than the room
// that poll promises, or it waits for the rest.
static int64_t transfer_ready(const struct pl_op *op, size_t most)
{
    if (!is_ready(op->fd, pl_op_poll_events(op)))
        return -EAGAIN;
    struct pl_op part = part_of(op, most);
    return outcome(transfer(&part, 0));
}

bool pl_op_writes_terminal(const struct pl_op *op)
{
    struct stat st;
    if ((op->code != PL_OP_WRITE && op->code != PL_OP_WRITEV) || fstat(op->fd, &st) < 0 ||
        !S_ISCHR(st.st_mode) || !isatty(op->fd))
        return false;
    int flags = fcntl(op->fd, F_GETFL);
    return flags >= 0 && !(flags & O_NONBLOCK);
}

// Terminals accept RWF_NOWAIT and block all the same when their output is stopped. O_NONBLOCK must
// not be set on a descriptor that is shared with the shell and others: open the terminal anew.
static int64_t write_terminal(const struct pl_op *op)
{
    int number, fd = -1;
    if (ioctl(op->fd, TIOCGPTN, &number) <
        0) { // not a master: opened anew, that is another terminal
        char path[32];
        snprintf(path, sizeof path, "/proc/self/fd/%d", op->fd);
        fd = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    }
    if (fd < 0)
        return transfer_ready(op, 64);
    struct pl_op own = *op;
    own.fd = fd;
    int64_t r = outcome(transfer(&own, 0));
    close(fd);
    return r;
}

static int64_t transfer_nowait(const struct pl_op *op)
{
    if (pl_op_writes_terminal(op))
        return write_terminal(op);
    ssize_t n = transfer(op, RWF_NOWAIT);
    if (n >= 0 || errno != EOPNOTSUPP)
        return outcome(n);
    if (pl_fd_is_file(op->fd))
        return -EAGAIN;
    int flags = fcntl(op->fd, F_GETFL);
    if (flags < 0 || (flags & O_NONBLOCK))
        return outcome(transfer(op, 0));
    return transfer_ready(op, PIPE_BUF); // a ready pipe has room for as much
}

// accept4 has no flag against blocking: only the descriptor's own, or looking first.
static bool may_accept(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || (flags & O_NONBLOCK) || is_ready(fd, POLLIN))
        return true;
    // One that does not listen is never ready; accepting from it fails at once.
    int listens = 0;
    socklen_t len = sizeof listens;
    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) < 0 || !listens;
}

static int64_t connect_outcome(const struct pl_op *op)
{
    if (!is_ready(op->fd, POLLOUT))
        return -EAGAIN;
    int err = 0;
    socklen_t len = sizeof err;
    if (getsockopt(op->fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
        return -errno;
    if (err)
        return -err;
    // The call itself, made again, moves the socket on to connected.
    int64_t r = outcome(connect(op->fd, op->dest, op->destlen));
    return r == -EISCONN ? 0 : r == -EALREADY || r == -EINPROGRESS ? -EAGAIN : r;
}

static int64_t poll_outcome(const struct pl_op *op)
{
    struct pollfd p = { .fd = op->fd, .events = (short)op->flags };
    int n = poll(&p, 1, 0);
    if (n <= 0)
        return n < 0 ? -errno : -EAGAIN;
    return p.revents & POLLNVAL ? -EBADF : (unsigned short)p.revents;
}

static int64_t attempt_once(const struct pl_op *op)
{
    int64_t r;
    switch (op->code) {
    case PL_OP_READ:
    case PL_OP_WRITE:
    case PL_OP_READV:
    case PL_OP_WRITEV:
        return transfer_nowait(op);
    case PL_OP_RECV:
        return outcome(recv(op->fd, op->buf, op->len, (int)op->flags | MSG_DONTWAIT));
    case PL_OP_SEND:
        return outcome(
            send(op->fd, op->buf, op->len, (int)op->flags | MSG_DONTWAIT | MSG_NOSIGNAL));
    case PL_OP_RECVMSG:
        return outcome(recvmsg(op->fd, op->msg, (int)op->flags | MSG_DONTWAIT));
    case PL_OP_SENDMSG:
        return outcome(sendmsg(op->fd, op->msg, (int)op->flags | MSG_DONTWAIT | MSG_NOSIGNAL));
    case PL_OP_ACCEPT:
        if (!may_accept(op->fd))
            return -EAGAIN;
        r = outcome(accept4(op->fd, op->addr, op->addrlen, (int)op->flags));
        return r == -EAGAIN && pl_socket_is_shut(op->fd) ? -EINVAL : r;
    case PL_OP_CONNECT:
        return connect_outcome(op);
    case PL_OP_POLL:
        return poll_outcome(op);
    default:
        PL_BUG("an operation of code %d cannot be tried", (int)op->code);
    }
}

int64_t pl_op_attempt(const struct pl_op *op)
{
    int64_t r = pl_fault(PL_FAULT_SYSCALL);
    if (r)
        return r;
    do
        r = attempt_once(op);
    while (r == -EINTR);
    return r == -EWOULDBLOCK ? -EAGAIN : r;
}

int64_t pl_op_connect_start(const struct pl_op *op)
{
    int64_t r = pl_fault(PL_FAULT_SYSCALL);
    if (r)
        return r;
    int flags = fcntl(op->fd, F_GETFL);
    if (flags < 0)
        return -errno;
    // connect has no flag of its own against blocking.
    if (!(flags & O_NONBLOCK) && fcntl(op->fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return -errno;
    r = outcome(connect(op->fd, op->dest, op->destlen));
    if (!(flags & O_NONBLOCK))
        fcntl(op->fd, F_SETFL, flags);
    return r == -EINTR ? -EINPROGRESS : r; // interrupted, it goes on by itself
}

static int64_t perform_once(const struct pl_op *op)
{
    switch (op->code) {
    case PL_OP_NOP:
        return 0;
    case PL_OP_READ:
    case PL_OP_WRITE:
    case PL_OP_READV:
    case PL_OP_WRITEV:
        return outcome(transfer(op, 0));
    case PL_OP_OPENAT:
        return outcome(openat(op->fd, op->path, (int)op->flags, (mode_t)op->mode));
    case PL_OP_CLOSE:
        // EINTR or not, Linux has closed it: trying again could close a stranger's descriptor.
        return close(op->fd) < 0 && errno != EINTR ? -errno : 0;
    case PL_OP_FSYNC:
        return outcome(op->flags & PL_FSYNC_DATA ? fdatasync(op->fd) : fsync(op->fd));
    case PL_OP_STATX:
        return outcome(statx(op->fd, op->path, (int)op->flags, op->mode, op->statx));
    default:
        PL_BUG("an operation of code %d cannot be performed", (int)op->code);
    }
}

int64_t pl_op_perform(const struct pl_op *op)
{
    // A close that fails has closed all the same: injecting would leak what no program could.
    int64_t r = op->code == PL_OP_CLOSE ? 0 : pl_fault(PL_FAULT_SYSCALL);
    if (r)
        return r;
    do
        r = perform_once(op);
    while (r == -EINTR);
    return r;
}

// ---- for callers without a loop

bool pl_op_try(struct pl_op *op)
{
    if (op->code == PL_OP_NOP) {
        op->result = 0;
        return true;
    }
    if (!pl_op_waits(op) || op->code == PL_OP_CONNECT)
        return false;
    int64_t r = pl_op_attempt(op);
    if (r == -EAGAIN && !pl_op_wants_eagain(op))
        return false;
    op->result = r;
    return true;
}

bool pl_op_polled(struct pl_op *op)
{
    int64_t now = op->result > 0 ? pl_op_attempt(op) : -EAGAIN;
    if (now != -EAGAIN) {
        op->result = now;
        return true;
    }
    if (op->result > 0 && (op->result & POLLRDHUP)) // again it would only say the same
        op->result = POLLRDHUP;
    return op->result <= 0 || op->result == POLLRDHUP;
}

// Sleeps until the descriptor is ready. 0, -ETIMEDOUT, or what poll says.
static int wait_ready(int fd, short events, int64_t deadline)
{
    for (;;) {
        int64_t left = pl_clock_left(deadline);
        struct timespec ts = pl_timespec(left);
        struct pollfd p = { .fd = fd, .events = events };
        int n = ppoll(&p, 1, left == PL_FOREVER ? NULL : &ts, NULL);
        if (n > 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n == 0 && left == 0)
            return -ETIMEDOUT;
    }
}

bool pl_op_begin(struct pl_op *op)
{
    int64_t r;
    if (!pl_op_waits(op)) {
        op->result = pl_op_perform(op);
        return true;
    }
    if (op->code == PL_OP_CONNECT) {
        op->result = r = pl_op_connect_start(op);
        return r != -EINPROGRESS;
    }
    r = pl_op_attempt(op);
    bool transfers = op->code == PL_OP_READ || op->code == PL_OP_WRITE || op->code == PL_OP_READV ||
                     op->code == PL_OP_WRITEV;
    if (r == -EAGAIN && transfers && pl_fd_is_file(op->fd))
        r = pl_op_perform(op);
    op->result = r;
    return r != -EAGAIN || pl_op_wants_eagain(op);
}

bool pl_op_go_on(struct pl_op *op)
{
    op->result = pl_op_attempt(op);
    return op->result != -EAGAIN;
}

void pl_op_block(struct pl_op *op, int64_t deadline)
{
    bool done = pl_op_begin(op);
    while (!done) {
        int err = wait_ready(op->fd, pl_op_poll_events(op), deadline);
        if (err < 0)
            op->result = err;
        done = err < 0 || pl_op_go_on(op);
    }
}
