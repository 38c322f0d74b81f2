// SPDX-License-Identifier: MIT
// Locks, conditions and channels in the shared heap: between the program and its workers, any of
// which may die.
//
//     struct account { plait_shared_mutex mutex; long balance; } *a = plait_shared_new(...);
//     int e = plait_shared_mutex_lock(&a->mutex);
//     if (e == -EOWNERDEAD) {              // held, but who held it before has died meanwhile
//         repair(a);
//         plait_shared_mutex_consistent(&a->mutex);
//     } else if (e < 0)
//         return e;
//     ...
//     plait_shared_mutex_unlock(&a->mutex);
//
// They work in tasks of every executor and on plain threads of the program and its workers, between
// all of them, and only at addresses in the shared heap. A lock belongs to the process that took
// it: any strand of it may unlock. Waiting suspends a fiber and blocks a plain thread; it ends
// early with -ECANCELED or -ETIMEDOUT when the caller's scope is cancelled or its deadline passes,
// and then the caller holds nothing, and nothing was put or taken. -ENOTSUP: this process has no
// part in the heap. -ENOMEM, -EAGAIN: this process lacks the memory or the thread to wait with.
//
// All of it lies where a task that writes past its own memory may write. A channel withstands that:
// what does not fit its seal is never followed, and fails with -ENOTRECOVERABLE; its values may be
// lost or wrong. A mutex does not: whoever locks it may find it held by nobody for ever, for which
// there are deadlines, and who unlocks what was overwritten is told of a bug. Nothing here keeps an
// enemy off, who belongs into a sandbox without the shared heap (<plait/sandbox.h>).
//
// Atomics need nothing of plait: C's and C++'s work in the shared heap, since they are free of
// locks.
#ifndef PLAIT_SHARED_SYNC_H
#define PLAIT_SHARED_SYNC_H

#include <plait/base.h>

/* 4 bytes; free when zeroed. */
typedef struct plait_shared_mutex {
    uint32_t private_;
} plait_shared_mutex;

/* 4 bytes, valid when zeroed. Wake-ups may be spurious, and every death is one: wait in a loop. */
typedef struct plait_shared_cond {
    uint32_t private_;
} plait_shared_cond;

/* A bounded queue of values of one size, first in, first out. A pointer to it may be passed to
 * tasks. */
typedef struct plait_shared_channel plait_shared_channel;

PLAIT_BEGIN

/* 0: held. -EOWNERDEAD: held, and who held it before has died; what it guards may be half changed.
 * -ENOTRECOVERABLE: given up, see plait_shared_mutex_consistent(). -ECANCELED, -ETIMEDOUT,
 * -ENOTSUP, -ENOMEM, -EAGAIN: not held. Suspends a fiber, blocks a thread. */
PLAIT_API int plait_shared_mutex_lock(plait_shared_mutex *m);

/* The same without waiting; -EBUSY: somebody alive holds it. Never suspends. */
PLAIT_API int plait_shared_mutex_trylock(plait_shared_mutex *m);

/* Gives it back. Ends the process with a sentence if this process does not hold it. Never
 * suspends. */
PLAIT_API void plait_shared_mutex_unlock(plait_shared_mutex *m);

/* After -EOWNERDEAD: what it guards is consistent again. Who unlocks without having said so gives
 * the mutex up: every later lock fails with -ENOTRECOVERABLE. 0; -EINVAL: there was no death. Never
 * suspends. */
PLAIT_API int plait_shared_mutex_consistent(plait_shared_mutex *m);

/* Unlocks m, waits for a signal, at most until the deadline (0, PLAIT_NEVER: none), and locks it
 * again, whatever happens meanwhile. 0, or -ETIMEDOUT, -ECANCELED, -ENOMEM, -EAGAIN: m is held all
 * the same; -EOWNERDEAD: m is held, from a dead one; -ENOTRECOVERABLE: m is not held. Suspends a
 * fiber, blocks a thread. */
PLAIT_API int plait_shared_cond_wait(plait_shared_cond *c, plait_shared_mutex *m, int64_t deadline);

/* Wakes at least one waiter, or all. Never suspends. */
PLAIT_API void plait_shared_cond_signal(plait_shared_cond *c);
PLAIT_API void plait_shared_cond_broadcast(plait_shared_cond *c);

/* A channel for `capacity` values, in the shared heap. 0, -EINVAL: no bytes or no capacity;
 * -ENOMEM: no memory, or no heap. Free it when nobody uses it any more; NULL is allowed. Never
 * suspends. */
PLAIT_API int plait_shared_channel_new(plait_shared_channel **ret, size_t value_bytes,
                                       size_t capacity);
PLAIT_API void plait_shared_channel_free(plait_shared_channel *c);

/* Puts a copy of *value, waiting while it is full: 0, -EPIPE (closed), -ECANCELED, -ETIMEDOUT,
 * -ENOTSUP, -ENOMEM, -EAGAIN, -ENOTRECOVERABLE (overwritten: free it). A process that dies in it
 * has put the value whole, or not.
 * Suspends a fiber, blocks a thread. */
PLAIT_API int plait_shared_put(plait_shared_channel *c, const void *value);

/* Takes the oldest value, waiting while it is empty: 0, -EPIPE (closed and drained), -ECANCELED,
 * -ETIMEDOUT, -ENOTSUP, -ENOMEM, -EAGAIN, -ENOTRECOVERABLE (overwritten). Suspends a fiber, blocks
 * a thread. */
PLAIT_API int plait_shared_get(plait_shared_channel *c, void *value);

/* As plait_shared_put() and plait_shared_get(), but -EAGAIN when it is full, or empty. Another's
 * call may have to end first: suspends a fiber, blocks a thread, for as long as a value is copied,
 * or its process stopped; no cancel and no deadline ends that. */
PLAIT_API int plait_shared_try_put(plait_shared_channel *c, const void *value);
PLAIT_API int plait_shared_try_get(plait_shared_channel *c, void *value);

/* No more puts; gets drain what is there. Repeatable. 0, -ENOTSUP, -ENOTRECOVERABLE. May suspend a
 * fiber and block a thread, as plait_shared_try_put(). */
PLAIT_API int plait_shared_channel_close(plait_shared_channel *c);

/* Values that are in it now. Never suspends. */
PLAIT_API size_t plait_shared_channel_count(const plait_shared_channel *c);

PLAIT_END

#endif
