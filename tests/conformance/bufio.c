// SPDX-License-Identifier: MIT
// Buffered streams: each check runs in a task of every executor, and on a plain thread.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conformance/tasks.h"

static int begin(plait_scope *s, int64_t ns)
{
    return plait_scope_begin(s, conform_here(), .deadline = plait_after(ns));
}

static void make_pair(int pair[2])
{
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), ==, 0);
}

static void send_text(int fd, const char *text)
{
    CHECK_INT(plait_io_write_all(fd, text, strlen(text), NULL), ==, 0);
}

#define CHECK_SPAN(span, text)                                                                     \
    do {                                                                                           \
        CHECK_INT((span).bytes, ==, strlen(text));                                                 \
        CHECK_MEM((span).data, text, (span).bytes);                                                \
    } while (0)

/* A transport whose input is a text, one byte a read, with an error before each that is not 0. Its
 * output takes one byte a call. */
struct drip {
    const char *text;
    int error;
    bool failed, closed, orderly;
    char out[256];
    size_t out_bytes;
};

static ssize_t drip_read(void *self, void *data, size_t bytes)
{
    struct drip *d = self;
    CHECK(bytes > 0);
    d->failed = d->error && !d->failed;
    if (d->failed)
        return d->error;
    if (!*d->text)
        return 0;
    *(char *)data = *d->text++;
    return 1;
}

static ssize_t drip_writev(void *self, const struct iovec *parts, int count)
{
    struct drip *d = self;
    CHECK(count >= 1 && count <= 16 && parts[0].iov_len > 0);
    d->failed = d->error && !d->failed;
    if (d->failed)
        return d->error;
    CHECK_INT(d->out_bytes, <, sizeof d->out - 1);
    d->out[d->out_bytes++] = *(const char *)parts[0].iov_base;
    return 1;
}

static int drip_close(void *self, bool orderly)
{
    struct drip *d = self;
    CHECK(!d->closed);
    d->closed = true;
    d->orderly = orderly;
    return 0;
}

static const struct plait_transport drip_transport = {
    .size = sizeof drip_transport,
    .read = drip_read,
    .writev = drip_writev,
    .close = drip_close,
};

static void open_drip(plait_bufio **b, struct drip *d, const char *text, int error)
{
    memset(d, 0, sizeof *d);
    d->text = text;
    d->error = error;
    CHECK_INT(plait_bufio_open_over(b, &drip_transport, d, NULL), ==, 0);
}

// ---- checks ------------------------------------------------------------------------------------

static void lines(void)
{
    int pair[2];
    plait_bufio *b;
    struct plait_span line;
    char rest[8] = "";
    make_pair(pair);
    CHECK_INT(plait_bufio_open(&b, pair[0]), ==, 0);
    send_text(pair[1], "one\r\ntwo\n\n\r\nla");
    static const char *const expected[] = { "one", "two", "", "" };
    for (int i = 0; i < 4; i++) {
        CHECK_INT(plait_bufio_read_line(b, &line), ==, 1);
        CHECK_STR((const char *)line.data, expected[i]);
        CHECK_INT(line.bytes, ==, strlen(expected[i]));
    }
    CHECK_INT(plait_bufio_buffered(b), ==, 2);
    send_text(pair[1], "st");
    CHECK_INT(plait_io_close(pair[1]), ==, 0);
    line = (struct plait_span){ "untouched", 9 };
    for (int twice = 0; twice < 2; twice++)
        CHECK_INT(plait_bufio_read_line(b, &line), ==, -ENODATA);
    CHECK_SPAN(line, "untouched");
    CHECK_INT(plait_bufio_read(b, rest, sizeof rest), ==, 4);
    CHECK_STR(rest, "last");
    CHECK_INT(plait_bufio_read_line(b, &line), ==, 0);
    CHECK_INT(plait_bufio_read(b, rest, sizeof rest), ==, 0);
    CHECK_INT(plait_bufio_close(b), ==, 0);
}

