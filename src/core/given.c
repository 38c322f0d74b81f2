// SPDX-License-Identifier: MIT
// given.c - descriptors in arguments and results: duplicated, held, taken, handed on, closed. See
// given.h.
#include "core/given.h"

#include "base/bug.h"
#include "core/sched.h"
#include "os/alloc.h"
#include "os/ipc.h"
#include <string.h>

unsigned pl_task_fds(const struct plait_task *task, bool of_result)
{
    unsigned count = 0, n = 0;
    const struct plait_task_fd *all = task->fds ? task->fds(&count) : NULL;
    for (unsigned i = 0; i < count; i++)
        n += (all[i].of_result != 0) == of_result;
    return n;
}

int *pl_task_fd_at(const struct plait_task *task, bool of_result, unsigned n, void *data)
{
    unsigned count, i = 0;
    const struct plait_task_fd *all = task->fds(&count);
    while ((all[i].of_result != 0) != of_result || n-- > 0)
        i++;
    PL_ASSERT(i < count);
    return (int *)((char *)data + all[i].offset);
}

// ---- of a future

static struct pl_future_fds *held(const plait_future *f)
{
    return f->extra ? f->extra->fds : NULL;
}

int pl_future_fds_init(plait_future *f)
{
    struct pl_future_extra *x = pl_future_extra(f);
    struct pl_future_fds *h = x ? pl_alloc(sizeof *h) : NULL;
    if (!h)
        return -ENOMEM;
    x->fds = h;
    for (unsigned i = 0; i < PLAIT_TASK_FDS_MAX; i++) {
        h->in[i] = -1;
        atomic_init(&h->out[i], -1);
    }
    int e = 0;
    for (unsigned i = 0, n = pl_task_fds(f->task, false); e >= 0 && i < n; i++) {
        int *at = pl_task_fd_at(f->task, false, i, pl_future_in(f));
        if (*at != -1)
            e = h->in[i] = pl_fd_duplicate(*at);
        if (e < 0)
            pl_fail(e, "the task `%s` cannot be given the descriptor %d: %s", f->task->name, *at,
                    plait_strerror(e));
        *at = -1;
    }
    return e < 0 ? e : 0;
}

uint32_t pl_future_fds_list(const plait_future *f, int *fds, uint32_t *count)
{
    const struct pl_future_fds *h = held(f);
    uint32_t mask = 0;
    for (unsigned i = 0; h && i < PLAIT_TASK_FDS_MAX; i++)
        if (h->in[i] >= 0) {
            fds[(*count)++] = h->in[i];
            mask |= 1u << i;
        }
    return mask;
}

void pl_future_fds_taken(plait_future *f, unsigned n)
{
    struct pl_future_fds *h = held(f);
    if (n >= PLAIT_TASK_FDS_MAX || f->extra->lost < f->extra->asked.retries)
        return;
    pl_fd_close(h->in[n]);
    h->in[n] = -1;
}

void pl_future_fds_drop(plait_future *f)
{
    struct pl_future_fds *h = held(f);
    if (h) {
        pl_fds_close(h->in, PLAIT_TASK_FDS_MAX);
        memset(h->in, -1, sizeof h->in);
    }
}

void pl_future_fds_land(plait_future *f, const int *fds)
{
    for (unsigned i = 0, n = pl_task_fds(f->task, true); i < n; i++) {
        *pl_task_fd_at(f->task, true, i, pl_future_out(f)) = -1;
        // Relaxed: the completion that follows releases it.
        atomic_store_explicit(&held(f)->out[i], fds ? fds[i] : -1, memory_order_relaxed);
    }
}

void pl_future_fds_hand(plait_future *f, void *out)
{
    for (unsigned i = 0, n = pl_task_fds(f->task, true); i < n; i++)
        *pl_task_fd_at(f->task, true, i, out) = atomic_exchange(&held(f)->out[i], -1);
}

void pl_future_fds_free(plait_future *f)
{
    struct pl_future_fds *h = held(f);
    if (!h)
        return;
    pl_future_fds_drop(f);
    for (unsigned i = 0; i < PLAIT_TASK_FDS_MAX; i++)
        pl_fd_close(atomic_load_explicit(&h->out[i], memory_order_relaxed)); // nobody else is left
    pl_free_mem(h);
}

