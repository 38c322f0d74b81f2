// SPDX-License-Identifier: MIT
// uring.h - what the files of the io_uring backend share; nobody else includes it.
#ifndef PL_OS_URING_H
#define PL_OS_URING_H

#include "base/bug.h"
#include "os/loop_backend.h"
#include "os/uring_abi.h"

enum { TAG_OP, TAG_WAKE, TAG_CANCEL, TAG_TIMER, TAG_NOP, TAG_MASK = 7 };

#define POINTER_MASK ((UINT64_C(1) << 48) - 1)
#define FD_SLOTS     4096u
#define WAKE_MESSAGE 0x4000 // the result of a wake message: no poll event

struct uring {
    int fd;       // of the ring
    int enter_fd; // the same, or its index among the thread's registered rings
    unsigned enter_flags;
    unsigned setup_flags;
    bool enabled;
    bool message_ring; // wakes are messages
    int wake_fd; // polled in the ring: for older kernels, and for when a message has no memory
    bool wake_armed;

    // Submission queue: we write the tail, the kernel the head. sq_next is the tail not yet
    // published.
    _Atomic uint32_t *sq_head, *sq_tail, *sq_flags;
    uint32_t sq_entries, sq_mask, sq_next;
    struct io_uring_sqe *sqes;

    // Completion queue: the kernel writes the tail, we the head.
    _Atomic uint32_t *cq_head, *cq_tail;
    uint32_t cq_mask;
    struct io_uring_cqe *cqes;

    uint16_t generation;
    bool timer_in_ring;     // a timer for foreign loops has been submitted and has not fired
    int64_t timer_deadline; // its deadline
    struct pl_op_list backlog;
    struct pl_op_list sought; // their cancel request is on its way

    void *rings;
    size_t rings_bytes, sqes_bytes;
    uint32_t waiting[FD_SLOTS]; // operations in flight, by the low bits of their descriptor
    bool may_signal;            // a write was started that could raise SIGPIPE
};

static inline uint32_t pl_uring_poll_word(unsigned events)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    return events << 16 | events >> 16; // the kernel's layout of this word
#else
    return events;
#endif
}

// Entries that were filled and have not been taken by the kernel.
static inline uint32_t pl_uring_unsubmitted(const struct uring *u)
{
    // Acquire pairs with the kernel's release of the head: entries before it may be written again.
    return u->sq_next - atomic_load_explicit(u->sq_head, memory_order_acquire);
}

static inline bool pl_uring_completions_waiting(const struct uring *u)
{
    // Relaxed: reap loads the tail again with acquire.
    return atomic_load_explicit(u->cq_tail, memory_order_relaxed) !=
           atomic_load_explicit(u->cq_head, memory_order_relaxed);
}

static inline bool pl_uring_kernel_has_work(const struct uring *u)
{
    // Relaxed: the system call that this asks for is the barrier.
    return atomic_load_explicit(u->sq_flags, memory_order_relaxed) &
           (PL_RING_TASKRUN | PL_RING_OVERFLOW);
}

// uring_queue.c: io_uring_enter. timeout in ns, PL_FOREVER: none. And the next free entry, zeroed,
// or NULL when the kernel takes no more for the time being.
int pl_uring_submit(struct uring *u, unsigned wait, unsigned flags, int64_t timeout);
struct io_uring_sqe *pl_uring_next_sqe(struct pl_loop *l, struct uring *u);

// uring.c. Reaping takes what has completed. It submits nothing: it runs in the middle of that.
void pl_uring_reap(struct pl_loop *l, struct uring *u);
void pl_uring_drain_backlog(struct pl_loop *l, struct uring *u);
void pl_uring_arm_wake(struct pl_loop *l, struct uring *u);
void pl_uring_use(struct pl_loop *l, struct uring *u);

// uring_foreign.c
int pl_uring_fd(struct pl_loop *l);
int pl_uring_arm(struct pl_loop *l, int64_t deadline);

// uring_op.c: writes the operation, or the poll that stands for it, into a zeroed entry.
void pl_uring_fill(struct pl_loop *l, struct io_uring_sqe *sqe, struct pl_op *op);

// uring_open.c: deferred as in DESIGN; NULL and *err where that fails.
struct uring *pl_uring_open(unsigned entries, bool deferred, int *err);
void pl_uring_free(struct uring *u);

#endif
