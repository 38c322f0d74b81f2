// SPDX-License-Identifier: MIT
/*
 * epoll.c - the event loop over epoll, for where io_uring is refused.
 *
 * DESIGN
 *   An operation is first attempted without blocking; what would block waits in a list of its
 *   descriptor, and is attempted again when epoll says so. Three lists a descriptor: readers,
 *   writers, polls. In the first two the order of arrival is kept, and who comes while others wait
 *   goes behind them.
 *
 *   The attempt is skipped for a read that follows one which did not fill its buffer: it will most
 *   likely find nothing, and waiting (whose epoll_ctl looks at the readiness of the moment) costs
 *   the same call.
 *
 *   Descriptors are registered EPOLLONESHOT, and every wait makes its own epoll_ctl. A persistent
 *   edge-triggered registration would save that call (a tenth of a request), and was dropped:
 *   when a program closes a descriptor behind our back and the number is used again, the kernel has
 *   silently removed the registration, and the next wait would hang. Here epoll_ctl answers ENOENT,
 *   and we add it anew. For the same reason an event is only a hint that something may be ready:
 *   the attempt decides.
 *
 *   What epoll cannot wait for (regular files: EPERM) and what has no readiness (openat, fsync,
 *   statx) is executed at once, in pl_loop_start, and completes in the next poll.
 *   pl_loop_would_block_thread lets the layer above send such operations to a blocking thread
 *   instead.
 *
 *   The eventfd of wakes and the timerfd of foreign loops are registered edge-triggered and never
 *   read: each write, each expiry, is one event.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/bug.h"
#include "os/alloc.h"
#include "os/clock.h"
#include "os/fault.h"
#include "os/loop_backend.h"

enum { READERS, WRITERS, POLLS, LISTS };

// One a descriptor number, never moved: operations in its lists point back to nothing, but the
// table grows while callbacks hold entries.
struct entry {
    struct pl_op_list lists[LISTS];
    bool registered; // a hint: which of EPOLL_CTL_MOD and _ADD to try first
};

#define CHUNK  256u // entries allocated together
#define EVENTS 256  // taken from the kernel at once

// Event data above every descriptor: our own two.
#define OUR_WAKE  (UINT64_C(1) << 32)
#define OUR_TIMER (UINT64_C(2) << 32)

struct epoll {
    int fd, wake_fd, timer_fd;
    bool no_pwait2; // Linux before 5.11
    int64_t timer_deadline;
    unsigned waiting; // operations in the lists of all entries
    unsigned chunk_count;
    struct entry **chunks;
    struct epoll_event events[EVENTS];
};

// ---- the table of descriptors

static struct entry *find_entry(struct epoll *e, int fd)
{
    unsigned chunk = (unsigned)fd / CHUNK;
    return fd >= 0 && chunk < e->chunk_count && e->chunks[chunk]
               ? &e->chunks[chunk][(unsigned)fd % CHUNK]
               : NULL;
}

static struct entry *need_entry(struct epoll *e, int fd)
{
    struct entry *entry = find_entry(e, fd);
    if (entry)
        return entry;
    unsigned chunk = (unsigned)fd / CHUNK;
    if (chunk >= e->chunk_count) {
        unsigned count = e->chunk_count ? e->chunk_count : 8;
        while (count <= chunk)
            count *= 2;
        struct entry **chunks = pl_realloc(e->chunks, count * sizeof *chunks);
        if (!chunks)
            return NULL;
        memset(chunks + e->chunk_count, 0, (count - e->chunk_count) * sizeof *chunks);
        e->chunks = chunks;
        e->chunk_count = count;
    }
    e->chunks[chunk] = pl_zalloc_array(CHUNK, sizeof(struct entry));
    return find_entry(e, fd);
}

static int list_of(const struct pl_op *op)
{
    if (op->code == PL_OP_POLL)
        return POLLS;
    return pl_op_poll_events(op) == POLLOUT ? WRITERS : READERS;
}

static void finish(struct pl_loop *l, struct pl_op *op, int64_t result)
{
    pl_loop_note_drained(l, op, result > 0 && (size_t)result < op->len);
    pl_loop_finish(l, op, result);
}

static void wait_in(struct epoll *e, struct entry *entry, struct pl_op *op)
{
    op->state = (op->state & ~(unsigned)PL_OP_STATE_MASK) | PL_OP_WAITING;
    pl_op_list_add(&entry->lists[list_of(op)], op);
    e->waiting++;
}

static void wait_out(struct epoll *e, struct entry *entry, struct pl_op *op)
{
    pl_op_list_remove(&entry->lists[list_of(op)], op);
    e->waiting--;
}

// Ends every operation that waits on the descriptor.
static void end_all(struct pl_loop *l, struct epoll *e, struct entry *entry, int64_t result)
{
    struct pl_op *op;
    for (int i = 0; i < LISTS; i++) {
        while ((op = entry->lists[i].first) != NULL) {
            wait_out(e, entry, op);
            finish(l, op, result);
        }
    }
}

// ---- waiting

static uint32_t wanted(const struct entry *entry)
{
    // The EPOLL* and POLL* bits agree on Linux.
    uint32_t events = 0;
    if (entry->lists[READERS].first)
        events |= EPOLLIN;
    if (entry->lists[WRITERS].first)
        events |= EPOLLOUT;
    for (const struct pl_op *op = entry->lists[POLLS].first; op; op = op->next)
        events |= op->flags & 0xffffu;
    return events;
}

static int control(struct epoll *e, int what, int fd, uint32_t events)
{
    int err = pl_fault(PL_FAULT_SYSCALL);
    if (err)
        return err;
    struct epoll_event event = { .events = events, .data.u64 = (uint64_t)(unsigned)fd };
    return epoll_ctl(e->fd, what, fd, &event) < 0 ? -errno : 0;
}

// What epoll refuses to wait for (EPERM) never blocks for long: perform it now.
static void perform_all(struct pl_loop *l, struct epoll *e, struct entry *entry)
{
    struct pl_op *op;
    for (int i = 0; i < LISTS; i++) {
        while ((op = entry->lists[i].first) != NULL) {
            bool transfers = op->code >= PL_OP_READ && op->code <= PL_OP_WRITEV;
            wait_out(e, entry, op);
            finish(l, op, transfers ? pl_op_perform(op) : pl_loop_attempt(l, op));
        }
    }
}

// Asks to be told when the descriptor is ready for those who wait for it. Where that is refused,
// ends them.
static void arm_entry(struct pl_loop *l, struct epoll *e, struct entry *entry, int fd)
{
    uint32_t events = wanted(entry) | EPOLLONESHOT;
    int err = control(e, entry->registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, events);
    if (err == -ENOENT || err == -EEXIST)
        err = control(e, err == -ENOENT ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, events);
    entry->registered = err == 0;
    if (err == -EPERM)
        perform_all(l, e, entry);
    else if (err)
        end_all(l, e, entry, err);
}

// Attempts those in the list in their order until one would block.
static void attempt_list(struct pl_loop *l, struct epoll *e, struct entry *entry, int which)
{
    struct pl_op *op;
    while ((op = entry->lists[which].first) != NULL) {
        int64_t r = pl_loop_attempt(l, op);
        if (r == -EAGAIN)
            return;
        wait_out(e, entry, op);
        finish(l, op, r);
    }
}

static void attempt_polls(struct pl_loop *l, struct epoll *e, struct entry *entry)
{
    for (struct pl_op *next, *op = entry->lists[POLLS].first; op; op = next) {
        next = op->next;
        int64_t r = pl_loop_attempt(l, op);
        if (r == -EAGAIN)
            continue;
        wait_out(e, entry, op);
        finish(l, op, r);
    }
}

static void handle(struct pl_loop *l, struct epoll *e, const struct epoll_event *event)
{
    if (event->data.u64 >= OUR_WAKE) {
        if (event->data.u64 == OUR_TIMER)
            e->timer_deadline = PL_FOREVER; // it has fired
        return;
    }
    int fd = (int)event->data.u64;
    struct entry *entry = find_entry(e, fd);
    if (!entry)
        return;
    attempt_polls(l, e, entry); // before a reader takes away what they are to see
    if (event->events & ~(uint32_t)EPOLLOUT)
        attempt_list(l, e, entry, READERS);
    if (event->events & ~(uint32_t)EPOLLIN)
        attempt_list(l, e, entry, WRITERS);
    if (wanted(entry))
        arm_entry(l, e, entry, fd);
}

// ---- starting

static void start_waiter(struct pl_loop *l, struct epoll *e, struct pl_op *op)
{
    if (op->fd < 0) {
        pl_loop_finish(l, op, -EBADF);
        return;
    }
    struct entry *entry = need_entry(e, op->fd);
    if (!entry) {
        pl_loop_finish(l, op, -ENOMEM);
        return;
    }
    int list = list_of(op);
    if (list != POLLS && entry->lists[list].first) {
        wait_in(e, entry, op); // and the descriptor is armed for those in front
        return;
    }
    if (op->code == PL_OP_CONNECT) {
        int64_t r = pl_op_connect_start(op);
        if (r != -EINPROGRESS) {
            pl_loop_finish(l, op, r);
            return;
        }
    } else if (!(pl_op_drains(op) && pl_hint(l->drained, op->fd)) || pl_op_wants_eagain(op)) {
        int64_t r = pl_loop_attempt(l, op);
        if (r != -EAGAIN || pl_op_wants_eagain(op)) {
            finish(l, op, r);
            return;
        }
        bool transfers = op->code <= PL_OP_WRITEV && op->code >= PL_OP_READ;
        if (transfers && pl_fd_is_file(op->fd)) {
            finish(l, op, pl_op_perform(op));
            return;
        }
    }
    wait_in(e, entry, op);
    arm_entry(l, e, entry, op->fd);
}

static void start_close(struct pl_loop *l, struct epoll *e, struct pl_op *op)
{
    struct entry *entry = find_entry(e, op->fd);
    if (entry) {
        end_all(l, e, entry, -ECANCELED);
        // Closing removes the registration, but not while a duplicate of the descriptor is open.
        if (entry->registered)
            (void)epoll_ctl(e->fd, EPOLL_CTL_DEL, op->fd, NULL);
        *entry = (struct entry){ 0 };
    }
    pl_loop_finish(l, op, pl_op_perform(op));
}

static void epoll_start(struct pl_loop *l, struct pl_op *op)
{
    struct epoll *e = l->impl;
    if (pl_op_waits(op))
        start_waiter(l, e, op);
    else if (op->code == PL_OP_CLOSE)
        start_close(l, e, op);
    else
        pl_loop_finish(l, op, pl_op_perform(op));
}

static void epoll_cancel(struct pl_loop *l, struct pl_op *op)
{
    struct epoll *e = l->impl;
    struct entry *entry = find_entry(e, op->fd);
    PL_ASSERT(entry && (op->state & PL_OP_STATE_MASK) == PL_OP_WAITING);
    // The descriptor stays armed for it; an event for nobody is harmless.
    wait_out(e, entry, op);
    finish(l, op, -ECANCELED);
}

static bool epoll_would_block(struct pl_loop *l, struct pl_op *op)
{
    (void)l;
    switch (op->code) {
    case PL_OP_OPENAT:
    case PL_OP_FSYNC:
    case PL_OP_STATX:
        return true;
    case PL_OP_READ:
    case PL_OP_WRITE:
    case PL_OP_READV:
    case PL_OP_WRITEV:
        return pl_fd_is_file(op->fd);
    default:
        return false;
    }
}

// ---- polling

// epoll_wait with nanoseconds. A kernel without epoll_pwait2 has milliseconds: rounded up, never
// early.
static int wait_events(struct epoll *e, int64_t timeout)
{
    if (pl_fault(PL_FAULT_SYSCALL))
        return -EINTR; // the failure that a sound epoll may show
    if (!e->no_pwait2 && timeout > 0) {
        struct timespec ts = pl_timespec(timeout);
        long n = syscall(SYS_epoll_pwait2, e->fd, e->events, EVENTS,
                         timeout == PL_FOREVER ? NULL : &ts, NULL, 0);
        if (n >= 0)
            return (int)n;
        if (errno != ENOSYS && errno != EPERM)
            return -errno;
        e->no_pwait2 = true; // an old kernel, or an old seccomp filter
    }
    int ms = -1;
    if (timeout != PL_FOREVER) {
        int64_t rounded = timeout / PL_MILLISECOND + (timeout % PL_MILLISECOND != 0);
        ms = rounded > INT32_MAX ? INT32_MAX : (int)rounded;
    }
    int n = epoll_wait(e->fd, e->events, EVENTS, ms);
    return n < 0 ? -errno : n;
}

static int epoll_poll(struct pl_loop *l, int64_t deadline)
{
    struct epoll *e = l->impl;
    int64_t timeout = 0;
    if (deadline > 0 && !l->finished.first) {
        timeout = pl_clock_left(deadline);
        if (timeout > 0 && !pl_loop_wake_sleep(l))
            timeout = 0;
    }
    int n = 0;
    if (timeout > 0 || e->waiting > 0 || l->armed)
        n = wait_events(e, timeout);
    pl_loop_wake_awake(l);
    for (int i = 0; i < n; i++)
        handle(l, e, &e->events[i]);
    int completed = pl_loop_run_finished(l);
    return n < 0 && n != -EINTR && completed == 0 ? n : completed;
}

static void epoll_signal(struct pl_loop *l)
{
    struct epoll *e = l->impl;
    int saved = errno;
    // EAGAIN (after 2^64 wakes, as nobody reads) would still be readable.
    eventfd_write(e->wake_fd, 1);
    errno = saved;
}

static int epoll_loop_fd(struct pl_loop *l)
{
    return ((struct epoll *)l->impl)->fd;
}

static int epoll_arm(struct pl_loop *l, int64_t deadline)
{
    struct epoll *e = l->impl;
    if (!pl_loop_wake_sleep(l) || l->finished.first || deadline <= 0) {
        epoll_signal(l);
        return 0;
    }
    if (deadline == e->timer_deadline)
        return 0;
    int err = pl_fault(PL_FAULT_SYSCALL);
    if (err)
        return err;
    // All zero disarms.
    struct itimerspec spec = { .it_value = pl_timespec(deadline == PL_FOREVER ? 0 : deadline) };
    if (timerfd_settime(e->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL) < 0)
        return -errno;
    e->timer_deadline = deadline;
    return 0;
}

// ---- set-up

static void epoll_free(struct epoll *e)
{
    for (unsigned i = 0; i < e->chunk_count; i++)
        pl_free_mem(e->chunks[i]);
    pl_free_mem(e->chunks);
    const int fds[] = { e->fd, e->wake_fd, e->timer_fd };
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    pl_free_mem(e);
}

static void epoll_done(struct pl_loop *l)
{
    epoll_free(l->impl);
}

static int watch(struct epoll *e, int fd, uint64_t data)
{
    struct epoll_event event = { .events = EPOLLIN | EPOLLET, .data.u64 = data };
    return epoll_ctl(e->fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static int open_all(struct epoll *e)
{
    int err = pl_fault(PL_FAULT_SYSCALL);
    if (err)
        return err;
    e->fd = epoll_create1(EPOLL_CLOEXEC);
    if (e->fd < 0)
        return -errno;
    e->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (e->wake_fd < 0)
        return -errno;
    e->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (e->timer_fd < 0)
        return -errno;
    err = watch(e, e->wake_fd, OUR_WAKE);
    return err ? err : watch(e, e->timer_fd, OUR_TIMER);
}

static const struct pl_loop_vtable epoll_vtable = {
    .done = epoll_done,
    .start = epoll_start,
    .cancel = epoll_cancel,
    .poll = epoll_poll,
    .signal = epoll_signal,
    .fd = epoll_loop_fd,
    .arm = epoll_arm,
    .would_block = epoll_would_block,
};

int pl_epoll_init(struct pl_loop *l, unsigned entries)
{
    (void)entries; // nothing here is sized by it
    struct epoll *e = pl_zalloc(sizeof *e);
    if (!e)
        return -ENOMEM;
    e->fd = e->wake_fd = e->timer_fd = -1;
    e->timer_deadline = PL_FOREVER;
    e->no_pwait2 = pl_loop_on_valgrind(); // it would complain
    int err = open_all(e);
    if (err) {
        epoll_free(e);
        return err;
    }
    l->vtable = &epoll_vtable;
    l->impl = e;
    return 0;
}
