// SPDX-License-Identifier: MIT
/*
 * calls.h - which system calls a sandboxed task has, and what becomes of the others.
 *
 * DESIGN
 *   Every call that is in no list fails with EPERM. So the lists of what is allowed are the
 *   promise; those of what ends the worker only say more about a call that is refused anyway: that
 *   the worker is no longer believed, and that a person should know.
 *
 *   A call is allowed by its number, and by those of its arguments that are numbers: a filter
 *   cannot look at a path.
 */
#ifndef PL_SANDBOX_CALLS_H
#define PL_SANDBOX_CALLS_H

#include <plait/sandbox.h>

// Each ends with NULL.
extern const char *const pl_calls_allowed[];    // computing, and what is open
extern const char *const pl_calls_reading[];    // files by name, where they may be read
extern const char *const pl_calls_networking[]; // where the network may be used
extern const char *const pl_calls_by_name[];    // else: EACCES
extern const char *const pl_calls_missing[];    // ENOSYS: callers have another way
extern const char *const pl_calls_hostile[];    // end the worker

// A rule about one argument of a call: that it equals `value`, as far as the mask goes.
enum pl_rule_answer { PL_RULE_ALLOW, PL_RULE_HOSTILE, PL_RULE_NO_ACCESS };
#define PL_RULE_WHOLE UINT64_MAX
struct pl_rule {
    const char *call; // NULL: the end
    enum pl_rule_answer answer;
    bool differs; // that it does not
    unsigned which;
    uint64_t mask, value;
};
extern const struct pl_rule pl_rules_always[];
extern const struct pl_rule pl_rules_reading[];     // where files may be read
extern const struct pl_rule pl_rules_not_reading[]; // where not
extern const struct pl_rule pl_rules_data_only[];   // where memory may not be made executable

// filter.c: the filter for these options, in memory from malloc(). 0, or a negative errno after
// pl_sandbox_fail().
int pl_filter_build(const struct plait_sandbox_options *o, void **ret, size_t *bytes);

// The name of a system call; NULL: it has none. Valid until the thread's next call.
const char *pl_call_name(int number);

// sandbox.c: keeps the sentence, and returns the code.
int pl_sandbox_fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
