// SPDX-License-Identifier: MIT
// What a task may call to wait, to give way, and to get out of the way.
//
// Every call here works in tasks of every executor and on plain threads: it suspends the task and
// blocks the thread, unless it says that it never suspends.
#ifndef PLAIT_FIBER_H
#define PLAIT_FIBER_H

#include <plait/executor.h>

PLAIT_BEGIN

/* Waits for ns nanoseconds. 0, or -ECANCELED, -ETIMEDOUT by the scope. ns <= 0 only gives way. */
PLAIT_API int plait_sleep(int64_t ns);

/* Waits until a point in time. As plait_sleep(). */
PLAIT_API int plait_sleep_until(int64_t when);

/* Lets the other ready tasks of this worker run first. 0, or -ECANCELED, -ETIMEDOUT. */
PLAIT_API int plait_yield(void);

/* Runs fn(arg) on a thread of the blocking pool while the calling task is suspended, and returns
 * what fn returns. For calls that block in the kernel or in a library, out of the event loop's way.
 * On a plain thread fn runs there. fn is not a task: plait calls in it block.
 * -EAGAIN    no thread can be made
 * -ECANCELED, -ETIMEDOUT  the scope was cancelled before fn started; a started fn is waited for */
PLAIT_API int plait_blocking(int (*fn)(void *arg), void *arg);

/* The name of the calling task, or NULL on a plain thread. Never suspends. */
PLAIT_API const char *plait_task_name(void);

PLAIT_END

#endif
