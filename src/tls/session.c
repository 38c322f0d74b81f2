// SPDX-License-Identifier: MIT
// session.c - connections: opening, handshake, what was agreed on. DESIGN: session.h.
#include "tls/session.h"
#include "base/bug.h"
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <plait/scope.h>
#include <stdio.h>
#include <string.h>

// ---- opening

/* What the certificate must be for. 0, -EINVAL, -ENOMEM. */
static int set_host(struct plait_tls *t, const char *host)
{
    bool checked = SSL_get_verify_mode(t->ssl) != SSL_VERIFY_NONE;
    if (t->context->role == PLAIT_TLS_SERVER || (!host && !checked))
        return 0;
    if (!host || !*host)
        return -EINVAL;
    t->host = OPENSSL_strdup(host);
    if (!t->host)
        return -ENOMEM;
    X509_VERIFY_PARAM *param = SSL_get0_param(t->ssl);
    if (X509_VERIFY_PARAM_set1_ip_asc(param, host) == 1)
        return 0; /* an address is not told to the server */
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (SSL_set1_host(t->ssl, host) != 1 || SSL_set_tlsext_host_name(t->ssl, host) != 1)
        return -EINVAL;
    return 0;
}

static int prepare(struct plait_tls *t, const struct plait_tls_options *o)
{
    t->ssl = SSL_new(t->context->ctx);
    t->from_peer = BIO_new(BIO_s_mem());
    t->to_peer = BIO_new(BIO_s_mem());
    if (!t->ssl || !t->from_peer || !t->to_peer) {
        BIO_free(t->from_peer);
        BIO_free(t->to_peer);
        return -ENOMEM;
    }
    SSL_set_bio(t->ssl, t->from_peer, t->to_peer);
    if (t->context->role == PLAIT_TLS_SERVER)
        SSL_set_accept_state(t->ssl);
    else
        SSL_set_connect_state(t->ssl);
    int e = set_host(t, o->host);
    if (e == 0)
        e = plait_bufio_open_over(&t->stream, &pl_tls_transport, t, o->stream);
    return e;
}

int plait_tls_open_transport(plait_tls **ret, plait_tls_context *c,
                             const struct plait_transport *transport, void *self,
                             const struct plait_tls_options *options)
{
    struct plait_tls_options o = { 0 };
    if (options)
        memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
    struct plait_tls *t = OPENSSL_zalloc(sizeof *t);
    int e = t ? 0 : -ENOMEM;
    if (t) {
        t->context = c;
        pl_tls_context_ref(c);
        memcpy(&t->transport, transport,
               transport->size < sizeof t->transport ? transport->size : sizeof t->transport);
        t->self = self;
        ERR_clear_error();
        e = prepare(t, &o);
        ERR_clear_error();
    }
    if (e < 0) {
        pl_tls_set_last_error(e == -EINVAL ? "a client needs the .host that it checks the "
                                             "certificate against"
                                           : plait_strerror(e));
        pl_tls_free(t);
        return e;
    }
    *ret = t;
    return 0;
}

int plait_tls_open_fd(plait_tls **ret, plait_tls_context *c, int fd,
                      const struct plait_tls_options *options)
{
    if (fd < 0) {
        pl_tls_set_last_error("a connection needs a descriptor");
        return -EINVAL;
    }
    return plait_tls_open_transport(ret, c, plait_fd_transport(), (void *)(intptr_t)fd, options);
}

void pl_tls_free(struct plait_tls *t)
{
    if (!t)
        return;
    SSL_free(t->ssl); /* and the BIOs */
    ERR_clear_error();
    plait_tls_context_free(t->context);
    OPENSSL_free(t->outgoing);
    OPENSSL_free(t->host);
    OPENSSL_free(t);
}

// ---- the handshake

/* One step: 0: done, -EAGAIN: it needs more of the peer, or the failure. */
static int step(struct plait_tls *t)
{
    int e = t->failure.code < 0 ? t->failure.code : pl_tls_feed(t);
    if (e < 0)
        return e;
    ERR_clear_error();
    int r = SSL_do_handshake(t->ssl);
    if (r == 1)
        return 0;
    if (SSL_get_error(t->ssl, r) != SSL_ERROR_WANT_READ)
        return pl_tls_failed(t);
    ERR_clear_error();
    if (t->eof)
        return pl_tls_fail(t, -ECONNRESET, "the connection ended in the middle of the handshake");
    return -EAGAIN;
}

static int say_why(void *arg)
{
    return pl_tls_send(arg);
}

/* The handshake failed: the peer should know why, if it still listens; but nobody waits long. */
static void send_alert(struct plait_tls *t)
{
    int64_t deadline = plait_after(PLAIT_SECOND);
    if (plait_deadline() < deadline)
        deadline = plait_deadline();
    if (plait_cancelled() == 0)
        plait_shield(deadline, say_why, t);
}

static void copy_peer(struct plait_tls *t)
{
    X509 *certificate = SSL_get1_peer_certificate(t->ssl);
    BIO *out = BIO_new(BIO_s_mem());
    if (certificate && out &&
        X509_NAME_print_ex(out, X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253) >= 0) {
        int n = BIO_read(out, t->peer, sizeof t->peer - 1);
        t->peer[n > 0 ? n : 0] = 0;
    }
    X509_free(certificate);
    BIO_free(out);
}

static void note_agreement(struct plait_tls *t)
{
    const unsigned char *name;
    unsigned bytes;
    SSL_get0_alpn_selected(t->ssl, &name, &bytes);
    if (bytes > 0 && bytes < sizeof t->alpn)
        memcpy(t->alpn, name, bytes);
    snprintf(t->version, sizeof t->version, "%s", SSL_get_version(t->ssl));
    copy_peer(t);
    ERR_clear_error();
}

static int shake(struct plait_tls *t)
{
    for (;;) {
        int e = step(t);
        if (e < 0 && e != -EAGAIN) {
            send_alert(t);
            return e;
        }
        int sent = pl_tls_send(t);
        if (sent < 0)
            return sent;
        if (e == 0)
            return 0;
        e = pl_tls_receive(t);
        if (e < 0)
            return e;
    }
}

int plait_tls_handshake(plait_tls *t)
{
    if (atomic_load(&t->established))
        return 0;
    if (atomic_exchange(&t->shaking, true))
        PL_BUG("two tasks do the handshake of one connection at the same time");
    int e = shake(t);
    if (e == 0) {
        note_agreement(t);
        atomic_store(&t->established, true);
    }
    atomic_store(&t->shaking, false);
    return e;
}

// ---- what it knows

plait_bufio *plait_tls_stream(plait_tls *t)
{
    return t->stream;
}

int plait_tls_close(plait_tls *t)
{
    return t ? plait_bufio_close(t->stream) : 0;
}

void plait_tls_abort(plait_tls *t)
{
    if (t)
        plait_bufio_abort(t->stream);
}

const char *plait_tls_error(const plait_tls *t)
{
    return t->failure.code < 0 ? t->failure.text : "";
}

const char *plait_tls_version(const plait_tls *t)
{
    return t->version;
}

const char *plait_tls_alpn(const plait_tls *t)
{
    return t->alpn;
}

const char *plait_tls_peer(const plait_tls *t)
{
    return t->peer;
}
