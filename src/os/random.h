// SPDX-License-Identifier: MIT
// random.h - random bytes from the kernel: seeds for base/rng.h, names that nobody can guess.
#ifndef PL_OS_RANDOM_H
#define PL_OS_RANDOM_H

#include <stddef.h>
#include <stdint.h>

// Fills the buffer. 0, or a negative errno where the kernel has no randomness to give (-ENOSYS, a
// seccomp filter's -EPERM).
int pl_random_bytes(void *buf, size_t len);

// A seed for choices that only have to differ, such as a stealing victim: never fails, and falls
// back to the clock where the kernel refuses.
uint64_t pl_random_seed(void);

#endif
