// SPDX-License-Identifier: MIT
/*
 * echo_raw.c - echo servers without plait: the floor that plait's is compared with.
 *
 *   serve_multishot   io_uring, multishot receive into provided buffers, sends in the ring
 *   serve_oneshot     io_uring, a receive a message: POLL_FIRST, into the connection's own buffer
 *   serve_direct      the same, and each answer by a send() of its own
 *   serve_epoll       epoll, level-triggered, recv() and send()
 */
#include <errno.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "echo.h"

#define BUFFER_BYTES 256
#define ENTRIES      4096u

static int accept_one(int listener)
{
    int one = 1, fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return -errno;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

// ---- epoll

int echo_serve_epoll(int listener, int connections)
{
    struct epoll_event events[256];
    char buf[BUFFER_BYTES];
    int ep = epoll_create1(0);
    if (ep < 0)
        return -errno;
    for (int i = 0; i < connections; i++) {
        struct epoll_event event = { .events = EPOLLIN, .data.fd = accept_one(listener) };
        if (event.data.fd < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, event.data.fd, &event) < 0)
            return -errno;
    }
    while (connections > 0) {
        int n = epoll_wait(ep, events, 256, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            ssize_t got = recv(fd, buf, sizeof buf, MSG_DONTWAIT);
            if (got > 0) {
                (void)send(fd, buf, (size_t)got, MSG_NOSIGNAL | MSG_DONTWAIT);
            } else if (got == 0 || errno != EAGAIN) {
                close(fd);
                connections--;
            }
        }
    }
    return 0;
}

// ---- io_uring

struct ring {
    int fd;
    unsigned *sq_head, *sq_tail, *cq_head, *cq_tail, sq_next, sq_mask, cq_mask;
    struct io_uring_sqe *sqes;
    struct io_uring_cqe *cqes;
};

static int ring_open(struct ring *r)
{
    struct io_uring_params p = { .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                                          IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL |
                                          IORING_SETUP_CQSIZE,
                                 .cq_entries = 4 * ENTRIES };
    r->fd = (int)syscall(__NR_io_uring_setup, ENTRIES, &p);
    if (r->fd < 0)
        return -errno;
    size_t bytes = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
    size_t sq_bytes = p.sq_off.array + p.sq_entries * sizeof(unsigned);
    bytes = bytes > sq_bytes ? bytes : sq_bytes;
    char *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r->fd,
                      (off_t)IORING_OFF_SQ_RING);
    void *sqes = mmap(NULL, p.sq_entries * sizeof(struct io_uring_sqe), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_POPULATE, r->fd, (off_t)IORING_OFF_SQES);
    if (base == MAP_FAILED || sqes == MAP_FAILED)
        return -errno;
    r->sqes = sqes;
    r->sq_head = (unsigned *)(base + p.sq_off.head);
    r->sq_tail = (unsigned *)(base + p.sq_off.tail);
    r->sq_mask = p.sq_entries - 1;
    r->cq_head = (unsigned *)(base + p.cq_off.head);
    r->cq_tail = (unsigned *)(base + p.cq_off.tail);
    r->cq_mask = p.cq_entries - 1;
    r->cqes = (struct io_uring_cqe *)(base + p.cq_off.cqes);
    unsigned *array = (unsigned *)(base + p.sq_off.array);
    for (unsigned i = 0; i < p.sq_entries; i++)
        array[i] = i;
    return 0;
}

static int ring_enter(struct ring *r, unsigned wait)
{
    __atomic_store_n(r->sq_tail, r->sq_next, __ATOMIC_RELEASE);
    unsigned submit = r->sq_next - __atomic_load_n(r->sq_head, __ATOMIC_ACQUIRE);
    return (int)syscall(__NR_io_uring_enter, r->fd, submit, wait, IORING_ENTER_GETEVENTS, NULL, 0);
}

static struct io_uring_sqe *ring_sqe(struct ring *r)
{
    if (r->sq_next - __atomic_load_n(r->sq_head, __ATOMIC_ACQUIRE) == ENTRIES)
        ring_enter(r, 0);
    struct io_uring_sqe *sqe = &r->sqes[r->sq_next++ & r->sq_mask];
    memset(sqe, 0, sizeof *sqe);
    return sqe;
}

// user_data: a send has the upper bit, and the buffer's number above the descriptor
#define SEND_BIT (UINT64_C(1) << 63)

static void add_send(struct ring *r, int fd, const void *buf, int len, uint64_t data)
{
    struct io_uring_sqe *sqe = ring_sqe(r);
    sqe->opcode = IORING_OP_SEND;
    sqe->fd = fd;
    sqe->addr = (uintptr_t)buf;
    sqe->len = (unsigned)len;
    sqe->msg_flags = MSG_NOSIGNAL;
    sqe->user_data = data | SEND_BIT;
}

// ---- multishot receive, provided buffers

struct buffers {
    struct io_uring_buf_ring *ring;
    char *memory;
    unsigned count, tail;
};

static void give_buffer(struct buffers *b, unsigned id)
{
    struct io_uring_buf *slot = &b->ring->bufs[b->tail++ & (b->count - 1)];
    slot->addr = (uintptr_t)(b->memory + (size_t)id * BUFFER_BYTES);
    slot->len = BUFFER_BYTES;
    slot->bid = (uint16_t)id;
    __atomic_store_n(&b->ring->tail, (uint16_t)b->tail, __ATOMIC_RELEASE);
}

