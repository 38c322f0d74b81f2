// SPDX-License-Identifier: MIT
// spawn.c - starting a worker as the program anew, and what that worker does first.
#include "proc/spawn.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "os/clock.h"
#include "os/process.h"
#include "proc/processes.h"
#include "proc/table.h"
#include "shared/arena.h"

void pl_greeting_keep(struct pl_kept *k, const struct pl_message *m, const int *fds, unsigned count)
{
    k->message = *m;
    k->count = count;
    memcpy(k->fds, fds, count * sizeof *fds);
}

bool pl_join_heap(const struct pl_message *hello, const int *fds, unsigned count)
{
    struct pl_arena_place heap;
    memcpy(&heap, hello->slots, sizeof heap);
    if (count < 2) {
        pl_arena_refuse();
        return true;
    }
    int e = pl_arena_join(fds[1], &heap);
    if (e < 0) // a worker without it could not take what others mean by a pointer
        fprintf(stderr, "plait: the shared heap cannot be had at %#lx: %s\n",
                (unsigned long)heap.at, plait_strerror(e));
    return e == 0;
}

// ---- the zygote

static int repeat(int socket, const struct pl_kept *k)
{
    return k->message.kind == 0
               ? 0
               : pl_socket_send(socket, &k->message, sizeof k->message, k->fds, k->count);
}

int pl_spawn_worker(const struct pl_greeting *g, const struct pl_message *fork, const int *fds,
                    unsigned count)
{
    char marker[64];
    int pair[2], pid = 0;
    snprintf(marker, sizeof marker, "%s=%d", PL_WORKER_VARIABLE, pl_process_id());
    int e = pl_socket_pair(pair);
    if (e < 0)
        return e;
    e = pl_process_spawn_self(pl_main_program(), PL_WORKER_TITLE, marker, pair[1], &pid);
    pl_fd_close(pair[1]);
    if (e == 0)
        e = repeat(pair[0], &g->setup);
    if (e == 0)
        e = repeat(pair[0], &g->hello);
    if (e == 0)
        e = pl_socket_send(pair[0], fork, sizeof *fork, fds, count);
    pl_fd_close(pair[0]);
    if (e < 0 && e != -EPIPE && pid > 0) { // -EPIPE: it has died, as will be noticed
        struct pl_exit end;
        pl_process_kill_group(pid, SIGKILL);
        (void)pl_process_reap(pid, true, &end);
        return e;
    }
    return pid > 0 ? pid : e;
}

// ---- the worker

void pl_worker_start_by(struct pl_worker_start *start, const struct pl_message *m, const int *fds,
                        unsigned count)
{
    bool capturing = count == PL_FORK_FDS_CAPTURING;
    start->hand = m->hand;
    start->owner = m->slot;
    start->socket = fds[PL_FORK_SOCKET];
    start->channel = fds[PL_FORK_CHANNEL];
    start->doorbell = fds[PL_FORK_DOORBELL];
    start->bell = fds[PL_FORK_BELL];
    start->gong = fds[PL_FORK_GONG];
    start->stderr_pipe = capturing ? fds[PL_FORK_STDERR] : -1;
}

// The next message of the zygote; the process ends when there is none.
static void next(struct pl_message *m, int *fds, unsigned *count)
{
    ssize_t n;
    do {
        *count = PL_SOCKET_FDS;
        n = pl_socket_receive(PL_PROCESS_CHANNEL, m, sizeof *m, fds, count);
    } while (n == -EAGAIN && pl_fd_wait_readable(PL_PROCESS_CHANNEL, PL_FOREVER) == 0);
    if (n != sizeof *m)
        pl_process_exit(1);
}

void pl_spawned_main(int parent)
{
    struct pl_worker_start start = { .hand = 0 };
    struct pl_message m;
    int fds[PL_SOCKET_FDS];
    unsigned count;
    if (!pl_process_die_with(parent))
        pl_process_exit(0);
    for (next(&m, fds, &count); m.kind != PL_MESSAGE_FORK; next(&m, fds, &count)) {
        if (m.kind == PL_MESSAGE_SETUP && count == 1) {
            start.setup = pl_setup_read(fds[0], m.bytes);
        } else if (m.kind == PL_MESSAGE_HELLO && count >= 1) {
            if (!pl_join_heap(&m, fds, count))
                pl_process_exit(1);
            start.tasks = pl_table_resolve(fds[0], m.bytes);
            start.task_count = m.count;
        }
        for (unsigned i = 0; i < count; i++)
            pl_fd_close(fds[i]);
    }
    pl_fd_close(PL_PROCESS_CHANNEL);
    if (!start.setup || !start.tasks || count < PL_FORK_FDS)
        pl_process_exit(1);
    pl_worker_start_by(&start, &m, fds, count);
    pl_worker_main(&start);
}
