// SPDX-License-Identifier: MIT
/*
 * uring.c - the event loop over io_uring.
 *
 * DESIGN
 *   One ring a loop, set up with SINGLE_ISSUER | DEFER_TASKRUN: the kernel runs completions only inside our
 *   own io_uring_enter, so nothing interrupts the fibers. Starting an operation writes an entry into the
 *   submission queue; the system call is made once, at the poll, together with the wait. Waiting with a
 *   timeout uses the call's own argument (EXT_ARG): a timeout request would cost 22 us when it fires.
 *
 *   user_data    63      48 47                         3 2   0
 *               | generation |  address of the pl_op    | 000 |   an operation
 *               |     sequence or zero                  | tag |   one of ours: wake, cancel, timer, nop
 *
 *     Each request gets a new generation, so that a cancel request that is late finds nothing, rather than
 *     the next operation in the same stack frame. User addresses have at most 48 bits on the
 *     architectures served (larger ones are handed out only on request).
 *
 *   Every operation has at most one request in the kernel, and is finished only by that request's
 *   completion. Cancel requests carry no pointer: the two completions may come in either order.
 *
 *   No room in the submission queue: the queue is submitted; where the kernel does not take it (EBUSY: its
 *   completion queue has overflowed, EAGAIN: out of memory) the operation waits in a backlog, linked through
 *   its own record, so that starting never fails. An operation in the kernel whose cancel request found no
 *   room waits in the same backlog.
 *
 *   O_NONBLOCK is not ours to obey: on such a descriptor some requests end with EAGAIN instead of waiting;
 *   they are then replaced by a poll request and submitted again when that says so.
 *
 *   POLL_FIRST: a receive that follows one which emptied the socket (the kernel says so in the completion)
 *   will most likely find nothing: skipping the first attempt saves it. The memory of that is one bit in a
 *   table of counters indexed by the low bits of the descriptor. The bit may be stale or another
 *   descriptor's: it only decides what is tried first. The counters in the same table answer, before a close,
 *   whether any operation may be waiting on that descriptor.
 */
#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "base/bug.h"
#include "os/alloc.h"
#include "os/clock.h"
#include "os/loop_backend.h"
#include "os/uring_abi.h"

enum { TAG_OP, TAG_WAKE, TAG_CANCEL, TAG_TIMER, TAG_NOP, TAG_MASK = 7 };

#define POINTER_MASK ((UINT64_C(1) << 48) - 1)
#define FD_SLOTS     4096u
#define WAKE_MESSAGE 0x4000 // the result of a wake message: no poll event

struct fd_slot {
    uint32_t waiting : 31; // operations in flight on descriptors of this slot
    uint32_t drained : 1;  // the last receive left nothing behind
};

struct uring {
    int fd;       // of the ring
    int enter_fd; // the same, or its index among the thread's registered rings
    unsigned enter_flags;
    bool enabled;
    bool message_ring; // wakes are messages
    int wake_fd; // polled in the ring: for older kernels, and for when a message has no memory

    // Submission queue: we write the tail, the kernel the head. sq_next is the tail not yet published.
    _Atomic uint32_t *sq_head, *sq_tail, *sq_flags;
    uint32_t sq_entries, sq_mask, sq_next;
    struct io_uring_sqe *sqes;

    // Completion queue: the kernel writes the tail, we the head.
    _Atomic uint32_t *cq_head, *cq_tail;
    uint32_t cq_mask;
    struct io_uring_cqe *cqes;

    uint16_t generation;
    uint64_t timer_sequence;
    int64_t timer_deadline; // PL_FOREVER: no timer is armed
    struct pl_op_list backlog;

    void *rings;
    size_t rings_bytes, sqes_bytes;
    struct fd_slot fds[FD_SLOTS];
    bool may_signal; // a write was started that could raise SIGPIPE
};

static struct fd_slot *slot_of(struct uring *u, int fd)
{
    return &u->fds[(unsigned)fd & (FD_SLOTS - 1)];
}

// ---- the submission queue

static uint32_t unsubmitted(const struct uring *u)
{
    // Acquire pairs with the kernel's release of the head: entries before it may be written again.
    return u->sq_next - atomic_load_explicit(u->sq_head, memory_order_acquire);
}

