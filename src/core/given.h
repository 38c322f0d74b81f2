// SPDX-License-Identifier: MIT
/*
 * given.h - descriptors in the arguments and results of tasks (PLAIT_TASK_FDS).
 *
 * DESIGN
 *   A future of such a task holds its descriptors beside its data, in a struct pl_future_fds; in
 *   the data itself their places hold -1, so that a digest of the argument does not depend on
 *   numbers.
 *
 *       in     duplicates that the submit made. They are the future's until the task starts here,
 *              or for as long as it may have to be started again in another process.
 *       out    of a task that has succeeded. Who gets the result swaps each for -1, so it has one
 *              owner; what is left goes with the future.
 *
 *   Who runs the task, here or in a worker process, has a struct pl_given in its frame: the numbers
 *   that the task finds in its argument. What the task did not take is closed as it ends, by way of
 *   the event loop, so that nobody is left waiting on it.
 *
 *   A task is always started through a future when it has descriptors: scopes and maps, whose own
 *   ways are shorter, need not know of them.
 */
#ifndef PL_CORE_GIVEN_H
#define PL_CORE_GIVEN_H

#include "core/future.h"

struct pl_future_fds {
    int in[PLAIT_TASK_FDS_MAX];
    _Atomic int out[PLAIT_TASK_FDS_MAX];
};

/* How many descriptors the task has in its argument, or in its result; where the nth of them lies
 * in it. */
unsigned pl_task_fds(const struct plait_task *task, bool of_result);
int *pl_task_fd_at(const struct plait_task *task, bool of_result, unsigned n, void *data);

static inline bool pl_task_has_fds(const struct plait_task *task)
{
    return task->flags & PLAIT_TASK_HAS_FDS;
}

/* ---- of a future */

/* Duplicates those of the argument, which has been copied. 0, -ENOMEM, -EBADF, -EMFILE, -ENFILE. */
int pl_future_fds_init(plait_future *f);

/* Those of the argument that it holds, in order: appended to fds[*count], which is raised. A bit
 * for each nth that is there. */
uint32_t pl_future_fds_list(const plait_future *f, int *fds, uint32_t *count);

/* The task has taken the nth of the argument: the future's own is closed, unless the task may have
 * to be started again. */
void pl_future_fds_taken(plait_future *f, unsigned n);

/* Closes those of the argument that it still holds. */
void pl_future_fds_drop(plait_future *f);

/* The result holds these: fds[n] the nth, or -1. NULL: none. */
void pl_future_fds_land(plait_future *f, const int *fds);

/* Puts those of the result into a copy of it, whose owner they are from then on; -1 where somebody
 * else had them before. */
void pl_future_fds_hand(plait_future *f, void *out);

/* Runs the task, which has descriptors, on this strand. */
int pl_future_fds_run(plait_future *f, struct pl_strand *s);

/* Closes all. */
void pl_future_fds_free(plait_future *f);

/* ---- of a running task */

struct pl_given {
    const struct plait_task *task;
    struct pl_given *outer; /* of the strand, before */
    void *data;
    void (*taken)(struct pl_given *g, unsigned n); /* the nth of the argument was, or NULL */
    unsigned ins, outs;
    int in[PLAIT_TASK_FDS_MAX];
    int out[PLAIT_TASK_FDS_MAX];
};

/* Before the task runs on the strand: the nth descriptor of its argument is in[n]. The caller may
 * set g->taken afterwards. */
void pl_given_begin(struct pl_given *g, struct pl_strand *s, const struct plait_task *task,
                    const int *in, void *data, void *out);

/* The task has returned `code`: g->out holds what it gives away, and what it did not take is
 * closed. The code, or -EBADF. */
int pl_given_end(struct pl_given *g, struct pl_strand *s, int code, void *out);

#endif
