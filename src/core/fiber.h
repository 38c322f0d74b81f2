// SPDX-License-Identifier: MIT
/*
 * fiber.h - a stack that hosts tasks.
 *
 * A fiber runs a job to its end; while the worker has more jobs and nothing else is due it runs the
 * next one on the same stack, without a switch. Its control block lies at the top of its stack, so
 * that a sleeping fiber touches one page. It belongs to one worker from its first job to its end.
 */
#ifndef PL_CORE_FIBER_H
#define PL_CORE_FIBER_H

#include "arch/switch.h"
#include "core/job.h"
#include "core/stack.h"
#include "core/strand.h"

struct pl_fiber {
    struct pl_strand strand; /* first: a strand with a worker is a fiber */
    struct pl_context context;
    struct pl_fiber *next;            /* in the ready queue, or among the idle */
    struct pl_fiber *older, *younger; /* in the worker's list of live fibers */
    struct pl_stack *stack;
    _Atomic uint32_t alive; /* for who looks (look.h): the members above are a fiber's */
    struct pl_job *job;     /* to run when it starts */
    struct pl_job wake;     /* the message by which another thread makes it ready */
    /* Called on the fiber when it is about to suspend, once: a task that runs several items in a
     * row gives the rest away. */
    void (*giveaway)(void *arg);
    void *giveaway_arg;
};

static inline struct pl_fiber *pl_fiber_of(struct pl_strand *s)
{
    return (struct pl_fiber *)s;
}

/* A fiber that will run the job when it is switched to, on w's thread; NULL when memory is
 * short. */
struct pl_fiber *pl_fiber_for(struct pl_worker *w, struct pl_job *job);

/* Frees the fibers that wait for a job. On the worker's thread, or after its end. */
void pl_fiber_free_idle(struct pl_worker *w);

/* Returns its stack. After it has left for good. */
void pl_fiber_free(struct pl_worker *w, struct pl_fiber *f);

/* Suspends the calling fiber until pl_worker_ready(). */
void pl_fiber_suspend(struct pl_fiber *f);

/* Lets the other ready fibers of its worker run, or when there are none a job that has not
 * started. */
void pl_fiber_yield(struct pl_fiber *f);

/* The message that makes a fiber ready. */
void pl_fiber_woken(struct pl_job *message, int refused);

/* Whether one more task may run on the current fiber's stack: it is promised the stack_bytes of the
 * options, and gets three quarters of them at least. Trees of forks need no more than the other
 * quarter; where they are deeper, every so often a child gets a stack of its own. */
static inline bool pl_fiber_has_room(const struct pl_fiber *f)
{
    return (size_t)(pl_stack_pointer() - f->stack->low) >= f->stack->bytes / 4 * 3;
}

#endif
