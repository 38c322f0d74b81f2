// SPDX-License-Identifier: MIT
/*
 * loop.c - the part of the event loop that does not depend on the backend.
 *
 * DESIGN: the wake protocol
 *   One word. The loop writes RUNNING and SLEEPING, the wakers write WOKEN:
 *
 *        RUNNING --(loop: nothing to do)--> SLEEPING --(kernel returned)--> RUNNING
 *           |                                  |
 *           | wake: no system call             | wake: this waker, alone, calls signal()
 *           v                                  v
 *         WOKEN ----(loop: next poll)---> RUNNING
 *
 *   All transitions are read-modify-write operations on that one word, so their order is the word's
 *   modification order and no store-load fence is needed: either the wake comes first and the
 *   loop's compare-exchange to SLEEPING fails, or the sleep comes first and the waker sees
 *   SLEEPING. A waker that finds WOKEN may return because it replaced that value in the same
 *   modification order: the loop's acquire exchange which consumes WOKEN reads from the last waker
 *   and, through the release sequence, from all before. (A waker that merely loaded WOKEN and
 *   returned would not be in that chain, and what it had pushed could be missed.
 *   tests/unit/loop_wake_model.c explores every interleaving, and that mistake.)
 *
 *   A waker that was descheduled between its exchange and signal() may end a later sleep for
 *   nothing: pl_loop_poll then returns 0, which its callers must expect anyway.
 *
 *   OUTSIDE is SLEEPING in pl_loop_sleep_on(): the signal is a change of the word outside and a
 *   wake of its futex. The kernel compares that word as it goes to sleep, so a change that comes
 *   before is not missed; and whoever changes it wakes after, so nobody who relies on the change of
 *   a late waker is left asleep.
 */
#include "os/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bug.h"
#include "os/futex.h"
#include "os/loop_backend.h"

enum { RUNNING, SLEEPING, WOKEN, OUTSIDE };

bool pl_loop_wake_sleep(struct pl_loop *l)
{
    uint32_t expected = RUNNING;
    // Acquire on failure pairs with the waker's release in pl_loop_wake: the loop goes on to look
    // at what the waker pushed. On success nothing is published; the sleep itself is ordered by the
    // kernel.
    return atomic_compare_exchange_strong_explicit(&l->wake_word, &expected, SLEEPING,
                                                   memory_order_acq_rel, memory_order_acquire) ||
           expected == SLEEPING; // armed twice
}

void pl_loop_wake_awake(struct pl_loop *l)
{
    // Relaxed: only this thread leaves RUNNING for SLEEPING, and a WOKEN that this load misses is
    // found by the compare-exchange before the next sleep.
    if (atomic_load_explicit(&l->wake_word, memory_order_relaxed) == RUNNING)
        return;
    // Acquire pairs with the wakers' release in pl_loop_wake.
    atomic_exchange_explicit(&l->wake_word, RUNNING, memory_order_acq_rel);
}

bool pl_loop_wake_pending(struct pl_loop *l)
{
    // Relaxed: a hint; pl_loop_wake_sleep decides.
    return atomic_load_explicit(&l->wake_word, memory_order_relaxed) == WOKEN;
}

static void signal_outside(struct pl_loop *l)
{
    int saved = errno; // this may be a signal handler
    // Relaxed: a late waker may find the word of a later sleep, which it then ends for nothing.
    _Atomic uint32_t *word = atomic_load_explicit(&l->outside, memory_order_relaxed);
    // Relaxed: what the sleeper is to see was released by the exchange of the wake word.
    atomic_store_explicit(word, 0, memory_order_relaxed);
    pl_futex_wake_shared(word, 1);
    errno = saved;
}

void pl_loop_wake(struct pl_loop *l)
{
    // Release pairs with the acquire exchange in pl_loop_wake_awake; acquire keeps the signal after
    // it.
    uint32_t was = atomic_exchange_explicit(&l->wake_word, WOKEN, memory_order_acq_rel);
    if (was == SLEEPING)
        l->vtable->signal(l);
    else if (was == OUTSIDE)
        signal_outside(l);
}

void pl_loop_sleep_on(struct pl_loop *l, _Atomic uint32_t *word, uint32_t value, int64_t deadline)
{
    uint32_t running = RUNNING;
    PL_ASSERT(l->inflight == 0);
    // Relaxed: the exchange below publishes it.
    atomic_store_explicit(&l->outside, word, memory_order_relaxed);
    // Release publishes `outside` to who finds OUTSIDE; acquire as in pl_loop_wake_sleep().
    if (atomic_compare_exchange_strong_explicit(&l->wake_word, &running, OUTSIDE,
                                                memory_order_acq_rel, memory_order_acquire))
        (void)pl_futex_wait_shared(word, value, deadline); // whatever ends it: look around
    pl_loop_wake_awake(l);
}

static int backend_from_environment(enum pl_backend *backend)
{
    const char *word = getenv("PLAIT_IO");
    if (!word || !*word)
        return 0;
    if (strcmp(word, "epoll") == 0)
        *backend = PL_BACKEND_EPOLL;
    else if (strcmp(word, "uring") == 0)
        *backend = PL_BACKEND_URING;
    else
        return -EINVAL;
    return 0;
}

bool pl_loop_on_valgrind(void)
{
    const char *preload = getenv("LD_PRELOAD");
    return preload && strstr(preload, "vgpreload");
}

