// SPDX-License-Identifier: MIT
/*
 * loop_backend.h - what loop.c and its two backends share; nobody else includes it.
 *
 * The life of an operation, in op->state:
 *
 *     FREE --start--> BACKLOG --> RING or WAITING --> FINISHED --> FREE, then done()
 *
 *   BACKLOG   (io_uring) linked in the backlog: the submission queue had no room
 *   RING      (io_uring) the kernel has it, or will at the next submit
 *   WAITING   (epoll) linked in a list of its descriptor
 *   FINISHED  result is stored, linked in the list of those whose done is to be called
 *
 * The flags above the state:
 *
 *   CANCEL    pl_loop_cancel was called
 *   POLLING   (io_uring) the request in the kernel is a poll, after which the operation itself is
 *             submitted again
 *   LINKED    (io_uring) in state RING and linked in the backlog: its cancel request found no room
 *   SOUGHT    (io_uring) in state RING and listed: its cancel request is on its way
 *   AS_SOCKET (io_uring) the request is a recv or send in place of a read or write
 */
#ifndef PL_OS_LOOP_BACKEND_H
#define PL_OS_LOOP_BACKEND_H

#include "os/loop.h"

enum {
    PL_OP_FREE,
    PL_OP_BACKLOG,
    PL_OP_RING,
    PL_OP_WAITING,
    PL_OP_FINISHED,
    PL_OP_STATE_MASK = 15,
    PL_OP_CANCEL = 16,
    PL_OP_POLLING = 32,
    PL_OP_LINKED = 64,
    PL_OP_AS_SOCKET = 128,
    PL_OP_SOUGHT = 256,
};

struct pl_loop_vtable {
    void (*done)(struct pl_loop *l);
    void (*start)(struct pl_loop *l, struct pl_op *op);
    void (*cancel)(struct pl_loop *l, struct pl_op *op);
    int (*poll)(struct pl_loop *l, int64_t deadline);
    void (*signal)(struct pl_loop *l); // end the sleep of a loop in state SLEEPING; any thread
    int (*fd)(struct pl_loop *l);
    int (*arm)(struct pl_loop *l, int64_t deadline);
    bool (*would_block)(struct pl_loop *l, struct pl_op *op);
};

// Whether this process runs under valgrind, whose knowledge of system calls is smaller than the
// kernel's.
bool pl_loop_on_valgrind(void);

int pl_uring_init(struct pl_loop *l, unsigned entries);
int pl_epoll_init(struct pl_loop *l, unsigned entries);

static inline void pl_op_list_add(struct pl_op_list *list, struct pl_op *op)
{
    op->next = NULL;
    op->prev = list->last;
    if (list->last)
        list->last->next = op;
    else
        list->first = op;
    list->last = op;
}

static inline void pl_op_list_remove(struct pl_op_list *list, struct pl_op *op)
{
    if (op->prev)
        op->prev->next = op->next;
    else
        list->first = op->next;
    if (op->next)
        op->next->prev = op->prev;
    else
        list->last = op->prev;
    op->next = op->prev = NULL;
}

// Whether the operation takes from a stream, so that it may find that empty.
static inline bool pl_op_drains(const struct pl_op *op)
{
    return op->code == PL_OP_RECV || (op->code == PL_OP_READ && op->offset < 0);
}

static inline bool pl_hint(const uint64_t *hints, int fd)
{
    return hints[(unsigned)fd / 64 % PL_HINT_WORDS] >> ((unsigned)fd % 64) & 1;
}

static inline void pl_set_hint(uint64_t *hints, int fd, bool value)
{
    uint64_t *word = &hints[(unsigned)fd / 64 % PL_HINT_WORDS];
    unsigned bit = (unsigned)fd % 64;
    *word = (*word & ~(UINT64_C(1) << bit)) | (uint64_t)value << bit;
}

// After a read: whether it left nothing behind. Only of sockets: nobody waits at a file's end.
static inline void pl_loop_note_drained(struct pl_loop *l, const struct pl_op *op, bool drained)
{
    if (pl_op_drains(op))
        pl_set_hint(l->drained, op->fd,
                    drained && (op->code == PL_OP_RECV || !pl_hint(l->no_socket, op->fd)));
}

// Whether the operation is a read or write that is worth making as recv or send.
static inline bool pl_loop_as_socket(const struct pl_loop *l, const struct pl_op *op)
{
    return (op->code == PL_OP_READ || op->code == PL_OP_WRITE) && op->offset < 0 && op->len > 0 &&
           !pl_hint(l->no_socket, op->fd);
}

// Stores the result and queues the operation for pl_loop_run_finished.
static inline void pl_loop_finish(struct pl_loop *l, struct pl_op *op, int64_t result)
{
    op->result = result;
    op->state = PL_OP_FINISHED;
    pl_op_list_add(&l->finished, op);
}

// Calls done for every operation that is finished now (their callbacks may finish more, for the
// next poll) and returns how many there were.
int pl_loop_run_finished(struct pl_loop *l);

// The wake protocol, drawn in loop.c. sleep: false when a wake is pending, and the loop must not
// sleep.
bool pl_loop_wake_sleep(struct pl_loop *l);
void pl_loop_wake_awake(struct pl_loop *l);
bool pl_loop_wake_pending(struct pl_loop *l);

/*
 * Operations as plain system calls (op.c).
 *
 * attempt: without blocking; the result, or -EAGAIN where it would block. Only for operations that
 * wait for their descriptor (pl_op_waits) and have been started, where they need to be.
 * perform: the plain call, which may block. Neither raises SIGPIPE nor returns -EINTR.
 */
int64_t pl_op_attempt(const struct pl_op *op);
int64_t pl_loop_attempt(struct pl_loop *l,
                        const struct pl_op *op); // the same, with the loop's hints
int64_t pl_op_perform(const struct pl_op *op);

// Starts a connect. -EINPROGRESS: under way, and attempt tells how it ended. -EAGAIN is an answer
// (a UNIX socket whose listener has a full queue): nothing would tell when there is room.
int64_t pl_op_connect_start(const struct pl_op *op);

// Whether the operation is of the kind that waits until its descriptor is ready.
bool pl_op_waits(const struct pl_op *op);

// Whether -EAGAIN is the answer that the caller asked for (MSG_DONTWAIT).
bool pl_op_wants_eagain(const struct pl_op *op);

// Whether it writes to a terminal that has not O_NONBLOCK set: nothing but a thread of its own can
// wait for that without blocking.
bool pl_op_writes_terminal(const struct pl_op *op);

// Whether reads and writes of it cannot be waited for with poll(2): a regular file, directory or
// disk.
bool pl_fd_is_file(int fd);

// Whether the kernel knows RWF_NOSIGNAL (Linux 6.18): writes that cannot raise SIGPIPE.
bool pl_rwf_nosignal(void);
#ifndef RWF_NOSIGNAL
#define RWF_NOSIGNAL 0x00000100
#endif

// For older kernels: between enter and leave no SIGPIPE reaches the program from this thread.
struct pl_sigpipe {
    bool blocked_here, was_pending;
};
bool pl_sigpipe_unblocked(void); // in this thread; where it is blocked there is nothing to guard
struct pl_sigpipe pl_sigpipe_enter(void);
void pl_sigpipe_leave(struct pl_sigpipe guard);

// The largest transfer that the kernel makes in one call; io_uring's lengths are 32 bits wide.
#define PL_MAX_TRANSFER ((size_t)0x7ffff000)

#endif
