// SPDX-License-Identifier: MIT
/*
 * child.c - child processes: start, wait, signal, end.
 *
 * DESIGN
 *   Starting blocks while the kernel loads the program (half a millisecond and more), so a task
 *   has it done by a thread of the blocking pool. Such a thread lives until its executor is closed,
 *   which is after the end of every task: long enough for children that are tied to it.
 */
#include "io/child.h"

#include "base/bug.h"
#include "core/sched.h"
#include "os/alloc.h"
#include "os/ipc.h"
#include "os/process.h"
#include "os/spawn.h"
#include <plait/fiber.h>
#include <plait/io.h>
#include <plait/scope.h>
#include <poll.h>
#include <signal.h>
#include <string.h>

#define GRACE_NS   (500 * PLAIT_MILLISECOND)
#define OUTPUT_MAX ((size_t)64 << 20)

// ---- starting ----------------------------------------------------------------------------------

/* The descriptors that the child gets, and which of them are to be closed in the parent. */
struct ends {
    int fds[3];
    int null, theirs[3];
};

static int pipe_for(plait_child *c, struct ends *e, int which)
{
    int ends[2];
    int err = pl_pipe_new(ends);
    if (err < 0)
        return err;
    bool reads = which == 0; /* the child does, from ends[0] */
    c->pipes[which] = ends[reads ? 1 : 0];
    e->fds[which] = e->theirs[which] = ends[reads ? 0 : 1];
    return 0;
}

static int end_for(plait_child *c, struct ends *e, int which, int wish)
{
    switch (wish) {
    case PLAIT_CHILD_INHERIT:
        e->fds[which] = which;
        return 0;
    case PLAIT_CHILD_NULL:
        if (e->null < 0)
            e->null = pl_null_open();
        e->fds[which] = e->null;
        return e->null < 0 ? e->null : 0;
    case PLAIT_CHILD_PIPE:
        return pipe_for(c, e, which);
    case PLAIT_CHILD_AS_OUT:
        e->fds[which] = e->fds[1];
        return which == 2 ? 0 : -EINVAL;
    default:
        e->fds[which] = wish;
        return wish > 0 ? 0 : -EINVAL;
    }
}

struct start {
    struct pl_spawn how;
    plait_child *child;
};

static int start(void *arg)
{
    struct start *s = arg;
    return pl_spawn(&s->how, &s->child->pid, &s->child->pidfd);
}

static int start_with(plait_child *c, struct ends *e)
{
    const struct plait_child_options *o = &c->options;
    const int wishes[3] = { o->in, o->out, o->err };
    for (int i = 0; i < 3; i++) {
        int err = end_for(c, e, i, wishes[i]);
        if (err < 0)
            return err;
    }
    struct start s = { .how = { .argv = o->argv,
                                .env = o->env,
                                .directory = o->directory,
                                .fds = { e->fds[0], e->fds[1], e->fds[2] },
                                .own_group = !o->same_group,
                                .tied = o->tied,
                                .inherit_descriptors = o->inherit_descriptors,
                                .descriptors = o->descriptors,
                                .memory = o->memory_bytes },
                       .child = c };
    int err = pl_strand_cancelled(pl_strand_current());
    return err < 0 ? err : plait_blocking(start, &s);
}

static void close_pipes(plait_child *c)
{
    for (int i = 0; i < 3; i++)
        if (c->pipes[i] >= 0)
            plait_child_close(c, i);
}

int plait_child_spawn_with(plait_child **ret, const struct plait_child_options *options)
{
    plait_child *c = pl_zalloc(sizeof *c);
    if (!c)
        return -ENOMEM;
    struct plait_child_options *o = &c->options;
    memcpy(o, options, options->size < sizeof *o ? options->size : sizeof *o);
    if (o->grace_ns == 0)
        o->grace_ns = GRACE_NS;
    if (o->output_max == 0)
        o->output_max = OUTPUT_MAX;
    c->pidfd = c->pipes[0] = c->pipes[1] = c->pipes[2] = -1;
    struct ends e = { .null = -1, .theirs = { -1, -1, -1 } };
    int err = o->argv && o->argv[0] ? start_with(c, &e) : -EINVAL;
    pl_fd_close(e.null);
    for (int i = 0; i < 3; i++)
        pl_fd_close(e.theirs[i]);
    if (err < 0) {
        close_pipes(c);
        pl_free_mem(c);
        return err;
    }
    *ret = c;
    return 0;
}

