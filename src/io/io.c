// SPDX-License-Identifier: MIT
/*
 * io.c - I/O that looks blocking.
 *
 * DESIGN
 *   An operation is first tried at once, without the loop, where that can succeed without blocking;
 *   if it would block, a fiber starts it in its worker's loop and suspends, and a plain thread
 *   blocks in it: in poll(2), beside a bell that a canceller rings, where it is in a scope. The
 *   record lives in the frame: a fiber does not leave before its completion was reaped. Cancelling
 *   therefore only asks the loop to end the operation; if it completed all the same its result
 *   counts, and the cancellation shows at the next call.
 *   A fiber whose operations always succeed at once gives way when its worker's credit is used up.
 */
#include <plait/io.h>

#include "base/bug.h"
#include "core/sched.h"
#include "io/perform.h"
#include "os/clock.h"
#include "os/ipc.h"
#include <fcntl.h>
#include <plait/fiber.h>
#include <plait/scope.h>
#include <poll.h>

struct operation {
    struct pl_op op;
    struct pl_wait wait;
    struct pl_strand *strand;
    int64_t deadline;
};

static void completed(struct pl_op *op)
{
    pl_wait_fire(&PL_CONTAINER(op, struct operation, op)->wait, PL_WAIT_WOKEN);
}

static void interrupt(struct pl_wait *w)
{
    struct operation *o = PL_CONTAINER(w, struct operation, wait);
    pl_loop_cancel(&o->strand->worker->loop, &o->op);
}

/* The code of an operation that was ended early: by the scope, by its own deadline, or by a
 * close. */
static int64_t ended_early(struct operation *o)
{
    int e = pl_strand_cancelled(o->strand);
    if (e < 0)
        return e;
    return o->deadline != PLAIT_NEVER && pl_now() >= o->deadline ? -ETIMEDOUT : -ECANCELED;
}

static int block(void *arg)
{
    struct operation *o = arg;
    pl_op_block(&o->op, o->deadline);
    return 0;
}

/* A plain thread that waits in poll(2) for the descriptor, and for whoever cancels it. */
struct watched {
    struct pl_watch watch;
    struct pollfd fds[2];
    struct operation *operation;
    bool done;
};

static void look_again(struct pl_watch *watch)
{
    struct watched *w = PL_CONTAINER(watch, struct watched, watch);
    w->done = w->fds[1].revents != 0 && pl_op_go_on(&w->operation->op);
    if (w->done)
        pl_wait_fire(&w->operation->wait, PL_WAIT_WOKEN);
}

static int64_t on_thread(struct operation *o)
{
    if (!o->strand->cancel) { /* nobody can */
        block(o);
        return o->op.result;
    }
    if (pl_op_begin(&o->op))
        return o->op.result;
    pl_wait_init(&o->wait, o->strand);
    pl_wait_for(&o->wait, PL_FOR_IO, pl_for_io(o->op.code, o->op.fd));
    int bell = pl_bell_new();
    if (bell < 0)
        return bell;
    o->wait.bell = bell;
    struct watched w = { .operation = o };
    w.fds[0] = (struct pollfd){ .fd = bell, .events = POLLIN };
    w.fds[1] = (struct pollfd){ .fd = o->op.fd, .events = pl_op_poll_events(&o->op) };
    w.watch = (struct pl_watch){ w.fds, 2, look_again };
    enum pl_wait_state why = pl_wait_watching(&o->wait, o->deadline, &w.watch);
    pl_fd_close(bell);
    if (w.done)
        return o->op.result;
    return why == PL_WAIT_TIMEOUT ? -ETIMEDOUT : pl_strand_code(o->strand);
}

static int64_t on_fiber(struct operation *o)
{
    struct pl_worker *w = o->strand->worker;
    if (pl_loop_try(&w->loop, &o->op)) {
        if (w->credit > 0)
            w->credit--;
        else
            pl_strand_yield(o->strand);
        return o->op.result;
    }
    if (PL_UNLIKELY(pl_loop_would_block_thread(&w->loop, &o->op))) {
        int e = plait_blocking(block, o);
        return e < 0 ? e : o->op.result;
    }
    o->op.done = completed;
    pl_wait_init(&o->wait, o->strand);
    pl_wait_for(&o->wait, PL_FOR_IO, pl_for_io(o->op.code, o->op.fd));
    o->wait.interrupt = interrupt;
    pl_loop_start(&w->loop, &o->op);
    pl_wait(&o->wait, o->deadline);
    return o->op.result == -ECANCELED ? ended_early(o) : o->op.result;
}

static int64_t perform(struct operation *o)
{
    o->strand = pl_strand_current();
    if (o->deadline == 0)
        o->deadline = PLAIT_NEVER;
    pl_strand_point();
    int e = pl_strand_cancelled(o->strand);
    if (e < 0)
        return e;
    return o->strand->worker ? on_fiber(o) : on_thread(o);
}

