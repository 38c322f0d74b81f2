// SPDX-License-Identifier: MIT
// clock.h - the monotonic clock, and deadlines on it. Times are int64_t nanoseconds.
#ifndef PL_OS_CLOCK_H
#define PL_OS_CLOCK_H

#include <stdint.h>
#include <time.h>

#define PL_FOREVER INT64_MAX // the deadline that never comes

#define PL_SECOND      1000000000ll
#define PL_MILLISECOND 1000000ll
#define PL_MICROSECOND 1000ll

// CLOCK_MONOTONIC. About 36 ns where the vDSO answers, a system call where it cannot: never on a
// hot path without need.
int64_t pl_now(void);

// CLOCK_REALTIME, for time stamps that people read.
int64_t pl_now_wall(void);

// The deadline `ns` from now; the sum saturates at PL_FOREVER, and a negative `ns` is now.
int64_t pl_clock_after(int64_t ns);

// What is left until the deadline: 0 when it has passed, PL_FOREVER when it never does.
int64_t pl_clock_left(int64_t deadline);

static inline struct timespec pl_timespec(int64_t ns)
{
    return (struct timespec){ .tv_sec = ns / PL_SECOND, .tv_nsec = ns % PL_SECOND };
}

#endif
