// SPDX-License-Identifier: MIT
// uring.h - what the three files of the io_uring backend share; nobody else includes it.
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

    // Submission queue: we write the tail, the kernel the head. sq_next is the tail not yet published.
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

// uring_op.c: writes the operation, or the poll that stands for it, into a zeroed entry.
void pl_uring_fill(struct pl_loop *l, struct io_uring_sqe *sqe, struct pl_op *op);

// uring_open.c: deferred as in DESIGN; NULL and *err where that fails.
struct uring *pl_uring_open(unsigned entries, bool deferred, int *err);
void pl_uring_free(struct uring *u);

#endif
