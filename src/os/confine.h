// SPDX-License-Identifier: MIT
// confine.h - the door to the kernel for where this process lives and what it may use. Each call is
// for the calling thread, before it starts others, and returns 0 or a negative errno.
#ifndef PL_OS_CONFINE_H
#define PL_OS_CONFINE_H

#include <stdint.h>

int pl_confine_directory(const char *path);

// "NAME=value" sets, "NAME" takes away. -EINVAL: no name.
int pl_confine_environment(const char *entry);

// Added to its niceness.
int pl_confine_nice(int by);

// As ioprio_set(2) numbers the classes.
int pl_confine_io(int class, int level);

// To one CPU; to the n-th of those that it may use, counted round.
int pl_confine_cpu(unsigned cpu);
int pl_confine_nth_cpu(unsigned n);

// Seconds of CPU time: SIGXCPU; one more: SIGKILL.
int pl_limit_cpu_time(uint64_t seconds);
int pl_limit_files(uint64_t descriptors);

// What the next two look at: this process's memory, for as long as it lives. A descriptor, or a
// negative errno.
int pl_process_memory_open(void);

// Address space beyond what is mapped.
int pl_limit_memory(int memory, uint64_t bytes);

// Bytes resident in memory, or 0 where the kernel does not say.
uint64_t pl_process_resident(int memory);

// Threads of this process, or 0 where the kernel does not say.
unsigned pl_process_threads(void);

#endif
