// SPDX-License-Identifier: MIT
/*
 * zygote_client.c - the host's end of the control socket.
 *
 * DESIGN
 *   A zygote that dies takes its workers with it (the kernel kills them). Nobody tells the host how
 *   they ended then, but their pidfds tell when: each hand is an orphan until its pidfd is
 *   readable, and only then are its tasks settled. Meanwhile a new zygote is started.
 */
#include "proc/pool.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/bug.h"
#include "os/clock.h"
#include "os/process.h"
#include "proc/processes.h"
#include "proc/zygote.h"
#include "shared/arena.h"

#define MAX_FAILED_STARTS 5
#define PAUSE_NS          (10 * PL_MILLISECOND)
// One that has killed its workers and waits for their ends has left long before.
#define LEAVE_NS (10 * PL_SECOND)

int pl_zygote_send(struct pl_pool *p, const struct pl_message *m, const int *fds, unsigned count)
{
    if (p->zygote.control < 0)
        return -EPIPE;
    for (;;) {
        int e = pl_socket_send(p->zygote.control, m, sizeof *m, fds, count);
        if (e != -EAGAIN)
            return e;
        // It forks as fast as it can, and never waits for us for long.
        e = pl_fd_wait_writable(p->zygote.control, pl_clock_after(PL_SECOND));
        if (e < 0)
            return e;
    }
}

static int spawn(struct pl_pool *p, int peer)
{
    char marker[64], title[64];
    struct pl_zygote *z = &p->zygote;
    snprintf(marker, sizeof marker, "%s=%d", PL_ZYGOTE_VARIABLE, pl_process_id());
    snprintf(title, sizeof title, PL_ZYGOTE_TITLE "%s)", p->ex.name);
    int e = pl_process_spawn_self(pl_main_program(), title, marker, peer, &z->pid);
    if (e < 0)
        return e;
    z->pidfd = pl_pidfd_open(z->pid);
    return z->pidfd < 0 ? z->pidfd : 0;
}

// PLAIT_START_FORK: the zygote is a copy of this process, which has a single thread (processes.c).
static int fork_self(struct pl_pool *p, int peer)
{
    struct pl_zygote *z = &p->zygote;
    int host = pl_process_id();
    fflush(NULL);          // what is buffered is written once, not by every copy
    (void)pl_arena_open(); // before, so that the copy has the same; without one there is none
    int pid = pl_process_fork();
    if (pid == 0) {
        pl_poller_done(&p->poller);
        pl_fd_close(z->control);
        pl_fd_close(p->bell);
        pl_fd_close(p->gong_fd);
        pl_fd_close(p->table.fd);
        pl_fd_close(p->setup_fd);
        pl_process_clean();
        pl_zygote_main(host, peer);
    }
    if (pid < 0)
        return pid;
    z->pid = pid;
    z->pidfd = pl_pidfd_open(pid);
    return z->pidfd < 0 ? z->pidfd : 0;
}

static int greet(struct pl_pool *p)
{
    struct pl_message hello = { .kind = PL_MESSAGE_HELLO,
                                .count = p->table.count,
                                .bytes = p->table.bytes };
    struct pl_message setup = { .kind = PL_MESSAGE_SETUP, .bytes = p->setup_bytes };
    struct pl_arena_place heap;
    bool shares = pl_arena_place(&heap);
    const int fds[] = { p->table.fd, pl_arena.fd };
    if (shares)
        memcpy(hello.slots, &heap, sizeof heap);
    int e = p->setup_fd < 0 ? 0 : pl_zygote_send(p, &setup, &p->setup_fd, 1);
    return e < 0 ? e : pl_zygote_send(p, &hello, fds, shares ? 2 : 1);
}

int pl_zygote_start(struct pl_pool *p)
{
    struct pl_zygote *z = &p->zygote;
    int pair[2];
    int e = pl_socket_pair(pair);
    if (e < 0)
        return e;
    z->control = pair[0];
    e = pl_poller_add(&p->poller, z->control, PL_TAG_ZYGOTE);
    if (e == 0)
        e = p->worker.start == PLAIT_START_FORK ? fork_self(p, pair[1]) : spawn(p, pair[1]);
    pl_fd_close(pair[1]);
    if (e == 0)
        e = greet(p);
    if (e < 0)
        pl_zygote_drop(p);
    return e;
}

void pl_zygote_drop(struct pl_pool *p)
{
    struct pl_zygote *z = &p->zygote;
    struct pl_exit end;
    pl_fd_close(z->control); // it ends at that, if it is still there
    z->control = -1;
    z->ready = false;
    if (z->pid > 0) {
        bool ends = !pl_process_is_stopped(z->pid) || z->pidfd < 0;
        if (ends && z->pidfd >= 0) // a wild worker may stop it at any moment
            ends = pl_fd_wait_readable(z->pidfd, pl_clock_after(LEAVE_NS)) != -ETIMEDOUT;
        if (!ends)
            (void)pl_pidfd_kill(z->pidfd, SIGKILL);
        // -ECHILD: the program has reaped it, or ignores SIGCHLD. It is gone all the same.
        (void)pl_process_reap(z->pid, true, &end);
        z->pid = 0;
    }
    z->stopped_looks = 0;
    pl_fd_close(z->pidfd);
    z->pidfd = -1;
}

