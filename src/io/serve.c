// SPDX-License-Identifier: MIT
/*
 * serve.c - accepting connections, and a task for each.
 *
 * DESIGN
 *   Handlers are children of a scope in the frame of plait_net_serve(), so none outlives it. Room
 *   is taken before a connection is accepted and given back when it has been closed: beyond the
 *   limit the kernel's backlog fills, and the peers feel it.
 *
 *   A descriptor that was accepted is in the table of slots until it has been closed. A child that
 *   was cancelled before it started never runs: what it would have closed is found there after the
 *   scope's end.
 *
 *   On an executor of other processes the handler itself is submitted, with the descriptor as its
 *   argument, and the slot holds its future. The slot is free when that has ended; who takes it
 *   again, or ends the serving, first makes sure that nobody is still about to say so.
 *
 *   Stopping is shutdown(2) of the listener. It ends an accept that waits, on both event loops, on
 *   any thread, and from a signal handler, and all later ones with EINVAL; no flag that could be
 *   looked at too early is needed.
 *
 *   Without descriptors (EMFILE and its like) the connection stays in the backlog and the listener
 *   ready: to accept at once again would spin. What helps is an end of a connection of ours, which
 *   is waited for on a word that counts ends; or somebody else closes something, so for at most
 *   PAUSE_NS.
 */
#include "io/place.h"

#include "base/bug.h"
#include "core/executor.h"
#include "core/given.h"
#include "core/lock.h"
#include "core/park.h"
#include "core/strand.h"
#include "os/alloc.h"
#include "os/clock.h"
#include "os/ipc.h"
#include "os/socket.h"
#include <plait/fiber.h>
#include <plait/io.h>
#include <plait/scope.h>
#include <plait/sync.h>
#include <stdio.h>

#define PAUSE_NS      (100 * PLAIT_MILLISECOND)
#define LIMIT_DEFAULT 1024
#define LIMIT_MAX     (1 << 24)

struct server {
    const struct plait_task *handler;
    struct plait_task task; /* of the children: handle(), under the handler's name */
    void *arg;
    struct pl_lock lock;
    uint32_t free;        /* the first free slot; under the lock */
    uint32_t count;       /* slots */
    plait_semaphore room; /* free slots that nobody has a claim to */
    plait_latch open;     /* connections */
    uint32_t ends;        /* of connections; parked on when descriptors are short */
    bool apart;           /* handlers run in other processes */
    struct slot {
        int fd; /* -1: free, or given away */
        uint32_t next;
        plait_future *future; /* of a handler elsewhere, perhaps ended; NULL: none */
        struct pl_waiter ended;
        struct server *server;
    } slots[];
};

struct connection {
    struct server *server;
    uint32_t slot;
};

static uint32_t take_slot(struct server *s, int fd)
{
    pl_lock(&s->lock);
    uint32_t i = s->free;
    PL_ASSERT(i < s->count);
    s->free = s->slots[i].next;
    s->slots[i].fd = fd;
    pl_unlock(&s->lock);
    plait_latch_add(&s->open, 1);
    return i;
}

/* The connection has been closed. The last that is done here may let plait_net_serve() go on to
 * its scope's end, which waits for the task that calls this. */
static void give_slot(struct server *s, uint32_t i)
{
    pl_lock(&s->lock);
    s->slots[i].fd = -1;
    s->slots[i].next = s->free;
    s->free = i;
    pl_unlock(&s->lock);
    __atomic_fetch_add(&s->ends, 1, __ATOMIC_SEQ_CST);
    pl_unpark(&s->ends, 1);
    plait_semaphore_release(&s->room, 1);
    plait_latch_done(&s->open, 1);
}

/* The child: the handler, and the end of the connection. */
static int handle(const void *in, void *out)
{
    const struct connection *c = in;
    struct server *s = c->server;
    struct plait_net_connection connection = { .fd = s->slots[c->slot].fd, .arg = s->arg };
    (void)out;
    s->handler->run(&connection, NULL);
    plait_io_close(connection.fd);
    give_slot(s, c->slot);
    return 0;
}

/* ---- handlers in other processes */

static void ended_apart(struct pl_waiter *w, plait_future *f)
{
    struct slot *slot = PL_CONTAINER(w, struct slot, ended);
    (void)f;
    give_slot(slot->server, (uint32_t)(slot - slot->server->slots));
}

