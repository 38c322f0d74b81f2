// SPDX-License-Identifier: MIT
/*
 * loop.h - the event loop of one worker: a proactor over io_uring or epoll.
 *
 * DESIGN
 *   An operation (struct pl_op) is filled in by the caller, started, and completed exactly once:
 * its result is stored and its done callback is called from pl_loop_poll on the loop's thread. The
 * record lives in the caller's storage (the frame of a suspended fiber) and belongs to the loop
 * from pl_loop_start until done is called; nothing is allocated per operation.
 *
 *   A loop belongs to the thread that first starts an operation, polls or arms; every call but
 *   pl_loop_wake must come from that thread. Initialising it elsewhere is allowed.
 *
 *   done callbacks may start and cancel operations; they must not poll. The usual callback makes a
 * fiber ready and returns.
 *
 * Both backends obey the same contract; docs/event-loop.md explains them and has the measurements.
 */
#ifndef PL_OS_LOOP_H
#define PL_OS_LOOP_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

struct statx;

enum pl_backend {
    PL_BACKEND_AUTO, /* io_uring, or epoll where the kernel or its seccomp filter refuses that */
    PL_BACKEND_URING,
    PL_BACKEND_EPOLL,
};

/*
 * What each operation reads from its record. fd, done and code are always set; members that are not
 * named are ignored. Results are those of the system call of the same name, -errno on failure.
 *
 *   NOP                                 0
 *   READ, WRITE    buf len offset       bytes; offset -1: the file's position (streams: always)
 *   READV, WRITEV  iov len offset       bytes; len counts the iovecs
 *   RECV, SEND     buf len flags        bytes; flags are MSG_*; SIGPIPE is never raised
 *   RECVMSG, SENDMSG  msg flags         bytes
 *   ACCEPT         addr addrlen flags   the new descriptor; addr may be NULL; flags as accept4
 *   CONNECT        dest destlen         0
 *   POLL           flags                the events that are ready (POLLIN, ...), at least one. By
 *                                       then another may have taken what was there; io_uring also
 *                                       ends it for POLLRDHUP that was not asked for
 *   OPENAT         path flags mode      the new descriptor; fd is the directory or AT_FDCWD
 *   CLOSE                               0; operations that wait on the descriptor in this loop
 *                                       end with -ECANCELED or their result, before it or after
 *   FSYNC          flags                0; flags & PL_FSYNC_DATA: as fdatasync
 *   STATX          path flags mode statx   0; fd is the directory, mode is the STATX_* mask
 */
enum pl_op_code {
    PL_OP_NOP,
    PL_OP_READ,
    PL_OP_WRITE,
    PL_OP_READV,
    PL_OP_WRITEV,
    PL_OP_RECV,
    PL_OP_SEND,
    PL_OP_RECVMSG,
    PL_OP_SENDMSG,
    PL_OP_ACCEPT,
    PL_OP_CONNECT,
    PL_OP_POLL,
    PL_OP_OPENAT,
    PL_OP_CLOSE,
    PL_OP_FSYNC,
    PL_OP_STATX,
    PL_OP_COUNT,
};

#define PL_FSYNC_DATA 1u

struct pl_op {
    enum pl_op_code code;
    int fd;
    union {
        void *buf;
        const void *cbuf;
        const struct iovec *iov;
        struct msghdr *msg;
        const char *path;
    };
    size_t len;
    int64_t offset;
    unsigned flags;
    unsigned mode;
    union {
        struct sockaddr *addr;
        const struct sockaddr *dest;
        struct statx *statx;
    };
    union {
        socklen_t *addrlen; /* ACCEPT: in and out */
        socklen_t destlen;  /* CONNECT */
    };
    int64_t result; /* >= 0 or a negative errno; untouched until completion */
    void (*done)(struct pl_op *op);

    /* Private to the loop. Zero (as a designated initialiser leaves them) before the first start.
     */
    struct pl_op *next, *prev;
    uint64_t tag;
    unsigned state;
    unsigned want;
};

// A doubly linked list of operations, in order of arrival.
struct pl_op_list {
    struct pl_op *first, *last;
};

struct pl_loop_vtable;

#define PL_HINT_WORDS 64u

struct pl_loop {
    const struct pl_loop_vtable *vtable;
    void *impl;
    unsigned inflight;
    struct pl_op_list finished; /* completed; done is called by the next poll */

    /* How pl_loop_ready looks without a system call; NULL where the backend has no such words. */
    const _Atomic uint32_t *cq_tail, *sq_flags;
    const _Atomic uint32_t *cq_head;

    _Atomic uint32_t wake_word;          /* loop.c draws its states */
    _Atomic(_Atomic uint32_t *) outside; /* the word that pl_loop_sleep_on() sleeps on */
    enum pl_backend backend;             /* the one in use: never AUTO after pl_loop_init */
    bool polling;
    bool fresh; /* something was started since the last poll began */
    bool armed; /* a foreign loop waits for us */
    bool owned;
    pthread_t owner; /* the thread that polls */

    /*
     * Hints, one bit a descriptor, by its low bits: may be stale or another descriptor's. The last
     * read left nothing behind; it is no socket (recv and send are cheaper there).
     */
    uint64_t drained[PL_HINT_WORDS], no_socket[PL_HINT_WORDS];
};