static void counts(void)
{
    struct drip d;
    plait_bufio *b;
    struct plait_span seen;
    char data[16] = "";
    size_t done = 99;
    open_drip(&b, &d, "abcdefghij", 0);
    CHECK_INT(plait_bufio_peek(b, 0, &seen), ==, 1);
    CHECK_INT(seen.bytes, ==, 0);
    CHECK_INT(plait_bufio_peek(b, 3, &seen), ==, 1);
    CHECK_SPAN(seen, "abc");
    CHECK_INT(plait_bufio_read_exactly(b, data, 0, &done), ==, 1);
    CHECK_INT(done, ==, 0);
    CHECK_INT(plait_bufio_read_exactly(b, data, 5, &done), ==, 1);
    CHECK_INT(done, ==, 5);
    CHECK_MEM(data, "abcde", 5);
    CHECK_INT(plait_bufio_skip(b, 2, NULL), ==, 1);
    CHECK_INT(plait_bufio_read(b, data, 1), ==, 1);
    CHECK_INT(data[0], ==, 'h');
    CHECK_INT(plait_bufio_read(b, data, 0), ==, 0);
    seen = (struct plait_span){ "untouched", 9 };
    CHECK_INT(plait_bufio_peek(b, 3, &seen), ==, -ENODATA);
    CHECK_SPAN(seen, "untouched");
    CHECK_INT(plait_bufio_peek(b, 2, &seen), ==, 1);
    CHECK_SPAN(seen, "ij");
    CHECK_INT(plait_bufio_peek(b, 65537, &seen), ==, -EMSGSIZE);
    CHECK_INT(plait_bufio_read_exactly(b, data, 4, &done), ==, -ENODATA);
    CHECK_INT(done, ==, 2);
    CHECK_MEM(data, "ij", 2);
    CHECK_INT(plait_bufio_read_exactly(b, data, 4, &done), ==, 0);
    CHECK_INT(plait_bufio_skip(b, 1, &done), ==, 0);
    CHECK_INT(plait_bufio_peek(b, 1, &seen), ==, 0);
    CHECK_INT(plait_bufio_close(b), ==, 0);
    CHECK(d.closed && d.orderly);
}

static void delimiters(void)
{
    struct drip d;
    plait_bufio *b;
    struct plait_span head;
    open_drip(&b, &d, "a: 1\r\n\r\r\n\r\nbody\r\n\r", 0);
    CHECK_INT(plait_bufio_read_until(b, "\r\n\r\n", 4, &head), ==, 1);
    CHECK_SPAN(head, "a: 1\r\n\r\r\n\r\n");
    CHECK_INT(plait_bufio_read_until(b, "\r\n\r\n", 4, &head), ==, -ENODATA);
    CHECK_INT(plait_bufio_read_until(b, "y", 1, &head), ==, 1);
    CHECK_SPAN(head, "body");
    CHECK_INT(plait_bufio_close(b), ==, 0);
}

static void limits(void)
{
    int pair[2];
    plait_bufio *b;
    struct plait_span item;
    char text[101];
    memset(text, 'x', sizeof text);
    make_pair(pair);
    for (size_t length = 98; length <= 101; length++) { // with its newline, the limit is 100
        CHECK_INT(plait_bufio_open(&b, pair[0], .limit = 100, .read_bytes = 7, .keep_open = true),
                  ==, 0);
        CHECK_INT(plait_io_write_all(pair[1], text, length, NULL), ==, 0);
        send_text(pair[1], "\nz");
        int expected = length < 100 ? 1 : -EMSGSIZE;
        CHECK_INT(plait_bufio_read_line(b, &item), ==, expected);
        if (expected < 0) // again, since nothing was taken
            CHECK_INT(plait_bufio_read_line(b, &item), ==, expected);
        CHECK_INT(plait_bufio_skip(b, expected == 1 ? 1 : length + 2, NULL), ==, 1);
        CHECK_INT(plait_bufio_buffered(b), ==, 0);
        CHECK_INT(plait_bufio_close(b), ==, 0);
    }
    CHECK_INT(plait_io_close(pair[0]), ==, 0); // kept open by .keep_open
    CHECK_INT(plait_io_close(pair[1]), ==, 0);
    CHECK_INT(plait_bufio_open(&b, -1), ==, -EINVAL);
    CHECK_INT(plait_bufio_close(NULL), ==, 0);
    plait_bufio_abort(NULL);
}