/* The slot's handler has ended, and who said so has gone. */
static void forget_apart(struct slot *slot)
{
    if (!slot->future)
        return;
    pl_future_unwatch(slot->future, &slot->ended);
    pl_future_unref(slot->future);
    slot->future = NULL;
}

/* Gives the slot's descriptor away. On failure it is still there. */
static int start_apart(struct server *s, plait_executor *ex, uint32_t i)
{
    struct slot *slot = &s->slots[i];
    struct plait_net_connection c = { .fd = slot->fd, .arg = s->arg };
    plait_future *f;
    forget_apart(slot);
    int e = pl_future_make(&f, ex, s->handler, &c, NULL); /* with a duplicate of its own */
    if (e < 0)
        return e;
    slot->server = s;
    slot->ended.fire = ended_apart;
    slot->fd = -1;
    pl_future_watch(f, &slot->ended);
    e = pl_future_submit(f); /* on failure the future is gone, and nobody was told */
    slot->future = e < 0 ? NULL : f;
    if (e < 0)
        slot->fd = c.fd;
    else
        plait_io_close(c.fd);
    return e;
}

/* `why`: a code for which they are cancelled; else they have ended. */
static void end_apart(struct server *s, int why)
{
    enum plait_reason reason = why == -ETIMEDOUT ? PLAIT_REASON_DEADLINE : PLAIT_REASON_PARENT;
    for (uint32_t i = 0; why < 0 && i < s->count; i++)
        if (s->slots[i].future)
            pl_future_cancel(s->slots[i].future, reason);
    for (uint32_t i = 0; i < s->count; i++)
        if (s->slots[i].future) {
            pl_future_join(s->slots[i].future);
            forget_apart(&s->slots[i]);
        }
}

static bool is_given_fd(const struct plait_task *handler)
{
    struct plait_net_connection c;
    return pl_task_fds(handler, false) == 1 && pl_task_fd_at(handler, false, 0, &c) == &c.fd;
}

/* ---- accepting */

/* One connection is lost, or none has come: the next may be fine. See accept(2). */
static bool is_passing(int error)
{
    switch (error) {
    case -ECONNABORTED:
    case -EPROTO:
    case -ENETDOWN:
    case -ENETUNREACH:
    case -ENONET:
    case -EHOSTDOWN:
    case -EHOSTUNREACH:
    case -ENOPROTOOPT:
    case -EPERM:
    case -EAGAIN:
        return true;
    default:
        return false;
    }
}

static bool is_shortage(int error)
{
    return error == -EMFILE || error == -ENFILE || error == -ENOBUFS || error == -ENOMEM;
}

static void tell_shortage(plait_executor *ex, int error)
{
    char text[160];
    snprintf(text, sizeof text,
             "a server cannot accept connections for the moment: %s; they wait in its backlog",
             plait_strerror(error));
    pl_notice(ex, PLAIT_NOTICE_ACCEPT, plait_task_name(), 0, text);
}

/* Descriptors are short: waits until a connection has ended, or a moment. 0, or why to give up. */
static int await_end(struct server *s, uint32_t ends)
{
    int e = pl_park(&s->ends, ends, pl_clock_after(PAUSE_NS), NULL, PL_FOR_TIME);
    return e == -ECANCELED ? e : e == -ETIMEDOUT ? plait_cancelled() : 0;
}

/* A descriptor, or why there will be none. */
static int accept_one(struct server *s, int listener, plait_executor *ex, int flags)
{
    bool told = false;
    for (;;) {
        uint32_t ends = __atomic_load_n(&s->ends, __ATOMIC_SEQ_CST);
        int fd = plait_io_accept(listener, NULL, NULL, flags);
        if (is_shortage(fd)) {
            if (pl_socket_is_shut(listener)) /* accept4(2) looks for a descriptor first */
                return -EINVAL;
            if (!told)
                tell_shortage(ex, fd);
            told = true;
            int e = await_end(s, ends);
            if (e < 0)
                return e;
        } else if (!is_passing(fd)) {
            return fd;
        }
    }
}

