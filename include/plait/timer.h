// SPDX-License-Identifier: MIT
// Tickers, for what is done periodically, and timers, for what is done later without a task that
// waits for it.
//
//     plait_ticker t;
//     plait_ticker_init(&t, PLAIT_SECOND);
//     while (plait_ticker_wait(&t) >= 0)       // each second, however long the body takes
//         report();
//
//     plait_timers *ts;                        // a thread that fires timers
//     plait_timers_new(&ts);
//     plait_timer_start(ts, &idle, plait_after(30 * PLAIT_SECOND), close_it, connection);
//     plait_timer_stop(ts, &idle);             // true: close_it() will not be called
//     plait_timers_free(ts);
//
// Everything here works in tasks of every executor and on plain threads.
#ifndef PLAIT_TIMER_H
#define PLAIT_TIMER_H

#include <plait/base.h>

/* The caller's storage, used by one task or thread at a time. Read it, do not write it. */
typedef struct plait_ticker {
    int64_t next;    /* when the next tick is due */
    int64_t period;  /* nanoseconds */
    uint64_t missed; /* ticks that passed while nobody waited, so far */
} plait_ticker;

/* A thread that fires timers; the caller's to plait_timers_free(). */
typedef struct plait_timers plait_timers;

/* The caller's storage, zeroed before its first start; stays where it is while it is armed. */
typedef struct plait_timer {
    uint64_t private_[8];
} plait_timer;

PLAIT_BEGIN

/* Ticks each period_ns, for the first time in period_ns. -EINVAL: not above 0. Never suspends. */
PLAIT_API int plait_ticker_init(plait_ticker *t, int64_t period_ns);

/* Waits for the next tick. Ticks keep to their schedule: those that have passed already are skipped
 * and counted, and only the latest of them counts as this one.
 * Returns how many were skipped (0: none; at most INT32_MAX), or -ECANCELED, -ETIMEDOUT by the
 * scope: then the ticker is as it was. Suspends a fiber, blocks a thread. */
PLAIT_API int plait_ticker_wait(plait_ticker *t);

/* Starts a thread that calls back when timers are due. 0, -ENOMEM, -EAGAIN. Never suspends. */
PLAIT_API int plait_timers_new(plait_timers **ret);

/* Forgets the timers that have not fired, waits for the one that is firing, ends the thread: blocks
 * the caller until then, and never suspends. Not from a timer's function. NULL is allowed. */
PLAIT_API void plait_timers_free(plait_timers *ts);

/* Calls fn(arg) once at `when` (absolute), on the thread of ts; one that is armed already is moved.
 * fn must be short and must not wait: it may set an event, cancel a scope, try to put into a
 * channel, start and stop timers, and free its own. Any thread, any task. Never suspends. */
PLAIT_API void plait_timer_start(plait_timers *ts, plait_timer *t, int64_t when,
                                 void (*fn)(void *arg), void *arg);

/* True: it was armed, and will not fire. False: it was not armed, or it has fired, and its function
 * has returned, unless that is the caller. Any thread, any task. Blocks while the function runs. */
PLAIT_API bool plait_timer_stop(plait_timers *ts, plait_timer *t);

PLAIT_END

#endif
