// SPDX-License-Identifier: MIT
// robust.h - the locks of the shared heap, for what is built on them.
#ifndef PL_SHARED_ROBUST_H
#define PL_SHARED_ROBUST_H

#include <plait/shared_sync.h>

// plait_shared_mutex_lock() that no cancel and no deadline ends: 0, -EOWNERDEAD (held, to be
// repaired), -ENOTRECOVERABLE.
int pl_shared_lock_again(plait_shared_mutex *m);

#endif
