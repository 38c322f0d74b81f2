// SPDX-License-Identifier: MIT
// processes.h - what check.c needs to know about the processes of a test.
#ifndef PLAIT_TESTS_LIB_PROCESSES_H
#define PLAIT_TESTS_LIB_PROCESSES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

int64_t check_now_ms(void);

// Returns at a SIGCHLD or after some time. The caller has SIGCHLD blocked, so that one which comes
// between its look and this wait is not lost.
void check_wait_sigchld(int64_t at_most_ms);

// The children of this process: pids into `out`, "pid(name)" after each other into `names`, how
// many there are as the result.
int check_children(pid_t *out, int max, char *names, size_t names_size);

// Reaps what ended. True when no child is left.
bool check_reap_ended(void);

// Kills until no child is left: those of a killed stray become ours only when it is dead.
void check_kill_strays(void);

// For whoever must find out why a test hangs: the state of each of its threads into `out`, and what
// the command PLAIT_TEST_ON_TIMEOUT says of its pid ('gdb -batch -ex "thread apply all bt" -p').
void check_explain_timeout(int out, pid_t pid);

#endif
