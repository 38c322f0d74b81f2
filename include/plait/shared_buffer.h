// SPDX-License-Identifier: MIT
// Buffers in the shared heap that count references, and give back those of a process that dies.
//
//     plait_shared_buffer *b;
//     plait_shared_buffer_new(&b, bytes);                  // one reference, this process's
//     memcpy(plait_shared_buffer_data(b), data, bytes);
//     plait_submit(ex, &f, parse, { b });                  // a pointer travels; nothing is copied
//     ...
//     plait_shared_buffer_unref(b);                        // the last one frees it
//
// A reference belongs to the process that took it. When a worker dies its references are given
// back before its task ends with -EOWNERDEAD, so nothing that only it knew is left. A task that
// returns a buffer of its own hands its reference to the program by plait_shared_buffer_give(), as
// the last thing it does; the program then gives it back.
//
// Everything here works in tasks of every executor and on plain threads of a process that has a
// part in the heap.
#ifndef PLAIT_SHARED_BUFFER_H
#define PLAIT_SHARED_BUFFER_H

#include <plait/base.h>

/* A counted buffer in the shared heap. */
typedef struct plait_shared_buffer plait_shared_buffer;

PLAIT_BEGIN

/* A buffer of that many bytes, undefined, with one reference. 0; -ENOMEM, -ENOTSUP: no memory, or
 * no heap in this process; -ENOSPC: as many buffers exist as can (one for 256 KiB of the heap's
 * address space). Never suspends. */
PLAIT_API int plait_shared_buffer_new(plait_shared_buffer **ret, size_t bytes);

/* Its bytes, aligned as plait_shared_alloc() aligns, and how many. They do not change. */
PLAIT_API void *plait_shared_buffer_data(const plait_shared_buffer *b);
PLAIT_API size_t plait_shared_buffer_bytes(const plait_shared_buffer *b);

/* One more reference, this process's; somebody must hold one meanwhile. 0; -ENOSPC: it has 56
 * already; -ENOTSUP: this process has no part in the heap. Never suspends. */
PLAIT_API int plait_shared_buffer_ref(plait_shared_buffer *b);

/* Gives a reference of this process back. Ends the process with a sentence if it has none. NULL is
 * allowed. Never suspends. */
PLAIT_API void plait_shared_buffer_unref(plait_shared_buffer *b);

/* A reference of this process becomes one of the program, which gives it back: for the result of a
 * task. A worker that dies after it and before its task has ended leaves it to nobody. In the
 * program itself nothing happens. Ends the process with a sentence if it has no reference. Never
 * suspends. */
PLAIT_API void plait_shared_buffer_give(plait_shared_buffer *b);

PLAIT_END

#endif