// ---- what is known of it -----------------------------------------------------------------------

int plait_child_pid(const plait_child *c)
{
    return c->pid;
}

int plait_child_pipe(const plait_child *c, int which)
{
    return which < 0 || which > 2 || c->pipes[which] < 0 ? -EBADF : c->pipes[which];
}

int plait_child_close(plait_child *c, int which)
{
    int fd = plait_child_pipe(c, which);
    if (fd < 0)
        return fd;
    c->pipes[which] = -1;
    return plait_io_close(fd);
}

// ---- its end -----------------------------------------------------------------------------------

int pl_child_reap(plait_child *c, struct plait_exit *ret)
{
    int err = 0;
    pl_lock(&c->lock);
    if (!c->reaped) {
        struct pl_exit end;
        err = pl_pidfd_reap(c->pidfd, false, &end);
        if (err == 0)
            c->exit = (struct plait_exit){ .status = end.status,
                                           .signal = end.signal,
                                           .core = end.core,
                                           .cpu_ns = end.cpu_ns,
                                           .max_rss = end.max_rss };
        c->reaped = err != -EAGAIN; /* a debugger may still hold it */
        c->reap_error = err;
    }
    if (c->reaped)
        err = c->reap_error;
    if (err == 0 && ret)
        *ret = c->exit;
    pl_unlock(&c->lock);
    return err;
}

static bool is_reaped(plait_child *c)
{
    pl_lock(&c->lock);
    bool reaped = c->reaped;
    pl_unlock(&c->lock);
    return reaped;
}

int plait_child_wait(plait_child *c, struct plait_exit *ret)
{
    int err = is_reaped(c) ? 0 : plait_io_poll(c->pidfd, POLLIN, PLAIT_NEVER);
    return err < 0 ? err : pl_child_reap(c, ret);
}

int plait_child_kill(plait_child *c, int signal)
{
    pl_lock(&c->lock);
    int err = c->reaped               ? -ESRCH
              : c->options.same_group ? pl_pidfd_kill(c->pidfd, signal)
                                      : pl_process_kill_group(c->pid, signal);
    pl_unlock(&c->lock);
    return err;
}

struct ending {
    plait_child *child;
    struct plait_exit *ret;
};

/* Under a shield. A signal that cannot be sent shows in that the process does not end. */
static int put_an_end_to(void *arg)
{
    struct ending *e = arg;
    plait_child *c = e->child;
    int ended = 0;
    if (c->options.grace_ns > 0) {
        plait_child_kill(c, SIGTERM);
        plait_child_kill(c, SIGCONT); /* one that was stopped would sleep through its grace */
        ended = plait_io_poll(c->pidfd, POLLIN, plait_after(c->options.grace_ns));
    }
    plait_child_kill(c, SIGKILL); /* what it has started, too, when it has ended already */
    for (int tries = 0; ended <= 0 && tries < 2; tries++) /* the second for a poll that failed */
        ended = plait_io_poll(c->pidfd, POLLIN, plait_after(PL_CHILD_KILL_NS));
    return ended < 0 ? ended : pl_child_reap(c, e->ret);
}

int plait_child_end(plait_child *c, struct plait_exit *ret)
{
    if (is_reaped(c))
        return pl_child_reap(c, ret);
    struct ending e = { c, ret };
    int64_t grace = c->options.grace_ns > 0 ? c->options.grace_ns : 0;
    int64_t deadline = plait_after(grace);
    deadline = deadline < PLAIT_NEVER - 3 * PL_CHILD_KILL_NS ? deadline + 3 * PL_CHILD_KILL_NS
                                                             : PLAIT_NEVER - 1;
    return plait_shield(deadline, put_an_end_to, &e);
}

void plait_child_free(plait_child *c)
{
    if (!c)
        return;
    c->options.grace_ns = -1;
    (void)plait_child_end(c, NULL); /* -ETIMEDOUT: there is no other way to be rid of it */
    close_pipes(c);
    pl_fd_close(c->pidfd);
    pl_free_mem(c);
}