static void reap(struct pl_loop *l, struct uring *u);

static int enable(struct uring *u)
{
    int err = pl_uring_register(u->fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
    if (err)
        return err;
    u->enabled = true;
    // Registered with this thread, the ring's descriptor need not be looked up at each call. A thread has
    // room for 16; without it everything works the same.
    struct io_uring_rsrc_update update = { .offset = -1u, .data = (uint64_t)u->fd };
    if (pl_uring_register(u->fd, IORING_REGISTER_RING_FDS, &update, 1) == 1) {
        u->enter_fd = (int)update.offset;
        u->enter_flags = IORING_ENTER_REGISTERED_RING;
    }
    return 0;
}

static int enter(struct uring *u, unsigned wait, unsigned flags, int64_t timeout)
{
    if (PL_UNLIKELY(!u->enabled)) {
        int err = enable(u);
        if (err)
            return err;
    }
    // Release pairs with the kernel's acquire of the tail: it sees the entries before it.
    atomic_store_explicit(u->sq_tail, u->sq_next, memory_order_release);
    struct __kernel_timespec ts = { .tv_sec = timeout / PL_SECOND, .tv_nsec = timeout % PL_SECOND };
    struct io_uring_getevents_arg arg = { .ts = timeout == PL_FOREVER ? 0 : (uintptr_t)&ts };
    flags |= IORING_ENTER_EXT_ARG | u->enter_flags;
    int n;
    if (PL_UNLIKELY(u->may_signal)) {
        // A write whose reader has gone raises the signal in this call, also when it was submitted by
        // an earlier one and waited: the guard stays for all calls from now on.
        struct pl_sigpipe guard = pl_sigpipe_enter();
        n = pl_uring_enter(u->enter_fd, unsubmitted(u), wait, flags, &arg, sizeof arg);
        pl_sigpipe_leave(guard);
    } else {
        n = pl_uring_enter(u->enter_fd, unsubmitted(u), wait, flags, &arg, sizeof arg);
    }
    if (PL_UNLIKELY(n == -EEXIST))
        PL_BUG("an event loop is used by a thread that does not own it");
    return n;
}

// The next free entry, zeroed, or NULL when the kernel takes no more for the time being.
static struct io_uring_sqe *next_sqe(struct pl_loop *l, struct uring *u)
{
    if (PL_UNLIKELY(unsubmitted(u) == u->sq_entries)) {
        if (enter(u, 0, IORING_ENTER_GETEVENTS, PL_FOREVER) < 0) {
            reap(l, u); // makes room where the completion queue was full
            (void)enter(u, 0, IORING_ENTER_GETEVENTS, PL_FOREVER); // a failure that lasts is poll's
        }
        if (unsubmitted(u) == u->sq_entries)
            return NULL;
    }
    struct io_uring_sqe *sqe = &u->sqes[u->sq_next++ & u->sq_mask];
    memset(sqe, 0, sizeof *sqe);
    return sqe;
}

// ---- operations to entries

static uint32_t clamp(size_t len)
{
    return len > PL_MAX_TRANSFER ? (uint32_t)PL_MAX_TRANSFER : (uint32_t)len;
}

static uint32_t poll_word(unsigned events)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    return events << 16 | events >> 16; // the kernel's layout of this word
#else
    return events;
#endif
}

static unsigned poll_events_for(const struct pl_op *op)
{
    switch (op->code) {
    case PL_OP_WRITE:
    case PL_OP_WRITEV:
    case PL_OP_SEND:
    case PL_OP_SENDMSG:
    case PL_OP_CONNECT:
        return POLLOUT;
    default:
        return POLLIN;
    }
}

static void no_sigpipe(struct uring *u, struct io_uring_sqe *sqe)
{
    if (sqe->opcode != IORING_OP_WRITE && sqe->opcode != IORING_OP_WRITEV)
        return;
    if (pl_rwf_nosignal())
        sqe->rw_flags = RWF_NOSIGNAL;
    else
        u->may_signal = pl_sigpipe_unblocked();
}

