// SPDX-License-Identifier: MIT
// TLS, client and server, by OpenSSL: buffered streams that are encrypted, to a peer whose
// certificate was checked. A library of its own: link with -lplait-tls, and include this header by
// name.
//
//     plait_tls_context *context;              // one for many connections
//     plait_tls *t;
//     plait_tls_context_new(&context, PLAIT_TLS_CLIENT);
//     plait_tls_open(&t, context, fd, .host = "example.org");
//     if ((e = plait_tls_handshake(t)) == 0)
//         talk(plait_tls_stream(t));           // a plait_bufio like any other
//     else
//         puts(plait_tls_error(t));
//     plait_tls_close(t);
//
// Everything here works in tasks of every executor and on plain threads. The handshake, reads and
// writes wait as all of plait's I/O does: a fiber is suspended, a thread blocks, the ambient
// deadline and a cancel end the wait, nothing is lost by that, and the call can be made again.
// OpenSSL itself never waits, so tasks of one worker do not hold each other up.
//
// By TLS 1.3 a client is done before the server has looked at its certificate. A client that is
// refused learns that from a read; a write may fail before, with -EPIPE or -ECONNRESET.
//
// A stream ends (0) when the peer has said that it ends. A connection that just stops is
// -ECONNRESET: what was read may be cut off.
//
// Codes of a failed TLS connection, whose sentence is plait_tls_error():
// -EKEYREJECTED     the peer's certificate is not trusted, not for this host, or missing
// -EKEYEXPIRED      its certificate has expired, or is not valid yet
// -EKEYREVOKED      its certificate was revoked
// -EPROTONOSUPPORT  no version of TLS, or no protocol of .alpn, in common
// -EPROTO           the peer does not speak TLS, or breaks its rules
// -ECONNABORTED     the peer refused: the sentence has its reason
// -ECONNRESET       the connection ended without a goodbye
// -EBADMSG          what came was changed on its way
// -ENOBUFS          the peer demands more answers than it reads
#ifndef PLAIT_TLS_H
#define PLAIT_TLS_H

#include <plait/bufio.h>

/* What connections have in common: whom they trust, and who they say they are. */
typedef struct plait_tls_context plait_tls_context;

/* One connection. */
typedef struct plait_tls plait_tls;

/* Which side of its connections a context is for. */
enum plait_tls_role {
    PLAIT_TLS_CLIENT = 1,
    PLAIT_TLS_SERVER = 2,
};

/* Whose certificate must be good. */
enum plait_tls_check {
    PLAIT_TLS_CHECK_DEFAULT = 0, /* a client checks the server, a server asks for nothing */
    PLAIT_TLS_CHECK_PEER = 1,    /* a server also refuses clients without a good certificate */
    PLAIT_TLS_CHECK_NOTHING = 2, /* whoever is in between can read and change all of it */
};

/* The oldest version of TLS that is spoken. */
enum plait_tls_least {
    PLAIT_TLS_LEAST_DEFAULT = 0, /* TLS 1.2 */
    PLAIT_TLS_LEAST_1_3 = 1,
};

/* Strings are copied. Files are in PEM format. */
struct plait_tls_context_options {
    size_t size;             /* sizeof(struct plait_tls_context_options) */
    const char *ca_file;     /* trusts these; default: the system's (OpenSSL's SSL_CERT_FILE and
                                SSL_CERT_DIR) */
    const char *certificate; /* our own, then those that lead to the CA; a server must have one */
    const char *key;         /* its private key; default: in the same file */
    const char *alpn;        /* protocols, the best first: "h2,http/1.1"; of a server's, the first
                                that the client has is taken */
    enum plait_tls_check check;
    enum plait_tls_least least;
};

/* What one connection has of its own. */
struct plait_tls_options {
    size_t size;      /* sizeof(struct plait_tls_options) */
    const char *host; /* a client's: the name or address that the certificate must be for; a name
                         is also sent to the server (SNI). Copied */
    const struct plait_bufio_options *stream; /* of the encrypted stream; default: its defaults */
};

PLAIT_BEGIN

/* 0, or why not, with a sentence in plait_tls_last_error():
 * -ENOENT, -EACCES...  a file that cannot be read
 * -EBADMSG       a file that does not hold what it should; -EKEYREJECTED: the key is not the
 *                certificate's; -EINVAL: an option out of range, a server without a certificate
 * -ENOMEM, -EAGAIN, -ECANCELED, -ETIMEDOUT
 * Reads files, by plait_blocking() in a task: suspends a fiber, blocks a thread. */
