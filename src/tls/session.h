// SPDX-License-Identifier: MIT
/*
 * session.h - the inside of contexts and connections.
 *
 * DESIGN
 *   OpenSSL never sees a descriptor. It reads and writes two memory BIOs, so each of its calls is a
 *   computation that ends at once; what moves bytes between the BIOs and the transport is ours, and
 *   waits as all of plait's I/O does:
 *
 *       transport --> incoming --> from_peer BIO --> SSL_read   --> the stream's reader
 *       transport <-- outgoing <-- to_peer BIO   <-- SSL_write  <-- the stream's writer
 *
 *   An SSL object is not made for two threads, but a stream may be read and written at once. So
 *   `lock` is held around OpenSSL's calls, never across a wait. `incoming` belongs to the reader
 *   and `outgoing` to the writer (the stream sees to it that there is one of each), and neither is
 *   given up when a wait ends early: the next call goes on with it. Only the writer sends. What the
 *   reader makes OpenSSL say (the answer to a new key, an alert) waits for the next write, flush or
 *   close, which is what the protocol asks for; its amount is bounded.
 *
 *   OpenSSL's errors are in a queue of the thread, which other fibers of the thread would add to.
 *   So the queue is cleared before each call, and read to its end before the lock is given back.
 */
#ifndef PL_TLS_SESSION_H
#define PL_TLS_SESSION_H

#include <openssl/ssl.h>
#include <plait/sync.h>
#include <plait/tls.h>
#include <stdatomic.h>

struct pl_tls_failure {
    char text[320];
    _Atomic int code; /* 0: none; set after the text, which does not change any more */
};

struct plait_tls_context {
    SSL_CTX *ctx;
    enum plait_tls_role role;
    enum plait_tls_check check;
    _Atomic unsigned refs; /* its owner's, and one of each connection */
    unsigned alpn_bytes;
    unsigned char alpn[256]; /* as the protocol has it: each name after its length */
};

struct plait_tls {
    struct plait_tls_context *context;
    struct plait_transport transport;
    void *self;
    plait_bufio *stream;
    char *host;
    plait_mutex lock; /* ssl, the BIOs, failure, read_over */
    SSL *ssl;
    BIO *from_peer, *to_peer; /* owned by ssl */
    struct pl_tls_failure failure;
    bool read_over; /* the peer said goodbye */
    bool eof;       /* the transport has ended; the reader's */
    atomic_bool shaking, established;
    size_t incoming_bytes;
    size_t outgoing_begin, outgoing_end;
    char *outgoing; /* allocated while there is something in it */
    char version[16], peer[256], alpn[256];
    char incoming[8192];
};

/* Notes the first failure of a connection, from OpenSSL's error queue, which is empty then; returns
 * its code. Under the lock. */
int pl_tls_failed(struct plait_tls *t);

/* The same for what OpenSSL does not know. */
int pl_tls_fail(struct plait_tls *t, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Reads OpenSSL's error queue to its end: code and text of the first, after `what`. */
void pl_tls_explain(struct pl_tls_failure *f, const char *what);

/* What plait_tls_last_error() returns. */
void pl_tls_set_last_error(const char *text);

void pl_tls_context_ref(struct plait_tls_context *c);

/* Gives OpenSSL what has come. Under the lock. */
int pl_tls_feed(struct plait_tls *t);

/* Receives some more: 0 or a negative errno. By the reader, or in the handshake. */
int pl_tls_receive(struct plait_tls *t);

/* Sends all that OpenSSL wants to say. By the writer, or in the handshake. */
int pl_tls_send(struct plait_tls *t);

/* The stream's transport. */
extern const struct plait_transport pl_tls_transport;

/* Frees a connection whose stream is gone, but what it ran over. */
void pl_tls_free(struct plait_tls *t);

#endif
