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

// The living children of a process; the one child of this process, or 0 when it has none or more.
int count_children_of(int pid);
int only_child(void);

// Whether a process exists and is no zombie.
bool is_alive(int pid);

// Waits until the process is gone or a zombie; false after `ms`.
bool gone_within(int pid, int ms);

// A child that the process's first thread has started, by chance; 0: there is none.
int child_of(int pid);

// A task's code, or -EOWNERDEAD; while it runs a child of the zygote is killed every few
// milliseconds. Any other code fails the test.
int result_under_fire(plait_future *f, int zygote);

void sleep_ms(int ms);

// Opens an executor of processes, or fails the test.
plait_executor *open_processes(unsigned workers);

// The same, of which nothing is printed and nobody waits for long.
plait_executor *open_unheard(unsigned workers);
void close_processes(plait_executor *ex);

#endif
