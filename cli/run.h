// SPDX-License-Identifier: MIT
// `plait run`: the driver.
#ifndef CLI_RUN_H
#define CLI_RUN_H

#include "options.h"

/* Runs the job; returns the exit status. */
int run(const struct options *o);

#endif
