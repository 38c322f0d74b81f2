// SPDX-License-Identifier: MIT
// What a sandboxed task must not do, tried one by one from inside: each must fail, or end the
// worker with a record that names the system call. On every start method, and in a worker that
// takes the place of a dead one.
#include "sandbox/box.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

// ---- attempts: the errno, or 0: it could be done. None does harm where it can.

struct target {
    int which;
    int victim;   // another worker
    void *memory; // there
    int port;     // where the program listens
};

static int code(long result)
{
    return result < 0 ? errno : 0;
}

#define ATTEMPT(name, expr)                                                                        \
    static int name(const struct target *t)                                                        \
    {                                                                                              \
        (void)t;                                                                                   \
        return code((long)(expr));                                                                 \
    }

ATTEMPT(read_a_file, open("/etc/passwd", O_RDONLY))
ATTEMPT(read_a_file_at, syscall(SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY))
ATTEMPT(write_a_file, open("/tmp/plait-sandbox", O_WRONLY | O_CREAT, 0600))
ATTEMPT(truncate_by_open, open("/tmp/plait-sandbox", O_RDONLY | O_TRUNC))
ATTEMPT(nameless_file, open("/tmp", O_RDWR | O_TMPFILE, 0600))
ATTEMPT(read_memory_of_parent, open("/proc/1/mem", O_RDONLY))
ATTEMPT(look_for_a_file, access("/etc/passwd", F_OK))
ATTEMPT(shared_memory_by_name, shm_open("/plait-sandbox", O_RDWR | O_CREAT, 0600))
ATTEMPT(unlink_a_file, unlink("/tmp/plait-sandbox"))
ATTEMPT(rename_a_file, rename("/tmp/plait-sandbox", "/tmp/plait-sandbox-2"))
ATTEMPT(make_a_directory, mkdir("/tmp/plait-sandbox-directory", 0700))
ATTEMPT(make_a_link, symlink("/etc/passwd", "/tmp/plait-sandbox-link"))
ATTEMPT(change_a_mode, chmod("/tmp/plait-sandbox", 0777))
ATTEMPT(truncate_a_file, truncate("/tmp/plait-sandbox", 0))
ATTEMPT(shorten_stdout, ftruncate(1, 0))
ATTEMPT(own_terminal, syscall(SYS_ioctl, 0, 0x5412 /* TIOCSTI */, "x"))
ATTEMPT(make_it_block, fcntl(0, F_SETFL, O_RDWR))
ATTEMPT(make_it_block_by_ioctl, ioctl(0, FIONBIO, &(int){ 0 }))
ATTEMPT(make_it_signal, fcntl(0, F_SETFL, O_RDWR | O_NONBLOCK | O_ASYNC))
ATTEMPT(internet_socket, socket(AF_INET, SOCK_STREAM, 0))
ATTEMPT(local_socket, socket(AF_UNIX, SOCK_DGRAM, 0))
ATTEMPT(kernel_socket, socket(AF_NETLINK, SOCK_RAW, 0))
ATTEMPT(pair_of_sockets, syscall(SYS_socketpair, AF_UNIX, SOCK_DGRAM, 0, (int[2]){ 0 }))
ATTEMPT(bind_a_socket, bind(0, &(struct sockaddr){ .sa_family = AF_INET }, 16))
ATTEMPT(by_clone3, syscall(SYS_clone3, (uint64_t[11]){ [4] = SIGCHLD }, 88))
ATTEMPT(a_program, execve("/bin/true", (char *[]){ "true", NULL }, NULL))
ATTEMPT(signal_parent, kill(getppid(), 0))
ATTEMPT(signal_everybody, kill(-1, 0))
ATTEMPT(signal_victim, kill(t->victim, 0))
ATTEMPT(signal_a_thread, syscall(SYS_tgkill, t->victim, t->victim, 0))
ATTEMPT(open_a_process, syscall(SYS_pidfd_open, getppid(), 0))
ATTEMPT(trace_parent, ptrace(PTRACE_SEIZE, getppid(), 0, 0))
ATTEMPT(be_traced, ptrace(PTRACE_TRACEME, 0, 0, 0))
ATTEMPT(a_ring, syscall(SYS_io_uring_setup, 8, (char[256]){ 0 }))
ATTEMPT(a_mount, mount("none", "/tmp/plait-sandbox", "tmpfs", 0, NULL))
ATTEMPT(another_root, chroot("/tmp"))
ATTEMPT(a_namespace, unshare(CLONE_NEWUSER))
ATTEMPT(be_root, syscall(SYS_setuid, 0))
ATTEMPT(other_groups, syscall(SYS_setgroups, 0, NULL))
ATTEMPT(be_traceable, prctl(PR_SET_DUMPABLE, 1))
ATTEMPT(outlive_parent, prctl(PR_SET_PDEATHSIG, 0))
ATTEMPT(berkeley_filter, syscall(SYS_bpf, 0, (char[128]){ 0 }, 128))
ATTEMPT(performance, syscall(SYS_perf_event_open, (char[128]){ 0 }, 0, -1, -1, 0))
ATTEMPT(page_faults, syscall(SYS_userfaultfd, 0))
ATTEMPT(a_key, syscall(SYS_keyctl, 0, -3, 1))
ATTEMPT(shared_segment, shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600))
ATTEMPT(more_files, setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 64, 64 }))
ATTEMPT(be_first, setpriority(PRIO_PROCESS, getppid(), 1))
ATTEMPT(other_cpus,
        sched_setaffinity(getppid(), sizeof(cpu_set_t), &(cpu_set_t){ .__bits = { 1 } }))
