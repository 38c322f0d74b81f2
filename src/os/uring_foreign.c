// SPDX-License-Identifier: MIT
/*
 * uring_foreign.c - a ring that is driven from a foreign loop.
 *
 * DESIGN
 *   A foreign loop sleeps in its own poll(2), and deferred completions would not end that sleep:
 *   they wait for our io_uring_enter. The first pl_loop_fd therefore changes to a ring without
 *   DEFER_TASKRUN, whose completions run when the kernel likes and make the ring readable. An
 *   eventfd registered with a deferring ring was tried: it is signalled, but on Linux 6.11 to 6.18
 *   only once where the completion comes from a write to another eventfd.
 */
#include <errno.h>

#include "os/clock.h"
#include "os/uring.h"

int pl_uring_fd(struct pl_loop *l)
{
    struct uring *u = l->impl;
    if (u->setup_flags & IORING_SETUP_DEFER_TASKRUN) {
        if (l->inflight > 0)
            return -EBUSY;
        int err;
        struct uring *fresh = pl_uring_open(u->sq_entries, false, &err);
        if (!fresh)
            return err;
        pl_uring_free(u);
        pl_uring_use(l, fresh);
        u = fresh;
    }
    return u->fd;
}

// Makes the ring's one timer fire at the deadline. It is moved rather than removed: a removed timer
// completes, and would make us readable for nothing.
static int set_timer(struct pl_loop *l, struct uring *u, int64_t deadline,
                     struct __kernel_timespec *ts)
{
    if (u->timer_in_ring ? deadline == u->timer_deadline : deadline == PL_FOREVER)
        return 0;
    struct io_uring_sqe *sqe = pl_uring_next_sqe(l, u);
    if (!sqe)
        return -EAGAIN;
    *ts = (struct __kernel_timespec){ .tv_sec = deadline / PL_SECOND,
                                      .tv_nsec = deadline % PL_SECOND };
    sqe->fd = -1;
    sqe->timeout_flags = IORING_TIMEOUT_ABS;
    // The kernel reads *ts when it takes the entry.
    if (u->timer_in_ring) {
        sqe->opcode = IORING_OP_TIMEOUT_REMOVE;
        sqe->timeout_flags |= IORING_TIMEOUT_UPDATE;
        sqe->addr = TAG_TIMER;
        sqe->addr2 = (uintptr_t)ts;
        sqe->user_data = TAG_CANCEL;
        sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
    } else {
        sqe->opcode = IORING_OP_TIMEOUT;
        sqe->addr = (uintptr_t)ts;
        sqe->len = 1;
        sqe->user_data = TAG_TIMER;
    }
    u->timer_in_ring = true;
    u->timer_deadline = deadline;
    return 0;
}

int pl_uring_arm(struct pl_loop *l, int64_t deadline)
{
    int fd = pl_uring_fd(l);
    if (fd < 0)
        return fd;
    struct uring *u = l->impl;
    if (PL_UNLIKELY(!u->wake_armed))
        pl_uring_arm_wake(l, u);
    pl_uring_drain_backlog(l, u);
    bool now = !pl_loop_wake_sleep(l) || l->finished.first || u->backlog.first || !u->wake_armed ||
               deadline <= 0;
    struct __kernel_timespec ts;
    int err = now ? 0 : set_timer(l, u, deadline, &ts);
    if (err)
        return err;
    if (now) {
        struct io_uring_sqe *sqe = pl_uring_next_sqe(l, u);
        if (sqe) { // no room: those in the way complete, or fail, and make us readable
            sqe->opcode = IORING_OP_NOP;
            sqe->user_data = TAG_NOP;
        }
    }
    if (pl_uring_unsubmitted(u) == 0 && u->enabled)
        return 0;
    int n = pl_uring_submit(u, 0, IORING_ENTER_GETEVENTS, PL_FOREVER);
    return n < 0 && n != -EINTR && n != -EBUSY && n != -EAGAIN ? n : 0;
}
