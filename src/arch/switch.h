// SPDX-License-Identifier: MIT
// The context switch: leave one stack where it is, go on with another.
//
// DESIGN. A suspended context is four words: stack pointer, address to go on at, frame pointer and
// one more register (the one that compilers may use as a base pointer and therefore do not let an
// asm statement clobber). Everything else that the ABI preserves is declared clobbered, so the
// compiler saves what is live, and nothing where nothing is. Invariants:
//   - nothing is pushed, so the red zone of a leaf function stays intact;
//   - a context that was never switched to has touched no byte of its stack;
//   - the address to go on at decides how the rest is restored, so the inline and the called form
//     may be mixed freely;
//   - the switch ends in an indirect jump: a `ret` would be predicted to return to our own caller.
// Not saved: MXCSR and the x87 control word (FPCR on aarch64). The ABI calls their control bits
// preserved across calls, so code that changes the rounding mode must restore it before it
// suspends. Shadow stacks are not switched: our assembly files say so in their notes, and the
// loader honours it. docs/switching.md has the whole story.
#ifndef PL_ARCH_SWITCH_H
#define PL_ARCH_SWITCH_H

#include <stdbool.h>
#include <stddef.h>

#include "arch/sanitize.h"

// Which switch this build uses. PL_SWITCH_UCONTEXT may be defined by the build to force the
// portable one.
#if !defined(PL_SWITCH_UCONTEXT) && defined(__x86_64__) && defined(__LP64__)
#define PL_SWITCH_X86_64 1
#elif !defined(PL_SWITCH_UCONTEXT) && defined(__aarch64__) && defined(__LP64__)
#define PL_SWITCH_AARCH64 1
#elif !defined(PL_SWITCH_UCONTEXT)
#define PL_SWITCH_UCONTEXT 1
#endif

#ifdef PL_SWITCH_UCONTEXT
#include <ucontext.h>
#endif

struct pl_context {
#ifdef PL_SWITCH_UCONTEXT
    ucontext_t saved;
    void (*start)(void *arg);
    void *start_arg;
#else
    void *sp;    // offset 0; the assembly knows these four
    void *pc;    // offset 8
    void *frame; // offset 16: rbp, x29; holds `arg` until the first switch
    void *base;  // offset 24: rbx, x19; holds `entry` until the first switch
#endif
#if PL_SANITIZED_SWITCH
    void (*entry)(void *arg);
    void *arg;
#endif
#if PL_ASAN
    void *fake_stack; // ASan's frames of this context, while it is suspended
    const void *stack_low;
    size_t stack_bytes;
#endif
#if PL_TSAN
    void *fiber;     // TSan's shadow of this context
    bool fiber_made; // by us, not the thread's own
#endif
    unsigned valgrind_stack;
};

// Prepares *c so that the first switch to it calls entry(arg) on the given stack. entry never
// returns: it leaves through pl_context_leave.
void pl_context_make(struct pl_context *c, void *stack_low, size_t stack_bytes,
                     void (*entry)(void *arg), void *arg);

// Prepares *c to stand for the calling thread's own stack.
void pl_context_thread(struct pl_context *c);

// Releases what sanitizers and valgrind hold for *c, which must not be running.
void pl_context_done(struct pl_context *c);

// The machine's part of pl_context_make.
void pl_switch_prepare(struct pl_context *c, void *stack_low, size_t stack_bytes,
                       void (*entry)(void *arg), void *arg);

#ifdef PL_SWITCH_UCONTEXT
void pl_switch_raw(struct pl_context *from, struct pl_context *to);
#else
// The switch as a function, in assembly: the same without relying on clobbers.
void pl_switch_called(struct pl_context *from, struct pl_context *to);
#endif

#if defined(PL_SWITCH_X86_64) && !defined(__APX_F__) && !PL_SANITIZED_SWITCH
#include "arch/x86_64.h"
#elif defined(PL_SWITCH_AARCH64) && !defined(__ARM_FEATURE_SVE) && !PL_SANITIZED_SWITCH
#include "arch/aarch64.h"
#elif !defined(PL_SWITCH_UCONTEXT)
#define pl_switch_raw pl_switch_called
#endif

#if PL_SANITIZED_SWITCH
// Saves the running context in *from and goes on with *to; returns when someone switches to *from.
void pl_context_switch(struct pl_context *from, struct pl_context *to);

// Goes on with *to for good: *from ends here and is never switched to again.
__attribute__((noreturn)) void pl_context_leave(struct pl_context *from, struct pl_context *to);
#else
static inline __attribute__((always_inline)) void pl_context_switch(struct pl_context *from,
                                                                    struct pl_context *to)
{
    pl_switch_raw(from, to);
}

static inline __attribute__((always_inline, noreturn)) void pl_context_leave(
    struct pl_context *from, struct pl_context *to)
{
    pl_switch_raw(from, to);
    __builtin_unreachable();
}
#endif

// The current stack pointer, for asking how much of a stack is left.
static inline char *pl_stack_pointer(void)
{
    return (char *)__builtin_frame_address(0);
}

#endif
