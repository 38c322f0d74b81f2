// SPDX-License-Identifier: MIT
// spawn.h - the door to the kernel for starting other programs.
#ifndef PL_OS_SPAWN_H
#define PL_OS_SPAWN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pl_spawn {
    char *const *argv;        // argv[0] without a slash is looked for in this process's PATH
    char *const *env;         // NULL: this process's
    const char *directory;    // NULL: this process's
    int fds[3];               // what becomes its descriptors 0, 1 and 2; the same number: as it is
    bool own_group;           // it leads a process group
    bool tied;                // it is killed when the thread that starts it ends
    bool inherit_descriptors; // those above 2 that are not close-on-exec stay open
    uint64_t descriptors;     // its soft RLIMIT_NOFILE; 0: this process's
    uint64_t memory;          // its RLIMIT_AS; 0: this process's
};

/*
 * Starts a program: with no signal blocked, none handled, and SIGPIPE and SIGTERM not ignored
 * either. Returns once it runs: 0 with its pid and a pidfd, or the negative errno of the step that
 * failed (-ENOENT, -EACCES: the program or the directory; -EAGAIN: no more processes; -EMFILE,
 * -ENFILE; -ENOMEM; -E2BIG; -ECHILD: it has run and somebody else has reaped it), and then there is
 * no child. Blocks for as long as the kernel needs to load it.
 */
int pl_spawn(const struct pl_spawn *s, int *pid, int *pidfd);

// A pipe, close-on-exec: what is written to ends[1] is read from ends[0].
int pl_pipe_new(int ends[2]);

// /dev/null for reading and writing.
int pl_null_open(void);

// How many bytes can be read from a pipe at once.
size_t pl_pipe_holds(int fd);

#endif
