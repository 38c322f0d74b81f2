// SPDX-License-Identifier: MIT
/*
 * peers.c - connections to a peer that is OpenSSL alone: a blocking thread with an SSL object on a
 * descriptor. Versions of TLS that we do not offer, what we tell a server, keys that change, and a
 * goodbye of one side only.
 */
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <plait/tls.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conformance/tasks.h"
#include "tls/certs.h"

struct raw {
    int fd;
    bool server;
    int most;               // the newest version that it speaks; 0: all
    void (*talk)(SSL *ssl); // after the handshake
    bool may_fail;
    char sni[64];
    pthread_t thread;
};

static void *raw_main(void *arg)
{
    struct raw *r = arg;
    sigset_t pipe;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, NULL); // OpenSSL writes to who may have gone
    SSL_CTX *ctx = SSL_CTX_new(r->server ? TLS_server_method() : TLS_client_method());
    CHECK(ctx);
    SSL_CTX_set_cipher_list(ctx, "DEFAULT@SECLEVEL=0"); // old versions too
    SSL_CTX_set_min_proto_version(ctx, TLS1_VERSION);
    SSL_CTX_set_max_proto_version(ctx, r->most);
    if (r->server) {
        CHECK_INT(SSL_CTX_use_certificate_chain_file(ctx, cert_file(GOOD)), ==, 1);
        CHECK_INT(SSL_CTX_use_PrivateKey_file(ctx, cert_file(KEY), SSL_FILETYPE_PEM), ==, 1);
    }
    SSL *ssl = SSL_new(ctx);
    CHECK(ssl && SSL_set_fd(ssl, r->fd) == 1);
    int done = r->server ? SSL_accept(ssl) : SSL_connect(ssl);
    if (done != 1 && !r->may_fail)
        FAIL("the peer's handshake: %s", ERR_reason_error_string(ERR_get_error()));
    if (done == 1) {
        const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
        snprintf(r->sni, sizeof r->sni, "%s", name ? name : "");
        r->talk(ssl);
    }
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    close(r->fd);
    return NULL;
}

/* What the task is to do with its end. */
struct job {
    int fd;
    enum plait_tls_role role;
    enum plait_tls_least least;
    char host[32];
    int (*talk)(plait_bufio *b);
};

struct result {
    int code;
    char text[200], version[16];
};

static int do_job(const struct job *j, struct result *r)
{
    plait_tls_context *c;
    plait_tls *t;
    bool server = j->role == PLAIT_TLS_SERVER;
    CHECK_INT(plait_tls_context_new(&c, j->role, .ca_file = cert_file(CA), .least = j->least,
                                    .certificate = server ? cert_file(GOOD) : NULL,
                                    .key = server ? cert_file(KEY) : NULL),
              ==, 0);
    CHECK_INT(plait_tls_open(&t, c, j->fd, .host = j->host), ==, 0);
    plait_tls_context_free(c);
    r->code = plait_tls_handshake(t);
    if (r->code == 0)
        r->code = j->talk(plait_tls_stream(t));
    snprintf(r->text, sizeof r->text, "%s", plait_tls_error(t));
    snprintf(r->version, sizeof r->version, "%s", plait_tls_version(t));
    plait_tls_close(t);
    return 0;
}
PLAIT_TASK(do_job, struct job, struct result);

static void run(plait_executor *ex, struct raw *raw, struct job job, struct result *r)
{
    int pair[2];
    plait_future *f;
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), ==, 0);
    raw->fd = pair[0];
    job.fd = pair[1];
    CHECK_INT(pthread_create(&raw->thread, NULL, raw_main, raw), ==, 0);
    CHECK_INT(plait_submit_at(ex, &f, do_job, &job), ==, 0);
    CHECK_INT(plait_result(f, r), ==, 0);
    plait_free(f);
    CHECK_INT(pthread_join(raw->thread, NULL), ==, 0);
    check_say("%d: %s", r->code, r->text);
}

// ---- a megabyte there and back, then a goodbye from the peer, which goes on reading -------------

enum { BIG = 1 << 20 };

static unsigned char pattern(size_t i)
{
    return (unsigned char)(i * 131 >> 3);
}

static void raw_echo(SSL *ssl)
{
    static _Thread_local unsigned char all[BIG];
    size_t n = 0, at = 0;
    for (; at < BIG; at += n)
        CHECK_INT(SSL_read_ex(ssl, all + at, BIG - at, &n), ==, 1);
    CHECK_INT(SSL_write_ex(ssl, all, BIG, &n), ==, 1);
    CHECK_INT(SSL_shutdown(ssl), ==, 0);
    CHECK_INT(SSL_read_ex(ssl, all, 5, &n), ==, 1);
    CHECK_MEM(all, "after", 5);
    CHECK_INT(SSL_read_ex(ssl, all, 1, &n), ==, 0);
    CHECK_INT(SSL_get_error(ssl, 0), ==, SSL_ERROR_ZERO_RETURN);
}

static int echo_back(plait_bufio *b)
{
    unsigned char data[3000];
    size_t i = 0;
    int e = 0;
    while (e == 0 && i < BIG) {
        size_t n = BIG - i < sizeof data ? BIG - i : sizeof data;
        for (size_t k = 0; k < n; k++)
            data[k] = pattern(i + k);
        e = plait_bufio_write(b, data, n, NULL);
        i += n;
    }
    if (e == 0)
        e = plait_bufio_flush(b);
    for (i = 0; e >= 0 && i < BIG;) {
        ssize_t n = plait_bufio_read(b, data, sizeof data);
        for (ssize_t k = 0; k < n; k++)
            if (data[k] != pattern(i++))
                return -EBADMSG;
        e = n < 0 ? (int)n : n == 0 ? -ENODATA : 0;
    }
    if (e == 0)
        e = (int)plait_bufio_read(b, data, 1); // the goodbye
    if (e == 0)
        e = plait_bufio_printf(b, "after");
    return e == 0 ? plait_bufio_flush(b) : e;
}

