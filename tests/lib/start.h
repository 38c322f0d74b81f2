// SPDX-License-Identifier: MIT
// start.h - how the workers of a test's executors start: PLAIT_TEST_START=zygote|spawn|fork runs a
// whole program of tests in another way than the default.
#ifndef PLAIT_TESTS_LIB_START_H
#define PLAIT_TESTS_LIB_START_H

#include <plait.h>

// Options for plait_options.worker, or NULL for the default.
const struct plait_worker_options *check_start(void);

// Skips the test if an open failed because a fork is impossible in this one.
void check_start_refused(int error);

#endif
