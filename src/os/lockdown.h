// SPDX-License-Identifier: MIT
/*
 * lockdown.h - the door to the kernel for locking this process in: namespaces, Landlock,
 * capabilities, a filter of system calls.
 *
 * DESIGN
 *   Everything here is for the whole life of the process, and none of it can be taken back. What
 *   the kernel knows by thread (Landlock, capabilities) or refuses to a process with threads (user
 *   namespaces) comes first, while there is one thread: threads inherit it. The filter comes last,
 *   since it refuses the calls that the rest is made of, and is set for all threads at one instant.
 *
 *   A kernel that cannot give one of them is the end of it: nothing here is tried in a weaker form.
 *   The one thing that depends on the kernel's age is how much a Landlock of it handles; each has
 *   the opening of files, and what the older do not handle (truncation by name, networks, signals)
 *   is refused by the filter alone.
 */
#ifndef PL_OS_LOCKDOWN_H
#define PL_OS_LOCKDOWN_H

#include <plait/executor.h>
#include <stdatomic.h>

// What can fail.
enum pl_locking {
    PL_LOCK_NONE = 0,
    PL_LOCK_THREADS,         // there are others, which most of this would not reach
    PL_LOCK_PRIVILEGES_KEPT, // PR_SET_NO_NEW_PRIVS
    PL_LOCK_USERS,
    PL_LOCK_NETWORK,
    PL_LOCK_FILES,
    PL_LOCK_READABLE, // one of the paths
    PL_LOCK_PRIVILEGES,
    PL_LOCK_FILTER,
    PL_LOCK_DESCRIPTORS,
    PL_LOCK_TRIED, // the trial itself
};

struct pl_lockdown {
    unsigned layers;      // enum plait_layer
    const char *readable; // strings, one after the other
    unsigned readable_count;
    void *filter; // struct sock_filter[]
    size_t filter_bytes;
};

// Why it failed.
struct pl_lock_failure {
    enum pl_locking lock;
    unsigned path; // READABLE: which
};

// Whether this process has one thread.
bool pl_lockdown_alone(void);

// Every layer. In a process of one thread. 0, or a negative errno and *failure. System calls only.
int pl_lockdown_enter(const struct pl_lockdown *l, struct pl_lock_failure *failure);

// The filter, for every thread. 0 or a negative errno.
int pl_lockdown_filter(const struct pl_lockdown *l);

// Both, in a child that ends at once: whether this kernel gives them to a process like this one.
int pl_lockdown_try(const struct pl_lockdown *l, struct pl_lock_failure *failure);

// Whether it is a program that the kernel could take: some, and not too many, whole instructions.
bool pl_filter_is_whole(const void *filter, size_t bytes);

// Puts this process's pid where the filter has PLAIT_CONFINEMENT_SELF.
void pl_filter_own(void *filter, size_t bytes);

// When the filter traps a system call: its number, plus 1, goes to *ret, and the process dies by
// SIGSYS. 0 or a negative errno.
int pl_lockdown_report(_Atomic uint32_t *ret);

// Closes every descriptor but 0, 1, 2 and those; negative ones are passed over. 0 or a negative
// errno.
int pl_descriptors_keep(const int *fds, unsigned count);

// The failure in words, as the end of a sentence.
const char *pl_lock_text(enum pl_locking lock);

#endif
