// SPDX-License-Identifier: MIT
// uring_op.c - operations as entries of io_uring's submission queue.
#include <sys/socket.h>

#include "os/uring.h"

static uint32_t clamp(size_t len)
{
    return len > PL_MAX_TRANSFER ? (uint32_t)PL_MAX_TRANSFER : (uint32_t)len;
}

static void mind_writes(struct uring *u, struct io_uring_sqe *sqe, const struct pl_op *op)
{
    if (op->code != PL_OP_WRITE && op->code != PL_OP_WRITEV)
        return;
    // A stopped terminal would block the ring's own system call.
    if (pl_op_writes_terminal(op))
        sqe->flags |= IOSQE_ASYNC;
    if (pl_rwf_nosignal())
        sqe->rw_flags = RWF_NOSIGNAL;
    else
        u->may_signal = pl_sigpipe_unblocked();
}

static void fill_recv(struct pl_loop *l, struct io_uring_sqe *sqe, const struct pl_op *op,
                      unsigned flags)
{
    sqe->opcode = IORING_OP_RECV;
    sqe->addr = (uintptr_t)op->buf;
    sqe->len = clamp(op->len);
    sqe->msg_flags = flags;
    if (pl_hint(l->drained, op->fd) && !(flags & MSG_DONTWAIT))
        sqe->ioprio = IORING_RECVSEND_POLL_FIRST;
}

static void fill_send(struct io_uring_sqe *sqe, const struct pl_op *op, unsigned flags)
{
    sqe->opcode = IORING_OP_SEND;
    sqe->addr = (uintptr_t)op->buf;
    sqe->len = clamp(op->len);
    sqe->msg_flags = flags | MSG_NOSIGNAL;
}

void pl_uring_fill(struct pl_loop *l, struct io_uring_sqe *sqe, struct pl_op *op)
{
    struct uring *u = l->impl;
    op->tag = (uint64_t)++u->generation << 48 | ((uintptr_t)op & POINTER_MASK);
    sqe->user_data = op->tag;
    sqe->fd = op->fd;
    if (op->state & PL_OP_POLLING) {
        sqe->opcode = IORING_OP_POLL_ADD;
        sqe->poll32_events = pl_uring_poll_word((unsigned)pl_op_poll_events(op));
        return;
    }
    switch (op->code) {
    case PL_OP_READ:
    case PL_OP_WRITE:
        if (pl_loop_as_socket(l, op)) {
            op->state |= PL_OP_AS_SOCKET;
            if (op->code == PL_OP_READ)
                fill_recv(l, sqe, op, 0);
            else
                fill_send(sqe, op, 0);
            break;
        }
        sqe->opcode = op->code == PL_OP_READ ? IORING_OP_READ : IORING_OP_WRITE;
        sqe->addr = (uintptr_t)op->buf;
        sqe->len = clamp(op->len);
        sqe->off = (uint64_t)op->offset;
        mind_writes(u, sqe, op);
        break;
    case PL_OP_READV:
    case PL_OP_WRITEV:
        sqe->opcode = op->code == PL_OP_READV ? IORING_OP_READV : IORING_OP_WRITEV;
        sqe->addr = (uintptr_t)op->iov;
        sqe->len = clamp(op->len);
        sqe->off = (uint64_t)op->offset;
        mind_writes(u, sqe, op);
        break;
    case PL_OP_RECV:
        fill_recv(l, sqe, op, op->flags);
        break;
    case PL_OP_SEND:
        fill_send(sqe, op, op->flags);
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
        sqe->poll32_events = pl_uring_poll_word(op->flags);
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
