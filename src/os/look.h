// SPDX-License-Identifier: MIT
// look.h - what a process can find out about itself, and say, inside a signal handler too: system
// calls only, no lock, no allocation.
#ifndef PL_OS_LOOK_H
#define PL_OS_LOOK_H

#include <stdbool.h>
#include <stddef.h>

// Copies memory of this process that may not be there. False when it is not, or the kernel does not
// allow it.
bool pl_peek(const void *from, void *to, size_t bytes);

// Writes the lines of /proc/self/maps that hold code: what addresses of functions are relative to.
// 0 or a negative errno.
int pl_write_maps(int fd);

#endif