static void fill(struct uring *u, struct io_uring_sqe *sqe, struct pl_op *op)
{
    op->tag = (uint64_t)++u->generation << 48 | ((uintptr_t)op & POINTER_MASK);
    sqe->user_data = op->tag;
    sqe->fd = op->fd;
    if (op->state & PL_OP_POLLING) {
        sqe->opcode = IORING_OP_POLL_ADD;
        sqe->poll32_events = poll_word(poll_events_for(op));
        return;
    }
    switch (op->code) {
    case PL_OP_READ:
    case PL_OP_WRITE:
        sqe->opcode = op->code == PL_OP_READ ? IORING_OP_READ : IORING_OP_WRITE;
        sqe->addr = (uintptr_t)op->buf;
        sqe->len = clamp(op->len);
        sqe->off = (uint64_t)op->offset;
        no_sigpipe(u, sqe);
        break;
    case PL_OP_READV:
    case PL_OP_WRITEV:
        sqe->opcode = op->code == PL_OP_READV ? IORING_OP_READV : IORING_OP_WRITEV;
        sqe->addr = (uintptr_t)op->iov;
        sqe->len = clamp(op->len);
        sqe->off = (uint64_t)op->offset;
        no_sigpipe(u, sqe);
        break;
    case PL_OP_RECV:
        sqe->opcode = IORING_OP_RECV;
        sqe->addr = (uintptr_t)op->buf;
        sqe->len = clamp(op->len);
        sqe->msg_flags = op->flags;
        if (slot_of(u, op->fd)->drained && !(op->flags & MSG_DONTWAIT))
            sqe->ioprio = IORING_RECVSEND_POLL_FIRST;
        break;
    case PL_OP_SEND:
        sqe->opcode = IORING_OP_SEND;
        sqe->addr = (uintptr_t)op->buf;
        sqe->len = clamp(op->len);
        sqe->msg_flags = op->flags | MSG_NOSIGNAL;
        break;
    case PL_OP_RECVMSG:
    case PL_OP_SENDMSG:
        sqe->opcode = op->code == PL_OP_RECVMSG ? IORING_OP_RECVMSG : IORING_OP_SENDMSG;
        sqe->addr = (uintptr_t)op->msg;
        sqe->len = 1;
        sqe->msg_flags = op->flags | (op->code == PL_OP_SENDMSG ? MSG_NOSIGNAL : 0);
        break;
    case PL_OP_ACCEPT:
        sqe->opcode = IORING_OP_ACCEPT;
        sqe->addr = (uintptr_t)op->addr;
        sqe->addr2 = (uintptr_t)op->addrlen;
        sqe->accept_flags = op->flags;
        break;
    case PL_OP_CONNECT:
        sqe->opcode = IORING_OP_CONNECT;
        sqe->addr = (uintptr_t)op->dest;
        sqe->off = op->destlen;
        break;
    case PL_OP_POLL:
        sqe->opcode = IORING_OP_POLL_ADD;
        sqe->poll32_events = poll_word(op->flags);
        break;
    case PL_OP_OPENAT:
        sqe->opcode = IORING_OP_OPENAT;
        sqe->addr = (uintptr_t)op->path;
        sqe->open_flags = op->flags;
        sqe->len = op->mode;
        break;
    case PL_OP_CLOSE:
        sqe->opcode = IORING_OP_CLOSE;
        break;
    case PL_OP_FSYNC:
        sqe->opcode = IORING_OP_FSYNC;
        sqe->fsync_flags = op->flags & PL_FSYNC_DATA ? IORING_FSYNC_DATASYNC : 0;
        break;
    case PL_OP_STATX:
        sqe->opcode = IORING_OP_STATX;
        sqe->addr = (uintptr_t)op->path;
        sqe->len = op->mode;
        sqe->off = (uintptr_t)op->statx;
        sqe->statx_flags = op->flags;
        break;
    case PL_OP_NOP:
        sqe->opcode = IORING_OP_NOP;
        sqe->fd = -1;
        break;
    default:
        PL_BUG("an operation has the unknown code %d", (int)op->code);
    }
}

// Whether the operation occupies a slot: those whose fd is a descriptor that can be waited on.
static bool uses_slot(const struct pl_op *op)
{
    return op->code != PL_OP_NOP && op->code != PL_OP_CLOSE && op->code != PL_OP_OPENAT &&
           op->code != PL_OP_STATX;
}

