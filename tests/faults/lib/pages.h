// SPDX-License-Identifier: MIT
// pages.h - a web server on the loopback that counts who asks it for how many pages at a time, and
// the client's half of that.
#ifndef PLAIT_TESTS_PAGES_H
#define PLAIT_TESTS_PAGES_H

#include <plait.h>

enum { PAGES_CLIENTS = 8 };

// One client process, as the server sees it. A page is in flight from the request until just before
// its last byte is sent, so what is counted was in flight in the client too.
struct pages_client {
    int pid;
    int now, most, served;
};

struct pages;

// Starts to serve. No page is sent before `together` requests are in flight at once; from then on
// each takes a moment, up to 2 ms.
struct pages *pages_start(int together);

// Stops, and waits until every connection has ended. What was counted stays readable until
// pages_free().
void pages_stop(struct pages *p);
void pages_free(struct pages *p);

uint16_t pages_port(const struct pages *p);

// Of all clients together.
int pages_most(const struct pages *p);
int pages_served(const struct pages *p);

// The client that came as number i, or NULL. Once the server has stopped.
const struct pages_client *pages_client(const struct pages *p, int i);

// Asks for a page, as this process: its number comes back. The number, or a negative errno.
int64_t pages_fetch(uint16_t port, int64_t number);

#endif
