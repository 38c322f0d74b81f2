// SPDX-License-Identifier: MIT
// stuck.h - whether tasks wait that nobody can ever wake. See stuck.c.
#ifndef PL_CORE_STUCK_H
#define PL_CORE_STUCK_H

#include "core/sched.h"

/* Whether all workers of s sleep while tasks are alive, with no timer and no I/O; *beats is the sum
 * of their heartbeats. A look at words; cheap. */
bool pl_stuck_maybe(struct pl_sched *s, uint64_t *beats);

/* Reports it when nobody in the process can wake them. True: reported. On a monitor's thread. */
bool pl_stuck_report(struct pl_sched *s);

#endif
