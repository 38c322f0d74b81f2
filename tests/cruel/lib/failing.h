// SPDX-License-Identifier: MIT
/*
 * failing.h - every allocation and every system call of a scenario fails once.
 *
 * DESIGN. The scenario runs with the first allocation failing, then with the second, and so on
 * until none was hit any more; the same for system calls. Each run must end: with what it should
 * give, or with a clean error from some call. It must leave no descriptor, thread, process or
 * (under AddressSanitizer) memory behind, and what it returns as a success must be right.
 */
#ifndef PLAIT_TESTS_CRUEL_FAILING_H
#define PLAIT_TESTS_CRUEL_FAILING_H

#include "conformance/conform.h"
#include "os/fault.h"

/* scenario: 0, or a negative errno when something has failed. */
void fail_each(const struct place *on, int (*scenario)(const struct place *on),
               enum pl_fault_kind kind, int error);

#endif
