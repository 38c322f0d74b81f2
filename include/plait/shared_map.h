// SPDX-License-Identifier: MIT
// A hash map in the shared heap, between the program and its workers, any of which may die.
//
//     plait_shared_map *m;
//     plait_shared_map_new(&m, sizeof(uint64_t), sizeof(struct page));
//     plait_shared_map_set(m, &key, &page);          // also in a task that was given m
//     if (plait_shared_map_get(m, &key, &page) == 0) ...
//
// Keys and values are bytes of a fixed size and are copied; keys are compared byte by byte, so
// padding must be zero. A process that dies in a call has done it whole, or not; the others repair
// what is to be repaired and never notice.
//
// Everything here works in tasks of every executor and on plain threads. A call that lists
// -ECANCELED suspends a fiber and blocks a thread; the others never suspend. It waits while
// another's call is at work, which copies a value at most, and ends early with -ECANCELED or
// -ETIMEDOUT when the caller's scope is cancelled or its deadline passes: then nothing was done.
// A map leads from pointer to pointer through the heap: a task that writes over one of them ends
// whoever follows it, the program too.
// -ENOTSUP: this process has no part in the heap. -ENOMEM, -EAGAIN: this process lacks the memory
// or the thread to wait with.
#ifndef PLAIT_SHARED_MAP_H
#define PLAIT_SHARED_MAP_H

#include <plait/base.h>

/* A hash map in the shared heap. */
typedef struct plait_shared_map plait_shared_map;

PLAIT_BEGIN

/* 0; -EINVAL: a key of no bytes, or more than a GiB of either; -ENOMEM: no memory, or no heap. A
 * pointer to it may be passed to tasks. Free it when nobody uses it any more; NULL is allowed.
 * Never suspends. */
PLAIT_API int plait_shared_map_new(plait_shared_map **ret, size_t key_bytes, size_t value_bytes);
PLAIT_API void plait_shared_map_free(plait_shared_map *m);

/* The key has a copy of *value from now on: 0, -ENOMEM (it has what it had), -ECANCELED,
 * -ETIMEDOUT, -ENOTSUP, -EAGAIN. */
PLAIT_API int plait_shared_map_set(plait_shared_map *m, const void *key, const void *value);

/* Copies the key's value into *value, if that is not NULL: 0, -ENOENT, -ECANCELED, -ETIMEDOUT,
 * -ENOTSUP, -ENOMEM, -EAGAIN. */
PLAIT_API int plait_shared_map_get(plait_shared_map *m, const void *key, void *value);

/* Forgets the key: 0, -ENOENT, -ECANCELED, -ETIMEDOUT, -ENOTSUP, -ENOMEM, -EAGAIN. */
PLAIT_API int plait_shared_map_remove(plait_shared_map *m, const void *key);

/* How many keys there are; -ECANCELED, -ETIMEDOUT, -ENOTSUP, -ENOMEM, -EAGAIN. */
PLAIT_API ssize_t plait_shared_map_count(plait_shared_map *m);

/* Calls `visit` for each key, in no particular order, until it returns non-zero, and returns that;
 * -ECANCELED, -ETIMEDOUT, -ENOTSUP, -ENOMEM, -EAGAIN: it was not called. The map is locked
 * meanwhile: visit must neither wait nor call it. */
PLAIT_API int plait_shared_map_each(plait_shared_map *m,
                                    int (*visit)(const void *key, const void *value, void *arg),
                                    void *arg);

PLAIT_END

#endif
