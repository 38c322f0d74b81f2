// SPDX-License-Identifier: MIT
// context.c - what connections have in common: trust, identity, protocols.
#include "tls/session.h"
#include "base/bug.h"
#include <openssl/err.h>
#include <plait/fiber.h>
#include <stdio.h>
#include <string.h>

/* The making of a context, which may be on a thread of the blocking pool. */
struct making {
    struct plait_tls_context *context;
    const struct plait_tls_context_options *options;
    struct pl_tls_failure failure;
};

static int refuse(struct making *m, int code, const char *text)
{
    snprintf(m->failure.text, sizeof m->failure.text, "%s", text);
    m->failure.code = code;
    return code;
}

static int refuse_file(struct making *m, const char *file)
{
    char what[160];
    snprintf(what, sizeof what, "cannot use %s", file);
    pl_tls_explain(&m->failure, what);
    if (m->failure.code == -EPROTO)
        m->failure.code = -EBADMSG; /* a file breaks no protocol */
    return m->failure.code;
}

/* A key that is encrypted is refused, where OpenSSL would ask a person on the terminal. */
static int no_password(char *buffer, int bytes, int writing, void *arg)
{
    (void)buffer, (void)bytes, (void)writing, (void)arg;
    return -1;
}

/* "h2,http/1.1" as the protocol has it. */
static int set_alpn(struct making *m)
{
    struct plait_tls_context *c = m->context;
    const char *name = m->options->alpn;
    while (name) {
        size_t bytes = strcspn(name, ",");
        if (bytes == 0 || bytes > 255 || c->alpn_bytes + bytes + 1 > sizeof c->alpn)
            return refuse(m, -EINVAL, ".alpn holds an empty name, or more than 255 bytes");
        c->alpn[c->alpn_bytes] = (unsigned char)bytes;
        memcpy(c->alpn + c->alpn_bytes + 1, name, bytes);
        c->alpn_bytes += (unsigned)bytes + 1;
        name = name[bytes] ? name + bytes + 1 : NULL;
    }
    return 0;
}

/* A server takes its own first name that the client has too. */
static int choose_alpn(SSL *ssl, const unsigned char **ret, unsigned char *ret_bytes,
                       const unsigned char *theirs, unsigned bytes, void *arg)
{
    const struct plait_tls_context *c = arg;
    unsigned char *chosen = NULL;
    (void)ssl;
    if (SSL_select_next_proto(&chosen, ret_bytes, c->alpn, c->alpn_bytes, theirs, bytes) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *ret = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static int use_alpn(struct making *m)
{
    struct plait_tls_context *c = m->context;
    int e = set_alpn(m);
    if (e < 0 || c->alpn_bytes == 0)
        return e;
    if (c->role == PLAIT_TLS_SERVER)
        SSL_CTX_set_alpn_select_cb(c->ctx, choose_alpn, c);
    else if (SSL_CTX_set_alpn_protos(c->ctx, c->alpn, c->alpn_bytes) != 0)
        return refuse(m, -ENOMEM, "no memory for .alpn");
    return 0;
}

static int trust(struct making *m)
{
    SSL_CTX *ctx = m->context->ctx;
    const char *file = m->options->ca_file;
    bool server = m->context->role == PLAIT_TLS_SERVER;
    bool checks = server ? m->options->check == PLAIT_TLS_CHECK_PEER
                         : m->options->check != PLAIT_TLS_CHECK_NOTHING;
    SSL_CTX_set_verify(
        ctx, checks ? SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT : SSL_VERIFY_NONE, NULL);
    if (!checks)
        return 0;
    if (!file && SSL_CTX_set_default_verify_paths(ctx) != 1)
        return refuse_file(m, "the system's certificates");
    if (file && SSL_CTX_load_verify_file(ctx, file) != 1)
        return refuse_file(m, file);
    if (file && server) { /* which it names to its clients */
        STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(file);
        if (!names)
            return refuse_file(m, file);
        SSL_CTX_set_client_CA_list(ctx, names);
    }
    return 0;
}

static int identify(struct making *m)
{
    SSL_CTX *ctx = m->context->ctx;
    const char *certificate = m->options->certificate;
    const char *key = m->options->key ? m->options->key : certificate;
    if (!certificate)
        return m->context->role == PLAIT_TLS_SERVER || m->options->key
                   ? refuse(m, -EINVAL, "a server, or who has a .key, needs a .certificate")
                   : 0;
    if (SSL_CTX_use_certificate_chain_file(ctx, certificate) != 1)
        return refuse_file(m, certificate);
    if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(ctx) != 1)
        return refuse_file(m, key);
    return 0;
}

static int make(void *arg)
{
    struct making *m = arg;
    struct plait_tls_context *c = m->context;
    ERR_clear_error();
    c->ctx = SSL_CTX_new(c->role == PLAIT_TLS_SERVER ? TLS_server_method() : TLS_client_method());
    if (!c->ctx)
        return refuse_file(m, "OpenSSL");
    int least = m->options->least == PLAIT_TLS_LEAST_1_3 ? TLS1_3_VERSION : TLS1_2_VERSION;
    if (SSL_CTX_set_min_proto_version(c->ctx, least) != 1)
        return refuse_file(m, "this version of TLS");
    SSL_CTX_set_options(c->ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(c->ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_default_passwd_cb(c->ctx, no_password);
    /* Sessions that are resumed are those of a server that asked for the same certificates. */
    if (SSL_CTX_set_session_id_context(c->ctx, (const unsigned char *)"plait", 5) != 1)
        return refuse_file(m, "OpenSSL");
    int e = trust(m);
    if (e == 0)
        e = identify(m);
    return e == 0 ? use_alpn(m) : e;
}

static int check_options(struct making *m, enum plait_tls_role role)
{
    if (role != PLAIT_TLS_CLIENT && role != PLAIT_TLS_SERVER)
        return refuse(m, -EINVAL, "a context is PLAIT_TLS_CLIENT or PLAIT_TLS_SERVER");
    if ((unsigned)m->options->check > PLAIT_TLS_CHECK_NOTHING)
        return refuse(m, -EINVAL, ".check has no such value");
    if ((unsigned)m->options->least > PLAIT_TLS_LEAST_1_3)
        return refuse(m, -EINVAL, ".least has no such value");
    return 0;
}

int plait_tls_context_new_with(plait_tls_context **ret, enum plait_tls_role role,
                               const struct plait_tls_context_options *options)
{
    struct plait_tls_context_options o = { 0 };
    if (options)
        memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
    struct making m = { .options = &o };
    int e = check_options(&m, role);
    if (e == 0) {
        m.context = OPENSSL_zalloc(sizeof *m.context);
        e = m.context ? 0 : refuse(&m, -ENOMEM, "no memory for a TLS context");
    }
    if (e == 0) {
        m.context->role = role;
        m.context->check = o.check;
        atomic_init(&m.context->refs, 1);
        e = plait_blocking(make, &m);
        if (e < 0 && m.failure.code == 0)
            refuse(&m, e, plait_strerror(e)); /* it did not begin */
    }
    if (e < 0) {
        plait_tls_context_free(m.context);
        pl_tls_set_last_error(m.failure.text);
        return e;
    }
    *ret = m.context;
    return 0;
}

void pl_tls_context_ref(struct plait_tls_context *c)
{
    atomic_fetch_add(&c->refs, 1);
}

void plait_tls_context_free(plait_tls_context *c)
{
    if (!c || atomic_fetch_sub(&c->refs, 1) > 1)
        return;
    SSL_CTX_free(c->ctx);
    OPENSSL_free(c);
}
