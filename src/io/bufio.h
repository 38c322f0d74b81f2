// SPDX-License-Identifier: MIT
/*
 * bufio.h - the inside of a plait_bufio.
 *
 * DESIGN
 *   A stream is two halves that share nothing but the transport, so one task may read while another
 *   writes without a lock. Each half is a piece of memory with its bytes in one run:
 *
 *       data          begin            end          room
 *        |.............|################|............|
 *
 *   A half belongs to the call that is inside of it, also while that call is suspended. `busy` says
 *   so, not to make others wait but to end them with a sentence: two readers of one stream would
 *   each get parts of the other's items.
 *
 *   Nothing is taken out of a half before the call that takes it has succeeded, or counts it for
 *   its caller. So whatever ends a wait in the middle, the same call can be made again.
 */
#ifndef PL_IO_BUFIO_H
#define PL_IO_BUFIO_H

#include <plait/bufio.h>
#include <stdatomic.h>

struct pl_half {
    char *data; /* NULL until it is first used */
    size_t room, begin, end;
    atomic_bool busy;
};

struct plait_bufio {
    struct plait_transport transport;
    void *self;
    size_t read_bytes, write_bytes, limit;
    bool shut; /* no more writes */
    struct pl_half in, out;
};

static inline size_t pl_half_count(const struct pl_half *h)
{
    return h->end - h->begin;
}

static inline void pl_half_drop(struct pl_half *h, size_t bytes)
{
    h->begin += bytes;
    if (h->begin == h->end)
        h->begin = h->end = 0;
}

/* Room for `bytes` behind its bytes: moves them to the front, or grows; at least `least` bytes in
 * all. 0 or -ENOMEM. */
int pl_half_reserve(struct pl_half *h, size_t bytes, size_t least);

/* Enters a half, or ends the program in the name of the public call `where`. */
void pl_half_enter(struct pl_half *h, const char *where, const char *verb);
void pl_half_leave(struct pl_half *h);

/* Sends all that is buffered, and what the transport keeps. Inside of the half. */
int pl_bufio_drain(struct plait_bufio *b);

#endif
