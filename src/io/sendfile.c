// SPDX-License-Identifier: MIT
/*
 * sendfile.c - a file's bytes to a descriptor.
 *
 * DESIGN
 *   sendfile(2) takes no flag against blocking: it blocks unless `out` itself has O_NONBLOCK set,
 *   and we never change that flag. So it is used where the flag is there, in steps, waiting for
 *   room between them; everything else goes through a buffer, by the ordinary operations.
 *   What also blocks is a file whose data is not in memory, and the loop must not stand still for a
 *   disk. On a fiber a step looks first whether its first and its last byte are in memory, and goes
 *   to the blocking pool otherwise; what the kernel reads ahead then serves the steps that follow.
 *
 *   Dropped: splice through a pipe in io_uring. The ring hands every splice to a kernel thread, and
 * with a slow reader that thread stays blocked: a thread for each reader is what a loop is to
 * avoid.
 */
#include <plait/io.h>

#include "base/bug.h"
#include "core/strand.h"
#include "os/alloc.h"
#include "os/loop.h"
#include "os/socket.h"
#include <plait/fiber.h>
#include <poll.h>

enum { BUFFER_BYTES = 64 << 10, STEP_BYTES = 256 << 10 };

struct transfer {
    int out, in;
    int64_t offset;
    size_t bytes;
    char *buffer;
    ssize_t result; /* of a step on the blocking pool */
};

static bool in_memory(int fd, int64_t offset)
{
    char byte;
    struct pl_op op = { .code = PL_OP_READ, .fd = fd, .buf = &byte, .len = 1, .offset = offset };
    return pl_op_try(&op); /* an error or the end of the file counts: the step will tell */
}

static int step_on_thread(void *arg)
{
    struct transfer *t = arg;
    t->result = pl_sendfile(t->out, t->in, t->offset, t->bytes);
    return 0;
}

/* One sendfile(2): bytes sent, 0 at the end of the file, a negative errno. */
static ssize_t step_direct(const struct transfer *whole)
{
    struct transfer t = *whole;
    if (t.bytes > STEP_BYTES)
        t.bytes = STEP_BYTES;
    if (pl_strand_current()->worker &&
        !(in_memory(t.in, t.offset) && in_memory(t.in, t.offset + (int64_t)t.bytes - 1))) {
        int e = plait_blocking(step_on_thread, &t);
        if (e < 0)
            return e;
    } else {
        step_on_thread(&t);
    }
    return t.result;
}

/* The same, waiting for room. */
static ssize_t direct(const struct transfer *t)
{
    for (;;) {
        int e = pl_strand_yield(pl_strand_current());
        if (e < 0)
            return e;
        ssize_t n = step_direct(t);
        if (n != -EAGAIN)
            return n;
        e = plait_io_poll(t->out, POLLOUT, PLAIT_NEVER);
        if (e < 0)
            return e;
    }
}

/* A buffer full, read and written. Bytes written, which are fewer only together with an error. */
static ssize_t copy(struct transfer *t)
{
    size_t done = 0;
    if (!t->buffer && !(t->buffer = pl_alloc(BUFFER_BYTES)))
        return -ENOMEM;
    size_t want = t->bytes < BUFFER_BYTES ? t->bytes : BUFFER_BYTES;
    ssize_t n = plait_io_pread(t->in, t->buffer, want, t->offset);
    if (n <= 0)
        return n;
    int e = plait_io_write_all(t->out, t->buffer, (size_t)n, &done);
    return done > 0 ? (ssize_t)done : e;
}

ssize_t plait_io_sendfile(int out, int in, int64_t offset, size_t bytes)
{
    struct transfer t = { .out = out, .in = in, .offset = offset, .bytes = bytes };
    size_t sent = 0;
    ssize_t n = 0;
    if (offset < 0)
        return -EINVAL;
    if (bytes > INT64_MAX - (uint64_t)offset)
        t.bytes = bytes = (size_t)(INT64_MAX - offset);
    bool is_direct = pl_fd_is_nonblocking(out);
    while (sent < bytes) {
        n = is_direct ? direct(&t) : copy(&t);
        if (n == -EINVAL && is_direct) { /* not of a kind that sendfile(2) takes */
            is_direct = false;
            continue;
        }
        if (n <= 0)
            break;
        sent += (size_t)n;
        t.offset += n;
        t.bytes -= (size_t)n;
    }
    pl_free_mem(t.buffer);
    return sent > 0 ? (ssize_t)sent : n;
}
