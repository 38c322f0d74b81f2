// SPDX-License-Identifier: MIT
// Task-local values: under one key every task, and every plain thread, has a value of its own.
//
//     static plait_local user = PLAIT_LOCAL(free);   // PLAIT_LOCAL(NULL): nothing to destroy
//
//     int e = plait_local_set(&user, strdup("ann"));
//     ...
//     greet(plait_local_get(&user));                 // NULL where this task has set none
//
// A task starts without values: they are not inherited, neither by tasks that it starts nor by what
// it runs through plait_blocking(). When the task has returned, on the stack that it ran on and
// before its future or scope sees the end, each value that is not NULL is handed to its key's
// destructor, which may set values again, and is called again for them a few times. The values of a
// plain thread are destroyed when the thread ends; those of the main thread are not.
//
// Use this where a program of threads would use thread-local variables (`_Thread_local`): many
// tasks share a thread, and with it such variables.
//
// Everything here works in tasks of every executor and on plain threads.
#ifndef PLAIT_LOCAL_H
#define PLAIT_LOCAL_H

#include <plait/base.h>

/* A key. The caller's storage, usually static; zeroed but for its destructor. 16 bytes. */
typedef struct plait_local {
    void (*destroy)(void *value); /* or NULL */
    uint32_t private_index, private_serial;
} plait_local;
#define PLAIT_LOCAL(destroy)                                                                       \
    {                                                                                              \
        (destroy), 0, 0                                                                            \
    }

PLAIT_BEGIN

/* The calling task's value, or NULL. A few nanoseconds, no lock. Never suspends; anywhere. */
PLAIT_API void *plait_local_get(const plait_local *key);

/* Sets the calling task's value; what was set before is not destroyed. 0; -ENOMEM; -EAGAIN: 1,023
 * keys are in use. Never suspends; anywhere. */
PLAIT_API int plait_local_set(plait_local *key, void *value);

/* Gives the key back, for a module that is unloaded or a key on the heap: no task may use it any
 * more. Values that are left are still destroyed at the end of their tasks, by the destructor that
 * was the key's, so set them to NULL first if that goes away. Never suspends; anywhere. */
PLAIT_API void plait_local_done(plait_local *key);

PLAIT_END

#endif
