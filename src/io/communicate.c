// SPDX-License-Identifier: MIT
/*
 * communicate.c - feeds a child, collects what it prints, and sees it end.
 *
 * DESIGN
 *   The pipes and the pidfd are in one poller, and the caller waits for that: so it is one wait,
 *   whatever the executor, and no pipe that is full can hold up another. Each turn moves a bounded
 *   number of bytes, so that the others of the worker get theirs.
 *
 *   It is over when the child has ended, not when its pipes have: what it has left behind may hold
 *   them open for ever. What the pipes hold at that moment is what the child wrote (and perhaps a
 *   little of somebody else's); that much is read, and no more.
 */
#include "io/child.h"

#include "base/bug.h"
#include "os/ipc.h"
#include "os/loop.h"
#include "os/spawn.h"
#include <plait/io.h>
#include <poll.h>
#include <string.h>

enum { IN, OUT, ERR, END, SOURCES };
enum { CHUNK = 64 << 10, CHUNKS = 16 };

struct talk {
    plait_child *child;
    struct plait_child_output *output;
    struct pl_poller poller;
    size_t fed;
};

static void close_pipe(struct talk *t, int which)
{
    pl_poller_remove(&t->poller, t->child->pipes[which]);
    plait_child_close(t->child, which);
}

static int feed(struct talk *t)
{
    plait_child *c = t->child;
    const struct plait_span *input = &c->options.input;
    for (int i = 0; i < CHUNKS && t->fed < input->bytes; i++) {
        size_t left = input->bytes - t->fed;
        struct pl_op op = { .code = PL_OP_WRITE,
                            .fd = c->pipes[IN],
                            .cbuf = (const char *)input->data + t->fed,
                            .len = left < CHUNK ? left : CHUNK,
                            .offset = -1 };
        if (!pl_op_try(&op))
            return 0;
        if (op.result == -EPIPE) /* it wants no more */
            t->fed = input->bytes;
        else if (op.result < 0)
            return (int)op.result;
        else
            t->fed += (size_t)op.result;
    }
    if (t->fed == input->bytes)
        close_pipe(t, IN);
    return 0;
}

/* How much more may be kept. */
static size_t room_of(const struct talk *t)
{
    const struct plait_child_output *o = t->output;
    return t->child->options.output_max - o->out.bytes - o->err.bytes;
}

/* Reads at most `most` bytes: their count, 0 at the end, -EAGAIN when there are none now. */
static int64_t read_some(struct talk *t, int which, size_t most)
{
    char thrown[4096];
    struct plait_buffer *b = which == OUT ? &t->output->out : &t->output->err;
    size_t room = room_of(t);
    /* Without room, one byte more tells whether there is too much. */
    struct pl_op op = { .code = PL_OP_READ,
                        .fd = t->child->pipes[which],
                        .buf = thrown,
                        .len = room > 0                        ? most < room ? most : room
                               : !t->child->options.cut_output ? 1
                               : most < sizeof thrown          ? most
                                                               : sizeof thrown,
                        .offset = -1 };
    if (room > 0 && !(op.buf = plait_buffer_reserve(b, op.len)))
        return -ENOMEM;
    if (!pl_op_try(&op))
        return -EAGAIN;
    if (op.result > 0 && room > 0) {
        b->bytes += (size_t)op.result;
    } else if (op.result > 0) {
        t->output->cut = true;
        return t->child->options.cut_output ? op.result : -EFBIG;
    }
    return op.result;
}

static int collect(struct talk *t, int which)
{
    for (int i = 0; i < CHUNKS; i++) {
        int64_t n = read_some(t, which, CHUNK);
        if (n == 0)
            close_pipe(t, which);
        if (n <= 0)
            return n == -EAGAIN ? 0 : (int)n;
    }
    return 0;
}

/* What the pipe still holds of a child that has ended. */
static int collect_rest(struct talk *t, int which)
{
    if (t->child->pipes[which] < 0)
        return 0;
    for (size_t left = pl_pipe_holds(t->child->pipes[which]); left > 0;) {
        int64_t n = read_some(t, which, left < CHUNK ? left : CHUNK);
        if (n <= 0)
            return n == -EAGAIN ? 0 : (int)n;
        left -= (size_t)n;
    }
    return 0;
}

static int watch_all(struct talk *t)
{
    int err = pl_poller_watch(&t->poller, t->child->pidfd, false, END);
    for (int i = IN; i <= ERR && err == 0; i++)
        if (t->child->pipes[i] >= 0)
            err = pl_poller_watch(&t->poller, t->child->pipes[i], i == IN, (uint64_t)i);
    return err;
}

/* Until the child has ended: 0, or why it is to be ended. */
static int attend(struct talk *t)
{
    bool ended = false;
    while (!ended) {
        uint64_t ready[SOURCES];
        int err = plait_io_poll(t->poller.fd, POLLIN, t->child->options.deadline);
        if (err < 0)
            return err;
        int count = pl_poller_wait(&t->poller, ready, SOURCES, 0);
        for (int i = 0; i < count && err >= 0; i++) {
            if (ready[i] == END)
                ended = true;
            else
                err = ready[i] == IN ? feed(t) : collect(t, (int)ready[i]);
        }
        if (err < 0)
            return err;
    }
    return 0;
}

int plait_child_communicate(plait_child *c, struct plait_child_output *ret)
{
    *ret = (struct plait_child_output){ .exit.status = -1 };
    struct talk t = { .child = c, .output = ret };
    int err = pl_poller_init(&t.poller);
    if (err == 0) {
        err = watch_all(&t);
        if (err == 0)
            err = attend(&t);
        if (err < 0)
            (void)plait_child_end(c, &ret->exit); /* err is what the caller asked about */
        int rest = collect_rest(&t, OUT);
        if (rest == 0)
            rest = collect_rest(&t, ERR);
        err = err < 0 ? err : rest;
        pl_poller_done(&t.poller);
    } else {
        (void)plait_child_end(c, &ret->exit);
    }
    for (int i = IN; i <= ERR; i++)
        if (c->pipes[i] >= 0)
            plait_child_close(c, i);
    int reaped = pl_child_reap(c, &ret->exit);
    return err < 0 ? err : reaped;
}

void plait_child_output_done(struct plait_child_output *o)
{
    plait_buffer_free(&o->out);
    plait_buffer_free(&o->err);
}

int plait_child_run_with(struct plait_child_output *ret, const struct plait_child_options *options)
{
    struct plait_child_options o = { 0 };
    plait_child *c;
    memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
    *ret = (struct plait_child_output){ .exit.status = -1 };
    o.size = sizeof o;
    o.tied = true;
    if (o.in == 0)
        o.in = o.input.bytes > 0 ? PLAIT_CHILD_PIPE : PLAIT_CHILD_NULL;
    o.out = o.out ? o.out : PLAIT_CHILD_PIPE;
    o.err = o.err ? o.err : PLAIT_CHILD_PIPE;
    int err = plait_child_spawn_with(&c, &o);
    if (err < 0)
        return err;
    err = plait_child_communicate(c, ret);
    plait_child_free(c);
    return err;
}
