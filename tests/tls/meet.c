// SPDX-License-Identifier: MIT
/*
 * meet.c - a client and a server meet: who is accepted and who is refused, with which code and
 * sentence, on both sides. Both are tasks of the same scope, on every executor.
 */
#include <plait/tls.h>
#include <string.h>
#include <sys/socket.h>

#include "conformance/tasks.h"
#include "tls/certs.h"

/* What one side is set up with. */
struct setup {
    enum file ca, certificate;
    enum plait_tls_check check;
    enum plait_tls_least least;
    char alpn[32], host[32]; // "": none
};

struct meeting {
    struct setup client, server;
};

struct side {
    int fd;
    enum plait_tls_role role;
    struct setup setup;
};

/* How it went for one side. */
struct outcome {
    int code;
    char text[200], version[16], alpn[32], peer[64];
};

struct outcomes {
    struct outcome client, server;
};

static const char *text_or_null(const char *text)
{
    return *text ? text : NULL;
}

static int context_of(plait_tls_context **c, const struct side *s)
{
    return plait_tls_context_new(c, s->role, .ca_file = cert_file(s->setup.ca),
                                 .certificate = cert_file(s->setup.certificate),
                                 .key = s->setup.certificate ? cert_file(KEY) : NULL,
                                 .alpn = text_or_null(s->setup.alpn), .check = s->setup.check,
                                 .least = s->setup.least);
}

/* The client says a line, the server says it again, both say goodbye. */
static int talk(plait_bufio *b, enum plait_tls_role role)
{
    struct plait_span line;
    int e = 0;
    if (role == PLAIT_TLS_CLIENT && (e = plait_bufio_printf(b, "good day\n")) == 0)
        e = plait_bufio_flush(b);
    if (e == -EPIPE || e == -ECONNRESET) // refused by now: reading tells why
        e = 0;
    if (e == 0)
        e = plait_bufio_read_line(b, &line);
    if (e == 1 && strcmp(line.data, "good day") != 0)
        return -EBADMSG;
    if (e == 1 && role == PLAIT_TLS_SERVER)
        e = plait_bufio_printf(b, "%s\n", (const char *)line.data);
    if (e >= 0)
        e = plait_bufio_shutdown(b);
    if (e == 0)
        e = plait_bufio_read_line(b, &line);
    return e > 0 ? -EPROTO : e;
}

static int take_part(const struct side *s, struct outcome *o)
{
    plait_tls_context *c;
    plait_tls *t;
    CHECK_INT(context_of(&c, s), ==, 0);
    CHECK_INT(plait_tls_open(&t, c, s->fd, .host = text_or_null(s->setup.host)), ==, 0);
    plait_tls_context_free(c);
    int e = plait_tls_handshake(t);
    if (e == 0)
        e = talk(plait_tls_stream(t), s->role);
    o->code = e;
    snprintf(o->text, sizeof o->text, "%s", plait_tls_error(t));
    snprintf(o->version, sizeof o->version, "%s", plait_tls_version(t));
    snprintf(o->alpn, sizeof o->alpn, "%s", plait_tls_alpn(t));
    snprintf(o->peer, sizeof o->peer, "%s", plait_tls_peer(t));
    plait_tls_close(t);
    return 0;
}
PLAIT_TASK(take_part, struct side, struct outcome);

static int meet(const struct meeting *m, struct outcomes *o)
{
    int pair[2];
    plait_scope s;
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), ==, 0);
    int e = plait_scope_begin(&s, NULL);
    if (e < 0)
        return e;
    plait_go(&s, &o->client, take_part, { pair[0], PLAIT_TLS_CLIENT, m->client });
    plait_go(&s, &o->server, take_part, { pair[1], PLAIT_TLS_SERVER, m->server });
    return plait_scope_end(&s);
}
PLAIT_TASK(meet, struct meeting, struct outcomes);

