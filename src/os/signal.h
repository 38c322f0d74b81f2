// SPDX-License-Identifier: MIT
// signal.h - the door to the kernel for signals that somebody asked for: a handler that counts.
#ifndef PL_OS_SIGNAL_H
#define PL_OS_SIGNAL_H

#include <stdbool.h>
#include <stdint.h>

enum { PL_SIGNALS = 65 }; // numbers below this one

// Whether a signal can be delivered later, in another place: not those that stop everything, nor
// those that an instruction raises and raises again.
bool pl_signal_is_async(int number);

/*
 * Counts a signal from now on, until as many releases. The first catch replaces the disposition of
 * the signal, the last release puts it back, unless another handler has taken our place. 0 or
 * a negative errno.
 */
int pl_signal_catch(int number);
void pl_signal_release(int number);

// How often a caught signal has come so far, modulo 2^32, and who sent the last.
uint32_t pl_signal_count(int number, int *pid);

// Lets the calling thread receive it.
void pl_signal_unblock(int number);

/*
 * Waiting for any of them: read the bell, look at the counts, and sleep until it has been rung
 * since. Returns at times for nothing.
 */
uint32_t pl_signal_bell(void);
void pl_signal_sleep(uint32_t bell);

// Wakes all who sleep.
void pl_signal_ring(void);

#endif
