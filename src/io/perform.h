// SPDX-License-Identifier: MIT
// perform.h - operations of the event loop that look blocking, for the other files of this layer.
#ifndef PL_IO_PERFORM_H
#define PL_IO_PERFORM_H

#include "os/loop.h"

/* Performs a copy of the operation: suspends a fiber, blocks a thread. Its result, or -ECANCELED,
 * -ETIMEDOUT by the scope. */
int64_t pl_io_perform(const struct pl_op *op);

#endif
