// SPDX-License-Identifier: MIT
/*
 * bufio.c - buffered streams against a model: random calls on random bytes through a transport that
 * gives and takes random pieces and fails at random. Whatever is returned, the bytes that come out
 * are those that went in, in order, each once.
 */
#include <plait.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

enum { BYTES = 3000, ROUNDS = 3000, INJECTED = -EXFULL };

struct model {
    uint32_t state;
    unsigned char data[BYTES];
    size_t given;   // how much of data the stream has read
    size_t at;      // how much of data came out of the stream
    unsigned piece; // most bytes of a call of the transport
    unsigned errors_in_100;
    unsigned char sink[4 * BYTES], expected[4 * BYTES];
    size_t sunk, accepted;
    size_t limit;
};

static uint32_t chance(struct model *m, uint32_t below)
{
    m->state ^= m->state << 13;
    m->state ^= m->state >> 17;
    m->state ^= m->state << 5;
    return m->state % below;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static ssize_t give(void *self, void *data, size_t bytes)
{
    struct model *m = self;
    CHECK(bytes > 0);
    if (chance(m, 100) < m->errors_in_100)
        return INJECTED;
    size_t n = least(least(1 + chance(m, m->piece), bytes), BYTES - m->given);
    memcpy(data, m->data + m->given, n);
    m->given += n;
    return (ssize_t)n;
}

static ssize_t sink(void *self, const struct iovec *parts, int count)
{
    struct model *m = self;
    CHECK(count >= 1 && count <= 16);
    if (chance(m, 100) < m->errors_in_100)
        return INJECTED;
    size_t most = 1 + chance(m, m->piece), before = m->sunk;
    for (int i = 0; i < count && most > 0; i++) {
        CHECK(parts[i].iov_len > 0);
        size_t n = least(parts[i].iov_len, most);
        CHECK(m->sunk + n <= sizeof m->sink);
        memcpy(m->sink + m->sunk, parts[i].iov_base, n);
        m->sunk += n;
        most -= n;
    }
    return (ssize_t)(m->sunk - before);
}

static const struct plait_transport transport = {
    .size = sizeof transport,
    .read = give,
    .writev = sink,
};

// ---- reading

/* What came out of the stream is what comes next. */
static void came(struct model *m, const void *data, size_t bytes)
{
    CHECK(m->at + bytes <= BYTES);
    CHECK_MEM(data, m->data + m->at, bytes);
    m->at += bytes;
}

/* A delimiter's end in what is still to come, or 0. */
static size_t end_of(const struct model *m, const void *delimiter, size_t bytes)
{
    const unsigned char *found = memmem(m->data + m->at, BYTES - m->at, delimiter, bytes);
    return found ? (size_t)(found - (m->data + m->at)) + bytes : 0;
}

/* Whether the code is what an item that has `end` bytes (0: none is there) must return. */
static void code_is_right(const struct model *m, int code, size_t end)
{
    if (code == INJECTED)
        return;
    if (end > 0 && end <= m->limit)
        CHECK_INT(code, ==, 1);
    else if (BYTES - m->at >= m->limit)
        CHECK_INT(code, ==, -EMSGSIZE);
    else
        CHECK_INT(code, ==, m->at < BYTES ? -ENODATA : 0);
}

static void read_item(struct model *m, plait_bufio *b)
{
    static const char delimiters[] = "\r\n\r\n\0a";
    struct plait_span item = { NULL, 0 };
    bool line = chance(m, 2);
    const char *delimiter = line ? "\n" : delimiters + chance(m, 4);
    size_t bytes = line ? 1 : 1 + chance(m, 3), end = end_of(m, delimiter, bytes);
    int e =
        line ? plait_bufio_read_line(b, &item) : plait_bufio_read_until(b, delimiter, bytes, &item);
    code_is_right(m, e, end);
    if (e != 1)
        return;
    if (!line) {
        CHECK_INT(item.bytes, ==, end);
        came(m, item.data, end);
        return;
    }
    size_t length = end - 1;
    length -= length > 0 && m->data[m->at + length - 1] == '\r';
    CHECK_INT(item.bytes, ==, length);
    CHECK_INT(((const char *)item.data)[length], ==, 0);
    came(m, item.data, length);
    m->at += end - length;
}

static void read_count(struct model *m, plait_bufio *b)
{
    unsigned char data[200];
    size_t bytes = chance(m, sizeof data), done = 0;
    bool skip = chance(m, 2);
    int e =
        skip ? plait_bufio_skip(b, bytes, &done) : plait_bufio_read_exactly(b, data, bytes, &done);
    size_t left = BYTES - m->at;
    CHECK(done <= bytes);
    if (e == 1)
        CHECK_INT(done, ==, bytes);
    else if (e != INJECTED)
        CHECK(left == done && bytes > left && e == (left > 0 ? -ENODATA : 0));
    came(m, skip ? m->data + m->at : data, done);
}

static void read_some(struct model *m, plait_bufio *b)
{
    unsigned char data[200];
    size_t bytes = 1 + chance(m, sizeof data - 1);
    ssize_t n = plait_bufio_read(b, data, bytes);
    if (n == INJECTED)
        return;
    CHECK(n >= 0 && (size_t)n <= bytes && (n > 0 || m->at == BYTES));
    came(m, data, (size_t)n);
}

static void peek(struct model *m, plait_bufio *b)
{
    struct plait_span seen;
    size_t bytes = chance(m, (uint32_t)m->limit + 2), left = BYTES - m->at;
    int e = plait_bufio_peek(b, bytes, &seen);
    if (e == 1) {
        CHECK(seen.bytes >= bytes && seen.bytes <= left);
        CHECK_INT(seen.bytes, ==, plait_bufio_buffered(b));
        CHECK_MEM(seen.data, m->data + m->at, seen.bytes);
    } else if (e != INJECTED) {
        CHECK_INT(e, ==, bytes > m->limit ? -EMSGSIZE : left > 0 ? -ENODATA : 0);
        CHECK(bytes > left || bytes > m->limit);
    }
}

// ---- writing

static void accepted(struct model *m, const void *data, size_t bytes)
{
    CHECK(m->accepted + bytes <= sizeof m->expected);
    memcpy(m->expected + m->accepted, data, bytes);
    m->accepted += bytes;
}

static void write_parts(struct model *m, plait_bufio *b)
{
    struct iovec parts[20];
    size_t done = 0, total = 0;
    int count = (int)chance(m, 20);
    for (int i = 0; i < count; i++) {
        size_t length = chance(m, 4) ? chance(m, 8) : chance(m, 100);
        parts[i] = (struct iovec){ m->data + chance(m, BYTES - 100), length };
        total += length;
    }
    int e = count == 1 ? plait_bufio_write(b, parts[0].iov_base, parts[0].iov_len, &done)
                       : plait_bufio_writev(b, parts, count, &done);
    CHECK(e == 0 || e == INJECTED);
    CHECK(done <= total && (e < 0 || done == total));
    for (int i = 0; i < count && done > 0; i++) {
        size_t n = least(parts[i].iov_len, done);
        accepted(m, parts[i].iov_base, n);
        done -= n;
    }
}

static void print(struct model *m, plait_bufio *b)
{
    char text[200];
    int width = (int)chance(m, 150), number = (int)chance(m, 1000);
    int length = snprintf(text, sizeof text, "%*d", width, number);
    int e = plait_bufio_printf(b, "%*d", width, number);
    if (e == INJECTED)
        return;
    CHECK_INT(e, ==, (size_t)length > m->limit ? -EMSGSIZE : 0);
    if (e == 0)
        accepted(m, text, (size_t)length);
}

static void flush(struct model *m, plait_bufio *b)
{
    int e = plait_bufio_flush(b);
    CHECK(e == 0 || e == INJECTED);
    if (e == 0)
        CHECK_INT(m->sunk, ==, m->accepted);
}

// ---- all of it

static void (*const calls[])(struct model *m, plait_bufio *b) = {
    read_item, read_item, read_count, read_some, peek, write_parts, print, flush,
};

static void round_of(struct model *m, uint32_t seed)
{
    static const unsigned char alphabet[] = { 'a', 'b', '\r', '\n', '\r', '\n', 0, 0xff };
    plait_bufio *b;
    memset(m, 0, sizeof *m);
    m->state = seed * 2654435761u + 1;
    unsigned letters = 2 + chance(m, 7);
    for (size_t i = 0; i < BYTES; i++)
        m->data[i] = letters > 8 ? (unsigned char)chance(m, 256) : alphabet[chance(m, letters)];
    m->piece = 1 + chance(m, chance(m, 2) ? 4 : 400);
    m->errors_in_100 = chance(m, 2) ? 0 : 1 + chance(m, 60);
    m->limit = 1 + chance(m, 120);
    CHECK_INT(plait_bufio_open_over(
                  &b, &transport, m,
                  &(struct plait_bufio_options){ .size = sizeof(struct plait_bufio_options),
                                                 .read_bytes = 1 + chance(m, 150),
                                                 .write_bytes = 1 + chance(m, 150),
                                                 .limit = m->limit }),
              ==, 0);
    for (int i = 0; i < 300 && m->accepted < sizeof m->sink - 2500; i++) {
        calls[chance(m, sizeof calls / sizeof *calls)](m, b);
        CHECK_INT(m->given - m->at, ==, plait_bufio_buffered(b));
        CHECK(m->sunk <= m->accepted);
        CHECK_MEM(m->sink, m->expected, m->sunk);
    }
    m->errors_in_100 = 0;
    CHECK_INT(plait_bufio_close(b), ==, 0);
    CHECK_INT(m->sunk, ==, m->accepted);
    CHECK_MEM(m->sink, m->expected, m->sunk);
}

TEST(random_calls_on_random_bytes, .limit_s = 60)
{
    struct model *m = malloc(sizeof *m);
    CHECK(m);
    size_t read = 0, written = 0;
    for (uint32_t seed = 0; seed < ROUNDS; seed++) {
        check_say("seed %u", seed);
        round_of(m, seed);
        read += m->at;
        written += m->sunk;
    }
    CHECK(read > ROUNDS * 500 && written > ROUNDS * 500); // it did not get stuck
    free(m);
}
