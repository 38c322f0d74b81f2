// SPDX-License-Identifier: MIT
// calls.c - the lists. A name that the machine or libseccomp does not know is passed over. See
// calls.h.
#include "sandbox/calls.h"

#include <asm/ioctls.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#endif

const char *const pl_calls_allowed[] = {
    // Memory; mmap and mprotect are below.
    "brk", "munmap", "mremap", "madvise", "mincore", "mlock", "munlock", "msync", "membarrier",
    "memfd_create",
    // Threads; clone is below.
    "futex", "futex_waitv", "set_robust_list", "get_robust_list", "rseq", "set_tid_address",
    "gettid", "sched_yield", "getcpu", "exit", "exit_group", "restart_syscall", "sched_getaffinity",
    "sched_getparam", "sched_getscheduler", "sched_get_priority_max", "sched_get_priority_min",
    // Time and chance.
    "clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "time",
    "times", "getrandom",
    // Who and where it is.
    "getpid", "getppid", "getuid", "geteuid", "getgid", "getegid", "getresuid", "getresgid",
    "getgroups", "getpgrp", "getpgid", "getsid", "getpriority", "getrlimit", "getrusage", "uname",
    "sysinfo", "getcwd", "umask",
    // Signals to itself; kill and tgkill are below.
    "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigpending", "rt_sigtimedwait",
    "rt_sigsuspend", "sigaltstack", "pause",
    // What is open; fcntl, ioctl and newfstatat are below.
    "read", "readv", "pread64", "preadv", "preadv2", "write", "writev", "pwrite64", "pwritev",
    "pwritev2", "lseek", "fstat", "fsync", "fdatasync", "fadvise64", "getdents", "getdents64",
    "close", "close_range", "dup", "dup2", "dup3", "poll", "ppoll", "select", "pselect6",
    "epoll_create", "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2",
    "eventfd", "eventfd2", "pipe", "pipe2", "timerfd_create", "timerfd_settime", "timerfd_gettime",
    "sendmsg", "sendto", "recvmsg", "recvfrom", "shutdown", "getsockopt", "getsockname",
    "getpeername", NULL
};

const char *const pl_calls_reading[] = { "stat",       "lstat",     "newfstatat", "statx",
                                         "access",     "faccessat", "faccessat2", "readlink",
                                         "readlinkat", "statfs",    "fstatfs",    NULL };

const char *const pl_calls_networking[] = { "socket",   "socketpair", "connect", "bind",
                                            "listen",   "accept",     "accept4", "setsockopt",
                                            "sendmmsg", "recvmmsg",   NULL };

// Opening is below where reading is allowed; so is what asks about an open descriptor.
const char *const pl_calls_by_name[] = { "open",       "openat",    "stat",       "lstat",
                                         "access",     "faccessat", "faccessat2", "readlink",
                                         "readlinkat", "statfs",    NULL };

const char *const pl_calls_missing[] = { "clone3",         "openat2",           "io_uring_setup",
                                         "io_uring_enter", "io_uring_register", NULL };

const char *const pl_calls_hostile[] = {
    // Other programs and processes.
    "execve", "execveat", "fork", "vfork", "ptrace", "process_vm_readv", "process_vm_writev",
    "process_madvise", "process_mrelease", "kcmp", "pidfd_open", "pidfd_getfd", "pidfd_send_signal",
    "tkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "shmget", "shmat", "shmctl", "msgget",
    "semget", "mq_open",
    // Files that would be changed.
    "creat", "unlink", "unlinkat", "rename", "renameat", "renameat2", "link", "linkat", "symlink",
    "symlinkat", "mkdir", "mkdirat", "rmdir", "mknod", "mknodat", "truncate", "chmod", "fchmod",
    "fchmodat", "fchmodat2", "chown", "fchown", "lchown", "fchownat", "utime", "utimes",
    "utimensat", "futimesat", "setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr",
    "fremovexattr", "name_to_handle_at", "open_by_handle_at",
    // Rights, and another view of the system.
    "setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setgroups", "setfsuid",
    "setfsgid", "capset", "mount", "umount2", "pivot_root", "chroot", "fsopen", "fsconfig",
    "fsmount", "fspick", "open_tree", "move_mount", "mount_setattr", "unshare", "setns",
    // The kernel itself.
    "bpf", "perf_event_open", "userfaultfd", "keyctl", "add_key", "request_key", "init_module",
    "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot", "swapon", "swapoff",
    "sethostname", "setdomainname", "settimeofday", "clock_settime", "clock_adjtime", "adjtimex",
    "acct", "quotactl", "iopl", "ioperm", "modify_ldt", "syslog", "vhangup", "fanotify_init", NULL
};

#define NEW_NAMESPACES                                                                             \
    (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID |  \
     CLONE_NEWNET)
#define THREAD (CLONE_VM | CLONE_SIGHAND | CLONE_THREAD)
#define ALL    PL_RULE_WHOLE

