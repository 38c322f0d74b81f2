// SPDX-License-Identifier: MIT
// What a context is before its first switch; the switch itself is in switch.h and its includes.
#include "arch/switch.h"

#include "base/bug.h"

#ifndef PL_SWITCH_UCONTEXT

#define STACK_ALIGNMENT 16

_Static_assert(offsetof(struct pl_context, sp) == 0, "the assembly stores sp here");
_Static_assert(offsetof(struct pl_context, pc) == 8, "the assembly stores pc here");
_Static_assert(offsetof(struct pl_context, frame) == 16, "the assembly stores rbp or x29 here");
_Static_assert(offsetof(struct pl_context, base) == 24, "the assembly stores rbx or x19 here");

// Not a function to call: where a new context starts.
void pl_switch_start(void);

void pl_switch_prepare(struct pl_context *c, void *stack_low, size_t stack_bytes,
                       void (*entry)(void *arg), void *arg)
{
    size_t top = ((size_t)stack_low + stack_bytes) & ~(size_t)(STACK_ALIGNMENT - 1);

    // Below the top, so that the very first stack pointer lies inside the bounds that valgrind was
    // told.
    c->sp = (void *)(top - STACK_ALIGNMENT);
    c->pc = (void *)pl_switch_start;
    c->frame = arg;
    c->base = (void *)entry;
}

#endif

void pl_context_make(struct pl_context *c, void *stack_low, size_t stack_bytes,
                     void (*entry)(void *arg), void *arg)
{
    c->valgrind_stack = 0;
    if (PL_UNLIKELY(pl_on_valgrind))
        c->valgrind_stack =
            pl_valgrind_stack_register(stack_low, (char *)stack_low + stack_bytes - 1);
#if PL_SANITIZED_SWITCH
    pl_sanitize_make(c, stack_low, stack_bytes);
    c->entry = entry;
    c->arg = arg;
    entry = pl_sanitize_entry;
    arg = c;
#endif
    pl_switch_prepare(c, stack_low, stack_bytes, entry, arg);
}

void pl_context_thread(struct pl_context *c)
{
    c->valgrind_stack = 0;
#if PL_SANITIZED_SWITCH
    pl_sanitize_thread(c);
#endif
}

void pl_context_done(struct pl_context *c)
{
#if PL_SANITIZED_SWITCH
    pl_sanitize_done(c);
#endif
    if (PL_UNLIKELY(c->valgrind_stack)) {
        pl_valgrind_stack_deregister(c->valgrind_stack);
        c->valgrind_stack = 0;
    }
}
