// SPDX-License-Identifier: MIT
// thread.c - threads of the library: named, and invisible to the program's signals.
#include "os/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/bug.h"
#include "os/clock.h"
#include "os/fault.h"
#include "os/file.h"

static void signals_to_block(sigset_t *set)
{
    static const int open[] = {
        SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT, SIGPROF
    };
    sigfillset(set);
    for (size_t i = 0; i < sizeof open / sizeof *open; i++)
        sigdelset(set, open[i]);
}

int pl_thread_start(pthread_t *thread, const char *name, size_t stack_bytes, void *(*run)(void *),
                    void *arg)
{
    int err = -pl_fault(PL_FAULT_SYSCALL);
    if (err)
        return -err;
    pthread_attr_t attr;
    err = pthread_attr_init(&attr);
    if (err)
        return -err;
    if (stack_bytes)
        err = pthread_attr_setstacksize(&attr, stack_bytes);
    if (!err) {
        // A thread inherits the mask of its creator: block before, so that no signal finds it
        // unprotected, and restore after.
        sigset_t blocked, before;
        signals_to_block(&blocked);
        PL_ASSERT(pthread_sigmask(SIG_SETMASK, &blocked, &before) == 0);
        err = pthread_create(thread, &attr, run, arg);
        PL_ASSERT(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    }
    pthread_attr_destroy(&attr);
    if (err)
        return -err;
    char short_name[16];
    snprintf(short_name, sizeof short_name, "%s", name);
    // Only for people who look at ps and gdb; a thread that has already ended has no name to set.
    (void)pthread_setname_np(*thread, short_name);
    return 0;
}

void pl_thread_join(pthread_t thread)
{
    int err = pthread_join(thread, NULL);
    if (err)
        PL_BUG("a thread is joined twice or by itself (error %d)", err);
}

void pl_thread_detach(pthread_t thread)
{
    PL_ASSERT(pthread_detach(thread) == 0);
}

static pthread_key_t exit_key;
static int exit_key_error;
static void (*exit_fn)(void *unused);

static void run_exit_fn(void *mark)
{
    (void)mark;
    exit_fn(NULL);
}

static void make_exit_key(void)
{
    exit_key_error = pthread_key_create(&exit_key, run_exit_fn);
}

int pl_thread_at_exit(void (*fn)(void *unused))
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    __atomic_store_n(&exit_fn, fn, __ATOMIC_RELAXED); // the same each time
    pthread_once(&once, make_exit_key);
    // Any value but NULL: the destructor of a key without a value is not called.
    return exit_key_error ? -exit_key_error : -pthread_setspecific(exit_key, &exit_key);
}

int pl_thread_id(void)
{
    return (int)syscall(SYS_gettid);
}

int64_t pl_thread_cpu(void)
{
    return pl_thread_clock_read(CLOCK_THREAD_CPUTIME_ID);
}

int pl_thread_clock(pthread_t thread, clockid_t *clock)
{
    return -pthread_getcpuclockid(thread, clock);
}

int64_t pl_thread_clock_read(clockid_t clock)
{
    struct timespec t;
    if (clock_gettime(clock, &t) < 0)
        return -errno;
    return t.tv_sec * PL_SECOND + t.tv_nsec;
}

// What the kernel says about a thread of this process, from its state on; "" when it has ended.
struct stat_line {
    char text[128];
};

static const char *read_stat(int id, struct stat_line *line)
{
    char path[48];
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", id);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return "";
    ssize_t n = read(fd, line->text, sizeof line->text - 1);
    close(fd);
    line->text[n > 0 ? n : 0] = 0;
    // "id (name) state ...": a name may hold anything
    const char *name_end = strrchr(line->text, ')');
    return name_end && name_end[1] == ' ' ? name_end + 2 : "";
}

bool pl_thread_is_runnable(int id)
{
    struct stat_line line;
    return *read_stat(id, &line) == 'R';
}

// The flags of a task in the kernel's include/linux/sched.h.
#define PF_IO_WORKER 0x10u

// Whether the thread is one of io_uring's, in which the kernel runs operations that would block.
static bool is_of_io_uring(int id)
{
    struct stat_line line;
    unsigned flags;
    // state, parent, group, session, terminal, its group, flags
    return sscanf(read_stat(id, &line), "%*c %*d %*d %*d %*d %*d %u", &flags) == 1 &&
           (flags & PF_IO_WORKER) != 0;
}

// How many directories there are, beside `.` and `..`; 0 when it cannot be told.
static unsigned directories_in(const char *path)
{
    struct stat s;
    return stat(path, &s) == 0 && s.st_nlink > 2 ? (unsigned)s.st_nlink - 2 : 0;
}

unsigned pl_thread_count(void)
{
    static const char tasks[] = "/proc/self/task";
    const unsigned before = directories_in(tasks);
    unsigned all = 0, not_ours = 0;
    _Alignas(16) char entries[2048];
    int bytes, fd = pl_dir_open(AT_FDCWD, tasks, true);
    if (fd < 0)
        return 0;
    while ((bytes = pl_dir_read(fd, entries, sizeof entries)) > 0)
        for (size_t at = 0; at < (size_t)bytes;) {
            struct pl_dir_entry entry;
            pl_dir_take(entries, &at, &entry);
            int id = atoi(entry.name); // 0: `.` and `..`
            all += id > 0;
            not_ours += id > 0 && is_of_io_uring(id);
        }
    close(fd);
    return all == before && all == directories_in(tasks) ? all - not_ours : 0;
}

void pl_thread_yield(void)
{
    sched_yield();
}
