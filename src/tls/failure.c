// SPDX-License-Identifier: MIT
// failure.c - OpenSSL's errors as a code and a sentence.
#include "tls/session.h"
#include <openssl/err.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char last_error[320];

/* Not inlined: a caller that suspends in between must not keep the thread's address. */
__attribute__((noinline)) void pl_tls_set_last_error(const char *text)
{
    snprintf(last_error, sizeof last_error, "%s", text);
}

__attribute__((noinline)) const char *plait_tls_last_error(void)
{
    return last_error;
}

static const struct known {
    int reason, code;
    const char *text;
} known[] = {
    { SSL_R_WRONG_VERSION_NUMBER, -EPROTO, "the peer does not speak TLS" },
    { SSL_R_HTTP_REQUEST, -EPROTO, "the peer speaks HTTP without TLS" },
    { SSL_R_HTTPS_PROXY_REQUEST, -EPROTO, "the peer speaks HTTP without TLS" },
    { SSL_R_UNSUPPORTED_PROTOCOL, -EPROTONOSUPPORT, "there is no version of TLS in common" },
    { SSL_R_VERSION_TOO_LOW, -EPROTONOSUPPORT, "there is no version of TLS in common" },
    { SSL_R_TLSV1_ALERT_PROTOCOL_VERSION, -EPROTONOSUPPORT,
      "there is no version of TLS in common" },
    { SSL_R_NO_APPLICATION_PROTOCOL, -EPROTONOSUPPORT, "there is no ALPN protocol in common" },
    { SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL, -EPROTONOSUPPORT,
      "there is no ALPN protocol in common" },
    { SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE, -EKEYREJECTED, "the client shows no certificate" },
    { SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC, -EBADMSG,
      "what came was changed on its way: its checksum is wrong" },
};

static int explain_ssl(struct pl_tls_failure *f, const char *what, int reason, const char *words)
{
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (known[i].reason == reason) {
            snprintf(f->text, sizeof f->text, "%s: %s", what, known[i].text);
            return known[i].code;
        }
    }
    bool alert = reason > SSL_AD_REASON_OFFSET; /* in words: "tlsv1 alert unknown ca" */
    const char *after = alert ? strstr(words, "alert ") : NULL;
    if (after)
        words = after + strlen("alert ");
    snprintf(f->text, sizeof f->text, "%s: %s%s", what, alert ? "the peer refuses: " : "", words);
    return alert ? -ECONNABORTED : -EPROTO;
}

/* Of the first error; but that memory is short, or why a file cannot be read, may come later. */
void pl_tls_explain(struct pl_tls_failure *f, const char *what)
{
    unsigned long first = ERR_peek_error(), error;
    int code = 0;
    while ((error = ERR_get_error()) != 0) {
        if (ERR_GET_REASON(error) == ERR_R_MALLOC_FAILURE)
            code = -ENOMEM;
        else if (ERR_SYSTEM_ERROR(error) && code == 0)
            code = -ERR_GET_REASON(error);
    }
    const char *words = ERR_reason_error_string(first);
    if (code < 0) {
        snprintf(f->text, sizeof f->text, "%s: %s", what, plait_strerror(code));
    } else if (first == 0 || ERR_GET_LIB(first) == ERR_LIB_SSL) {
        code = explain_ssl(f, what, ERR_GET_REASON(first), words ? words : "without a reason");
    } else {
        snprintf(f->text, sizeof f->text, "%s: %s", what, words ? words : "without a reason");
        code = ERR_GET_LIB(first) == ERR_LIB_X509 &&
                       ERR_GET_REASON(first) == X509_R_KEY_VALUES_MISMATCH
                   ? -EKEYREJECTED
                   : -EBADMSG;
    }
    f->code = code;
}

/* The certificate of the peer was looked at and not found good. */
static void explain_certificate(struct plait_tls *t, long verdict)
{
    const char *who = t->context->role == PLAIT_TLS_SERVER ? "the client" : t->host;
    const char *words = X509_verify_cert_error_string(verdict);
    switch (verdict) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
    case X509_V_ERR_CERT_NOT_YET_VALID:
        pl_tls_fail(t, -EKEYEXPIRED, "the certificate of %s is not valid today: %s", who, words);
        return;
    case X509_V_ERR_CERT_REVOKED:
        pl_tls_fail(t, -EKEYREVOKED, "the certificate of %s was revoked", who);
        return;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        pl_tls_fail(t, -EKEYREJECTED, "the certificate that was shown is not for %s", who);
        return;
    case X509_V_ERR_OUT_OF_MEM:
        pl_tls_fail(t, -ENOMEM, "no memory to check the certificate of %s", who);
        return;
    default:
        pl_tls_fail(t, -EKEYREJECTED, "the certificate of %s is not trusted: %s", who, words);
    }
}

int pl_tls_failed(struct plait_tls *t)
{
    unsigned long first = ERR_peek_error();
    long verdict = SSL_get_verify_result(t->ssl);
    if (t->failure.code == 0) {
        if (ERR_GET_LIB(first) == ERR_LIB_SSL &&
            ERR_GET_REASON(first) == SSL_R_CERTIFICATE_VERIFY_FAILED && verdict != X509_V_OK)
            explain_certificate(t, verdict);
        else
            pl_tls_explain(&t->failure, "TLS failed");
    }
    ERR_clear_error();
    return t->failure.code;
}

int pl_tls_fail(struct plait_tls *t, int code, const char *format, ...)
{
    if (t->failure.code != 0)
        return t->failure.code;
    va_list args;
    va_start(args, format);
    vsnprintf(t->failure.text, sizeof t->failure.text, format, args);
    va_end(args);
    t->failure.code = code;
    return code;
}
