// SPDX-License-Identifier: MIT
/*
 * process.h - the door to the kernel for processes: start, fork, watch, signal, reap.
 *
 * No call here installs a signal handler or waits for a child that it was not told of.
 */
#ifndef PL_OS_PROCESS_H
#define PL_OS_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

// How a process ended and what it had used.
struct pl_exit {
    int signal; // that killed it, or 0
    int status; // with which it exited, or -1
    bool core;  // it left a core dump
    int64_t cpu_ns;
    int64_t max_rss; // bytes
};

/*
 * Starts this very program again (the same inode, also when its file was replaced), with the
 * standard descriptors of this process but stdin, which reads /dev/null; with `channel` as
 * descriptor PL_PROCESS_CHANNEL and no other; in a process group of its own; with every signal at
 * its default and none blocked; with the environment of this process plus `marker` ("NAME=value").
 * Does not copy the memory of this process, however large. 0 and the pid; a negative errno.
 */
enum { PL_PROCESS_CHANNEL = 3 };
int pl_process_spawn_self(const char *argv0, const char *title, const char *marker, int channel,
                          int *pid);

// In a fork: what pl_process_spawn_self() does for a process that starts anew, but for descriptors:
// stdin reads /dev/null, every signal is at its default and none blocked, a group of its own.
void pl_process_clean(void);

// fork(), for a process of one thread. 0 in the child, its pid in the parent, a negative errno.
int pl_process_fork(void);

int pl_process_id(void);
int pl_process_parent(void);

// A process group of its own for that process: this one (0), or a child that has not exec'd.
void pl_process_own_group(int pid);

// The kernel sends SIGKILL to this process when its parent dies. False: `parent` is dead already.
bool pl_process_die_with(int parent);

// A descriptor that becomes readable when the process ends. A negative errno: -ESRCH.
int pl_pidfd_open(int pid);

// 0; -ESRCH: it has ended and was reaped.
int pl_pidfd_kill(int pidfd, int signal);

// Whether the process has ended. Never waits.
bool pl_pidfd_ended(int pidfd);

// Signals every process of the group. 0; -ESRCH: all of it has ended and was reaped; -EPERM: what
// is left of it changed its user.
int pl_process_kill_group(int group, int signal);

// Kills a process of another parent, which may have ended, with all that is left of the group that
// bears its number.
void pl_pidfd_kill_group(int pidfd, int pid);

// Whether a signal has stopped the process (SIGSTOP, SIGTSTP), and not a debugger. False where the
// kernel does not say.
bool pl_process_is_stopped(int pid);

// Reaps a child of this process; `wait`: once it has ended. 0; -EAGAIN: it has not ended; -ECHILD:
// not a child of ours, or somebody else has reaped it.
int pl_process_reap(int pid, bool wait, struct pl_exit *ret);

// The same by descriptor, which no other process can have taken over.
int pl_pidfd_reap(int pidfd, bool wait, struct pl_exit *ret);

// The most bytes of this process that have been resident at a time.
int64_t pl_process_peak(void);

// Ends this process at once: no destructors, no flushing.
void pl_process_exit(int status) __attribute__((noreturn));

#endif
