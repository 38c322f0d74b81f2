// SPDX-License-Identifier: MIT
// robust.h - the locks and channels of the shared heap, for what is built on them.
#ifndef PL_SHARED_ROBUST_H
#define PL_SHARED_ROBUST_H

#include <plait/shared_sync.h>

// plait_shared_mutex_lock() that no cancel and no deadline ends: 0, -EOWNERDEAD (held, to be
// repaired), -ENOTRECOVERABLE.
int pl_shared_lock_again(plait_shared_mutex *m);

// plait_shared_mutex_unlock() and _consistent() of who certainly has it: what a wild task has
// written there meanwhile is no bug of this process.
void pl_shared_unlock(plait_shared_mutex *m);
void pl_shared_settle(plait_shared_mutex *m);

// Whether c, which may be anything, leads to a channel that nobody has written over.
bool pl_shared_is_channel(const plait_shared_channel *c);

// plait_shared_channel_close() that waits for nobody: -EBUSY while another's call is at work.
int pl_shared_channel_try_close(plait_shared_channel *c);

// How many values have been taken from the channel since it was made. Never suspends.
size_t pl_shared_channel_taken(const plait_shared_channel *c);

// Whether a put would wait. Never suspends.
bool pl_shared_channel_is_full(const plait_shared_channel *c);

#endif
