// SPDX-License-Identifier: MIT
// zygote.h - the two processes that plait_main() can turn into.
#ifndef PL_PROC_ZYGOTE_H
#define PL_PROC_ZYGOTE_H

#include <plait/task.h>

// This process was started to fork workers: does so until the host goes. `host`: its pid.
void pl_zygote_main(int host) __attribute__((noreturn));

// What a new worker has: its descriptors, who it is in the shared heap, and the tasks by number.
struct pl_worker_start {
    int socket, channel, doorbell, bell, leader_bell;
    uint32_t owner;
    const struct plait_task *const *tasks;
    unsigned task_count;
};

// Runs tasks until the host says stop.
void pl_worker_main(const struct pl_worker_start *start) __attribute__((noreturn));

#endif