const struct pl_rule pl_rules_always[] = {
    { "clone", PL_RULE_ALLOW, false, 0, THREAD | NEW_NAMESPACES, THREAD },
    { "clone", PL_RULE_HOSTILE, false, 0, CLONE_THREAD, 0 },
    { "tgkill", PL_RULE_ALLOW, false, 0, ALL, PLAIT_CONFINEMENT_SELF },
    { "tgkill", PL_RULE_HOSTILE, true, 0, ALL, PLAIT_CONFINEMENT_SELF },
    { "kill", PL_RULE_ALLOW, false, 0, ALL, PLAIT_CONFINEMENT_SELF },
    { "kill", PL_RULE_HOSTILE, true, 0, ALL, PLAIT_CONFINEMENT_SELF },
    { "fcntl", PL_RULE_ALLOW, false, 1, ALL, F_DUPFD },
    { "fcntl", PL_RULE_ALLOW, false, 1, ALL, F_DUPFD_CLOEXEC },
    { "fcntl", PL_RULE_ALLOW, false, 1, ALL, F_GETFD },
    { "fcntl", PL_RULE_ALLOW, false, 1, ALL, F_SETFD },
    { "fcntl", PL_RULE_ALLOW, false, 1, ALL, F_GETFL },
    { "fcntl", PL_RULE_ALLOW, false, 1, ALL, F_ADD_SEALS },
    { "fcntl", PL_RULE_ALLOW, false, 1, ALL, F_GET_SEALS },
    { "fcntl", PL_RULE_ALLOW, false, 1, ALL, F_GETPIPE_SZ },
    { "ioctl", PL_RULE_ALLOW, false, 1, ALL, FIONREAD },
    { "ioctl", PL_RULE_ALLOW, false, 1, ALL, TCGETS },     // isatty()
    { "ioctl", PL_RULE_ALLOW, false, 1, ALL, TIOCGWINSZ }, // the width of a terminal
    { "prctl", PL_RULE_ALLOW, false, 0, ALL, PR_SET_NAME },
    { "prctl", PL_RULE_ALLOW, false, 0, ALL, PR_GET_NAME },
    { "prctl", PL_RULE_ALLOW, false, 0, ALL, PR_SET_VMA }, // names of mappings
    { "prlimit64", PL_RULE_ALLOW, false, 2, ALL, 0 },      // asks
    { NULL, PL_RULE_ALLOW, false, 0, 0, 0 },
};

const struct pl_rule pl_rules_reading[] = {
    { "open", PL_RULE_ALLOW, false, 1, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY },
    { "open", PL_RULE_NO_ACCESS, false, 1, O_CREAT, O_CREAT },
    { "open", PL_RULE_NO_ACCESS, false, 1, O_TRUNC, O_TRUNC },
    { "open", PL_RULE_NO_ACCESS, false, 1, O_WRONLY, O_WRONLY },
    { "open", PL_RULE_NO_ACCESS, false, 1, O_RDWR, O_RDWR },
    { "openat", PL_RULE_ALLOW, false, 2, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY },
    { "openat", PL_RULE_NO_ACCESS, false, 2, O_CREAT, O_CREAT },
    { "openat", PL_RULE_NO_ACCESS, false, 2, O_TRUNC, O_TRUNC },
    { "openat", PL_RULE_NO_ACCESS, false, 2, O_WRONLY, O_WRONLY },
    { "openat", PL_RULE_NO_ACCESS, false, 2, O_RDWR, O_RDWR },
    { NULL, PL_RULE_ALLOW, false, 0, 0, 0 },
};

// By these the C library asks about a descriptor, with an empty path.
const struct pl_rule pl_rules_not_reading[] = {
    { "newfstatat", PL_RULE_ALLOW, false, 3, AT_EMPTY_PATH, AT_EMPTY_PATH },
    { "newfstatat", PL_RULE_NO_ACCESS, false, 3, AT_EMPTY_PATH, 0 },
    { "statx", PL_RULE_ALLOW, false, 2, AT_EMPTY_PATH, AT_EMPTY_PATH },
    { "statx", PL_RULE_NO_ACCESS, false, 2, AT_EMPTY_PATH, 0 },
    { NULL, PL_RULE_ALLOW, false, 0, 0, 0 },
};

const struct pl_rule pl_rules_data_only[] = {
    { "mmap", PL_RULE_ALLOW, false, 2, PROT_EXEC, 0 },
    { "mmap", PL_RULE_NO_ACCESS, false, 2, PROT_EXEC, PROT_EXEC },
    { "mprotect", PL_RULE_ALLOW, false, 2, PROT_EXEC, 0 },
    { "mprotect", PL_RULE_NO_ACCESS, false, 2, PROT_EXEC, PROT_EXEC },
    { NULL, PL_RULE_ALLOW, false, 0, 0, 0 },
};
