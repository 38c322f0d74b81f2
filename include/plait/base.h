// SPDX-License-Identifier: MIT
// What every public header needs: export marks, version, time.
//
// Errors. Every call that can fail returns an int (ssize_t where it counts bytes): 0 or more is
// success, a negative value is a negated errno. Nothing is ever left in `errno`, and outputs are
// untouched on failure (but the result of a task that fails in a scope or a map, which the task
// writes in place).
//
// Time. Deadlines are absolute, on the monotonic clock, in nanoseconds. 0 and PLAIT_NEVER both mean
// "no deadline", so that a zeroed options structure waits for ever.
//
// The calls of this header never suspend, and work in tasks of every executor and on plain threads.
#ifndef PLAIT_BASE_H
#define PLAIT_BASE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The version of the headers. */
#define PLAIT_VERSION_MAJOR 0
#define PLAIT_VERSION_MINOR 1
#define PLAIT_VERSION_PATCH 0

#ifdef __cplusplus
#define PLAIT_BEGIN           extern "C" {
#define PLAIT_END             }
#define PLAIT_ALIGNED_(bytes) alignas(bytes)
#else
#define PLAIT_BEGIN
#define PLAIT_END
#define PLAIT_ALIGNED_(bytes) _Alignas(bytes)
#endif

#define PLAIT_API __attribute__((visibility("default")))

/* No deadline, and spans of time in nanoseconds. */
#define PLAIT_NEVER       INT64_MAX
#define PLAIT_MICROSECOND INT64_C(1000)
#define PLAIT_MILLISECOND INT64_C(1000000)
#define PLAIT_SECOND      INT64_C(1000000000)

PLAIT_BEGIN

/* "0.1.0": the version of the library that is linked, which may differ from the header's. */
PLAIT_API const char *plait_version(void);

/* The monotonic clock, in nanoseconds. Never suspends; callable anywhere. */
PLAIT_API int64_t plait_now(void);

/* The deadline `ns` nanoseconds from now. Saturates at PLAIT_NEVER; ns <= 0 is already over. */
PLAIT_API int64_t plait_after(int64_t ns);

/* A sentence for a negative errno that plait returns, in plait's own terms where it has some
 * (-EOWNERDEAD: "the worker process died"). The string is static. */
PLAIT_API const char *plait_strerror(int error);

PLAIT_END

#endif