CONFORM_LOCAL(echo_by_each_version, .limit_s = 60)
{
    static const struct {
        int most;
        const char *name;
    } versions[] = { { TLS1_2_VERSION, "TLSv1.2" }, { TLS1_3_VERSION, "TLSv1.3" } };
    for (int i = 0; i < 4; i++) {
        struct raw raw = { .server = i / 2, .most = versions[i % 2].most, .talk = raw_echo };
        struct result r;
        struct job job = { .role = raw.server ? PLAIT_TLS_CLIENT : PLAIT_TLS_SERVER,
                           .host = "localhost",
                           .talk = echo_back };
        run(ex, &raw, job, &r);
        CHECK_INT(r.code, ==, 0);
        CHECK_STR(r.text, "");
        CHECK_STR(r.version, versions[i % 2].name);
        CHECK_STR(raw.sni, raw.server ? "localhost" : "");
    }
}

// ---- names and versions ------------------------------------------------------------------------

static void raw_goodbye(SSL *ssl)
{
    char byte;
    CHECK_INT(SSL_read(ssl, &byte, 1), ==, 0);
    SSL_shutdown(ssl);
}

static int goodbye(plait_bufio *b)
{
    char byte;
    int e = plait_bufio_shutdown(b);
    return e == 0 ? (int)plait_bufio_read(b, &byte, 1) : e;
}

CONFORM_LOCAL(an_address_is_no_server_name)
{
    struct raw raw = { .server = true, .talk = raw_goodbye };
    struct result r;
    run(ex, &raw, (struct job){ .role = PLAIT_TLS_CLIENT, .host = "127.0.0.1", .talk = goodbye },
        &r);
    CHECK_INT(r.code, ==, 0);
    CHECK_STR(raw.sni, "");
}

CONFORM_LOCAL(old_versions_are_refused)
{
    static const struct {
        bool server;
        int most;
        enum plait_tls_least least;
    } peers[] = {
        { true, TLS1_1_VERSION, 0 },
        { false, TLS1_1_VERSION, 0 },
        { true, TLS1_2_VERSION, PLAIT_TLS_LEAST_1_3 },
        { false, TLS1_2_VERSION, PLAIT_TLS_LEAST_1_3 },
    };
    for (size_t i = 0; i < sizeof peers / sizeof *peers; i++) {
        struct raw raw = {
            .server = peers[i].server, .most = peers[i].most, .talk = raw_goodbye, .may_fail = true
        };
        struct result r;
        struct job job = { .role = raw.server ? PLAIT_TLS_CLIENT : PLAIT_TLS_SERVER,
                           .least = peers[i].least,
                           .host = "localhost",
                           .talk = goodbye };
        run(ex, &raw, job, &r);
        CHECK_INT(r.code, ==, -EPROTONOSUPPORT);
        CHECK(strstr(r.text, "no version of TLS in common"));
    }
}

// ---- keys that change --------------------------------------------------------------------------

static void raw_new_keys(SSL *ssl)
{
    for (int i = 0; i < 20; i++) {
        CHECK_INT(SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED), ==, 1);
        CHECK_INT(SSL_write(ssl, "line\n", 5), ==, 5);
    }
    CHECK_INT(SSL_shutdown(ssl), ==, 0);
    char text[32];
    CHECK_INT(SSL_read(ssl, text, sizeof text), ==, 5); // by our new keys
    CHECK_MEM(text, "last\n", 5);
}

static int twenty_lines(plait_bufio *b)
{
    struct plait_span line;
    int e, lines = 0;
    while ((e = plait_bufio_read_line(b, &line)) == 1)
        lines += strcmp(line.data, "line") == 0;
    if (e == 0)
        e = plait_bufio_printf(b, "last\n");
    if (e == 0)
        e = plait_bufio_flush(b);
    return e < 0 ? e : lines == 20 ? 0 : -EPROTO;
}

CONFORM_LOCAL(keys_may_change)
{
    struct raw raw = { .server = true, .talk = raw_new_keys };
    struct result r;
    run(ex, &raw,
        (struct job){ .role = PLAIT_TLS_CLIENT, .host = "localhost", .talk = twenty_lines }, &r);
    CHECK_INT(r.code, ==, 0);
}

/* Each request wants an answer; this peer never reads one. The memory of answers is bounded. */
static void raw_flood(SSL *ssl)
{
    for (int i = 0; i < 20000; i++)
        if (SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED) != 1 || SSL_do_handshake(ssl) != 1)
            return; // refused
    FAIL("20000 new keys were accepted");
}

static int read_one(plait_bufio *b)
{
    char byte;
    int e = (int)plait_bufio_read(b, &byte, 1);
    plait_bufio_flush(b);
    return e;
}

CONFORM_LOCAL(endless_requests_end)
{
    struct raw raw = { .server = true, .talk = raw_flood };
    struct result r;
    run(ex, &raw, (struct job){ .role = PLAIT_TLS_CLIENT, .host = "localhost", .talk = read_one },
        &r);
    CHECK_INT(r.code, ==, -ENOBUFS);
}
