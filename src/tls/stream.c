// SPDX-License-Identifier: MIT
// stream.c - the transport of an encrypted stream: between OpenSSL's memory and the peer.
#include "tls/session.h"
#include "base/bug.h"
#include <openssl/err.h>

enum {
    OUTGOING = 16384,        /* sent in one call of the transport */
    WRITE_AHEAD = 2 * 16384, /* encrypted and not yet sent, when a write has to wait */
    ANSWERS_MAX = 65536,     /* the same, when a reader does not go on */
};

// ---- bytes in and out

int pl_tls_feed(struct plait_tls *t)
{
    if (t->incoming_bytes == 0)
        return 0;
    int n = BIO_write(t->from_peer, t->incoming, (int)t->incoming_bytes);
    if (n != (int)t->incoming_bytes)
        return pl_tls_fail(t, -ENOMEM, "no memory for what the peer sent");
    t->incoming_bytes = 0;
    return 0;
}

int pl_tls_receive(struct plait_tls *t)
{
    if (t->eof)
        return 0;
    if (!t->transport.read)
        return -EBADF;
    ssize_t n = t->transport.read(t->self, t->incoming, sizeof t->incoming);
    if (n < 0)
        return (int)n;
    if ((size_t)n > sizeof t->incoming)
        PL_BUG("a transport's read returned %zd bytes where there is room for %zu", n,
               sizeof t->incoming);
    t->eof = n == 0;
    t->incoming_bytes = (size_t)n;
    return 0;
}

/* The next piece of what OpenSSL wants to say, into `outgoing`: its bytes, or a negative errno. */
static int collect(struct plait_tls *t)
{
    if (t->outgoing_begin < t->outgoing_end)
        return (int)(t->outgoing_end - t->outgoing_begin);
    int e = plait_mutex_lock(&t->lock);
    if (e < 0)
        return e;
    int n = (int)BIO_ctrl_pending(t->to_peer);
    if (n > 0 && !t->outgoing && !(t->outgoing = OPENSSL_malloc(OUTGOING)))
        n = -ENOMEM;
    if (n > 0)
        n = BIO_read(t->to_peer, t->outgoing, OUTGOING);
    plait_mutex_unlock(&t->lock);
    if (n > 0) {
        t->outgoing_begin = 0;
        t->outgoing_end = (size_t)n;
    }
    return n;
}

int pl_tls_send(struct plait_tls *t)
{
    int left;
    if (!t->transport.writev)
        return -EBADF;
    while ((left = collect(t)) > 0) {
        struct iovec part = { t->outgoing + t->outgoing_begin, (size_t)left };
        ssize_t n = t->transport.writev(t->self, &part, 1);
        if (n <= 0)
            return n < 0 ? (int)n : -EIO;
        if (n > left)
            PL_BUG("a transport's writev returned %zd for %d bytes", n, left);
        t->outgoing_begin += (size_t)n;
    }
    if (left < 0)
        return left;
    OPENSSL_free(t->outgoing);
    t->outgoing = NULL;
    t->outgoing_begin = t->outgoing_end = 0;
    return t->transport.flush ? t->transport.flush(t->self) : 0;
}

// ---- the reader

/* Bytes, 0: the peer said goodbye, -EAGAIN: it needs more of the peer, or the failure. */
static ssize_t decrypt(struct plait_tls *t, void *data, size_t bytes)
{
    size_t n = 0;
    int e = t->read_over || t->failure.code < 0 ? t->failure.code : pl_tls_feed(t);
    if (e < 0 || t->read_over)
        return e;
    ERR_clear_error();
    int r = SSL_read_ex(t->ssl, data, bytes, &n);
    if (r == 1)
        return (ssize_t)n;
    switch (SSL_get_error(t->ssl, r)) {
    case SSL_ERROR_ZERO_RETURN:
        t->read_over = true;
        ERR_clear_error();
        return 0;
    case SSL_ERROR_WANT_READ:
        ERR_clear_error();
        if (t->eof)
            return pl_tls_fail(t, -ECONNRESET,
                               "the connection ended without a goodbye: what was "
                               "read may be cut off");
        if (BIO_ctrl_pending(t->to_peer) > ANSWERS_MAX)
            return pl_tls_fail(t, -ENOBUFS, "the peer demands more answers than it reads");
        return -EAGAIN;
    default:
        return pl_tls_failed(t);
    }
}

