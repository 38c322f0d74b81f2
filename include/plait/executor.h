// SPDX-License-Identifier: MIT
// Executors: where tasks run.
//
//     plait_executor *ex;
//     int e = plait_open(&ex, PLAIT_THREADS, .workers = 4);
//     ...
//     plait_close(ex);
//
// | kind            | runs on                              | parallel | a running task is killed |
// |-----------------|--------------------------------------|----------|--------------------------|
// | PLAIT_FIBERS    | one event-loop thread                | no       | no: ends at a plait call |
// | PLAIT_THREADS   | a worker a core, stealing            | yes      | no: ends at a plait call |
// | PLAIT_PROCESSES | worker processes, each an event loop | yes      | yes                      |
//
// Calls that do not say otherwise never suspend, and work in tasks of every executor and on plain
// threads.
#ifndef PLAIT_EXECUTOR_H
#define PLAIT_EXECUTOR_H

#include <plait/base.h>

/* An open executor. Several threads and tasks may use it; plait_close() ends it. */
typedef struct plait_executor plait_executor;
struct plait_task;

/* How its tasks run. */
enum plait_kind {
    PLAIT_FIBERS = 1,
    PLAIT_THREADS = 2,
    PLAIT_PROCESSES = 3,
};

/* What a submit does when queue_limit tasks wait already. */
enum plait_when_full {
    PLAIT_FULL_WAIT = 0, /* wait for room: suspends a fiber, blocks a thread */
    PLAIT_FULL_FAIL = 1, /* fail with -EAGAIN */
};

/* What its event loops wait with. */
enum plait_io_backend {
    PLAIT_IO_AUTO = 0, /* io_uring, or epoll where the kernel refuses it; PLAIT_IO=epoll|uring */
    PLAIT_IO_URING = 1,
    PLAIT_IO_EPOLL = 2,
};

/* What the executor noticed and a person should know. */
enum plait_notice_kind {
    PLAIT_NOTICE_STALL = 1,   /* a task keeps an event loop from turning; others wait for it */
    PLAIT_NOTICE_WORKER_DIED, /* a worker process died while idle or at start */
    PLAIT_NOTICE_ACCEPT,      /* plait_net_serve() has no descriptor or memory for a connection */
    PLAIT_NOTICE_DEADLOCK,    /* tasks of this executor wait, and nothing is left that could wake
                                 them: the message lists who waits for what */
};

/* One notice. Its strings are valid during the call of .notice only. */
struct plait_notice {
    enum plait_notice_kind kind;
    const char *executor; /* its name */
    const char *task;     /* the task concerned, or NULL */
    int64_t ns;           /* for how long so far */
    const char *message;  /* a sentence */
};

/* How a worker process comes to be. */
enum plait_start_method {
    PLAIT_START_ZYGOTE = 0, /* forked from a clean process, which started as this program anew */
    PLAIT_START_SPAWN = 1,  /* each starts as this program anew */
    PLAIT_START_FORK = 2,   /* forked from the program as it was when the executor opened, with all
                               its memory and descriptors; only while the program has a single
                               thread. Should the copy die that forks them, the executor is over */
};

/* Whose disk I/O is served first; see ioprio_set(2). */
enum plait_io_class {
    PLAIT_IO_CLASS_INHERITED = 0, /* as the program's */
    PLAIT_IO_CLASS_REALTIME = 1,
    PLAIT_IO_CLASS_BEST_EFFORT = 2,
    PLAIT_IO_CLASS_IDLE = 3,
};

/* What a worker process is locked in by, beside the filter of its system calls; ored. */
enum plait_layer {
    PLAIT_LAYER_USERS = 1,      /* a user namespace of its own: it is nobody, with no rights */
    PLAIT_LAYER_NETWORK = 2,    /* a network without devices, and no System V IPC in common */
    PLAIT_LAYER_FILES = 4,      /* Landlock: no file is opened for writing, made or removed, and
                                   those alone are read that .readable names. Only from Linux 6.12
                                   on also: no signal to a process outside */
    PLAIT_LAYER_PRIVILEGES = 8, /* no capability, and none to be had again */
};

