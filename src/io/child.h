// SPDX-License-Identifier: MIT
/*
 * child.h - the inside of a plait_child.
 *
 * DESIGN
 *   The child's pid is ours only until it was reaped: then another process, or another group, may
 *   have the number. So signalling and reaping happen under `lock`, and nothing is signalled once
 *   `reaped` is set. Waiting happens on the pidfd, outside the lock; whoever sees it readable first
 *   reaps, the others find what was kept.
 */
#ifndef PL_IO_CHILD_H
#define PL_IO_CHILD_H

#include "core/lock.h"
#include <plait/child.h>

#define PL_CHILD_KILL_NS (5 * PLAIT_SECOND) /* for a killed process to be gone */

struct plait_child {
    struct pl_lock lock;
    bool reaped;
    int reap_error; /* what reaping said: 0 or a negative errno */
    struct plait_exit exit;
    int pid, pidfd;
    int pipes[3]; /* our ends, or -1 */
    struct plait_child_options options;
};

/* Takes over how the child ended, once its pidfd is readable. 0 or a negative errno. */
int pl_child_reap(plait_child *c, struct plait_exit *ret);

#endif
