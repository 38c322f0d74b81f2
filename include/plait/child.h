// SPDX-License-Identifier: MIT
// Child processes: other programs, started, fed, listened to, waited for and ended.
//
//     struct plait_child_output o;
//     int e = plait_child_run(&o, (char *[]){ "sort", "-n", NULL }, .input = { "2\n1\n", 4 },
//                             .deadline = plait_after(5 * PLAIT_SECOND));
//     if (e == 0 && o.exit.status == 0)
//         fwrite(o.out.data, 1, o.out.bytes, stdout);
//     plait_child_output_done(&o);
//
// Everything here works in tasks of every executor and on plain threads: waiting suspends a fiber
// and blocks a thread. A child leads a process group of its own, so that what it starts is ended
// with it. The library installs no SIGCHLD handler and waits for no process but those that it was
// asked to start; a program that ignores SIGCHLD or waits for any child loses the exit status
// (-ECHILD). Calls that do not say that they suspend never suspend.
#ifndef PLAIT_CHILD_H
#define PLAIT_CHILD_H

#include <plait/task.h>

/* A child that was started; the caller's to plait_child_free(). */
typedef struct plait_child plait_child;

/* What .in, .out and .err may be; a number above 0 is a descriptor that stays the caller's. */
enum {
    PLAIT_CHILD_INHERIT = 0, /* the parent's own */
    PLAIT_CHILD_NULL = -1,   /* nothing to read; what is written is lost */
    PLAIT_CHILD_PIPE = -2,   /* a pipe to the parent: plait_child_pipe() */
    PLAIT_CHILD_AS_OUT = -3, /* .err: the same as .out */
};

/* Zero means default everywhere. Nothing of it is copied: it need not outlive the call, but for
 * .input between plait_child_spawn() and plait_child_communicate(). */
struct plait_child_options {
    size_t size;              /* sizeof(struct plait_child_options) */
    char *const *argv;        /* the program and its words, ends with NULL */
    int in, out, err;         /* in plait_child_run() 0 means a pipe (in: with .input only) */
    char *const *env;         /* "NAME=value", ends with NULL; default: the parent's */
    const char *directory;    /* its working directory; default: the parent's */
    uint64_t descriptors;     /* its soft limit of descriptors; default: the parent's */
    uint64_t memory_bytes;    /* what it may map, its RLIMIT_AS; default: the parent's */
    int64_t grace_ns;         /* from SIGTERM to SIGKILL; default 500 ms; below 0: none */
    bool same_group;          /* stays in the parent's process group: only itself is signalled */
    bool tied;                /* the kernel kills it when the thread that starts it ends, also by
                                 force; plait_child_run() does it always */
    bool inherit_descriptors; /* those above 2 that are not close-on-exec stay open in it */

    /* plait_child_run() and plait_child_communicate() only */
    struct plait_span input; /* what it is fed */
    size_t output_max;       /* bytes that it may print, both together; default 64 MiB */
    bool cut_output;         /* what it prints beyond that is thrown away, and it goes on */
    int64_t deadline;        /* absolute; the scope's when that is earlier */
};

/* How a process ended and what it had used. */
struct plait_exit {
    int status;      /* with which it exited, or -1 */
    int signal;      /* that killed it, or 0 */
    bool core;       /* it left a core dump */
    int64_t cpu_ns;  /* CPU time, with that of the children it waited for */
    int64_t max_rss; /* peak resident bytes */
};

/* What a child has printed, and how it ended. */
struct plait_child_output {
    struct plait_exit exit;
    struct plait_buffer out, err;
    bool cut; /* there was more than .output_max */
};

PLAIT_BEGIN

/* Starts the program argv[0], which is looked for in the parent's PATH unless there is a slash in
 * it. Use plait_child_spawn(&c, argv, .out = PLAIT_CHILD_PIPE). Returns once it runs. No signal is
 * blocked in it; those that the parent ignores stay ignored, but SIGPIPE and SIGTERM are at their
 * default.
 * -ENOENT, -EACCES, -ENOTDIR, -ENOEXEC, -E2BIG, ...  the program or the directory, as execve() and
 *          chdir() say
 * -EINVAL  no program given, or an .in, .out or .err that there is not
 * -EBADF   a descriptor that is not open
 * -EAGAIN  no more processes, or threads, can be made; -EMFILE, -ENFILE, -ENOMEM
 * -ESRCH   .tied, and the parent has died
 * -ECHILD  it has run to its end, and somebody else has reaped it
 * -ECANCELED, -ETIMEDOUT  by the scope, before anything was started
 * Suspends a fiber, blocks a thread, for as long as the kernel takes to load the program. */
