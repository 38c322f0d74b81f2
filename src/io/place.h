// SPDX-License-Identifier: MIT
// place.h - what the calls of plait/net.h share: places as text, their addresses, failures in
// words.
#ifndef PL_IO_PLACE_H
#define PL_IO_PLACE_H

#include <plait/net.h>

struct pl_place {
    char name[PLAIT_NET_NAME_MAX + 1]; /* "": `address` is set */
    uint16_t port;
    bool any; /* every address of this machine; `address` is [::] */
    struct plait_net_address address;
};

/* 0 or -EINVAL. */
int pl_place_read(const char *text, struct pl_place *ret);

static inline bool pl_is_local(const struct plait_net_address *a)
{
    return a->any.sa_family == AF_UNIX;
}

/* Every address of a place, as plait_net_resolve_with(), also where no name is looked up:
 * -ECANCELED or -ETIMEDOUT in a scope that is over. `options` is complete. *any: whether the place
 * stands for every address of this machine. */
int pl_resolve(const char *place, struct plait_net_address *ret, size_t room, bool *any,
               const struct plait_net_resolve_options *options);

/* Remembers for plait_last_error() why a call about a place failed; returns `code`. */
int pl_place_fail(int code, const char *what, const char *place);

/* Copies what an older or newer caller knows of an options structure; the rest is zero. */
void pl_options_copy(void *to, size_t bytes, const void *given);

#endif