/* How worker processes that handle what nobody trusts are locked in. plait_sandbox_new() of
 * plait/sandbox.h makes one. Copied at the open, but for call_name. Layers stand before the worker
 * starts a thread or the initializer runs, and a worker that has threads even before does not
 * start; the filter stands from the end of the initializer on, for all threads. Nothing that the
 * program had open stays open but stdin, stdout and stderr, and PR_SET_NO_NEW_PRIVS is set. Event
 * loops use epoll: io_uring passes by every filter. */
struct plait_confinement {
    size_t size;                 /* sizeof(struct plait_confinement) */
    unsigned layers;             /* of enum plait_layer */
    const void *filter;          /* struct sock_filter[], as seccomp(2) takes it; required. A call
                                    that it traps ends the worker, whose record then names it */
    size_t filter_bytes;         /* all of it */
    const char *const *readable; /* NULL-terminated: files and directories; with
                                    PLAIT_LAYER_FILES; default: everything */
    bool no_shared_heap;         /* the worker does not have the shared heap */
    const char *(*call_name)(int number); /* of a system call, for messages; may be NULL */
};

/* In a filter, compared by BPF_JEQ: the pid of the worker. */
#define PLAIT_CONFINEMENT_SELF 0x70696473u

/* PLAIT_PROCESSES: what each worker process is and may use. Zero means default, or no limit. A
 * worker of which one of these cannot be had does not start: a failed start, see starts_max. */
struct plait_worker_options {
    size_t size; /* sizeof(struct plait_worker_options): set by PLAIT_WORKER() */
    enum plait_start_method start;

    const struct plait_task *initializer; /* &PLAIT_TASK_OF(fn): run in each worker before its first
                                             task. Not 0: a failed start. Not a task of bytes or
                                             descriptors */
    const void *initializer_in;           /* its argument, copied at the open */
    const struct plait_task *finalizer;   /* of PLAIT_TASK(fn, void, ...): run in a worker that is
                                             not killed, after its last task; within grace_ns */

    uint64_t tasks_max;          /* a worker that ran so many is replaced: it takes no more, and
                                    ends with what runs beside. With tasks_per_worker above 1 its
                                    replacement starts at once; of those that a long task keeps
                                    from ending, as many as there are workers are replaced so */
    uint64_t resident_max_bytes; /* the same for one that keeps more memory resident after a task;
                                    looked at after every task, but at most every millisecond */
    uint64_t memory_limit_bytes; /* RLIMIT_AS: what a worker may map beyond what it starts with */
    uint64_t cpu_limit_s;        /* RLIMIT_CPU: of its whole life; SIGXCPU at the limit */
    uint64_t file_limit;         /* RLIMIT_NOFILE: descriptors; at least 32 */

    unsigned workers_min; /* so many are kept when there is little to do, and started at the open;
                             default: all of plait_options.workers. More start as tasks wait */
    int64_t idle_ns;      /* a worker above workers_min with nothing to do for so long ends; default
                             10 s */

    bool pin;             /* a worker keeps to one CPU: those that the program may use, in turn */
    const unsigned *cpus; /* the same with these CPUs, copied at the open */
    size_t cpu_count;

    const char *directory;          /* to work in; default: the program's */
    const char *const *environment; /* NULL-terminated: "NAME=value" sets, "NAME" takes away */

    unsigned starts_max; /* a place whose worker dies at start so often in a row, before it ran any
                            task, is given up; with the last place the executor: what waits and
                            whatever comes later fails with the cause. Default 5; a pause between
                            two starts doubles from 10 ms */

    int nice;                     /* added to the program's niceness */
    enum plait_io_class io_class; /* of its disk I/O (ioprio_set(2)) */
    unsigned io_level;            /* within the class: 0, the first served, to 7 */