// Gives the operation to the submission queue; false when there is no room.
static bool submit(struct pl_loop *l, struct uring *u, struct pl_op *op)
{
    // Closing a descriptor does not end the requests on it: ask them to end first.
    if (op->code == PL_OP_CLOSE && slot_of(u, op->fd)->waiting > 0) {
        struct io_uring_sqe *sqe = next_sqe(l, u);
        if (!sqe)
            return false;
        sqe->opcode = IORING_OP_ASYNC_CANCEL;
        sqe->fd = op->fd;
        sqe->cancel_flags = IORING_ASYNC_CANCEL_FD | IORING_ASYNC_CANCEL_ALL;
        sqe->user_data = TAG_CANCEL; // its success is a count, so it cannot be skipped
    }
    struct io_uring_sqe *sqe = next_sqe(l, u);
    if (!sqe)
        return false;
    fill(u, sqe, op);
    op->state = (op->state & ~(unsigned)PL_OP_STATE_MASK) | PL_OP_RING;
    return true;
}

static bool submit_cancel(struct pl_loop *l, struct uring *u, struct pl_op *op)
{
    struct io_uring_sqe *sqe = next_sqe(l, u);
    if (!sqe)
        return false;
    sqe->opcode = IORING_OP_ASYNC_CANCEL;
    sqe->fd = -1;
    sqe->addr = op->tag;
    sqe->user_data = TAG_CANCEL;
    sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
    return true;
}

static void finish(struct pl_loop *l, struct uring *u, struct pl_op *op, int64_t result)
{
    if (uses_slot(op))
        slot_of(u, op->fd)->waiting--;
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
    if (uses_slot(op))
        slot_of(u, op->fd)->waiting++;
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
        op->state |= PL_OP_LINKED;
        pl_op_list_add(&u->backlog, op);
    }
}

