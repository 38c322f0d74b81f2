// SPDX-License-Identifier: MIT
// faults.h - tasks that end badly, and ways to count what a program has left.
#ifndef PLAIT_TESTS_FAULTS_H
#define PLAIT_TESTS_FAULTS_H

#include "check.h"
#include <plait.h>

// Every program of this directory includes this once: the tasks are its own.
struct add {
    int64_t a, b;
};

// What a worker says of itself.
struct whereabouts {
    int pid, group, parent;
};

// Descriptors and mappings of this process, and its children alive or not.
int count_fds(void);
int count_mappings(void);
int count_children(void);

// Whether a process exists and is no zombie.
bool is_alive(int pid);

// Waits until the process is gone or a zombie; false after `ms`.
bool gone_within(int pid, int ms);

// A child of that process, by chance; 0: it has none. And a process's parent, or 0.
int child_of(int pid);
int parent_of(int pid);

void sleep_ms(int ms);

// Opens an executor of processes, or fails the test.
plait_executor *open_processes(unsigned workers);
void close_processes(plait_executor *ex);

#endif
