// SPDX-License-Identifier: MIT
/*
 * zygote.c - the process that forks workers: small, of one thread, and the parent of them all.
 *
 * DESIGN
 *   The host is never forked: its threads may hold any lock. It starts itself anew instead
 *   (plait_main() leads here before the program does anything), and this clean process forks as
 *   often as it is asked, cheaply, since there is little to copy.
 *
 *   It is what the workers depend on. They die with it (PDEATHSIG, which is sound because this
 *   process has one thread and lives as long as any of them), and it kills every one of them, with
 *   all that they started, when the host is gone: the control socket ends, or, should a forked copy
 *   of the host hold it open, the host's pidfd says so. So nothing survives the host, however it
 *   ends.
 *
 *   With PLAIT_START_FORK the host is forked after all, once, while it has a single thread: the
 *   copy comes here too. With PLAIT_START_SPAWN the workers are not forked, but start as this
 *   program anew (spawn.c); they are children of this process all the same.
 *
 *   A dead worker's group is killed before the worker is reaped: until then its pid, and so the
 *   number of the group, cannot be given to another.
 */
#include "proc/zygote.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/bug.h"
#include "os/alloc.h"
#include "os/ipc.h"
#include "os/process.h"
#include "proc/spawn.h"
#include "proc/table.h"
#include "proc/wire.h"

#define MAX_HANDS PL_HANDS

enum { TAG_CONTROL = MAX_HANDS, TAG_HOST };

struct child {
    int pid; // 0: none
    int pidfd;
    uint32_t generation;
};

struct zygote {
    int control, host;
    struct pl_poller poller;
    const struct plait_task **tasks;
    unsigned task_count;
    const struct pl_setup *setup; // or NULL
    struct pl_greeting greeting;  // PLAIT_START_SPAWN: for the workers
    struct child children[MAX_HANDS];
};

// A worker that has left its group is alone reached by its pidfd.
static void signal_worker(const struct child *c, int signal)
{
    if (pl_process_kill_group(c->pid, signal) < 0 || signal == SIGKILL)
        (void)pl_pidfd_kill(c->pidfd, signal); // -ESRCH: it has ended
}

static void leave(struct zygote *z)
{
    for (unsigned i = 0; i < MAX_HANDS; i++)
        if (z->children[i].pid > 0)
            signal_worker(&z->children[i], SIGKILL);
    for (unsigned i = 0; i < MAX_HANDS; i++) {
        struct pl_exit end;
        if (z->children[i].pid > 0)
            (void)pl_process_reap(z->children[i].pid, true, &end); // nobody is left to be told
    }
    pl_process_exit(0);
}

static void close_all(const int *fds, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        pl_fd_close(fds[i]);
}

static void tell(struct zygote *z, const struct pl_message *m, int fd)
{
    for (;;) {
        int e = pl_socket_send(z->control, m, sizeof *m, &fd, fd >= 0);
        if (e == 0)
            return;
        if (e != -EAGAIN || pl_fd_wait_writable(z->control, INT64_MAX) < 0)
            leave(z);
    }
}

// In the new worker: keeps what belongs to it, drops what belongs to the zygote.
static void become_worker(struct zygote *z, int parent, const struct pl_message *m, const int *fds,
                          unsigned count)
{
    if (!pl_process_die_with(parent))
        pl_process_exit(0);
    pl_process_own_group(0);
    for (unsigned i = 0; i < MAX_HANDS; i++)
        if (z->children[i].pid > 0)
            pl_fd_close(z->children[i].pidfd);
    pl_poller_done(&z->poller);
    pl_fd_close(z->control);
    pl_fd_close(z->host);
    struct pl_worker_start start = { .tasks = z->tasks,
                                     .task_count = z->task_count,
                                     .setup = z->setup };
    pl_worker_start_by(&start, m, fds, count);
    pl_worker_main(&start);
}

// A fork, or the program started anew. The pid, or a negative errno.
static int make_worker(struct zygote *z, const struct pl_message *m, const int *fds, unsigned count)
{
    if (z->setup && z->setup->start == PLAIT_START_SPAWN)
        return pl_spawn_worker(&z->greeting, m, fds, count);
    int self = pl_process_id();
    int pid = pl_process_fork();
    if (pid == 0)
        become_worker(z, self, m, fds, count);
    return pid;
}

// The child runs already: watch it, or undo it.
static int adopt(struct zygote *z, unsigned hand, int pid)
{
    pl_process_own_group(pid); // whoever of the two comes first
    int pidfd = pl_pidfd_open(pid);
    int e = pidfd < 0 ? pidfd : pl_poller_add(&z->poller, pidfd, hand);
    if (e < 0) {
        struct pl_exit end;
        pl_process_kill_group(pid, SIGKILL);
        (void)pl_process_reap(pid, true, &end);
        pl_fd_close(pidfd);
        return e;
    }
    z->children[hand].pid = pid;
    z->children[hand].pidfd = pidfd;
    return 0;
}

