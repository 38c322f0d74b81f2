// SPDX-License-Identifier: MIT
// process.c - start, fork, watch, signal and reap processes.
#include "os/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bug.h"
#include "os/alloc.h"
#include "os/clock.h"
#include "os/fault.h"

// This process's environment and one more variable; only the array is a copy.
static char **environment_with(const char *marker)
{
    size_t count = 0;
    while (environ && environ[count])
        count++;
    char **copy = pl_zalloc_array(count + 2, sizeof *copy);
    if (!copy)
        return NULL;
    if (count > 0)
        memcpy(copy, environ, count * sizeof *copy);
    copy[count] = (char *)marker;
    return copy;
}

static int prepare(posix_spawnattr_t *attr, posix_spawn_file_actions_t *files, int channel)
{
    sigset_t all, none;
    sigfillset(&all);
    sigemptyset(&none);
    int err = posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK |
                                                 POSIX_SPAWN_SETPGROUP);
    if (!err)
        err = posix_spawnattr_setsigdefault(attr, &all);
    if (!err)
        err = posix_spawnattr_setsigmask(attr, &none);
    if (!err)
        err = posix_spawnattr_setpgroup(attr, 0);
    if (!err)
        err = posix_spawn_file_actions_addopen(files, 0, "/dev/null", O_RDONLY, 0);
    if (!err) // also clears close-on-exec, and does so when the two are equal
        err = posix_spawn_file_actions_adddup2(files, channel, PL_PROCESS_CHANNEL);
    if (!err)
        err = posix_spawn_file_actions_addclosefrom_np(files, PL_PROCESS_CHANNEL + 1);
    return err;
}

int pl_process_spawn_self(const char *argv0, const char *title, const char *marker, int channel,
                          int *pid)
{
    int err = -pl_fault(PL_FAULT_SYSCALL);
    if (err)
        return -err;
    char **env = environment_with(marker);
    if (!env)
        return -ENOMEM;
    posix_spawnattr_t attr;
    posix_spawn_file_actions_t files;
    err = posix_spawnattr_init(&attr);
    if (err) {
        pl_free_mem(env);
        return -err;
    }
    err = posix_spawn_file_actions_init(&files);
    if (!err) {
        char *argv[] = { (char *)argv0, (char *)title, NULL };
        pid_t child;
        err = prepare(&attr, &files, channel);
        if (!err) // in the child /proc/self still names our executable: the memory is shared
            err = posix_spawn(&child, "/proc/self/exe", &files, &attr, argv, env);
        if (!err)
            *pid = child;
        posix_spawn_file_actions_destroy(&files);
    }
    posix_spawnattr_destroy(&attr);
    pl_free_mem(env);
    return -err;
}

void pl_process_clean(void)
{
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (null > 0) {
        PL_ASSERT(dup2(null, 0) == 0);
        close(null);
    }
    for (int number = 1; number < NSIG; number++)
        (void)signal(number, SIG_DFL); // EINVAL: one that has no other
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    pl_process_own_group(0);
}

int pl_process_fork(void)
{
    int err = pl_fault(PL_FAULT_SYSCALL);
    if (err < 0)
        return err;
    pid_t pid = fork();
    return pid < 0 ? -errno : pid;
}

int pl_process_id(void)
{
    return getpid();
}

int pl_process_parent(void)
{
    return getppid();
}

void pl_process_own_group(int pid)
{
    // ESRCH: the child has ended.
    PL_ASSERT(setpgid(pid, pid) == 0 || pid != 0);
}

bool pl_process_die_with(int parent)
{
    PL_ASSERT(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
    // It may have died before the kernel was told.
    return getppid() == parent;
}

int pl_pidfd_open(int pid)
{
    int err = pl_fault(PL_FAULT_SYSCALL);
    if (err < 0)
        return err;
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    return fd < 0 ? -errno : fd;
}

int pl_pidfd_kill(int pidfd, int signal)
{
    return syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0) < 0 ? -errno : 0;
}

bool pl_pidfd_ended(int pidfd)
{
    struct pollfd p = { .fd = pidfd, .events = POLLIN };
    int n;
    do
        n = poll(&p, 1, 0);
    while (n < 0 && errno == EINTR);
    PL_ASSERT(n >= 0);
    return n > 0;
}

bool pl_process_is_stopped(int pid)
{
    char text[128], path[32];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n > 0 ? n : 0] = 0;
    // "pid (name) state ...": a name may hold anything
    const char *name_end = strrchr(text, ')');
    return name_end && name_end[1] == ' ' && name_end[2] == 'T';
}

int pl_process_kill_group(int group, int signal)
{
    PL_ASSERT(group > 1);
    return kill(-group, signal) < 0 ? -errno : 0;
}

void pl_pidfd_kill_group(int pidfd, int pid)
{
    // Until it is reaped the number is its own, and as long as its group has members it is nobody
    // else's either. So if another process has the number there is no group of it left.
    if (pl_pidfd_kill(pidfd, SIGKILL) == 0 || (kill(pid, 0) < 0 && errno == ESRCH))
        (void)kill(-pid, SIGKILL); // ESRCH: it has no group of its own
}

static int64_t timeval_ns(struct timeval t)
{
    return t.tv_sec * PL_SECOND + t.tv_usec * PL_MICROSECOND;
}

static int reap(idtype_t type, int id, bool wait, struct pl_exit *ret)
{
    siginfo_t info;
    struct rusage usage;
    int options = WEXITED | __WALL | (wait ? 0 : WNOHANG);
    long n;
    info.si_pid = 0;
    // By number: the kernel's call has a fifth argument, which glibc's wrapper hides.
    do
        n = syscall(SYS_waitid, type, id, &info, options, &usage);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    if (info.si_pid == 0)
        return -EAGAIN;
    bool exited = info.si_code == CLD_EXITED;
    *ret = (struct pl_exit){
        .signal = exited ? 0 : info.si_status,
        .status = exited ? info.si_status : -1,
        .core = info.si_code == CLD_DUMPED,
        .cpu_ns = timeval_ns(usage.ru_utime) + timeval_ns(usage.ru_stime),
        .max_rss = usage.ru_maxrss * INT64_C(1024),
    };
    return 0;
}

int64_t pl_process_peak(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) < 0 ? 0 : usage.ru_maxrss * INT64_C(1024);
}

int pl_process_reap(int pid, bool wait, struct pl_exit *ret)
{
    return reap(P_PID, pid, wait, ret);
}

int pl_pidfd_reap(int pidfd, bool wait, struct pl_exit *ret)
{
    return reap(P_PIDFD, pidfd, wait, ret);
}

void pl_process_exit(int status)
{
    _exit(status);
}
