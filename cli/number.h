// SPDX-License-Identifier: MIT
// Numbers and durations that people type.
#ifndef CLI_NUMBER_H
#define CLI_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A whole number, all of it digits, blanks around it allowed. False, and *ret untouched, when it is
 * anything else or does not fit. */
bool number_parse(const void *data, size_t bytes, uint64_t *ret);

/* "500ms", "2s", "1.5m", "1h" in nanoseconds: a number and a unit (ns, us, ms, s, m, h). Returns
 * NULL, or what is wrong with it: a phrase. */
const char *duration_parse(const char *string, int64_t *ret_ns);

/* "512M", "1.5G", "64K" in bytes: a number and a unit of 1024, its square or its cube. As
 * duration_parse(). */
const char *size_parse(const char *string, uint64_t *ret_bytes);

/* "3 s", "4 min 05 s", "2 h 07 min": what is left, for a person. Always fits in 32 bytes. */
void duration_format(char *to, size_t bytes, double seconds);

#endif
