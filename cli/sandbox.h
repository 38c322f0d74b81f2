// SPDX-License-Identifier: MIT
// --sandbox: what worker processes are locked in by.
#ifndef CLI_SANDBOX_H
#define CLI_SANDBOX_H

#include "job.h"

/* What the job's worker processes may do; NULL without --sandbox. The caller gives it back. 0, or
 * an exit status after a message. */
int sandbox_make(const struct plait_confinement **ret, const struct options *o,
                 const struct job *job);
void sandbox_free(const struct plait_confinement *box);

#endif
