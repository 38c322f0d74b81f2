// SPDX-License-Identifier: MIT
// The portable switch. Each one costs a system call, for the signal mask.
#include "arch/switch.h"

#include <stdint.h>

#include "base/bug.h"

// makecontext passes ints only, so the context's address travels in two halves.
static void start(unsigned high, unsigned low)
{
    struct pl_context *c = (struct pl_context *)(uintptr_t)((uint64_t)high << 32 | low);

    c->start(c->start_arg);
    PL_BUG("the entry function of a context returned; it must leave through pl_context_leave");
}

void pl_switch_prepare(struct pl_context *c, void *stack_low, size_t stack_bytes,
                       void (*entry)(void *arg), void *arg)
{
    uint64_t self = (uintptr_t)c;

    PL_ASSERT(getcontext(&c->saved) == 0);
    c->saved.uc_stack.ss_sp = stack_low;
    c->saved.uc_stack.ss_size = stack_bytes;
    c->saved.uc_link = NULL;
    c->start = entry;
    c->start_arg = arg;
    makecontext(&c->saved, (void (*)(void))start, 2, (unsigned)(self >> 32), (unsigned)self);
}

void pl_switch_raw(struct pl_context *from, struct pl_context *to)
{
    PL_ASSERT(swapcontext(&from->saved, &to->saved) == 0);
}
