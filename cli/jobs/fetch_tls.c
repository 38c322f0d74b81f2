// SPDX-License-Identifier: MIT
// Whom fetch believes; see fetch_tls.h.
//
// DESIGN. curl keeps what it has read of the bundle of authorities in its multi handle, and here
// each transfer has one of its own: parsing 140 certificates anew would cost 20 ms of processor
// time a download, ten times the rest. So they are read once, and a reference to them goes into the
// TLS context of each connection. A curl built on another library than OpenSSL reads them itself.
#include "fetch_tls.h"

#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <stdlib.h>
#include <string.h>

static X509_STORE *authorities; /* NULL: curl reads them itself, from `file` */
static const char *file;

void fetch_tls_load(void)
{
    const curl_version_info_data *curl = curl_version_info(CURLVERSION_NOW);
    file = getenv("CURL_CA_BUNDLE");
    if (!file || !*file)
        file = getenv("SSL_CERT_FILE");
    if (!file || !*file)
        file = curl->cainfo;
    if (!file || !curl->ssl_version || strncmp(curl->ssl_version, "OpenSSL/", 8) != 0)
        return;
    authorities = X509_STORE_new();
    if (authorities && X509_STORE_load_file(authorities, file) == 1) {
        /* As curl does: what stands in the file is trusted, a root or not. */
        X509_STORE_set_flags(authorities, X509_V_FLAG_TRUSTED_FIRST | X509_V_FLAG_PARTIAL_CHAIN);
    } else {
        X509_STORE_free(authorities); /* curl will say what is wrong with the file */
        authorities = NULL;
    }
}

static CURLcode context_made(CURL *easy, void *context, void *arg)
{
    (void)easy;
    (void)arg;
    SSL_CTX_set1_cert_store(context, authorities);
    return CURLE_OK;
}

CURLcode fetch_tls_use(CURL *easy)
{
    if (!authorities)
        return file ? curl_easy_setopt(easy, CURLOPT_CAINFO, file) : CURLE_OK;
    CURLcode code = curl_easy_setopt(easy, CURLOPT_CAINFO, NULL);
    code = code ? code : curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
    code = code ? code : curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, context_made);
    return code;
}
