// SPDX-License-Identifier: MIT
// blocking.h - the pool of plain threads behind plait_blocking().
#ifndef PL_CORE_BLOCKING_H
#define PL_CORE_BLOCKING_H

struct pl_sched;

/* Ends and joins the pool's threads; nothing is in it any more. */
void pl_blocking_stop(struct pl_sched *s);

#endif
