// SPDX-License-Identifier: MIT
// Broadcasts: every subscriber gets each value that is published from its subscription on, in the
// same order as all others.
//
//     plait_broadcast *news;
//     plait_broadcast_new(&news, sizeof(struct line), .capacity = 64, .slow = PLAIT_SLOW_DROP);
//
//     plait_channel *mine;                       // each subscriber
//     plait_subscribe(news, &mine);
//     while (plait_get(mine, &line) == 0) ...    // -EPIPE: closed and drained
//     plait_unsubscribe(mine);
//
//     plait_publish(news, &line);                // anybody
//
// A subscription is a channel to get from: plait_get(), plait_try_get(), plait_select() and
// plait_channel_count() work on it as on any other; a put fails with -EPERM. It is a queue of its
// own with room for `capacity` values, taken when it begins, so the memory of a slow subscriber is
// bounded, and it can hold up nobody but as PLAIT_SLOW_WAIT says.
//
// Everything here works in tasks of every executor and on plain threads, within one process.
#ifndef PLAIT_BROADCAST_H
#define PLAIT_BROADCAST_H

#include <plait/channel.h>

/* A source of values; made by plait_broadcast_new(). */
typedef struct plait_broadcast plait_broadcast;

/* What a publish does for a subscriber whose queue is full. */
enum plait_slow {
    PLAIT_SLOW_WAIT = 0, /* waits until there is room in every queue */
    PLAIT_SLOW_DROP = 1, /* drops its oldest value; plait_missed() counts them */
};

/* Zero means the default. */
struct plait_broadcast_options {
    size_t size;     /* sizeof(struct plait_broadcast_options) */
    size_t capacity; /* values that wait for one subscriber; default 64 */
    enum plait_slow slow;
};

PLAIT_BEGIN

/* 0, -ENOMEM, -EINVAL. Use plait_broadcast_new(&b, bytes, .capacity = n). Never suspends. */
PLAIT_API int plait_broadcast_new_with(plait_broadcast **ret, size_t value_bytes,
                                       const struct plait_broadcast_options *options);

/* Nobody uses it any more, and every subscription has ended. NULL is allowed. Never suspends. */
PLAIT_API void plait_broadcast_free(plait_broadcast *b);

/* *ret gets what is published from now on. 0, -ENOMEM, -EPIPE (closed). Never suspends;
 * anywhere. */
PLAIT_API int plait_subscribe(plait_broadcast *b, plait_channel **ret);

/* Ends a subscription and frees its channel, in which nobody may wait; what was not taken is gone.
 * NULL is allowed. Never suspends; anywhere. */
PLAIT_API void plait_unsubscribe(plait_channel *subscription);

/* Gives a copy of *value to every subscriber. How many there are (0: nobody got it), -EPIPE
 * (closed); with PLAIT_SLOW_WAIT also -ECANCELED, -ETIMEDOUT: then nobody has got it. Suspends a
 * fiber, blocks a thread, only with PLAIT_SLOW_WAIT. try: never waits; -EAGAIN when it would. */
PLAIT_API int plait_publish(plait_broadcast *b, const void *value);
PLAIT_API int plait_try_publish(plait_broadcast *b, const void *value);

/* Nothing more is published: subscribers drain their queues, then get -EPIPE. Repeatable; never
 * suspends; anywhere. */
PLAIT_API void plait_broadcast_close(plait_broadcast *b);

/* How many values the subscription has lost because it was slow. Never suspends. */
PLAIT_API uint64_t plait_missed(plait_channel *subscription);

PLAIT_END

/* plait_broadcast_new(&b, sizeof(struct line), .capacity = 64, .slow = PLAIT_SLOW_DROP) */
#define plait_broadcast_new(ret, value_bytes, ...)                                                 \
    plait_broadcast_new_with((ret), (value_bytes),                                                 \
                             (const struct plait_broadcast_options *)PLAIT_LITERAL_(               \
                                 struct plait_broadcast_options,                                   \
                                 { .size = sizeof(struct plait_broadcast_options), __VA_ARGS__ }))

#endif
