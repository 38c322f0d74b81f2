// SPDX-License-Identifier: MIT
// processes.h - the executor of worker processes.
#ifndef PL_PROC_PROCESSES_H
#define PL_PROC_PROCESSES_H

#include "core/executor.h"

// Options are complete and checked. 0, or a negative errno after pl_fail().
int pl_processes_open(struct plait_executor **ret, const struct plait_options *options);

// argv[0] of this program when plait_main() was called, else NULL.
const char *pl_main_program(void);

#endif
