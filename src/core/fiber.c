// SPDX-License-Identifier: MIT
// fiber.c - the life of a fiber: made for a job, hosting job after job, suspended, gone.
#include "core/fiber.h"
#include "base/bug.h"
#include "core/sched.h"
#include "core/trace.h"

/* Hosts that have run out of jobs and are kept, warm, for the next one. */
#define IDLE_MAX 16

/* Waits, idle, for the next job. False when there are enough that do. */
static bool park(struct pl_worker *w, struct pl_fiber *f)
{
    if (w->idle_count == IDLE_MAX)
        return false;
    f->next = w->idle;
    w->idle = f;
    w->idle_count++;
    struct pl_fiber *next = pl_worker_next_ready(w);
    pl_fiber_becomes_current(w, next);
    pl_context_switch(&f->context, next ? &next->context : &w->context);
    return true;
}

/* Runs the fiber's job and then, on the same stack, whatever the worker may run next without giving
 * anybody else his turn. */
static void host(void *arg)
{
    struct pl_fiber *f = arg;
    struct pl_worker *w = f->strand.worker;
    do {
        for (struct pl_job *job = f->job; job; job = pl_worker_next_job(w)) {
            job->run(job, 0);
            pl_worker_count(&w->finished);
        }
    } while (park(w, f));
    pl_fiber_becomes_current(w, NULL);
    w->dead = f;
    pl_context_leave(&f->context, &w->context);
}

static struct pl_fiber *fiber_new(struct pl_worker *w)
{
    struct pl_stack *stack = pl_stack_get(&w->stacks);
    if (!stack)
        return NULL;
    struct pl_fiber *f = pl_stack_top(stack, sizeof *f);
    /* The counter goes on from the last fiber here: who looked at that one must see that it has
     * gone. Even: the new one does not wait. */
    uint32_t turn = atomic_load_explicit(&f->strand.shown.turn, memory_order_relaxed);
    f->strand = (struct pl_strand){ .worker = w,
                                    .lock_word = pl_fiber_lock_word(w),
                                    .shown.turn = (turn | 1) + 1 };
    f->stack = stack;
    f->giveaway = NULL;
    f->wake.run = pl_fiber_woken;
    pl_context_make(&f->context, stack->low, (size_t)((char *)f - stack->low), host, f);
    f->younger = NULL;
    f->older = w->fibers;
    if (w->fibers)
        w->fibers->younger = f;
    w->fibers = f;
    /* Release: pairs with the acquire of who looks. */
    atomic_store_explicit(&f->alive, 1, memory_order_release);
    return f;
}

struct pl_fiber *pl_fiber_for(struct pl_worker *w, struct pl_job *job)
{
    struct pl_fiber *f = w->idle;
    if (f) {
        w->idle = f->next;
        w->idle_count--;
    } else {
        f = fiber_new(w);
    }
    if (f)
        f->job = job;
    return f;
}

void pl_fiber_free_idle(struct pl_worker *w)
{
    while (w->idle) {
        struct pl_fiber *f = w->idle;
        w->idle = f->next;
        w->idle_count--;
        pl_fiber_free(w, f);
    }
}

/* What the worker does when its running fiber stops: a ready fiber, or else a job on an idle host;
 * NULL leaves it to the scheduler. */
static struct pl_fiber *next_fiber(struct pl_worker *w)
{
    struct pl_fiber *f = pl_worker_next_ready(w);
    if (f || !w->idle)
        return f;
    struct pl_job *job = pl_worker_next_job(w);
    return job ? pl_fiber_for(w, job) : NULL;
}

void pl_fiber_free(struct pl_worker *w, struct pl_fiber *f)
{
    if (f->younger)
        f->younger->older = f->older;
    else
        w->fibers = f->older;
    if (f->older)
        f->older->younger = f->younger;
    atomic_store_explicit(&f->alive, 0, memory_order_relaxed);
    pl_context_done(&f->context);
    pl_stack_put(&w->stacks, f->stack);
}

void pl_fiber_woken(struct pl_job *message, int refused)
{
    (void)refused;
    struct pl_fiber *f = PL_CONTAINER(message, struct pl_fiber, wake);
    pl_worker_ready(f->strand.worker, f);
}

static void give_the_rest_away(struct pl_fiber *f)
{
    void (*giveaway)(void *) = f->giveaway;
    f->giveaway = NULL;
    giveaway(f->giveaway_arg);
}

/* Leaves the fiber for `next`, or for the scheduler. */
static void leave_for(struct pl_worker *w, struct pl_fiber *f, struct pl_fiber *next)
{
    PL_TRACE(PL_TRACE_SUSPEND, f, f->strand.task);
    pl_fiber_becomes_current(w, next);
    pl_context_switch(&f->context, next ? &next->context : &w->context);
    PL_TRACE(PL_TRACE_RESUME, f, f->strand.task);
}

void pl_fiber_suspend(struct pl_fiber *f)
{
    struct pl_worker *w = f->strand.worker;
    if (PL_UNLIKELY(f->giveaway != NULL))
        give_the_rest_away(f);
    struct pl_fiber *next = next_fiber(w);
    if (next != f)
        leave_for(w, f, next);
}

void pl_fiber_yield(struct pl_fiber *f)
{
    struct pl_worker *w = f->strand.worker;
    if (PL_UNLIKELY(f->giveaway != NULL))
        give_the_rest_away(f);
    struct pl_fiber *next = w->ready ? NULL : next_fiber(w);
    if (!w->ready && !next && pl_deque_size_hint(&w->deque) > 0)
        w->credit = 0; /* a job, but no host at hand: the scheduler makes one */
    pl_worker_ready(w, f);
    if (!next)
        next = pl_worker_next_ready(w);
    if (next != f)
        leave_for(w, f, next);
}