static void drain_backlog(struct pl_loop *l, struct uring *u)
{
    struct pl_op *op;
    while (PL_UNLIKELY((op = u->backlog.first) != NULL)) {
        bool linked = op->state & PL_OP_LINKED;
        // next_sqe may reap, and thereby unlink or finish this very operation: then go on with the next.
        bool taken = linked ? submit_cancel(l, u, op) : submit(l, u, op);
        if (!taken && u->backlog.first == op)
            return;
        if (!taken)
            continue;
        if (u->backlog.first == op)
            pl_op_list_remove(&u->backlog, op);
        op->state &= ~(unsigned)PL_OP_LINKED;
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
    if (op->code == PL_OP_POLL && result > 0 && (result & (POLLPRI | POLLRDBAND))) {
        // A wake-up names these two whenever anything arrives; only asking tells whether they are true.
        int64_t now = pl_op_attempt(op);
        result = now == -EAGAIN && !(op->state & PL_OP_CANCEL) ? -EINTR : (int)now;
    }
    if (op->code == PL_OP_RECV)
        slot_of(u, op->fd)->drained = result > 0 && !(flags & IORING_CQE_F_SOCK_NONEMPTY);

    if (PL_UNLIKELY(op->state & PL_OP_POLLING)) {
        // The descriptor is ready, or cannot be polled: the operation itself will tell.
        op->state &= ~(unsigned)PL_OP_POLLING;
        if (result == -ECANCELED || (op->state & PL_OP_CANCEL))
            finish(l, u, op, -ECANCELED);
        else
            to_backlog(u, op);
        return;
    }
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

static void arm_wake(struct pl_loop *l, struct uring *u)
{
    struct io_uring_sqe *sqe = next_sqe(l, u);
    PL_ASSERT(sqe); // asked for only when the queue was just submitted
    sqe->opcode = IORING_OP_POLL_ADD;
    sqe->fd = u->wake_fd;
    sqe->poll32_events = poll_word(POLLIN);
    sqe->len = IORING_POLL_ADD_MULTI;
    sqe->user_data = TAG_WAKE;
}

static void ours(struct pl_loop *l, struct uring *u, const struct io_uring_cqe *cqe)
{
    switch (cqe->user_data & TAG_MASK) {
    case TAG_WAKE:
        // The eventfd is never read: each write to it posts one completion, which is all we need.
        if (cqe->res != WAKE_MESSAGE && !(cqe->flags & IORING_CQE_F_MORE))
            arm_wake(l, u);
        break;
    case TAG_TIMER:
        if (cqe->user_data >> 3 == u->timer_sequence)
            u->timer_deadline = PL_FOREVER;
        break;
    default: // a cancel request that found nothing, or too late; a no-op that made the ring readable
        break;
    }
}

static void reap(struct pl_loop *l, struct uring *u)
{
    uint32_t head = atomic_load_explicit(u->cq_head, memory_order_relaxed); // we alone write it
    // Acquire pairs with the kernel's release of the tail: the entries before it are written.
    uint32_t tail = atomic_load_explicit(u->cq_tail, memory_order_acquire);
    while (head != tail) {
        struct io_uring_cqe cqe = u->cqes[head & u->cq_mask];
        // Release pairs with the kernel's acquire of the head: the entry may be overwritten. Before the
        // entry is acted upon, because that may submit, and so let the kernel look for room.
        atomic_store_explicit(u->cq_head, ++head, memory_order_release);
        if ((cqe.user_data & TAG_MASK) == TAG_OP)
            completed(l, u, (struct pl_op *)(uintptr_t)(cqe.user_data & POINTER_MASK), cqe.res,
                      cqe.flags);
        else
            ours(l, u, &cqe);
    }
}

static bool completions_waiting(const struct uring *u)
{
    // Relaxed: reap loads the tail again with acquire.
    return atomic_load_explicit(u->cq_tail, memory_order_relaxed) !=
           atomic_load_explicit(u->cq_head, memory_order_relaxed);
}

static bool kernel_has_work(const struct uring *u)
{
    // Relaxed: the system call that this asks for is the barrier.
    return atomic_load_explicit(u->sq_flags, memory_order_relaxed) &
           (PL_RING_TASKRUN | PL_RING_OVERFLOW);
}

static int uring_poll(struct pl_loop *l, int64_t deadline)
{
    struct uring *u = l->impl;
    drain_backlog(l, u);
    int64_t timeout = 0;
    bool wait = deadline > 0 && !l->finished.first && !u->backlog.first && !completions_waiting(u);
    if (wait) {
        timeout = pl_clock_left(deadline);
        wait = timeout > 0 && pl_loop_wake_sleep(l);
    }
    int n = 0;
    if (wait || unsubmitted(u) > 0 || kernel_has_work(u) || u->backlog.first)
        n = enter(u, wait, IORING_ENTER_GETEVENTS, wait ? timeout : PL_FOREVER);
    pl_loop_wake_awake(l);
    reap(l, u);
    drain_backlog(l, u);
    if (n == -ETIME || n == -EINTR || n == -EBUSY || n == -EAGAIN)
        n = 0; // the deadline, a signal, or a full kernel that gives way as completions are taken
    int completed = pl_loop_run_finished(l);
    return n < 0 && completed == 0 ? n : completed;
}

// ---- wake, foreign loops

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

static int uring_fd(struct pl_loop *l)
{
    return ((struct uring *)l->impl)->fd;
}

// Replaces the timer in the ring by one for the deadline, if they differ.
static int set_timer(struct pl_loop *l, struct uring *u, int64_t deadline,
                     struct __kernel_timespec *ts)
{
    if (deadline == u->timer_deadline)
        return 0;
    if (u->timer_deadline != PL_FOREVER) {
        struct io_uring_sqe *sqe = next_sqe(l, u);
        if (!sqe)
            return -EAGAIN;
        sqe->opcode = IORING_OP_TIMEOUT_REMOVE;
        sqe->fd = -1;
        sqe->addr = u->timer_sequence << 3 | TAG_TIMER;
        sqe->user_data = TAG_CANCEL;
        sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
        u->timer_deadline = PL_FOREVER;
    }
    if (deadline == PL_FOREVER)
        return 0;
    struct io_uring_sqe *sqe = next_sqe(l, u);
    if (!sqe)
        return -EAGAIN;
    *ts = (struct __kernel_timespec){ .tv_sec = deadline / PL_SECOND,
                                      .tv_nsec = deadline % PL_SECOND };
    sqe->opcode = IORING_OP_TIMEOUT;
    sqe->fd = -1;
    sqe->addr = (uintptr_t)ts; // read by the kernel when it takes the entry
    sqe->len = 1;
    sqe->timeout_flags = IORING_TIMEOUT_ABS;
    sqe->user_data = ++u->timer_sequence << 3 | TAG_TIMER;
    u->timer_deadline = deadline;
    return 0;
}

static int uring_arm(struct pl_loop *l, int64_t deadline)
{
    struct uring *u = l->impl;
    struct __kernel_timespec ts;
    drain_backlog(l, u);
    bool now = !pl_loop_wake_sleep(l) || l->finished.first || u->backlog.first || deadline <= 0;
    if (now) {
        struct io_uring_sqe *sqe = next_sqe(l, u);
        if (sqe) { // no room: the entries in the way complete, or fail, soon enough
            sqe->opcode = IORING_OP_NOP;
            sqe->user_data = TAG_NOP;
        }
    } else {
        int err = set_timer(l, u, deadline, &ts);
        if (err)
            return err;
    }
    if (unsubmitted(u) == 0 && u->enabled)
        return 0;
    int n = enter(u, 0, 0, PL_FOREVER);
    return n < 0 && n != -EINTR && n != -EBUSY && n != -EAGAIN ? n : 0;
}

static bool uring_would_block(struct pl_loop *l, struct pl_op *op)
{
    (void)l;
    (void)op;
    return false;
}

// ---- set-up

static void uring_free(struct uring *u)
{
    if (u->sqes)
        munmap(u->sqes, u->sqes_bytes);
    if (u->rings)
        munmap(u->rings, u->rings_bytes);
    if (u->enter_flags & IORING_ENTER_REGISTERED_RING) {
        struct io_uring_rsrc_update update = { .offset = (uint32_t)u->enter_fd };
        // Fails when this is not the owner's thread: the owner's end gives the reference back.
        (void)pl_uring_register(u->fd, IORING_UNREGISTER_RING_FDS, &update, 1);
    }
    if (u->wake_fd >= 0)
        close(u->wake_fd);
    if (u->fd >= 0)
        close(u->fd);
    pl_free_mem(u);
}

static void uring_done(struct pl_loop *l)
{
    uring_free(l->impl);
}

static int set_up_ring(struct uring *u, unsigned entries, struct io_uring_params *params)
{
    const unsigned always = IORING_SETUP_R_DISABLED | IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE |
                            IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN |
                            IORING_SETUP_TASKRUN_FLAG;
    const unsigned deferred = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
    // Linux 6.6, 6.1, 5.19; what is older lacks cancelling by descriptor.
    const unsigned steps[] = { always | deferred | IORING_SETUP_NO_SQARRAY, always | deferred,
                               always };
    int fd = -EINVAL;
    for (size_t i = 0; fd == -EINVAL && i < sizeof steps / sizeof *steps; i++) {
        *params = (struct io_uring_params){ .flags = steps[i], .cq_entries = 4 * entries };
        fd = pl_uring_setup(entries, params);
    }
    if (fd < 0)
        return fd == -EINVAL ? -ENOSYS : fd;
    u->fd = u->enter_fd = fd;
    return 0;
}

static int map_rings(struct uring *u, const struct io_uring_params *params)
{
    size_t sq = params->sq_off.array + params->sq_entries * sizeof(uint32_t);
    size_t cq = params->cq_off.cqes + params->cq_entries * sizeof(struct io_uring_cqe);
    u->rings_bytes = sq > cq ? sq : cq;
    u->sqes_bytes = params->sq_entries * sizeof(struct io_uring_sqe);
    const int prot = PROT_READ | PROT_WRITE, flags = MAP_SHARED | MAP_POPULATE;
    int err = pl_fault(PL_FAULT_SYSCALL);
    if (err)
        return err;
    void *rings = mmap(NULL, u->rings_bytes, prot, flags, u->fd, (off_t)IORING_OFF_SQ_RING);
    if (rings == MAP_FAILED)
        return -errno;
    u->rings = rings;
    void *sqes = mmap(NULL, u->sqes_bytes, prot, flags, u->fd, (off_t)IORING_OFF_SQES);
    if (sqes == MAP_FAILED)
        return -errno;
    u->sqes = sqes;

    char *base = rings;
    u->sq_head = (_Atomic uint32_t *)(base + params->sq_off.head);
    u->sq_tail = (_Atomic uint32_t *)(base + params->sq_off.tail);
    u->sq_flags = (_Atomic uint32_t *)(base + params->sq_off.flags);
    u->sq_entries = params->sq_entries;
    u->sq_mask = params->sq_entries - 1;
    u->cq_head = (_Atomic uint32_t *)(base + params->cq_off.head);
    u->cq_tail = (_Atomic uint32_t *)(base + params->cq_off.tail);
    u->cq_mask = params->cq_entries - 1;
    u->cqes = (struct io_uring_cqe *)(base + params->cq_off.cqes);
    if (!(params->flags & IORING_SETUP_NO_SQARRAY)) {
        // The indirection that nobody wanted: entry i is at index i, for ever.
        uint32_t *array = (uint32_t *)(base + params->sq_off.array);
        for (uint32_t i = 0; i < params->sq_entries; i++)
            array[i] = i;
    }
    return 0;
}

static int probe(struct uring *u)
{
    static const uint8_t needed[] = {
        IORING_OP_NOP,          IORING_OP_READ,    IORING_OP_WRITE,          IORING_OP_READV,
        IORING_OP_WRITEV,       IORING_OP_RECV,    IORING_OP_SEND,           IORING_OP_RECVMSG,
        IORING_OP_SENDMSG,      IORING_OP_ACCEPT,  IORING_OP_CONNECT,        IORING_OP_POLL_ADD,
        IORING_OP_OPENAT,       IORING_OP_CLOSE,   IORING_OP_FSYNC,          IORING_OP_STATX,
        IORING_OP_ASYNC_CANCEL, IORING_OP_TIMEOUT, IORING_OP_TIMEOUT_REMOVE,
    };
    struct {
        struct io_uring_probe head;
        struct io_uring_probe_op ops[256];
    } probe = { 0 };
    int err = pl_uring_register(u->fd, IORING_REGISTER_PROBE, &probe, 256);
    if (err)
        return err;
    for (size_t i = 0; i < sizeof needed; i++)
        if (needed[i] > probe.head.last_op || !(probe.ops[needed[i]].flags & IO_URING_OP_SUPPORTED))
            return -ENOSYS;
    // A blind send to a descriptor that is no ring: EBADFD says that the kernel knows how, EINVAL not.
    struct io_uring_sqe sqe = { .opcode = IORING_OP_MSG_RING, .fd = -1 };
    err = pl_uring_register(-1, PL_IORING_REGISTER_SEND_MSG_RING, &sqe, 1);
    u->message_ring = err == -EBADF;
    return 0;
}

static int open_wake(struct uring *u)
{
    int err = pl_fault(PL_FAULT_SYSCALL);
    if (err)
        return err;
    u->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return u->wake_fd < 0 ? -errno : 0;
}

static const struct pl_loop_vtable uring_vtable = {
    .done = uring_done,
    .start = uring_start,
    .cancel = uring_cancel,
    .poll = uring_poll,
    .signal = uring_signal,
    .fd = uring_fd,
    .arm = uring_arm,
    .would_block = uring_would_block,
};

int pl_uring_init(struct pl_loop *l, unsigned entries)
{
    struct uring *u = pl_zalloc(sizeof *u);
    if (!u)
        return -ENOMEM;
    u->fd = u->wake_fd = -1;
    u->timer_deadline = PL_FOREVER;
    struct io_uring_params params;
    int err = set_up_ring(u, entries, &params);
    const unsigned features = IORING_FEAT_SINGLE_MMAP | IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG |
                              IORING_FEAT_RW_CUR_POS | IORING_FEAT_FAST_POLL | IORING_FEAT_CQE_SKIP;
    if (!err && (params.features & features) != features)
        err = -ENOSYS;
    if (!err)
        err = probe(u);
    if (!err)
        err = map_rings(u, &params);
    if (!err)
        err = open_wake(u);
    if (err) {
        uring_free(u);
        return err;
    }
    arm_wake(l, u);
    l->vtable = &uring_vtable;
    l->impl = u;
    l->cq_head = u->cq_head;
    l->cq_tail = u->cq_tail;
    l->sq_flags = u->sq_flags;
    return 0;
}
