// SPDX-License-Identifier: MIT
// overflow.h - naming the task whose stack overflowed, where the user asked for it.
#ifndef PL_CORE_OVERFLOW_H
#define PL_CORE_OVERFLOW_H

/* Installs the look at SIGSEGV. 0 or a negative errno. */
int pl_overflow_watch(void);

#endif
