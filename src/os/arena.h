// SPDX-License-Identifier: MIT
// arena.h - the door to the kernel for memory that several processes have at one address.
#ifndef PL_OS_ARENA_H
#define PL_OS_ARENA_H

#include <stddef.h>
#include <stdint.h>

// Maps the memory behind fd at exactly that address, if nothing is there. Costs nothing until
// touched, and is left out of core dumps. 0; -EEXIST: something is; -ENOMEM.
int pl_arena_map(int fd, uintptr_t at, size_t bytes);

// Gives whole pages memory, so that touching them cannot fail. 0; -ENOMEM: there is none. A kernel
// that cannot (before Linux 5.14) gives it at the first touch.
int pl_arena_populate(void *at, size_t bytes);

// Takes the memory of whole pages from all processes; they read as zeros afterwards.
int pl_arena_discard(void *at, size_t bytes);

// How much address space may be reserved, and how large a file may be; SIZE_MAX: no limit.
size_t pl_arena_limit(void);

// A forked copy of this process calls it first. 0 or -ENOMEM.
int pl_arena_on_fork(void (*in_child)(void));

#endif