PLAIT_API int plait_child_spawn_with(plait_child **ret, const struct plait_child_options *options);

/* Frees the record and closes its pipes. A child that was not waited for is killed, with its group,
 * and reaped: also in a cancelled scope. NULL is allowed. Suspends a fiber, blocks a thread. */
PLAIT_API void plait_child_free(plait_child *c);

/* Its process id, which is its group's too. Never fails. */
PLAIT_API int plait_child_pid(const plait_child *c);

/* The parent's end of the pipe at the child's descriptor `which` (0, 1, 2), for plait_io_read() and
 * plait_io_write(). It stays the child's: closed with it, or by plait_child_close(), which lets a
 * program that reads its input see the end, and suspends a fiber, blocks a thread.
 * -EBADF: there is none, or it was closed. */
PLAIT_API int plait_child_pipe(const plait_child *c, int which);
PLAIT_API int plait_child_close(plait_child *c, int which);

/* Waits until it has ended, and reaps it; repeatable, from several tasks and threads. ret may be
 * NULL. It may still be told to what it has started: those are not waited for.
 * 0; -ECANCELED, -ETIMEDOUT by the scope: it goes on; -ECHILD: somebody else has reaped it.
 * Suspends a fiber, blocks a thread. */
PLAIT_API int plait_child_wait(plait_child *c, struct plait_exit *ret);

/* Sends a signal to its group (.same_group: to itself). Never suspends.
 * 0; -ESRCH: it was waited for; -EPERM; -EINVAL. */
PLAIT_API int plait_child_kill(plait_child *c, int signal);

/* Ends it: SIGTERM to its group, SIGKILL after the grace to what is left, and reaps it. Also in a
 * cancelled scope. Does nothing to one that was waited for.
 * 0; -ECHILD; -ETIMEDOUT: the kernel has not let it go 5 seconds after SIGKILL.
 * Suspends a fiber, blocks a thread. */
PLAIT_API int plait_child_end(plait_child *c, struct plait_exit *ret);

/* Feeds it .input, collects what it prints into pipes, until it has ended, and reaps it. Closes the
 * pipes. A child that does not read its input to the end is no error. What it has started and left
 * behind is neither waited for nor listened to.
 * When that fails the child is ended as by plait_child_end(); *ret holds what was collected until
 * then, and how it ended (.status -1 and .signal 0: not known). Give it back with
 * plait_child_output_done() in every case.
 * 0; -ECANCELED, -ETIMEDOUT; -EFBIG: more than .output_max; -ENOMEM; -EMFILE, -ENFILE; -ECHILD.
 * Suspends a fiber, blocks a thread. */
PLAIT_API int plait_child_communicate(plait_child *c, struct plait_child_output *ret);

/* Frees the buffers. Repeatable. */
PLAIT_API void plait_child_output_done(struct plait_child_output *o);

/* Runs a program to its end: spawn, communicate, free, with the errors of these. *ret is to be
 * given back in every case. Use plait_child_run(&o, argv, .input = { "x", 1 }).
 * Suspends a fiber, blocks a thread. */
PLAIT_API int plait_child_run_with(struct plait_child_output *ret,
                                   const struct plait_child_options *options);

PLAIT_END

#define PLAIT_CHILD_OPTIONS_(...)                                                                  \
    ((const struct plait_child_options *)PLAIT_LITERAL_(                                           \
        struct plait_child_options,                                                                \
        { .size = sizeof(struct plait_child_options), .argv = __VA_ARGS__ }))

/* plait_child_spawn(&c, argv, .out = PLAIT_CHILD_PIPE), plait_child_run(&o, argv): options by name,
 * as plait_child_spawn_with() and plait_child_run_with(). */
#define plait_child_spawn(ret, ...) plait_child_spawn_with((ret), PLAIT_CHILD_OPTIONS_(__VA_ARGS__))
#define plait_child_run(ret, ...)   plait_child_run_with((ret), PLAIT_CHILD_OPTIONS_(__VA_ARGS__))

#endif