int64_t pl_io_perform(const struct pl_op *op)
{
    struct operation o = { .op = *op };
    return perform(&o);
}

ssize_t plait_io_read(int fd, void *data, size_t bytes)
{
    return plait_io_pread(fd, data, bytes, -1);
}

ssize_t plait_io_pread(int fd, void *data, size_t bytes, int64_t offset)
{
    struct operation o = {
        .op = { .code = PL_OP_READ, .fd = fd, .buf = data, .len = bytes, .offset = offset }
    };
    return perform(&o);
}

ssize_t plait_io_write(int fd, const void *data, size_t bytes)
{
    return plait_io_pwrite(fd, data, bytes, -1);
}

ssize_t plait_io_pwrite(int fd, const void *data, size_t bytes, int64_t offset)
{
    struct operation o = {
        .op = { .code = PL_OP_WRITE, .fd = fd, .cbuf = data, .len = bytes, .offset = offset }
    };
    return perform(&o);
}

ssize_t plait_io_readv(int fd, const struct iovec *parts, int count)
{
    struct operation o = {
        .op = { .code = PL_OP_READV, .fd = fd, .iov = parts, .len = (size_t)count, .offset = -1 }
    };
    return count < 0 ? -EINVAL : perform(&o);
}

ssize_t plait_io_writev(int fd, const struct iovec *parts, int count)
{
    struct operation o = {
        .op = { .code = PL_OP_WRITEV, .fd = fd, .iov = parts, .len = (size_t)count, .offset = -1 }
    };
    return count < 0 ? -EINVAL : perform(&o);
}

int plait_io_write_all(int fd, const void *data, size_t bytes, size_t *done)
{
    size_t written = 0;
    ssize_t n = 0;
    while (written < bytes && n >= 0) {
        n = plait_io_write(fd, (const char *)data + written, bytes - written);
        if (n > 0)
            written += (size_t)n;
        else if (n == 0)
            n = -EIO; /* neither progress nor an error: a broken file */
    }
    if (done)
        *done = written;
    return n < 0 ? (int)n : 0;
}

ssize_t plait_io_recv(int fd, void *data, size_t bytes, int flags)
{
    struct operation o = {
        .op = { .code = PL_OP_RECV, .fd = fd, .buf = data, .len = bytes, .flags = (unsigned)flags }
    };
    return perform(&o);
}

ssize_t plait_io_send(int fd, const void *data, size_t bytes, int flags)
{
    struct operation o = {
        .op = { .code = PL_OP_SEND, .fd = fd, .cbuf = data, .len = bytes, .flags = (unsigned)flags }
    };
    return perform(&o);
}

int plait_io_accept(int fd, struct sockaddr *address, socklen_t *length, int flags)
{
    struct operation o = { .op = { .code = PL_OP_ACCEPT,
                                   .fd = fd,
                                   .addr = address,
                                   .addrlen = length,
                                   .flags = (unsigned)flags | SOCK_CLOEXEC } };
    return (int)perform(&o);
}

int plait_io_connect(int fd, const struct sockaddr *address, socklen_t length)
{
    struct operation o = {
        .op = { .code = PL_OP_CONNECT, .fd = fd, .dest = address, .destlen = length }
    };
    /* A Unix socket whose peer's backlog is full: no event tells that there is room again. */
    int64_t pause = 50 * PLAIT_MICROSECOND;
    int r;
    while ((r = (int)perform(&o)) == -EAGAIN && address->sa_family == AF_UNIX) {
        int e = plait_sleep(pause);
        if (e < 0)
            return e;
        if (pause < 10 * PLAIT_MILLISECOND)
            pause *= 2;
    }
    return r;
}

int plait_io_open(const char *path, int flags, unsigned mode)
{
    struct operation o = { .op = { .code = PL_OP_OPENAT,
                                   .fd = AT_FDCWD,
                                   .path = path,
                                   .flags = (unsigned)flags | O_CLOEXEC,
                                   .mode = mode } };
    return (int)perform(&o);
}

int plait_io_fsync(int fd)
{
    struct operation o = { .op = { .code = PL_OP_FSYNC, .fd = fd } };
    return (int)perform(&o);
}

int plait_io_close(int fd)
{
    return pl_strand_close(fd);
}

int plait_io_poll(int fd, unsigned events, int64_t deadline)
{
    struct operation o;
    int64_t result;
    do {
        o = (struct operation){ .op = { .code = PL_OP_POLL, .fd = fd, .flags = events },
                                .deadline = deadline };
        result = perform(&o);
    } while (result > 0 && !pl_op_polled(&o.op));
    return (int)(result > 0 ? o.op.result : result);
}
