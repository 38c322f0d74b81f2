// SPDX-License-Identifier: MIT
// uring_open.c - making a ring: what the kernel offers, what is missing, and where its memory lies.
#include <errno.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "os/alloc.h"
#include "os/uring.h"

void pl_uring_free(struct uring *u)
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

static int set_up_ring(struct uring *u, unsigned entries, bool deferred,
                       struct io_uring_params *params)
{
    const unsigned always = IORING_SETUP_R_DISABLED | IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE |
                            IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN |
                            IORING_SETUP_TASKRUN_FLAG;
    const unsigned newer = IORING_SETUP_SINGLE_ISSUER | (deferred ? IORING_SETUP_DEFER_TASKRUN : 0);
    // Linux 6.6, 6.1, 5.19; what is older lacks cancelling by descriptor.
    const unsigned steps[] = { always | newer | IORING_SETUP_NO_SQARRAY, always | newer, always };
    int fd = -EINVAL;
    for (size_t i = 0; fd == -EINVAL && i < sizeof steps / sizeof *steps; i++) {
        *params = (struct io_uring_params){ .flags = steps[i], .cq_entries = 4 * entries };
        fd = pl_uring_setup(entries, params);
    }
    if (fd < 0)
        return fd == -EINVAL ? -ENOSYS : fd;
    u->fd = u->enter_fd = fd;
    u->setup_flags = params->flags;
    const unsigned features = IORING_FEAT_SINGLE_MMAP | IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG |
                              IORING_FEAT_RW_CUR_POS | IORING_FEAT_FAST_POLL | IORING_FEAT_CQE_SKIP;
    return (params->features & features) == features ? 0 : -ENOSYS;
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
    const unsigned ops = 256;
    struct io_uring_probe *known = pl_zalloc(sizeof *known + ops * sizeof known->ops[0]);
    if (!known)
        return -ENOMEM;
    int err = pl_uring_register(u->fd, IORING_REGISTER_PROBE, known, ops);
    for (size_t i = 0; !err && i < sizeof needed; i++)
        if (needed[i] > known->last_op || !(known->ops[needed[i]].flags & IO_URING_OP_SUPPORTED))
            err = -ENOSYS;
    pl_free_mem(known);
    if (err)
        return err;
    // A message to no ring at all: EBADF says that the kernel knows how to send one, EINVAL not.
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

struct uring *pl_uring_open(unsigned entries, bool deferred, int *err)
{
    struct uring *u = pl_zalloc(sizeof *u);
    if (!u) {
        *err = -ENOMEM;
        return NULL;
    }
    u->fd = u->wake_fd = -1;
    struct io_uring_params params;
    *err = set_up_ring(u, entries, deferred, &params);
    if (!*err)
        *err = probe(u);
    if (!*err)
        *err = map_rings(u, &params);
    if (!*err)
        *err = open_wake(u);
    if (*err) {
        pl_uring_free(u);
        return NULL;
    }
    return u;
}
