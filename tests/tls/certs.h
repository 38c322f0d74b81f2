// SPDX-License-Identifier: MIT
/*
 * certs.h - the certificates of the TLS tests, made when the program starts: files without a name,
 * so that nothing is left behind, one set for each process. All have the same key.
 */
#ifndef PLAIT_TESTS_TLS_CERTS_H
#define PLAIT_TESTS_TLS_CERTS_H

#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"

enum file {
    NO_FILE,
    CA,       // signs all but STRANGER
    OTHER_CA, // nobody trusts it
    GOOD,     // for localhost, *.example.org and 127.0.0.1
    EXPIRED,
    FUTURE,
    STRANGER, // signed by OTHER_CA
    ALICE,    // a client's
    KEY,
    OTHER_KEY,
    LOCKED_KEY, // encrypted
    GARBAGE,
    FILES,
};

static const char *cert_file(enum file which);

// ---- making them

static char cert_paths[FILES][64];

static const char *cert_file(enum file which)
{
    return which == NO_FILE ? NULL : cert_paths[which];
}

static FILE *cert_open(enum file which)
{
    int fd = memfd_create("pem", MFD_CLOEXEC);
    CHECK(fd >= 0);
    snprintf(cert_paths[which], sizeof cert_paths[which], "/proc/%d/fd/%d", getpid(), fd);
    FILE *f = fopen(cert_paths[which], "w");
    CHECK(f);
    return f;
}

static void cert_extend(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    CHECK(e && X509_add_ext(cert, e, -1) == 1);
    X509_EXTENSION_free(e);
}

static X509 *cert_make(enum file which, const char *name, EVP_PKEY *key, X509 *issuer,
                       EVP_PKEY *issuer_key, long from_s, long to_s)
{
    X509 *cert = X509_new();
    CHECK(cert && X509_set_version(cert, X509_VERSION_3) == 1);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), (long)which);
    X509_gmtime_adj(X509_getm_notBefore(cert), from_s);
    X509_gmtime_adj(X509_getm_notAfter(cert), to_s);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
                               (const unsigned char *)name, -1, -1, 0);
    CHECK_INT(X509_set_issuer_name(cert, X509_get_subject_name(issuer ? issuer : cert)), ==, 1);
    CHECK_INT(X509_set_pubkey(cert, key), ==, 1);
    cert_extend(cert, issuer ? issuer : cert, NID_basic_constraints,
                issuer ? "critical,CA:FALSE" : "critical,CA:TRUE");
    if (issuer && which != ALICE)
        cert_extend(cert, issuer, NID_subject_alt_name,
                    "DNS:localhost,DNS:*.example.org,IP:127.0.0.1");
    CHECK(X509_sign(cert, issuer_key, EVP_sha256()) > 0);
    FILE *f = cert_open(which);
    CHECK_INT(PEM_write_X509(f, cert), ==, 1);
    fclose(f);
    return cert;
}

static void cert_keys(EVP_PKEY *key, EVP_PKEY *other)
{
    FILE *f = cert_open(KEY);
    CHECK_INT(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL), ==, 1);
    fclose(f);
    f = cert_open(OTHER_KEY);
    CHECK_INT(PEM_write_PrivateKey(f, other, NULL, NULL, 0, NULL, NULL), ==, 1);
    fclose(f);
    f = cert_open(LOCKED_KEY);
    CHECK_INT(
        PEM_write_PrivateKey(f, key, EVP_aes_128_cbc(), (unsigned char *)"secret", 6, NULL, NULL),
        ==, 1);
    fclose(f);
    f = cert_open(GARBAGE);
    fputs("neither a certificate nor a key\n", f);
    fclose(f);
}

__attribute__((constructor)) static void cert_make_all(void)
{
    const long day = 86400;
    EVP_PKEY *key = EVP_EC_gen("P-256"), *ca_key = EVP_EC_gen("P-256");
    CHECK(key && ca_key);
    X509 *ca = cert_make(CA, "plait test CA", ca_key, NULL, ca_key, -day, day);
    X509 *other = cert_make(OTHER_CA, "another CA", ca_key, NULL, ca_key, -day, day);
    X509_free(cert_make(GOOD, "localhost", key, ca, ca_key, -day, day));
    X509_free(cert_make(EXPIRED, "localhost", key, ca, ca_key, -2 * day, -day));
    X509_free(cert_make(FUTURE, "localhost", key, ca, ca_key, day, 2 * day));
    X509_free(cert_make(STRANGER, "localhost", key, other, ca_key, -day, day));
    X509_free(cert_make(ALICE, "alice", key, ca, ca_key, -day, day));
    cert_keys(key, ca_key);
    X509_free(ca);
    X509_free(other);
    EVP_PKEY_free(key);
    EVP_PKEY_free(ca_key);
}

#endif
