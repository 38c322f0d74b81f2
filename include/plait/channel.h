// SPDX-License-Identifier: MIT
// Channels: bounded queues of values of one size between fibers, tasks and plain threads of a
// process.
//
//     plait_channel *c;
//     plait_channel_new(&c, sizeof(struct url), .capacity = 64);
//     plait_put(c, &url);                    // waits while it is full
//     while (plait_get(c, &url) == 0) ...    // waits while it is empty; -EPIPE: closed and drained
//     plait_channel_close(c);
//     plait_channel_free(c);
//
// Waiting suspends a fiber and blocks a plain thread, and ends with -ECANCELED or -ETIMEDOUT when
// the caller's scope is cancelled or its deadline passes: then nothing was put or taken. Calls that
// do not list these codes never suspend. Everything here works in tasks of every executor and on
// plain threads, within one process.
#ifndef PLAIT_CHANNEL_H
#define PLAIT_CHANNEL_H

#include <plait/future.h>

/* Shared by pointer; no reference is counted. */
typedef struct plait_channel plait_channel;

/* Which value a get takes. */
enum plait_order {
    PLAIT_FIFO = 0,
    PLAIT_LIFO = 1,
    PLAIT_PRIORITY = 2, /* the least by .compare first; equal ones in no particular order */
};

/* How plait_channel_new() makes a channel. */
struct plait_channel_options {
    size_t size;     /* sizeof(struct plait_channel_options) */
    size_t capacity; /* values that it holds; 0: none, a put waits for its get (FIFO only). Memory
                        grows with what is in it, so a large limit costs nothing by itself: a
                        channel without a bound is one with a limit that is not meant to be met */
    enum plait_order order;
    int (*compare)(const void *a, const void *b); /* PLAIT_PRIORITY: as qsort() */
};

PLAIT_BEGIN

/* Makes a channel, the caller's to plait_channel_free(). 0, -ENOMEM, -EINVAL. Use
 * plait_channel_new(&c, bytes, .capacity = n). */
PLAIT_API int plait_channel_new_with(plait_channel **ret, size_t value_bytes,
                                     const struct plait_channel_options *options);

/* Frees a channel that nobody uses any more, with what is in it. NULL is allowed. */
PLAIT_API void plait_channel_free(plait_channel *c);

/* Puts a copy of *value: 0, -EPIPE (closed), -ENOMEM, -ECANCELED, -ETIMEDOUT, -EPERM (a
 * subscription to a broadcast). try: -EAGAIN when it is full. */
PLAIT_API int plait_put(plait_channel *c, const void *value);
PLAIT_API int plait_try_put(plait_channel *c, const void *value);

/* Takes a value into *value: 0, -EPIPE (closed and drained), -ECANCELED, -ETIMEDOUT. try: -EAGAIN
 * when it is empty. */
PLAIT_API int plait_get(plait_channel *c, void *value);
PLAIT_API int plait_try_get(plait_channel *c, void *value);

/* No more puts: those that wait fail with -EPIPE; gets drain what is there, then fail with -EPIPE.
 * Repeatable; never waits. */
PLAIT_API void plait_channel_close(plait_channel *c);

/* Values that are in it now. */
PLAIT_API size_t plait_channel_count(plait_channel *c);

/* Work queues: each value that was put counts as unfinished until plait_channel_task_done() was
 * called for it; join waits until none is. 0, -ECANCELED, or -ETIMEDOUT by the scope or at
 * `deadline`. */
PLAIT_API void plait_channel_task_done(plait_channel *c);
PLAIT_API int plait_channel_join(plait_channel *c, int64_t deadline);

/* One of several things to wait for. */
struct plait_case {
    enum {
        PLAIT_CASE_GET = 1,
        PLAIT_CASE_PUT = 2,
        PLAIT_CASE_DONE = 3,
        PLAIT_CASE_POLL = 4,
        PLAIT_CASE_TIME = 5,
    } what;
    plait_channel *channel; /* GET, PUT */
    void *value;            /* GET: where it goes; PUT: what is put */
    plait_future *future;   /* DONE: the future has ended */
    int fd;                 /* POLL: has one of `events`, POLLIN and so on */
    unsigned events;
    int64_t when; /* TIME: a point in time has come; 0 and PLAIT_NEVER: it never does */
    int code;     /* out, of the case that was chosen: 0 or -EPIPE; POLL: the events that the
                     descriptor has (POLLERR, POLLHUP, POLLRDHUP also where they were not asked
                     for), or a negative errno (-EBADF; -ECANCELED: it was closed) */
};

/* Waits until one of the cases can go on, does that one alone, and returns its index. Among several
 * that can it chooses by chance. A descriptor is only looked at: what it has stays there for the
 * next look. -ETIMEDOUT at the deadline (0 and PLAIT_NEVER: none; a deadline that has passed: never
 * waits), -ECANCELED or -ETIMEDOUT by the scope, -EINVAL for n == 0, n > 64, or a channel in two
 * cases; with descriptors also -ENOMEM, and on a plain thread -EMFILE, -ENFILE: it needs one more
 * to wait for both. Suspends a fiber, blocks a thread. */
PLAIT_API int plait_select(struct plait_case *cases, size_t n, int64_t deadline);

PLAIT_END

/* plait_channel_new(&c, sizeof(struct url), .capacity = 64): options by name, as
 * plait_channel_new_with(). */
#define plait_channel_new(ret, value_bytes, ...)                                                   \
    plait_channel_new_with((ret), (value_bytes),                                                   \
                           (const struct plait_channel_options *)PLAIT_LITERAL_(                   \
                               struct plait_channel_options,                                       \
                               { .size = sizeof(struct plait_channel_options), __VA_ARGS__ }))

#endif