static const struct expected {
    const char *name;
    struct meeting meeting;
    int client, server;
    const char *client_says, *server_says; // NULL: nothing
} meetings[] = {
    { .name = "a good server", { { CA, .host = "localhost" }, { 0, GOOD } } },
    { .name = "a wildcard", { { CA, .host = "www.example.org" }, { 0, GOOD } } },
    { .name = "an address", { { CA, .host = "127.0.0.1" }, { 0, GOOD } } },
    { .name = "TLS 1.3 only",
      { { CA, .host = "localhost", .least = PLAIT_TLS_LEAST_1_3 }, { 0, GOOD } } },
    { .name = "another host",
      { { CA, .host = "example.com" }, { 0, GOOD } },
      -EKEYREJECTED,
      -ECONNABORTED,
      "the certificate that was shown is not for example.com",
      "the peer refuses" },
    { .name = "below the wildcard",
      { { CA, .host = "a.b.example.org" }, { 0, GOOD } },
      -EKEYREJECTED,
      -ECONNABORTED,
      "not for a.b.example.org",
      "the peer refuses" },
    { .name = "another address",
      { { CA, .host = "127.0.0.2" }, { 0, GOOD } },
      -EKEYREJECTED,
      -ECONNABORTED,
      "not for 127.0.0.2",
      "the peer refuses" },
    { .name = "expired",
      { { CA, .host = "localhost" }, { 0, EXPIRED } },
      -EKEYEXPIRED,
      -ECONNABORTED,
      "the certificate of localhost is not valid today: certificate has expired",
      "the peer refuses" },
    { .name = "not yet valid",
      { { CA, .host = "localhost" }, { 0, FUTURE } },
      -EKEYEXPIRED,
      -ECONNABORTED,
      "not yet valid",
      "the peer refuses" },
    { .name = "an unknown CA",
      { { CA, .host = "localhost" }, { 0, STRANGER } },
      -EKEYREJECTED,
      -ECONNABORTED,
      "the certificate of localhost is not trusted",
      "the peer refuses" },
    { .name = "a CA that the system does not know",
      { { 0, .host = "localhost" }, { 0, GOOD } },
      -EKEYREJECTED,
      -ECONNABORTED,
      "the certificate of localhost is not trusted",
      "unknown ca" },
    { .name = "unchecked", { { .check = PLAIT_TLS_CHECK_NOTHING }, { 0, STRANGER } } },
    { .name = "a protocol",
      { { CA, .host = "localhost", .alpn = "spdy,http/1.1,h2" },
        { 0, GOOD, .alpn = "h2,http/1.1" } } },
    { .name = "no protocol in common",
      { { CA, .host = "localhost", .alpn = "h3" }, { 0, GOOD, .alpn = "h2,http/1.1" } },
      -EPROTONOSUPPORT,
      -EPROTONOSUPPORT,
      "no ALPN protocol in common",
      "no ALPN protocol in common" },
    { .name = "a client with a certificate",
      { { CA, ALICE, .host = "localhost" }, { CA, GOOD, PLAIT_TLS_CHECK_PEER } } },
    { .name = "a client without a certificate",
      { { CA, .host = "localhost" }, { CA, GOOD, PLAIT_TLS_CHECK_PEER } },
      -ECONNABORTED,
      -EKEYREJECTED,
      "certificate required",
      "the client shows no certificate" },
    { .name = "a client of another CA",
      { { CA, STRANGER, .host = "localhost" }, { CA, GOOD, PLAIT_TLS_CHECK_PEER } },
      -ECONNABORTED,
      -EKEYREJECTED,
      "the peer refuses",
      "the certificate of the client is not trusted" },
};
enum { MEETINGS = sizeof meetings / sizeof *meetings };

static void check_side(const char *who, const struct outcome *o, int code, const char *says)
{
    check_say("   %s: %d %s", who, o->code, o->text);
    CHECK_INT(o->code, ==, code);
    if (says)
        CHECK(strstr(o->text, says));
    else
        CHECK_STR(o->text, "");
}

CONFORM(meetings, .limit_s = 60)
{
    for (int i = 0; i < MEETINGS; i++) {
        const struct expected *x = &meetings[i];
        struct outcomes o;
        plait_future *f;
        check_say("%s", x->name);
        CHECK_INT(plait_submit_at(ex, &f, meet, &x->meeting), ==, 0);
        CHECK_INT(plait_result(f, &o), ==, 0);
        plait_free(f);
        check_side("client", &o.client, x->client, x->client_says);
        check_side("server", &o.server, x->server, x->server_says);
        if (x->client < 0)
            continue;
        CHECK_STR(o.client.version, "TLSv1.3");
        CHECK_STR(o.server.version, "TLSv1.3");
        CHECK_STR(o.client.peer, "CN=localhost");
        CHECK_STR(o.server.peer, x->meeting.server.check ? "CN=alice" : "");
        CHECK_STR(o.client.alpn, *x->meeting.client.alpn ? "h2" : "");
        CHECK_STR(o.server.alpn, o.client.alpn);
    }
}

