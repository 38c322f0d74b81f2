// SPDX-License-Identifier: MIT
// zygote.h - the two processes that plait_main() can turn into.
#ifndef PL_PROC_ZYGOTE_H
#define PL_PROC_ZYGOTE_H

#include "proc/setup.h"
#include <plait/task.h>

// This process was started to fork workers: does so until the host goes. `host`: its pid;
// `control`: the socket to it.
void pl_zygote_main(int host, int control) __attribute__((noreturn));

// What a new worker has: its descriptors, who it is in the shared heap, and the tasks by number.
struct pl_worker_start {
    int socket, channel, doorbell, bell, gong;
    uint32_t owner;
    int stderr_pipe; // that its stderr becomes, or -1
    unsigned hand;
    const struct pl_setup *setup; // NULL: no options
    const struct plait_task *const *tasks;
    unsigned task_count;
};

// This process was started by a zygote, whose pid is `parent`, to be a worker.
void pl_spawned_main(int parent) __attribute__((noreturn));

// Runs tasks until the host says stop.
void pl_worker_main(const struct pl_worker_start *start) __attribute__((noreturn));

#endif
