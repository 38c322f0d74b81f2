// SPDX-License-Identifier: MIT
// lockdown.c - namespaces, Landlock, capabilities, a filter of system calls. See lockdown.h.
#include "os/lockdown.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "os/confine.h"
#include "os/landlock_abi.h"

#ifndef SYS_SECCOMP
#define SYS_SECCOMP 1 // the si_code of a trapped call: only the kernel's headers have it
#endif

// ---- namespaces

static int enter_namespace(int flags)
{
    return unshare(flags) < 0 ? -errno : 0;
}

// ---- Landlock

// What a Landlock of that version can be asked to refuse, of the file system and otherwise.
static struct pl_landlock_ruleset all_of(long version, size_t *bytes)
{
    struct pl_landlock_ruleset r = { .handled_access_fs = PL_LANDLOCK_FS_1 };
    *bytes = sizeof r.handled_access_fs;
    if (version >= 2)
        r.handled_access_fs |= PL_LANDLOCK_FS_REFER;
    if (version >= 3)
        r.handled_access_fs |= PL_LANDLOCK_FS_TRUNCATE;
    if (version >= 5)
        r.handled_access_fs |= PL_LANDLOCK_FS_IOCTL_DEV;
    if (version >= 6) {
        r.scoped = PL_LANDLOCK_SCOPE_SIGNAL | PL_LANDLOCK_SCOPE_ABSTRACT_SOCKET;
        *bytes = sizeof r;
    }
    return r;
}

static int allow_reading(int ruleset, const char *path)
{
    struct stat st;
    int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    struct pl_landlock_beneath rule = { PL_LANDLOCK_FS_READ_FILE, fd };
    int e = fstat(fd, &st) < 0 ? -errno : 0;
    if (S_ISDIR(st.st_mode))
        rule.allowed_access |= PL_LANDLOCK_FS_READ_DIR;
    if (e == 0 &&
        syscall(PL_SYS_LANDLOCK_ADD_RULE, ruleset, PL_LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
        e = -errno;
    close(fd);
    return e;
}

static int allow_all(int ruleset, const struct pl_lockdown *l, struct pl_lock_failure *failure)
{
    const char *path = l->readable;
    failure->lock = PL_LOCK_READABLE;
    for (unsigned i = 0; i < l->readable_count; i++, path += strlen(path) + 1) {
        failure->path = i;
        int e = allow_reading(ruleset, path);
        if (e < 0)
            return e;
    }
    return l->readable_count > 0 ? 0 : allow_reading(ruleset, "/");
}

static int enter_landlock(const struct pl_lockdown *l, struct pl_lock_failure *failure)
{
    size_t bytes;
    long version =
        syscall(PL_SYS_LANDLOCK_CREATE_RULESET, NULL, (size_t)0, PL_LANDLOCK_ASK_VERSION);
    if (version < 0)
        return -errno;
    struct pl_landlock_ruleset all = all_of(version, &bytes);
    int ruleset = (int)syscall(PL_SYS_LANDLOCK_CREATE_RULESET, &all, bytes, 0);
    if (ruleset < 0)
        return -errno;
    int e = allow_all(ruleset, l, failure);
    if (e == 0) {
        failure->lock = PL_LOCK_FILES;
        if (syscall(PL_SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0) < 0)
            e = -errno;
    }
    close(ruleset);
    return e;
}

// ---- capabilities

static int drop_capabilities(void)
{
    struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct none[2];
    memset(none, 0, sizeof none);
    // What no exec can bring back. Who may not drop them there has none to lose: -EPERM; EINVAL is
    // the end of those that the kernel knows.
    for (int i = 0; prctl(PR_CAPBSET_DROP, i, 0, 0, 0) == 0; i++)
        ;
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 ||
        syscall(SYS_capset, &head, none) < 0)
        return -errno;
    struct __user_cap_data_struct left[2];
    if (syscall(SYS_capget, &head, left) < 0)
        return -errno;
    return memcmp(left, none, sizeof none) == 0 ? 0 : -EPERM;
}

// ---- the filter

bool pl_filter_is_whole(const void *filter, size_t bytes)
{
    size_t count = bytes / sizeof(struct sock_filter);
    return filter && count > 0 && count <= BPF_MAXINSNS && bytes % sizeof(struct sock_filter) == 0;
}

void pl_filter_own(void *filter, size_t bytes)
{
    struct sock_filter *f = filter;
    for (size_t i = 0; i < bytes / sizeof *f; i++)
        if (f[i].code == (BPF_JMP | BPF_JEQ | BPF_K) && f[i].k == PLAIT_CONFINEMENT_SELF)
            f[i].k = (uint32_t)getpid();
}

int pl_lockdown_filter(const struct pl_lockdown *l)
{
    struct sock_fprog program = {
        .len = (unsigned short)(l->filter_bytes / sizeof(struct sock_filter)), .filter = l->filter
    };
    long e = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);
    // Above zero: a thread that has a filter of its own, which ours cannot follow.
    return e < 0 ? -errno : e > 0 ? -EBUSY : 0;
}

