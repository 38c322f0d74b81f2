// SPDX-License-Identifier: MIT
// place.h - directories for the files of a test, which are gone after it, however it ends.
#ifndef PLAIT_TESTS_LIB_PLACE_H
#define PLAIT_TESTS_LIB_PLACE_H

#ifdef __cplusplus
extern "C" {
#endif

// In a test, or in a process that it has started: its directory, made at the first call.
const char *check_place(void);

// The same, in memory where that is possible: a disk takes much longer.
const char *check_fast_place(void);

// The runner: before a test, and after it.
void check_place_begin(void);
void check_place_end(void);

#ifdef __cplusplus
}
#endif

#endif