// The test's own thread is the client, and blocks.
TEST(a_plain_thread_meets_a_fiber)
{
    plait_executor *ex;
    plait_future *f;
    struct outcome mine, theirs;
    int pair[2];
    CHECK_INT(plait_open(&ex, PLAIT_FIBERS), ==, 0);
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), ==, 0);
    CHECK_INT(plait_submit(ex, &f, take_part, { pair[1], PLAIT_TLS_SERVER, { 0, GOOD } }), ==, 0);
    struct side me = { pair[0], PLAIT_TLS_CLIENT, { CA, .host = "localhost" } };
    CHECK_INT(take_part(&me, &mine), ==, 0);
    CHECK_INT(plait_result(f, &theirs), ==, 0);
    plait_free(f);
    CHECK_INT(mine.code, ==, 0);
    CHECK_INT(theirs.code, ==, 0);
    CHECK_INT(plait_close(ex), ==, 0);
}

// ---- contexts that cannot be made --------------------------------------------------------------

static void refused(int code, const char *says, enum plait_tls_role role,
                    struct plait_tls_context_options o)
{
    plait_tls_context *c = NULL;
    o.size = sizeof o;
    CHECK_INT(plait_tls_context_new_with(&c, role, &o), ==, code);
    CHECK(!c);
    check_say("%s", plait_tls_last_error());
    CHECK(strstr(plait_tls_last_error(), says));
}

#define REFUSED(code, says, role, ...)                                                             \
    refused((code), (says), (role), (struct plait_tls_context_options){ __VA_ARGS__ })

static void bad_contexts(void)
{
    const char *good = cert_file(GOOD), *key = cert_file(KEY), *garbage = cert_file(GARBAGE);
    REFUSED(-EINVAL, "PLAIT_TLS_CLIENT or", (enum plait_tls_role)3, .size = 0);
    REFUSED(-EINVAL, "needs a .certificate", PLAIT_TLS_SERVER, .key = key);
    REFUSED(-EINVAL, "needs a .certificate", PLAIT_TLS_CLIENT, .key = key);
    REFUSED(-EINVAL, ".check", PLAIT_TLS_CLIENT, .check = (enum plait_tls_check)7);
    REFUSED(-EINVAL, ".least", PLAIT_TLS_CLIENT, .least = (enum plait_tls_least)7);
    REFUSED(-EINVAL, ".alpn", PLAIT_TLS_CLIENT, .alpn = "h2,,h3");
    REFUSED(-EINVAL, ".alpn", PLAIT_TLS_CLIENT, .alpn = "");
    REFUSED(-ENOENT, "/nowhere.pem", PLAIT_TLS_CLIENT, .ca_file = "/nowhere.pem");
    REFUSED(-ENOENT, "/nowhere.pem", PLAIT_TLS_SERVER, .certificate = "/nowhere.pem");
    REFUSED(-ENOENT, "/nowhere.pem", PLAIT_TLS_SERVER, .certificate = good, .key = "/nowhere.pem");
    REFUSED(-EBADMSG, garbage, PLAIT_TLS_CLIENT, .ca_file = garbage);
    REFUSED(-EBADMSG, garbage, PLAIT_TLS_SERVER, .certificate = garbage);
    REFUSED(-EBADMSG, garbage, PLAIT_TLS_SERVER, .certificate = good, .key = garbage);
    REFUSED(-EBADMSG, good, PLAIT_TLS_SERVER, .certificate = good); // no key in it
    REFUSED(-EBADMSG, cert_file(LOCKED_KEY), PLAIT_TLS_SERVER, .certificate = good,
            .key = cert_file(LOCKED_KEY));
    REFUSED(-EKEYREJECTED, cert_file(OTHER_KEY), PLAIT_TLS_SERVER, .certificate = good,
            .key = cert_file(OTHER_KEY));
}

static int bad_contexts_in_task(const void *nothing, void *out)
{
    (void)nothing, (void)out;
    bad_contexts();
    return 0;
}
PLAIT_TASK(bad_contexts_in_task, void, void);

CONFORM(contexts_that_cannot_be_made)
{
    plait_future *f;
    CHECK_INT(plait_submit(ex, &f, bad_contexts_in_task, { 0 }), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, 0);
    plait_free(f);
}

TEST(connections_that_cannot_be_opened)
{
    plait_tls_context *c;
    plait_tls *t = NULL;
    bad_contexts();
    CHECK_INT(plait_tls_context_new(&c, PLAIT_TLS_CLIENT, .ca_file = cert_file(CA)), ==, 0);
    CHECK_INT(plait_tls_open(&t, c, 0), ==, -EINVAL);
    CHECK(strstr(plait_tls_last_error(), ".host"));
    CHECK_INT(plait_tls_open(&t, c, 0, .host = ""), ==, -EINVAL);
    CHECK_INT(plait_tls_open(&t, c, -1, .host = "localhost"), ==, -EINVAL);
    CHECK(!t);
    plait_tls_context_free(c);
    plait_tls_context_free(NULL);
    CHECK_INT(plait_tls_close(NULL), ==, 0);
    plait_tls_abort(NULL);
}
