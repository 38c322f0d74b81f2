// SPDX-License-Identifier: MIT
// What the snippets of the guide take for granted: headers, and a few tasks.
#ifndef SNIPPETS_PRELUDE_H
#define SNIPPETS_PRELUDE_H

#include <plait.h>
#include <plait/tls.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct range {
    long from, to;
};

static int count_primes(const struct range *r, long *count)
{
    *count = r->to - r->from;
    return 0;
}
PLAIT_TASK(count_primes, struct range, long);

struct url {
    char text[256];
};

struct page {
    int status;
    size_t bytes;
};

static int fetch(const struct url *url, struct page *page)
{
    page->status = 200;
    page->bytes = strlen(url->text);
    return plait_sleep(PLAIT_MILLISECOND);
}
PLAIT_TASK(fetch, struct url, struct page);

#endif
