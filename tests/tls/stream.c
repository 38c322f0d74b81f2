// SPDX-License-Identifier: MIT
/*
 * stream.c - encrypted streams: both ways at once, deadlines at any point, many at a time, and what
 * happens when the connection stops, is changed on its way, or never was TLS.
 */
#include <plait/tls.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conformance/tasks.h"
#include "tls/certs.h"

static void make_pair(int pair[2])
{
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), ==, 0);
}

static void make_contexts(plait_tls_context *c[2])
{
    CHECK_INT(plait_tls_context_new(&c[0], PLAIT_TLS_CLIENT, .ca_file = cert_file(CA)), ==, 0);
    CHECK_INT(plait_tls_context_new(&c[1], PLAIT_TLS_SERVER, .certificate = cert_file(GOOD),
                                    .key = cert_file(KEY)),
              ==, 0);
}

static void free_contexts(plait_tls_context *c[2])
{
    plait_tls_context_free(c[0]);
    plait_tls_context_free(c[1]);
}

static uint32_t chance(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

/* ---- a transport over a descriptor that moves little at a time, and may spoil what comes */

struct narrow {
    int fd;
    size_t most;     // bytes a call
    size_t seen;     // bytes that came so far
    size_t spoil_at; // 0: never
};

static ssize_t narrow_read(void *self, void *data, size_t bytes)
{
    struct narrow *w = self;
    ssize_t n = plait_io_read(w->fd, data, bytes < w->most ? bytes : w->most);
    for (ssize_t i = 0; i < n; i++)
        if (++w->seen == w->spoil_at)
            ((char *)data)[i] ^= 1;
    return n;
}

/* More than it reads: a socket holds few messages, and the server's last words of a handshake must
 * find room in it. */
static ssize_t narrow_writev(void *self, const struct iovec *parts, int count)
{
    struct narrow *w = self;
    CHECK(count > 0 && parts[0].iov_len > 0);
    size_t bytes = parts[0].iov_len < w->most * 16 ? parts[0].iov_len : w->most * 16;
    return plait_io_write(w->fd, parts[0].iov_base, bytes);
}

static int narrow_close(void *self, bool orderly)
{
    struct narrow *w = self;
    (void)orderly;
    return plait_io_close(w->fd);
}

static const struct plait_transport narrow_transport = {
    .size = sizeof narrow_transport,
    .read = narrow_read,
    .writev = narrow_writev,
    .close = narrow_close,
};

// ---- tasks that both sides are made of ---------------------------------------------------------

struct way {
    plait_tls *t;
    unsigned items;
    int64_t patience_ns; // 0: no deadline
};

static int hasty_begin(plait_scope *s, const struct way *w, uint32_t *state)
{
    return w->patience_ns
               ? plait_scope_begin(s, NULL,
                                   .deadline = plait_after(1 + chance(state) % w->patience_ns))
               : 0;
}

static bool hasty_end(plait_scope *s, const struct way *w, int e)
{
    if (w->patience_ns)
        plait_scope_end(s);
    return w->patience_ns && e == -ETIMEDOUT;
}

static int shake_hands(const struct way *w, void *out)
{
    (void)out;
    plait_scope s;
    uint32_t state = 9;
    int e;
    do {
        if ((e = hasty_begin(&s, w, &state)) < 0)
            return e;
        e = plait_tls_handshake(w->t);
    } while (hasty_end(&s, w, e));
    return e;
}
PLAIT_TASK(shake_hands, struct way, void);

enum { ITEM_MAX = 5000 };

/* The item of that number: bytes that depend on it. */
static size_t make_item(unsigned number, char item[ITEM_MAX])
{
    uint32_t state = number * 2654435761u + 1;
    size_t length = 1 + chance(&state) % (number % 16 ? 400 : ITEM_MAX - 1);
    for (size_t i = 0; i < length; i++)
        item[i] = (char)chance(&state);
    return length;
}

static int write_way(const struct way *w, void *out)
{
    (void)out;
    char item[ITEM_MAX];
    plait_scope s;
    uint32_t state = 7;
    plait_bufio *b = plait_tls_stream(w->t);
    for (unsigned i = 0; i < w->items; i++) {
        size_t length = make_item(i, item), at = 0, done = 0;
        int e;
        do {
            if ((e = hasty_begin(&s, w, &state)) < 0)
                return e;
            e = plait_bufio_write(b, item + at, length - at, &done);
            at += done;
            if (e == 0 && i % 64 == 63)
                e = plait_bufio_flush(b);
        } while (hasty_end(&s, w, e));
        if (e < 0)
            return e;
    }
    return plait_bufio_shutdown(b);
}
PLAIT_TASK(write_way, struct way, void);

static int read_way(const struct way *w, void *out)
{
    (void)out;
    char item[ITEM_MAX], got[ITEM_MAX];
    plait_scope s;
    uint32_t state = 8;
    plait_bufio *b = plait_tls_stream(w->t);
    for (unsigned i = 0; i <= w->items; i++) {
        size_t length = make_item(i, item), at = 0, done = 0;
        int e;
        do {
            if ((e = hasty_begin(&s, w, &state)) < 0)
                return e;
            e = plait_bufio_read_exactly(b, got + at, length - at, &done);
            at += done;
        } while (hasty_end(&s, w, e));
        if (e < 0 || (e == 0) != (i == w->items))
            return e < 0 ? e : -EPROTO;
        if (e == 1 && memcmp(item, got, length) != 0)
            return -EBADMSG;
    }
    return 0;
}
PLAIT_TASK(read_way, struct way, void);

/* Two ends that know each other, over transports that move `most` bytes a call (0: descriptors). */
struct ends {
    plait_tls *t[2];
    struct narrow narrow[2];
};

static int open_ends(struct ends *x, size_t most, size_t spoil_at, int64_t patience_ns)
{
    plait_tls_context *c[2];
    plait_scope s;
    int pair[2];
    make_pair(pair);
    make_contexts(c);
    for (int i = 0; i < 2; i++) {
        x->narrow[i] = (struct narrow){ pair[i], most, 0, i == 0 ? spoil_at : 0 };
        int e = most ? plait_tls_open_over(&x->t[i], c[i], &narrow_transport, &x->narrow[i],
                                           .host = "localhost")
                     : plait_tls_open(&x->t[i], c[i], pair[i], .host = "localhost");
        CHECK_INT(e, ==, 0);
    }
    free_contexts(c);
    int e = plait_scope_begin(&s, NULL);
    if (e < 0)
        return e;
    for (int i = 0; i < 2; i++)
        plait_go(&s, NULL, shake_hands, { x->t[i], 0, patience_ns });
    return plait_scope_end(&s);
}

// ---- both ways at once -------------------------------------------------------------------------

struct how {
    unsigned items;
    size_t most;
    int64_t patience_ns;
};

static int both_ways(const struct how *how, void *out)
{
    (void)out;
    struct ends x;
    plait_scope s;
    int e = open_ends(&x, how->most, 0, how->patience_ns);
    if (e == 0)
        e = plait_scope_begin(&s, NULL);
    if (e < 0)
        return e;
    for (int i = 0; i < 2; i++) {
        plait_go(&s, NULL, read_way, { x.t[i], how->items, how->patience_ns });
        plait_go(&s, NULL, write_way, { x.t[i], how->items, how->patience_ns });
    }
    e = plait_scope_end(&s);
    for (int i = 0; i < 2; i++) {
        int closed = plait_tls_close(x.t[i]);
        e = e < 0 ? e : closed;
    }
    return e;
}
PLAIT_TASK(both_ways, struct how, void);

static void run(plait_executor *ex, struct how how)
{
    plait_future *f;
    CHECK_INT(plait_submit_at(ex, &f, both_ways, &how), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, 0);
    plait_free(f);
}

CONFORM(megabytes_both_ways_at_once, .limit_s = 60)
{
    run(ex, (struct how){ .items = 8000 }); // about 3 MB each way
}

CONFORM(a_few_bytes_at_a_time, .limit_s = 60)
{
    run(ex, (struct how){ .items = 20, .most = 1 });
    run(ex, (struct how){ .items = 200, .most = 7 });
}

/* Deadlines that pass at any point of the handshake and of every call. */
CONFORM(deadlines_lose_nothing, .limit_s = 60)
{
    run(ex, (struct how){ .items = 500, .patience_ns = 50000 });
    run(ex, (struct how){ .items = 20, .most = 5, .patience_ns = 50000 });
}

/* A hundred are open at the same time: each holds its own until all have shaken hands. */
static int one_of_many(const unsigned *n, void *out)
{
    (void)out;
    struct ends x;
    struct how how = { .items = 30 };
    plait_scope s;
    int e = open_ends(&x, 0, 0, 0);
    if (e == 0)
        e = gate_pass(count_up(1) == *n ? (gate_open(1, *n), 1) : 1);
    if (e == 0)
        e = plait_scope_begin(&s, NULL);
    if (e < 0)
        return e;
    for (int i = 0; i < 2; i++) {
        plait_go(&s, NULL, read_way, { x.t[i], how.items, 0 });
        plait_go(&s, NULL, write_way, { x.t[i], how.items, 0 });
    }
    e = plait_scope_end(&s);
    for (int i = 0; i < 2; i++) {
        int closed = plait_tls_close(x.t[i]);
        e = e < 0 ? e : closed;
    }
    return e;
}
PLAIT_TASK(one_of_many, unsigned, void);

CONFORM(many_at_a_time, .limit_s = 60)
{
    unsigned n[100], together = place_together(on) < 100 ? place_together(on) : 100;
    for (int i = 0; i < 100; i++)
        n[i] = together;
    CHECK_INT(plait_map(ex, one_of_many, n, NULL, together), ==, 0);
}

// ---- connections that go wrong -----------------------------------------------------------------

/* What each side of a spoilt connection ends with. */
struct ending {
    int code[2];
    char text[2][160];
};

static void note(struct ending *n, int side, plait_tls *t, int e)
{
    n->code[side] = e;
    snprintf(n->text[side], sizeof n->text[side], "%s", plait_tls_error(t));
}

/* The server vanishes in the middle, without a goodbye. */
static int vanish(const void *nothing, struct ending *n)
{
    (void)nothing;
    struct ends x;
    struct plait_span line;
    int e = open_ends(&x, 0, 0, 0);
    if (e < 0)
        return e;
    plait_bufio *b = plait_tls_stream(x.t[1]);
    CHECK_INT(plait_bufio_printf(b, "a line\nhalf"), ==, 0);
    CHECK_INT(plait_bufio_flush(b), ==, 0);
    plait_tls_abort(x.t[1]);
    b = plait_tls_stream(x.t[0]);
    CHECK_INT(plait_bufio_read_line(b, &line), ==, 1);
    CHECK_STR((const char *)line.data, "a line");
    for (int twice = 0; twice < 2; twice++)
        note(n, 0, x.t[0], plait_bufio_read_line(b, &line));
    char half[8] = "";
    CHECK_INT(plait_bufio_read(b, half, sizeof half), ==, 4); // what came is there all the same
    CHECK_STR(half, "half");
    plait_tls_close(x.t[0]);
    return 0;
}
PLAIT_TASK(vanish, void, struct ending);

CONFORM(a_connection_that_stops_is_not_the_end_of_file)
{
    plait_future *f;
    struct ending n;
    CHECK_INT(plait_submit(ex, &f, vanish, { 0 }), ==, 0);
    CHECK_INT(plait_result(f, &n), ==, 0);
    plait_free(f);
    CHECK_INT(n.code[0], ==, -ECONNRESET);
    CHECK(strstr(n.text[0], "without a goodbye"));
}

/* A bit of what the client receives is flipped after the handshake: it stops, and says so. */
static int spoil(const void *nothing, struct ending *n)
{
    (void)nothing;
    struct ends x;
    struct plait_span line;
    int e = open_ends(&x, 4096, 0, 0);
    if (e < 0)
        return e;
    x.narrow[0].spoil_at = x.narrow[0].seen + 2000; // past the server's tickets
    plait_bufio *b = plait_tls_stream(x.t[1]);
    CHECK_INT(plait_bufio_printf(b, "%03999d\n", 0), ==, 0);
    CHECK_INT(plait_bufio_flush(b), ==, 0);
    note(n, 0, x.t[0], plait_bufio_read_line(plait_tls_stream(x.t[0]), &line));
    CHECK_INT(plait_bufio_flush(plait_tls_stream(x.t[0])), ==, n->code[0]); // sends the alert
    note(n, 1, x.t[1], plait_bufio_read_line(b, &line));
    CHECK_INT(plait_tls_close(x.t[0]), ==, n->code[0]);
    plait_tls_close(x.t[1]);
    return 0;
}
PLAIT_TASK(spoil, void, struct ending);

CONFORM(what_is_changed_on_its_way_is_noticed)
{
    plait_future *f;
    struct ending n;
    CHECK_INT(plait_submit(ex, &f, spoil, { 0 }), ==, 0);
    CHECK_INT(plait_result(f, &n), ==, 0);
    plait_free(f);
    check_say("%s\n%s", n.text[0], n.text[1]);
    CHECK_INT(n.code[0], ==, -EBADMSG);
    CHECK(strstr(n.text[0], "changed on its way"));
    CHECK_INT(n.code[1], ==, -ECONNABORTED);
    CHECK(strstr(n.text[1], "bad record mac"));
}

/* The peer speaks plain text, or ends, or says nothing. */
static int plain_peer(const struct plait_span *says, struct ending *n)
{
    plait_tls_context *c[2];
    make_contexts(c);
    for (int i = 0; i < 2; i++) {
        plait_tls *t;
        int pair[2];
        char byte;
        make_pair(pair);
        CHECK_INT(plait_tls_open(&t, c[i], pair[0], .host = "localhost"), ==, 0);
        CHECK_INT(plait_bufio_read(plait_tls_stream(t), &byte, 1), ==, -ENOTCONN);
        CHECK_INT(plait_bufio_printf(plait_tls_stream(t), "early"), ==, 0);
        CHECK_INT(plait_bufio_shutdown(plait_tls_stream(t)), ==, -ENOTCONN);
        CHECK_INT(plait_io_write_all(pair[1], says->data, says->bytes, NULL), ==, 0);
        CHECK_INT(shutdown(pair[1], SHUT_WR), ==, 0);
        for (int twice = 0; twice < 2; twice++)
            note(n, i, t, plait_tls_handshake(t));
        CHECK_INT(plait_bufio_read(plait_tls_stream(t), &byte, 1), ==, -ENOTCONN);
        plait_tls_abort(t);
        CHECK_INT(plait_io_close(pair[1]), ==, 0);
    }
    free_contexts(c);
    return 0;
}

struct words {
    char text[64];
};

static int plain_words(const struct words *w, struct ending *n)
{
    struct plait_span span = { w->text, strlen(w->text) };
    return plain_peer(&span, n);
}
PLAIT_TASK(plain_words, struct words, struct ending);

CONFORM(peers_that_do_not_speak_tls)
{
    static const struct {
        struct words words;
        int code[2];
        const char *says[2];
    } peers[] = {
        { { "HTTP/1.1 400 Bad Request\r\n\r\n" },
          { -EPROTO, -EPROTO },
          { "does not speak TLS", "does not speak TLS" } },
        { { "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" },
          { -EPROTO, -EPROTO },
          { "speaks HTTP without TLS", "speaks HTTP without TLS" } },
        { { "" },
          { -ECONNRESET, -ECONNRESET },
          { "in the middle of the handshake", "in the middle of the handshake" } },
        { { "\x16\x03\x01\x02" }, // a record's beginning
          { -ECONNRESET, -ECONNRESET },
          { "in the middle of the handshake", "in the middle of the handshake" } },
    };
    for (size_t i = 0; i < sizeof peers / sizeof *peers; i++) {
        plait_future *f;
        struct ending n;
        CHECK_INT(plait_submit_at(ex, &f, plain_words, &peers[i].words), ==, 0);
        CHECK_INT(plait_result(f, &n), ==, 0);
        plait_free(f);
        for (int side = 0; side < 2; side++) {
            check_say("%d: %s", n.code[side], n.text[side]);
            CHECK_INT(n.code[side], ==, peers[i].code[side]);
            CHECK(strstr(n.text[side], peers[i].says[side]));
        }
    }
}

/* A peer that says nothing: the deadline ends the handshake, and then it goes on all the same. */
static int late_peer(const void *nothing, void *out)
{
    (void)nothing, (void)out;
    plait_tls_context *c[2];
    plait_tls *t[2];
    plait_scope s;
    int pair[2];
    make_pair(pair);
    make_contexts(c);
    for (int i = 0; i < 2; i++)
        CHECK_INT(plait_tls_open(&t[i], c[i], pair[i], .host = "localhost"), ==, 0);
    free_contexts(c);
    CHECK_INT(plait_scope_begin(&s, NULL, .deadline = plait_after(3 * PLAIT_MILLISECOND)), ==, 0);
    CHECK_INT(plait_tls_handshake(t[0]), ==, -ETIMEDOUT);
    CHECK_STR(plait_tls_error(t[0]), "");
    CHECK_INT(plait_scope_end(&s), ==, -ETIMEDOUT);
    CHECK_INT(plait_scope_begin(&s, NULL), ==, 0);
    plait_scope_cancel(&s);
    for (int i = 0; i < 2; i++)
        CHECK_INT(plait_tls_handshake(t[i]), ==, -ECANCELED);
    CHECK_INT(plait_scope_end(&s), ==, -ECANCELED);
    CHECK_INT(plait_scope_begin(&s, NULL), ==, 0);
    for (int i = 0; i < 2; i++)
        plait_go(&s, NULL, shake_hands, { t[i], 0, 0 });
    CHECK_INT(plait_scope_end(&s), ==, 0);
    for (int i = 0; i < 2; i++)
        CHECK_INT(plait_tls_close(t[i]), ==, 0);
    return 0;
}
PLAIT_TASK(late_peer, void, void);

CONFORM(a_handshake_goes_on_after_a_deadline)
{
    plait_future *f;
    CHECK_INT(plait_submit(ex, &f, late_peer, { 0 }), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, 0);
    plait_free(f);
}

// ---- rubbish -----------------------------------------------------------------------------------

/* Random bytes, some behind what looks like a record: each side fails, and neither hangs. */
TEST(random_bytes_instead_of_tls, .limit_s = 60)
{
    for (uint32_t seed = 1; seed <= 300; seed++) {
        uint32_t state = seed * 2654435761u;
        char bytes[2000];
        size_t length = chance(&state) % sizeof bytes;
        for (size_t i = 0; i < length; i++)
            bytes[i] = (char)chance(&state);
        if (length > 5 && seed % 2)
            memcpy(bytes, "\x16\x03\x03\x01\x00", 5);
        if (length > 9 && seed % 4 == 1)
            memcpy(bytes + 5, seed % 8 == 1 ? "\x01\x00\x00\xfc" : "\x02\x00\x00\xfc", 4);
        struct ending n;
        check_say("seed %u", seed);
        CHECK_INT(plain_peer(&(struct plait_span){ bytes, length }, &n), ==, 0);
        for (int side = 0; side < 2; side++) {
            CHECK_INT(n.code[side], <, 0);
            CHECK(n.text[side][0]);
        }
    }
}

// ---- misuse ------------------------------------------------------------------------------------

TEST(two_handshakes_at_once, .signal = SIGABRT, .says = "two tasks do the handshake of one")
{
    plait_executor *ex;
    plait_future *f[2];
    plait_tls_context *c[2];
    plait_tls *t;
    int pair[2];
    make_pair(pair);
    make_contexts(c);
    CHECK_INT(plait_tls_open(&t, c[1], pair[0]), ==, 0);
    CHECK_INT(plait_open(&ex, PLAIT_FIBERS), ==, 0);
    for (int i = 0; i < 2; i++)
        CHECK_INT(plait_submit(ex, &f[i], shake_hands, { t, 0, 0 }), ==, 0);
    plait_result(f[0], NULL);
}