static _Atomic uint32_t *refused_call;

static void refused(int number, siginfo_t *info, void *context)
{
    (void)context;
    if (info->si_code == SYS_SECCOMP)
        atomic_store(refused_call, (uint32_t)info->si_syscall + 1);
    // Blocked until this returns; then it is what it would have been without us.
    signal(number, SIG_DFL);
    raise(number);
}

int pl_lockdown_report(_Atomic uint32_t *ret)
{
    struct sigaction action = { .sa_sigaction = refused, .sa_flags = SA_SIGINFO };
    sigemptyset(&action.sa_mask);
    refused_call = ret;
    return sigaction(SIGSYS, &action, NULL) < 0 ? -errno : 0;
}

// ---- all of it

bool pl_lockdown_alone(void)
{
    unsigned threads = pl_process_threads();
    // Where there is no /proc: it changes nothing, and fails when there are others.
    return threads == 1 || (threads == 0 && unshare(CLONE_THREAD) == 0);
}

int pl_lockdown_enter(const struct pl_lockdown *l, struct pl_lock_failure *failure)
{
    int e = 0;
    failure->lock = PL_LOCK_USERS; // first: it brings the rights that the network needs
    if (l->layers & PLAIT_LAYER_USERS)
        e = enter_namespace(CLONE_NEWUSER);
    if (e == 0 && l->layers & PLAIT_LAYER_NETWORK) {
        failure->lock = PL_LOCK_NETWORK;
        e = enter_namespace(CLONE_NEWNET | CLONE_NEWIPC);
    }
    if (e == 0) {
        failure->lock = PL_LOCK_PRIVILEGES_KEPT;
        e = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
    }
    if (e == 0 && l->layers & PLAIT_LAYER_FILES) {
        failure->lock = PL_LOCK_FILES;
        e = enter_landlock(l, failure);
    }
    if (e == 0 && l->layers & PLAIT_LAYER_PRIVILEGES) {
        failure->lock = PL_LOCK_PRIVILEGES;
        e = drop_capabilities();
    }
    return e;
}

const char *pl_lock_text(enum pl_locking lock)
{
    static const char *const texts[] = {
        [PL_LOCK_NONE] = "nothing fails",
        [PL_LOCK_THREADS] = "the program starts threads before main(), which cannot be locked in",
        [PL_LOCK_PRIVILEGES_KEPT] = "the kernel refuses PR_SET_NO_NEW_PRIVS",
        [PL_LOCK_USERS] = "the kernel refuses a user namespace",
        [PL_LOCK_NETWORK] = "the kernel refuses a network namespace",
        [PL_LOCK_FILES] = "the kernel has no Landlock, or it is switched off",
        [PL_LOCK_READABLE] = "what is to be readable cannot be opened",
        [PL_LOCK_PRIVILEGES] = "the kernel refuses to drop capabilities",
        [PL_LOCK_FILTER] = "the kernel refuses the filter of system calls",
        [PL_LOCK_DESCRIPTORS] = "the descriptors of the program cannot be closed",
        [PL_LOCK_TRIED] = "no child can be started to try it",
    };
    return (unsigned)lock < sizeof texts / sizeof *texts ? texts[lock] : "it says nonsense";
}
