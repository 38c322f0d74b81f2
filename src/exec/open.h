// SPDX-License-Identifier: MIT
// open.h - how plait_open() reaches the kinds of executors.
#ifndef PL_EXEC_OPEN_H
#define PL_EXEC_OPEN_H

#include "core/executor.h"

/* Options are complete and checked. 0, or a negative errno after pl_fail(). */
int pl_local_open(struct plait_executor **ret, const struct plait_options *options);

#endif