ATTEMPT(younger_than_libseccomp, syscall(1999))

static int fork_by(long number, unsigned long flags)
{
    long pid = syscall(number, flags, 0, 0, 0, 0);
    if (pid == 0)
        _exit(0);
    return code(pid);
}

static int a_process(const struct target *t)
{
    (void)t;
    return fork_by(SYS_clone, SIGCHLD);
}

static int a_hidden_process(const struct target *t)
{
    (void)t;
    return fork_by(SYS_clone, SIGCHLD | CLONE_NEWUSER);
}

static int other_memory(const struct target *t)
{
    char byte = 1;
    struct iovec from = { &byte, 1 }, to = { t->memory, 1 };
    return code(process_vm_writev(t->victim, &from, 1, &to, 1, 0));
}

static int program_in_memory(const struct target *t)
{
    (void)t;
    int fd = memfd_create("program", 0);
    char *none[] = { NULL };
    return fd < 0 ? EINVAL : code(syscall(SYS_execveat, fd, "", none, none, AT_EMPTY_PATH));
}

static int executable_memory(const struct target *t)
{
    (void)t;
    void *at = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return at == MAP_FAILED ? errno : 0;
}

static int memory_made_executable(const struct target *t)
{
    (void)t;
    void *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return at == MAP_FAILED ? EINVAL : code(mprotect(at, 4096, PROT_READ | PROT_EXEC));
}

static int rights(const struct target *t)
{
    (void)t;
    struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct all[2] = { { 1, 1, 0 }, { 0, 0, 0 } };
    return code(syscall(SYS_capset, &head, all));
}

