// SPDX-License-Identifier: MIT
/*
 * setup.h - what each worker of an executor is and may use, as it travels to the workers.
 *
 * DESIGN
 *   The host writes the options down once, as one piece of memory without pointers: strings
 *   and the initializer's argument lie behind the structure, found by their offsets. Every zygote
 *   and every worker of the executor gets the same one. A worker applies it step by step before it
 *   takes a task; the first step that fails is told to the host, which knows the words for it, and
 *   the worker ends.
 */
#ifndef PL_PROC_SETUP_H
#define PL_PROC_SETUP_H

#include "proc/table.h"
#include <plait/executor.h>
#include <stdatomic.h>

// The steps that can fail.
enum pl_step {
    PL_STEP_NONE = 0,
    PL_STEP_START, // plait's own
    PL_STEP_STDERR,
    PL_STEP_ENVIRONMENT,
    PL_STEP_DIRECTORY,
    PL_STEP_NICE,
    PL_STEP_IO,
    PL_STEP_CPU,
    PL_STEP_CPU_LIMIT,
    PL_STEP_FILE_LIMIT,
    PL_STEP_MEMORY_LIMIT,
    PL_STEP_INITIALIZER,
    PL_STEP_LOCK, // and what follows: enum pl_locking, added
};

struct pl_setup {
    uint32_t bytes; // all of it
    uint32_t start; // enum plait_start_method
    uint64_t resident_max_bytes, memory_limit_bytes, cpu_limit_s, file_limit;
    int32_t initializer, finalizer; // in the table; -1: none
    uint32_t initializer_in;        // where its argument is
    int32_t nice;
    uint32_t io_class, io_level;
    uint32_t directory;                      // 0: the program's
    uint32_t environment, environment_count; // strings, one after the other
    uint32_t pin, cpus, cpu_count;
    uint32_t layers, no_shared_heap;
    uint32_t filter, filter_bytes;     // 0 bytes: the worker is not locked in
    uint32_t readable, readable_count; // strings, one after the other
};

// Checks the options, which may be of an older or newer caller, and completes them. 0, or a
// negative errno after pl_fail().
int pl_worker_options(struct plait_worker_options *ret, const struct plait_worker_options *given,
                      const struct plait_options *all);

// A confinement of an older or newer caller, completed.
struct plait_confinement pl_confinement(const struct plait_confinement *given);

// Writes them down. The descriptor of the memory, and *bytes; or a negative errno after pl_fail().
int pl_setup_write(const struct plait_worker_options *o, const struct pl_table *t, size_t *bytes);

// Whether this kernel locks a process in as they ask: 0, or a negative errno after pl_fail(), which
// names what is missing.
int pl_setup_try(int fd, size_t bytes);

// The worker's side. NULL: memory is short, or it makes no sense.
const struct pl_setup *pl_setup_read(int fd, size_t bytes);

// Everything but the initializer: *step and its negative errno, or 0. Before the worker starts
// threads; what limits memory, after.
int pl_setup_apply(const struct pl_setup *s, unsigned hand, enum pl_step *step);
int pl_setup_limit_memory(const struct pl_setup *s, int memory);

// Locks the worker in: first all but the filter of system calls, before it starts threads; the
// filter after the initializer. The number of a system call that ends it goes to *refused_call.
int pl_setup_lock_in(const struct pl_setup *s, enum pl_step *step);
int pl_setup_filter(const struct pl_setup *s, _Atomic uint32_t *refused_call, enum pl_step *step);

// The step in words, as the end of a sentence.
const char *pl_step_text(enum pl_step step);

#endif