static ssize_t tls_read(void *self, void *data, size_t bytes)
{
    struct plait_tls *t = self;
    if (!atomic_load(&t->established))
        return -ENOTCONN;
    for (;;) {
        int e = plait_mutex_lock(&t->lock);
        if (e < 0)
            return e;
        ssize_t n = decrypt(t, data, bytes);
        plait_mutex_unlock(&t->lock);
        if (n != -EAGAIN)
            return n;
        e = pl_tls_receive(t);
        if (e < 0)
            return e;
    }
}

// ---- the writer

/* How many bytes of the parts were encrypted; stops when much waits to be sent. */
static ssize_t encrypt(struct plait_tls *t, const struct iovec *parts, int count)
{
    size_t total = 0;
    for (int i = 0; i < count; i++) {
        for (size_t at = 0, n; at < parts[i].iov_len; at += n, total += n) {
            if (total > 0 && BIO_ctrl_pending(t->to_peer) >= WRITE_AHEAD)
                return (ssize_t)total;
            size_t left = parts[i].iov_len - at;
            ERR_clear_error();
            if (t->failure.code < 0)
                return t->failure.code;
            if (SSL_write_ex(t->ssl, (const char *)parts[i].iov_base + at,
                             left < OUTGOING ? left : OUTGOING, &n) != 1) {
                int e = pl_tls_failed(t);
                return total > 0 ? (ssize_t)total : e;
            }
        }
    }
    return (ssize_t)total;
}

static ssize_t tls_writev(void *self, const struct iovec *parts, int count)
{
    struct plait_tls *t = self;
    if (!atomic_load(&t->established))
        return -ENOTCONN;
    int e = plait_mutex_lock(&t->lock);
    if (e < 0)
        return e;
    bool much = BIO_ctrl_pending(t->to_peer) >= WRITE_AHEAD;
    plait_mutex_unlock(&t->lock);
    if (much)
        e = pl_tls_send(t);
    if (e == 0)
        e = plait_mutex_lock(&t->lock);
    if (e < 0)
        return e;
    ssize_t n = encrypt(t, parts, count);
    plait_mutex_unlock(&t->lock);
    return n;
}

static int tls_flush(void *self)
{
    struct plait_tls *t = self;
    int e = atomic_load(&t->established) ? pl_tls_send(t) : 0;
    return e < 0 ? e : t->failure.code; /* what the reader found ends the writer too */
}

static int tls_shutdown(void *self)
{
    struct plait_tls *t = self;
    if (!atomic_load(&t->established))
        return -ENOTCONN;
    int e = plait_mutex_lock(&t->lock);
    if (e < 0)
        return e;
    ERR_clear_error();
    if (t->failure.code < 0)
        e = t->failure.code;
    else if (!(SSL_get_shutdown(t->ssl) & SSL_SENT_SHUTDOWN) && SSL_shutdown(t->ssl) < 0)
        e = pl_tls_failed(t);
    ERR_clear_error();
    plait_mutex_unlock(&t->lock);
    return e < 0 ? e : pl_tls_send(t);
}

static int tls_close(void *self, bool orderly)
{
    struct plait_tls *t = self;
    int e = orderly && atomic_load(&t->established) ? tls_shutdown(t) : 0;
    if (e == -EPIPE || (e == -ECONNRESET && t->failure.code == 0))
        e = 0; /* all was written, and nobody is there any more to hear the goodbye */
    int closed = t->transport.close ? t->transport.close(t->self, orderly && e == 0) : 0;
    pl_tls_free(t);
    return e < 0 ? e : closed;
}

const struct plait_transport pl_tls_transport = {
    .size = sizeof pl_tls_transport,
    .read = tls_read,
    .writev = tls_writev,
    .flush = tls_flush,
    .shutdown = tls_shutdown,
    .close = tls_close,
};
