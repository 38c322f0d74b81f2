// SPDX-License-Identifier: MIT
/*
 * uring.c - the event loop over io_uring.
 *
 * DESIGN
 *   One ring a loop, set up with SINGLE_ISSUER | DEFER_TASKRUN: the kernel runs completions only
 *   inside our own io_uring_enter, so nothing interrupts the fibers. Starting an operation writes
 *   an entry into the submission queue; the system call is made once, at the poll, together with
 *   the wait. Waiting with a timeout uses the call's own argument (EXT_ARG): a timeout request
 *   would cost 22 us when it fires.
 *
 *   user_data    63      48 47                         3 2   0
 *               | generation |  address of the pl_op    | 000 |   an operation
 *               |                 zero                  | tag |   ours: wake, cancel, timer, no-op
 *
 *     Each request gets a new generation, so that a cancel request that is late finds nothing,
 *     rather than the next operation in the same stack frame. User addresses have at most 48 bits
 *     on the architectures served (larger ones are handed out only on request).
 *
 *   Every operation has at most one request in the kernel, and is finished only by that request's
 *   completion. Cancel requests are known by the tag of what they look for, never followed as a
 *   pointer: the two completions may come in either order.
 *
 *   A cancel request may miss a request that the kernel has in its hands just then, between a poll
 *   of its own and the next attempt. So operations whose cancel request is on its way are listed,
 *   and one that is still there when its cancel request found nothing is looked for again.
 *
 *   No room in the submission queue: the queue is submitted; where the kernel does not take it
 *   (EBUSY: its completion queue has overflowed, EAGAIN: out of memory) the operation waits in a
 *   backlog, linked through its own record, so that starting never fails. An operation in the
 *   kernel whose cancel request found no room waits in the same backlog.
 *
 *   O_NONBLOCK is not ours to obey: on such a descriptor some requests end with EAGAIN instead of
 *   waiting; they are then replaced by a poll request and submitted again when that says so.
 *
 *   POLL_FIRST: a receive that follows one which emptied the socket (the kernel says so in the
 *   completion) will most likely find nothing: skipping the first attempt saves it. The memory of
 *   that is one bit, found by the low bits of the descriptor. It may be stale or another
 *   descriptor's: it only decides what is tried first.
 *
 *   Closing a descriptor does not end the requests on it, so a close cancels them first. That
 *   searches all requests of the ring; a table of counters by the low bits of the descriptor tells
 *   when it is not needed.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>

#include "os/clock.h"
#include "os/socket.h"
#include "os/uring.h"

static uint32_t *waiting_on(struct uring *u, int fd)
{
    return &u->waiting[(unsigned)fd & (FD_SLOTS - 1)];
}

// Whether the operation is counted: those whose fd is a descriptor that can be waited on.
static bool is_counted(const struct pl_op *op)
{
    return op->code != PL_OP_NOP && op->code != PL_OP_CLOSE && op->code != PL_OP_OPENAT &&
           op->code != PL_OP_STATX;
}

// Gives the operation to the submission queue; false when there is no room.
static bool submit(struct pl_loop *l, struct uring *u, struct pl_op *op)
{
    // Closing a descriptor does not end the requests on it: ask them to end first.
    if (op->code == PL_OP_CLOSE && *waiting_on(u, op->fd) > 0) {
        struct io_uring_sqe *sqe = pl_uring_next_sqe(l, u);
        if (!sqe)
            return false;
        sqe->opcode = IORING_OP_ASYNC_CANCEL;
        sqe->fd = op->fd;
        sqe->cancel_flags = IORING_ASYNC_CANCEL_FD | IORING_ASYNC_CANCEL_ALL;
        sqe->user_data = TAG_CANCEL; // its success is a count, so it cannot be skipped
    }
    struct io_uring_sqe *sqe = pl_uring_next_sqe(l, u);
    if (!sqe)
        return false;
    pl_uring_fill(l, sqe, op);
    op->state = (op->state & ~(unsigned)PL_OP_STATE_MASK) | PL_OP_RING;
    return true;
}

static bool submit_cancel(struct pl_loop *l, struct uring *u, struct pl_op *op)
{
    struct io_uring_sqe *sqe = pl_uring_next_sqe(l, u);
    if (!sqe)
        return false;
    sqe->opcode = IORING_OP_ASYNC_CANCEL;
    sqe->fd = -1;
    sqe->addr = op->tag;
    sqe->user_data = op->tag | TAG_CANCEL;
    sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
    // Looking for room may have reaped the operation, or its place in the backlog.
    if ((op->state & PL_OP_STATE_MASK) != PL_OP_RING)
        return true;
    if (op->state & PL_OP_LINKED)
        pl_op_list_remove(&u->backlog, op);
    op->state = (op->state & ~(unsigned)PL_OP_LINKED) | PL_OP_SOUGHT;
    pl_op_list_add(&u->sought, op);
    return true;
}

// A cancel request found nothing with that tag: what is still there is looked for again.
static void missed(struct uring *u, uint64_t tag)
{
    struct pl_op *op = u->sought.first;
    while (op && op->tag != tag)
        op = op->next;
    if (!op)
        return; // it has completed
    pl_op_list_remove(&u->sought, op);
    op->state = (op->state & ~(unsigned)PL_OP_SOUGHT) | PL_OP_LINKED;
    pl_op_list_add(&u->backlog, op);
}

static void finish(struct pl_loop *l, struct uring *u, struct pl_op *op, int64_t result)
{
    if (is_counted(op))
        (*waiting_on(u, op->fd))--;
    pl_loop_finish(l, op, result);
}

static void to_backlog(struct uring *u, struct pl_op *op)
{
    op->state = (op->state & ~(unsigned)PL_OP_STATE_MASK) | PL_OP_BACKLOG;
    pl_op_list_add(&u->backlog, op);
}

static void uring_start(struct pl_loop *l, struct pl_op *op)
{
    struct uring *u = l->impl;
    op->state = PL_OP_RING;
    if (is_counted(op))
        (*waiting_on(u, op->fd))++;
    if (u->backlog.first || !submit(l, u, op))
        to_backlog(u, op);
}

static void uring_cancel(struct pl_loop *l, struct pl_op *op)
{
    struct uring *u = l->impl;
    if ((op->state & PL_OP_STATE_MASK) == PL_OP_BACKLOG) {
        pl_op_list_remove(&u->backlog, op);
        finish(l, u, op, -ECANCELED);
    } else if (u->backlog.first || !submit_cancel(l, u, op)) {
        if ((op->state & PL_OP_STATE_MASK) != PL_OP_RING)
            return; // it completed while room was looked for
        op->state |= PL_OP_LINKED;
        pl_op_list_add(&u->backlog, op);
    }
}

void pl_uring_drain_backlog(struct pl_loop *l, struct uring *u)
{
    struct pl_op *op;
    while (PL_UNLIKELY((op = u->backlog.first) != NULL)) {
        bool linked = op->state & PL_OP_LINKED;
        // next_sqe may reap, and thereby unlink or finish this very operation: then go on with the
        // next.
        bool taken = linked ? submit_cancel(l, u, op) : submit(l, u, op);
        if (!taken && u->backlog.first == op)
            return;
        if (taken && !linked && u->backlog.first == op)
            pl_op_list_remove(&u->backlog, op);
    }
}

// ---- completions

// Whether the result only says that the operation must be submitted again.
static bool must_retry(const struct pl_op *op, int result)
{
    if (op->state & PL_OP_CANCEL)
        return false;
    switch (op->code) {
    case PL_OP_READ:
    case PL_OP_WRITE:
    case PL_OP_READV:
    case PL_OP_WRITEV:
    case PL_OP_ACCEPT:
    case PL_OP_POLL:
        return result == -EAGAIN || result == -EINTR;
    case PL_OP_RECV:
    case PL_OP_SEND:
    case PL_OP_RECVMSG:
    case PL_OP_SENDMSG:
        return result == -EINTR || (result == -EAGAIN && !(op->flags & MSG_DONTWAIT));
    default:
        return false;
    }
}

static void completed(struct pl_loop *l, struct uring *u, struct pl_op *op, int result,
                      unsigned flags)
{
    PL_ASSERT((op->state & PL_OP_STATE_MASK) == PL_OP_RING);
    if (PL_UNLIKELY(op->state & PL_OP_LINKED)) {
        pl_op_list_remove(&u->backlog, op);
        op->state &= ~(unsigned)PL_OP_LINKED;
    }
    if (PL_UNLIKELY(op->state & PL_OP_SOUGHT)) {
        pl_op_list_remove(&u->sought, op);
        op->state &= ~(unsigned)PL_OP_SOUGHT;
    }
    if (op->code == PL_OP_POLL && result > 0 && (result & (POLLPRI | POLLRDBAND))) {
        // A wake-up names these two whenever anything arrives; only asking tells whether they are
        // true.
        int64_t now = pl_op_attempt(op); // a poll of no duration
        result = now == -EAGAIN && !(op->state & PL_OP_CANCEL) ? -EINTR : (int)now;
    }
    if (op->state & PL_OP_AS_SOCKET) {
        op->state &= ~(unsigned)PL_OP_AS_SOCKET;
        if (result == -ENOTSOCK) {
            pl_set_hint(l->no_socket, op->fd, true);
            result = op->state & PL_OP_CANCEL ? -ECANCELED : -EINTR; // again, as what it is
        }
    }
    pl_loop_note_drained(l, op, result > 0 && !(flags & IORING_CQE_F_SOCK_NONEMPTY));

    if (PL_UNLIKELY(op->state & PL_OP_POLLING)) {
        // The descriptor is ready, or cannot be polled: the operation itself will tell.
        op->state &= ~(unsigned)PL_OP_POLLING;
        if (result == -ECANCELED || (op->state & PL_OP_CANCEL))
            finish(l, u, op, -ECANCELED);
        else
            to_backlog(u, op);
        return;
    }
    if (PL_UNLIKELY(op->code == PL_OP_ACCEPT && result == -EAGAIN) && pl_socket_is_shut(op->fd))
        result = -EINVAL; // as pl_op_attempt() says
    if (PL_UNLIKELY(must_retry(op, result))) {
        if (result == -EAGAIN)
            op->state |= PL_OP_POLLING;
        to_backlog(u, op); // submitted by the poll that is running, or the next
        return;
    }
    if (PL_UNLIKELY(op->state & PL_OP_CANCEL) && (result == -EINTR || result == -EAGAIN))
        result = -ECANCELED; // how a request in one of the kernel's worker threads ends early
    finish(l, u, op, result);
}

void pl_uring_arm_wake(struct pl_loop *l, struct uring *u)
{
    struct io_uring_sqe *sqe = pl_uring_next_sqe(l, u);
    u->wake_armed = sqe != NULL; // otherwise the next poll tries again, and does not wait
    if (!sqe)
        return;
    sqe->opcode = IORING_OP_POLL_ADD;
    sqe->fd = u->wake_fd;
    sqe->poll32_events = pl_uring_poll_word(POLLIN);
    sqe->len = IORING_POLL_ADD_MULTI;
    sqe->user_data = TAG_WAKE;
}

static void ours(struct uring *u, const struct io_uring_cqe *cqe)
{
    switch (cqe->user_data & TAG_MASK) {
    case TAG_WAKE:
        // The eventfd is never read: each write to it posts one completion, which is all we need.
        if (cqe->res != WAKE_MESSAGE && !(cqe->flags & IORING_CQE_F_MORE))
            u->wake_armed = false;
        break;
    case TAG_TIMER:
        u->timer_in_ring = false;
        break;
    case TAG_CANCEL:
        if (cqe->res == -ENOENT)
            missed(u, cqe->user_data & ~(uint64_t)TAG_MASK);
        break;
    default: // a timer update that came too late; a no-op
        break;
    }
}

void pl_uring_reap(struct pl_loop *l, struct uring *u)
{
    uint32_t head = atomic_load_explicit(u->cq_head, memory_order_relaxed); // we alone write it
    // Acquire pairs with the kernel's release of the tail: the entries before it are written.
    uint32_t tail = atomic_load_explicit(u->cq_tail, memory_order_acquire);
    while (head != tail) {
        struct io_uring_cqe cqe = u->cqes[head & u->cq_mask];
        // Release pairs with the kernel's acquire of the head: the entry may be overwritten. Before
        // the entry is acted upon: it has been copied, and room is what a full ring lacks.
        atomic_store_explicit(u->cq_head, ++head, memory_order_release);
        if ((cqe.user_data & TAG_MASK) == TAG_OP)
            completed(l, u, (struct pl_op *)(uintptr_t)(cqe.user_data & POINTER_MASK), cqe.res,
                      cqe.flags);
        else
            ours(u, &cqe);
    }
}

static int uring_poll(struct pl_loop *l, int64_t deadline)
{
    struct uring *u = l->impl;
    if (PL_UNLIKELY(!u->wake_armed))
        pl_uring_arm_wake(l, u);
    pl_uring_drain_backlog(l, u);
    int64_t timeout = 0;
    bool wait = deadline > 0 && !l->finished.first && !u->backlog.first && u->wake_armed &&
                !pl_uring_completions_waiting(u);
    if (wait) {
        timeout = pl_clock_left(deadline);
        wait = timeout > 0 && pl_loop_wake_sleep(l);
    }
    int n = 0;
    if (wait || pl_uring_unsubmitted(u) > 0 || pl_uring_kernel_has_work(u) || u->backlog.first)
        n = pl_uring_submit(u, wait, IORING_ENTER_GETEVENTS, wait ? timeout : PL_FOREVER);
    pl_loop_wake_awake(l);
    pl_uring_reap(l, u);
    pl_uring_drain_backlog(l, u);
    if (n == -ETIME || n == -EINTR || n == -EBUSY || n == -EAGAIN)
        n = 0; // the deadline, a signal, or a full kernel that gives way as completions are taken
    int completed = pl_loop_run_finished(l);
    return n < 0 && completed == 0 ? n : completed;
}

// ---- wake

static void uring_signal(struct pl_loop *l)
{
    struct uring *u = l->impl;
    int saved = errno; // this may be a signal handler
    if (u->message_ring) {
        struct io_uring_sqe sqe = {
            .opcode = IORING_OP_MSG_RING, .fd = u->fd, .len = WAKE_MESSAGE, .off = TAG_WAKE
        };
        // No fault door: a wake that fails is a hang.
        if (syscall(__NR_io_uring_register, -1, PL_IORING_REGISTER_SEND_MSG_RING, &sqe, 1) == 0) {
            errno = saved;
            return;
        }
    }
    eventfd_write(u->wake_fd, 1);
    errno = saved;
}

static bool uring_would_block(struct pl_loop *l, struct pl_op *op)
{
    (void)l;
    (void)op;
    return false;
}

static void uring_done(struct pl_loop *l)
{
    pl_uring_free(l->impl);
}

static const struct pl_loop_vtable uring_vtable = {
    .done = uring_done,
    .start = uring_start,
    .cancel = uring_cancel,
    .poll = uring_poll,
    .signal = uring_signal,
    .fd = pl_uring_fd,
    .arm = pl_uring_arm,
    .would_block = uring_would_block,
};

void pl_uring_use(struct pl_loop *l, struct uring *u)
{
    l->impl = u;
    l->cq_head = u->cq_head;
    l->cq_tail = u->cq_tail;
    l->sq_flags = u->sq_flags;
}

int pl_uring_init(struct pl_loop *l, unsigned entries)
{
    int err;
    struct uring *u = pl_uring_open(entries, true, &err);
    if (!u)
        return err;
    l->vtable = &uring_vtable;
    pl_uring_use(l, u);
    return 0;
}
