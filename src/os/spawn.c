// SPDX-License-Identifier: MIT
/*
 * spawn.c - starts other programs.
 *
 * DESIGN
 *   vfork(), because the cost of fork() grows with the memory of this process, and because
 *   posix_spawn() has no place for what a child must do about its parent's death and its limits.
 *   The child runs in our memory until it has become the program, so it makes system calls only,
 *   and no signal handler may run in it: all signals are blocked before, and unblocked in it after
 *   the handled ones have got back their default.
 *
 *   What goes wrong in the child comes back through a pipe that exec() closes. A variable in the
 *   shared memory would do where vfork() shares the memory: under ThreadSanitizer, valgrind and
 *   qemu it is a fork().
 */
#include "os/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/fault.h"
#include "os/ipc.h"
#include "os/process.h"

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC 4u
#endif

enum { FIRST_OTHER = 3, DESCRIPTORS_MAX = 1 << 20 };

// ---- in the child: system calls only -----------------------------------------------------------

static bool reset_signals(void)
{
    sigset_t none;
    for (int i = 1; i < NSIG; i++) {
        struct sigaction now;
        if (sigaction(i, NULL, &now) < 0 || now.sa_handler == SIG_DFL)
            continue; // the C library keeps some to itself
        bool ignored = now.sa_handler == SIG_IGN;
        if (ignored && i != SIGPIPE && i != SIGTERM)
            continue; // somebody wanted that for everything he starts, as nohup does
        if (signal(i, SIG_DFL) == SIG_ERR)
            return false;
    }
    sigemptyset(&none);
    return sigprocmask(SIG_SETMASK, &none, NULL) == 0;
}

// Puts fds in place as 0, 1 and 2, whatever numbers they have.
static bool place(const int wanted[3])
{
    int fds[3];
    for (int i = 0; i < 3; i++) {
        fds[i] = wanted[i];
        if (fds[i] < FIRST_OTHER && fds[i] != i)
            fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, FIRST_OTHER);
        if (fds[i] < 0)
            return false;
    }
    for (int i = 0; i < 3; i++) {
        if (fds[i] != i) {
            if (dup2(fds[i], i) < 0)
                return false;
        } else if (fcntl(i, F_SETFD, 0) < 0 && errno != EBADF) {
            return false; // EBADF: it is closed here, and so it is there
        }
    }
    return true;
}

static bool close_others(const struct pl_spawn *s)
{
    if (s->inherit_descriptors ||
        syscall(SYS_close_range, FIRST_OTHER, ~0u, CLOSE_RANGE_CLOEXEC) == 0)
        return true;
    struct rlimit limit; // before Linux 5.11
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return false;
    int end = limit.rlim_cur < DESCRIPTORS_MAX ? (int)limit.rlim_cur : DESCRIPTORS_MAX;
    for (int fd = FIRST_OTHER; fd < end; fd++)
        fcntl(fd, F_SETFD, FD_CLOEXEC); // EBADF: it is not open
    return true;
}

// A soft limit; 0: as it is.
static bool limit(int resource, uint64_t to)
{
    struct rlimit l;
    if (to == 0)
        return true;
    if (getrlimit((__rlimit_resource_t)resource, &l) < 0)
        return false;
    l.rlim_cur = to < l.rlim_max ? to : l.rlim_max;
    return setrlimit((__rlimit_resource_t)resource, &l) == 0;
}

static bool tie_to(pid_t parent)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
        return false;
    errno = ESRCH;
    return getppid() == parent; // it may have died before the kernel was told
}

// Becomes the program, or tells `report` why not. Never returns.
static void become(const struct pl_spawn *s, pid_t parent, int report)
{
    if (report < FIRST_OTHER)
        report = fcntl(report, F_DUPFD_CLOEXEC, FIRST_OTHER);
    if (report >= 0 && (!s->own_group || setpgid(0, 0) == 0) && (!s->tied || tie_to(parent)) &&
        place(s->fds) && close_others(s) && limit(RLIMIT_NOFILE, s->descriptors) &&
        limit(RLIMIT_AS, s->memory) && (!s->directory || chdir(s->directory) == 0) &&
        reset_signals())
        execvpe(s->argv[0], s->argv, s->env ? s->env : environ);
    int error = errno;
    while (write(report, &error, sizeof error) < 0 && errno == EINTR)
        ;
    _exit(127);
}

// ---- in the parent -----------------------------------------------------------------------------

// 0: it has become the program; or the errno that it told.
static int reported(int fd)
{
    int error = 0;
    ssize_t n;
    do
        n = read(fd, &error, sizeof error);
    while (n < 0 && errno == EINTR);
    return n == (ssize_t)sizeof error ? -error : 0;
}

static void discard(pid_t pid)
{
    struct pl_exit ignored;
    // -ECHILD: the program ignores SIGCHLD, and the kernel has reaped it.
    (void)pl_process_reap(pid, true, &ignored);
}

static int vfork_and_become(const struct pl_spawn *s, int report)
{
    int err = pl_fault(PL_FAULT_SYSCALL);
    if (err < 0)
        return err;
    pid_t parent = getpid();
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t pid = vfork(); // NOLINT(clang-analyzer-security.insecureAPI.vfork): see DESIGN
    if (pid == 0)
        become(s, parent, report); // NOLINT(clang-analyzer-unix.Vfork)
    err = pid < 0 ? -errno : pid;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return err;
}

int pl_spawn(const struct pl_spawn *s, int *pid, int *pidfd)
{
    int report[2];
    int err = pl_pipe_new(report);
    if (err < 0)
        return err;
    int child = vfork_and_become(s, report[1]);
    pl_fd_close(report[1]);
    err = child < 0 ? child : reported(report[0]);
    pl_fd_close(report[0]);
    if (child < 0)
        return err;
    if (err < 0) {
        discard(child);
        return err;
    }
    int fd = pl_pidfd_open(child);
    if (fd == -ESRCH) // it has ended, was reaped by somebody else, and its number is anybody's
        return -ECHILD;
    if (fd < 0) {
        kill(child, SIGKILL);
        discard(child);
        return fd;
    }
    *pid = child;
    *pidfd = fd;
    return 0;
}

int pl_pipe_new(int ends[2])
{
    int err = pl_fault(PL_FAULT_SYSCALL);
    if (err < 0)
        return err;
    return pipe2(ends, O_CLOEXEC) < 0 ? -errno : 0;
}

int pl_null_open(void)
{
    int err = pl_fault(PL_FAULT_SYSCALL);
    if (err < 0)
        return err;
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    return fd;
}

size_t pl_pipe_holds(int fd)
{
    int bytes = 0;
    return ioctl(fd, FIONREAD, &bytes) == 0 && bytes > 0 ? (size_t)bytes : 0;
}