// `call`: what the record names where it ends the worker; NULL: it fails, with `error`.
static const struct attempt {
    const char *name;
    int (*try)(const struct target *t);
    int error;
    const char *call;
} attempts[] = {
#define A(fn, error, call)                                                                         \
    {                                                                                              \
#fn, fn, error, call                                                                       \
    }
    A(read_a_file, EACCES, NULL),
    A(read_a_file_at, EACCES, NULL),
    A(write_a_file, EACCES, NULL),
    A(truncate_by_open, EACCES, NULL),
    A(nameless_file, EACCES, NULL),
    A(read_memory_of_parent, EACCES, NULL),
    A(look_for_a_file, EACCES, NULL),
    A(shared_memory_by_name, EACCES, NULL),
    A(unlink_a_file, EPERM, "unlink"),
    A(rename_a_file, EPERM, "rename"),
    A(make_a_directory, EPERM, "mkdir"),
    A(make_a_link, EPERM, "symlink"),
    A(change_a_mode, EPERM, "chmod"),
    A(truncate_a_file, EPERM, "truncate"),
    A(shorten_stdout, EPERM, NULL),
    A(own_terminal, EPERM, NULL),
    A(make_it_block, EPERM, NULL),
    A(make_it_block_by_ioctl, EPERM, NULL),
    A(make_it_signal, EPERM, NULL),
    A(internet_socket, EPERM, "socket"),
    A(local_socket, EPERM, "socket"),
    A(kernel_socket, EPERM, "socket"),
    A(pair_of_sockets, EPERM, "socketpair"),
    A(bind_a_socket, EPERM, "bind"),
    A(a_process, EPERM, "clone"),
    A(a_hidden_process, EPERM, "clone"),
    A(by_clone3, ENOSYS, NULL),
    A(a_program, EPERM, "execve"),
    A(program_in_memory, EPERM, "execveat"),
    A(signal_parent, EPERM, "kill"),
    A(signal_everybody, EPERM, "kill"),
    A(signal_victim, EPERM, "kill"),
    A(signal_a_thread, EPERM, "tgkill"),
    A(open_a_process, EPERM, "pidfd_open"),
    A(trace_parent, EPERM, "ptrace"),
    A(be_traced, EPERM, "ptrace"),
    A(other_memory, EPERM, "process_vm_writev"),
    A(a_ring, ENOSYS, NULL),
    A(a_mount, EPERM, "mount"),
    A(another_root, EPERM, "chroot"),
    A(a_namespace, EPERM, "unshare"),
    A(be_root, EPERM, "setuid"),
    A(other_groups, EPERM, "setgroups"),
    A(rights, EPERM, "capset"),
    A(be_traceable, EPERM, NULL),
    A(outlive_parent, EPERM, NULL),
    A(berkeley_filter, EPERM, "bpf"),
    A(performance, EPERM, "perf_event_open"),
    A(page_faults, EPERM, "userfaultfd"),
    A(a_key, EPERM, "keyctl"),
    A(shared_segment, EPERM, "shmget"),
    A(executable_memory, EACCES, NULL),
    A(memory_made_executable, EACCES, NULL),
    A(more_files, EPERM, NULL),
    A(be_first, EPERM, NULL),
    A(other_cpus, EPERM, NULL),
    A(younger_than_libseccomp, ENOSYS, NULL),
};
enum { ATTEMPTS = sizeof attempts / sizeof *attempts };

static int attempt(const struct target *in, int *out)
{
    *out = attempts[in->which].try(in);
    return 0;
}
PLAIT_TASK(attempt, struct target, int);

static char precious = 42;

struct place {
    int pid;
    void *at;
    char holds;
};

static int place(const void *in, struct place *out)
{
    (void)in;
    *out = (struct place){ getpid(), &precious, precious };
    return 0;
}
PLAIT_TASK(place, void, struct place);

// ---- tried

static struct place place_in(plait_executor *ex)
{
    plait_future *f;
    struct place p;
    CHECK_INT(plait_submit(ex, &f, place, { 0 }), ==, 0);
    CHECK_INT(plait_result(f, &p), ==, 0);
    plait_free(f);
    return p;
}

static void dies_of(plait_future *f, const struct attempt *a, int pid)
{
    char says[64];
    const struct plait_error *error = plait_error(f);
    CHECK_INT(error->signal, ==, SIGSYS);
    CHECK_INT(error->pid, ==, pid);
    // The C library may take another call of the family: renameat for rename.
    snprintf(says, sizeof says, "the system call `%s", a->call);
    if (!strstr(error->message, says))
        FAIL("%s: `%s` does not say `%s`", a->name, error->message, says);
}

