// SPDX-License-Identifier: MIT
// bufio_write.c - the writing half of a buffered stream.
#include "io/bufio.h"
#include "base/bug.h"
#include <limits.h>
#include <stdio.h>
#include <string.h>

enum { PARTS = 16 }; /* in one call of the transport */

/* What is still to be accepted of a caller's parts: from `skip` bytes into parts[0]. */
struct rest {
    const struct iovec *parts;
    int count;
    size_t skip;
    size_t accepted;
};

static void advance(struct rest *r, size_t bytes)
{
    r->accepted += bytes;
    while (r->count > 0 && bytes >= r->parts->iov_len - r->skip) {
        bytes -= r->parts->iov_len - r->skip;
        r->skip = 0;
        r->parts++;
        r->count--;
    }
    r->skip += bytes;
}

static ssize_t transmit(struct plait_bufio *b, const struct iovec *parts, int count, size_t bytes)
{
    if (!b->transport.writev)
        return -EBADF;
    ssize_t n = b->transport.writev(b->self, parts, count);
    if (n > 0 && (size_t)n > bytes)
        PL_BUG("a transport's writev returned %zd for %zu bytes", n, bytes);
    return n == 0 ? -EIO : n; /* neither progress nor an error: a broken transport */
}

/* One call of the transport, with what is buffered and then the caller's own. 0 or a negative
 * errno. */
static int send_some(struct plait_bufio *b, struct rest *r)
{
    struct pl_half *h = &b->out;
    struct iovec parts[PARTS];
    int count = 0;
    size_t buffered = pl_half_count(h), bytes = buffered;
    if (buffered > 0)
        parts[count++] = (struct iovec){ h->data + h->begin, buffered };
    for (int i = 0; r && i < r->count && count < PARTS; i++) {
        size_t skip = i == 0 ? r->skip : 0, length = r->parts[i].iov_len - skip;
        if (length == 0)
            continue;
        if (length > (size_t)SSIZE_MAX - bytes)
            length = (size_t)SSIZE_MAX - bytes;
        parts[count++] = (struct iovec){ (char *)r->parts[i].iov_base + skip, length };
        bytes += length;
        if (bytes == (size_t)SSIZE_MAX)
            break;
    }
    ssize_t n = transmit(b, parts, count, bytes);
    if (n < 0)
        return (int)n;
    size_t own = (size_t)n < buffered ? (size_t)n : buffered;
    pl_half_drop(h, own);
    if (r)
        advance(r, (size_t)n - own);
    return 0;
}

int pl_bufio_drain(struct plait_bufio *b)
{
    int e = 0;
    while (e == 0 && pl_half_count(&b->out) > 0)
        e = send_some(b, NULL);
    return e == 0 && b->transport.flush ? b->transport.flush(b->self) : e;
}

/* The bytes that are left, or any number beyond `most` when they are more. */
static size_t left_of(const struct rest *r, size_t most)
{
    size_t bytes = 0, skip = r->skip;
    for (int i = 0; i < r->count && bytes <= most; i++) {
        size_t length = r->parts[i].iov_len - skip;
        bytes = length > most ? most + 1 : bytes + length;
        skip = 0;
    }
    return bytes;
}

static void copy_rest(struct pl_half *h, struct rest *r)
{
    while (r->count > 0) {
        size_t length = r->parts->iov_len - r->skip;
        if (length > 0)
            memcpy(h->data + h->end, (const char *)r->parts->iov_base + r->skip, length);
        h->end += length;
        advance(r, length);
    }
}

static int accept_all(struct plait_bufio *b, struct rest *r)
{
    struct pl_half *h = &b->out;
    advance(r, 0); /* past empty parts in front */
    if (r->count == 0)
        return 0;
    if (b->shut)
        return -EPIPE;
    if (!b->transport.writev)
        return -EBADF;
    for (;;) {
        size_t unused = (h->data ? h->room : b->write_bytes) - pl_half_count(h);
        size_t left = left_of(r, unused);
        if (left <= unused) {
            int e = pl_half_reserve(h, left, b->write_bytes);
            if (e == 0)
                copy_rest(h, r);
            return e;
        }
        int e = send_some(b, r);
        if (e < 0 || r->count == 0)
            return e;
    }
}

int plait_bufio_writev(plait_bufio *b, const struct iovec *parts, int count, size_t *done)
{
    if (count < 0)
        return -EINVAL;
    struct rest r = { .parts = parts, .count = count };
    pl_half_enter(&b->out, __func__, "write");
    int e = accept_all(b, &r);
    pl_half_leave(&b->out);
    if (done)
        *done = r.accepted;
    return e;
}

int plait_bufio_write(plait_bufio *b, const void *data, size_t bytes, size_t *done)
{
    struct iovec part = { (void *)data, bytes };
    return plait_bufio_writev(b, &part, 1, done);
}

/* Writes as much as there is room for behind the buffer's bytes: the length of the whole text. */
static int format_behind(struct pl_half *h, const char *format, va_list args)
{
    va_list copy;
    va_copy(copy, args);
    int n = vsnprintf(h->data + h->end, h->room - h->end, format, copy);
    va_end(copy);
    return n;
}

/* All or nothing: so it may only be sent in parts once it is in the buffer as a whole. */
static int accept_text(struct plait_bufio *b, const char *format, va_list args)
{
    struct pl_half *h = &b->out;
    if (b->shut)
        return -EPIPE;
    if (!b->transport.writev)
        return -EBADF;
    int e = h->data ? 0 : pl_half_reserve(h, b->write_bytes, b->write_bytes);
    if (e < 0)
        return e;
    int n = format_behind(h, format, args);
    if (n < 0)
        return -EINVAL;
    size_t text = (size_t)n;
    if (text > b->limit)
        return -EMSGSIZE;
    if (text >= h->room - h->end) { /* vsnprintf() wants one more, for its 0 */
        while (e == 0 && pl_half_count(h) > 0 && text >= h->room - pl_half_count(h))
            e = send_some(b, NULL);
        if (e == 0)
            e = pl_half_reserve(h, text + 1, b->write_bytes);
        if (e < 0)
            return e;
        format_behind(h, format, args);
    }
    h->end += text;
    return 0;
}

int plait_bufio_vprintf(plait_bufio *b, const char *format, va_list args)
{
    pl_half_enter(&b->out, __func__, "write");
    int e = accept_text(b, format, args);
    pl_half_leave(&b->out);
    return e;
}

int plait_bufio_printf(plait_bufio *b, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int e = plait_bufio_vprintf(b, format, args);
    va_end(args);
    return e;
}

int plait_bufio_flush(plait_bufio *b)
{
    pl_half_enter(&b->out, __func__, "write");
    int e = b->shut ? 0 : pl_bufio_drain(b);
    pl_half_leave(&b->out);
    return e;
}

int plait_bufio_shutdown(plait_bufio *b)
{
    pl_half_enter(&b->out, __func__, "write");
    int e = b->shut ? 0 : pl_bufio_drain(b);
    if (e == 0 && !b->shut) {
        e = b->transport.shutdown ? b->transport.shutdown(b->self) : -ENOTSUP;
        b->shut = e == 0;
    }
    pl_half_leave(&b->out);
    return e;
}