PLAIT_API int plait_tls_context_new_with(plait_tls_context **ret, enum plait_tls_role role,
                                         const struct plait_tls_context_options *options);

/* Connections that are open keep what they need. NULL is allowed. Never suspends. */
PLAIT_API void plait_tls_context_free(plait_tls_context *c);

/* Why the last plait_tls_context_new() or plait_tls_open() of this thread failed: a sentence, or
 * "". On a fiber to be asked at once, before anything that may suspend. */
PLAIT_API const char *plait_tls_last_error(void);

/* TLS over a connected descriptor, which it owns from here on when it succeeds; over a transport,
 * whose `close` is called at the end. Sends nothing yet. 0, -ENOMEM, -EINVAL: a client that checks
 * certificates has no .host, or a bad one; a negative descriptor. Never suspends. */
PLAIT_API int plait_tls_open_fd(plait_tls **ret, plait_tls_context *c, int fd,
                                const struct plait_tls_options *options);
PLAIT_API int plait_tls_open_transport(plait_tls **ret, plait_tls_context *c,
                                       const struct plait_transport *transport, void *self,
                                       const struct plait_tls_options *options);

/* Agrees on keys and checks the peer: 0, a code from the list above, -ENOMEM, an error of the
 * transport, or -ECANCELED, -ETIMEDOUT by the scope: then it can be called again. Suspends a fiber,
 * blocks a thread. */
PLAIT_API int plait_tls_handshake(plait_tls *t);

/* The encrypted stream. Until the handshake is done its calls return -ENOTCONN. Closing the stream
 * and closing the connection are the same. plait_bufio_shutdown() says goodbye to the peer, and
 * reading goes on. Never suspends. */
PLAIT_API plait_bufio *plait_tls_stream(plait_tls *t);

/* As plait_bufio_close() and plait_bufio_abort() of its stream: flushes, says goodbye, closes what
 * it runs over and frees the connection; or only the last two. NULL is allowed. */
PLAIT_API int plait_tls_close(plait_tls *t);
PLAIT_API void plait_tls_abort(plait_tls *t);

/* Why the connection failed: a sentence, or "" when TLS did not. Lives as long as the
 * connection. Never suspends. */
PLAIT_API const char *plait_tls_error(const plait_tls *t);

/* After the handshake: "TLSv1.3"; the protocol that .alpn agreed on; whom the peer's certificate is
 * for ("CN=example.org"). "" where there is none. They live as long as the connection. Never
 * suspends. */
PLAIT_API const char *plait_tls_version(const plait_tls *t);
PLAIT_API const char *plait_tls_alpn(const plait_tls *t);
PLAIT_API const char *plait_tls_peer(const plait_tls *t);

PLAIT_END

/* plait_tls_context_new(&c, PLAIT_TLS_SERVER, .certificate = "server.pem", .key = "key.pem") */
#define plait_tls_context_new(ret, ...) PLAIT_TLS_CONTEXT_NEW_(ret, __VA_ARGS__, )
#define PLAIT_TLS_CONTEXT_NEW_(ret, role, ...)                                                     \
    plait_tls_context_new_with(                                                                    \
        (ret), (role),                                                                             \
        (const struct plait_tls_context_options *)PLAIT_LITERAL_(                                  \
            struct plait_tls_context_options,                                                      \
            { .size = sizeof(struct plait_tls_context_options), __VA_ARGS__ }))

#define PLAIT_TLS_OPTIONS_(...)                                                                    \
    (const struct plait_tls_options *)PLAIT_LITERAL_(                                              \
        struct plait_tls_options, { .size = sizeof(struct plait_tls_options), __VA_ARGS__ })

/* plait_tls_open(&t, context, fd, .host = "example.org"); a server's needs no option */
#define plait_tls_open(ret, c, ...) PLAIT_TLS_OPEN_(ret, c, __VA_ARGS__, )
#define PLAIT_TLS_OPEN_(ret, c, fd, ...)                                                           \
    plait_tls_open_fd((ret), (c), (fd), PLAIT_TLS_OPTIONS_(__VA_ARGS__))

/* The same over a transport. */
#define plait_tls_open_over(ret, c, transport, ...)                                                \
    PLAIT_TLS_OPEN_OVER_(ret, c, transport, __VA_ARGS__, )
#define PLAIT_TLS_OPEN_OVER_(ret, c, transport, self, ...)                                         \
    plait_tls_open_transport((ret), (c), (transport), (self), PLAIT_TLS_OPTIONS_(__VA_ARGS__))

#endif
