// SPDX-License-Identifier: MIT
// The shared heap: memory that the program and all its worker processes have at one address.
//
//     struct particle *p = plait_shared_new(struct particle, 100000);
//     plait_submit(ex, &f, step, { p, 100000 });      // the pointer means the same in the worker
//     ...
//     plait_shared_free(p);
//
// There is one heap in a program. plait_main() makes it; workers of its executors share it. What a
// task forks has no part in it, nor have the workers of executors that a task opens. A forked copy
// of the program has a heap of its own.
// Nothing has a name: when the program ends, however it ends, the memory is gone.
//
// A process may be killed at any instruction, also in here: the heap stays consistent, and the
// others go on. What a dead worker had allocated stays allocated, since others may know it;
// plait_shared_orphans() lists it. plait_shared_buffer counts references and gives them back.
//
// A task that writes where it should not may write here, too. What it can do to channels and actors
// stands in their headers; a block that it has written over is the business of who uses it; and who
// allocates or frees in a heap whose own books it has written over may be ended with a sentence.
// Tasks that handle what nobody trusts have no part in the heap: <plait/sandbox.h>.
//
// Up to 64 GiB, or an eighth of the limit on address space (RLIMIT_AS), or PLAIT_SHARED_MIB of the
// environment; 0 there means none. Memory is taken from the system when it is allocated.
//
// Everything here works in tasks of every executor and on plain threads of a process that has a
// part in the heap.
#ifndef PLAIT_SHARED_H
#define PLAIT_SHARED_H

#include <plait/base.h>

PLAIT_BEGIN

/* A block of at least that many bytes, aligned to 16; a power of two up to 65,536 is aligned to its
 * size. Its content is undefined. Any process may free it. Never suspends; every executor.
 * NULL: the heap or the system has no memory left, or there is no heap in this process;
 * plait_last_error() says which. */
PLAIT_API void *plait_shared_alloc(size_t bytes);

/* As plait_shared_alloc(), for an array of zeros; NULL also where the product is too large. */
PLAIT_API void *plait_shared_alloc_array(size_t count, size_t bytes);

/* `count` zeroed objects of a type: T *, or NULL. */
#define plait_shared_new(T, count) ((T *)plait_shared_alloc_array((count), sizeof(T)))

/* Gives a block back, whichever process has allocated it. NULL is allowed. A pointer that is not a
 * block, or was freed already, ends the process with a sentence. Never suspends. */
PLAIT_API void plait_shared_free(void *block);

/* How many bytes the block has, at least as many as were asked for. Never suspends. */
PLAIT_API size_t plait_shared_bytes(const void *block);

/* Whether p points into the heap: to what workers see too. Never suspends. */
PLAIT_API bool plait_shared_has(const void *p);

/* What is in use in the heap. */
struct plait_shared_stats {
    size_t reserved;     /* address space of the heap */
    size_t used;         /* what lies below the highest address that was ever in use */
    size_t bytes;        /* in blocks that are allocated */
    size_t blocks;       /* how many */
    size_t orphan_bytes; /* of those, in blocks whose allocator has died */
    size_t orphans;      /* how many; also parts of channels and maps */
};

/* What is in use. Looks at every block; exact while nobody allocates or frees. 0, or -ENOMEM,
 * -ENOTSUP: there is no heap in this process. Never suspends. */
PLAIT_API int plait_shared_stats(struct plait_shared_stats *ret);

/* Calls `visit` for each block from plait_shared_alloc() whose allocator, a worker, has died; frees
 * the block when it returns true. The caller knows which of them are still in use elsewhere. How
 * many were freed; -ENOMEM, -ENOTSUP: there is no heap in this process. Never suspends, unless
 * `visit` does. */
PLAIT_API ssize_t plait_shared_orphans(bool (*visit)(void *block, size_t bytes, void *arg),
                                       void *arg);

/* Gives memory that is free in the heap back to the system. Bytes of it; -ENOMEM, -ENOTSUP: there
 * is no heap in this process. Never suspends. */
PLAIT_API ssize_t plait_shared_trim(void);

PLAIT_END

#endif