static void obey(struct pl_pool *p, const struct pl_message *m, int fd, struct pl_after *after)
{
    switch (m->kind) {
    case PL_MESSAGE_READY:
        p->zygote.ready = m->code == 0;
        p->zygote.failed_starts = 0;
        break;
    case PL_MESSAGE_FORKED:
        pl_hand_forked(p, m, fd);
        pl_pool_check_hope(p, after);
        return;
    case PL_MESSAGE_DIED:
        if (m->hand < p->hand_count)
            pl_hand_died(p, &p->hands[m->hand], m, after);
        break;
    default:
        break;
    }
    pl_fd_close(fd);
}

int pl_zygote_receive(struct pl_pool *p, struct pl_after *after)
{
    struct pl_message m;
    int fd = -1;
    unsigned count = 1;
    if (p->zygote.control < 0)
        return -EPIPE;
    ssize_t n = pl_socket_receive(p->zygote.control, &m, sizeof m, &fd, &count);
    if (n == -EAGAIN)
        return -EAGAIN;
    if (n != sizeof m) {
        pl_fd_close(count ? fd : -1);
        return -EPIPE;
    }
    obey(p, &m, count ? fd : -1, after);
    return 0;
}

static void orphan(struct pl_pool *p, struct pl_hand *h, struct pl_after *after)
{
    if (h->state == PL_HAND_FORKING) {
        // If it exists at all it was given nothing yet.
        struct pl_message m = { .hand = h->index, .generation = h->generation, .code = -EPIPE };
        pl_hand_forked(p, &m, -1);
        return;
    }
    if (h->state == PL_HAND_EMPTY)
        return;
    h->state = PL_HAND_DYING;
    h->kill_at = PL_FOREVER;
    h->cause = "the process that it was forked from died";
    pl_hand_refresh(p, h);
    if (h->pidfd >= 0)
        pl_pidfd_kill_group(h->pidfd, h->pid);
    if (h->pidfd < 0 || pl_poller_add(&p->poller, h->pidfd, h->index | PL_TAG_ORPHAN) < 0)
        pl_orphan_ended(p, h, after); // cannot be waited for in the poller: waits here
}

void pl_orphan_ended(struct pl_pool *p, struct pl_hand *h, struct pl_after *after)
{
    // Without a pidfd it must do that its zygote is dead: the kernel has killed it.
    if (h->state != PL_HAND_DYING ||
        (h->pidfd >= 0 && pl_fd_wait_readable(h->pidfd, PL_FOREVER) < 0))
        return;
    if (h->pidfd >= 0)
        pl_pidfd_kill_group(h->pidfd, h->pid); // what it has started since, or before it was killed
    struct pl_exit end;
    struct pl_message m = { .hand = h->index,
                            .generation = h->generation,
                            .pid = h->pid,
                            .signal = SIGKILL,
                            .status = -1 };
    // Ours to reap only where this process inherits orphans; then it also says how it ended.
    if (h->pidfd >= 0 && pl_pidfd_reap(h->pidfd, false, &end) == 0) {
        m.signal = end.signal;
        m.status = end.status;
        m.core = end.core;
        m.cpu_ns = end.cpu_ns;
        m.max_rss = end.max_rss;
    }
    pl_hand_died(p, h, &m, after);
}

void pl_zygote_lost(struct pl_pool *p, struct pl_after *after)
{
    struct pl_zygote *z = &p->zygote;
    if (z->pidfd >= 0)
        (void)pl_pidfd_kill(z->pidfd, SIGKILL); // should it only have closed its socket
    pl_zygote_drop(p);
    for (unsigned i = 0; i < p->hand_count; i++)
        orphan(p, &p->hands[i], after);
    if (p->phase != PL_POOL_RUNS)
        return;
    if (p->worker.start == PLAIT_START_FORK) {
        z->start_at = PL_FOREVER;
        pl_pool_break(p,
                      "worker processes cannot be started: the copy of the program that forks "
                      "them died, and a program with threads cannot be forked again",
                      after);
        return;
    }
    pl_after_tell(after,
                  "the process that worker processes are forked from died; starting another");
    z->start_at = pl_clock_after(z->failed_starts ? PAUSE_NS << (z->failed_starts - 1) : 0);
    if (++z->failed_starts > MAX_FAILED_STARTS) {
        z->start_at = PL_FOREVER;
        pl_pool_break(p, "worker processes cannot be started: the process that forks them dies",
                      after);
    }
}