static void fork_worker(struct zygote *z, const struct pl_message *m, const int *fds,
                        unsigned count)
{
    int e = -EPROTO, pid = 0;
    if ((count == PL_FORK_FDS || count == PL_FORK_FDS_CAPTURING) && m->hand < MAX_HANDS &&
        z->children[m->hand].pid == 0) {
        pid = e = make_worker(z, m, fds, count);
        if (pid > 0)
            e = adopt(z, m->hand, pid);
    }
    close_all(fds, count);
    struct pl_message answer = { .kind = PL_MESSAGE_FORKED,
                                 .hand = m->hand,
                                 .generation = m->generation,
                                 .code = e,
                                 .pid = pid };
    if (e == 0)
        z->children[m->hand].generation = m->generation;
    tell(z, &answer, e == 0 ? z->children[m->hand].pidfd : -1);
}

static void bury(struct zygote *z, unsigned hand)
{
    struct child *c = &z->children[hand];
    struct pl_exit end = { .status = -1 }; // should somebody else in this program reap children
    if (c->pid == 0 || !pl_pidfd_ended(c->pidfd))
        return;
    pl_process_kill_group(c->pid, SIGKILL); // its own children, before its pid can be reused
    (void)pl_process_reap(c->pid, true, &end);
    struct pl_message m = { .kind = PL_MESSAGE_DIED,
                            .hand = hand,
                            .generation = c->generation,
                            .pid = c->pid,
                            .signal = end.signal,
                            .status = end.status,
                            .core = end.core,
                            .cpu_ns = end.cpu_ns,
                            .max_rss = end.max_rss };
    pl_poller_remove(&z->poller, c->pidfd);
    pl_fd_close(c->pidfd);
    *c = (struct child){ 0 };
    tell(z, &m, -1);
}

static void hello(struct zygote *z, const struct pl_message *m, const int *fds, unsigned count)
{
    if (count < 1 || count > 2 || z->tasks)
        leave(z);
    if (!pl_join_heap(m, fds, count))
        leave(z);
    z->tasks = pl_table_resolve(fds[0], m->bytes);
    z->task_count = m->count;
    if (z->setup && z->setup->start == PLAIT_START_SPAWN)
        pl_greeting_keep(&z->greeting.hello, m, fds, count);
    else
        close_all(fds, count);
    struct pl_message ready = { .kind = PL_MESSAGE_READY, .code = z->tasks ? 0 : -ENOMEM };
    tell(z, &ready, -1);
}

static void set_up(struct zygote *z, const struct pl_message *m, const int *fds, unsigned count)
{
    z->setup = count == 1 && !z->setup ? pl_setup_read(fds[0], m->bytes) : NULL;
    if (!z->setup)
        leave(z);
    if (z->setup->start == PLAIT_START_SPAWN)
        pl_greeting_keep(&z->greeting.setup, m, fds, count);
    else
        pl_fd_close(fds[0]);
}

// False: no message is there.
static bool obey(struct zygote *z)
{
    struct pl_message m;
    int fds[PL_SOCKET_FDS];
    unsigned count = PL_SOCKET_FDS;
    ssize_t n = pl_socket_receive(z->control, &m, sizeof m, fds, &count);
    if (n == -EAGAIN)
        return false;
    if (n != sizeof m)
        leave(z); // the host is gone
    switch (m.kind) {
    case PL_MESSAGE_SETUP:
        set_up(z, &m, fds, count);
        break;
    case PL_MESSAGE_HELLO:
        hello(z, &m, fds, count);
        break;
    case PL_MESSAGE_FORK:
        fork_worker(z, &m, fds, count);
        break;
    case PL_MESSAGE_SIGNAL:
        if (m.hand < MAX_HANDS && z->children[m.hand].pid > 0 &&
            z->children[m.hand].generation == m.generation)
            signal_worker(&z->children[m.hand], m.code);
        break;
    default:
        leave(z);
    }
    return true;
}

void pl_zygote_main(int host, int control)
{
    static struct zygote z; // one a process, and too large for comfort on the stack
    z.control = control;
    z.host = pl_pidfd_open(host);
    if (z.host < 0 || pl_process_parent() != host || pl_poller_init(&z.poller) < 0 ||
        pl_poller_add(&z.poller, z.control, TAG_CONTROL) < 0 ||
        pl_poller_add(&z.poller, z.host, TAG_HOST) < 0)
        pl_process_exit(1);
    for (;;) {
        uint64_t tags[64];
        int n = pl_poller_wait(&z.poller, tags, 64, INT64_MAX);
        for (int i = 0; i < n; i++) {
            if (tags[i] == TAG_HOST)
                leave(&z);
            else if (tags[i] < MAX_HANDS)
                bury(&z, (unsigned)tags[i]);
        }
        while (obey(&z))
            ;
    }
}