/*
 * Makes a loop with room for about `entries` unsubmitted operations (0: a default; more than that
 * many may be in flight). The environment variable PLAIT_IO=epoll|uring overrides PL_BACKEND_AUTO
 * only. -EPERM or -ENOSYS where io_uring was asked for and is refused or lacks what is needed,
 * -EMFILE, -ENFILE, -ENOMEM; -EINVAL for another word in PLAIT_IO.
 */
int pl_loop_init(struct pl_loop *l, enum pl_backend backend, unsigned entries);

/* Frees the loop. Nothing may be in flight and no thread may still call pl_loop_wake. */
void pl_loop_done(struct pl_loop *l);

/* Starts an operation. Never fails: an immediate error arrives through done at the next poll. */
void pl_loop_start(struct pl_loop *l, struct pl_op *op);

/*
 * Asks for an operation to end early. done is still called exactly once, from a later poll, with
 * the operation's result or -ECANCELED. May be repeated; does nothing for an operation not in
 * flight.
 */
void pl_loop_cancel(struct pl_loop *l, struct pl_op *op);

/*
 * Submits what was started, waits until something completes, the loop is woken or the deadline
 * passes, and runs the done callbacks. deadline: 0 does not wait, INT64_MAX waits for ever,
 * otherwise absolute nanoseconds of CLOCK_MONOTONIC. Returns how many operations completed (0 after
 * a wake, the deadline, a signal, or for nothing: look around and poll again), a negative errno
 * only when the loop is broken.
 */
int pl_loop_poll(struct pl_loop *l, int64_t deadline);

/*
 * Sleeps as pl_loop_poll does, but on a word in memory that other processes may share: while *word
 * == value. For a loop in which nothing is in flight. A wake of the loop takes the word to 0 and
 * ends it; so may anybody who changes the word and then wakes its futex. May return for nothing.
 */
void pl_loop_sleep_on(struct pl_loop *l, _Atomic uint32_t *word, uint32_t value, int64_t deadline);

/*
 * Makes the current, or else the next, pl_loop_poll return at once. From any thread and from signal
 * handlers. Costs a system call only when the loop is asleep, and then only for the first of many.
 */
void pl_loop_wake(struct pl_loop *l);

/*
 * For driving the loop from a foreign one: call pl_loop_arm, wait until pl_loop_fd is readable,
 * call pl_loop_poll(l, 0), and again. Arming submits what was started and makes the descriptor
 * readable when something completes, at the deadline (INT64_MAX: none) or upon pl_loop_wake. 0 or a
 * negative errno.
 */
int pl_loop_fd(struct pl_loop *l);
int pl_loop_arm(struct pl_loop *l, int64_t deadline);

/* How many operations have been started and have not completed. */
static inline unsigned pl_loop_inflight(const struct pl_loop *l)
{
    return l->inflight;
}

#define PL_RING_TASKRUN  4u /* IORING_SQ_TASKRUN */
#define PL_RING_OVERFLOW 2u

/*
 * A hint, without a system call, whether pl_loop_poll(l, 0) may have something to do: completions,
 * or the return from a foreign loop. With epoll it cannot know and says so whenever anything is in
 * flight: limit the rate of asking.
 */
static inline bool pl_loop_ready(const struct pl_loop *l)
{
    if (l->armed)
        return true;
    if (l->inflight == 0)
        return false;
    if (l->finished.first || !l->cq_tail)
        return true;
    /* Relaxed: a hint; pl_loop_poll reads the tail again with acquire. */
    return atomic_load_explicit(l->cq_tail, memory_order_relaxed) !=
               atomic_load_explicit(l->cq_head, memory_order_relaxed) ||
           (atomic_load_explicit(l->sq_flags, memory_order_relaxed) &
            (PL_RING_TASKRUN | PL_RING_OVERFLOW));
}

/*
 * Whether this backend would execute the operation synchronously inside pl_loop_start and could
 * block the loop there (epoll: regular files that are not in the page cache, openat, fsync, statx):
 * better given to a blocking pool with pl_op_block.
 */
bool pl_loop_would_block_thread(struct pl_loop *l, struct pl_op *op);

/*
 * Tries the operation at once, without a loop and without blocking. True: completed, result is set
 * (done is not called). False: it would block or is of a kind that cannot be tried (openat, close,
 * connect, fsync, statx); the record is as it was. A file is read where the page cache has it.
 */
bool pl_op_try(struct pl_op *op);

/*
 * The same for a caller that will start the operation in the loop where this says false: does not
 * try a read of a descriptor that the last read has emptied, because waiting is what it will come
 * to.
 */
bool pl_loop_try(struct pl_loop *l, struct pl_op *op);

/*
 * A POLL has completed in the loop with the result of `op`: whether that is so, with what is true
 * as its result; otherwise it is to be started again. A wake-up of the kernel may come late, for
 * what has been read already: the writer queues its bytes, the reader polls, reads, and starts the
 * next poll, and only then the writer's wake-up arrives.
 */
bool pl_op_polled(struct pl_op *op);

/*
 * Performs the operation on the calling plain thread, which blocks. deadline as in pl_loop_poll (0:
 * do not wait). Sets result: -ETIMEDOUT at the deadline. Restarts after signals. done is not
 * called.
 */
void pl_op_block(struct pl_op *op, int64_t deadline);

/*
 * The same in steps, for a thread that waits for other things too. begin, and then go_on each time
 * when poll(2) has reported one of the events: true: completed, result is set.
 */
bool pl_op_begin(struct pl_op *op);
bool pl_op_go_on(struct pl_op *op);
short pl_op_poll_events(const struct pl_op *op);

#endif
