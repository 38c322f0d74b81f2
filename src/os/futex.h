// SPDX-License-Identifier: MIT
// futex.h - sleeping on a 32-bit word. The plain calls are for words private to this process, the
// _shared ones for words in memory that several processes map.
#ifndef PL_OS_FUTEX_H
#define PL_OS_FUTEX_H

#include <stdatomic.h>
#include <stdint.h>

/*
 * Sleeps while *word == expect, until woken or until the deadline (absolute CLOCK_MONOTONIC
 * nanoseconds, INT64_MAX: none). 0: woken, perhaps spuriously. -EAGAIN: the word differed.
 * -ETIMEDOUT. -EINTR: a signal. The caller looks at the word again after each of them but
 * -ETIMEDOUT. The kernel's comparison is ordered with the waker's store by the futex's own lock;
 * what the waker wrote before is visible only through the acquire load of the word that follows.
 */
int pl_futex_wait(_Atomic uint32_t *word, uint32_t expect, int64_t deadline);
int pl_futex_wait_shared(_Atomic uint32_t *word, uint32_t expect, int64_t deadline);

// Wakes at most n sleepers (INT_MAX: all) and returns how many. Never fails: a wake has no error
// that its caller could repair.
int pl_futex_wake(_Atomic uint32_t *word, int n);
int pl_futex_wake_shared(_Atomic uint32_t *word, int n);

#endif