static void try_all(enum plait_start_method how, enum plait_sandbox_answer answer)
{
    // An executor of its own for the victim, which is as locked in.
    plait_executor *ex = open_with(BOX(.answer = answer), PLAIT_WORKER(.start = how));
    plait_executor *other = how == PLAIT_START_FORK ? NULL : open_with(BOX(0), PLAIT_WORKER(0));
    struct place victim = other ? place_in(other) : (struct place){ getpid(), &precious, 0 };
    for (int i = 0; i < ATTEMPTS; i++) {
        const struct attempt *a = &attempts[i];
        const bool dies = answer == PLAIT_SANDBOX_KILL && a->call;
        struct target t = { .which = i, .victim = victim.pid, .memory = victim.at };
        int pid = place_in(ex).pid, got = -1;
        plait_future *f;
        CHECK_INT(plait_submit_task(ex, &f, &PLAIT_TASK_OF(attempt), &t, NULL), ==, 0);
        int e = plait_result(f, &got);
        if (e != (dies ? -EOWNERDEAD : 0) || (e == 0 && got != a->error))
            FAIL("%s: %d, and errno %d instead of %d", a->name, e, got, dies ? 0 : a->error);
        if (dies)
            dies_of(f, a, pid);
        else
            CHECK_INT(place_in(ex).pid, ==, pid);
        plait_free(f);
    }
    CHECK_INT(precious, ==, 42);
    if (other)
        CHECK_INT(place_in(other).holds, ==, 42);
    plait_close(other);
    plait_close(ex);
    CHECK_INT(count_children(), ==, 0);
    CHECK(access("/tmp/plait-sandbox", F_OK) < 0);
}

#if defined(__x86_64__)
// The same kernel by the numbers of a 32-bit program, which mean other calls: 20 is getpid() there,
// and writev() here.
static int by_other_numbers(const void *in, int *out)
{
    long n = 20;
    (void)in;
    __asm__ volatile("int $0x80" : "+a"(n) : : "memory", "r8", "r9", "r10", "r11");
    *out = (int)n;
    return 0;
}
PLAIT_TASK(by_other_numbers, void, int);

TEST(numbers_of_another_machine_end_a_worker)
{
    plait_executor *ex = open_with(BOX(.answer = PLAIT_SANDBOX_REFUSE), PLAIT_WORKER(0));
    plait_future *f;
    CHECK_INT(plait_submit(ex, &f, by_other_numbers, { 0 }), ==, 0);
    CHECK_INT(plait_result(f, NULL), ==, -EOWNERDEAD);
    int signal = plait_error(f)->signal; // SIGSEGV: a kernel that knows no 32-bit programs
    if (signal != SIGSYS && signal != SIGSEGV)
        FAIL("%s", plait_error(f)->message);
    plait_free(f);
    plait_close(ex);
}
#endif

TEST(everything_ends_a_worker)
{
    try_all(PLAIT_START_ZYGOTE, PLAIT_SANDBOX_KILL);
}
TEST(everything_fails)
{
    try_all(PLAIT_START_ZYGOTE, PLAIT_SANDBOX_REFUSE);
}
TEST(everything_ends_a_spawned_worker)
{
    try_all(PLAIT_START_SPAWN, PLAIT_SANDBOX_KILL);
}
TEST(everything_fails_in_a_spawned_worker)
{
    try_all(PLAIT_START_SPAWN, PLAIT_SANDBOX_REFUSE);
}
TEST(everything_ends_a_forked_worker)
{
    try_all(PLAIT_START_FORK, PLAIT_SANDBOX_KILL);
}
TEST(everything_fails_in_a_forked_worker)
{
    try_all(PLAIT_START_FORK, PLAIT_SANDBOX_REFUSE);
}
