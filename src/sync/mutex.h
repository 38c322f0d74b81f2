// SPDX-License-Identifier: MIT
// mutex.h - a lock that cannot be refused.
#ifndef PL_SYNC_MUTEX_H
#define PL_SYNC_MUTEX_H

#include <plait/sync.h>

/* plait_mutex_lock() that no cancel and no deadline ends: for who must hold it to go on at all. */
void pl_mutex_lock_again(plait_mutex *m);

#endif