static void writing(void)
{
    int pair[2];
    plait_bufio *b, *peer;
    struct plait_span line;
    static char large[40000];
    size_t done = 0;
    char byte;
    make_pair(pair);
    memset(large, 'L', sizeof large);
    CHECK_INT(plait_bufio_open(&b, pair[0], .write_bytes = 16, .limit = 50000), ==, 0);
    CHECK_INT(plait_bufio_open(&peer, pair[1]), ==, 0);
    CHECK_INT(plait_bufio_write(b, "0123456789", 10, &done), ==, 0);
    CHECK_INT(done, ==, 10);
    CHECK_INT(plait_io_recv(pair[1], &byte, 1, MSG_DONTWAIT), ==, -EAGAIN); // gathered
    CHECK_INT(plait_bufio_printf(b, "%s %d\n", "and more than sixteen bytes", 42), ==, 0);
    CHECK_INT(plait_bufio_printf(b, "%s\n", ""), ==, 0);
    CHECK_INT(plait_bufio_printf(b, "%.*s\n", (int)sizeof large, large), ==, 0);
    CHECK_INT(plait_bufio_printf(b, "%50001d", 1), ==, -EMSGSIZE);
    struct iovec parts[40];
    for (int i = 0; i < 40; i++)
        parts[i] = (struct iovec){ (void *)(i % 3 ? "ab" : ""), i % 3 ? 2 : 0 };
    CHECK_INT(plait_bufio_writev(b, parts, 40, &done), ==, 0);
    CHECK_INT(done, ==, 52);
    CHECK_INT(plait_bufio_writev(b, parts, -1, NULL), ==, -EINVAL);
    CHECK_INT(plait_bufio_writev(b, parts, 0, &done), ==, 0);
    CHECK_INT(done, ==, 0);
    parts[0] = (struct iovec){ "\n", 1 };
    parts[1] = (struct iovec){ large, sizeof large };
    parts[2] = (struct iovec){ "\n", 1 };
    CHECK_INT(plait_bufio_writev(b, parts, 3, NULL), ==, 0);
    CHECK_INT(plait_bufio_shutdown(b), ==, 0);
    CHECK_INT(plait_bufio_shutdown(b), ==, 0);
    CHECK_INT(plait_bufio_write(b, "x", 1, &done), ==, -EPIPE);
    CHECK_INT(plait_bufio_printf(b, "x"), ==, -EPIPE);
    CHECK_INT(plait_bufio_flush(b), ==, 0);
    CHECK_INT(plait_bufio_read_line(peer, &line), ==, 1);
    CHECK_SPAN(line, "0123456789and more than sixteen bytes 42");
    CHECK_INT(plait_bufio_read_line(peer, &line), ==, 1);
    CHECK_INT(line.bytes, ==, 0);
    CHECK_INT(plait_bufio_read_line(peer, &line), ==, 1);
    CHECK_INT(line.bytes, ==, sizeof large);
    CHECK_INT(plait_bufio_read_line(peer, &line), ==, 1);
    CHECK_INT(line.bytes, ==, 52);
    CHECK_INT(plait_bufio_read_line(peer, &line), ==, 1);
    CHECK_MEM(line.data, large, sizeof large);
    CHECK_INT(plait_bufio_read_line(peer, &line), ==, 0);
    CHECK_INT(plait_bufio_printf(peer, "the other way\n"), ==, 0);
    CHECK_INT(plait_bufio_close(peer), ==, 0);
    CHECK_INT(plait_bufio_read_line(b, &line), ==, 1);
    CHECK_SPAN(line, "the other way");
    CHECK_INT(plait_bufio_close(b), ==, 0);
}

