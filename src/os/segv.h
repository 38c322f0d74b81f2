// SPDX-License-Identifier: MIT
// segv.h - looking at a SIGSEGV before it takes its course, and a stack to look from.
#ifndef PL_OS_SEGV_H
#define PL_OS_SEGV_H

/*
 * From now on `look` is called, on the faulting thread's alternate stack, with the address of each
 * SIGSEGV or SIGBUS; it must be async-signal-safe. Then the action that was installed before runs,
 * or the default one: nothing is swallowed. Installed once a process; later calls with the same
 * `look` do nothing. 0 or a negative errno.
 */
int pl_segv_watch(void (*look)(void *address));

/* Gives the calling thread an alternate signal stack, unless it has one; returns what to pass to
 * pl_altstack_done() on the same thread (NULL: there was one, or memory is short). */
void *pl_altstack_init(void);
void pl_altstack_done(void *stack);

#endif