    bool capture_stderr; /* plait_error().stderr_tail: what a worker writes to stderr passes through
                            a pipe, and comes out at the program's stderr. Then isatty() says no */

    const struct plait_confinement *confinement; /* default: a worker may do what the program may */

    int64_t stopped_ns; /* a worker that a signal has stopped (SIGSTOP) for so long while it has
                           tasks is killed; default 5 s. PLAIT_NEVER: it is waited for */
};

/* How plait_open() opens an executor. Zero means default everywhere. */
struct plait_options {
    size_t size; /* sizeof(struct plait_options): set by plait_open() */
    enum plait_kind kind;
    unsigned workers;   /* default: the CPUs this process may use (affinity, cgroup limit);
                           PLAIT_FIBERS has always one; at most 1024 */
    const char *name;   /* for messages and traces; copied; default: the kind's name */
    size_t stack_bytes; /* of a task; default 64 KiB on fibers, 256 KiB elsewhere; three quarters
                           of it for one that its parent runs while it waits in a scope's end */
    size_t queue_limit; /* tasks that may wait to start; default 1,048,576 */
    enum plait_when_full when_full;
    enum plait_io_backend io;
    unsigned spare_workers; /* PLAIT_THREADS: threads that may be added while tasks block in
                               foreign calls; default 64; also the bound of plait_blocking() */
    bool no_spare;          /* never add any */
    bool foreign;           /* PLAIT_FIBERS: no thread of its own; the caller drives it with
                               plait_fd() and plait_turn() */
    bool report_overflow;   /* install a SIGSEGV handler that names the task whose stack
                               overflowed, then lets the signal take its course */
    int64_t stall_ns;       /* report a loop stalled for longer; default 200 ms */
    int64_t deadlock_ns; /* report tasks that have waited for longer, with nothing left that could
                               wake them; default 500 ms; PLAIT_NEVER: do not look */
    void (*notice)(const struct plait_notice *n, void *arg); /* default: a line on stderr */
    void *notice_arg;
    int64_t grace_ns;          /* PLAIT_PROCESSES: from SIGTERM to SIGKILL; default 500 ms */
    unsigned tasks_per_worker; /* PLAIT_PROCESSES: tasks that one worker runs at a time, as fibers;
                                  default 1, so that a death loses exactly one; at most 256. Each
                                  may hold any number of fibers of its own */
    const struct plait_worker_options *worker; /* PLAIT_PROCESSES: PLAIT_WORKER(.nice = 5, ...);
                                                  default: none of them */
};

/* What an executor can do. */
struct plait_caps {
    enum plait_kind kind;
    unsigned workers;
    bool parallel;      /* two tasks may run at the same instant */
    bool shares_memory; /* pointers in arguments and results stay valid */
    bool isolated;      /* a crash of a task is survived */
    bool kills;         /* a task that does not cooperate can be ended */
    bool suspends;      /* waiting tasks cost no thread */
    bool priorities;    /* plait_submit_options.priority is honoured. Fibers and threads start a
                           task at once, or steal it: there is no order to keep */
    size_t max_bytes;   /* largest argument or result */
    const char *io;     /* "io_uring" or "epoll" */
};

PLAIT_BEGIN

/* First thing in main() of a program that opens PLAIT_PROCESSES: worker processes start as this
 * same program and never return from here. Returns at once in the program itself. */
PLAIT_API void plait_main(int argc, char **argv);

/* Opens an executor. plait_open(&ex, PLAIT_THREADS, .workers = 4) fills the options by name.
 * -EINVAL  an option out of range, or one that this kind does not have: plait_last_error() says
 * -ENOMEM, -EAGAIN, -EMFILE  memory, threads or descriptors are short
 * -ENOSYS, -EPERM  the I/O backend that was asked for is not available
 * -ENOTSUP PLAIT_PROCESSES without plait_main(), unless PLAIT_START_FORK
 * -ENOENT  an initializer or finalizer that is not a declared task
 * -ENOSYS, -EPERM, -EOPNOTSUPP...  workers cannot be locked in as .confinement asks: it was tried
 * Blocks the thread until the executor is ready, in a task too: it never suspends. */