/* Every other call of the transport fails: each call of the stream can be made again. */
static void failing(void)
{
    struct drip d;
    plait_bufio *b;
    struct plait_span line;
    char data[8] = "";
    size_t done, got = 0;
    int e, failures = 0;
    open_drip(&b, &d, "line\nexactly", -EIO);
    while ((e = plait_bufio_read_line(b, &line)) == -EIO)
        failures++;
    CHECK_INT(e, ==, 1);
    CHECK_SPAN(line, "line");
    CHECK_INT(failures, ==, 5);
    for (e = -EIO; e == -EIO; got += done)
        e = plait_bufio_read_exactly(b, data + got, 7 - got, &done);
    CHECK_INT(e, ==, 1);
    CHECK_INT(got, ==, 7);
    CHECK_STR(data, "exactly");
    CHECK_INT(plait_bufio_printf(b, "hello"), ==, 0);
    for (failures = 0; (e = plait_bufio_flush(b)) == -EIO;)
        failures++;
    CHECK_INT(e, ==, 0);
    CHECK_INT(failures, >=, 4);
    CHECK_STR(d.out, "hello");
    CHECK_INT(plait_bufio_printf(b, "lost"), ==, 0);
    d.failed = false;
    CHECK_INT(plait_bufio_close(b), ==, -EIO);
    CHECK(d.closed && !d.orderly);
    open_drip(&b, &d, "", 0);
    CHECK_INT(plait_bufio_printf(b, "given up"), ==, 0);
    plait_bufio_abort(b);
    CHECK(d.closed && !d.orderly);
    CHECK_STR(d.out, "");
}

static void one_way(void)
{
    struct plait_transport deaf = drip_transport, dumb = drip_transport;
    struct drip d = { .text = "abc" };
    plait_bufio *b;
    struct plait_span line;
    char byte;
    deaf.read = NULL;
    CHECK_INT(plait_bufio_open_over(&b, &deaf, &d, NULL), ==, 0);
    CHECK_INT(plait_bufio_read(b, &byte, 1), ==, -EBADF);
    CHECK_INT(plait_bufio_read_line(b, &line), ==, -EBADF);
    CHECK_INT(plait_bufio_printf(b, "x"), ==, 0);
    CHECK_INT(plait_bufio_shutdown(b), ==, -ENOTSUP);
    CHECK_INT(plait_bufio_close(b), ==, 0);
    CHECK_STR(d.out, "x");
    d.closed = false;
    dumb.writev = NULL;
    CHECK_INT(plait_bufio_open_over(&b, &dumb, &d, NULL), ==, 0);
    CHECK_INT(plait_bufio_write(b, "x", 1, NULL), ==, -EBADF);
    CHECK_INT(plait_bufio_printf(b, "x"), ==, -EBADF);
    CHECK_INT(plait_bufio_read(b, &byte, 1), ==, 1);
    CHECK_INT(plait_bufio_close(b), ==, 0);
    int ends[2];
    CHECK_INT(pipe2(ends, O_CLOEXEC), ==, 0);
    CHECK_INT(plait_bufio_open(&b, ends[1]), ==, 0);
    CHECK_INT(plait_bufio_shutdown(b), ==, -ENOTSOCK);
    CHECK_INT(plait_io_close(ends[0]), ==, 0);
    CHECK_INT(plait_bufio_printf(b, "x"), ==, 0);
    CHECK_INT(plait_bufio_flush(b), ==, -EPIPE);
    CHECK_INT(plait_bufio_close(b), ==, -EPIPE);
}

