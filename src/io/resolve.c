// SPDX-License-Identifier: MIT
/*
 * resolve.c - the addresses of a place.
 *
 * DESIGN
 *   A resolver blocks for as long as its servers are silent, and libc's cannot be interrupted. So a
 *   lookup is a record on the heap that a thread works on, and that a caller whose time is up
 *   leaves to it (core/blocking.h). Its answer is copied out only by a caller who is still there.
 */
#include "io/place.h"

#include "base/bug.h"
#include "core/blocking.h"
#include "core/strand.h"
#include "os/alloc.h"
#include "os/socket.h"
#include <string.h>

struct lookup {
    struct pl_call call;
    struct pl_place place;
    struct plait_net_resolve_options options;
    int count;
    struct plait_net_address found[PLAIT_NET_ADDRESSES_MAX];
};

static int look_up(void *arg)
{
    struct lookup *l = arg;
    const struct pl_place *p = &l->place;
    if (l->options.lookup)
        return l->options.lookup(p->name, p->port, l->found, PLAIT_NET_ADDRESSES_MAX,
                                 l->options.lookup_arg);
    return pl_name_lookup(p->name, p->port, l->options.family, l->found, PLAIT_NET_ADDRESSES_MAX);
}

static bool is_wanted(const struct plait_net_address *a, int family)
{
    return family == AF_UNSPEC || a->any.sa_family == family;
}

/* The next address from *at on that is, or is not, of the family; -1: there is none. */
static int next_of(const struct plait_net_address *all, int count, int *at, int family, bool same)
{
    while (*at < count && (all[*at].any.sa_family == family) != same)
        ++*at;
    return *at < count ? (*at)++ : -1;
}

/* Families take turns, beginning with that of the first; each keeps its order (RFC 8305, 4). */
static int interleave(const struct plait_net_address *all, int count, struct plait_net_address *ret,
                      size_t room)
{
    int at[2] = { 0, 0 }, n = 0;
    for (bool same = true; n < count && (size_t)n < room; same = !same) {
        int next = next_of(all, count, &at[same], all[0].any.sa_family, same);
        if (next < 0)
            next = next_of(all, count, &at[!same], all[0].any.sa_family, !same);
        PL_ASSERT(next >= 0);
        ret[n++] = all[next];
    }
    return n;
}

/* The answer of a lookup that has ended. */
static int answer(struct lookup *l, int count, struct plait_net_address *ret, size_t room)
{
    int kept = 0;
    if (count > PLAIT_NET_ADDRESSES_MAX)
        PL_BUG("a plait_net_lookup says that it found %d addresses, where %d have room", count,
               PLAIT_NET_ADDRESSES_MAX);
    for (int i = 0; i < count; i++)
        if (is_wanted(&l->found[i], l->options.family))
            l->found[kept++] = l->found[i];
    if (count < 0 || kept == 0)
        return count < 0 ? count : -ENOENT;
    return interleave(l->found, kept, ret, room);
}

static int resolve_name(const struct pl_place *place, struct plait_net_address *ret, size_t room,
                        const struct plait_net_resolve_options *options)
{
    struct lookup *l = pl_zalloc(sizeof *l);
    if (!l)
        return -ENOMEM;
    l->call = (struct pl_call){ .fn = look_up, .arg = l, .release = pl_free_mem };
    l->place = *place;
    l->options = *options;
    int e = pl_call_leavable(&l->call);
    if (e < 0)
        return e; /* and *l is gone */
    int n = answer(l, l->call.result, ret, room);
    pl_free_mem(l);
    return n;
}

int pl_resolve(const char *text, struct plait_net_address *ret, size_t room, bool *any,
               const struct plait_net_resolve_options *options)
{
    struct pl_place place;
    int e = pl_place_read(text, &place);
    if (e < 0 || room == 0)
        return -EINVAL;
    e = pl_strand_cancelled(pl_strand_current());
    if (e < 0)
        return e;
    *any = place.any;
    if (place.name[0])
        return resolve_name(&place, ret, room, options);
    if (place.any && options->family == AF_INET) {
        uint16_t port = place.address.v6.sin6_port;
        place.address = (struct plait_net_address){ .length = sizeof place.address.v4 };
        place.address.v4.sin_family = AF_INET;
        place.address.v4.sin_port = port;
    }
    if (!pl_is_local(&place.address) && !is_wanted(&place.address, options->family))
        return -ENOENT;
    ret[0] = place.address;
    return 1;
}

int plait_net_resolve_with(const char *place, struct plait_net_address *ret, size_t room,
                           const struct plait_net_resolve_options *options)
{
    struct plait_net_resolve_options o;
    bool any;
    pl_options_copy(&o, sizeof o, options);
    int n = pl_resolve(place, ret, room, &any, &o);
    return n < 0 ? pl_place_fail(n, "resolve", place) : n;
}