/* The task of a connection that was accepted. */
static int start(struct server *s, plait_scope *scope, plait_executor *ex, uint32_t slot)
{
    struct connection c = { .server = s, .slot = slot };
    bool told = false;
    if (!s->apart)
        return plait_go_task(scope, &s->task, &c, NULL);
    for (;;) {
        uint32_t ends = __atomic_load_n(&s->ends, __ATOMIC_SEQ_CST);
        int e = start_apart(s, ex, slot);
        if (e != -EMFILE && e != -ENFILE)
            return e;
        if (!told)
            tell_shortage(ex, e);
        told = true;
        e = await_end(s, ends);
        if (e < 0)
            return e;
    }
}

/* Until the listener ends or the scope is cancelled: why. */
static int accept_all(struct server *s, plait_scope *scope, int listener, plait_executor *ex,
                      int flags)
{
    for (;;) {
        int e = plait_semaphore_acquire(&s->room);
        if (e < 0)
            return e;
        int fd = accept_one(s, listener, ex, flags);
        if (fd < 0)
            return fd;
        uint32_t slot = take_slot(s, fd);
        e = start(s, scope, ex, slot);
        if (e < 0) { /* no memory, or no room in the executor's queue: this one is lost */
            plait_io_close(fd);
            give_slot(s, slot);
            if (e != -ENOMEM && e != -EAGAIN)
                return e;
        }
    }
}

static int serve(struct server *s, int listener, plait_executor *ex,
                 const struct plait_net_serve_options *o)
{
    plait_scope scope;
    int e = plait_scope_begin(&scope, ex, .keep_going = true);
    if (e < 0)
        return e;
    int why = accept_all(s, &scope, listener, ex, o->accept_flags);
    if (why == -EINVAL) /* the listener was stopped */
        why = o->grace_ns > 0 ? plait_latch_wait(&s->open, pl_clock_after(o->grace_ns))
              : s->apart      ? plait_latch_wait(&s->open, PLAIT_NEVER)
                              : 0; /* the scope's end waits */
    if (why < 0)
        plait_scope_cancel(&scope);
    e = plait_scope_end(&scope);
    if (s->apart)
        end_apart(s, why);
    for (uint32_t i = 0; i < s->count; i++)
        pl_fd_close(s->slots[i].fd);
    if (why < 0)
        return why;
    return e == -ECANCELED || e == -ETIMEDOUT ? e : 0; /* else of one that could not be started */
}

int plait_net_serve_with(int listener, const struct plait_task *handler,
                         const struct plait_net_serve_options *options)
{
    struct plait_net_serve_options o;
    struct plait_caps caps;
    pl_options_copy(&o, sizeof o, options);
    plait_executor *ex = o.ex ? o.ex : plait_self();
    unsigned limit = o.limit ? o.limit : LIMIT_DEFAULT;
    if (!ex || limit > LIMIT_MAX || o.grace_ns < 0 || (o.accept_flags & ~SOCK_NONBLOCK) ||
        handler->in_bytes != sizeof(struct plait_net_connection) || handler->out_bytes > 0 ||
        !pl_socket_listens(listener))
        return -EINVAL;
    plait_caps(ex, &caps);
    if (!caps.shares_memory && !is_given_fd(handler))
        return pl_fail(-ENOTSUP,
                       "the handler `%s` runs in another process: its connection's descriptor is "
                       "to be declared, by PLAIT_TASK_FDS(..., PLAIT_FD_IN(fd))",
                       handler->name);
    struct server *s = pl_zalloc(sizeof *s + limit * sizeof s->slots[0]);
    if (!s)
        return -ENOMEM;
    s->handler = handler;
    s->task = (struct plait_task){ .size = sizeof s->task,
                                   .name = handler->name,
                                   .run = handle,
                                   .in_bytes = sizeof(struct connection) };
    s->arg = o.arg;
    s->apart = !caps.shares_memory;
    s->count = limit;
    for (uint32_t i = 0; i < limit; i++)
        s->slots[i] = (struct slot){ .fd = -1, .next = i + 1 };
    plait_semaphore_init(&s->room, limit);
    plait_latch_init(&s->open, 0);
    int e = serve(s, listener, ex, &o);
    pl_free_mem(s);
    return e;
}

int plait_net_stop(int listener)
{
    return pl_socket_shutdown(listener, SHUT_RDWR);
}