// ---- of a running task

void pl_given_begin(struct pl_given *g, struct pl_strand *s, const struct plait_task *task,
                    const int *in, void *data, void *out)
{
    g->task = task;
    g->outer = s->given;
    g->data = data;
    g->taken = NULL;
    g->ins = pl_task_fds(task, false);
    g->outs = pl_task_fds(task, true);
    for (unsigned i = 0; i < g->ins; i++)
        *pl_task_fd_at(task, false, i, data) = g->in[i] = in[i];
    for (unsigned i = 0; i < g->outs; i++)
        *pl_task_fd_at(task, true, i, out) = g->out[i] = -1;
    s->given = g;
}

// Whether the task holds it, which then no longer does.
static bool take(struct pl_given *g, int fd)
{
    for (unsigned i = 0; fd >= 0 && i < g->ins; i++)
        if (g->in[i] == fd) {
            g->in[i] = -1;
            if (g->taken)
                g->taken(g, i);
            return true;
        }
    return false;
}

// What the task puts into its result is its own. False: one of them is no descriptor, or comes
// twice; then nothing is given away.
static bool collect(struct pl_given *g, void *out)
{
    bool sane = true;
    for (unsigned i = 0; i < g->outs; i++) {
        int fd = *pl_task_fd_at(g->task, true, i, out);
        bool known = fd == -1 || pl_fd_is_open(fd);
        for (unsigned k = 0; known && k < i; k++)
            known = fd == -1 || g->out[k] != fd;
        sane &= known;
        g->out[i] = known ? fd : -1;
        take(g, g->out[i]);
    }
    for (unsigned i = 0; !sane && i < g->outs; i++) {
        pl_strand_close(g->out[i]);
        g->out[i] = -1;
    }
    return sane;
}

int pl_given_end(struct pl_given *g, struct pl_strand *s, int code, void *out)
{
    if (code >= 0 && !collect(g, out))
        code = -EBADF;
    for (unsigned i = 0; i < g->ins; i++) {
        pl_strand_close(g->in[i]);
        *pl_task_fd_at(g->task, false, i, g->data) = -1;
    }
    s->given = g->outer;
    return code;
}

int pl_future_fds_run(plait_future *f, struct pl_strand *s)
{
    struct pl_given g;
    struct pl_future_fds *h = held(f);
    PL_ASSERT(h != NULL);
    pl_given_begin(&g, s, f->task, h->in, pl_future_in(f), pl_future_out(f));
    memset(h->in, -1, sizeof h->in); // they are the task's
    int code = f->task->run(pl_future_in(f), pl_future_out(f));
    code = pl_given_end(&g, s, code, pl_future_out(f));
    if (code >= 0)
        pl_future_fds_land(f, g.out);
    return code;
}

int plait_fd_take(int fd)
{
    struct pl_strand *s = pl_strand_current();
    struct pl_given *g = s->given;
    // A child that runs on this very strand has a name of its own.
    if (g && s->task == g->task->name && take(g, fd))
        return fd;
    return pl_fd_duplicate(fd);
}

// ---- closing

struct closing {
    struct pl_op op;
    struct pl_wait wait;
};

static void closed(struct pl_op *op)
{
    pl_wait_fire(&PL_CONTAINER(op, struct closing, op)->wait, PL_WAIT_WOKEN);
}

int pl_strand_close(int fd)
{
    if (fd < 0)
        return -EBADF;
    struct closing c = { .op = { .code = PL_OP_CLOSE, .fd = fd, .done = closed } };
    struct pl_strand *s = pl_strand_current();
    if (!s->worker) {
        pl_op_block(&c.op, PLAIT_NEVER);
        return (int)c.op.result;
    }
    pl_wait_init(&c.wait, s);
    pl_wait_for(&c.wait, PL_FOR_IO, pl_for_io(c.op.code, fd));
    pl_loop_start(&s->worker->loop, &c.op);
    pl_wait_uninterrupted(&c.wait);
    return (int)c.op.result;
}
