// SPDX-License-Identifier: MIT
/*
 * spawn.h - workers that start as the program anew (PLAIT_START_SPAWN).
 *
 * DESIGN
 *   The zygote starts each by posix_spawn of its own executable, with one socket, and sends through
 *   it what the host had sent to the zygote: the options, the table of tasks, and the message that
 *   asks for this worker. They lie in the socket before the new process reads them, so the zygote
 *   waits for nobody. plait_main() takes the process from there to pl_spawned_main().
 */
#ifndef PL_PROC_SPAWN_H
#define PL_PROC_SPAWN_H

#include "os/ipc.h"
#include "proc/wire.h"
#include "proc/zygote.h"

// A message that is sent again, with its descriptors, which it owns.
struct pl_kept {
    struct pl_message message; // kind 0: there was none
    int fds[PL_SOCKET_FDS];
    unsigned count;
};

struct pl_greeting {
    struct pl_kept setup, hello;
};

void pl_greeting_keep(struct pl_kept *k, const struct pl_message *m, const int *fds,
                      unsigned count);

// Starts a worker as the message asks. Its pid, or a negative errno.
int pl_spawn_worker(const struct pl_greeting *g, const struct pl_message *fork, const int *fds,
                    unsigned count);

// The shared heap that came with a HELLO, in a zygote or a spawned worker. False: it cannot be had;
// why was said.
bool pl_join_heap(const struct pl_message *hello, const int *fds, unsigned count);

// What a FORK message says of a worker.
void pl_worker_start_by(struct pl_worker_start *start, const struct pl_message *m, const int *fds,
                        unsigned count);

#endif
