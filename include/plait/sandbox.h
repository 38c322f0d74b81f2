// SPDX-License-Identifier: MIT
// Sandboxes: worker processes for tasks that handle what nobody trusts, such as files of strangers
// in the libraries that decode them. By libseccomp and the kernel. A library of its own: link with
// -lplait-sandbox, and include this header by name.
//
//     const struct plait_confinement *box;
//     plait_executor *ex;
//     plait_sandbox_new(&box);                     // nothing but computing
//     plait_open(&ex, PLAIT_PROCESSES, .worker = PLAIT_WORKER(.confinement = box));
//     plait_sandbox_free(box);                     // the executor has a copy
//
// A task has its argument, its memory, its threads, its clocks, what is open, and every call of
// plait that needs no more. It cannot
//   - open, make, change or remove a file (.files and .readable allow reading)
//   - make a socket; the worker has no network and no System V IPC in common with others
//   - start a process or a program, signal, trace or read another process
//   - gain a right: no set-user-id, no capability, no namespace, no mount, no io_uring, no BPF
//   - make memory executable
// A system call of which no honest decoder has need (a socket, a fork, an exec, a removed file, a
// signal to somebody) ends the worker by SIGSYS: the task fails with -EOWNERDEAD, its record names
// the call, and another worker takes the place. Other calls fail: with -EACCES where a file would
// be opened, -ENOSYS for those that are younger than libseccomp, -EPERM.
//
// All of that, or nothing: where the kernel cannot give a part, plait_open() fails and says which.
// The options below go without a part on purpose. Limits of memory, time and descriptors are in
// struct plait_worker_options.
//
// A worker has the program's environment (plait_worker_options.environment changes it), and with
// PLAIT_START_FORK a copy of its memory.
//
// The initializer runs in all of it but the filter: it may read (what .readable names, where that
// is given), not write, and has no network. What it opens stays open. The finalizer has no more
// than a task.
//
// What it does not do: a task may use any CPU time and memory unless they are limited, return a
// wrong result, and with .shared_heap read and write what the program keeps there, and stop the
// program by ruining the heap's own books, or worse. A limit of memory counts what is mapped: not
// what is written into a file of memfd_create(), and no threads; a control group counts those. With
// .files it sees the names and sizes of files that it may not read; without, those of files whose
// path it knows. It can write to the program's stdout and stderr, read its stdin, and make them
// non-blocking: give the program others where that matters. A kernel bug in what is left of the
// system calls is not kept away.
//
// Everything here works in tasks of every executor and on plain threads, but not in a sandbox.
#ifndef PLAIT_SANDBOX_H
#define PLAIT_SANDBOX_H

#include <plait/executor.h>
#include <plait/task.h>

/* Which files a task may open. */
enum plait_sandbox_files {
    PLAIT_SANDBOX_FILES_NONE = 0, /* none */
    PLAIT_SANDBOX_FILES_READ = 1, /* for reading: those that the program may read */
};

/* What becomes of a task that makes a system call of which it has no need. */
enum plait_sandbox_answer {
    PLAIT_SANDBOX_KILL = 0,   /* its worker ends by SIGSYS */
    PLAIT_SANDBOX_REFUSE = 1, /* the call fails with -EPERM, and the task goes on; calls of another
                                 machine (i386, x32) end it all the same */
};

/* Zero is the strictest everywhere. */
struct plait_sandbox_options {
    size_t size; /* sizeof(struct plait_sandbox_options): set by plait_sandbox_new() */
    enum plait_sandbox_files files;
    const char *const *readable; /* NULL-terminated absolute paths: files, and directories with all
                                    below; _FILES_READ, of these alone. Copied */
    const char *const *calls;    /* NULL-terminated names of system calls that are allowed too, as
                                    "flock": each is a hole. Copied */
    enum plait_sandbox_answer answer;
    bool network;           /* may use the program's network */
    bool executable_memory; /* may make memory executable, as just-in-time compilers do */
    bool no_namespaces;     /* without a user and a network namespace, where a container or the
                               administrator refuses them: the filter alone refuses sockets */
    bool no_landlock;       /* without Landlock: the filter alone refuses to open, or to open for
                               writing. Not with .readable. With .files and .no_namespaces a task
                               can read the memory of every process of the same user, by /proc */
    bool shared_heap;       /* has its part in the shared heap: the program trusts such a worker */
};

PLAIT_BEGIN

/* Makes a sandbox, for any number of executors. 0, or why not, with a sentence in
 * plait_sandbox_last_error():
 * -EINVAL  an option out of range, a path that is not absolute, .readable with .no_landlock
 * -ENOENT  no such system call: of .calls
 * -ENOMEM, -EMFILE
 * Whether the kernel can give it is seen by plait_open(). Never suspends. */
PLAIT_API int plait_sandbox_new_with(const struct plait_confinement **ret,
                                     const struct plait_sandbox_options *options);

/* Executors that are open keep what they need. NULL is allowed. Never suspends. */
PLAIT_API void plait_sandbox_free(const struct plait_confinement *box);

/* Why the last plait_sandbox_new() of this thread failed: a sentence, or "". On a fiber to be asked
 * at once, before anything that may suspend. */
PLAIT_API const char *plait_sandbox_last_error(void);

PLAIT_END

#define PLAIT_SANDBOX_OPTIONS_(...)                                                                \
    (const struct plait_sandbox_options *)PLAIT_LITERAL_(                                          \
        struct plait_sandbox_options,                                                              \
        { .size = sizeof(struct plait_sandbox_options), __VA_ARGS__ })

/* plait_sandbox_new(&box), plait_sandbox_new(&box, .files = PLAIT_SANDBOX_FILES_READ) */
#define plait_sandbox_new(...) PLAIT_SANDBOX_NEW_(__VA_ARGS__, )
#define PLAIT_SANDBOX_NEW_(ret, ...)                                                               \
    plait_sandbox_new_with((ret), PLAIT_SANDBOX_OPTIONS_(__VA_ARGS__))

#endif
