// SPDX-License-Identifier: MIT
// Seeing what waits, and for what.
//
//     plait_dump(2);       // from anywhere, or: kill -USR1, with a handler that calls it
//
//     executor 0x55d0c0 `fibers`, fibers, open, tasks that wait to be submitted: 0
//       worker 0, thread 4711, asleep, looked around 98 times
//         fiber 65 `crawl` gets from the channel 0x55d1f0, since 1.204 s
//             0x55c3a1 0x55c3f8 0x55b102 ...
//         fiber 66 `store` waits for the mutex 0x55d2a8, held by fiber 65, since 0.310 s
//     threads of the program that wait in plait
//       thread 4709 waits for the end of the executor 0x55d0c0, since 2.000 s
//
// Addresses of code are made into names of functions by `tools/dump-names < dump`.
//
// Everything here works in tasks of every executor and on plain threads, also in signal handlers.
#ifndef PLAIT_DUMP_H
#define PLAIT_DUMP_H

#include <plait/base.h>

PLAIT_BEGIN

/* Writes to fd, as text, every executor of this process that has not ended, its workers, the task
 * on each of its fibers with what it waits for, since when and until when, and the return addresses
 * on its stack; of worker processes how many tasks are at each; then the plain threads that wait in
 * plait; then where code is mapped. The fibers of a worker process are in the dumps that it makes.
 *
 * 0, or the negative errno of a failed write. Takes no lock, allocates nothing, and calls only what
 * is async-signal-safe: callable from any thread, task and signal handler, at any time. Never
 * suspends; blocks as write(2) on fd does. What changes while it is looked at is left out; "since"
 * may be too long by some milliseconds. Each record is a glance of its own: the dump is not one
 * instant. Needs the CPU for some microseconds a fiber, and 2 KiB of stack. */
PLAIT_API int plait_dump(int fd);

PLAIT_END

#endif
