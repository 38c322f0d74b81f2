// SPDX-License-Identifier: MIT
// monitor.h - tells blocked workers from computing ones. See monitor.c.
#ifndef PL_CORE_MONITOR_H
#define PL_CORE_MONITOR_H

struct pl_sched;

/* 0 or a negative errno. An executor driven by a foreign loop has no monitor. */
int pl_monitor_start(struct pl_sched *s);

/* Ends and joins its thread; workers may still rouse it until it is freed. */
void pl_monitor_stop(struct pl_sched *s);
void pl_monitor_free(struct pl_sched *s);

/* A worker is about to work after all of them slept for long. */
void pl_monitor_rouse(struct pl_sched *s);

#endif
