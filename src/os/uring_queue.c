// SPDX-License-Identifier: MIT
// uring_queue.c - room in the submission queue, and the one system call that submits and waits.
#include <errno.h>
#include <string.h>

#include "os/clock.h"
#include "os/uring.h"

static int enable(struct uring *u)
{
    // No fault door: nothing can be missing for it, and a worker could do nothing about it.
    if (syscall(__NR_io_uring_register, u->fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0) < 0)
        return -errno;
    u->enabled = true;
    // Registered with this thread, the ring's descriptor need not be looked up at each call. A
    // thread has room for 16; without it everything works the same.
    struct io_uring_rsrc_update update = { .offset = -1u, .data = (uint64_t)u->fd };
    if (pl_uring_register(u->fd, IORING_REGISTER_RING_FDS, &update, 1) == 1) {
        u->enter_fd = (int)update.offset;
        u->enter_flags = IORING_ENTER_REGISTERED_RING;
    }
    return 0;
}

int pl_uring_submit(struct uring *u, unsigned wait, unsigned flags, int64_t timeout)
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
        // A write whose reader has gone raises the signal in this call, also when it was submitted
        // by an earlier one and waited: the guard stays for all calls from now on.
        struct pl_sigpipe guard = pl_sigpipe_enter();
        n = pl_uring_enter(u->enter_fd, pl_uring_unsubmitted(u), wait, flags, &arg, sizeof arg);
        pl_sigpipe_leave(guard);
    } else {
        n = pl_uring_enter(u->enter_fd, pl_uring_unsubmitted(u), wait, flags, &arg, sizeof arg);
    }
    return n;
}

struct io_uring_sqe *pl_uring_next_sqe(struct pl_loop *l, struct uring *u)
{
    if (PL_UNLIKELY(pl_uring_unsubmitted(u) == u->sq_entries)) {
        if (pl_uring_submit(u, 0, IORING_ENTER_GETEVENTS, PL_FOREVER) < 0) {
            pl_uring_reap(l, u); // makes room where the completion queue was full
            (void)pl_uring_submit(u, 0, IORING_ENTER_GETEVENTS,
                                  PL_FOREVER); // a failure that lasts is poll's
        }
        if (pl_uring_unsubmitted(u) == u->sq_entries)
            return NULL;
    }
    struct io_uring_sqe *sqe = &u->sqes[u->sq_next++ & u->sq_mask];
    memset(sqe, 0, sizeof *sqe);
    return sqe;
}
