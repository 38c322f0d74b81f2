// SPDX-License-Identifier: MIT
// The smallest fiber: a context, a stack and a body, for tests of the bare switch.
#ifndef PLAIT_TESTS_UNIT_FIBERS_H
#define PLAIT_TESTS_UNIT_FIBERS_H

#include <stdbool.h>
#include <string.h>

#include "arch/switch.h"
#include "check.h"
#include "core/stack.h"

struct fiber {
    struct pl_context own, caller;
    struct pl_stack *stack;
    void (*body)(struct fiber *f);
    bool ended;
    long number; // for the body's use
    int result;
};

static inline void fiber_entry(void *arg)
{
    struct fiber *f = arg;

    f->body(f);
    f->ended = true;
    pl_context_leave(&f->own, &f->caller);
}

static inline void fiber_start(struct pl_stack_pool *pool, struct fiber *f,
                               void (*body)(struct fiber *f), long number)
{
    memset(f, 0, sizeof *f);
    f->stack = pl_stack_get(pool);
    CHECK(f->stack != NULL);
    f->body = body;
    f->number = number;
    pl_context_thread(&f->caller);
    pl_context_make(&f->own, f->stack->low, f->stack->bytes, fiber_entry, f);
}

static inline void fiber_end(struct pl_stack_pool *pool, struct fiber *f)
{
    pl_context_done(&f->own);
    pl_context_done(&f->caller);
    pl_stack_put(pool, f->stack);
}

static inline void resume(struct fiber *f)
{
    pl_context_switch(&f->caller, &f->own);
}

static inline void yield(struct fiber *f)
{
    pl_context_switch(&f->own, &f->caller);
}

static inline void resume_until_end(struct fiber *f)
{
    while (!f->ended)
        resume(f);
}

#endif
