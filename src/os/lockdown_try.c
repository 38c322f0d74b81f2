// SPDX-License-Identifier: MIT
/*
 * lockdown_try.c - whether the kernel locks a process in as asked, and the descriptors of one.
 *
 * DESIGN
 *   Asking the kernel what it has is not enough: a distribution, a container or another filter may
 *   refuse what is there. So it is done, in a child made by vfork() as in spawn.c: it makes system
 *   calls only, on memory that is ours, and is over in less than a millisecond.
 */
#include "os/lockdown.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "os/fault.h"
#include "os/ipc.h"
#include "os/process.h"
#include "os/spawn.h"

struct verdict {
    int code;
    struct pl_lock_failure failure;
};

// In the child.
static void lock_in(const struct pl_lockdown *l, int report)
{
    struct verdict v = { 0 };
    v.code = pl_lockdown_enter(l, &v.failure);
    if (v.code == 0) {
        // Told before: the filter may not allow it.
        struct verdict last = { -EINVAL, { PL_LOCK_FILTER, 0 } };
        while (write(report, &last, sizeof last) < 0 && errno == EINTR)
            ;
        v.code = pl_lockdown_filter(l);
        v.failure.lock = PL_LOCK_FILTER;
    }
    while (write(report, &v, sizeof v) < 0 && errno == EINTR)
        ;
    _exit(0);
}

static int fork_and_lock_in(const struct pl_lockdown *l, int report)
{
    int err = pl_fault(PL_FAULT_SYSCALL);
    if (err < 0)
        return err;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t pid = vfork(); // NOLINT(clang-analyzer-security.insecureAPI.vfork): see DESIGN
    if (pid == 0)
        lock_in(l, report); // NOLINT(clang-analyzer-unix.Vfork)
    err = pid < 0 ? -errno : pid;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return err;
}

// The last that the child said.
static int listen_to(int fd, struct verdict *ret)
{
    struct verdict v;
    int e = -EPIPE;
    while (pl_fd_read(fd, &v, sizeof v) == (ssize_t)sizeof v) {
        *ret = v;
        e = 0;
    }
    return e;
}

int pl_lockdown_try(const struct pl_lockdown *l, struct pl_lock_failure *failure)
{
    int report[2];
    struct verdict v = { 0 };
    struct pl_exit end;
    failure->lock = PL_LOCK_TRIED;
    int e = pl_pipe_new(report);
    if (e < 0)
        return e;
    int child = fork_and_lock_in(l, report[1]);
    pl_fd_close(report[1]);
    e = child < 0 ? child : listen_to(report[0], &v);
    pl_fd_close(report[0]);
    if (child > 0) // -ECHILD: the program ignores SIGCHLD, and the kernel has reaped it
        (void)pl_process_reap(child, true, &end);
    if (e < 0)
        return e;
    *failure = v.failure;
    return v.code;
}

// ---- descriptors

enum { DESCRIPTORS_MAX = 1 << 20 }; // what the kernel lets a process have, unless told otherwise

static int close_between(unsigned first, unsigned last)
{
    if (first > last || syscall(SYS_close_range, first, last, 0) == 0)
        return 0;
    if (errno != ENOSYS)
        return -errno;
    struct rlimit limit; // before Linux 5.9
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return -errno;
    unsigned end = limit.rlim_max < DESCRIPTORS_MAX ? (unsigned)limit.rlim_max : DESCRIPTORS_MAX;
    for (unsigned fd = first; fd <= last && fd < end; fd++)
        close((int)fd); // EBADF: it is not open
    return 0;
}

int pl_descriptors_keep(const int *fds, unsigned count)
{
    for (unsigned from = STDERR_FILENO + 1;;) {
        unsigned next = ~0u; // the least that is kept, from there on
        for (unsigned i = 0; i < count; i++)
            if (fds[i] >= 0 && (unsigned)fds[i] >= from && (unsigned)fds[i] < next)
                next = (unsigned)fds[i];
        int e = close_between(from, next == ~0u ? next : next - 1);
        if (e < 0 || next == ~0u)
            return e;
        from = next + 1;
    }
}
