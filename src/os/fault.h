// SPDX-License-Identifier: MIT
/*
 * fault.h - the door through which tests make the kernel and the allocator fail.
 *
 * DESIGN
 *   In a cruel build (PL_CRUEL) every fallible call of src/os asks pl_fault first and, when told
 * so, returns the injected error instead of making the call. A counter a kind counts down from the
 * armed value; the call that takes it to zero fails, once. A test therefore runs a scenario with N
 * = 1, 2, 3, ... until nothing was injected any more, and has then seen every single failure. In
 * every other build the door is the constant 0 and vanishes.
 *
 *   Core counts its checkpoints here in the same way (strand.h), and a test has something happen at
 * the Nth: that is how it cancels a scenario at each of them in turn.
 *
 *   PLAIT_FAULT_SYSCALL=N and PLAIT_FAULT_ALLOC=N arm the counters of a program from outside; N:E
 *   injects errno E instead of EIO and ENOMEM.
 */
#ifndef PL_OS_FAULT_H
#define PL_OS_FAULT_H

#include <stdbool.h>

enum pl_fault_kind { PL_FAULT_SYSCALL, PL_FAULT_ALLOC, PL_FAULT_KINDS };

#if PL_CRUEL

// 0, or the negative errno with which the caller must fail.
int pl_fault(enum pl_fault_kind kind);

// Makes the nth call from now (1: the next) fail with -errno_value; 0 disarms. Counts over all
// threads.
void pl_fault_arm(enum pl_fault_kind kind, unsigned nth, int errno_value);

// Whether the armed failure has been injected.
bool pl_fault_fired(enum pl_fault_kind kind);

// A strand passes a checkpoint.
void pl_fault_checkpoint(void);

// Begins to count checkpoints, over all threads. The nth from now (1: the next; 0: none) calls
// fn(arg) where it is passed, once. fn must not wait for anything in plait.
void pl_fault_at_checkpoint(unsigned nth, void (*fn)(void *arg), void *arg);

// Ends the count: how many were passed.
unsigned pl_fault_checkpoints_end(void);

#else

#define pl_fault(kind)        0
#define pl_fault_checkpoint() ((void)0)

#endif
#endif
