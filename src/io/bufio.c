// SPDX-License-Identifier: MIT
// bufio.c - opening and closing buffered streams, and what their two halves have in common.
#include "io/bufio.h"
#include "base/bug.h"
#include "os/alloc.h"
#include "os/ipc.h"
#include <plait/io.h>
#include <string.h>

enum { DEFAULT_BUFFER = 8192, DEFAULT_LIMIT = 65536 };

// ---- halves

int pl_half_reserve(struct pl_half *h, size_t bytes, size_t least)
{
    size_t count = pl_half_count(h);
    if (h->room - h->end >= bytes && h->data)
        return 0;
    if (h->room - count >= bytes && h->data) {
        memmove(h->data, h->data + h->begin, count);
    } else {
        size_t room = count + bytes > least ? count + bytes : least;
        char *data = pl_alloc(room);
        if (!data)
            return -ENOMEM;
        if (h->data && count > 0)
            memcpy(data, h->data + h->begin, count);
        pl_free_mem(h->data);
        h->data = data;
        h->room = room;
    }
    h->begin = 0;
    h->end = count;
    return 0;
}

void pl_half_enter(struct pl_half *h, const char *where, const char *verb)
{
    // Acquire: pairs with the release of pl_half_leave(), so that who comes next sees the bytes.
    if (PL_UNLIKELY(atomic_exchange_explicit(&h->busy, true, memory_order_acquire)))
        pl_bug_die("CALLER OF ", where,
                   "two calls %s one stream at the same time: let one task do it, or hold a "
                   "plait_mutex",
                   verb);
}

void pl_half_leave(struct pl_half *h)
{
    // Release: pairs with the acquire of pl_half_enter().
    atomic_store_explicit(&h->busy, false, memory_order_release);
}

// ---- the transport of a descriptor

static int descriptor(void *self)
{
    return (int)(intptr_t)self;
}

static ssize_t fd_read(void *self, void *data, size_t bytes)
{
    return plait_io_read(descriptor(self), data, bytes);
}

static ssize_t fd_writev(void *self, const struct iovec *parts, int count)
{
    return plait_io_writev(descriptor(self), parts, count);
}

static int fd_shutdown(void *self)
{
    return pl_socket_end_writes(descriptor(self));
}

static int fd_close(void *self, bool orderly)
{
    (void)orderly;
    return plait_io_close(descriptor(self));
}

const struct plait_transport *plait_fd_transport(void)
{
    static const struct plait_transport fd_transport = {
        .size = sizeof fd_transport,
        .read = fd_read,
        .writev = fd_writev,
        .shutdown = fd_shutdown,
        .close = fd_close,
    };
    return &fd_transport;
}

// ---- opening and closing

int plait_bufio_open_over(plait_bufio **ret, const struct plait_transport *transport, void *self,
                          const struct plait_bufio_options *options)
{
    struct plait_bufio_options o = { 0 };
    if (options)
        memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
    struct plait_bufio *b = pl_zalloc(sizeof *b);
    if (!b)
        return -ENOMEM;
    memcpy(&b->transport, transport,
           transport->size < sizeof b->transport ? transport->size : sizeof b->transport);
    if (o.keep_open)
        b->transport.close = NULL;
    b->self = self;
    b->read_bytes = o.read_bytes ? o.read_bytes : DEFAULT_BUFFER;
    b->write_bytes = o.write_bytes ? o.write_bytes : DEFAULT_BUFFER;
    b->limit = o.limit ? o.limit : DEFAULT_LIMIT;
    atomic_init(&b->in.busy, false);
    atomic_init(&b->out.busy, false);
    *ret = b;
    return 0;
}

int plait_bufio_open_fd(plait_bufio **ret, int fd, const struct plait_bufio_options *options)
{
    if (fd < 0)
        return -EINVAL;
    return plait_bufio_open_over(ret, plait_fd_transport(), (void *)(intptr_t)fd, options);
}

static int finish(struct plait_bufio *b, const char *where, bool orderly)
{
    pl_half_enter(&b->in, where, "close and read");
    pl_half_enter(&b->out, where, "close and write");
    int e = orderly && b->transport.writev ? pl_bufio_drain(b) : 0;
    int closed = b->transport.close ? b->transport.close(b->self, orderly && e == 0) : 0;
    pl_free_mem(b->in.data);
    pl_free_mem(b->out.data);
    pl_free_mem(b);
    return e < 0 ? e : closed;
}

int plait_bufio_close(plait_bufio *b)
{
    return b ? finish(b, __func__, true) : 0;
}

void plait_bufio_abort(plait_bufio *b)
{
    if (b)
        finish(b, __func__, false);
}