PLAIT_API int plait_open_with(plait_executor **ret, const struct plait_options *options);

/* Why the last plait_open(), plait_submit(), plait_go() or plait_net_ call of this thread failed: a
 * sentence, or "".
 * On a fiber to be asked at once, before anything that may suspend. */
PLAIT_API const char *plait_last_error(void);

/* How an executor is shut down. */
enum plait_how {
    PLAIT_DRAIN = 0, /* everything that was submitted still runs */
    PLAIT_STOP = 1,  /* what has not started is cancelled; what runs is asked to end, and killed
                        after the grace where the executor can */
};

/* Refuses further submits (-ESHUTDOWN) and, with PLAIT_STOP, cancels what is there. Does not wait.
 * Any thread or task, any number of times; PLAIT_STOP after PLAIT_DRAIN tightens it. Returns 0. */
PLAIT_API int plait_shutdown(plait_executor *ex, enum plait_how how);

/* Shuts down with PLAIT_DRAIN, waits until every task has ended, joins threads and processes and
 * frees the executor. Futures that are still held stay valid. Suspends a fiber of another executor,
 * blocks a thread; no cancel and no deadline ends the wait.
 * -EDEADLK  called from a task of this executor: it is shut down, but not waited for nor freed
 * -EINVAL   not an open executor (closed already)
 * NULL is allowed and does nothing. */
PLAIT_API int plait_close(plait_executor *ex);

/* Tells what this executor can do. */
PLAIT_API void plait_caps(const plait_executor *ex, struct plait_caps *ret);

/* The name that it was opened with, or that of its kind. Valid until it is closed. */
PLAIT_API const char *plait_name(const plait_executor *ex);

/* The executor of the calling task, or NULL on a plain thread. */
PLAIT_API plait_executor *plait_self(void);

/* Driving from a foreign loop (option .foreign): when the descriptor is readable, or after
 * submitting, call plait_turn() on the thread that opened the executor. It runs what is ready,
 * never waits, and returns how many tasks and completions it ran, or
 * -EINVAL  the executor has a thread of its own, or another thread opened it
 * plait_close() on that thread drives it to its end. Waiting on that thread for one of its tasks
 * (plait_result(), a scope's end) waits for ever: nobody drives. Use plait_on_done(). */
PLAIT_API int plait_fd(plait_executor *ex);
PLAIT_API int plait_turn(plait_executor *ex);

PLAIT_END

/* Worker options by name: plait_open(&ex, PLAIT_PROCESSES, .worker = PLAIT_WORKER(.nice = 5)). */
#ifndef __cplusplus
#define PLAIT_WORKER(...)                                                                          \
    (&(const struct plait_worker_options){ .size = sizeof(struct plait_worker_options),            \
                                           __VA_ARGS__ })
#else
inline const plait_worker_options *plait_worker_tmp_(const plait_worker_options &o)
{
    return &o;
}
#define PLAIT_WORKER(...)                                                                          \
    plait_worker_tmp_(plait_worker_options{ .size = sizeof(plait_worker_options), __VA_ARGS__ })
#endif

/* plait_open(&ex, PLAIT_THREADS, .workers = 4): the kind, then options by name, as
 * plait_open_with(). */
#ifndef __cplusplus
#define plait_open(ret, ...)                                                                       \
    plait_open_with((ret), &(const struct plait_options){ .size = sizeof(struct plait_options),    \
                                                          .kind = __VA_ARGS__ })
#else
inline int plait_open_tmp_(plait_executor **ret, const struct plait_options &o)
{
    return plait_open_with(ret, &o);
}
#define plait_open(ret, ...)                                                                       \
    plait_open_tmp_((ret), plait_options{ .size = sizeof(plait_options), .kind = __VA_ARGS__ })
#endif

#endif
