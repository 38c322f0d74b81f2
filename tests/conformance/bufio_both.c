// SPDX-License-Identifier: MIT
// Buffered streams with two sides: both ways at once, deadlines at any point, and misuse.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conformance/tasks.h"

static void make_pair(int pair[2])
{
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), ==, 0);
}

// ---- both ways at once -------------------------------------------------------------------------

struct way {
    plait_bufio *b;
    unsigned items;
    int64_t patience_ns; // 0: no deadline
};

static uint32_t chance(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

/* The item of that number: a line of a length that depends on it. */
static size_t make_item(unsigned number, char item[300])
{
    uint32_t state = number * 2654435761u + 1;
    size_t length = chance(&state) % 290;
    for (size_t i = 0; i < length; i++)
        item[i] = (char)('a' + chance(&state) % 26);
    item[length] = '\n';
    return length + 1;
}

/* Calls with deadlines that are much too short, again and again. */
static int hasty_begin(plait_scope *s, const struct way *w, uint32_t *state)
{
    return w->patience_ns
               ? plait_scope_begin(s, NULL,
                                   .deadline = plait_after(1 + chance(state) % w->patience_ns))
               : 0;
}

static void hasty_end(plait_scope *s, const struct way *w)
{
    if (w->patience_ns)
        plait_scope_end(s);
}

static int write_way(const struct way *w, void *out)
{
    (void)out;
    char item[300];
    plait_scope s;
    uint32_t state = 7;
    for (unsigned i = 0; i < w->items; i++) {
        size_t length = make_item(i, item), at = 0, done = 0;
        int e;
        do {
            if ((e = hasty_begin(&s, w, &state)) < 0)
                return e;
            e = plait_bufio_write(w->b, item + at, length - at, &done);
            at += done;
            hasty_end(&s, w);
        } while (e == -ETIMEDOUT && w->patience_ns);
        if (e < 0)
            return e;
    }
    return plait_bufio_shutdown(w->b);
}
PLAIT_TASK(write_way, struct way, void);

static int read_way(const struct way *w, void *out)
{
    (void)out;
    char item[300];
    plait_scope s;
    uint32_t state = 8;
    struct plait_span line;
    for (unsigned i = 0; i <= w->items; i++) {
        size_t length = make_item(i, item);
        int e;
        do {
            if ((e = hasty_begin(&s, w, &state)) < 0)
                return e;
            e = plait_bufio_read_line(w->b, &line);
            hasty_end(&s, w);
        } while (e == -ETIMEDOUT && w->patience_ns);
        if (e < 0 || (e == 0) != (i == w->items))
            return e < 0 ? e : -EPROTO;
        if (e == 1 && (line.bytes != length - 1 || memcmp(line.data, item, length - 1) != 0))
            return -EBADMSG;
    }
    return 0;
}
PLAIT_TASK(read_way, struct way, void);

static int both_ways(const struct way *how, void *out)
{
    (void)out;
    int pair[2];
    plait_bufio *ends[2];
    plait_scope s;
    make_pair(pair);
    int e = plait_scope_begin(&s, NULL);
    if (e < 0)
        return e;
    for (int i = 0; i < 2; i++) {
        CHECK_INT(plait_bufio_open(&ends[i], pair[i], .read_bytes = 100, .write_bytes = 1000), ==,
                  0);
        plait_go(&s, NULL, read_way, { ends[i], how->items, how->patience_ns });
        plait_go(&s, NULL, write_way, { ends[i], how->items, how->patience_ns });
    }
    e = plait_scope_end(&s);
    for (int i = 0; i < 2; i++)
        CHECK_INT(plait_bufio_close(ends[i]), ==, 0);
    return e;
}
PLAIT_TASK(both_ways, struct way, void);

CONFORM(both_ways_at_once, .limit_s = 60)
{
    struct way how[4];
    for (int i = 0; i < 4; i++)
        how[i] = (struct way){ .items = 10000 };
    CHECK_INT(plait_map(ex, both_ways, how, NULL, 4), ==, 0);
}

/* Deadlines that pass at any point of any call: each byte arrives once all the same. */
CONFORM(deadlines_lose_nothing, .limit_s = 60)
{
    plait_future *f;
    CHECK_INT(plait_submit(ex, &f, both_ways, { .items = 2000, .patience_ns = 20000 }), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, 0);
    plait_free(f);
}

// ---- misuse ------------------------------------------------------------------------------------

static int read_one(plait_bufio *const *b, void *out)
{
    (void)out;
    char byte;
    count_up(0);
    return (int)plait_bufio_read(*b, &byte, 1);
}
PLAIT_TASK(read_one, plait_bufio *, void);

static void read_twice(enum plait_kind kind)
{
    plait_executor *ex;
    plait_future *f[2];
    plait_bufio *b;
    int pair[2];
    make_pair(pair);
    CHECK_INT(plait_bufio_open(&b, pair[0]), ==, 0);
    CHECK_INT(plait_open(&ex, kind), ==, 0);
    for (int i = 0; i < 2; i++)
        CHECK_INT(plait_submit(ex, &f[i], read_one, { b }), ==, 0);
    plait_result(f[0], NULL);
}

TEST(two_readers_on_fibers, .signal = SIGABRT, .says = "two calls read one stream at the same time")
{
    read_twice(PLAIT_FIBERS);
}

TEST(two_readers_on_threads, .signal = SIGABRT, .says = "BUG IN CALLER OF plait_bufio_read")
{
    read_twice(PLAIT_THREADS);
}

TEST(closed_while_read, .signal = SIGABRT, .says = "BUG IN CALLER OF plait_bufio_close")
{
    plait_executor *ex;
    plait_future *f;
    plait_bufio *b;
    int pair[2];
    make_pair(pair);
    CHECK_INT(plait_bufio_open(&b, pair[0]), ==, 0);
    CHECK_INT(plait_open(&ex, PLAIT_FIBERS), ==, 0);
    CHECK_INT(plait_submit(ex, &f, read_one, { b }), ==, 0);
    plait_future *barrier; // started after the reader, so the reader waits by now
    CHECK_INT(plait_submit(ex, &barrier, nap, { 0 }), ==, 0);
    CHECK_INT(plait_result(barrier, NULL), ==, 0);
    plait_bufio_close(b);
}

static ssize_t boast(void *self, void *data, size_t bytes)
{
    (void)self;
    (void)data;
    return (ssize_t)bytes + 1;
}

TEST(a_transport_that_returns_too_much, .signal = SIGABRT, .says = "where there is room for")
{
    const struct plait_transport t = { .size = sizeof t, .read = boast };
    plait_bufio *b;
    char byte;
    CHECK_INT(plait_bufio_open_over(&b, &t, NULL, NULL), ==, 0);
    plait_bufio_read(b, &byte, 1);
}
