// SPDX-License-Identifier: MIT
// bufio_read.c - the reading half of a buffered stream.
#include "io/bufio.h"
#include "base/bug.h"
#include <string.h>

static ssize_t receive(struct plait_bufio *b, void *data, size_t bytes)
{
    if (!b->transport.read)
        return -EBADF;
    ssize_t n = b->transport.read(b->self, data, bytes);
    if (n > 0 && (size_t)n > bytes)
        PL_BUG("a transport's read returned %zd bytes where there is room for %zu", n, bytes);
    return n;
}

/* How much room to have when `need` bytes are to lie in one run: doubles, so that an item costs a
 * bounded number of copies, up to what an item may have. */
static size_t room_for(const struct plait_bufio *b, size_t need)
{
    size_t most = b->limit > b->read_bytes ? b->limit : b->read_bytes;
    size_t room = b->read_bytes;
    while (room < need)
        room = room < most / 2 ? room * 2 : most;
    return room;
}

/* Reads some more behind what is buffered, which is less than an item may have. Bytes, 0 at the end
 * of file, or a negative errno. */
static ssize_t fill(struct plait_bufio *b)
{
    struct pl_half *h = &b->in;
    int e = pl_half_reserve(h, 1, room_for(b, pl_half_count(h) + 1));
    if (e < 0)
        return e;
    ssize_t n = receive(b, h->data + h->end, h->room - h->end);
    if (n > 0)
        h->end += (size_t)n;
    return n;
}

/* What a call that needs more returns when fill() returned n <= 0. */
static int no_more(const struct plait_bufio *b, ssize_t n)
{
    return n < 0 ? (int)n : pl_half_count(&b->in) > 0 ? -ENODATA : 0;
}

static size_t take(struct pl_half *h, void *data, size_t bytes)
{
    size_t n = pl_half_count(h) < bytes ? pl_half_count(h) : bytes;
    if (n > 0 && data)
        memcpy(data, h->data + h->begin, n);
    pl_half_drop(h, n);
    return n;
}

/* Some bytes to `data`, past the buffer where there is as much room as it has; NULL drops them. */
static ssize_t read_some(struct plait_bufio *b, void *data, size_t bytes)
{
    if (bytes == 0)
        return 0;
    if (pl_half_count(&b->in) == 0) {
        bool direct = data && bytes >= b->read_bytes;
        ssize_t n = direct ? receive(b, data, bytes) : fill(b);
        if (direct || n <= 0)
            return n;
    }
    return (ssize_t)take(&b->in, data, bytes);
}

ssize_t plait_bufio_read(plait_bufio *b, void *data, size_t bytes)
{
    pl_half_enter(&b->in, __func__, "read");
    ssize_t n = read_some(b, data, bytes);
    pl_half_leave(&b->in);
    return n;
}

static int read_all(struct plait_bufio *b, char *data, size_t bytes, size_t *done)
{
    size_t got = 0;
    ssize_t n = 1;
    while (got < bytes && n > 0) {
        n = read_some(b, data ? data + got : NULL, bytes - got);
        if (n > 0)
            got += (size_t)n;
    }
    if (done)
        *done = got;
    return n > 0 ? 1 : n < 0 ? (int)n : got > 0 ? -ENODATA : 0;
}

int plait_bufio_read_exactly(plait_bufio *b, void *data, size_t bytes, size_t *done)
{
    pl_half_enter(&b->in, __func__, "read");
    int e = read_all(b, data, bytes, done);
    pl_half_leave(&b->in);
    return e;
}

int plait_bufio_skip(plait_bufio *b, size_t bytes, size_t *done)
{
    pl_half_enter(&b->in, __func__, "read");
    int e = read_all(b, NULL, bytes, done);
    pl_half_leave(&b->in);
    return e;
}

/* Fills until the delimiter is there: 1 and the size of the item with it. */
static int find(struct plait_bufio *b, const void *delimiter, size_t bytes, size_t *item)
{
    struct pl_half *h = &b->in;
    size_t looked_at = 0; /* no delimiter begins before */
    for (;;) {
        size_t count = pl_half_count(h) < b->limit ? pl_half_count(h) : b->limit;
        if (count - looked_at >= bytes) {
            const char *start = h->data + h->begin;
            const char *found = memmem(start + looked_at, count - looked_at, delimiter, bytes);
            if (found) {
                *item = (size_t)(found - start) + bytes;
                return 1;
            }
            looked_at = count - bytes + 1;
        }
        if (count == b->limit)
            return -EMSGSIZE;
        ssize_t n = fill(b);
        if (n <= 0)
            return no_more(b, n);
    }
}

int plait_bufio_read_until(plait_bufio *b, const void *delimiter, size_t bytes,
                           struct plait_span *ret)
{
    if (bytes == 0)
        PL_BUG("a delimiter has at least one byte");
    size_t item = 0;
    pl_half_enter(&b->in, __func__, "read");
    int e = find(b, delimiter, bytes, &item);
    if (e == 1) {
        *ret = (struct plait_span){ b->in.data + b->in.begin, item };
        pl_half_drop(&b->in, item);
    }
    pl_half_leave(&b->in);
    return e;
}

int plait_bufio_read_line(plait_bufio *b, struct plait_span *ret)
{
    size_t item = 0;
    pl_half_enter(&b->in, __func__, "read");
    int e = find(b, "\n", 1, &item);
    if (e == 1) {
        char *line = b->in.data + b->in.begin;
        pl_half_drop(&b->in, item);
        size_t length = item - 1;
        if (length > 0 && line[length - 1] == '\r')
            length--;
        line[length] = 0;
        *ret = (struct plait_span){ line, length };
    }
    pl_half_leave(&b->in);
    return e;
}

int plait_bufio_peek(plait_bufio *b, size_t bytes, struct plait_span *ret)
{
    struct pl_half *h = &b->in;
    int e = bytes > b->limit ? -EMSGSIZE : 1;
    pl_half_enter(h, __func__, "read");
    while (e == 1 && pl_half_count(h) < bytes) {
        ssize_t n = fill(b);
        if (n <= 0)
            e = no_more(b, n);
    }
    if (e == 1)
        *ret = (struct plait_span){ h->data + h->begin, pl_half_count(h) };
    pl_half_leave(h);
    return e;
}

size_t plait_bufio_buffered(const plait_bufio *b)
{
    return pl_half_count(&b->in);
}