static void deadlines_while_reading(void)
{
    int pair[2];
    plait_bufio *b;
    plait_scope s;
    struct plait_span line;
    char data[20] = "";
    size_t done = 0;
    make_pair(pair);
    CHECK_INT(plait_bufio_open(&b, pair[0], .read_bytes = 4), ==, 0);
    send_text(pair[1], "half a");
    CHECK_INT(plait_bufio_peek(b, 6, &line), ==, 1); // else a slow machine has not read it in time
    CHECK_INT(begin(&s, 3 * PLAIT_MILLISECOND), ==, 0);
    CHECK_INT(plait_bufio_read_line(b, &line), ==, -ETIMEDOUT);
    CHECK_INT(plait_bufio_read_line(b, &line), ==, -ETIMEDOUT);
    CHECK_INT(plait_bufio_peek(b, 7, &line), ==, -ETIMEDOUT);
    CHECK_INT(plait_bufio_peek(b, 6, &line), ==, 1); // there is no need to wait
    CHECK_INT(plait_scope_end(&s), ==, -ETIMEDOUT);
    send_text(pair[1], " line\nsixteen");
    CHECK_INT(plait_bufio_read_line(b, &line), ==, 1);
    CHECK_SPAN(line, "half a line");
    CHECK_INT(begin(&s, PLAIT_SECOND * 60), ==, 0);
    plait_scope_cancel(&s);
    CHECK_INT(plait_bufio_read_exactly(b, data, 16, &done), ==, -ECANCELED);
    CHECK_INT(plait_scope_end(&s), ==, -ECANCELED);
    send_text(pair[1], " chars ok");
    CHECK_INT(plait_bufio_read_exactly(b, data + done, 16 - done, &done), ==, 1);
    CHECK_STR(data, "sixteen chars ok");
    CHECK_INT(plait_io_close(pair[1]), ==, 0);
    CHECK_INT(plait_bufio_close(b), ==, 0);
}

static void deadlines_while_writing(void)
{
    enum { ITEM = 1000, ITEMS = 3000 };
    int pair[2];
    plait_bufio *b, *peer;
    plait_scope s;
    char item[ITEM], got[ITEM];
    size_t accepted = 0, done = 0;
    int e = 0;
    make_pair(pair);
    CHECK_INT(plait_bufio_open(&b, pair[0]), ==, 0);
    CHECK_INT(plait_bufio_open(&peer, pair[1]), ==, 0);
    CHECK_INT(begin(&s, 3 * PLAIT_MILLISECOND), ==, 0);
    for (int i = 0; e == 0; i++) { // nobody reads: it gets full
        CHECK_INT(i, <, ITEMS);
        memset(item, i % 251, ITEM);
        e = plait_bufio_write(b, item, ITEM, &done);
        accepted += done;
    }
    CHECK_INT(e, ==, -ETIMEDOUT);
    CHECK_INT(plait_bufio_flush(b), ==, -ETIMEDOUT);
    CHECK_INT(plait_scope_end(&s), ==, -ETIMEDOUT);
    size_t last = accepted / ITEM;
    for (size_t i = 0; i < last; i++) {
        memset(item, (int)(i % 251), ITEM);
        CHECK_INT(plait_bufio_read_exactly(peer, got, ITEM, NULL), ==, 1);
        CHECK_MEM(got, item, ITEM);
        if (i == last / 2) // there is room for what is buffered
            CHECK_INT(plait_bufio_flush(b), ==, 0);
    }
    CHECK_INT(plait_bufio_shutdown(b), ==, 0);
    CHECK_INT(plait_bufio_skip(peer, ITEM, &done), ==, accepted % ITEM ? -ENODATA : 0);
    CHECK_INT(done, ==, accepted % ITEM);
    CHECK_INT(plait_bufio_close(peer), ==, 0);
    CHECK_INT(plait_bufio_close(b), ==, 0);
}

static const struct conform_check checks[] = {
    { "lines", lines },
    { "counts", counts },
    { "delimiters", delimiters },
    { "limits", limits },
    { "writing", writing },
    { "failing", failing },
    { "one_way", one_way },
    { "deadlines_while_reading", deadlines_while_reading },
    { "deadlines_while_writing", deadlines_while_writing },
};
CONFORM_CHECKS(checks);

CONFORM(in_a_task)
{
    CONFORM_IN_A_TASK(ex, checks);
}

TEST(on_a_plain_thread)
{
    CONFORM_ON_A_PLAIN_THREAD(checks);
}
