// SPDX-License-Identifier: MIT
// Whom fetch believes: certificate authorities, read once a process.
#ifndef CLI_FETCH_TLS_H
#define CLI_FETCH_TLS_H

#include <curl/curl.h>

/* Reads the authorities; call it once, after curl_global_init(). */
void fetch_tls_load(void);

/* Lets a transfer use them. */
CURLcode fetch_tls_use(CURL *easy);

#endif