int pl_loop_init(struct pl_loop *l, enum pl_backend backend, unsigned entries)
{
    if (backend == PL_BACKEND_AUTO) {
        int err = backend_from_environment(&backend);
        if (err)
            return err;
        // Valgrind does not see what a ring writes, and stops all threads while one waits in it.
        if (backend == PL_BACKEND_AUTO && pl_loop_on_valgrind())
            backend = PL_BACKEND_EPOLL;
    }
    if (entries == 0)
        entries = 256;
    struct pl_loop fresh = { .backend = backend };
    int err;
    if (backend == PL_BACKEND_EPOLL) {
        err = pl_epoll_init(&fresh, entries);
    } else {
        err = pl_uring_init(&fresh, entries);
        if (backend == PL_BACKEND_AUTO) {
            // Whatever the reason (seccomp, sysctl, an old kernel, locked memory): epoll needs none
            // of it.
            fresh.backend = err ? PL_BACKEND_EPOLL : PL_BACKEND_URING;
            if (err)
                err = pl_epoll_init(&fresh, entries);
        }
    }
    if (err)
        return err;
    *l = fresh;
    return 0;
}

void pl_loop_done(struct pl_loop *l)
{
    if (l->inflight > 0)
        PL_BUG("the event loop ends while %u operations are in flight", l->inflight);
    l->vtable->done(l);
    l->vtable = NULL;
}

void pl_loop_start(struct pl_loop *l, struct pl_op *op)
{
    if (PL_UNLIKELY((op->state & PL_OP_STATE_MASK) != PL_OP_FREE))
        PL_BUG("an operation (code %d, fd %d) is started while it is in flight", (int)op->code,
               op->fd);
    l->inflight++;
    l->fresh = true;
    op->next = op->prev = NULL;
    l->vtable->start(l, op);
}

void pl_loop_cancel(struct pl_loop *l, struct pl_op *op)
{
    unsigned state = op->state & PL_OP_STATE_MASK;
    if (state == PL_OP_FREE || state == PL_OP_FINISHED || (op->state & PL_OP_CANCEL))
        return;
    op->state |= PL_OP_CANCEL;
    l->vtable->cancel(l, op);
}

// A number that is handed out anew may be a socket again.
static void learn(struct pl_loop *l, const struct pl_op *op)
{
    if (op->code == PL_OP_ACCEPT && op->result >= 0)
        pl_set_hint(l->no_socket, (int)op->result, false);
    else if (op->code == PL_OP_CLOSE)
        pl_set_hint(l->no_socket, op->fd, false);
}

int pl_loop_run_finished(struct pl_loop *l)
{
    struct pl_op *op = l->finished.first;
    l->finished = (struct pl_op_list){ 0 };
    int n = 0;
    while (op) {
        struct pl_op *next = op->next;
        PL_ASSERT(l->inflight > 0);
        l->inflight--;
        op->state = PL_OP_FREE;
        n++;
        learn(l, op);
        op->done(op); // may end the life of *op
        op = next;
    }
    return n;
}

// A ring belongs to one thread in the kernel, too; with epoll the mistake would only be silent.
static void check_owner(struct pl_loop *l)
{
    if (PL_UNLIKELY(!l->owned)) {
        l->owned = true;
        l->owner = pthread_self();
    } else if (PL_UNLIKELY(!pthread_equal(l->owner, pthread_self()))) {
        PL_BUG("an event loop is used by a thread that does not own it");
    }
}

int pl_loop_poll(struct pl_loop *l, int64_t deadline)
{
    check_owner(l);
    if (PL_UNLIKELY(l->polling))
        PL_BUG("pl_loop_poll is called from a done callback");
    l->polling = true;
    l->fresh = false;
    int n = l->vtable->poll(l, deadline);
    l->polling = false;
    l->armed = false;
    return n;
}

int pl_loop_fd(struct pl_loop *l)
{
    return l->vtable->fd(l);
}

int pl_loop_arm(struct pl_loop *l, int64_t deadline)
{
    check_owner(l);
    l->armed = true;
    return l->vtable->arm(l, deadline);
}

bool pl_loop_would_block_thread(struct pl_loop *l, struct pl_op *op)
{
    return l->vtable->would_block(l, op);
}

int64_t pl_loop_attempt(struct pl_loop *l, const struct pl_op *op)
{
    if (pl_loop_as_socket(l, op)) {
        const struct pl_op stand_in = { .code = op->code == PL_OP_READ ? PL_OP_RECV : PL_OP_SEND,
                                        .fd = op->fd,
                                        .buf = op->buf,
                                        .len = op->len };
        int64_t r = pl_op_attempt(&stand_in);
        if (r != -ENOTSOCK)
            return r;
        pl_set_hint(l->no_socket, op->fd, true);
    }
    return pl_op_attempt(op);
}

bool pl_loop_try(struct pl_loop *l, struct pl_op *op)
{
    if (!pl_op_waits(op) || op->code == PL_OP_CONNECT)
        return pl_op_try(op);
    bool drains = pl_op_drains(op), wants_eagain = pl_op_wants_eagain(op);
    if (drains && pl_hint(l->drained, op->fd) && !wants_eagain)
        return false;
    int64_t r = pl_loop_attempt(l, op);
    pl_loop_note_drained(l, op, r > 0 && (size_t)r < op->len);
    if (r == -EAGAIN && !wants_eagain) {
        if (drains)
            pl_set_hint(l->drained, op->fd, true);
        return false;
    }
    op->result = r;
    learn(l, op);
    return true;
}