static int open_buffers(struct ring *r, struct buffers *b, int connections)
{
    *b = (struct buffers){ .count = 256 };
    while (b->count < (unsigned)connections * 2 && b->count < 16384)
        b->count *= 2;
    b->ring = aligned_alloc(4096, b->count * sizeof(struct io_uring_buf));
    b->memory = malloc((size_t)b->count * BUFFER_BYTES);
    if (!b->ring || !b->memory)
        return -ENOMEM;
    b->ring->tail = 0;
    struct io_uring_buf_reg reg = { .ring_addr = (uintptr_t)b->ring, .ring_entries = b->count };
    if (syscall(__NR_io_uring_register, r->fd, IORING_REGISTER_PBUF_RING, &reg, 1) < 0)
        return -errno;
    for (unsigned i = 0; i < b->count; i++)
        give_buffer(b, i);
    return 0;
}

static void add_multishot(struct ring *r, int fd)
{
    struct io_uring_sqe *sqe = ring_sqe(r);
    sqe->opcode = IORING_OP_RECV;
    sqe->fd = fd;
    sqe->ioprio = IORING_RECV_MULTISHOT;
    sqe->flags = IOSQE_BUFFER_SELECT;
    sqe->user_data = (uint64_t)fd;
}

int echo_serve_multishot(int listener, int connections)
{
    struct ring r = { 0 };
    struct buffers b;
    int err = ring_open(&r);
    if (!err)
        err = open_buffers(&r, &b, connections);
    if (err)
        return err;
    for (int i = 0; i < connections; i++)
        add_multishot(&r, accept_one(listener));
    while (connections > 0) {
        ring_enter(&r, 1);
        unsigned head = *r.cq_head, tail = __atomic_load_n(r.cq_tail, __ATOMIC_ACQUIRE);
        for (; head != tail; head++) {
            const struct io_uring_cqe *cqe = &r.cqes[head & r.cq_mask];
            int fd = (int)(cqe->user_data & 0xffffffff);
            if (cqe->user_data & SEND_BIT) {
                give_buffer(&b, cqe->user_data >> 32 & 0xffff);
                continue; // a send that failed: the receive says so too
            }
            if (cqe->res > 0) {
                unsigned id = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
                add_send(&r, fd, b.memory + (size_t)id * BUFFER_BYTES, cqe->res,
                         (uint64_t)id << 32 | (unsigned)fd);
                if (!(cqe->flags & IORING_CQE_F_MORE))
                    add_multishot(&r, fd);
            } else if (cqe->res == -ENOBUFS) {
                add_multishot(&r, fd);
            } else {
                close(fd);
                connections--;
            }
        }
        __atomic_store_n(r.cq_head, head, __ATOMIC_RELEASE);
    }
    return 0;
}

// ---- one receive a message

static void add_recv(struct ring *r, int fd, char *buf)
{
    struct io_uring_sqe *sqe = ring_sqe(r);
    sqe->opcode = IORING_OP_RECV;
    sqe->fd = fd;
    sqe->ioprio = IORING_RECVSEND_POLL_FIRST;
    sqe->addr = (uintptr_t)buf;
    sqe->len = BUFFER_BYTES;
    sqe->user_data = (uint64_t)fd;
}

static int serve_single(int listener, int connections, int direct)
{
    struct ring r = { 0 };
    int err = ring_open(&r), highest = 0;
    if (err)
        return err;
    int *fds = malloc((size_t)connections * sizeof *fds);
    for (int i = 0; i < connections; i++) {
        fds[i] = accept_one(listener);
        highest = fds[i] > highest ? fds[i] : highest;
    }
    char *memory = malloc((size_t)(highest + 1) * BUFFER_BYTES);
    for (int i = 0; i < connections; i++)
        add_recv(&r, fds[i], memory + (size_t)fds[i] * BUFFER_BYTES);
    while (connections > 0) {
        ring_enter(&r, 1);
        unsigned head = *r.cq_head, tail = __atomic_load_n(r.cq_tail, __ATOMIC_ACQUIRE);
        for (; head != tail; head++) {
            const struct io_uring_cqe *cqe = &r.cqes[head & r.cq_mask];
            int fd = (int)(cqe->user_data & 0xffffffff);
            char *buf = memory + (size_t)fd * BUFFER_BYTES;
            if (cqe->user_data & SEND_BIT) {
                add_recv(&r, fd, buf);
            } else if (cqe->res <= 0) {
                close(fd);
                connections--;
            } else if (!direct) {
                add_send(&r, fd, buf, cqe->res, (uint64_t)fd);
            } else {
                (void)send(fd, buf, (size_t)cqe->res, MSG_NOSIGNAL | MSG_DONTWAIT);
                add_recv(&r, fd, buf); // says so where the send failed
            }
        }
        __atomic_store_n(r.cq_head, head, __ATOMIC_RELEASE);
    }
    free(memory);
    free(fds);
    return 0;
}

int echo_serve_oneshot(int listener, int connections)
{
    return serve_single(listener, connections, 0);
}

int echo_serve_direct(int listener, int connections)
{
    return serve_single(listener, connections, 1);
}
